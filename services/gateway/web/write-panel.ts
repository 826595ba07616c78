// The remote_write block, with the address that this page was reached under, and a button that copies it.
import { byId } from './dom.ts';

const COPIED_MS = 1500;

export function startWritePanel(): void {
  const url = new URL('api/v1/write', location.href);
  const block = byId('remote-write');
  block.textContent = `remote_write:\n  - url: ${url.origin}${url.pathname}\n`;
  const copy = byId<HTMLButtonElement>('copy');
  copy.addEventListener('click', () => {
    void copyText(block).then((isCopied) => {
      copy.textContent = isCopied ? 'Copied' : 'Selected';
      setTimeout(() => {
        copy.textContent = 'Copy';
      }, COPIED_MS);
    });
  });
}

/** Browsers give the clipboard to https and localhost only; elsewhere the text is selected for Ctrl+C. */
async function copyText(block: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(block.textContent);
    return true;
  } catch {
    getSelection()?.selectAllChildren(block);
    return false;
  }
}

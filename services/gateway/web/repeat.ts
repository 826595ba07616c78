// Work that is done again and again while the page is looked at.

/** Runs `work` now, and `intervalMs` after each end; not while the page is hidden. `work` handles its own errors. */
export function repeat(intervalMs: number, work: () => Promise<void>): void {
  const turn = async (): Promise<void> => {
    if (!document.hidden) await work();
    setTimeout(() => void turn(), intervalMs);
  };
  void turn();
}

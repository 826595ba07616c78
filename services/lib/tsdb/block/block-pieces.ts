// The files of a block as they travel: one after another, in pieces.
import { open } from 'node:fs/promises';
import { AppError } from '../../core/errors.ts';

/** Largest piece, bytes: the contract's limit (proto/tidemark/v1/store.proto). */
export const PIECE_BYTES_MAX = 1 << 20;
/** Pieces as they are sent: several fit a receive window, and none is large enough to matter for memory. */
export const PIECE_BYTES = 256 * 1024;

export interface BlockPieceBytes {
  /** Index into `files`. */
  readonly file: number;
  /** Owned by the receiver. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Reads files front to back. Leaving the loop closes what is open.
 *
 * @param skipBytes  Bytes of the files, one after another, that are left out at the beginning.
 * @throws AppError `internal` when a file is shorter than it was said to be; the error of the file system as it comes.
 */
export async function* readBlockPieces(
  files: readonly { readonly path: string; readonly sizeBytes: number }[],
  skipBytes = 0,
): AsyncGenerator<BlockPieceBytes> {
  let before = 0;
  for (const [index, { path, sizeBytes }] of files.entries()) {
    const start = Math.max(0, skipBytes - before);
    before += sizeBytes;
    if (start >= sizeBytes && skipBytes > 0) continue;
    const file = await open(path, 'r');
    try {
      for (let at = start; at < sizeBytes; ) {
        const wanted = new Uint8Array(Math.min(PIECE_BYTES, sizeBytes - at));
        const { bytesRead } = await file.read(wanted, 0, wanted.length, at);
        if (bytesRead === 0) {
          throw new AppError('internal', `${path} ends at byte ${at}, expected ${sizeBytes} bytes`);
        }
        yield { file: index, bytes: wanted.subarray(0, bytesRead) };
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
  }
}

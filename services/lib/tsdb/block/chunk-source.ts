// Where the bytes of a block's `chunks` come from: its file beside the index, or wherever else they are kept. The pages in them are checked by
// whoever reads them.
import type { FileHandle } from 'node:fs/promises';

/** The bytes of a `chunks` file. */
export interface ChunkSource {
  /** Reads that may be under way at one time: 1 where they are near, more where each of them waits for an answer. */
  readonly readsAtOnce: number;
  /**
   * Fills `into` from `position` on.
   *
   * @returns  Bytes read; fewer than `into.length` only at the end of the file.
   * @throws the error of the disk, AppError when the bytes cannot be had now, or the signal's reason.
   */
  read(into: Uint8Array, position: number, signal: AbortSignal | undefined): Promise<number>;
  /**
   * Told that bytes [start, end), as `read` gave them, are damaged.
   *
   * @returns  True when they came from a copy, which is dropped now: to be read again once. False: there is no other place.
   */
  distrust(start: number, end: number): Promise<boolean>;
  /** No read may be under way. */
  close(): Promise<void>;
}

/** The file on this disk. Owns the handle from now on. */
export function chunkSourceOfFile(file: FileHandle): ChunkSource {
  return {
    readsAtOnce: 1,
    async read(into, position) {
      let done = 0;
      while (done < into.length) {
        const { bytesRead } = await file.read(into, done, into.length - done, position + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return done;
    },
    distrust: () => Promise.resolve(false),
    close: () => file.close(),
  };
}

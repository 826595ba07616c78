// A file that is only appended to: collects bytes, writes them in large pieces, keeps size and CRC.
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { FileDigest } from './block-meta.ts';

/** Bytes collected before they are written: large enough that calls do not matter. */
const FLUSH_BYTES = 1 << 20;

export class OutputFile {
  readonly #file: FileHandle;
  #pieces: Uint8Array[] = [];
  #pendingBytes = 0;
  #crc = 0;
  sizeBytes = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Creates the file; one that exists is an error. */
  static async create(path: string): Promise<OutputFile> {
    return new OutputFile(await open(path, 'wx'));
  }

  /** Takes the piece over: the caller must not change it afterwards. */
  append(piece: Uint8Array): void {
    this.#crc = crc32(piece, this.#crc);
    this.sizeBytes += piece.length;
    this.#pieces.push(piece);
    this.#pendingBytes += piece.length;
  }

  /** Writes what was collected once it is worth a call. Call it between pieces of work. */
  async flushIfLarge(): Promise<void> {
    if (this.#pendingBytes >= FLUSH_BYTES) await this.#flush();
  }

  /** Writes the rest and closes; the digest is that of the whole file. */
  async close(): Promise<FileDigest> {
    try {
      await this.#flush();
    } finally {
      await this.#file.close();
    }
    return { sizeBytes: this.sizeBytes, crc32: this.#crc };
  }

  /** Closes without caring for what was not written. */
  async abandon(): Promise<void> {
    await this.#file.close().catch(() => undefined);
  }

  async #flush(): Promise<void> {
    const whole = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#pendingBytes = 0;
    for (let at = 0; at < whole.length; ) {
      const { bytesWritten } = await this.#file.write(whole, at, whole.length - at);
      at += bytesWritten;
    }
  }
}

// A file that is only appended to: collects bytes, writes them in large pieces, keeps size and CRC.
import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { Disk } from '../../core/disk.ts';
import type { FileDigest } from './block-meta.ts';

/** Bytes collected before they are written: large enough that calls do not matter. */
const FLUSH_BYTES = 1 << 20;

/** Where the bytes go. */
interface Target {
  write(bytes: Uint8Array, start: number, end: number, position: number): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

export class OutputFile {
  readonly #target: Target;
  #pieces: Uint8Array[] = [];
  #pendingBytes = 0;
  #writtenBytes = 0;
  #crc = 0;
  sizeBytes = 0;

  private constructor(target: Target) {
    this.#target = target;
  }

  /** Creates the file; one that exists is an error. */
  static async create(path: string): Promise<OutputFile> {
    const file = await open(path, 'wx');
    return new OutputFile({
      write: async (bytes, start, end, position) => {
        for (let at = start; at < end; ) {
          const { bytesWritten } = await file.write(bytes, at, end - at, position + at - start);
          at += bytesWritten;
        }
      },
      sync: () => file.datasync(),
      close: () => file.close(),
    });
  }

  /** Creates or empties the file on a disk that the caller names. */
  static async createOn(disk: Disk, path: string): Promise<OutputFile> {
    return new OutputFile(await disk.open(path, 'create'));
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
      await this.#target.close();
    }
    return { sizeBytes: this.sizeBytes, crc32: this.#crc };
  }

  /** As `close`; what was written survives a power cut once the folder is synced too. */
  async closeSynced(): Promise<FileDigest> {
    try {
      await this.#flush();
      await this.#target.sync();
    } finally {
      await this.#target.close();
    }
    return { sizeBytes: this.sizeBytes, crc32: this.#crc };
  }

  /** Closes without caring for what was not written. */
  async abandon(): Promise<void> {
    await this.#target.close().catch(() => undefined);
  }

  async #flush(): Promise<void> {
    const whole = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#pendingBytes = 0;
    await this.#target.write(whole, 0, whole.length, this.#writtenBytes);
    this.#writtenBytes += whole.length;
  }
}

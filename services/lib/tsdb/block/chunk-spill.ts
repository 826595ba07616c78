// Chunk bytes of a block under construction, in order of arrival: in memory as long as they are few, else in a file.
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { assert } from '../../core/assert.ts';
import { ByteWriter } from '../../core/bytes.ts';

/** Bytes collected in memory before they go to the file. A small block never makes one. */
const BUFFER_BYTES = 8 << 20;

export class ChunkSpill {
  readonly #path: string;
  readonly #buffer = new ByteWriter(64 * 1024);
  #fd = -1;
  #spilledBytes = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Copies bytes[start, end); returns the position for `read`. Writes to the file now and then, synchronously. */
  append(bytes: Uint8Array, start: number, end: number): number {
    if (this.#buffer.length >= BUFFER_BYTES) this.#spill();
    const position = this.#spilledBytes + this.#buffer.length;
    this.#buffer.raw(bytes, start, end);
    return position;
  }

  /** Appends the `length` bytes at `position` to `into`. */
  read(position: number, length: number, into: ByteWriter): void {
    const inBuffer = position - this.#spilledBytes;
    if (inBuffer >= 0) {
      into.raw(this.#buffer.bytes, inBuffer, inBuffer + length);
      return;
    }
    into.reserve(length);
    const got = readSync(this.#fd, into.bytes, into.length, length, position);
    assert(got === length, `${this.#path}: ${got} of ${length} bytes at ${position}`);
    into.length += length;
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #spill(): void {
    if (this.#fd < 0) this.#fd = openSync(this.#path, 'wx+');
    const { bytes, length } = this.#buffer;
    for (let at = 0; at < length; ) {
      at += writeSync(this.#fd, bytes, at, length - at, this.#spilledBytes + at);
    }
    this.#spilledBytes += length;
    this.#buffer.reset();
  }
}

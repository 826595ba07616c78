// Buffers that expositions are read into, used again from scrape to scrape: as many as there are scrapes under way at the
// busiest moment, not one per target.

/** Buffers above this are not kept: one huge target must not pin its size for ever. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;
const KEPT_MAX = 64;
const FIRST_BYTES = 64 * 1024;

export class BodyBuffers {
  readonly #free: Uint8Array<ArrayBuffer>[] = [];

  /** A buffer of some size; contents undefined. */
  acquire(): Uint8Array<ArrayBuffer> {
    return this.#free.pop() ?? new Uint8Array(FIRST_BYTES);
  }

  /** A larger buffer with the first `used` bytes of `buffer`, which is given back. */
  grow(buffer: Uint8Array<ArrayBuffer>, used: number, needed: number): Uint8Array<ArrayBuffer> {
    const larger = new Uint8Array(Math.max(needed, buffer.length * 2));
    larger.set(buffer.subarray(0, used));
    this.release(buffer);
    return larger;
  }

  release(buffer: Uint8Array<ArrayBuffer>): void {
    if (buffer.length <= KEPT_BYTES_MAX && this.#free.length < KEPT_MAX) this.#free.push(buffer);
  }
}

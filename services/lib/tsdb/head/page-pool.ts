// Pages of shared memory that a head uses again. V8 does not know the size of shared memory and collects it late, and each thread that
// has seen a page keeps it until its own collection: what a dropped range leaves goes to the ranges that follow.

/** Only pages of so many bytes or more are kept: smaller ones are few. */
const KEPT_BYTES_MIN = 256 * 1024;

/** Invariant after `give`: no more bytes lie idle than are in use. What is beyond goes with V8's collections. */
export class PagePool {
  /** Bytes of a page → pages that nobody uses. */
  readonly #free = new Map<number, SharedArrayBuffer[]>();
  #freeBytes = 0;
  #usedBytes = 0;

  /** Memory of pages that nobody uses. */
  get bytesHeld(): number {
    return this.#freeBytes;
  }

  /** A page of exactly so many bytes, with anything in it. */
  take(bytes: number): SharedArrayBuffer {
    this.#usedBytes += bytes;
    const found = this.#free.get(bytes)?.pop();
    if (found === undefined) return new SharedArrayBuffer(bytes);
    this.#freeBytes -= bytes;
    return found;
  }

  /** Gives pages back that nobody reads any more. */
  give(pages: readonly SharedArrayBuffer[]): void {
    for (const { byteLength } of pages) this.#usedBytes -= byteLength;
    for (const page of pages) {
      const bytes = page.byteLength;
      if (bytes < KEPT_BYTES_MIN || this.#freeBytes + bytes > this.#usedBytes) continue;
      const free = this.#free.get(bytes);
      if (free === undefined) this.#free.set(bytes, [page]);
      else free.push(page);
      this.#freeBytes += bytes;
    }
    for (const [bytes, free] of this.#free) {
      while (free.length > 0 && this.#freeBytes > this.#usedBytes) {
        free.pop();
        this.#freeBytes -= bytes;
      }
    }
  }
}

// Whole chunks of a head's time range: a chain per series, newest first, their bytes in pages. Nothing is taken out: dropping
// the range is dropping this object.
import { assert } from '../../core/assert.ts';
import { grownU32, U32Map } from './columns.ts';

const PAGE_BYTES_MIN = 4096;
/** Largest chunk. */
const PAGE_BYTES_MAX = 1 << 20;
/** A chunk's address: page << 20 | offset. */
const PAGE_SHIFT = 20;

export class ChunkChains {
  /** Unix ms: all chunks lie in [startMs, endMs). */
  readonly startMs: number;
  readonly endMs: number;
  /** Series → its newest chunk. */
  readonly #newest = new U32Map();
  #chunkCount = 0;
  /** Per chunk: the next older one of its series or ABSENT; first and last time behind startMs; place and length. */
  #older: Uint32Array = new Uint32Array(16);
  #firstMs: Uint32Array = new Uint32Array(16);
  #lastMs: Uint32Array = new Uint32Array(16);
  #at: Uint32Array = new Uint32Array(16);
  #bytes: Uint32Array = new Uint32Array(16);
  readonly #pages: Uint8Array[] = [];
  #pageUsed = 0;
  #bytesHeld = 0;

  constructor(startMs: number, endMs: number) {
    this.startMs = startMs;
    this.endMs = endMs;
  }

  get bytesHeld(): number {
    return this.#bytesHeld + this.#newest.bytesHeld + this.#older.length * 20;
  }

  get chunkCount(): number {
    return this.#chunkCount;
  }

  /** Takes a copy of a whole chunk of this range. */
  addChunk(
    series: number,
    firstMs: number,
    lastMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    assert(firstMs >= this.startMs && lastMs < this.endMs && firstMs <= lastMs, 'a chunk lies in its range');
    const length = end - start;
    const chunk = this.#chunkCount;
    this.#growChunks(chunk + 1);
    this.#older[chunk] = this.#newest.get(series);
    this.#firstMs[chunk] = firstMs - this.startMs;
    this.#lastMs[chunk] = lastMs - this.startMs;
    this.#at[chunk] = this.#takeRoom(length);
    this.#bytes[chunk] = length;
    this.#pages[this.#pages.length - 1]!.set(bytes.subarray(start, end), this.#at[chunk]! & 0xfffff);
    this.#newest.set(series, chunk);
    this.#chunkCount = chunk + 1;
  }

  /** Newest chunk of a series, or ABSENT; go on with `olderChunk`. Numbers stay valid as long as the range. */
  newestChunk(series: number): number {
    return this.#newest.get(series);
  }

  olderChunk(chunk: number): number {
    return this.#older[chunk]!;
  }

  chunkFirstMs(chunk: number): number {
    return this.startMs + this.#firstMs[chunk]!;
  }

  chunkLastMs(chunk: number): number {
    return this.startMs + this.#lastMs[chunk]!;
  }

  /** The chunk stands in chunkPage(chunk)[chunkOffset(chunk), + chunkBytes(chunk)). */
  chunkPage(chunk: number): Uint8Array {
    return this.#pages[this.#at[chunk]! >>> PAGE_SHIFT]!;
  }

  chunkOffset(chunk: number): number {
    return this.#at[chunk]! & 0xfffff;
  }

  chunkBytes(chunk: number): number {
    return this.#bytes[chunk]!;
  }

  /** Series with chunks here, ascending, each once. */
  seriesIds(): Uint32Array {
    return this.#newest.sortedKeys();
  }

  /** Address of `length` bytes in the last page. */
  #takeRoom(length: number): number {
    const page = this.#pages[this.#pages.length - 1];
    if (page === undefined || this.#pageUsed + length > page.length) {
      const size = Math.min(PAGE_BYTES_MAX, PAGE_BYTES_MIN * 2 ** this.#pages.length);
      assert(length <= PAGE_BYTES_MAX && this.#pages.length < 4096, `range of ${this.#pages.length} pages`);
      this.#pages.push(new Uint8Array(Math.max(size, length)));
      this.#bytesHeld += Math.max(size, length);
      this.#pageUsed = 0;
    }
    const address = (((this.#pages.length - 1) << PAGE_SHIFT) | this.#pageUsed) >>> 0;
    this.#pageUsed += length;
    return address;
  }

  #growChunks(needed: number): void {
    if (needed <= this.#older.length) return;
    this.#older = grownU32(this.#older, needed);
    const length = this.#older.length;
    this.#firstMs = grownU32(this.#firstMs, length);
    this.#lastMs = grownU32(this.#lastMs, length);
    this.#at = grownU32(this.#at, length);
    this.#bytes = grownU32(this.#bytes, length);
  }
}

// Whole chunks of a head's time range: a chain per series, newest first, their bytes in pages. Nothing is taken out: dropping
// the range is dropping this object.
import { assert } from '../../core/assert.ts';
import { grownU32, U32Map } from './columns.ts';

const PAGE_BYTES_MIN = 4096;
/** Largest chunk. */
const PAGE_BYTES_MAX = 1 << 20;
/** A chunk's address: page << 20 | offset. */
const PAGE_SHIFT = 20;

// What is known of a chunk stands side by side: who reads one of them reads all, and series are read in an order that memory does not have.
/** The next older chunk of its series or ABSENT. */
const OLDER = 0;
/** Time of the first and of the last sample, behind startMs. */
const FIRST_MS = 1;
const LAST_MS = 2;
const ADDRESS = 3;
const BYTES = 4;
const WORDS = 5;
/** Chunks that are known side by side: the first so many grow, further ones have their full room at once, and nothing is moved. */
const KNOWN_SHIFT = 14;
const KNOWN_MASK = (1 << KNOWN_SHIFT) - 1;
const KNOWN_MIN = 16;

export class ChunkChains {
  /** Unix ms: all chunks lie in [startMs, endMs). */
  readonly startMs: number;
  readonly endMs: number;
  /** Series → its newest chunk. */
  readonly #newest = new U32Map();
  #chunkCount = 0;
  /** Per chunk WORDS words. */
  readonly #known: Uint32Array[] = [new Uint32Array(KNOWN_MIN * WORDS)];
  readonly #pages: Uint8Array[] = [];
  #pageUsed = 0;
  #bytesHeld = 0;

  constructor(startMs: number, endMs: number) {
    this.startMs = startMs;
    this.endMs = endMs;
  }

  get bytesHeld(): number {
    return this.#bytesHeld + this.#newest.bytesHeld + this.#knownBytes;
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
    const address = this.#takeRoom(length);
    const known = this.#roomFor(chunk);
    const at = (chunk & KNOWN_MASK) * WORDS;
    known[at + OLDER] = this.#newest.get(series);
    known[at + FIRST_MS] = firstMs - this.startMs;
    known[at + LAST_MS] = lastMs - this.startMs;
    known[at + ADDRESS] = address;
    known[at + BYTES] = length;
    this.#pages[this.#pages.length - 1]!.set(bytes.subarray(start, end), address & 0xfffff);
    this.#newest.set(series, chunk);
    this.#chunkCount = chunk + 1;
  }

  /** Newest chunk of a series, or ABSENT; go on with `olderChunk`. Numbers stay valid as long as the range. */
  newestChunk(series: number): number {
    return this.#newest.get(series);
  }

  olderChunk(chunk: number): number {
    return this.#knownOf(chunk, OLDER);
  }

  chunkFirstMs(chunk: number): number {
    return this.startMs + this.#knownOf(chunk, FIRST_MS);
  }

  chunkLastMs(chunk: number): number {
    return this.startMs + this.#knownOf(chunk, LAST_MS);
  }

  /** The chunk stands in chunkPage(chunk)[chunkOffset(chunk), + chunkBytes(chunk)). */
  chunkPage(chunk: number): Uint8Array {
    return this.#pages[this.#knownOf(chunk, ADDRESS) >>> PAGE_SHIFT]!;
  }

  chunkOffset(chunk: number): number {
    return this.#knownOf(chunk, ADDRESS) & 0xfffff;
  }

  chunkBytes(chunk: number): number {
    return this.#knownOf(chunk, BYTES);
  }

  /** Series with chunks here, ascending, each once. */
  seriesIds(): Uint32Array {
    return this.#newest.sortedKeys();
  }

  #knownOf(chunk: number, word: number): number {
    return this.#known[chunk >>> KNOWN_SHIFT]![(chunk & KNOWN_MASK) * WORDS + word]!;
  }

  get #knownBytes(): number {
    return this.#known.reduce((bytes, { byteLength }) => bytes + byteLength, 0);
  }

  /** What the next chunk's words stand in. */
  #roomFor(chunk: number): Uint32Array {
    const page = chunk >>> KNOWN_SHIFT;
    const room = this.#known[page] ?? new Uint32Array((KNOWN_MASK + 1) * WORDS);
    this.#known[page] = grownU32(room, ((chunk & KNOWN_MASK) + 1) * WORDS);
    return this.#known[page];
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
}

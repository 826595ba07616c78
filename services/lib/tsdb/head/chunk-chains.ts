// Whole chunks of a head's time range: a chain per series, newest first, their bytes in pages. Nothing is taken out, and nothing that
// was written changes: other threads read the pages as they are. When nobody holds the chains any more the pages are used again.
import { assert } from '../../core/assert.ts';
import {
  ADDRESS,
  ADDRESS_SHIFT,
  BYTES,
  CHUNK_WORDS,
  FIRST_MS,
  KNOWN_MASK,
  KNOWN_SHIFT,
  LAST_MS,
  OFFSET_MASK,
  OLDER,
} from './chain-layout.ts';
import { U32Map } from './columns.ts';
import { PagePool } from './page-pool.ts';

const PAGE_BYTES_MIN = 4096;
/** Largest chunk. */
const PAGE_BYTES_MAX = 1 << ADDRESS_SHIFT;
const KNOWN_MIN = 16;
const KNOWN_BYTES_MAX = (1 << KNOWN_SHIFT) * CHUNK_WORDS * 4;

type Words = Uint32Array<SharedArrayBuffer>;

export class ChunkChains {
  /** Unix ms: all chunks lie in [startMs, endMs). */
  readonly startMs: number;
  readonly endMs: number;
  /** Series → its newest chunk. */
  readonly #newest = new U32Map();
  #chunkCount = 0;
  /** Per chunk CHUNK_WORDS words. */
  readonly #known: Words[] = [];
  readonly #pages: Uint8Array<SharedArrayBuffer>[] = [];
  #pageUsed = 0;
  #bytesHeld = 0;
  readonly pool: PagePool;
  /** The head, and whoever reads across turns or in other threads. */
  #holders = 1;

  /** @param pool  Where pages come from, and go to in the end. */
  constructor(startMs: number, endMs: number, pool: PagePool = new PagePool()) {
    this.startMs = startMs;
    this.endMs = endMs;
    this.pool = pool;
  }

  /** Keeps all pages as they are until `letGo`, even when the head drops the range before. */
  hold(): void {
    assert(this.#holders > 0, 'what nobody holds is gone');
    this.#holders++;
  }

  /** Ends one `hold`, or the head's own. Nothing can be read when it was the last. */
  letGo(): void {
    assert(this.#holders > 0, 'as many let go as hold');
    if (--this.#holders > 0) return;
    this.pool.give([...this.#pages.splice(0), ...this.#known.splice(0)].map(({ buffer }) => buffer));
    this.#chunkCount = 0;
  }

  /** What is known of the chunks (chain-layout.ts). The first page may be replaced by a longer copy. */
  get knownPages(): readonly Words[] {
    return this.#known;
  }

  /** Bytes of the chunks. Pages are only added. */
  get bytePages(): readonly Uint8Array<SharedArrayBuffer>[] {
    return this.#pages;
  }

  get bytesHeld(): number {
    return this.#bytesHeld + this.#newest.bytesHeld + this.#knownBytes;
  }

  get chunkCount(): number {
    return this.#chunkCount;
  }

  /** The mean of all series that have chunks here; 0 without any. */
  get chunksPerSeries(): number {
    return this.#chunkCount / Math.max(1, this.#newest.size);
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
    const at = (chunk & KNOWN_MASK) * CHUNK_WORDS;
    known[at + OLDER] = this.#newest.get(series);
    known[at + FIRST_MS] = firstMs - this.startMs;
    known[at + LAST_MS] = lastMs - this.startMs;
    known[at + ADDRESS] = address;
    known[at + BYTES] = length;
    this.#pages[this.#pages.length - 1]!.set(bytes.subarray(start, end), address & OFFSET_MASK);
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
  chunkPage(chunk: number): Uint8Array<SharedArrayBuffer> {
    return this.#pages[this.#knownOf(chunk, ADDRESS) >>> ADDRESS_SHIFT]!;
  }

  chunkOffset(chunk: number): number {
    return this.#knownOf(chunk, ADDRESS) & OFFSET_MASK;
  }

  chunkBytes(chunk: number): number {
    return this.#knownOf(chunk, BYTES);
  }

  /** Series with chunks here, ascending, each once. */
  seriesIds(): Uint32Array {
    return this.#newest.sortedKeys();
  }

  #knownOf(chunk: number, word: number): number {
    return this.#known[chunk >>> KNOWN_SHIFT]![(chunk & KNOWN_MASK) * CHUNK_WORDS + word]!;
  }

  get #knownBytes(): number {
    return this.#known.reduce((bytes, { byteLength }) => bytes + byteLength, 0);
  }

  /** What the next chunk's words stand in. */
  #roomFor(chunk: number): Words {
    const page = chunk >>> KNOWN_SHIFT;
    const room = this.#known[page];
    const needed = ((chunk & KNOWN_MASK) + 1) * CHUNK_WORDS;
    if (room !== undefined && needed <= room.length) return room;
    const length = Math.max(2 * (room?.length ?? 0), KNOWN_MIN * CHUNK_WORDS);
    const grown: Words = new Uint32Array(this.pool.take(page > 0 ? KNOWN_BYTES_MAX : length * 4));
    if (room !== undefined) {
      grown.set(room);
      // Too small to be used again: some thread may read it still.
      this.pool.give([room.buffer]);
    }
    this.#known[page] = grown;
    return grown;
  }

  /** Address of `length` bytes in the last page. */
  #takeRoom(length: number): number {
    const page = this.#pages[this.#pages.length - 1];
    if (page === undefined || this.#pageUsed + length > page.length) {
      const size = Math.min(PAGE_BYTES_MAX, PAGE_BYTES_MIN * 2 ** this.#pages.length);
      assert(length <= PAGE_BYTES_MAX && this.#pages.length < 4096, `range of ${this.#pages.length} pages`);
      this.#pages.push(new Uint8Array(this.pool.take(Math.max(size, length))));
      this.#bytesHeld += Math.max(size, length);
      this.#pageUsed = 0;
    }
    const address = (((this.#pages.length - 1) << ADDRESS_SHIFT) | this.#pageUsed) >>> 0;
    this.#pageUsed += length;
    return address;
  }
}

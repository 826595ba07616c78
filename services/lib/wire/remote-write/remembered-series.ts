// The label bytes of the cache's series, in a kernel's memory: what a sender sends in the order of its last requests is compared with
// them and taken (kernel/assembly/known-series.ts), which costs a fifth of hashing and needs no trust in a hash. A request of a usual
// size is decoded in the same memory.
import { decompressSnappyIn, snappyRoomBytes } from '../compression/snappy.ts';
import { WireKernel } from '../kernel/wire-kernel.ts';
import type { RemoteWriteColumns } from './remote-write-columns.ts';
import type { RemoteWriteSeriesCache } from './remote-write-series-cache.ts';

/** Room for a request, compressed and decompressed, doubles from the least to the most as requests need it. */
const REQUEST_BYTES_MIN = 1 << 16;
/** Larger requests are decoded elsewhere, and their series hashed. */
const REQUEST_BYTES_MAX = 1 << 22;
/** Room for a series' own bytes, on average: a usual one has 25, and there is room for longer ones. */
const OWN_BYTES_EACH = 48;
/** Entries above are not remembered: a memory has 4 GiB. */
const ENTRIES_MAX = 1 << 25;

/** Counts that grow by what was taken. */
export interface Taken {
  series: number;
  samples: number;
}

export class RememberedSeries {
  readonly #kernel = new WireKernel(REQUEST_BYTES_MIN);
  readonly #cache: RemoteWriteSeriesCache;
  /** Whose positions the table's entries are. */
  #generation = -1;
  /** The table begins behind this room for requests. */
  #requestBytes = REQUEST_BYTES_MIN;
  /** Where the request begins in the memory; -1 when it does not stand there. */
  #base = -1;
  #references = new Uint32Array(0);
  #timestampsMs = new Float64Array(0);
  #values = new Float64Array(0);

  constructor(cache: RemoteWriteSeriesCache) {
    this.#cache = cache;
  }

  /** Bytes that the series take here. */
  get memoryBytes(): number {
    return this.#generation < 0 ? 0 : this.#kernel.exports.ownNext.value - this.#tableAt;
  }

  get #tableAt(): number {
    return this.#kernel.room + this.#requestBytes;
  }

  /** Before each request. Byte arrays that `decompress` returned are of no use afterwards. */
  maintain(): void {
    if (this.#generation !== this.#cache.generation) this.#layTable();
  }

  /** Makes an empty table for the cache's generation. */
  #layTable(): void {
    const kernel = this.#kernel;
    const { ENTRY_BYTES, REFERENCES, TIMESTAMPS, VALUES, TAKEN_MAX, ownNext } = kernel.exports;
    const capacity = Math.min(this.#cache.capacity, ENTRIES_MAX);
    const at = this.#tableAt;
    // What was used before is zero again where the table and its bytes will be.
    if (ownNext.value > at) kernel.bytes.fill(0, at, ownNext.value);
    const end = at + capacity * (ENTRY_BYTES.value + OWN_BYTES_EACH);
    kernel.grow(end);
    kernel.exports.layTable(at, capacity, end);
    const { buffer } = kernel.bytes;
    this.#references = new Uint32Array(buffer, REFERENCES.value, TAKEN_MAX.value);
    this.#timestampsMs = new Float64Array(buffer, TIMESTAMPS.value, TAKEN_MAX.value);
    this.#values = new Float64Array(buffer, VALUES.value, TAKEN_MAX.value);
    this.#generation = this.#cache.generation;
  }

  /** Makes room for a request, if it may have so much; what is remembered has to go for it, a few times in a life. */
  #makeRoom(bytes: number): void {
    if (bytes <= this.#requestBytes || this.#requestBytes === REQUEST_BYTES_MAX) return;
    while (this.#requestBytes < bytes && this.#requestBytes < REQUEST_BYTES_MAX) this.#requestBytes *= 2;
    this.#layTable();
  }

  /** Decompresses a request to where its series are found fastest. The rest as `decompressSnappyIn`. */
  decompress(src: Uint8Array): Uint8Array {
    this.#makeRoom(snappyRoomBytes(src));
    return decompressSnappyIn(this.#kernel, this.#requestBytes, src);
  }

  /** The request in bytes[0, length) is walked next; copied where it did not come out of `decompress`. */
  begin(bytes: Uint8Array, length: number): void {
    const kernel = this.#kernel;
    const isInside = bytes.buffer === kernel.bytes.buffer;
    if (!isInside) this.#makeRoom(length);
    kernel.exports.before.value = -1;
    if (isInside) this.#base = bytes.byteOffset;
    else if (length <= this.#requestBytes) {
      this.#base = kernel.room;
      kernel.bytes.set(bytes.subarray(0, length), this.#base);
    } else this.#base = -1;
  }

  /**
   * Takes what stands in the request from `at` on as long as one series after another is the one that is due, with one usual sample.
   *
   * @returns Where the first other field begins; the request's length when there is none.
   */
  take(at: number, length: number, columns: RemoteWriteColumns, decoded: Taken): number {
    if (this.#base < 0 || this.#generation !== this.#cache.generation) return at;
    const { exports } = this.#kernel;
    const end = this.#base + length;
    let from = this.#base + at;
    exports.next.value = this.#cache.next;
    for (let isFull = true; isFull; ) {
      from = exports.takeKnown(from, end);
      const taken = exports.taken.value;
      if (taken > 0) this.#append(taken, columns);
      decoded.series += taken;
      decoded.samples += taken;
      isFull = taken === this.#references.length;
    }
    this.#cache.next = exports.next.value;
    return from - this.#base;
  }

  /** Notes that the label bytes [start, end) of the request are those of the cache's entry at a position. */
  remember(position: number, start: number, end: number): void {
    if (this.#base < 0 || this.#generation !== this.#cache.generation) return;
    const reference = this.#cache.referenceAt(position);
    this.#kernel.exports.rememberKnown(position, this.#base + start, this.#base + end, reference);
  }

  #append(taken: number, columns: RemoteWriteColumns): void {
    const { count } = columns;
    while (count + taken > columns.references.length) columns.grow();
    columns.references.set(this.#references.subarray(0, taken), count);
    columns.timestampsMs.set(this.#timestampsMs.subarray(0, taken), count);
    columns.values.set(this.#values.subarray(0, taken), count);
    columns.count = count + taken;
  }
}

// What a head holds of one closed-ended time range besides open chunks: closed chunks, and loose samples that came out of
// order. Chunks of a series form a chain, newest first. Loose samples become chunks when there are many of them, so that
// a backfill is bounded whatever the number of ranges it touches. Dropping a range is dropping this object.
import { assert } from '../../core/assert.ts';
import { ByteWriter } from '../../core/bytes.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { sortAndDedupeSamples } from '../chunk/merge-samples.ts';
import { decodeXorChunk } from '../chunk/xor-decoder.ts';
import { encodeXorChunk } from '../chunk/xor-encoder.ts';
import { ABSENT, grownF64, grownU32, U32Map } from './columns.ts';

/** Loose samples are turned into chunks at this number: 28 bytes each while loose, about 2 afterwards. */
const LOOSE_SAMPLES_MAX = 16_384;
const PAGE_BYTES_MIN = 4096;
const PAGE_BYTES_MAX = 1 << 20;
/** A chunk's address: page << 20 | offset. */
const PAGE_SHIFT = 20;

export interface RangeChunksOptions {
  /** Unix ms: the range is [startMs, endMs). */
  readonly startMs: number;
  readonly endMs: number;
  /** Log segment of the first sample in it: older segments hold none of its samples. */
  readonly firstSegment: number;
  readonly chunkSamplesTarget: number;
}

export class RangeChunks {
  readonly startMs: number;
  readonly endMs: number;
  readonly firstSegment: number;
  /** Tells frozen ranges of one head apart, in the log too; 0 while the range is open. */
  generation = 0;
  readonly #chunkSamplesTarget: number;
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
  /** Series → its newest loose sample. */
  #looseNewest = new U32Map();
  #looseCount = 0;
  #looseOlder: Uint32Array = new Uint32Array(0);
  #looseSeries: Uint32Array = new Uint32Array(0);
  #looseTimesMs: Float64Array = new Float64Array(0);
  #looseLow: Uint32Array = new Uint32Array(0);
  #looseHigh: Uint32Array = new Uint32Array(0);
  #bytesHeld = 0;

  constructor(options: RangeChunksOptions) {
    this.startMs = options.startMs;
    this.endMs = options.endMs;
    this.firstSegment = options.firstSegment;
    this.#chunkSamplesTarget = options.chunkSamplesTarget;
  }

  get bytesHeld(): number {
    const maps = this.#newest.bytesHeld + this.#looseNewest.bytesHeld;
    return this.#bytesHeld + maps + this.#older.length * 20 + this.#looseSeries.length * 24;
  }

  get chunkCount(): number {
    return this.#chunkCount;
  }

  /** Takes a copy of a whole XOR chunk of this range. */
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

  /** Takes a sample that does not fit the series' open chunk. Values as words. */
  addLoose(series: number, timeMs: number, low: number, high: number): void {
    if (this.#looseCount >= LOOSE_SAMPLES_MAX) this.#packLoose();
    const sample = this.#looseCount;
    this.#growLoose(sample + 1);
    this.#looseSeries[sample] = series;
    this.#looseTimesMs[sample] = timeMs;
    this.#looseLow[sample] = low;
    this.#looseHigh[sample] = high;
    this.#looseOlder[sample] = this.#looseNewest.get(series);
    this.#looseNewest.set(series, sample);
    this.#looseCount = sample + 1;
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

  /** Appends the series' loose samples to `into`, in no order, times repeated perhaps. */
  readLoose(series: number, into: SampleColumns): void {
    let sample = this.#looseNewest.get(series);
    if (sample === ABSENT) return;
    for (; sample !== ABSENT; sample = this.#looseOlder[sample]!) {
      into.reserve(into.count + 1);
      const at = into.count++;
      into.timestampsMs[at] = this.#looseTimesMs[sample]!;
      putWords(into.values, at, this.#looseLow[sample]!, this.#looseHigh[sample]!);
    }
  }

  hasLoose(series: number): boolean {
    return this.#looseCount > 0 && this.#looseNewest.get(series) !== ABSENT;
  }

  /** Overwrites `into` with all samples of the series in this range, sorted, each time once. */
  readSeries(series: number, into: SampleColumns): void {
    into.count = 0;
    for (let chunk = this.#newest.get(series); chunk !== ABSENT; chunk = this.#older[chunk]!) {
      const start = this.chunkOffset(chunk);
      decodeXorChunk(this.chunkPage(chunk), start, start + this.#bytes[chunk]!, into);
    }
    this.readLoose(series, into);
    sortAndDedupeSamples(into);
  }

  /** Series with samples here, ascending, each once. */
  seriesIds(): Uint32Array {
    const withChunks = this.#newest.sortedKeys();
    if (this.#looseCount === 0) return withChunks;
    const loose = this.#looseNewest.sortedKeys();
    const extra = loose.filter((series) => this.#newest.get(series) === ABSENT);
    const all = new Uint32Array(withChunks.length + extra.length);
    all.set(withChunks);
    all.set(extra, withChunks.length);
    return all.sort();
  }

  /** Oldest and newest sample, Unix ms; undefined without samples. Looks at every chunk. */
  timeBounds(): { minTimeMs: number; maxTimeMs: number } | undefined {
    let minTimeMs = Number.POSITIVE_INFINITY;
    let maxTimeMs = Number.NEGATIVE_INFINITY;
    for (let chunk = 0; chunk < this.#chunkCount; chunk++) {
      minTimeMs = Math.min(minTimeMs, this.chunkFirstMs(chunk));
      maxTimeMs = Math.max(maxTimeMs, this.chunkLastMs(chunk));
    }
    for (let sample = 0; sample < this.#looseCount; sample++) {
      minTimeMs = Math.min(minTimeMs, this.#looseTimesMs[sample]!);
      maxTimeMs = Math.max(maxTimeMs, this.#looseTimesMs[sample]!);
    }
    return maxTimeMs < minTimeMs ? undefined : { minTimeMs, maxTimeMs };
  }

  /** Turns all loose samples into chunks. */
  #packLoose(): void {
    const series = this.#looseNewest.sortedKeys();
    const columns = new SampleColumns();
    const encoded = new ByteWriter(4096);
    for (const id of series) {
      columns.count = 0;
      this.readLoose(id, columns);
      sortAndDedupeSamples(columns);
      for (let from = 0; from < columns.count; from += this.#chunkSamplesTarget) {
        const to = Math.min(columns.count, from + this.#chunkSamplesTarget);
        encoded.reset();
        encodeXorChunk(columns.timestampsMs, columns.values, from, to, encoded);
        const { timestampsMs } = columns;
        this.addChunk(id, timestampsMs[from]!, timestampsMs[to - 1]!, encoded.bytes, 0, encoded.length);
      }
    }
    this.#looseCount = 0;
    this.#looseNewest = new U32Map();
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

  #growLoose(needed: number): void {
    if (needed <= this.#looseSeries.length) return;
    this.#looseSeries = grownU32(this.#looseSeries, needed);
    const length = this.#looseSeries.length;
    this.#looseOlder = grownU32(this.#looseOlder, length);
    this.#looseLow = grownU32(this.#looseLow, length);
    this.#looseHigh = grownU32(this.#looseHigh, length);
    this.#looseTimesMs = grownF64(this.#looseTimesMs, length);
  }
}

/** Writes one value by its words. */
function putWords(values: Float64Array<ArrayBuffer>, at: number, low: number, high: number): void {
  const words = wordsOf(values.subarray(at, at + 1));
  words[0] = low;
  words[1] = high;
}

// What a head holds of one closed-ended time range besides open chunks: closed chunks, and loose samples that came out of
// order. Chunks of a series form a chain, newest first. Loose samples become chunks when there are many of them, so that
// a backfill is bounded whatever the number of ranges it touches. Dropping a range is dropping this object.
import { ByteWriter } from '../../core/bytes.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { ChunkEncoder } from '../chunk/chunk-encoder.ts';
import { decodeChunk } from '../chunk/decode-chunk.ts';
import { sortAndDedupeSamples } from '../chunk/merge-samples.ts';
import { ChunkChains } from './chunk-chains.ts';
import { closedChunkEncoding } from './closed-chunks.ts';
import { ABSENT, grownF64, grownU32, U32Map } from './columns.ts';
import type { PagePool } from './page-pool.ts';
import type { RangeExtras } from './range-extras.ts';

/** Loose samples are turned into chunks (closed-chunks.ts) at this number: 28 bytes each while loose, about 2 afterwards. */
const LOOSE_SAMPLES_MAX = 16_384;

export interface RangeChunksOptions {
  /** Unix ms: the range is [startMs, endMs). */
  readonly startMs: number;
  readonly endMs: number;
  /** Log segment of the first sample in it: older segments hold none of its samples. */
  readonly firstSegment: number;
  readonly chunkSamplesTarget: number;
  /** Where pages come from. Default: its own. */
  readonly pool?: PagePool;
}

export class RangeChunks extends ChunkChains {
  readonly firstSegment: number;
  /** Tells frozen ranges of one head apart, in the log too; 0 while the range is open. */
  generation = 0;
  readonly #chunkSamplesTarget: number;
  /** Series → its newest loose sample. */
  #looseNewest = new U32Map();
  #looseCount = 0;
  #looseOlder: Uint32Array = new Uint32Array(0);
  #looseSeries: Uint32Array = new Uint32Array(0);
  #looseTimesMs: Float64Array = new Float64Array(0);
  #looseLow: Uint32Array = new Uint32Array(0);
  #looseHigh: Uint32Array = new Uint32Array(0);
  /** Histograms and exemplars of the range; undefined as long as there are none. */
  extras: RangeExtras | undefined;

  constructor(options: RangeChunksOptions) {
    super(options.startMs, options.endMs, options.pool);
    this.firstSegment = options.firstSegment;
    this.#chunkSamplesTarget = options.chunkSamplesTarget;
  }

  override get bytesHeld(): number {
    const loose = this.#looseNewest.bytesHeld + this.#looseSeries.length * 24;
    return super.bytesHeld + loose + (this.extras?.bytesHeld ?? 0);
  }

  override get chunkCount(): number {
    return super.chunkCount + (this.extras?.histogramChunks.chunkCount ?? 0);
  }

  /** Closed chunks of floats. */
  get floatChunkCount(): number {
    return super.chunkCount;
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

  /** Loose samples, of all series. */
  get looseCount(): number {
    return this.#looseCount;
  }

  hasLoose(series: number): boolean {
    return this.#looseCount > 0 && this.#looseNewest.get(series) !== ABSENT;
  }

  /** Overwrites `into` with all samples of the series in this range, sorted, each time once. */
  readSeries(series: number, into: SampleColumns): void {
    into.count = 0;
    for (let chunk = this.newestChunk(series); chunk !== ABSENT; chunk = this.olderChunk(chunk)) {
      const start = this.chunkOffset(chunk);
      const page = this.chunkPage(chunk);
      decodeChunk(closedChunkEncoding(page, start), page, start, start + this.chunkBytes(chunk), into);
    }
    this.readLoose(series, into);
    sortAndDedupeSamples(into);
  }

  /** Series with samples or exemplars here, ascending, each once. */
  override seriesIds(): Uint32Array {
    const lists = [super.seriesIds(), this.#looseNewest.sortedKeys(), ...(this.extras?.seriesLists() ?? [])];
    return uniteIds(lists.filter(({ length }) => length > 0));
  }

  /** Oldest and newest sample, Unix ms; undefined without samples. Looks at every chunk. */
  timeBounds(): { minTimeMs: number; maxTimeMs: number } | undefined {
    let minTimeMs = Number.POSITIVE_INFINITY;
    let maxTimeMs = Number.NEGATIVE_INFINITY;
    for (let chunk = 0; chunk < super.chunkCount; chunk++) {
      minTimeMs = Math.min(minTimeMs, this.chunkFirstMs(chunk));
      maxTimeMs = Math.max(maxTimeMs, this.chunkLastMs(chunk));
    }
    this.extras?.forEachHistogramTime((timeMs) => {
      minTimeMs = Math.min(minTimeMs, timeMs);
      maxTimeMs = Math.max(maxTimeMs, timeMs);
    });
    for (let sample = 0; sample < this.#looseCount; sample++) {
      minTimeMs = Math.min(minTimeMs, this.#looseTimesMs[sample]!);
      maxTimeMs = Math.max(maxTimeMs, this.#looseTimesMs[sample]!);
    }
    return maxTimeMs < minTimeMs ? undefined : { minTimeMs, maxTimeMs };
  }

  /**
   * Keeps all chunks readable, should the head drop the range meanwhile, for who reads across turns of the event loop.
   *
   * @returns  What ends it.
   */
  holdAll(): () => void {
    const held: ChunkChains[] = [this, ...(this.extras === undefined ? [] : [this.extras.histogramChunks])];
    for (const chains of held) chains.hold();
    return () => {
      for (const chains of held) chains.letGo();
    };
  }

  /** Turns all loose samples into chunks. */
  #packLoose(): void {
    const series = this.#looseNewest.sortedKeys();
    const columns = new SampleColumns();
    const encoded = new ByteWriter(4096);
    const encoder = new ChunkEncoder(this.#chunkSamplesTarget);
    for (const id of series) {
      columns.count = 0;
      this.readLoose(id, columns);
      sortAndDedupeSamples(columns);
      for (let from = 0; from < columns.count; from += this.#chunkSamplesTarget) {
        const to = Math.min(columns.count, from + this.#chunkSamplesTarget);
        encoded.reset();
        encoder.encode(columns.timestampsMs, columns.values, from, to, encoded);
        const { timestampsMs } = columns;
        this.addChunk(id, timestampsMs[from]!, timestampsMs[to - 1]!, encoded.bytes, 0, encoded.length);
      }
    }
    this.#looseCount = 0;
    this.#looseNewest = new U32Map();
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

/** One ascending list of ascending ones, each id once. */
function uniteIds(lists: readonly Uint32Array[]): Uint32Array {
  if (lists.length <= 1) return lists[0] ?? new Uint32Array(0);
  const all = new Uint32Array(lists.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const list of lists) {
    all.set(list, at);
    at += list.length;
  }
  all.sort();
  let kept = 0;
  for (const id of all) if (kept === 0 || all[kept - 1] !== id) all[kept++] = id;
  return all.slice(0, kept);
}

/** Writes one value by its words. */
function putWords(values: Float64Array<ArrayBuffer>, at: number, low: number, high: number): void {
  const words = wordsOf(values.subarray(at, at + 1));
  words[0] = low;
  words[1] = high;
}

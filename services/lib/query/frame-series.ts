// What PromQL reads of one node's own samples: the series of its frames, in label order. A head gives each series once; of blocks each gives a
// run of its own, and what several have is united here. Where several nodes' answers are united, the querier has its own
// (services/querier/selection/series-union.ts).
import { AppError } from '../core/errors.ts';
import { CHUNK_EXEMPLARS, CHUNK_START_TIMES, type ChunkSink } from '../model/chunk-sink.ts';
import { compareLabelBytes } from '../model/label-bytes.ts';
import { Labels } from '../model/labels.ts';
import type { SeriesSet } from '../model/queryable.ts';
import { ReplicaLabels } from '../model/replica-labels.ts';
import type { SampleColumns } from '../model/sample-columns.ts';
import { mergeHistograms } from '../tsdb/chunk/merge-histograms.ts';
import { appendSamples } from '../tsdb/chunk/merge-samples.ts';
import { SeriesSamples } from '../tsdb/chunk/series-samples.ts';
import { readSeriesFrame } from '../wire/frames/series-frame.ts';
import { cutToRange } from './cut-to-range.ts';

/** Bytes of a series and of a chunk in the columns below, room for growth included. */
const SERIES_BYTES = 32;
const CHUNK_BYTES = 48;
/** Bytes of a series of one run where there are several: its place in the order, and who follows it. */
const UNITED_BYTES = 12;
const NONE = 0xffff_ffff;

/** Frames of one node. Fill with `addFrame`, `settle`, then read by series index. */
export class FrameSeries implements SeriesSet, ChunkSink {
  readonly warnings: readonly string[] = [];
  readonly #charge: (bytes: number) => void;
  readonly #replicaLabels: ReplicaLabels;
  readonly #frames: Uint8Array[] = [];
  /** Series of all runs, as they came: entries below. */
  #entries = 0;
  /** First entry of each run. */
  readonly #runs: number[] = [];
  /** By series index, its first entry, and by entry, the same series' one of a later run; undefined where entries are the series. */
  #order: Uint32Array<ArrayBuffer> | undefined;
  #next: Uint32Array<ArrayBuffer> | undefined;
  #seriesFrame: Uint32Array<ArrayBuffer> = new Uint32Array(64);
  #labelStart: Uint32Array<ArrayBuffer> = new Uint32Array(64);
  #labelEnd: Uint32Array<ArrayBuffer> = new Uint32Array(64);
  /** First chunk of each series, and of the one that would come next. */
  #firstChunk: Uint32Array<ArrayBuffer> = new Uint32Array(65);
  #chunkCount = 0;
  #chunkStart: Uint32Array<ArrayBuffer> = new Uint32Array(64);
  #chunkEnd: Uint32Array<ArrayBuffer> = new Uint32Array(64);
  #chunkMinMs: Float64Array<ArrayBuffer> = new Float64Array(64);
  #chunkMaxMs: Float64Array<ArrayBuffer> = new Float64Array(64);
  #chunkEncoding: Uint8Array<ArrayBuffer> = new Uint8Array(64);
  #hasReplicas = false;
  readonly #samples = new SeriesSamples();

  /**
   * @param charge         Is told of every byte that is held.
   * @param replicaLabels  Labels by which `hasReplicas` is told.
   */
  constructor(charge: (bytes: number) => void, replicaLabels: readonly string[]) {
    this.#charge = charge;
    this.#replicaLabels = new ReplicaLabels(replicaLabels);
  }

  get size(): number {
    return this.#order?.length ?? this.#entries;
  }

  /** Whether some series has a label of a replica. */
  get hasReplicas(): boolean {
    return this.#hasReplicas;
  }

  /** What is added from now on is in an order of its own, and may have series again that others have. */
  beginRun(): void {
    this.#runs.push(this.#entries);
  }

  /**
   * Brings the series of all runs into one order; nothing may be added afterwards.
   *
   * Cost: O(series × log runs) comparisons of labels, fewer where runs have the same series.
   */
  settle(): void {
    if (this.#runs.length < 2) return;
    this.#charge(this.#entries * UNITED_BYTES);
    this.#next = new Uint32Array(this.#entries).fill(NONE);
    let lists = this.#runs.map((first, run) => {
      const end = this.#runs[run + 1] ?? this.#entries;
      return Uint32Array.from({ length: end - first }, (_, i) => first + i);
    });
    while (lists.length > 1) {
      const united: Uint32Array<ArrayBuffer>[] = [];
      for (let i = 0; i + 1 < lists.length; i += 2)
        united.push(this.#unite(lists[i]!, lists[i + 1]!, this.#next));
      if (lists.length % 2 === 1) united.push(lists.at(-1)!);
      lists = united;
    }
    this.#order = lists[0]!;
  }

  /** First entries of the series of both lists, in label order; those of one series are chained. */
  #unite(a: Uint32Array, b: Uint32Array, next: Uint32Array): Uint32Array<ArrayBuffer> {
    const into = new Uint32Array(a.length + b.length);
    let [count, i, j] = [0, 0, 0];
    while (i < a.length && j < b.length) {
      const order = this.#compare(a[i]!, b[j]!);
      if (order === 0) {
        let last = a[i]!;
        while (next[last] !== NONE) last = next[last]!;
        next[last] = b[j++]!;
      }
      into[count++] = order <= 0 ? a[i++]! : b[j++]!;
    }
    into.set(a.subarray(i), count);
    count += a.length - i;
    into.set(b.subarray(j), count);
    count += b.length - j;
    return into.slice(0, count);
  }

  #compare(a: number, b: number): number {
    const start = this.#labelStart;
    const end = this.#labelEnd;
    const [inA, inB] = [this.#frames[this.#seriesFrame[a]!]!, this.#frames[this.#seriesFrame[b]!]!];
    return compareLabelBytes(inA, start[a]!, end[a]!, inB, start[b]!, end[b]!);
  }

  /** Takes a frame, which stays referenced. @throws AppError `bad_data` when it is malformed. */
  addFrame(frame: Uint8Array): void {
    this.#charge(frame.length);
    this.#frames.push(frame);
    readSeriesFrame(frame, this);
  }

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    this.#charge(SERIES_BYTES);
    const series = this.#entries++;
    if (series === this.#seriesFrame.length) this.#growSeries();
    this.#seriesFrame[series] = this.#frames.length - 1;
    this.#labelStart[series] = start;
    this.#labelEnd[series] = end;
    this.#firstChunk[series] = this.#chunkCount;
    this.#firstChunk[series + 1] = this.#chunkCount;
    this.#hasReplicas ||= this.#replicaLabels.isIn(bytes, start, end);
  }

  chunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    _bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#charge(CHUNK_BYTES);
    const chunk = this.#chunkCount++;
    if (chunk === this.#chunkStart.length) this.#growChunks();
    this.#chunkStart[chunk] = start;
    this.#chunkEnd[chunk] = end;
    this.#chunkMinMs[chunk] = minTimeMs;
    this.#chunkMaxMs[chunk] = maxTimeMs;
    this.#chunkEncoding[chunk] = encoding;
    this.#firstChunk[this.#entries] = this.#chunkCount;
  }

  labels(index: number): Labels {
    const entry = this.#order?.[index] ?? index;
    const frame = this.#frames[this.#seriesFrame[entry]!]!;
    return Labels.view(frame, this.#labelStart[entry]!, this.#labelEnd[entry]!);
  }

  read(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    const samples = this.#samples;
    samples.clear();
    let hasStarts = false;
    let entry = this.#order?.[index] ?? index;
    for (; entry !== NONE; entry = this.#next?.[entry] ?? NONE) {
      hasStarts = this.#addChunks(entry, minTimeMs, maxTimeMs) || hasStarts;
    }
    if (samples.cells.count > 0)
      throw new AppError('internal', 'a part is evaluated over downsampled samples');
    samples.settle();
    into.count = 0;
    into.histograms = undefined;
    into.startTimesMs = undefined;
    into.cells = undefined;
    appendSamples(into, samples.floats);
    if (samples.histograms.count > 0) mergeHistograms(samples.histograms, into);
    if (hasStarts) samples.startTimes.layOver(into);
    cutToRange(into, minTimeMs, maxTimeMs);
  }

  /** Adds the chunks of one entry that touch the range. @returns  Whether start times are among them. */
  #addChunks(entry: number, minTimeMs: number, maxTimeMs: number): boolean {
    const frame = this.#frames[this.#seriesFrame[entry]!]!;
    let hasStarts = false;
    const end = this.#firstChunk[entry + 1]!;
    for (let chunk = this.#firstChunk[entry]!; chunk < end; chunk++) {
      if (this.#chunkMinMs[chunk]! > maxTimeMs || this.#chunkMaxMs[chunk]! < minTimeMs) continue;
      const encoding = this.#chunkEncoding[chunk]!;
      if (encoding === CHUNK_EXEMPLARS) continue;
      if (encoding === CHUNK_START_TIMES) hasStarts = true;
      this.#samples.addChunk(encoding, frame, this.#chunkStart[chunk]!, this.#chunkEnd[chunk]!);
    }
    return hasStarts;
  }

  /** What was charged is the query's to give back, with all else. */
  release(): void {
    this.#frames.length = 0;
    this.#entries = 0;
    this.#order = undefined;
    this.#next = undefined;
  }

  #growSeries(): void {
    this.#seriesFrame = grown(Uint32Array, this.#seriesFrame);
    this.#labelStart = grown(Uint32Array, this.#labelStart);
    this.#labelEnd = grown(Uint32Array, this.#labelEnd);
    const first = new Uint32Array(this.#seriesFrame.length + 1);
    first.set(this.#firstChunk);
    this.#firstChunk = first;
  }

  #growChunks(): void {
    this.#chunkStart = grown(Uint32Array, this.#chunkStart);
    this.#chunkEnd = grown(Uint32Array, this.#chunkEnd);
    this.#chunkMinMs = grown(Float64Array, this.#chunkMinMs);
    this.#chunkMaxMs = grown(Float64Array, this.#chunkMaxMs);
    this.#chunkEncoding = grown(Uint8Array, this.#chunkEncoding);
  }
}

interface Column<T> {
  readonly length: number;
  set(source: T): void;
}

function grown<T extends Column<T>>(make: new (length: number) => T, column: T): T {
  const larger = new make(column.length * 2);
  larger.set(column);
  return larger;
}

// What PromQL reads of one node's own answer: the series of its frames, each there once and in label order. Where several nodes'
// answers are united, the querier has its own (services/querier/selection/series-union.ts).
import { AppError } from '../core/errors.ts';
import { CHUNK_EXEMPLARS, CHUNK_START_TIMES, type ChunkSink } from '../model/chunk-sink.ts';
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

/** Frames of one node. Fill with `addFrame`, then read by series index. */
export class FrameSeries implements SeriesSet, ChunkSink {
  readonly warnings: readonly string[] = [];
  readonly #charge: (bytes: number) => void;
  readonly #replicaLabels: ReplicaLabels;
  readonly #frames: Uint8Array[] = [];
  #size = 0;
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
    return this.#size;
  }

  /** Whether some series has a label of a replica. */
  get hasReplicas(): boolean {
    return this.#hasReplicas;
  }

  /** Takes a frame, which stays referenced. @throws AppError `bad_data` when it is malformed. */
  addFrame(frame: Uint8Array): void {
    this.#charge(frame.length);
    this.#frames.push(frame);
    readSeriesFrame(frame, this);
  }

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    this.#charge(SERIES_BYTES);
    const series = this.#size++;
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
    this.#firstChunk[this.#size] = this.#chunkCount;
  }

  labels(index: number): Labels {
    const frame = this.#frames[this.#seriesFrame[index]!]!;
    return Labels.view(frame, this.#labelStart[index]!, this.#labelEnd[index]!);
  }

  read(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    const samples = this.#samples;
    samples.clear();
    const frame = this.#frames[this.#seriesFrame[index]!]!;
    let hasStarts = false;
    const end = this.#firstChunk[index + 1]!;
    for (let chunk = this.#firstChunk[index]!; chunk < end; chunk++) {
      if (this.#chunkMinMs[chunk]! > maxTimeMs || this.#chunkMaxMs[chunk]! < minTimeMs) continue;
      const encoding = this.#chunkEncoding[chunk]!;
      if (encoding === CHUNK_EXEMPLARS) continue;
      if (encoding === CHUNK_START_TIMES) hasStarts = true;
      samples.addChunk(encoding, frame, this.#chunkStart[chunk]!, this.#chunkEnd[chunk]!);
    }
    if (samples.cells.count > 0) throw new AppError('internal', 'an ingester has downsampled samples');
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

  /** What was charged is the query's to give back, with all else. */
  release(): void {
    this.#frames.length = 0;
    this.#size = 0;
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

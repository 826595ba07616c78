// Everything that one series holds in a time range, whatever the encodings: collected from chunks and loose pieces, each kind in
// its one order, and encoded again as the chunks of a block. What sealing and compaction have in common, and the place of the
// rules by which replicas converge.
import { ByteWriter } from '../../core/bytes.ts';
import { AggregateCells } from '../../model/aggregate-cells.ts';
import {
  CHUNK_AGGREGATES,
  CHUNK_EXEMPLARS,
  CHUNK_HISTOGRAMS,
  CHUNK_START_TIMES,
  CHUNK_WEIGHTS,
} from '../../model/chunk-sink.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import {
  AggregateChunkEncoder,
  CELLS_MAX,
  decodeAggregateChunk,
  decodeWeights,
  encodeWeights,
  HistogramWeights,
} from './aggregate-chunk.ts';
import { ChunkEncoder } from './chunk-encoder.ts';
import { decodeChunk } from './decode-chunk.ts';
import { EXEMPLARS_MAX, ExemplarList } from './exemplar-list.ts';
import { decodeHistogramChunk } from './histogram-chunk-decoder.ts';
import { HistogramChunkEncoder } from './histogram-chunk-encoder.ts';
import { HistogramSamples } from './histogram-samples.ts';
import { sortAndDedupeSamples } from './merge-samples.ts';
import { settleCells } from './settle-cells.ts';
import { START_TIMES_MAX, StartTimes } from './start-times.ts';

/**
 * Takes one chunk of a block. `sampleCount` is 0 for start times and exemplars. Byte ranges are valid during the call.
 */
export type BlockChunkVisitor = (
  encoding: number,
  minTimeMs: number,
  maxTimeMs: number,
  sampleCount: number,
  bytes: Uint8Array,
  start: number,
  end: number,
) => void;

/** Collects one series after the other. */
export class SeriesSamples {
  readonly floats = new SampleColumns(256);
  readonly histograms = new HistogramSamples();
  readonly startTimes = new StartTimes();
  readonly exemplars = new ExemplarList();
  /** What stands for downsampled floats, and how many histograms each one that was kept stands for. */
  readonly cells = new AggregateCells();
  readonly weights = new HistogramWeights();

  clear(): void {
    this.floats.count = 0;
    this.cells.count = 0;
    this.weights.clear();
    this.histograms.clear();
    this.startTimes.clear();
    this.exemplars.clear();
  }

  /**
   * Adds the content of one chunk. Exemplars are kept as views of the bytes.
   *
   * @throws AppError `internal` when it is corrupt or its encoding unknown.
   */
  addChunk(encoding: number, bytes: Uint8Array, start: number, end: number): void {
    if (encoding === CHUNK_HISTOGRAMS) decodeHistogramChunk(bytes, start, end, this.histograms);
    else if (encoding === CHUNK_START_TIMES) this.startTimes.addChunk(bytes, start, end);
    else if (encoding === CHUNK_EXEMPLARS) this.exemplars.addChunk(bytes, start, end);
    else if (encoding === CHUNK_AGGREGATES) decodeAggregateChunk(bytes, start, end, this.cells);
    else if (encoding === CHUNK_WEIGHTS) decodeWeights(bytes, start, end, this.weights);
    else decodeChunk(encoding, bytes, start, end, this.floats);
  }

  /** Brings each kind into its order, repetitions removed. */
  settle(): void {
    sortAndDedupeSamples(this.floats);
    this.histograms.sortAndDedupe();
    if (this.cells.count > 0) settleCells(this.cells);
    if (this.weights.count > 0) sortAndDedupeSamples(this.weights.columns);
    if (this.startTimes.count > 0) this.startTimes.settle();
    if (this.exemplars.count > 0) this.exemplars.settle();
  }

  /** First and last sample, floats, cells and histograms, of settled content, Unix ms; undefined without samples. */
  timeBounds(): { readonly minTimeMs: number; readonly maxTimeMs: number } | undefined {
    const { timestampsMs, count } = this.floats;
    const { cells } = this;
    const histogramTimes = this.histograms.timestampsMs;
    if (count === 0 && histogramTimes.length === 0 && cells.count === 0) return undefined;
    return {
      minTimeMs: Math.min(
        timeAt(cells.firstTimesMs, 0, cells.count, 1),
        timeAt(timestampsMs, 0, count, 1),
        timeAt(histogramTimes, 0, histogramTimes.length, 1),
      ),
      maxTimeMs: Math.max(
        timeAt(cells.lastTimesMs, cells.count - 1, cells.count, -1),
        timeAt(timestampsMs, count - 1, count, -1),
        timeAt(histogramTimes, histogramTimes.length - 1, histogramTimes.length, -1),
      ),
    };
  }
}

/** The element, or an infinity that never wins. */
function timeAt(times: ArrayLike<number>, at: number, count: number, sign: 1 | -1): number {
  return count === 0 ? sign * Number.POSITIVE_INFINITY : times[at]!;
}

/** Encodes settled series as the chunks of a block; keeps its scratch. Not reentrant. */
export class SeriesChunker {
  readonly #samplesPerChunk: number;
  readonly #encoder: ChunkEncoder;
  readonly #encoded = new ByteWriter(4096);
  #histograms: HistogramChunkEncoder | undefined;
  #aggregates: AggregateChunkEncoder | undefined;

  /** @param samplesPerChunk  Most samples of a chunk. */
  constructor(samplesPerChunk: number) {
    this.#samplesPerChunk = samplesPerChunk;
    this.#encoder = new ChunkEncoder(samplesPerChunk);
  }

  /**
   * Hands over the chunks of a series: floats, cells, histograms and their weights, start times as far as the samples need them,
   * exemplars.
   * The bytes depend on the content only. A series without samples or exemplars has no chunk.
   */
  emit(series: SeriesSamples, visit: BlockChunkVisitor): void {
    this.#emitFloats(series.floats, visit);
    if (series.cells.count > 0) this.#emitCells(series.cells, visit);
    if (series.weights.count > 0) this.#emitWeights(series.weights, visit);
    if (series.histograms.count > 0) this.#emitHistograms(series.histograms, visit);
    if (series.startTimes.count > 0) this.#emitStartTimes(series, visit);
    if (series.exemplars.count > 0) this.#emitExemplars(series.exemplars, visit);
  }

  #emitFloats({ timestampsMs, values, count }: SampleColumns, visit: BlockChunkVisitor): void {
    const encoded = this.#encoded;
    for (let from = 0; from < count; from += this.#samplesPerChunk) {
      const to = Math.min(count, from + this.#samplesPerChunk);
      encoded.reset();
      const encoding = this.#encoder.encode(timestampsMs, values, from, to, encoded);
      visit(
        encoding,
        timestampsMs[from]!,
        timestampsMs[to - 1]!,
        to - from,
        encoded.bytes,
        0,
        encoded.length,
      );
    }
  }

  #emitCells(cells: AggregateCells, visit: BlockChunkVisitor): void {
    this.#aggregates ??= new AggregateChunkEncoder(Math.min(CELLS_MAX, this.#samplesPerChunk));
    const encoded = this.#encoded;
    for (let from = 0; from < cells.count; ) {
      encoded.reset();
      const to = this.#aggregates.encode(cells, from, encoded);
      let samples = 0;
      for (let i = from; i < to; i++) samples += cells.counts[i]!;
      const { firstTimesMs, lastTimesMs } = cells;
      const { bytes, length } = encoded;
      visit(CHUNK_AGGREGATES, firstTimesMs[from]!, lastTimesMs[to - 1]!, samples, bytes, 0, length);
      from = to;
    }
  }

  #emitWeights(weights: HistogramWeights, visit: BlockChunkVisitor): void {
    const encoded = this.#encoded;
    for (let from = 0; from < weights.count; from += this.#samplesPerChunk) {
      const to = Math.min(weights.count, from + this.#samplesPerChunk);
      encoded.reset();
      encodeWeights(this.#encoder, weights, from, to, encoded);
      const { timestampsMs } = weights.columns;
      visit(CHUNK_WEIGHTS, timestampsMs[from]!, timestampsMs[to - 1]!, 0, encoded.bytes, 0, encoded.length);
    }
  }

  #emitHistograms(histograms: HistogramSamples, visit: BlockChunkVisitor): void {
    this.#histograms ??= new HistogramChunkEncoder(this.#samplesPerChunk);
    const encoded = this.#encoded;
    for (let from = 0; from < histograms.count; ) {
      encoded.reset();
      const to = this.#histograms.encode(histograms, from, encoded);
      const { timestampsMs } = histograms;
      visit(
        CHUNK_HISTOGRAMS,
        timestampsMs[from]!,
        timestampsMs[to - 1]!,
        to - from,
        encoded.bytes,
        0,
        encoded.length,
      );
      from = to;
    }
  }

  #emitStartTimes(series: SeriesSamples, visit: BlockChunkVisitor): void {
    const bounds = series.timeBounds();
    if (bounds === undefined) return;
    const { startTimes } = series;
    startTimes.clip(bounds.minTimeMs, bounds.maxTimeMs);
    const encoded = this.#encoded;
    for (let from = 0; from < startTimes.count; from += START_TIMES_MAX) {
      const to = Math.min(startTimes.count, from + START_TIMES_MAX);
      encoded.reset();
      startTimes.encode(from, to, encoded);
      visit(
        CHUNK_START_TIMES,
        startTimes.timestampsMs[from]!,
        bounds.maxTimeMs,
        0,
        encoded.bytes,
        0,
        encoded.length,
      );
    }
  }

  #emitExemplars(exemplars: ExemplarList, visit: BlockChunkVisitor): void {
    const encoded = this.#encoded;
    const { timestampsMs, count } = exemplars;
    for (let from = 0; from < count; from += EXEMPLARS_MAX) {
      const to = Math.min(count, from + EXEMPLARS_MAX);
      encoded.reset();
      exemplars.encode(from, to, encoded);
      visit(CHUNK_EXEMPLARS, timestampsMs[from]!, timestampsMs[to - 1]!, 0, encoded.bytes, 0, encoded.length);
    }
  }
}

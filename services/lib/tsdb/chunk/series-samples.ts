// Everything that one series holds in a time range, whatever the encodings: collected from chunks and loose pieces, each kind in
// its one order, and encoded again as the chunks of a block. What sealing and compaction have in common, and the place of the
// rules by which replicas converge.
import { ByteWriter } from '../../core/bytes.ts';
import { CHUNK_EXEMPLARS, CHUNK_HISTOGRAMS, CHUNK_START_TIMES } from '../../model/chunk-sink.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { ChunkEncoder } from './chunk-encoder.ts';
import { decodeChunk } from './decode-chunk.ts';
import { EXEMPLARS_MAX, ExemplarList } from './exemplar-list.ts';
import { decodeHistogramChunk } from './histogram-chunk-decoder.ts';
import { HistogramChunkEncoder } from './histogram-chunk-encoder.ts';
import { HistogramSamples } from './histogram-samples.ts';
import { sortAndDedupeSamples } from './merge-samples.ts';
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

  clear(): void {
    this.floats.count = 0;
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
    else decodeChunk(encoding, bytes, start, end, this.floats);
  }

  /** Brings each kind into its order, repetitions removed. */
  settle(): void {
    sortAndDedupeSamples(this.floats);
    this.histograms.sortAndDedupe();
    if (this.startTimes.count > 0) this.startTimes.settle();
    if (this.exemplars.count > 0) this.exemplars.settle();
  }

  /** First and last sample, floats and histograms, of settled content, Unix ms; undefined without samples. */
  timeBounds(): { readonly minTimeMs: number; readonly maxTimeMs: number } | undefined {
    const { timestampsMs, count } = this.floats;
    const histogramTimes = this.histograms.timestampsMs;
    if (count === 0 && histogramTimes.length === 0) return undefined;
    return {
      minTimeMs: Math.min(
        timeAt(timestampsMs, 0, count, 1),
        timeAt(histogramTimes, 0, histogramTimes.length, 1),
      ),
      maxTimeMs: Math.max(
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

  /** @param samplesPerChunk  Most samples of a chunk. */
  constructor(samplesPerChunk: number) {
    this.#samplesPerChunk = samplesPerChunk;
    this.#encoder = new ChunkEncoder(samplesPerChunk);
  }

  /**
   * Hands over the chunks of a series: floats, histograms, start times as far as the samples need them, exemplars.
   * The bytes depend on the content only. A series without samples or exemplars has no chunk.
   */
  emit(series: SeriesSamples, visit: BlockChunkVisitor): void {
    this.#emitFloats(series.floats, visit);
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

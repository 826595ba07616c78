// What PromQL reads of a union: labels decoded when asked for, samples decoded, merged and deduplicated when read.

import { AggregateCells } from '../../lib/model/aggregate-cells.ts';
import {
  CHUNK_COLUMNS,
  CHUNK_EXEMPLARS,
  CHUNK_HISTOGRAMS,
  CHUNK_START_TIMES,
} from '../../lib/model/chunk-sink.ts';
import { Labels } from '../../lib/model/labels.ts';
import type { SeriesSet } from '../../lib/model/queryable.ts';
import { SampleColumns } from '../../lib/model/sample-columns.ts';
import { cutAddedToRange, cutToRange } from '../../lib/query/cut-to-range.ts';
import { decodeChunk } from '../../lib/tsdb/chunk/decode-chunk.ts';
import { decodeHistogramChunk } from '../../lib/tsdb/chunk/histogram-chunk-decoder.ts';
import { HistogramSamples } from '../../lib/tsdb/chunk/histogram-samples.ts';
import { mergeAggregates } from '../../lib/tsdb/chunk/merge-aggregates.ts';
import { mergeHistograms } from '../../lib/tsdb/chunk/merge-histograms.ts';
import { mergeReplicas, REPLICA_REACH_MS } from '../../lib/tsdb/chunk/merge-replicas.ts';
import { sortAndDedupeSamples } from '../../lib/tsdb/chunk/merge-samples.ts';
import { SeriesSamples } from '../../lib/tsdb/chunk/series-samples.ts';
import { StartTimes } from '../../lib/tsdb/chunk/start-times.ts';
import type { SeriesUnion } from './series-union.ts';

export class UnitedSeriesSet implements SeriesSet {
  readonly warnings: readonly string[];
  readonly #union: SeriesUnion;
  #chunks: Uint32Array = new Uint32Array(16);
  readonly #histograms = new HistogramSamples();
  readonly #startTimes = new StartTimes();
  /** Only where something was downsampled. */
  #series: SeriesSamples | undefined;
  #cells: AggregateCells | undefined;
  /** Only where series of several replicas are one. */
  readonly #replicas: SampleColumns[] = [];

  /** @param union  Sorted; the set owns it from now on. */
  constructor(union: SeriesUnion, warnings: readonly string[]) {
    this.#union = union;
    this.warnings = warnings;
  }

  get size(): number {
    return this.#union.size;
  }

  labels(index: number): Labels {
    return this.#union.labelsOf(index, viewLabels);
  }

  read(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    into.gapMs = 0;
    into.hasNaN = true;
    if (this.#union.isReplicated(index)) this.#readReplicas(index, minTimeMs, maxTimeMs, into);
    else this.#readOne(index, minTimeMs, maxTimeMs, into);
  }

  /** Of what servers of a highly available pair scraped, one series. */
  #readReplicas(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    let replicas = 0;
    this.#union.forEachReplica(index, () => {
      const columns = (this.#replicas[replicas++] ??= new SampleColumns());
      this.#readOne(index, minTimeMs - REPLICA_REACH_MS, maxTimeMs + REPLICA_REACH_MS, columns);
      // The columns keep theirs.
      if (columns.cells !== undefined) this.#cells = undefined;
    });
    mergeReplicas(this.#replicas.slice(0, replicas), into);
    const coarsestMs = into.cells?.coarsestMs ?? 0;
    cutToRange(into, minTimeMs - coarsestMs, maxTimeMs + coarsestMs);
  }

  #readOne(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    into.count = 0;
    into.histograms = undefined;
    into.startTimesMs = undefined;
    into.cells = undefined;
    const { coarsestMs } = this.#union;
    if (coarsestMs > 0 && this.#readAggregates(index, minTimeMs - coarsestMs, maxTimeMs + coarsestMs, into))
      return;
    if (!this.#union.decodeInOrder(index, minTimeMs, maxTimeMs, into)) {
      this.#merge(index, minTimeMs, maxTimeMs, into);
    }
    cutToRange(into, minTimeMs, maxTimeMs);
    if (this.#union.hasExtras) this.#layStartTimes(index, minTimeMs, maxTimeMs, into);
  }

  release(): void {
    this.#union.release();
  }

  #merge(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    into.count = 0;
    const chunks = this.#union.chunksOf(index, minTimeMs, maxTimeMs, this.#chunks);
    if (chunks.buffer !== this.#chunks.buffer) this.#chunks = new Uint32Array(chunks.buffer);
    // As they arrived: those of one node ascend, and what another one sent is often the same once more.
    chunks.sort();
    const histograms = this.#histograms;
    histograms.clear();
    into.gapMs = 0;
    let firstCount = -1;
    for (let from = 0; from < chunks.length; ) {
      const run = this.#union.countInOrder(chunks, from);
      const at = into.count;
      const isDecoded =
        run > 0 && this.#union.decodeChunks(chunks.subarray(from, from + run), minTimeMs, maxTimeMs, into);
      if (!isDecoded) {
        into.count = at;
        for (let i = from; i < from + Math.max(run, 1); i++)
          this.#decodeAlone(chunks[i]!, minTimeMs, maxTimeMs, into);
      }
      from += Math.max(run, 1);
      if (firstCount < 0) firstCount = into.count;
    }
    sortAndDedupeSamples(into);
    // Times are those of the first run, where no other one had more; values may be another's.
    if (into.count !== firstCount || histograms.count > 0) into.gapMs = 0;
    into.hasNaN = true;
    if (histograms.count === 0) return;
    histograms.sortAndDedupe();
    mergeHistograms(histograms, into);
  }

  /** Adds what one chunk has in range. */
  #decodeAlone(chunk: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    this.#union.chunkBytes(chunk, (bytes, start, end, encoding) => {
      if (encoding === CHUNK_HISTOGRAMS) decodeHistogramChunk(bytes, start, end, this.#histograms);
      else if (encoding <= CHUNK_COLUMNS) {
        const at = into.count;
        decodeChunk(encoding, bytes, start, end, into);
        into.count = cutAddedToRange(into, at, minTimeMs, maxTimeMs);
      }
    });
  }

  /**
   * Reads a series of which something was downsampled, cells beyond the range included that windows may be widened by; false when
   * nothing was.
   */
  #readAggregates(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): boolean {
    const chunks = this.#union.chunksOf(index, minTimeMs, maxTimeMs, this.#chunks);
    if (chunks.buffer !== this.#chunks.buffer) this.#chunks = new Uint32Array(chunks.buffer);
    if (!chunks.some((chunk) => this.#union.isAggregate(chunk))) return false;
    const series = (this.#series ??= new SeriesSamples());
    series.clear();
    for (const chunk of chunks.sort()) {
      this.#union.chunkBytes(chunk, (bytes, start, end, encoding) => {
        if (encoding !== CHUNK_START_TIMES && encoding !== CHUNK_EXEMPLARS)
          series.addChunk(encoding, bytes, start, end);
      });
    }
    series.settle();
    mergeAggregates(series, (this.#cells ??= new AggregateCells()), into);
    return true;
  }

  #layStartTimes(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void {
    const startTimes = this.#startTimes;
    startTimes.clear();
    this.#union.readStartTimes(index, minTimeMs, maxTimeMs, startTimes);
    if (startTimes.count === 0) return;
    startTimes.settle();
    startTimes.layOver(into);
  }
}

/** Frames stay what they are: nothing is copied. */
function viewLabels(bytes: Uint8Array, start: number, end: number): Labels {
  return Labels.view(bytes, start, end);
}

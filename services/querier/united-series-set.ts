// What PromQL reads of a union: labels decoded when asked for, samples decoded, merged and deduplicated when read.

import { CHUNK_COLUMNS, CHUNK_HISTOGRAMS } from '../lib/model/chunk-sink.ts';
import { Labels } from '../lib/model/labels.ts';
import type { SeriesSet } from '../lib/model/queryable.ts';
import type { SampleColumns } from '../lib/model/sample-columns.ts';
import { decodeChunk } from '../lib/tsdb/chunk/decode-chunk.ts';
import { decodeHistogramChunk } from '../lib/tsdb/chunk/histogram-chunk-decoder.ts';
import { HistogramSamples } from '../lib/tsdb/chunk/histogram-samples.ts';
import { mergeHistograms } from '../lib/tsdb/chunk/merge-histograms.ts';
import { sortAndDedupeSamples } from '../lib/tsdb/chunk/merge-samples.ts';
import { StartTimes } from '../lib/tsdb/chunk/start-times.ts';
import type { SeriesUnion } from './series-union.ts';

export class UnitedSeriesSet implements SeriesSet {
  readonly warnings: readonly string[];
  readonly #union: SeriesUnion;
  #chunks: Uint32Array = new Uint32Array(16);
  readonly #histograms = new HistogramSamples();
  readonly #startTimes = new StartTimes();

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
    into.count = 0;
    into.histograms = undefined;
    into.startTimesMs = undefined;
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
    for (const chunk of chunks) {
      this.#union.chunkBytes(chunk, (bytes, start, end, encoding) => {
        if (encoding === CHUNK_HISTOGRAMS) decodeHistogramChunk(bytes, start, end, histograms);
        else if (encoding <= CHUNK_COLUMNS) decodeChunk(encoding, bytes, start, end, into);
      });
    }
    sortAndDedupeSamples(into);
    if (histograms.count === 0) return;
    histograms.sortAndDedupe();
    mergeHistograms(histograms, into);
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

/** Drops what lies outside [minTimeMs, maxTimeMs]; timestamps ascend. */
function cutToRange(columns: SampleColumns, minTimeMs: number, maxTimeMs: number): void {
  const { timestampsMs } = columns;
  let end = columns.count;
  while (end > 0 && timestampsMs[end - 1]! > maxTimeMs) end--;
  let start = 0;
  while (start < end && timestampsMs[start]! < minTimeMs) start++;
  if (start > 0) {
    timestampsMs.copyWithin(0, start, end);
    columns.values.copyWithin(0, start, end);
  }
  columns.histograms = columns.histograms?.slice(start, end);
  columns.count = end - start;
}

/** Frames stay what they are: nothing is copied. */
function viewLabels(bytes: Uint8Array, start: number, end: number): Labels {
  return Labels.view(bytes, start, end);
}

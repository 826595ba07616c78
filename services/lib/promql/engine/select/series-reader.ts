// Reads one series at a time into reused columns, and knows where staleness markers stand.
import type { AggregateCells } from '../../../model/aggregate-cells.ts';
import type { CounterResetHint, FloatHistogram } from '../../../model/float-histogram.ts';
import type { SeriesSet } from '../../../model/queryable.ts';
import { isStaleAt, SampleColumns } from '../../../model/sample-columns.ts';
import type { QuerySession } from '../session.ts';

/** Bytes of a sample in SampleColumns. */
const SAMPLE_BYTES = 16;

export class SeriesReader {
  /** Room is made when there is a series: rules often find none. */
  readonly columns = new SampleColumns(0);
  readonly #session: QuerySession;
  readonly #readsCounts: boolean;
  #words: Uint32Array;
  #capacity: number;

  /** @param readsCounts  Histograms are read for their counts: see QuerySession.countedSelectors. */
  constructor(session: QuerySession, readsCounts: boolean) {
    this.#session = session;
    this.#readsCounts = readsCounts;
    this.#words = this.columns.words;
    this.#capacity = this.columns.values.length;
  }

  /** Words of columns.values, for isStaleAt. */
  get words(): Uint32Array {
    return this.#words;
  }

  /** Reads a series with its staleness markers. */
  read(set: SeriesSet, index: number, minTimeMs: number, maxTimeMs: number): void {
    const columns = this.columns;
    columns.reserve(1);
    set.read(index, minTimeMs, maxTimeMs, columns);
    if (columns.histograms !== undefined) {
      if (this.#readsCounts) columns.histograms = columns.histograms.slice(0, columns.count);
      prepareHistograms(columns, columns.histograms, this.#readsCounts);
    }
    if (columns.values.buffer === this.#words.buffer) return;
    this.#words = columns.words;
    this.#session.charge((columns.values.length - this.#capacity) * SAMPLE_BYTES);
    this.#capacity = columns.values.length;
  }

  /** Reads a series without them. */
  readFloats(set: SeriesSet, index: number, minTimeMs: number, maxTimeMs: number): void {
    this.read(set, index, minTimeMs, maxTimeMs);
    const { columns } = this;
    if (columns.cells !== undefined) alignCells(columns.cells, columns.count, this.#words);
    if (columns.startTimesMs !== undefined) alignStartTimes(columns, columns.startTimesMs, this.#words);
    if (columns.histograms !== undefined) alignHistograms(columns, this.#words);
    if (!columns.hasNaN) return;
    const kept = dropStale(columns.timestampsMs, columns.values, this.#words, columns.count);
    if (kept < columns.count) columns.gapMs = 0;
    columns.count = kept;
  }
}

/**
 * Makes the values beside histograms, which mean nothing, ordinary ones, so that none is taken for a marker. Where only
 * counts and sums are wanted, the buckets are left out, and what they say of resets is written down before.
 */
function prepareHistograms(
  { values, count }: SampleColumns,
  histograms: (FloatHistogram | undefined)[],
  readsCounts: boolean,
): void {
  let previous: FloatHistogram | undefined;
  for (let i = 0; i < count; i++) {
    const histogram = histograms[i];
    if (histogram === undefined) continue;
    values[i] = 0;
    if (readsCounts) histograms[i] = histogram.withoutBuckets(hintAfter(previous, histogram));
    previous = histogram;
  }
}

/** What counts and buckets say of a reset, where the sender did not. */
function hintAfter(previous: FloatHistogram | undefined, histogram: FloatHistogram): CounterResetHint {
  if (previous === undefined || histogram.hint !== 'unknown') return histogram.hint;
  return histogram.isResetFrom(previous) ? 'reset' : 'not_reset';
}

/** Removes the entries of staleness markers from the histograms, ahead of dropStale(). */
function alignHistograms(columns: SampleColumns, words: Uint32Array): void {
  const { histograms, count } = columns;
  columns.histograms = histograms!.slice(0, count).filter((_, i) => !isStaleAt(words, i));
}

/** The same for cells. */
function alignCells(cells: AggregateCells, count: number, words: Uint32Array): void {
  let kept = 0;
  for (let i = 0; i < count; i++) if (!isStaleAt(words, i)) cells.copyCell(kept++, cells, i);
  cells.count = kept;
}

/** The same for start times. */
function alignStartTimes({ count }: SampleColumns, starts: Float64Array, words: Uint32Array): void {
  let kept = 0;
  for (let i = 0; i < count; i++) if (!isStaleAt(words, i)) starts[kept++] = starts[i]!;
}

/** Removes staleness markers in place and answers what is left. Cost: O(n), a comparison per sample. */
function dropStale(
  timestampsMs: Float64Array,
  values: Float64Array,
  words: Uint32Array,
  count: number,
): number {
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const value = values[i]!;
    // biome-ignore lint/suspicious/noSelfCompare: the fastest test for NaN, and only NaN can be a marker.
    if (value !== value && isStaleAt(words, i)) continue;
    if (kept !== i) {
      timestampsMs[kept] = timestampsMs[i]!;
      values[kept] = value;
    }
    kept++;
  }
  return kept;
}

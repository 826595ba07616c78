// Makes of one series' samples what stands for them at a coarser resolution: cells of floats, histograms thinned out with their
// weights, staleness markers where they end something. What it makes answers exactly, over windows whose bounds are multiples of
// the resolution, what the samples answer (../docs/format/chunk-aggregates.md).
import { type AggregateCells, storedCorrection } from '../../model/aggregate-cells.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { isStaleHistogram } from '../../model/histogram-codec.ts';
import { isStaleAt, putStale, type SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { cellEnd } from '../chunk/aggregate-chunk.ts';
import type { HistogramSamples } from '../chunk/histogram-samples.ts';
import type { SeriesSamples } from '../chunk/series-samples.ts';

/** With less samples to a cell than this, the samples themselves are less than what would stand for them. */
const SAMPLES_PER_CELL_MIN = 4;

/**
 * Adds to `into` what stands for the samples of `series` at `resolutionMs`. Start times and exemplars are left out.
 *
 * @param series  Settled; not changed.
 * @param into    Cleared by the caller.
 */
export function downsampleSeries(series: SeriesSamples, resolutionMs: number, into: SeriesSamples): void {
  downsampleFloats(series.floats, resolutionMs, into);
  if (series.histograms.count > 0) thinHistograms(series.histograms, resolutionMs, into);
}

function downsampleFloats(floats: SampleColumns, resolutionMs: number, into: SeriesSamples): void {
  const { cells } = into;
  const cellsBefore = cells.count;
  const samplesBefore = into.floats.count;
  const words = wordsOf(floats.values);
  const { timestampsMs } = floats;
  let samples = 0;
  for (let from = 0; from < floats.count; ) {
    const endMs = cellEnd(timestampsMs[from]!, resolutionMs);
    let to = from + 1;
    while (to < floats.count && timestampsMs[to]! <= endMs) to++;
    samples += addCell(floats, words, from, to, resolutionMs, cells);
    if (isStaleAt(words, to - 1)) addMarker(into.floats, timestampsMs[to - 1]!);
    from = to;
  }
  const made = cells.count - cellsBefore;
  if (samples >= made * SAMPLES_PER_CELL_MIN && isSummable(cells, cellsBefore)) return;
  cells.count = cellsBefore;
  into.floats.count = samplesBefore;
  copySamples(floats, words, into.floats);
}

/** Adds a cell for samples [from, to), unless all of them are markers; returns how many are not. */
function addCell(
  { timestampsMs, values }: SampleColumns,
  words: Uint32Array,
  from: number,
  to: number,
  resolutionMs: number,
  cells: AggregateCells,
): number {
  const at = cells.count;
  let count = 0;
  let first = -1;
  let last = -1;
  let least = -1;
  let greatest = -1;
  // What a sum of nothing is: added to any number, -0 too, it leaves that as it is.
  let correction = -0;
  let sum = 0;
  let compensation = 0;
  for (let i = from; i < to; i++) {
    if (isStaleAt(words, i)) continue;
    const value = values[i]!;
    if (count === 0) first = least = greatest = i;
    else {
      const previous = values[last]!;
      if (value < previous) correction += previous;
      if (value < values[least]! || Number.isNaN(values[least]!)) least = i;
      if (value > values[greatest]! || Number.isNaN(values[greatest]!)) greatest = i;
    }
    const total = sum + value;
    if (Math.abs(total) === Number.POSITIVE_INFINITY) compensation = 0;
    else if (Math.abs(sum) >= Math.abs(value)) compensation += sum - total + value;
    else compensation += value - total + sum;
    sum = total;
    last = i;
    count++;
  }
  if (count === 0) return 0;
  cells.reserve(at + 1);
  cells.count = at + 1;
  cells.resolutionsMs[at] = resolutionMs;
  cells.firstTimesMs[at] = timestampsMs[first]!;
  cells.lastTimesMs[at] = timestampsMs[last]!;
  cells.counts[at] = count;
  cells.firsts.set(values.subarray(first, first + 1), at);
  cells.lasts.set(values.subarray(last, last + 1), at);
  cells.mins.set(values.subarray(least, least + 1), at);
  cells.maxs.set(values.subarray(greatest, greatest + 1), at);
  cells.sums[at] = Math.abs(sum) === Number.POSITIVE_INFINITY ? sum : sum + compensation;
  cells.corrections[at] = storedCorrection(correction);
  return count;
}

function addMarker(into: SampleColumns, timeMs: number): void {
  into.reserve(into.count + 1);
  into.timestampsMs[into.count] = timeMs;
  putStale(wordsOf(into.values), into.count);
  into.count++;
}

function copySamples(from: SampleColumns, words: Uint32Array, into: SampleColumns): void {
  const at = into.count;
  into.reserve(at + from.count);
  into.timestampsMs.set(from.timestampsMs.subarray(0, from.count), at);
  wordsOf(into.values).set(words.subarray(0, from.count * 2), at * 2);
  into.count = at + from.count;
}

/** False when finite samples add up to more than a double holds: their mean would be lost. */
function isSummable({ sums, corrections, mins, maxs, count }: AggregateCells, from: number): boolean {
  for (let i = from; i < count; i++) {
    const areFinite = Number.isFinite(mins[i]) && Number.isFinite(maxs[i]);
    if (areFinite && !(Number.isFinite(sums[i]) || Number.isNaN(sums[i]))) return false;
    if (areFinite && !Number.isFinite(corrections[i])) return false;
  }
  return true;
}

function thinHistograms(samples: HistogramSamples, resolutionMs: number, into: SeriesSamples): void {
  const { timestampsMs, histograms, kinds, count } = samples;
  const isKept = new Uint8Array(count);
  const isMarker = Uint8Array.from(histograms, (histogram) => Number(isStaleHistogram(histogram)));
  let previous = -1;
  for (let i = 0; i < count; i++) {
    const endMs = cellEnd(timestampsMs[i]!, resolutionMs);
    const isNewest = i + 1 === count || timestampsMs[i + 1]! > endMs;
    if (isNewest) isKept[i] = 1;
    if (isMarker[i] === 1) {
      // The newest histogram before a marker ends its range, too.
      if (isNewest && previous >= 0) isKept[previous] = 1;
      continue;
    }
    const isFirst = previous < 0 || cellEnd(timestampsMs[previous]!, resolutionMs) !== endMs;
    if (isFirst) isKept[i] = 1;
    if (isFirst && previous >= 0) isKept[previous] = 1;
    if (!isFirst && isBreak(histograms[previous]!, histograms[i]!)) isKept[previous] = isKept[i] = 1;
    previous = i;
  }
  if (previous >= 0) isKept[previous] = 1;
  const { weights } = into;
  weights.resolutionMs = resolutionMs;
  let weight = 0;
  for (let i = 0; i < count; i++) {
    if (isMarker[i] === 0) weight++;
    if (isKept[i] === 0) continue;
    into.histograms.add(timestampsMs[i]!, histograms[i]!, kinds[i]!);
    if (isMarker[i] === 1) continue;
    if (weight > 1) weights.add(timestampsMs[i]!, weight);
    weight = 0;
  }
}

/** Whether both sides of a step are needed: a reset, or another layout or meaning of the buckets. */
function isBreak(before: FloatHistogram, behind: FloatHistogram): boolean {
  return (
    before.schema !== behind.schema ||
    before.zeroThreshold !== behind.zeroThreshold ||
    (before.hint === 'gauge') !== (behind.hint === 'gauge') ||
    !isSameBounds(before.customBounds, behind.customBounds) ||
    behind.isResetFrom(before)
  );
}

function isSameBounds(a: readonly number[], b: readonly number[]): boolean {
  return a === b || (a.length === b.length && a.every((bound, i) => bound === b[i]));
}

// Range functions over series that hold native histograms, alone or among floats. The floats of a window go through the
// float kernel; this file decides what becomes of them beside histograms, and computes with the histograms.
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { SampleColumns } from '../../../model/sample-columns.ts';
import { ABSENT, FLOAT, putHistogram, type StepColumn } from '../operand.ts';
import { evaluateCells } from '../range/kernels-aggregates.ts';
import { isResetAt } from '../range/kernels-rate.ts';
import { checkFactors } from '../range/kernels-regression.ts';
import { reachOf } from '../range/matrix-source.ts';
import { findWindows, type WindowCounts, type WindowPass } from '../range/windows.ts';
import {
  type HistogramColumn,
  histogramsIn,
  type RangeContext,
  splitHistograms,
} from './histogram-column.ts';
import { extendedHistogramRate } from './histogram-extended.ts';
import { histogramRate, instantHistogramRate, isHistogramReset } from './histogram-rate.ts';
import { averageHistograms, sumHistograms } from './histogram-sum.ts';

/** Functions that look at floats only; histograms beside floats are worth an info. */
const FLOATS_ONLY = new Set([
  'min_over_time',
  'max_over_time',
  'stddev_over_time',
  'stdvar_over_time',
  'quantile_over_time',
  'mad_over_time',
  'ts_of_min_over_time',
  'ts_of_max_over_time',
  'deriv',
  'predict_linear',
  'double_exponential_smoothing',
]);

/** Functions for which floats and histograms in one window are an error of the data. */
const NO_MIX = new Set(['rate', 'increase', 'delta', 'sum_over_time', 'avg_over_time']);

/**
 * Evaluates a range function over a series with histograms.
 *
 * @param pass    Reused; holds the float samples afterwards.
 * @param kernel  The function's float kernel.
 * @param isAligned  Windows are whole cells of whatever aggregates there are.
 */
export function rangeWithHistograms(
  context: RangeContext,
  columns: SampleColumns,
  pass: WindowPass,
  counts: WindowCounts,
  kernel: (pass: WindowPass, out: StepColumn) => void,
  out: StepColumn,
  lookbackMs: number,
  isAligned: boolean,
): void {
  const { cells } = columns;
  const column = splitHistograms(columns, pass);
  const { earlierMs, laterMs } = reachOf(pass.extension, lookbackMs);
  findWindows(pass, earlierMs, laterMs, counts);
  const histogramCounts = { total: 0, largest: 0 };
  findWindows(column.pass, earlierMs, laterMs, histogramCounts);
  counts.total += histogramCounts.total;
  counts.largest += histogramCounts.largest;
  if (context.func === 'double_exponential_smoothing') {
    for (let k = 0; k < pass.steps; k++) {
      if (pass.high[k]! > pass.low[k]! || column.pass.high[k]! > column.pass.low[k]!) checkFactors(pass, k);
    }
  }
  const isDone = cells !== undefined && evaluateCells(context.func, pass, cells, isAligned, counts, out);
  if (!isDone) kernel(pass, out);
  let isMixSaid = false;
  for (let k = 0; k < pass.steps; k++) {
    const floats = pass.high[k]! - pass.low[k]!;
    const histograms = column.pass.high[k]! - column.pass.low[k]!;
    if (histograms === 0) continue;
    if (floats === 0 || !refusesMix(context.func)) evaluateStep(context, pass, column, k, out);
    else {
      // Once for the series: a subquery has a million steps.
      if (!isMixSaid) sayMix(context);
      isMixSaid = true;
      if (NO_MIX.has(context.func)) out.kinds[k] = ABSENT;
    }
  }
}

/** Whether histograms beside floats in one window are left out, or make it worth nothing. */
function refusesMix(func: string): boolean {
  return FLOATS_ONLY.has(func) || NO_MIX.has(func);
}

function sayMix({ func, annotations, metric, position }: RangeContext): void {
  if (FLOATS_ONLY.has(func)) annotations.histogramsIgnoredInRange(metric, position);
  else annotations.mixedSamples(metric, position);
}

function evaluateStep(
  context: RangeContext,
  pass: WindowPass,
  column: HistogramColumn,
  k: number,
  out: StepColumn,
): void {
  const { func } = context;
  if (FLOATS_ONLY.has(func)) return;
  const from = column.pass.low[k]!;
  const to = column.pass.high[k]!;
  switch (func) {
    case 'rate':
    case 'increase':
    case 'delta':
      putOrDrop(
        out,
        k,
        pass.extension === undefined
          ? histogramRate(context, column, from, to, k)
          : extendedHistogramRate(context, column, from, to, k),
      );
      return;
    case 'irate':
    case 'idelta':
      instantHistogramRate(context, pass, column, k, out);
      return;
    case 'sum_over_time':
      putOrDrop(out, k, sumHistograms(column.histograms.slice(from, to), context));
      return;
    case 'avg_over_time':
      putOrDrop(out, k, averageHistograms(column.histograms.slice(from, to), context));
      return;
    case 'resets':
    case 'changes':
      putOrDropFloat(out, k, countEvents(func, pass, column, k));
      return;
    default:
      evaluateAny(func, pass, column, k, floatsIn(pass, k) + histogramsIn(column, from, to), out);
  }
}

/** Floats of window k, those that cells stand for included. */
function floatsIn({ cells, low, high }: WindowPass, k: number): number {
  if (cells === undefined) return high[k]! - low[k]!;
  let total = 0;
  for (let i = low[k]!; i < high[k]!; i++) total += cells.counts[i]!;
  return total;
}

/** Functions that treat both kinds alike. */
function evaluateAny(
  func: string,
  pass: WindowPass,
  column: HistogramColumn,
  k: number,
  samples: number,
  out: StepColumn,
): void {
  const hasFloats = pass.high[k]! > pass.low[k]!;
  const firstFloatMs = hasFloats ? pass.timestampsMs[pass.low[k]!]! : Number.POSITIVE_INFINITY;
  const lastFloatMs = hasFloats ? pass.timestampsMs[pass.high[k]! - 1]! : Number.NEGATIVE_INFINITY;
  const first = column.pass.low[k]!;
  const last = column.pass.high[k]! - 1;
  switch (func) {
    case 'count_over_time':
      putFloat(out, k, samples);
      return;
    case 'first_over_time':
      if (column.timestampsMs[first]! <= firstFloatMs) putHistogram(out, k, column.histograms[first]!);
      return;
    case 'last_over_time':
      if (column.timestampsMs[last]! >= lastFloatMs) putHistogram(out, k, column.histograms[last]!);
      return;
    case 'ts_of_first_over_time':
      putFloat(out, k, Math.min(firstFloatMs, column.timestampsMs[first]!) / 1000);
      return;
    case 'ts_of_last_over_time':
      putFloat(out, k, Math.max(lastFloatMs, column.timestampsMs[last]!) / 1000);
      return;
    default:
      putFloat(out, k, 1);
  }
}

function putFloat(out: StepColumn, k: number, value: number): void {
  out.values[k] = value;
  out.kinds[k] = FLOAT;
}

function putOrDropFloat(out: StepColumn, k: number, value: number | undefined): void {
  if (value === undefined) out.kinds[k] = ABSENT;
  else putFloat(out, k, value);
}

function putOrDrop(out: StepColumn, k: number, histogram: FloatHistogram | undefined): void {
  if (histogram === undefined) out.kinds[k] = ABSENT;
  else putHistogram(out, k, histogram);
}

/** resets and changes: a change of kind counts too. */
function countEvents(func: string, pass: WindowPass, column: HistogramColumn, k: number): number | undefined {
  let { float, histogram: index } = firstEvent(pass, column, k);
  const floatsEnd = pass.high[k]!;
  const histogramsEnd = column.pass.high[k]!;
  let previous: FloatHistogram | number | undefined;
  let events = 0;
  while (float < floatsEnd || index < histogramsEnd) {
    const takeFloat =
      index >= histogramsEnd ||
      (float < floatsEnd && pass.timestampsMs[float]! < column.timestampsMs[index]!);
    const current = takeFloat ? pass.values[float]! : column.histograms[index]!;
    if (previous !== undefined) {
      if (typeof previous !== typeof current) events++;
      else if (takeFloat) events += isFloatEvent(func, pass, float) ? 1 : 0;
      else if (func === 'resets') events += isHistogramReset(column, index) ? 1 : 0;
      else events += (current as FloatHistogram).equals(previous as FloatHistogram) ? 0 : 1;
    }
    previous = current;
    if (takeFloat) float++;
    else index++;
  }
  return previous === undefined ? undefined : events;
}

/** Whether something happened between floats i − 1 and i. */
function isFloatEvent(func: string, pass: WindowPass, i: number): boolean {
  const previous = pass.values[i - 1]!;
  const current = pass.values[i]!;
  if (func === 'resets') return isResetAt(pass, i);
  return current !== previous && !(Number.isNaN(current) && Number.isNaN(previous));
}

/** First sample of either kind in window k; an anchored window starts with the last one at or before its start. */
function firstEvent(
  pass: WindowPass,
  column: HistogramColumn,
  k: number,
): { float: number; histogram: number } {
  const at = { float: pass.low[k]!, histogram: column.pass.low[k]! };
  if (pass.extension !== 'anchored') return at;
  const startMs = pass.firstEndMs + k * pass.endStepMs - pass.rangeMs;
  const timeOf = (times: Float64Array, i: number, end: number): number =>
    i < end && times[i]! <= startMs ? times[i]! : Number.POSITIVE_INFINITY;
  const floatsEnd = pass.high[k]!;
  const histogramsEnd = column.pass.high[k]!;
  for (;;) {
    const floatMs = timeOf(pass.timestampsMs, at.float, floatsEnd);
    const histogramMs = timeOf(column.timestampsMs, at.histogram, histogramsEnd);
    const floatNextMs = timeOf(pass.timestampsMs, at.float + 1, floatsEnd);
    const histogramNextMs = timeOf(column.timestampsMs, at.histogram + 1, histogramsEnd);
    // The earlier of the two goes as long as another one at or before the start is behind it.
    if (floatMs <= histogramMs && Math.min(histogramMs, floatNextMs) < Number.POSITIVE_INFINITY) at.float++;
    else if (histogramMs < floatMs && Math.min(floatMs, histogramNextMs) < Number.POSITIVE_INFINITY)
      at.histogram++;
    else break;
  }
  const hasInside =
    (floatsEnd > at.float && pass.timestampsMs[floatsEnd - 1]! > startMs) ||
    (histogramsEnd > at.histogram && column.timestampsMs[histogramsEnd - 1]! > startMs);
  return hasInside ? at : { float: floatsEnd, histogram: histogramsEnd };
}

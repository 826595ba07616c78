// Range functions over series that hold native histograms, alone or among floats. The floats of a window go through the
// float kernel; this file decides what becomes of them beside histograms, and computes with the histograms.
import { AppError } from '../../core/errors.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import type { SampleColumns } from '../../model/sample-columns.ts';
import type { Position } from '../ast.ts';
import type { Annotations } from './annotations.ts';
import { averageHistograms, sumHistograms } from './histogram-sum.ts';
import { extrapolationFactor } from './kernels-rate.ts';
import { ABSENT, FLOAT, putHistogram, type StepColumn } from './operand.ts';
import { findWindows, type WindowCounts, type WindowPass } from './windows.ts';

/** What a function's annotations name. */
export interface RangeContext {
  readonly func: string;
  readonly metric: string;
  readonly position: Position;
  readonly annotations: Annotations;
}

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

/** Histograms of a series, by their own index. */
interface HistogramColumn {
  readonly timestampsMs: Float64Array;
  readonly histograms: readonly FloatHistogram[];
  readonly pass: WindowPass;
}

/**
 * Evaluates a range function over a series with histograms.
 *
 * @param pass    Reused; holds the float samples afterwards.
 * @param kernel  The function's float kernel.
 */
export function rangeWithHistograms(
  context: RangeContext,
  columns: SampleColumns,
  pass: WindowPass,
  counts: WindowCounts,
  kernel: (pass: WindowPass, out: StepColumn) => void,
  out: StepColumn,
): void {
  if (pass.extension !== undefined) {
    throw new AppError('execution', 'smoothed and anchored modifiers do not work with native histograms');
  }
  const column = split(columns, pass);
  findWindows(pass, 0, 0, counts);
  const histogramCounts = { total: 0, largest: 0 };
  findWindows(column.pass, 0, 0, histogramCounts);
  counts.total += histogramCounts.total;
  counts.largest += histogramCounts.largest;
  kernel(pass, out);
  for (let k = 0; k < pass.steps; k++) {
    const floats = pass.high[k]! - pass.low[k]!;
    const histograms = column.pass.high[k]! - column.pass.low[k]!;
    if (histograms > 0) evaluateStep(context, pass, column, k, floats, histograms, out);
  }
}

/** Leaves the floats in the columns and the pass, and takes out the histograms. */
function split(columns: SampleColumns, pass: WindowPass): HistogramColumn {
  const times: number[] = [];
  const histograms: FloatHistogram[] = [];
  const all = columns.histograms ?? [];
  let kept = 0;
  for (let i = 0; i < columns.count; i++) {
    const histogram = all[i];
    if (histogram !== undefined) {
      times.push(columns.timestampsMs[i]!);
      histograms.push(histogram);
      continue;
    }
    columns.timestampsMs[kept] = columns.timestampsMs[i]!;
    columns.values[kept++] = columns.values[i]!;
  }
  columns.count = kept;
  pass.timestampsMs = columns.timestampsMs;
  pass.values = columns.values;
  pass.count = kept;
  const timestampsMs = Float64Array.from(times);
  const own: WindowPass = {
    ...pass,
    timestampsMs,
    count: times.length,
    low: new Int32Array(pass.steps),
    high: new Int32Array(pass.steps),
  };
  return { timestampsMs, histograms, pass: own };
}

function evaluateStep(
  context: RangeContext,
  pass: WindowPass,
  column: HistogramColumn,
  k: number,
  floats: number,
  histograms: number,
  out: StepColumn,
): void {
  const { func, annotations, metric, position } = context;
  if (FLOATS_ONLY.has(func)) {
    if (floats > 0) annotations.histogramsIgnoredInRange(metric, position);
    return;
  }
  if (NO_MIX.has(func) && floats > 0) {
    annotations.mixedSamples(metric, position);
    out.kinds[k] = ABSENT;
    return;
  }
  const from = column.pass.low[k]!;
  const to = column.pass.high[k]!;
  switch (func) {
    case 'rate':
    case 'increase':
    case 'delta':
      if (histograms > 1) putOrDrop(out, k, rateOf(context, column, from, to, k));
      return;
    case 'irate':
    case 'idelta':
      instantRate(context, pass, column, k, out);
      return;
    case 'sum_over_time':
      putOrDrop(out, k, sumHistograms(column.histograms.slice(from, to), context));
      return;
    case 'avg_over_time':
      putOrDrop(out, k, averageHistograms(column.histograms.slice(from, to), context));
      return;
    case 'resets':
    case 'changes':
      putFloat(out, k, countEvents(context.func, pass, column, k));
      return;
    default:
      evaluateAny(func, pass, column, k, floats + histograms, out);
  }
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

function putOrDrop(out: StepColumn, k: number, histogram: FloatHistogram | undefined): void {
  if (histogram === undefined) out.kinds[k] = ABSENT;
  else putHistogram(out, k, histogram);
}

/** rate, increase, delta of histograms [from, to). */
function rateOf(
  context: RangeContext,
  column: HistogramColumn,
  from: number,
  to: number,
  k: number,
): FloatHistogram | undefined {
  const isCounter = context.func !== 'delta';
  const result = difference(context, column.histograms.slice(from, to), isCounter);
  if (result === undefined) return undefined;
  const { pass } = column;
  const endMs = pass.firstEndMs + k * pass.endStepMs;
  const factor = extrapolationFactor(
    column.timestampsMs[from]!,
    column.timestampsMs[to - 1]!,
    endMs - pass.rangeMs,
    endMs,
    to - from,
    isCounter ? column.histograms[from]!.count : Number.NaN,
    result.count,
  );
  return result.scale(context.func === 'rate' ? factor / (pass.rangeMs / 1000) : factor);
}

function difference(
  context: RangeContext,
  histograms: readonly FloatHistogram[],
  isCounter: boolean,
): FloatHistogram | undefined {
  const { annotations, metric, position } = context;
  const last = histograms.at(-1)!;
  let first: FloatHistogram | undefined = histograms[0]!;
  checkHints(context, histograms, isCounter);
  // Behind a reset the first histogram does not matter, nor does its layout.
  if (isCounter && histograms[1]!.isResetFrom(first)) first = undefined;
  const compared = first === undefined ? histograms.slice(1) : histograms;
  if (compared.some(({ hasCustomBounds }) => hasCustomBounds !== last.hasCustomBounds)) {
    annotations.mixedSchemas(metric, position);
    return undefined;
  }
  const result = last.copy();
  for (const { schema } of compared) result.reduceTo(schema);
  if (first !== undefined && result.subtract(first).boundsReconciled) {
    annotations.reconciledBounds('subtraction', position);
  }
  if (isCounter) addResets(context, histograms, first === undefined, result);
  result.hint = 'gauge';
  return result.compact();
}

function addResets(
  context: RangeContext,
  histograms: readonly FloatHistogram[],
  skipFirst: boolean,
  result: FloatHistogram,
): void {
  for (let i = skipFirst ? 2 : 1; i < histograms.length; i++) {
    if (!histograms[i]!.isResetFrom(histograms[i - 1]!)) continue;
    if (result.add(histograms[i - 1]!).boundsReconciled) {
      context.annotations.reconciledBounds('addition', context.position);
    }
  }
}

function checkHints(context: RangeContext, histograms: readonly FloatHistogram[], isCounter: boolean): void {
  const { annotations, metric, position } = context;
  if (isCounter) {
    if (histograms.some(({ hint }) => hint === 'gauge')) annotations.notACounter(metric, position);
  } else if (histograms[0]!.hint !== 'gauge' || histograms.at(-1)!.hint !== 'gauge') {
    annotations.notAGauge(metric, position);
  }
}

/** irate and idelta: only the last two samples matter, whatever they are. */
function instantRate(
  context: RangeContext,
  pass: WindowPass,
  column: HistogramColumn,
  k: number,
  out: StepColumn,
): void {
  const { annotations, metric, position, func } = context;
  const float = pass.high[k]! - 1;
  const floatsMs = [float, float - 1].filter((i) => i >= pass.low[k]!).map((i) => pass.timestampsMs[i]!);
  const last = column.pass.high[k]! - 1;
  const isSingle = last === column.pass.low[k]!;
  const lastMs = column.timestampsMs[last]!;
  const previousMs = isSingle ? Number.NEGATIVE_INFINITY : column.timestampsMs[last - 1]!;
  const newer = floatsMs.filter((timeMs) => timeMs > lastMs).length;
  if (newer >= 2) return;
  out.kinds[k] = ABSENT;
  if (newer === 0 && isSingle && floatsMs.length === 0) return;
  if (newer === 1 || floatsMs.some((timeMs) => timeMs > previousMs)) {
    annotations.mixedSamples(metric, position);
    return;
  }
  const isRate = func === 'irate';
  const pair = column.histograms.slice(last - 1, last + 1);
  checkHints(context, pair, isRate);
  const result = pair[1]!.copy();
  if (!isRate || !pair[1]!.isResetFrom(pair[0]!)) {
    const outcome = result.subtract(pair[0]!);
    if (outcome.incompatible) {
      annotations.mixedSchemas(metric, position);
      return;
    }
    if (outcome.boundsReconciled) annotations.reconciledBounds('subtraction', position);
  }
  result.hint = 'gauge';
  if (isRate) result.divide((lastMs - previousMs) / 1000);
  putHistogram(out, k, result.compact());
}

/** resets and changes: a change of kind counts too. */
function countEvents(func: string, pass: WindowPass, column: HistogramColumn, k: number): number {
  let float = pass.low[k]!;
  let index = column.pass.low[k]!;
  let previous: FloatHistogram | number | undefined;
  let events = 0;
  while (float < pass.high[k]! || index < column.pass.high[k]!) {
    const takeFloat =
      index >= column.pass.high[k]! ||
      (float < pass.high[k]! && pass.timestampsMs[float]! < column.timestampsMs[index]!);
    const current = takeFloat ? pass.values[float++]! : column.histograms[index++]!;
    if (previous !== undefined && isEvent(func, previous, current)) events++;
    previous = current;
  }
  return events;
}

function isEvent(func: string, previous: FloatHistogram | number, current: FloatHistogram | number): boolean {
  if (typeof previous === 'number' || typeof current === 'number') {
    if (typeof previous !== typeof current) return true;
    if (func === 'resets') return current < previous;
    return current !== previous && !(Number.isNaN(current) && Number.isNaN(previous));
  }
  return func === 'resets' ? current.isResetFrom(previous) : !current.equals(previous);
}

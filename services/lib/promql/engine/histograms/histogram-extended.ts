// Native histograms in anchored and smoothed windows, and between the samples of a smoothed instant selector.
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { SampleColumns } from '../../../model/sample-columns.ts';
import { ABSENT, FLOAT, putHistogram, type StepColumn } from '../operand.ts';
import { interpolateFloats } from '../range/extended-range.ts';
import { combine, type HistogramColumn, type RangeContext } from './histogram-column.ts';

/** A histogram at its time. */
interface Point {
  readonly timeMs: number;
  readonly histogram: FloatHistogram;
}

/** rate, increase and delta of the histograms [from, to) of an anchored or smoothed window. */
export function extendedHistogramRate(
  context: RangeContext,
  column: HistogramColumn,
  from: number,
  to: number,
  k: number,
): FloatHistogram | undefined {
  const { pass, histograms, timestampsMs } = column;
  const endMs = pass.firstEndMs + k * pass.endStepMs;
  const startMs = endMs - pass.rangeMs;
  const isCounter = context.func !== 'delta';
  const smoothed = pass.extension === 'smoothed';
  const points: Point[] = [];
  for (let i = from; i < to; i++) points.push({ timeMs: timestampsMs[i]!, histogram: histograms[i]! });
  const used = usedPoints(points, startMs, endMs, smoothed);
  if (used.length === 0 || !isUniform(context, used, isCounter)) return undefined;
  const first = used[0]!;
  const last = used.at(-1)!;
  const left =
    smoothed && first.timeMs < startMs
      ? interpolate(context, first, used[1]!, startMs, isCounter)
      : first.histogram;
  const right =
    smoothed && used.length > 1 && last.timeMs > endMs
      ? interpolate(context, used.at(-2)!, last, endMs, isCounter)
      : last.histogram;
  if (left === undefined || right === undefined) return undefined;
  const { annotations, metric, position } = context;
  if (!isCounter && (left.hint !== 'gauge' || right.hint !== 'gauge'))
    annotations.notAGauge(metric, position);
  const result = right.copy();
  if (!combine(context, result, left, 'subtraction')) return undefined;
  const leftIsBetween = smoothed && first.timeMs < startMs;
  if (isCounter && !addResets(context, result, used, left, right, leftIsBetween)) return undefined;
  if (context.func === 'rate') result.divide(pass.rangeMs / 1000);
  result.hint = 'gauge';
  return result.compact();
}

/** From the last point at or before the window's start to its end, or the first point at or behind that if smoothed. */
function usedPoints(
  points: readonly Point[],
  startMs: number,
  endMs: number,
  smoothed: boolean,
): readonly Point[] {
  let first = 0;
  while (first + 1 < points.length - 1 && points[first + 1]!.timeMs <= startMs) first++;
  let last = points.length - 1;
  if (smoothed) while (last > 0 && points[last - 1]!.timeMs >= endMs) last--;
  if (points[last]!.timeMs <= startMs || points[first]!.timeMs > endMs) return [];
  return points.slice(first, last + 1);
}

function isUniform(context: RangeContext, points: readonly Point[], isCounter: boolean): boolean {
  const { annotations, metric, position } = context;
  const { hasCustomBounds } = points[0]!.histogram;
  for (const { histogram } of points) {
    if (histogram.hasCustomBounds !== hasCustomBounds) {
      annotations.mixedSchemas(metric, position);
      return false;
    }
    if (isCounter && histogram.hint === 'gauge') annotations.notACounter(metric, position);
  }
  return true;
}

/** The histogram on the line between two; behind a reset a counter counts from zero. */
function interpolate(
  context: RangeContext,
  before: Point,
  after: Point,
  timeMs: number,
  isCounter: boolean,
): FloatHistogram | undefined {
  if (timeMs === before.timeMs) return before.histogram;
  if (timeMs === after.timeMs) return after.histogram;
  const share = (timeMs - before.timeMs) / (after.timeMs - before.timeMs);
  const result = after.histogram.copy();
  if (isCounter && after.histogram.isResetFrom(before.histogram)) return result.scale(share);
  if (!combine(context, result, before.histogram, 'subtraction')) return undefined;
  result.scale(share);
  return combine(context, result, before.histogram, 'addition') ? result : undefined;
}

/** Adds what was counted before each reset between the left and the right value. */
function addResets(
  context: RangeContext,
  result: FloatHistogram,
  points: readonly Point[],
  left: FloatHistogram,
  right: FloatHistogram,
  leftIsBetween: boolean,
): boolean {
  let next = 1;
  let previous = left;
  if (leftIsBetween && points[1]!.histogram.isResetFrom(points[0]!.histogram)) {
    // The left value, on the line to points[1], knows of this reset.
    previous = points[1]!.histogram;
    next = 2;
  }
  // The last point is what `right` is made of.
  if (next > points.length - 1) return true;
  for (; next < points.length; next++) {
    const current = next === points.length - 1 ? right : points[next]!.histogram;
    if (current.isResetFrom(previous) && !combine(context, result, previous, 'addition')) return false;
    previous = current;
  }
  return true;
}

/** Samples [from, to) of a series, so many of them histograms. */
interface SampleWindow {
  from: number;
  to: number;
  histograms: number;
}

/** Moves the window on to the samples behind `afterMs`, up to `untilMs`. */
function slideWindow(window: SampleWindow, columns: SampleColumns, afterMs: number, untilMs: number): void {
  const { timestampsMs, count, histograms } = columns;
  for (; window.to < count && timestampsMs[window.to]! <= untilMs; window.to++) {
    if (histograms?.[window.to] !== undefined) window.histograms++;
  }
  for (; window.from < window.to && timestampsMs[window.from]! <= afterMs; window.from++) {
    if (histograms?.[window.from] !== undefined) window.histograms--;
  }
}

/** A smoothed instant selector over a series with histograms. Answers how many steps have a value. */
export function smoothHistograms(
  context: RangeContext,
  columns: SampleColumns,
  firstMs: number,
  stepMs: number,
  lookbackMs: number,
  into: StepColumn,
): number {
  const { timestampsMs, values, count } = columns;
  const histograms = columns.histograms ?? [];
  let found = 0;
  let next = 0;
  const window = { from: 0, to: 0, histograms: 0 };
  for (let k = 0; k < into.kinds.length; k++) {
    const timeMs = firstMs + k * stepMs;
    while (next < count && timestampsMs[next]! < timeMs) next++;
    into.kinds[k] = ABSENT;
    slideWindow(window, columns, timeMs - lookbackMs, timeMs + lookbackMs);
    if (window.histograms > 0 && window.histograms < window.to - window.from) {
      context.annotations.mixedSamples(context.metric, context.position);
      continue;
    }
    const hasNext = next < count && timestampsMs[next]! <= timeMs + lookbackMs;
    const hasPrevious = next > 0 && timestampsMs[next - 1]! > timeMs - lookbackMs;
    const isExact = hasNext && timestampsMs[next] === timeMs;
    if (!isExact && !hasPrevious) continue;
    const at = isExact ? next : next - 1;
    const before = histograms[at];
    if (isExact || !hasNext) {
      if (before === undefined) putFloat(into, k, values[at]!);
      else putHistogram(into, k, before);
    } else {
      putBetween(context, columns, next - 1, timeMs, k, into);
    }
    if (into.kinds[k] !== ABSENT) found++;
  }
  return found;
}

function putBetween(
  context: RangeContext,
  columns: SampleColumns,
  i: number,
  timeMs: number,
  k: number,
  into: StepColumn,
): void {
  const { timestampsMs, values } = columns;
  const before = columns.histograms?.[i];
  const after = columns.histograms?.[i + 1];
  if (before === undefined && after === undefined) {
    putFloat(into, k, interpolateFloats(timestampsMs, i, values[i]!, values[i + 1]!, timeMs));
    return;
  }
  // A window with both kinds has been left out before.
  if (before === undefined || after === undefined) return;
  const result = interpolate(
    context,
    { timeMs: timestampsMs[i]!, histogram: before },
    { timeMs: timestampsMs[i + 1]!, histogram: after },
    timeMs,
    before.hint !== 'gauge' && after.hint !== 'gauge',
  );
  if (result !== undefined) putHistogram(into, k, result);
}

function putFloat(into: StepColumn, k: number, value: number): void {
  into.values[k] = value;
  into.kinds[k] = FLOAT;
}

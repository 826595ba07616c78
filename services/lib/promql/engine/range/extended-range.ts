// Anchored and smoothed selectors (feature promql-extended-range-selectors): windows that borrow the sample before
// their start, or values interpolated at both bounds, instead of extrapolation.
import { ABSENT, FLOAT, type StepColumn } from '../operand.ts';
import type { WindowPass } from './windows.ts';

/** Value at timeMs on the line through samples i and i + 1; behind a reset a counter counts from zero. */
function onLine(pass: WindowPass, i: number, timeMs: number, isCounter: boolean): number {
  const { timestampsMs, values } = pass;
  const left = isCounter && values[i + 1]! < values[i]! ? 0 : values[i]!;
  return interpolateFloats(timestampsMs, i, left, values[i + 1]!, timeMs);
}

/** rate, increase and delta over anchored or smoothed windows, which findWindows() made wider. */
export function extendedRate(pass: WindowPass, out: StepColumn, isCounter: boolean, isRate: boolean): void {
  const { low, high, rangeMs } = pass;
  for (let k = 0; k < pass.steps; k++) {
    out.kinds[k] = ABSENT;
    const from = low[k]!;
    const to = high[k]!;
    if (to <= from) continue;
    const endMs = pass.firstEndMs + k * pass.endStepMs;
    if (isOutside(pass, from, to, endMs - rangeMs, endMs)) continue;
    const result = extendedIncrease(pass, from, to, endMs - rangeMs, endMs, isCounter);
    out.values[k] = isRate ? result / (rangeMs / 1000) : result;
    out.kinds[k] = FLOAT;
  }
}

/** Index of the last sample that matters: for smoothed windows the first at or after the end, if there is one. */
function lastIndex(pass: WindowPass, from: number, to: number, endMs: number): number {
  let last = to - 1;
  if (pass.extension === 'smoothed') {
    while (last > from && pass.timestampsMs[last - 1]! >= endMs) last--;
  }
  return last;
}

/** True when all samples are before the window, or all behind it. */
function isOutside(pass: WindowPass, from: number, to: number, startMs: number, endMs: number): boolean {
  return pass.timestampsMs[to - 1]! <= startMs || pass.timestampsMs[from]! > endMs;
}

function extendedIncrease(
  pass: WindowPass,
  from: number,
  to: number,
  startMs: number,
  endMs: number,
  isCounter: boolean,
): number {
  const { timestampsMs, values } = pass;
  const smoothed = pass.extension === 'smoothed';
  let last = lastIndex(pass, from, to, endMs);
  let first = from;
  while (first + 1 < to - 1 && timestampsMs[first + 1]! <= startMs) first++;
  const left =
    smoothed && timestampsMs[first]! < startMs ? onLine(pass, first, startMs, isCounter) : values[first]!;
  const right =
    smoothed && last > from && timestampsMs[last]! > endMs
      ? onLine(pass, last - 1, endMs, isCounter)
      : values[last]!;
  if (!isCounter) return right - left;
  // Resets at the bounds are in left and right already: only the samples within count here.
  if (timestampsMs[first]! <= startMs) first++;
  if (timestampsMs[last]! >= endMs) last--;
  // Apart from the difference, as Prometheus adds them up: among very different values the order is in the last bits.
  let correction = 0;
  let previous = left;
  for (let i = first; i <= last; i++) {
    if (values[i]! < previous) correction += previous;
    previous = values[i]!;
  }
  if (right < previous) correction += previous;
  return right - left + correction;
}

/** A smoothed instant selector: the value on the line between the neighbours of each reference time. */
export function smoothSeries(
  timestampsMs: Float64Array,
  values: Float64Array,
  count: number,
  firstMs: number,
  stepMs: number,
  lookbackMs: number,
  into: StepColumn,
): number {
  let found = 0;
  let next = 0;
  for (let k = 0; k < into.kinds.length; k++) {
    const timeMs = firstMs + k * stepMs;
    while (next < count && timestampsMs[next]! < timeMs) next++;
    into.kinds[k] = ABSENT;
    const hasNext = next < count && timestampsMs[next]! <= timeMs + lookbackMs;
    const hasPrevious = next > 0 && timestampsMs[next - 1]! > timeMs - lookbackMs;
    if (hasNext && timestampsMs[next] === timeMs) into.values[k] = values[next]!;
    else if (!hasPrevious) continue;
    else if (hasNext) into.values[k] = between(timestampsMs, values, next - 1, timeMs);
    else into.values[k] = values[next - 1]!;
    into.kinds[k] = FLOAT;
    found++;
  }
  return found;
}

function between(timestampsMs: Float64Array, values: Float64Array, i: number, timeMs: number): number {
  return interpolateFloats(timestampsMs, i, values[i]!, values[i + 1]!, timeMs);
}

/** On the line from `left` at sample i to `right` at the next one; in Prometheus' order, which rounds otherwise than a share of the way. */
export function interpolateFloats(
  timestampsMs: Float64Array,
  i: number,
  left: number,
  right: number,
  timeMs: number,
): number {
  return left + ((right - left) * (timeMs - timestampsMs[i]!)) / (timestampsMs[i + 1]! - timestampsMs[i]!);
}

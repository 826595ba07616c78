// rate, increase, delta, irate, idelta, resets, changes: what compares neighbouring samples of a window.

import { ABSENT, FLOAT, type StepColumn } from '../operand.ts';
import { extendedRate } from './extended-range.ts';
import { EXTRAPOLATION_THRESHOLD, factorFromStart, isStartReset, startsWithin } from './start-times.ts';
import { type AlikeWindows, indexesOf, type WindowPass } from './windows.ts';

export function rate(pass: WindowPass, out: StepColumn): void {
  counterKernel(pass, out, true);
}

export function increase(pass: WindowPass, out: StepColumn): void {
  counterKernel(pass, out, false);
}

export function delta(pass: WindowPass, out: StepColumn): void {
  if (pass.extension !== undefined) extendedRate(pass, out, false, false);
  else extrapolateSteps(pass, out, undefined, 0, false, false);
}

function counterKernel(pass: WindowPass, out: StepColumn, isRate: boolean): void {
  if (pass.extension !== undefined) {
    extendedRate(pass, out, true, isRate);
    return;
  }
  const resets = indexesOf(pass, pass.count);
  if (pass.startTimesMs === undefined) {
    extrapolateSteps(pass, out, resets, findResets(pass.values, pass.count, resets), true, isRate);
  } else {
    countFromStarts(pass, out, resets, findAllResets(pass, resets), isRate);
  }
}

/** Indexes of samples below their predecessor. */
export function findResets(values: Float64Array, count: number, resets: Int32Array): number {
  let found = 0;
  let previous = values[0]!;
  for (let i = 1; i < count; i++) {
    const value = values[i]!;
    if (value < previous) resets[found++] = i;
    previous = value;
  }
  return found;
}

/** Whether a counter was reset between samples i − 1 and i, by value or by start time. */
export function isResetAt(pass: WindowPass, i: number): boolean {
  const { values, timestampsMs, startTimesMs } = pass;
  if (values[i]! < values[i - 1]!) return true;
  if (startTimesMs === undefined) return false;
  return isStartReset(startTimesMs[i - 1]!, timestampsMs[i - 1]!, startTimesMs[i]!, timestampsMs[i]!);
}

/** As findResets(), start times included. */
function findAllResets(pass: WindowPass, resets: Int32Array): number {
  if (pass.startTimesMs === undefined) return findResets(pass.values, pass.count, resets);
  let found = 0;
  for (let i = 1; i < pass.count; i++) if (isResetAt(pass, i)) resets[found++] = i;
  return found;
}

/** rate and increase of a series with start times: a window whose counter started within it counts from there. */
function countFromStarts(
  pass: WindowPass,
  out: StepColumn,
  resets: Int32Array,
  resetCount: number,
  isRate: boolean,
): void {
  const { timestampsMs, values, low, high, firstEndMs, endStepMs, rangeMs } = pass;
  const starts = pass.startTimesMs!;
  extrapolateSteps(pass, out, resets, resetCount, true, isRate);
  let reset = 0;
  for (let k = 0; k < pass.steps; k++) {
    const from = low[k]!;
    const last = high[k]! - 1;
    const endMs = firstEndMs + k * endStepMs;
    if (last < from || !startsWithin(starts[from]!, endMs - rangeMs, timestampsMs[from]!)) continue;
    while (reset < resetCount && resets[reset]! <= from) reset++;
    let result = values[last]! - values[from]!;
    for (let r = reset; r < resetCount && resets[r]! <= last; r++) result += values[resets[r]! - 1]!;
    result += values[from]!;
    const samples = last - from + 1;
    let factor = factorFromStart(starts[from]!, timestampsMs[from]!, timestampsMs[last]!, endMs, samples);
    if (isRate) factor /= rangeMs / 1000;
    out.values[k] = result * factor;
    out.kinds[k] = FLOAT;
  }
}

/** What all windows of a pass are extrapolated by. */
interface Extrapolation {
  /** Counters do not fall below zero, and are corrected where they were reset: after `resets`, so many of them. */
  readonly isCounter: boolean;
  readonly resets: Int32Array | undefined;
  readonly resetCount: number;
  /** Seconds of a rate, 1 otherwise. */
  readonly divisor: number;
}

/** First and last sample of each window, corrected for counter resets and extrapolated to the window's bounds. */
function extrapolateSteps(
  pass: WindowPass,
  out: StepColumn,
  resets: Int32Array | undefined,
  resetCount: number,
  isCounter: boolean,
  isRate: boolean,
): void {
  const how = { isCounter, resets, resetCount, divisor: isRate ? pass.rangeMs / 1000 : 1 };
  const { alike, steps } = pass;
  if (alike === undefined || resetCount > 0) {
    extrapolateEach(pass, out, how, 0, steps);
    return;
  }
  extrapolateEach(pass, out, how, 0, alike.from);
  extrapolateAlike(pass, out, how, alike);
  extrapolateEach(pass, out, how, alike.to, steps);
}

/** Windows of regular samples without resets: all have one factor, unless the counter may have been zero within one. */
function extrapolateAlike(
  pass: WindowPass,
  out: StepColumn,
  how: Extrapolation,
  { from: firstStep, to, stride }: AlikeWindows,
): void {
  const { timestampsMs, values, firstEndMs, endStepMs, rangeMs } = pass;
  const { values: outValues } = out;
  const from = pass.low[firstStep]!;
  const last = pass.high[firstStep]! - 1;
  const samples = last - from + 1;
  out.kinds.fill(samples < 2 ? ABSENT : FLOAT, firstStep, to);
  if (samples < 2) return;
  const endMs = firstEndMs + firstStep * endStepMs;
  const startMs = endMs - rangeMs;
  const firstMs = timestampsMs[from]!;
  const lastMs = timestampsMs[last]!;
  const factor = extrapolationFactor(firstMs, lastMs, startMs, endMs, samples, Number.NaN, 0) / how.divisor;
  // Windows of samples that there are: whole numbers of 32 bits, which the loop is to know.
  const each = stride | 0;
  const toLast = (last - from) | 0;
  let isUsual = !how.isCounter || samples > 2;
  for (let k = firstStep | 0, at = from | 0; k < to; k++, at += each) {
    const first = values[at]!;
    const result = values[at + toLast]! - first;
    outValues[k] = result * factor;
    // With three samples or more, a counter that was above its increase cannot have been zero so shortly before.
    if (!(first >= result)) isUsual = false;
  }
  if (isUsual || !how.isCounter) return;
  for (let k = firstStep, at = from; k < to; k++, at += each) {
    const first = values[at]!;
    const result = values[at + toLast]! - first;
    if (first >= result && samples > 2) continue;
    outValues[k] =
      result * (extrapolationFactor(firstMs, lastMs, startMs, endMs, samples, first, result) / how.divisor);
  }
}

/**
 * Windows one by one.
 *
 * Cost: O(steps + resets in all windows): resets are rare, so the corrections are added up per window in Prometheus'
 * order and keep its bits. A window that lies like the one before, as nearly all do where samples and steps are regular,
 * has its factor, too, unless the counter may have been zero within it: no division is left.
 */
function extrapolateEach(
  pass: WindowPass,
  out: StepColumn,
  { isCounter, resets, resetCount, divisor }: Extrapolation,
  firstStep: number,
  to: number,
): void {
  const { timestampsMs, values, low, high, firstEndMs, endStepMs, rangeMs } = pass;
  const { values: outValues, kinds: outKinds } = out;
  let reset = 0;
  // How the window lay that `usualFactor` is of, as long as its counter was above zero.
  let spanMs = Number.NaN;
  let beforeMs = Number.NaN;
  let afterMs = Number.NaN;
  let samples = 0;
  let usualFactor = Number.NaN;
  for (let k = firstStep; k < to; k++) {
    const from = low[k]!;
    const last = high[k]! - 1;
    if (last <= from) {
      outKinds[k] = ABSENT;
      continue;
    }
    const first = values[from]!;
    let result = values[last]! - first;
    if (resets !== undefined && reset < resetCount) {
      while (reset < resetCount && resets[reset]! <= from) reset++;
      for (let r = reset; r < resetCount && resets[r]! <= last; r++) result += values[resets[r]! - 1]!;
    }
    const firstMs = timestampsMs[from]!;
    const lastMs = timestampsMs[last]!;
    const endMs = firstEndMs + k * endStepMs;
    const startMs = endMs - rangeMs;
    if (
      lastMs - firstMs !== spanMs ||
      firstMs - startMs !== beforeMs ||
      endMs - lastMs !== afterMs ||
      last - from + 1 !== samples
    ) {
      spanMs = lastMs - firstMs;
      beforeMs = firstMs - startMs;
      afterMs = endMs - lastMs;
      samples = last - from + 1;
      usualFactor = extrapolationFactor(firstMs, lastMs, startMs, endMs, samples, Number.NaN, 0) / divisor;
    }
    // With three samples or more, a counter that was above its increase cannot have been zero so shortly before.
    const isUsual = !isCounter || (first >= result && samples > 2);
    outValues[k] =
      result *
      (isUsual
        ? usualFactor
        : extrapolationFactor(firstMs, lastMs, startMs, endMs, samples, first, result) / divisor);
    outKinds[k] = FLOAT;
  }
}

/**
 * By how much the difference of a window's samples grows when the window's ends are accounted for.
 *
 * @param first   First value of a counter, which was never below zero; NaN for a gauge.
 * @param result  The difference, corrected for resets.
 */
export function extrapolationFactor(
  firstMs: number,
  lastMs: number,
  startMs: number,
  endMs: number,
  samples: number,
  first: number,
  result: number,
): number {
  const sampledSeconds = (lastMs - firstMs) / 1000;
  const averageSeconds = sampledSeconds / (samples - 1);
  const threshold = averageSeconds * EXTRAPOLATION_THRESHOLD;
  let beforeSeconds = (firstMs - startMs) / 1000;
  let afterSeconds = (endMs - lastMs) / 1000;
  if (beforeSeconds >= threshold) beforeSeconds = averageSeconds / 2;
  if (result > 0 && first >= 0) {
    // Not past the point where the counter was zero.
    const toZeroSeconds = sampledSeconds * (first / result);
    if (toZeroSeconds < beforeSeconds) beforeSeconds = toZeroSeconds;
  }
  if (afterSeconds >= threshold) afterSeconds = averageSeconds / 2;
  return (sampledSeconds + beforeSeconds + afterSeconds) / sampledSeconds;
}

export function irate(pass: WindowPass, out: StepColumn): void {
  lastTwo(pass, out, true);
}

export function idelta(pass: WindowPass, out: StepColumn): void {
  lastTwo(pass, out, false);
}

function lastTwo(pass: WindowPass, out: StepColumn, isRate: boolean): void {
  const { timestampsMs, values, low, high } = pass;
  for (let k = 0; k < pass.steps; k++) {
    const last = high[k]! - 1;
    out.kinds[k] = ABSENT;
    if (last <= low[k]!) continue;
    const elapsedMs = timestampsMs[last]! - timestampsMs[last - 1]!;
    if (elapsedMs === 0) continue;
    const isReset = isRate && isResetAt(pass, last);
    const result = isReset ? values[last]! : values[last]! - values[last - 1]!;
    out.values[k] = isRate ? result / (elapsedMs / 1000) : result;
    out.kinds[k] = FLOAT;
  }
}

export function resets(pass: WindowPass, out: StepColumn): void {
  const found = indexesOf(pass, pass.count);
  countEvents(pass, out, found, findAllResets(pass, found));
}

export function changes(pass: WindowPass, out: StepColumn): void {
  const found = indexesOf(pass, pass.count);
  countEvents(pass, out, found, findChanges(pass.values, pass.count, found));
}

/** Indexes of samples that differ from their predecessor; NaN equals NaN. */
function findChanges(values: Float64Array, count: number, found: Int32Array): number {
  let changes = 0;
  for (let i = 1; i < count; i++) {
    const value = values[i]!;
    const previous = values[i - 1]!;
    if (value !== previous && !(Number.isNaN(value) && Number.isNaN(previous))) found[changes++] = i;
  }
  return changes;
}

/** Events whose both samples are in the window. Events are ascending, so two pointers count them. */
function countEvents(pass: WindowPass, out: StepColumn, events: Int32Array, eventCount: number): void {
  const { low, high } = pass;
  let from = 0;
  let to = 0;
  for (let k = 0; k < pass.steps; k++) {
    const first = firstSample(pass, k);
    const end = high[k]!;
    out.kinds[k] = ABSENT;
    if (end <= low[k]! || first < 0) continue;
    while (to < eventCount && events[to]! < end) to++;
    while (from < to && events[from]! <= first) from++;
    out.values[k] = to - from;
    out.kinds[k] = FLOAT;
  }
}

/** First sample of window k that counts; an anchored window starts with the last one at or before its start. */
function firstSample(pass: WindowPass, k: number): number {
  const from = pass.low[k]!;
  if (pass.extension !== 'anchored') return from;
  const startMs = pass.firstEndMs + k * pass.endStepMs - pass.rangeMs;
  const last = pass.high[k]! - 1;
  if (last < from || pass.timestampsMs[last]! <= startMs) return -1;
  let first = from;
  while (first < last && pass.timestampsMs[first + 1]! <= startMs) first++;
  return first;
}

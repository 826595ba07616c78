// The <aggregation>_over_time kernels. Sums are added up anew per window in Prometheus' order, so that their bits are
// Prometheus' own, except where all values are integers: then any order gives the same bits and prefix sums will do.

import { quantileOf } from '../aggregation/quantile.ts';
import { compensatedSum, errorOfSum, KahanSum } from '../kahan.ts';
import { ABSENT, FLOAT, type StepColumn } from '../operand.ts';
import { indexesOf, scratchOf, type WindowPass } from './windows.ts';

/** Sums of integers up to this magnitude are exact. */
const EXACT_MAX = Number.MAX_SAFE_INTEGER;

export function countOverTime(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    const size = pass.high[k]! - pass.low[k]!;
    out.values[k] = size;
    out.kinds[k] = size > 0 ? FLOAT : ABSENT;
  }
}

export function presentOverTime(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    out.values[k] = 1;
    out.kinds[k] = pass.high[k]! > pass.low[k]! ? FLOAT : ABSENT;
  }
}

export function firstOverTime(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    out.kinds[k] = pass.high[k]! > from ? FLOAT : ABSENT;
    if (out.kinds[k] === FLOAT) out.values[k] = pass.values[from]!;
  }
}

export function lastOverTime(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    const end = pass.high[k]!;
    out.kinds[k] = end > pass.low[k]! ? FLOAT : ABSENT;
    if (out.kinds[k] === FLOAT) out.values[k] = pass.values[end - 1]!;
  }
}

export function timeOfFirst(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    out.kinds[k] = pass.high[k]! > from ? FLOAT : ABSENT;
    if (out.kinds[k] === FLOAT) out.values[k] = pass.timestampsMs[from]! / 1000;
  }
}

export function timeOfLast(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    const end = pass.high[k]!;
    out.kinds[k] = end > pass.low[k]! ? FLOAT : ABSENT;
    if (out.kinds[k] === FLOAT) out.values[k] = pass.timestampsMs[end - 1]! / 1000;
  }
}

/** Prefix sums of the values into `scratch` when all of them are integers and no sum can round; else false. */
function prefixSums(pass: WindowPass): boolean {
  const { values, count } = pass;
  const sums = scratchOf(pass, count + 1);
  let magnitude = 0;
  let sum = 0;
  sums[0] = 0;
  for (let i = 0; i < count; i++) {
    const value = values[i]!;
    magnitude += Math.abs(value);
    if (!Number.isInteger(value) || magnitude > EXACT_MAX) return false;
    sum += value;
    sums[i + 1] = sum;
  }
  return true;
}

export function sumOverTime(pass: WindowPass, out: StepColumn): void {
  const exact = pass.steps > 1 && prefixSums(pass);
  const sums = pass.scratch;
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = to > from ? FLOAT : ABSENT;
    if (to <= from) continue;
    if (!exact) pass.spend?.(to - from);
    out.values[k] = exact ? sums[to]! - sums[from]! : compensatedSum(pass.values, from, to);
  }
}

export function avgOverTime(pass: WindowPass, out: StepColumn): void {
  const exact = pass.steps > 1 && prefixSums(pass);
  const sums = pass.scratch;
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = to > from ? FLOAT : ABSENT;
    if (to <= from) continue;
    if (!exact) pass.spend?.(to - from);
    out.values[k] = exact ? (sums[to]! - sums[from]!) / (to - from) : averageWindow(pass.values, from, to);
  }
}

/** Hot! Compensated mean; from where the sum would overflow, an incremental one. */
function averageWindow(values: Float64Array, from: number, to: number): number {
  let sum = values[from]!;
  let compensation = 0;
  for (let i = from + 1; i < to; i++) {
    const value = values[i]!;
    const total = sum + value;
    compensation += errorOfSum(sum, value, total);
    sum = total;
  }
  const count = to - from;
  return Number.isFinite(sum + compensation)
    ? sum / count + compensation / count
    : averageWithInfinities(values, from, to);
}

function averageWithInfinities(values: Float64Array, from: number, to: number): number {
  const sum = new KahanSum();
  sum.add(values[from]!);
  for (let i = from + 1; i < to; i++) {
    if (Math.abs(sum.sum + values[i]!) === Number.POSITIVE_INFINITY)
      return incrementalMean(values, from, i, to, sum.sum, sum.compensation);
    sum.add(values[i]!);
  }
  const count = to - from;
  return sum.sum / count + sum.compensation / count;
}

function incrementalMean(
  values: Float64Array,
  from: number,
  at: number,
  to: number,
  sum: number,
  sumCompensation: number,
): number {
  let mean = sum / (at - from);
  let compensation = sumCompensation / (at - from);
  for (let i = at; i < to; i++) {
    const count = i - from + 1;
    const share = (count - 1) / count;
    const base = share * mean;
    const increment = values[i]! / count;
    compensation *= share;
    mean = base + increment;
    if (mean === Number.POSITIVE_INFINITY || mean === Number.NEGATIVE_INFINITY) compensation = 0;
    else if (Math.abs(base) >= Math.abs(increment)) compensation += base - mean + increment;
    else compensation += increment - mean + base;
  }
  return mean + compensation;
}

export function minOverTime(pass: WindowPass, out: StepColumn): void {
  extremes(pass, out, -1, false, false);
}

export function maxOverTime(pass: WindowPass, out: StepColumn): void {
  extremes(pass, out, 1, false, false);
}

export function timeOfMin(pass: WindowPass, out: StepColumn): void {
  extremes(pass, out, -1, true, true);
}

export function timeOfMax(pass: WindowPass, out: StepColumn): void {
  extremes(pass, out, 1, true, true);
}

/**
 * Largest (sign 1) or smallest (sign -1) value of each window by a monotonic queue of indexes; NaN only where there is
 * nothing else. Of equal values the first counts, or the last where `latest`.
 *
 * Cost: O(samples + steps).
 */
function extremes(pass: WindowPass, out: StepColumn, sign: 1 | -1, latest: boolean, asTime: boolean): void {
  const { timestampsMs, values, low, high } = pass;
  const queue = indexesOf(pass, pass.count);
  let head = 0;
  let tail = 0;
  let next = 0;
  for (let k = 0; k < pass.steps; k++) {
    const from = low[k]!;
    const to = high[k]!;
    out.kinds[k] = to > from ? FLOAT : ABSENT;
    if (to <= from) continue;
    if (next < from) next = from;
    for (; next < to; next++) {
      const value = values[next]! * sign;
      if (Number.isNaN(value)) continue;
      while (tail > head) {
        const back = values[queue[tail - 1]!]! * sign;
        if (latest ? back > value : back >= value) break;
        tail--;
      }
      queue[tail++] = next;
    }
    while (head < tail && queue[head]! < from) head++;
    const found = head < tail ? queue[head]! : to - 1;
    out.values[k] = asTime ? timestampsMs[found]! / 1000 : values[found]!;
  }
}

export function stddevOverTime(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = to > from ? FLOAT : ABSENT;
    if (to <= from) continue;
    pass.spend?.(to - from);
    out.values[k] = Math.sqrt(varianceWindow(pass.values, from, to));
  }
}

export function stdvarOverTime(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = to > from ? FLOAT : ABSENT;
    if (to <= from) continue;
    pass.spend?.(to - from);
    out.values[k] = varianceWindow(pass.values, from, to);
  }
}

/** Welford's population variance with both running sums compensated. */
function varianceWindow(values: Float64Array, from: number, to: number): number {
  let mean = 0;
  let meanComp = 0;
  let squares = 0;
  let squaresComp = 0;
  for (let i = from; i < to; i++) {
    const value = values[i]!;
    const deviation = value - (mean + meanComp);
    const step = deviation / (i - from + 1);
    const newMean = mean + step;
    if (Math.abs(newMean) === Number.POSITIVE_INFINITY) meanComp = 0;
    else if (Math.abs(mean) >= Math.abs(step)) meanComp += mean - newMean + step;
    else meanComp += step - newMean + mean;
    mean = newMean;
    const square = deviation * (value - (mean + meanComp));
    const newSquares = squares + square;
    if (Math.abs(newSquares) === Number.POSITIVE_INFINITY) squaresComp = 0;
    else if (Math.abs(squares) >= Math.abs(square)) squaresComp += squares - newSquares + square;
    else squaresComp += square - newSquares + squares;
    squares = newSquares;
  }
  return (squares + squaresComp) / (to - from);
}

/** params[0]: φ. */
export function quantileOverTime(pass: WindowPass, out: StepColumn): void {
  const phi = pass.params[0]!;
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = to > from ? FLOAT : ABSENT;
    if (to > from) out.values[k] = quantileOf(phi[k]!, copyWindow(pass, from, to));
  }
}

/** Median absolute deviation; NaN where any sample is. */
export function madOverTime(pass: WindowPass, out: StepColumn): void {
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    out.kinds[k] = to > from ? FLOAT : ABSENT;
    if (to <= from) continue;
    const window = copyWindow(pass, from, to);
    const median = window.some(Number.isNaN) ? Number.NaN : quantileOf(0.5, window);
    for (let i = 0; i < window.length; i++) window[i] = Math.abs(pass.values[from + i]! - median);
    out.values[k] = quantileOf(0.5, window);
  }
}

function copyWindow(pass: WindowPass, from: number, to: number): Float64Array<ArrayBuffer> {
  pass.spend?.(to - from);
  const window = scratchOf(pass, to - from).subarray(0, to - from);
  window.set(pass.values.subarray(from, to));
  return window;
}

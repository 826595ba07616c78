// Range functions over columns of which some entries are aggregates. Where the bounds of a window are multiples of the aggregates'
// resolution, cells are in it or not, and the result is that of the samples: to the last bit, but for sums of what is not whole,
// which are added up in another order. Other windows are widened to such bounds; what adds up over time is scaled down again.
import { type AggregateCells, storedCorrection } from '../../../model/aggregate-cells.ts';
import { compensatedSum } from '../kahan.ts';
import { ABSENT, FLOAT, type StepColumn } from '../operand.ts';
import { extrapolationFactor } from './kernels-rate.ts';
import type { WindowCounts, WindowPass } from './windows.ts';

/** Windows of a pass over cells, widened where they are not aligned. */
interface CellWindows {
  readonly pass: WindowPass;
  readonly cells: AggregateCells;
  /** Bounds of the windows, a value per step. */
  readonly startsMs: Float64Array;
  readonly endsMs: Float64Array;
}

type CellKernel = (windows: CellWindows, k: number, from: number, to: number) => number | undefined;

/** By function; those of the rest look at the newest sample of each cell. */
const KERNELS: ReadonlyMap<string, CellKernel> = new Map<string, CellKernel>([
  ['rate', (windows, k, from, to) => change(windows, k, from, to, true, true)],
  ['increase', (windows, k, from, to) => change(windows, k, from, to, true, false)],
  ['delta', (windows, k, from, to) => change(windows, k, from, to, false, false)],
  [
    'sum_over_time',
    (windows, k, from, to) => compensatedSum(windows.cells.sums, from, to) * shareOf(windows, k),
  ],
  [
    'avg_over_time',
    ({ cells }, _, from, to) => compensatedSum(cells.sums, from, to) / compensatedSum(cells.counts, from, to),
  ],
  [
    'count_over_time',
    (windows, k, from, to) => compensatedSum(windows.cells.counts, from, to) * shareOf(windows, k),
  ],
  ['min_over_time', ({ cells }, _, from, to) => extreme(cells.mins, from, to, -1)],
  ['max_over_time', ({ cells }, _, from, to) => extreme(cells.maxs, from, to, 1)],
  ['present_over_time', () => 1],
  ['absent_over_time', () => 1],
  ['first_over_time', ({ cells }, _, from) => cells.firsts[from]!],
  ['last_over_time', ({ cells }, _k, _from, to) => cells.lasts[to - 1]!],
  ['ts_of_first_over_time', ({ cells }, _, from) => cells.firstTimesMs[from]! / 1000],
  ['ts_of_last_over_time', ({ cells }, _k, _from, to) => cells.lastTimesMs[to - 1]! / 1000],
]);

/**
 * Evaluates `func` at every step over the cells of the pass; false when aggregates do not answer it.
 *
 * @param isAligned  Windows are whole cells; others are widened to be.
 * @param counts     Cells in the windows, as findWindows() counts samples.
 */
export function evaluateCells(
  func: string,
  pass: WindowPass,
  cells: AggregateCells,
  isAligned: boolean,
  counts: WindowCounts,
  out: StepColumn,
): boolean {
  const kernel = KERNELS.get(func);
  if (kernel === undefined || pass.extension !== undefined) return false;
  const startsMs = new Float64Array(pass.steps);
  const endsMs = new Float64Array(pass.steps);
  const windows = { pass, cells, startsMs, endsMs };
  setBounds(pass, cells, isAligned, startsMs, endsMs);
  findCells(windows, counts);
  for (let k = 0; k < pass.steps; k++) {
    const from = pass.low[k]!;
    const to = pass.high[k]!;
    const value = to > from ? kernel(windows, k, from, to) : undefined;
    out.kinds[k] = value === undefined ? ABSENT : FLOAT;
    if (value !== undefined) out.values[k] = value;
  }
  return true;
}

/** Bounds of each window: as they are, or widened to multiples of the coarsest resolution of what touches them. */
function setBounds(
  pass: WindowPass,
  cells: AggregateCells,
  isAligned: boolean,
  startsMs: Float64Array,
  endsMs: Float64Array,
): void {
  const { firstTimesMs, lastTimesMs, resolutionsMs, count } = cells;
  let from = 0;
  for (let k = 0; k < pass.steps; k++) {
    const endMs = pass.firstEndMs + k * pass.endStepMs;
    const startMs = endMs - pass.rangeMs;
    let resolutionMs = 0;
    if (!isAligned) {
      while (from < count && lastTimesMs[from]! <= startMs) from++;
      for (let i = from; i < count && firstTimesMs[i]! <= endMs; i++) {
        resolutionMs = Math.max(resolutionMs, resolutionsMs[i]!);
      }
    }
    startsMs[k] = resolutionMs === 0 ? startMs : Math.floor(startMs / resolutionMs) * resolutionMs;
    endsMs[k] = resolutionMs === 0 ? endMs : Math.ceil(endMs / resolutionMs) * resolutionMs;
  }
}

/** The part of the widened window that was asked for. */
function shareOf({ pass, startsMs, endsMs }: CellWindows, k: number): number {
  return pass.rangeMs / (endsMs[k]! - startsMs[k]!);
}

/** Cells of each window: those whose newest sample is in it. Sets low and high of the pass. */
function findCells(windows: CellWindows, counts: WindowCounts): void {
  const { pass, cells, startsMs, endsMs } = windows;
  const { lastTimesMs, count } = cells;
  counts.total = 0;
  counts.largest = 0;
  for (let k = 0; k < pass.steps; k++) {
    // Widened windows may begin before the one before did.
    const from = countUntil(lastTimesMs, count, startsMs[k]!);
    const to = countUntil(lastTimesMs, count, endsMs[k]!);
    pass.low[k] = from;
    pass.high[k] = to;
    counts.total += to - from;
    counts.largest = Math.max(counts.largest, to - from);
  }
}

/** How many of `times`, ascending, are at or before a time. */
function countUntil(times: Float64Array, count: number, timeMs: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (times[middle]! <= timeMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** NaN only where there is nothing else. */
function extreme(column: Float64Array, from: number, to: number, sign: 1 | -1): number {
  let found = column[from]!;
  for (let i = from + 1; i < to; i++) {
    const value = column[i]!;
    if (value * sign > found * sign || Number.isNaN(found)) found = value;
  }
  return found;
}

/** rate, increase, delta: first and newest sample of the window, resets within and between cells, extrapolated as those of samples. */
function change(
  windows: CellWindows,
  k: number,
  from: number,
  to: number,
  isCounter: boolean,
  isRate: boolean,
): number | undefined {
  const { firsts, lasts, firstTimesMs, lastTimesMs, counts, corrections } = windows.cells;
  const last = to - 1;
  let samples = 0;
  for (let i = from; i < to; i++) samples += counts[i]!;
  if (samples < 2) return undefined;
  let result = lasts[last]! - firsts[from]!;
  if (isCounter) {
    for (let i = from; i < to; i++) {
      if (i > from && firsts[i]! < lasts[i - 1]!) result += lasts[i - 1]!;
      result += storedCorrection(corrections[i]!);
    }
  }
  const startMs = windows.startsMs[k]!;
  const endMs = windows.endsMs[k]!;
  const first = isCounter ? firsts[from]! : Number.NaN;
  const factor = extrapolationFactor(
    firstTimesMs[from]!,
    lastTimesMs[last]!,
    startMs,
    endMs,
    samples,
    first,
    result,
  );
  if (isRate) return result * (factor / ((endMs - startMs) / 1000));
  return result * factor * shareOf(windows, k);
}

/**
 * Newest sample at or before each reference time, of what cells know, unless it is a staleness marker. Where a cell spans the time,
 * its first sample is what is known. A cell may be older than the lookback by its resolution, since what was newer is not kept.
 *
 * @returns How many were found.
 */
export function pickFromCells(
  cells: AggregateCells,
  times: { readonly firstMs: number; readonly stepMs: number },
  lookbackMs: number,
  into: StepColumn,
): number {
  let found = 0;
  let next = 0;
  for (let k = 0; k < into.kinds.length; k++) {
    const timeMs = times.firstMs + k * times.stepMs;
    while (next < cells.count && cells.firstTimesMs[next]! <= timeMs) next++;
    const at = next - 1;
    into.kinds[k] = ABSENT;
    if (at < 0 || cells.counts[at] === 0) continue;
    const isWhole = cells.lastTimesMs[at]! <= timeMs;
    const ownMs = isWhole ? cells.lastTimesMs[at]! : cells.firstTimesMs[at]!;
    if (ownMs <= timeMs - lookbackMs - cells.resolutionsMs[at]!) continue;
    into.values[k] = isWhole ? cells.lasts[at]! : cells.firsts[at]!;
    into.kinds[k] = FLOAT;
    found++;
  }
  return found;
}

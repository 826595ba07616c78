// Which selects may be answered by aggregates: those of functions that need no more than aggregates hold, over windows whose
// bounds are all multiples of their resolution. Then the answer is the samples' own.
import type { AtGrid } from '../durations.ts';

/** Functions over range vectors that cells of aggregates answer (kernels-aggregates.ts, and histograms by their weights). */
const ANSWERED_BY_AGGREGATES: ReadonlySet<string> = new Set([
  'rate',
  'increase',
  'delta',
  'sum_over_time',
  'avg_over_time',
  'min_over_time',
  'max_over_time',
  'count_over_time',
  'present_over_time',
  'absent_over_time',
  'first_over_time',
  'last_over_time',
  'ts_of_first_over_time',
  'ts_of_last_over_time',
]);

/** Of histograms, sums are not kept. */
const FLOATS_ONLY: ReadonlySet<string> = new Set(['sum_over_time', 'avg_over_time']);

export function isAnsweredByAggregates(func: string): boolean {
  return ANSWERED_BY_AGGREGATES.has(func);
}

export function isAnsweredByThinnedHistograms(func: string): boolean {
  return ANSWERED_BY_AGGREGATES.has(func) && !FLOATS_ONLY.has(func);
}

/**
 * The largest number of milliseconds of which both bounds of all windows are multiples; 0 when the times are no whole milliseconds.
 *
 * @param rangeMs  Length of the windows; 0 for instants.
 */
export function alignmentOf({ firstMs, stepMs }: AtGrid, steps: number, rangeMs: number): number {
  let common = 0;
  for (const number of [firstMs, steps > 1 ? stepMs : 0, rangeMs]) {
    if (!Number.isSafeInteger(number)) return 0;
    common = greatestDivisor(common, Math.abs(number));
  }
  return common;
}

function greatestDivisor(a: number, b: number): number {
  let larger = a;
  let smaller = b;
  while (smaller > 0) [larger, smaller] = [smaller, larger % smaller];
  return larger;
}

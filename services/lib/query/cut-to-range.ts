// The end of reading a series: chunks hold more than was asked for.
import type { SampleColumns } from '../model/sample-columns.ts';

/** Drops what lies outside [minTimeMs, maxTimeMs]; timestamps ascend. */
export function cutToRange(columns: SampleColumns, minTimeMs: number, maxTimeMs: number): void {
  const { timestampsMs, cells } = columns;
  let end = columns.count;
  while (end > 0 && timestampsMs[end - 1]! > maxTimeMs) end--;
  let start = 0;
  while (start < end && timestampsMs[start]! < minTimeMs) start++;
  if (start > 0) {
    timestampsMs.copyWithin(0, start, end);
    columns.values.copyWithin(0, start, end);
  }
  columns.histograms = columns.histograms?.slice(start, end);
  columns.startTimesMs = columns.startTimesMs?.slice(start, end);
  if (cells !== undefined) {
    for (let i = start; i < end; i++) cells.copyCell(i - start, cells, i);
    cells.count = end - start;
  }
  columns.count = end - start;
}

/**
 * Drops the samples of floats from `from` on that lie outside, at either end of them: what one chunk added, before it is merged with others,
 * so that equal samples of chunks that begin elsewhere are found to be equal. Samples inside stay, in whatever order they are.
 *
 * @returns  The count that is left, for the caller to set.
 */
export function cutAddedToRange(
  { timestampsMs, values, count }: SampleColumns,
  from: number,
  minTimeMs: number,
  maxTimeMs: number,
): number {
  let end = count;
  while (end > from && timestampsMs[end - 1]! > maxTimeMs) end--;
  let start = from;
  while (start < end && timestampsMs[start]! < minTimeMs) start++;
  if (start > from) {
    timestampsMs.copyWithin(from, start, end);
    values.copyWithin(from, start, end);
  }
  return from + end - start;
}

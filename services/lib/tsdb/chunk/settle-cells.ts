// Brings aggregate cells of one series into one order and takes out those that stand for the same samples as others: the rule by
// which answers of several stores become one (docs/format/chunk-aggregates.md).
import { AggregateCells } from '../../model/aggregate-cells.ts';
import { wordsOf } from '../../model/sample-columns.ts';

/**
 * Sorts by time; of cells that overlap, the one of more samples stays. The result does not depend on the order of the input.
 *
 * Cost: one walk when they ascend already.
 */
export function settleCells(cells: AggregateCells): void {
  const { firstTimesMs, lastTimesMs, count } = cells;
  let i = 1;
  while (i < count && firstTimesMs[i]! > lastTimesMs[i - 1]!) i++;
  if (i >= count) return;
  const order = Uint32Array.from({ length: count }, (_, at) => at);
  order.sort((a, b) => compareCells(cells, a, b));
  // The strongest first: what overlaps one that is kept goes.
  const kept = new AggregateCells(count);
  const taken: number[] = [];
  for (const at of order) {
    const place = placeOf(cells, taken, firstTimesMs[at]!);
    const before = taken[place - 1];
    const behind = taken[place];
    if (before !== undefined && lastTimesMs[before]! >= firstTimesMs[at]!) continue;
    if (behind !== undefined && firstTimesMs[behind]! <= lastTimesMs[at]!) continue;
    taken.splice(place, 0, at);
  }
  for (const [to, at] of taken.entries()) kept.copyCell(to, cells, at);
  for (let to = 0; to < taken.length; to++) cells.copyCell(to, kept, to);
  cells.count = taken.length;
}

/** How many of `taken`, ascending, begin at or before a time. */
function placeOf({ firstTimesMs }: AggregateCells, taken: readonly number[], timeMs: number): number {
  let low = 0;
  let high = taken.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (firstTimesMs[taken[middle]!]! <= timeMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Negative when cell `a` is to stay rather than `b`; 0 only for cells that are the same in every bit. */
function compareCells(cells: AggregateCells, a: number, b: number): number {
  const { counts, firstTimesMs, lastTimesMs, resolutionsMs } = cells;
  const { sums, firsts, lasts, mins, maxs, corrections } = cells;
  return (
    counts[b]! - counts[a]! ||
    lastTimesMs[b]! - lastTimesMs[a]! ||
    compareBits(sums, a, b) ||
    resolutionsMs[a]! - resolutionsMs[b]! ||
    firstTimesMs[a]! - firstTimesMs[b]! ||
    compareBits(lasts, a, b) ||
    compareBits(firsts, a, b) ||
    compareBits(mins, a, b) ||
    compareBits(maxs, a, b) ||
    compareBits(corrections, a, b)
  );
}

/** Negative when the bits of value `a` are, as an unsigned number, the greater ones. */
function compareBits(values: Float64Array<ArrayBuffer>, a: number, b: number): number {
  const words = wordsOf(values);
  return words[2 * b + 1]! - words[2 * a + 1]! || words[2 * b]! - words[2 * a]!;
}

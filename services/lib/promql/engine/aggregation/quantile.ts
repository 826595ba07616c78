// φ-quantiles of plain values.

/** Fewer values are sorted by insertion. */
const SMALL = 12;

/**
 * φ-quantile of values[from, to), which are reordered. NaN counts as the smallest value; φ below 0 gives −Inf, above 1 +Inf.
 * Cost: O(n) mostly, O(n log n) at worst; no allocation.
 */
export function quantileOf(phi: number, values: Float64Array, from = 0, to = values.length): number {
  if (to === from || Number.isNaN(phi)) return Number.NaN;
  if (phi < 0) return Number.NEGATIVE_INFINITY;
  if (phi > 1) return Number.POSITIVE_INFINITY;
  const end = moveNansBehind(values, from, to);
  const nans = to - end;
  const count = to - from;
  const rank = phi * (count - 1);
  const lower = Math.max(0, Math.floor(rank));
  const upper = Math.min(count - 1, lower + 1);
  const weight = rank - Math.floor(rank);
  // Prometheus sorts NaN to the beginning: ranks go around by their number.
  let low = Number.NaN;
  let high = Number.NaN;
  if (upper >= nans) {
    const at = from + Math.max(0, lower - nans);
    const above = from + upper - nans;
    partition(values, from, end, at);
    if (lower >= nans) low = values[at]!;
    high = above === at ? values[at]! : smallestOf(values, at + 1, end);
    // Zeros of either sign have an order that comparing does not show.
    if (low === 0 || high === 0) {
      values.subarray(from, end).sort();
      if (lower >= nans) low = values[at]!;
      high = values[above]!;
    }
  }
  return low * (1 - weight) + high * weight;
}

/** Moves NaN behind all numbers; answers where these end. */
function moveNansBehind(values: Float64Array, from: number, to: number): number {
  let end = to;
  for (let i = from; i < end; ) {
    const value = values[i]!;
    if (!Number.isNaN(value)) {
      i++;
      continue;
    }
    values[i] = values[--end]!;
    values[end] = value;
  }
  return end;
}

function smallestOf(values: Float64Array, from: number, to: number): number {
  let smallest = values[from]!;
  for (let i = from + 1; i < to; i++) if (values[i]! < smallest) smallest = values[i]!;
  return smallest;
}

/** Brings values[first, end) into an order in which the one at `at` has its rank, none before is larger and none behind smaller. */
function partition(values: Float64Array, first: number, end: number, at: number): void {
  let from = first;
  let to = end - 1;
  // Each round should leave half or less: where it does not, again and again, sorting is bounded.
  for (let rounds = 4 * Math.log2(end - first + 2); to - from >= SMALL; rounds--) {
    if (rounds < 0) {
      values.subarray(from, to + 1).sort();
      return;
    }
    const pivot = medianOf(values[from]!, values[(from + to) >>> 1]!, values[to]!);
    let i = from;
    let j = to;
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i > j) break;
      const value = values[i]!;
      values[i++] = values[j]!;
      values[j--] = value;
    }
    if (at <= j) to = j;
    else if (at >= i) from = i;
    else return;
  }
  insertionSort(values, from, to);
}

function medianOf(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}

function insertionSort(values: Float64Array, from: number, to: number): void {
  for (let i = from + 1; i <= to; i++) {
    const value = values[i]!;
    let j = i - 1;
    for (; j >= from && values[j]! > value; j--) values[j + 1] = values[j]!;
    values[j + 1] = value;
  }
}

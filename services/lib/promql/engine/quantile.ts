// φ-quantiles of plain values.

/**
 * φ-quantile of `values`, which are reordered. NaN counts as the smallest value; φ below 0 gives −Inf, above 1 +Inf.
 * Cost: O(n log n), no allocation.
 */
export function quantileOf(phi: number, values: Float64Array): number {
  const count = values.length;
  if (count === 0 || Number.isNaN(phi)) return Number.NaN;
  if (phi < 0) return Number.NEGATIVE_INFINITY;
  if (phi > 1) return Number.POSITIVE_INFINITY;
  values.sort();
  // A typed array sorts NaN to the end; Prometheus to the beginning. Reading goes around by their number.
  let nans = 0;
  while (nans < count && Number.isNaN(values[count - 1 - nans])) nans++;
  const rank = phi * (count - 1);
  const lower = Math.max(0, Math.floor(rank));
  const upper = Math.min(count - 1, lower + 1);
  const weight = rank - Math.floor(rank);
  const at = (index: number): number => (index < nans ? Number.NaN : values[index - nans]!);
  return at(lower) * (1 - weight) + at(upper) * weight;
}

// Quantiles and fractions of one classic histogram: cumulative counts by upper bound.

/** Smallest normal double: below it, relative differences mean nothing. */
const NORMAL_MIN = 2.2250738585072014e-308;

/** Relative difference of neighbouring counts below which it is taken for a rounding error. */
const SMALL_DELTA = 1e-12;

/** Buckets of one histogram, reused: bounds and cumulative counts in [0, size). */
export class Buckets {
  bounds = new Float64Array(16);
  counts = new Float64Array(16);
  size = 0;
  /** What fixMonotonicity() had to do. */
  forced = false;
  minForced = 0;
  maxForced = 0;
  maxDiff = 0;

  reset(): void {
    this.size = 0;
  }

  /** Adds a bucket where it belongs; buckets mostly arrive in order or nearly so. */
  add(bound: number, count: number): void {
    if (this.size === this.bounds.length) this.#grow();
    let at = this.size++;
    for (; at > 0 && this.bounds[at - 1]! > bound; at--) {
      this.bounds[at] = this.bounds[at - 1]!;
      this.counts[at] = this.counts[at - 1]!;
    }
    this.bounds[at] = bound;
    this.counts[at] = count;
  }

  /** Adds up buckets with equal bounds. */
  coalesce(): void {
    let kept = 0;
    for (let i = 1; i < this.size; i++) {
      if (this.bounds[i] === this.bounds[kept]) {
        this.counts[kept] = this.counts[kept]! + this.counts[i]!;
      } else {
        kept++;
        this.bounds[kept] = this.bounds[i]!;
        this.counts[kept] = this.counts[i]!;
      }
    }
    if (this.size > 0) this.size = kept + 1;
  }

  /** Evens out rounding errors, then raises counts that are below their predecessor's, and notes that it did. */
  fixMonotonicity(): void {
    this.forced = false;
    this.minForced = 0;
    this.maxForced = 0;
    this.maxDiff = 0;
    let previous = this.counts[0]!;
    for (let i = 1; i < this.size; i++) {
      const current = this.counts[i]!;
      if (current === previous) continue;
      if (almostEqual(previous, current)) {
        this.counts[i] = previous;
        continue;
      }
      if (current < previous) {
        this.#force(i, previous - current);
        this.counts[i] = previous;
        continue;
      }
      previous = current;
    }
  }

  #force(i: number, diff: number): void {
    const bound = this.bounds[i]!;
    this.minForced = this.forced ? Math.min(this.minForced, bound) : bound;
    this.maxForced = this.forced ? Math.max(this.maxForced, bound) : bound;
    this.maxDiff = Math.max(this.maxDiff, diff);
    this.forced = true;
  }

  #grow(): void {
    const bounds = new Float64Array(this.bounds.length * 2);
    const counts = new Float64Array(this.bounds.length * 2);
    bounds.set(this.bounds);
    counts.set(this.counts);
    this.bounds = bounds;
    this.counts = counts;
  }
}

function almostEqual(a: number, b: number): boolean {
  const sum = Math.abs(a) + Math.abs(b);
  const difference = Math.abs(a - b);
  if (a === 0 || b === 0 || sum < NORMAL_MIN) return difference < SMALL_DELTA * NORMAL_MIN;
  return difference / Math.min(sum, Number.MAX_VALUE) < SMALL_DELTA;
}

/**
 * φ-quantile of a classic histogram, interpolated within its bucket.
 *
 * NaN without observations, with fewer than two buckets or without the +Inf one; ∓Inf for φ outside of [0, 1]. Where the number of
 * observations is NaN, the highest finite bound, as in Prometheus.
 * The buckets are coalesced and fixed in place.
 */
export function bucketQuantile(phi: number, buckets: Buckets): number {
  buckets.forced = false;
  if (Number.isNaN(phi)) return Number.NaN;
  if (phi < 0) return Number.NEGATIVE_INFINITY;
  if (phi > 1) return Number.POSITIVE_INFINITY;
  if (buckets.bounds[buckets.size - 1] !== Number.POSITIVE_INFINITY) return Number.NaN;
  buckets.coalesce();
  buckets.fixMonotonicity();
  const { bounds, counts, size } = buckets;
  const observations = counts[size - 1]!;
  if (size < 2 || observations === 0) {
    buckets.forced = false;
    return Number.NaN;
  }
  let rank = phi * observations;
  const bucket = firstReaching(counts, size - 1, rank);
  if (bucket === size - 1) return bounds[size - 2]!;
  if (bucket === 0 && bounds[0]! <= 0) return bounds[0]!;
  let start = 0;
  let count = counts[bucket]!;
  if (bucket > 0) {
    start = bounds[bucket - 1]!;
    count -= counts[bucket - 1]!;
    rank -= counts[bucket - 1]!;
  }
  return start + (bounds[bucket]! - start) * (rank / count);
}

/** Index of the first count of `rank` or more, else `end`. By halves, as Prometheus does: where counts are NaN, it shows. */
function firstReaching(counts: Float64Array, end: number, rank: number): number {
  let low = 0;
  let high = end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (counts[middle]! >= rank) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Share of observations between two bounds, interpolated within their buckets. */
export function bucketFraction(lower: number, upper: number, buckets: Buckets): number {
  if (buckets.bounds[buckets.size - 1] !== Number.POSITIVE_INFINITY) return Number.NaN;
  buckets.coalesce();
  const { counts, size } = buckets;
  const count = counts[size - 1]!;
  if (count === 0 || Number.isNaN(lower) || Number.isNaN(upper)) return Number.NaN;
  if (lower >= upper) return 0;
  const upperRank = rankOf(buckets, upper, false);
  const lowerRank = rankOf(buckets, lower, true);
  // Counts may fall where they are no counters': no rank is above the number of observations.
  return ((upperRank > count ? count : upperRank) - (lowerRank > count ? count : lowerRank)) / count;
}

/**
 * Observations below a bound. Nothing is known of where in an infinite bucket its observations are: those of the lowest
 * are in no range that begins or ends there, those of the highest are above every bound.
 */
function rankOf(buckets: Buckets, bound: number, isLower: boolean): number {
  const { bounds, counts, size } = buckets;
  let below = 0;
  for (let i = 0; i < size; i++) {
    const upper = bounds[i]!;
    // A first bucket with a positive bound starts at 0.
    const lower = i > 0 ? bounds[i - 1]! : upper > 0 ? 0 : Number.NEGATIVE_INFINITY;
    if (lower >= bound) return below;
    if (bound < upper) {
      if (lower === Number.NEGATIVE_INFINITY) return isLower ? counts[i]! : below;
      if (upper === Number.POSITIVE_INFINITY) return below;
      return below + ((counts[i]! - below) * (bound - lower)) / (upper - lower);
    }
    below = counts[i]!;
  }
  return counts[size - 1]!;
}

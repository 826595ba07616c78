// Quantiles, fractions and variances of one native histogram. Within a bucket observations are taken to be spread
// evenly: over the logarithm in exponential buckets, linearly in custom ones and in the zero bucket.
import type { Bucket, FloatHistogram } from '../../../model/float-histogram.ts';
import { KahanSum } from '../kahan.ts';

/** What a quantile's value hides: NaN observations make it NaN, or move it up. */
export type QuantileNote = 'none' | 'nan-result' | 'nan-skew';

export interface QuantileResult {
  readonly value: number;
  readonly note: QuantileNote;
}

/** φ-quantile; NaN without observations, ∓Inf for φ outside of [0, 1]. */
export function histogramQuantile(phi: number, histogram: FloatHistogram): QuantileResult {
  if (phi < 0) return plain(Number.NEGATIVE_INFINITY);
  if (phi > 1) return plain(Number.POSITIVE_INFINITY);
  if (histogram.count === 0 || Number.isNaN(phi)) return plain(Number.NaN);
  const hasNaN = Number.isNaN(histogram.sum);
  // NaN observations are in the count but in no bucket: then only counting from below is right.
  const forward = hasNaN || phi < 0.5;
  const buckets = histogram.buckets();
  if (!forward) buckets.reverse();
  let rank = (forward ? phi : 1 - phi) * histogram.count;
  let count = 0;
  let bucket: Bucket = { lower: 0, upper: 0, count: 0 };
  for (const candidate of buckets) {
    // Where no bucket reaches the rank, the last one says it all, though it be empty.
    bucket = candidate;
    if (candidate.count === 0) continue;
    count += candidate.count;
    if (count >= rank) break;
  }
  const bounded = boundBucket(histogram, bucket);
  if (typeof bounded === 'number') return plain(bounded);
  count = Math.min(count, histogram.count);
  if (count < rank) return hasNaN ? { value: Number.NaN, note: 'nan-result' } : plain(bounded.upper);
  rank = forward ? rank - (count - bucket.count) : count - rank;
  const value = interpolate(histogram, bounded, rank / bucket.count);
  return { value, note: hasNaN && hasUncounted(histogram, buckets) ? 'nan-skew' : 'none' };
}

/** Whether there are observations in no bucket. Where there are none, the sum is NaN because it had infinities of both signs. */
function hasUncounted({ count }: FloatHistogram, buckets: readonly Bucket[]): boolean {
  return buckets.reduce((sum, bucket) => sum + bucket.count, 0) < count;
}

function plain(value: number): QuantileResult {
  return { value, note: 'none' };
}

/** The bucket with finite bounds, or the value where its bound is all there is to say. */
function boundBucket(histogram: FloatHistogram, bucket: Bucket): Bucket | number {
  if (histogram.hasCustomBounds) {
    if (bucket.lower === Number.NEGATIVE_INFINITY) {
      return bucket.upper <= 0 ? bucket.upper : { ...bucket, lower: 0 };
    }
    return bucket.upper === Number.POSITIVE_INFINITY ? bucket.lower : bucket;
  }
  return clipZero(histogram, bucket);
}

/** The zero bucket of a histogram without negative (positive) buckets has no negative (positive) half. */
function clipZero(histogram: FloatHistogram, bucket: Bucket): Bucket {
  if (!(bucket.lower < 0 && bucket.upper > 0)) return bucket;
  const hasNegative = histogram.negative.indexes.length > 0;
  const hasPositive = histogram.positive.indexes.length > 0;
  if (!hasNegative && hasPositive) return { ...bucket, lower: 0 };
  return hasNegative && !hasPositive ? { ...bucket, upper: 0 } : bucket;
}

/** Value below which `share` of a bucket's observations are. */
function interpolate(histogram: FloatHistogram, bucket: Bucket, share: number): number {
  const { lower, upper } = bucket;
  if (histogram.hasCustomBounds || (lower <= 0 && upper >= 0)) return lower + (upper - lower) * share;
  const logLower = Math.log2(Math.abs(lower));
  const logUpper = Math.log2(Math.abs(upper));
  if (lower > 0) return 2 ** (logLower + (logUpper - logLower) * share);
  return -(2 ** (logUpper + (logLower - logUpper) * (1 - share)));
}

/** Share of observations between two bounds. */
export function histogramFraction(lower: number, upper: number, histogram: FloatHistogram): number {
  if (histogram.count === 0 || Number.isNaN(lower) || Number.isNaN(upper)) return Number.NaN;
  if (lower >= upper) return 0;
  // NaN observations are in no bucket, so ranks come from the buckets alone.
  const total = histogram.buckets().reduce((sum, { count }) => sum + count, 0);
  const low = Math.min(rankOf(histogram, lower, true, total), histogram.count);
  const high = Math.min(rankOf(histogram, upper, false, total), histogram.count);
  return (high - low) / histogram.count;
}

function rankOf(histogram: FloatHistogram, bound: number, isLower: boolean, total: number): number {
  let below = 0;
  for (const original of histogram.buckets()) {
    const bucket = clipCustom(histogram, clipZero(histogram, original));
    if (bucket.lower >= bound) return below;
    if (bucket.upper > bound) {
      if (bucket.lower === Number.NEGATIVE_INFINITY) return isLower ? below + bucket.count : below;
      if (bucket.upper === Number.POSITIVE_INFINITY) return below;
      return below + bucket.count * shareBelow(histogram, bucket, bound);
    }
    below += bucket.count;
  }
  return total;
}

/** The lowest custom bucket starts at zero when it ends above. */
function clipCustom(histogram: FloatHistogram, bucket: Bucket): Bucket {
  const startsAtZero =
    histogram.hasCustomBounds && bucket.lower === Number.NEGATIVE_INFINITY && bucket.upper > 0;
  return startsAtZero ? { ...bucket, lower: 0 } : bucket;
}

function shareBelow(histogram: FloatHistogram, bucket: Bucket, bound: number): number {
  const { lower, upper } = bucket;
  if (histogram.hasCustomBounds || (lower <= 0 && upper >= 0)) return (bound - lower) / (upper - lower);
  const logLower = Math.log2(Math.abs(lower));
  const logUpper = Math.log2(Math.abs(upper));
  const logBound = Math.log2(Math.abs(bound));
  if (lower > 0) return (logBound - logLower) / (logUpper - logLower);
  return 1 - (logBound - logUpper) / (logLower - logUpper);
}

/** Variance of the observations, each taken for the middle of its bucket. */
export function histogramVariance(histogram: FloatHistogram): number {
  const mean = histogram.sum / histogram.count;
  const squares = new KahanSum();
  for (const { lower, upper, count } of histogram.buckets()) {
    if (count === 0) continue;
    const deviation = middleOf(histogram, lower, upper) - mean;
    squares.add(count * deviation * deviation);
  }
  return squares.total / histogram.count;
}

function middleOf(histogram: FloatHistogram, lower: number, upper: number): number {
  if (histogram.hasCustomBounds) return (upper + lower) / 2;
  if (lower <= 0 && upper >= 0) return 0;
  const middle = Math.sqrt(upper * lower);
  return upper < 0 ? -middle : middle;
}

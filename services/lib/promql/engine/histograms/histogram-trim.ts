// `</` and `>/` on native histograms: observations above (below) a value are taken out. A bucket that the value falls
// into is split as quantiles interpolate it; the sum is estimated anew from the middles of what stays.
import type { BucketList, FloatHistogram } from '../../../model/float-histogram.ts';

interface Trim {
  readonly histogram: FloatHistogram;
  readonly bound: number;
  readonly keepBelow: boolean;
  count: number;
  sum: number;
  isChanged: boolean;
}

/** A piece of a bucket that stays. */
interface Kept {
  readonly count: number;
  readonly lower: number;
  readonly upper: number;
}

/**
 * Trims in place: keeps what is below `bound`, or what is above. Where nothing is to be taken out, count and sum stay as they
 * are: observations of NaN, for one, are in the count and in no bucket.
 */
export function trimHistogram(histogram: FloatHistogram, bound: number, keepBelow: boolean): FloatHistogram {
  const trim: Trim = { histogram, bound, keepBelow, count: 0, sum: 0, isChanged: false };
  const hasNegative = isPopulated(histogram.negative);
  const hasPositive = isPopulated(histogram.positive);
  trimSide(trim, histogram.positive, false);
  trimSide(trim, histogram.negative, true);
  if (histogram.zeroCount > 0) {
    // Without negative (positive) buckets the zero bucket has no negative (positive) half.
    const lower = hasPositive && !hasNegative ? 0 : -histogram.zeroThreshold;
    const upper = hasNegative && !hasPositive ? 0 : histogram.zeroThreshold;
    const kept = keepOfZero(trim, lower, upper);
    trim.sum += (kept.count * (kept.lower + kept.upper)) / 2;
    histogram.zeroCount = kept.count;
  }
  if (!trim.isChanged) return histogram;
  histogram.count = trim.count;
  histogram.sum = trim.sum;
  return histogram.compact();
}

function isPopulated({ counts }: BucketList): boolean {
  return counts.some((count) => count !== 0);
}

function trimSide(trim: Trim, buckets: BucketList, isNegative: boolean): void {
  const { histogram } = trim;
  for (let i = 0; i < buckets.indexes.length; i++) {
    const count = buckets.counts[i]!;
    if (count === 0) continue;
    const bounds = histogram.boundsOf(buckets.indexes[i]!);
    const upper = isNegative ? -bounds.lower : bounds.upper;
    // The lowest custom bucket starts at zero when it ends above, for bounds that are not below zero themselves.
    const isLowest = bounds.lower === Number.NEGATIVE_INFINITY && upper > 0 && Number.isFinite(upper);
    const startsAtZero = isLowest && trim.bound >= 0;
    const lower = startsAtZero ? 0 : isNegative ? -bounds.upper : bounds.lower;
    const kept = keep(trim, lower, upper, count, histogram.hasCustomBounds);
    buckets.counts[i] = kept.count;
    // Counts are negative in a negated histogram.
    if (kept.count !== 0) trim.sum += kept.count * middleOf(histogram, kept.lower, kept.upper);
  }
}

/** What stays of `count` observations in (lower, upper]. Nothing is above or below NaN. */
function keep(trim: Trim, lower: number, upper: number, count: number, linear: boolean): Kept {
  const { bound, keepBelow } = trim;
  if (Number.isNaN(bound)) return settle(trim, count, { count: 0, lower, upper });
  if (keepBelow ? upper <= bound : lower >= bound) return settle(trim, count, { count, lower, upper });
  if (keepBelow ? lower >= bound : upper <= bound) return settle(trim, count, { count: 0, lower, upper });
  return settle(trim, count, split(trim, lower, upper, count, linear));
}

/** What stays of the zero bucket, [lower, upper]: of one without width all is above its bound. NaN makes it NaN itself. */
function keepOfZero(trim: Trim, lower: number, upper: number): Kept {
  const { bound, keepBelow } = trim;
  const count = trim.histogram.zeroCount;
  if (bound <= lower) return settle(trim, count, { count: keepBelow ? 0 : count, lower, upper });
  if (bound >= upper) return settle(trim, count, { count: keepBelow ? count : 0, lower, upper });
  return settle(trim, count, split(trim, lower, upper, count, true));
}

function settle(trim: Trim, count: number, kept: Kept): Kept {
  trim.count += kept.count;
  if (kept.count !== count) trim.isChanged = true;
  return kept;
}

function split(
  { bound, keepBelow }: Trim,
  lower: number,
  upper: number,
  count: number,
  linear: boolean,
): Kept {
  const none: Kept = { count: 0, lower, upper };
  const all: Kept = { count, lower: bound, upper: bound };
  // Of what is in an infinite bucket nothing is known: where the bound is on its finite side all of it stays, at the bound.
  if (lower === Number.NEGATIVE_INFINITY) return keepBelow && upper <= 0 ? all : none;
  if (upper === Number.POSITIVE_INFINITY) return keepBelow ? none : all;
  const below = count * shareBelow(lower, upper, bound, linear);
  return keepBelow ? { count: below, lower, upper: bound } : { count: count - below, lower: bound, upper };
}

function shareBelow(lower: number, upper: number, bound: number, linear: boolean): number {
  if (linear) return (bound - lower) / (upper - lower);
  const logLower = Math.log2(Math.abs(lower));
  const logUpper = Math.log2(Math.abs(upper));
  const logBound = Math.log2(Math.abs(bound));
  if (lower >= 0) return (logBound - logLower) / (logUpper - logLower);
  return 1 - (logBound - logUpper) / (logLower - logUpper);
}

/** Middle of a bucket or a piece of one; of an infinite one its finite bound. */
function middleOf(histogram: FloatHistogram, lower: number, upper: number): number {
  if (lower === Number.NEGATIVE_INFINITY) return upper;
  if (upper === Number.POSITIVE_INFINITY) return lower;
  if (histogram.hasCustomBounds) return (lower + upper) / 2;
  const middle = Math.sqrt(lower * upper);
  return upper <= 0 ? -middle : middle;
}

// A native histogram sample as PromQL computes with it: bucket counts are floats, and buckets are sparse, by index.
// What counts how, and what is compatible with what, is Prometheus' (model/histogram/float_histogram.go).

/** What is known of counter resets: `unknown` must be detected from the counts. */
export type CounterResetHint = 'unknown' | 'reset' | 'not_reset' | 'gauge';

/** Schema of histograms with custom bounds. */
export const CUSTOM_BUCKETS_SCHEMA = -53;

/** Bucket counts by index, ascending. Invariant: as many indexes as counts, indexes strictly ascending. */
export interface BucketList {
  readonly indexes: number[];
  readonly counts: number[];
}

export function emptyBuckets(): BucketList {
  return { indexes: [], counts: [] };
}

/** One bucket with its bounds, from the smallest upwards. */
export interface Bucket {
  readonly lower: number;
  readonly upper: number;
  readonly count: number;
}

/** Outcome of adding or subtracting. */
export interface CombineOutcome {
  /** The histograms have different kinds of buckets; nothing was done. */
  readonly incompatible: boolean;
  /** One side says reset, the other says that there was none. */
  readonly hintCollision: boolean;
  /** Custom bounds differed and were reduced to those that both have. */
  readonly boundsReconciled: boolean;
}

/** Largest schema: 2^8 buckets between powers of two. */
const FINEST_SCHEMA = 8;

/**
 * 2^(i/256) as Prometheus' table of bounds has it, which is not the nearest double everywhere: products of the powers
 * 2^(1/2), 2^(1/4) …, the largest first, the first of them rounded down.
 */
const BOUND_FRACTIONS: Float64Array = Float64Array.from({ length: 1 << FINEST_SCHEMA }, (_, index) => {
  let bound = 1;
  for (let bit = 1 << (FINEST_SCHEMA - 1); bit > 0; bit >>= 1) {
    if ((index & bit) !== 0) bound *= bit === 128 ? 2 / Math.SQRT2 : 2 ** (bit / 256);
  }
  return bound;
});

/** Upper bound of the positive bucket `index`: 2^(index / 2^schema). */
function exponentialBound(index: number, schema: number): number {
  const perOctave = 2 ** schema;
  const exponent = schema <= 0 ? index / perOctave : Math.floor(index / perOctave);
  const fraction = schema <= 0 ? 0 : (index - exponent * perOctave) << (FINEST_SCHEMA - schema);
  if (exponent >= 1024) {
    return exponent === 1024 && fraction === 0 ? Number.MAX_VALUE : Number.POSITIVE_INFINITY;
  }
  return BOUND_FRACTIONS[fraction]! * 2 ** exponent;
}

export class FloatHistogram {
  hint: CounterResetHint = 'unknown';
  /** −4 … 8: 2^2^−schema is the factor between bounds. CUSTOM_BUCKETS_SCHEMA: see customBounds. */
  schema = 0;
  zeroThreshold = 0;
  zeroCount = 0;
  count = 0;
  sum = 0;
  positive: BucketList = emptyBuckets();
  negative: BucketList = emptyBuckets();
  /** Upper bounds of custom buckets, ascending; the last bucket, up to +Inf, has none. */
  customBounds: readonly number[] = [];

  get hasCustomBounds(): boolean {
    return this.schema === CUSTOM_BUCKETS_SCHEMA;
  }

  /** The same histogram with another hint. It shares the buckets: as any histogram, it is copied before it is changed. */
  withHint(hint: CounterResetHint): FloatHistogram {
    const twin = new FloatHistogram();
    twin.hint = hint;
    twin.schema = this.schema;
    twin.zeroThreshold = this.zeroThreshold;
    twin.zeroCount = this.zeroCount;
    twin.count = this.count;
    twin.sum = this.sum;
    twin.positive = this.positive;
    twin.negative = this.negative;
    twin.customBounds = this.customBounds;
    return twin;
  }

  /** Count and sum alone. */
  withoutBuckets(hint: CounterResetHint): FloatHistogram {
    const counts = new FloatHistogram();
    counts.hint = hint;
    counts.count = this.count;
    counts.sum = this.sum;
    return counts;
  }

  copy(): FloatHistogram {
    const copy = this.withHint(this.hint);
    copy.positive = copyBuckets(this.positive);
    copy.negative = copyBuckets(this.negative);
    return copy;
  }

  /** Bounds of a positive bucket. */
  boundsOf(index: number): { readonly lower: number; readonly upper: number } {
    if (!this.hasCustomBounds) {
      return { lower: exponentialBound(index - 1, this.schema), upper: exponentialBound(index, this.schema) };
    }
    const bounds = this.customBounds;
    return {
      lower: index === 0 ? Number.NEGATIVE_INFINITY : bounds[index - 1]!,
      upper: index < bounds.length ? bounds[index]! : Number.POSITIVE_INFINITY,
    };
  }

  /**
   * All buckets in ascending order, the zero bucket in its place if it has observations.
   *
   * @param withAnyZero  Also if it has less than none, as in a negated histogram: Prometheus prints that, and reckons without it.
   */
  buckets(withAnyZero = false): Bucket[] {
    const out: Bucket[] = [];
    const { negative, positive } = this;
    for (let i = negative.indexes.length - 1; i >= 0; i--) {
      const { lower, upper } = this.boundsOf(negative.indexes[i]!);
      out.push({ lower: -upper, upper: -lower, count: negative.counts[i]! });
    }
    if (this.zeroCount > 0 || (withAnyZero && this.zeroCount !== 0)) {
      out.push({ lower: -this.zeroThreshold, upper: this.zeroThreshold, count: this.zeroCount });
    }
    for (let i = 0; i < positive.indexes.length; i++) {
      out.push({ ...this.boundsOf(positive.indexes[i]!), count: positive.counts[i]! });
    }
    return out;
  }

  /** Multiplies everything, in place. */
  scale(factor: number): this {
    this.zeroCount *= factor;
    this.count *= factor;
    this.sum *= factor;
    scaleBuckets(this.positive, (value) => value * factor);
    scaleBuckets(this.negative, (value) => value * factor);
    if (factor < 0) this.hint = 'gauge';
    return this;
  }

  /** Divides everything, in place; a division by zero removes the buckets. */
  divide(divisor: number): this {
    this.zeroCount /= divisor;
    this.count /= divisor;
    this.sum /= divisor;
    if (divisor === 0) {
      this.positive = emptyBuckets();
      this.negative = emptyBuckets();
      return this;
    }
    scaleBuckets(this.positive, (value) => value / divisor);
    scaleBuckets(this.negative, (value) => value / divisor);
    if (divisor < 0) this.hint = 'gauge';
    return this;
  }

  /** Removes empty buckets, in place. */
  compact(): this {
    this.positive = withoutEmpty(this.positive);
    this.negative = withoutEmpty(this.negative);
    return this;
  }

  /** Adds another histogram, in place. */
  add(other: FloatHistogram): CombineOutcome {
    return this.#combine(other, 1);
  }

  /** Subtracts another histogram, in place. */
  subtract(other: FloatHistogram): CombineOutcome {
    return this.#combine(other, -1);
  }

  /**
   * Adds another histogram, in place, with a compensated sum for every count.
   *
   * @param compensation  What rounding lost so far; starts as `new FloatHistogram()`, changed in place. Adding it in the
   *                      end gives the total.
   */
  addCompensated(other: FloatHistogram, compensation: FloatHistogram): CombineOutcome {
    if (this.#hasLayoutOf(other)) return this.#addSameLayout(other, compensation);
    const before = this.copy();
    const outcome = this.#combine(other, 1);
    if (outcome.incompatible) return outcome;
    before.#follow(this);
    compensation.#follow(this);
    const operand = other.copy().#follow(this);
    compensation.zeroCount += lost(before.zeroCount, operand.zeroCount);
    compensation.count += lost(before.count, other.count);
    compensation.sum += lost(before.sum, other.sum);
    compensation.positive = addLost(compensation.positive, before.positive, operand.positive);
    compensation.negative = addLost(compensation.negative, before.negative, operand.negative);
    return outcome;
  }

  /** Same buckets, populated ones included: nothing has to be aligned. */
  #hasLayoutOf(other: FloatHistogram): boolean {
    return (
      this.schema === other.schema &&
      this.zeroThreshold === other.zeroThreshold &&
      sameNumbers(this.customBounds, other.customBounds) &&
      sameNumbers(this.positive.indexes, other.positive.indexes) &&
      sameNumbers(this.negative.indexes, other.negative.indexes)
    );
  }

  /** addCompensated() of the usual case: bucket by bucket, in place. */
  #addSameLayout(other: FloatHistogram, compensation: FloatHistogram): CombineOutcome {
    const hintCollision = this.#combineHint(other.hint);
    compensation.#follow(this);
    compensation.zeroCount += lost(this.zeroCount, other.zeroCount);
    compensation.count += lost(this.count, other.count);
    compensation.sum += lost(this.sum, other.sum);
    compensation.positive = addCompensatedBuckets(this.positive, other.positive, compensation.positive);
    compensation.negative = addCompensatedBuckets(this.negative, other.negative, compensation.negative);
    this.zeroCount += other.zeroCount;
    this.count += other.count;
    this.sum += other.sum;
    return { incompatible: false, hintCollision, boundsReconciled: false };
  }

  /** Any count is infinite. */
  get isOverflown(): boolean {
    const isInfinite = (value: number): boolean => Math.abs(value) === Number.POSITIVE_INFINITY;
    return (
      [this.zeroCount, this.count, this.sum].some(isInfinite) ||
      this.positive.counts.some(isInfinite) ||
      this.negative.counts.some(isInfinite)
    );
  }

  /** Lowers the resolution, in place; no-op when the schema is not lower. */
  reduceTo(schema: number): this {
    if (this.hasCustomBounds || schema >= this.schema) return this;
    const shift = 2 ** (this.schema - schema);
    this.positive = mapIndexes(this.positive, (index) => Math.floor((index - 1) / shift) + 1);
    this.negative = mapIndexes(this.negative, (index) => Math.floor((index - 1) / shift) + 1);
    this.schema = schema;
    return this;
  }

  /** Equal in everything but the hint. NaN equals NaN; empty buckets do not count. */
  equals(other: FloatHistogram): boolean {
    return (
      this.schema === other.schema &&
      Object.is(this.count, other.count) &&
      Object.is(this.sum, other.sum) &&
      sameNumbers(this.customBounds, other.customBounds) &&
      Object.is(this.zeroThreshold, other.zeroThreshold) &&
      Object.is(this.zeroCount, other.zeroCount) &&
      sameBuckets(this.positive, other.positive) &&
      sameBuckets(this.negative, other.negative)
    );
  }

  /** Whether a counter was reset between `previous` and this. */
  isResetFrom(previous: FloatHistogram): boolean {
    if (this.hint === 'reset') return true;
    if (this.hint === 'not_reset') return false;
    if (this.count < previous.count) return true;
    if (this.hasCustomBounds !== previous.hasCustomBounds) return true;
    if (this.hasCustomBounds) {
      if (sameNumbers(this.customBounds, previous.customBounds)) {
        return isBelow(this.positive, previous.positive);
      }
      const shared = sharedBounds(this.customBounds, previous.customBounds);
      const current = this.copy().#rebound(shared);
      return isBelow(current.positive, previous.copy().#rebound(shared).positive);
    }
    if (this.schema > previous.schema || this.zeroThreshold < previous.zeroThreshold) return true;
    const before = previous.copy();
    if (before.#widenZero(this.zeroThreshold) !== this.zeroThreshold) return true;
    if (this.zeroCount < before.zeroCount) return true;
    before.reduceTo(this.schema);
    return isBelow(this.positive, before.positive) || isBelow(this.negative, before.negative);
  }

  #combine(other: FloatHistogram, sign: 1 | -1): CombineOutcome {
    if (this.hasCustomBounds !== other.hasCustomBounds) {
      return { incompatible: true, hintCollision: false, boundsReconciled: false };
    }
    const hintCollision = this.#combineHint(other.hint);
    let operand = other;
    let boundsReconciled = false;
    if (this.hasCustomBounds) {
      boundsReconciled = !sameNumbers(this.customBounds, other.customBounds);
      if (boundsReconciled) {
        const shared = sharedBounds(this.customBounds, other.customBounds);
        this.#rebound(shared);
        operand = other.copy().#rebound(shared);
      }
    } else {
      operand = this.#align(other);
      this.zeroCount += sign * operand.zeroCount;
    }
    this.count += sign * other.count;
    this.sum += sign * other.sum;
    this.positive = mergeBuckets(this.positive, operand.positive, sign);
    this.negative = mergeBuckets(this.negative, operand.negative, sign);
    return { incompatible: false, hintCollision, boundsReconciled };
  }

  /** Takes on the layout of a histogram that was made coarser, or as coarse. */
  #follow(other: FloatHistogram): this {
    if (other.hasCustomBounds) {
      if (this.hasCustomBounds) return this.#rebound(other.customBounds);
      this.schema = other.schema;
      this.customBounds = other.customBounds;
      return this;
    }
    if (this.zeroThreshold < other.zeroThreshold) {
      this.zeroCount += this.#takeBelow('positive', other.zeroThreshold);
      this.zeroCount += this.#takeBelow('negative', other.zeroThreshold);
      this.zeroThreshold = other.zeroThreshold;
    }
    return this.reduceTo(other.schema);
  }

  #combineHint(other: CounterResetHint): boolean {
    if (this.hint === other || this.hint === 'gauge') return false;
    if (other === 'gauge') {
      this.hint = 'gauge';
      return false;
    }
    const isCollision = this.hint !== 'unknown' && other !== 'unknown';
    this.hint = 'unknown';
    return isCollision;
  }

  /** `other` with this one's zero threshold and resolution; this one is widened and coarsened too where it must be. */
  #align(other: FloatHistogram): FloatHistogram {
    const operand = other.copy();
    while (operand.zeroThreshold !== this.zeroThreshold) {
      if (this.zeroThreshold > operand.zeroThreshold) operand.#widenZero(this.zeroThreshold);
      if (operand.zeroThreshold > this.zeroThreshold) this.#widenZero(operand.zeroThreshold);
    }
    const schema = Math.min(this.schema, operand.schema);
    this.reduceTo(schema);
    return operand.reduceTo(schema);
  }

  /**
   * Widens the zero bucket, in place, at least to `threshold`: a populated bucket that the threshold falls into is
   * taken in whole. Answers the new threshold.
   */
  #widenZero(threshold: number): number {
    let wanted = threshold;
    for (;;) {
      const next = Math.max(this.#reachInto(this.positive, wanted), this.#reachInto(this.negative, wanted));
      if (next === wanted) break;
      wanted = next;
    }
    this.zeroCount += this.#takeBelow('positive', wanted) + this.#takeBelow('negative', wanted);
    this.zeroThreshold = wanted;
    return wanted;
  }

  /** `threshold`, or the upper bound of the populated bucket around it. */
  #reachInto(buckets: BucketList, threshold: number): number {
    for (let i = 0; i < buckets.indexes.length; i++) {
      const { lower, upper } = this.boundsOf(buckets.indexes[i]!);
      if (lower >= threshold) return threshold;
      if (upper > threshold && buckets.counts[i] !== 0) return upper;
    }
    return threshold;
  }

  /** Removes the buckets below a threshold and answers their counts' sum. */
  #takeBelow(side: 'positive' | 'negative', threshold: number): number {
    const kept = emptyBuckets();
    let taken = 0;
    const { indexes, counts } = this[side];
    for (let i = 0; i < indexes.length; i++) {
      if (this.boundsOf(indexes[i]!).lower < threshold) {
        taken += counts[i]!;
      } else {
        kept.indexes.push(indexes[i]!);
        kept.counts.push(counts[i]!);
      }
    }
    this[side] = kept;
    return taken;
  }

  /** Custom buckets merged so that only `bounds`, some of the present ones, are left. */
  #rebound(bounds: readonly number[]): this {
    const own = this.customBounds;
    this.positive = mapIndexes(this.positive, (index) => {
      if (index >= own.length) return bounds.length;
      let target = 0;
      while (target < bounds.length && bounds[target]! < own[index]!) target++;
      return target;
    });
    this.customBounds = bounds;
    return this;
  }
}

function copyBuckets({ indexes, counts }: BucketList): BucketList {
  return { indexes: indexes.slice(), counts: counts.slice() };
}

function scaleBuckets({ counts }: BucketList, change: (value: number) => number): void {
  for (let i = 0; i < counts.length; i++) counts[i] = change(counts[i]!);
}

function withoutEmpty(buckets: BucketList): BucketList {
  if (!buckets.counts.includes(0)) return buckets;
  const kept = emptyBuckets();
  for (let i = 0; i < buckets.indexes.length; i++) {
    if (buckets.counts[i] === 0) continue;
    kept.indexes.push(buckets.indexes[i]!);
    kept.counts.push(buckets.counts[i]!);
  }
  return kept;
}

/** Buckets under new, still ascending indexes; equal ones are added up. */
function mapIndexes(buckets: BucketList, map: (index: number) => number): BucketList {
  const out = emptyBuckets();
  for (let i = 0; i < buckets.indexes.length; i++) {
    const index = map(buckets.indexes[i]!);
    const last = out.indexes.length - 1;
    if (out.indexes[last] === index) out.counts[last] = out.counts[last]! + buckets.counts[i]!;
    else {
      out.indexes.push(index);
      out.counts.push(buckets.counts[i]!);
    }
  }
  return out;
}

/** a + sign·b. */
function mergeBuckets(a: BucketList, b: BucketList, sign: 1 | -1): BucketList {
  const out = emptyBuckets();
  let i = 0;
  let j = 0;
  while (i < a.indexes.length || j < b.indexes.length) {
    const x = i < a.indexes.length ? a.indexes[i]! : Number.POSITIVE_INFINITY;
    const y = j < b.indexes.length ? b.indexes[j]! : Number.POSITIVE_INFINITY;
    out.indexes.push(Math.min(x, y));
    const own = x <= y ? a.counts[i++]! : 0;
    out.counts.push(y <= x ? own + sign * b.counts[j++]! : own);
  }
  return out;
}

/** Some bucket has a smaller count than in `previous`. */
function isBelow(current: BucketList, previous: BucketList): boolean {
  let i = 0;
  for (let j = 0; j < previous.indexes.length; j++) {
    while (i < current.indexes.length && current.indexes[i]! < previous.indexes[j]!) i++;
    const count = current.indexes[i] === previous.indexes[j] ? current.counts[i]! : 0;
    if (count < previous.counts[j]!) return true;
  }
  return false;
}

function sharedBounds(a: readonly number[], b: readonly number[]): number[] {
  const other = new Set(b);
  return a.filter((bound) => other.has(bound));
}

function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  return a === b || (a.length === b.length && a.every((value, i) => Object.is(value, b[i])));
}

function sameBuckets(a: BucketList, b: BucketList): boolean {
  const x = withoutEmpty(a);
  const y = withoutEmpty(b);
  return sameNumbers(x.indexes, y.indexes) && sameNumbers(x.counts, y.counts);
}

/** What a + b loses to rounding. */
function lost(a: number, b: number): number {
  const total = a + b;
  if (Math.abs(total) === Number.POSITIVE_INFINITY) return 0;
  return Math.abs(a) >= Math.abs(b) ? a - total + b : b - total + a;
}

/** Adds counts of the same buckets, in place; answers the compensations with what that loses. */
function addCompensatedBuckets(target: BucketList, other: BucketList, compensations: BucketList): BucketList {
  if (!sameNumbers(target.indexes, compensations.indexes)) {
    const total = addLost(compensations, target, other);
    for (let i = 0; i < target.counts.length; i++) target.counts[i] = target.counts[i]! + other.counts[i]!;
    return total;
  }
  for (let i = 0; i < target.counts.length; i++) {
    const a = target.counts[i]!;
    const b = other.counts[i]!;
    compensations.counts[i] = compensations.counts[i]! + lost(a, b);
    target.counts[i] = a + b;
  }
  return compensations;
}

/** Compensations plus what a + b loses in each bucket. */
function addLost(compensations: BucketList, a: BucketList, b: BucketList): BucketList {
  const losses = emptyBuckets();
  const own = new Map(a.indexes.map((index, i): [number, number] => [index, a.counts[i]!]));
  for (let i = 0; i < b.indexes.length; i++) {
    losses.indexes.push(b.indexes[i]!);
    losses.counts.push(lost(own.get(b.indexes[i]!) ?? 0, b.counts[i]!));
  }
  return mergeBuckets(compensations, losses, 1);
}

// A native histogram as protocols carry it: spans of buckets, and their counts as differences (integer histograms) or as they
// are (float histograms). Readers of remote write and of expositions fill the parts, which check them as Prometheus does
// (Validate in model/histogram) and turn them into a FloatHistogram. Reused from histogram to histogram.
import { AppError } from '../core/errors.ts';
import {
  type BucketList,
  type CounterResetHint,
  CUSTOM_BUCKETS_SCHEMA,
  emptyBuckets,
  FloatHistogram,
} from './float-histogram.ts';
import { HISTOGRAM_BUCKETS_MAX } from './histogram-codec.ts';

/** Resolutions that PromQL computes with. Finer ones, up to SCHEMA_RESERVED_MAX, are reduced to SCHEMA_MAX. */
export const SCHEMA_MIN = -4;
export const SCHEMA_MAX = 8;
const SCHEMA_RESERVED_MAX = 52;

/** Indexes are 32-bit integers in every protocol. */
const INDEX_MAX = 2 ** 31 - 1;

/** A growing column of numbers. */
export class NumberColumn {
  count = 0;
  values: Float64Array<ArrayBuffer> = new Float64Array(32);

  /** @throws AppError `bad_data` beyond HISTOGRAM_BUCKETS_MAX. */
  push(value: number): void {
    if (this.count === this.values.length) {
      if (this.count >= HISTOGRAM_BUCKETS_MAX) {
        throw refusal(`it has more than ${HISTOGRAM_BUCKETS_MAX} buckets`);
      }
      const grown = new Float64Array(this.count * 2);
      grown.set(this.values);
      this.values = grown;
    }
    this.values[this.count++] = value;
  }
}

/** The buckets of one sign. */
export class HistogramSide {
  readonly #name: string;
  /** Gap to the end of the span before, or index of the first bucket; 32-bit. */
  readonly offsets = new NumberColumn();
  readonly lengths = new NumberColumn();
  /** Count of each bucket: those of an integer histogram are summed up as they come. */
  readonly counts = new NumberColumn();

  constructor(name: string) {
    this.#name = name;
  }

  clear(): void {
    this.offsets.count = 0;
    this.lengths.count = 0;
    this.counts.count = 0;
  }

  addSpan(offset: number, length: number): void {
    this.offsets.push(offset);
    this.lengths.push(length);
  }

  /** A bucket's count as the difference to the one before. */
  addDelta(delta: number): void {
    const { count, values } = this.counts;
    this.counts.push((count === 0 ? 0 : values[count - 1]!) + delta);
  }

  get isEmpty(): boolean {
    return this.offsets.count === 0 && this.counts.count === 0;
  }

  /** Sum of the counts. @throws AppError `bad_data` for a negative count. */
  total(): number {
    let total = 0;
    for (let i = 0; i < this.counts.count; i++) {
      const count = this.counts.values[i]!;
      if (count < 0) throw refusal(`${this.#name} bucket ${i + 1} has the negative count ${count}`);
      total += count;
    }
    return total;
  }

  /**
   * The populated buckets by index.
   *
   * @param forward  No span may start before index 0 or the end of the one before: custom buckets demand it of the first too.
   * @returns        The buckets, and the index behind the last span.
   */
  toBuckets(forward: boolean): { readonly buckets: BucketList; readonly end: number } {
    const { offsets, lengths, counts } = this;
    let needed = 0;
    for (let i = 0; i < lengths.count; i++) {
      if (offsets.values[i]! < 0 && (forward || i > 0)) {
        throw refusal(`${this.#name} span ${i + 1} has the negative offset ${offsets.values[i]}`);
      }
      needed += lengths.values[i]!;
    }
    if (needed !== counts.count) {
      throw refusal(`${this.#name} spans need ${needed} buckets, there are ${counts.count}`);
    }
    const buckets = emptyBuckets();
    let index = 0;
    let bucket = 0;
    for (let i = 0; i < lengths.count; i++) {
      index += offsets.values[i]!;
      const end = index + lengths.values[i]!;
      if (Math.abs(end) > INDEX_MAX || Math.abs(index) > INDEX_MAX) {
        throw refusal(`${this.#name} span ${i + 1} reaches index ${end}, which is beyond 32 bits`);
      }
      for (; index < end; index++, bucket++) {
        const count = counts.values[bucket]!;
        if (count === 0) continue;
        buckets.indexes.push(index);
        buckets.counts.push(count);
      }
    }
    return { buckets, end: index };
  }
}

/** One histogram in parts. Fill after `clear`, then `toHistogram`. */
export class HistogramParts {
  schema = 0;
  zeroThreshold = 0;
  zeroCount = 0;
  count = 0;
  sum = 0;
  /** Counts are floats: they may differ from their sum by rounding. */
  isFloat = false;
  hint: CounterResetHint = 'unknown';
  readonly positive = new HistogramSide('positive');
  readonly negative = new HistogramSide('negative');
  /** Upper bounds of custom buckets. */
  readonly customBounds = new NumberColumn();

  clear(): void {
    this.schema = 0;
    this.zeroThreshold = 0;
    this.zeroCount = 0;
    this.count = 0;
    this.sum = 0;
    this.isFloat = false;
    this.hint = 'unknown';
    this.positive.clear();
    this.negative.clear();
    this.customBounds.count = 0;
  }

  /**
   * The histogram, which shares nothing with the parts.
   *
   * @throws AppError `bad_data` when the parts contradict each other, as Prometheus refuses them.
   */
  toHistogram(): FloatHistogram {
    const histogram = new FloatHistogram();
    histogram.hint = this.hint;
    histogram.schema = this.schema;
    histogram.zeroThreshold = this.zeroThreshold;
    histogram.zeroCount = this.zeroCount;
    histogram.count = this.count;
    histogram.sum = this.sum;
    if (this.schema === CUSTOM_BUCKETS_SCHEMA) this.#fillCustom(histogram);
    else this.#fillExponential(histogram);
    this.#checkCounts();
    return histogram.reduceTo(SCHEMA_MAX);
  }

  #fillExponential(histogram: FloatHistogram): void {
    const { schema } = this;
    if (schema < SCHEMA_MIN || schema > SCHEMA_RESERVED_MAX) {
      throw refusal(
        `its schema is ${schema}; valid are ${SCHEMA_MIN} to ${SCHEMA_MAX}, and ${CUSTOM_BUCKETS_SCHEMA} for custom buckets`,
      );
    }
    if (this.customBounds.count > 0) throw refusal('it has an exponential schema and custom bounds');
    histogram.positive = this.positive.toBuckets(false).buckets;
    histogram.negative = this.negative.toBuckets(false).buckets;
  }

  #fillCustom(histogram: FloatHistogram): void {
    const { count, values } = this.customBounds;
    for (let i = 0; i < count; i++) {
      const bound = values[i]!;
      const before = i === 0 ? Number.NEGATIVE_INFINITY : values[i - 1]!;
      if (!(bound > before)) throw refusal(`its custom bound ${bound} does not follow ${before} upwards`);
      if (bound === Number.POSITIVE_INFINITY)
        throw refusal('its last custom bound is +Inf, which goes without saying');
    }
    if (this.zeroCount !== 0 || this.zeroThreshold !== 0) {
      throw refusal('it has custom buckets and a zero bucket');
    }
    if (!this.negative.isEmpty) throw refusal('it has custom buckets and negative ones');
    const { buckets, end } = this.positive.toBuckets(true);
    if (end > count + 1) throw refusal(`its ${count} custom bounds do not cover ${end} buckets`);
    histogram.positive = buckets;
    histogram.customBounds = Array.from(values.subarray(0, count));
  }

  /** Integer counts add up exactly; observations of NaN are in no bucket. Float counts are not compared: they round. */
  #checkCounts(): void {
    const { count, zeroCount } = this;
    if (count < 0) throw refusal(`its count is ${count}`);
    if (zeroCount < 0) throw refusal(`its zero bucket has the negative count ${zeroCount}`);
    const inBuckets = this.negative.total() + this.positive.total() + zeroCount;
    if (this.isFloat || count > Number.MAX_SAFE_INTEGER) return;
    const agree = Number.isNaN(this.sum) ? inBuckets <= count : inBuckets === count;
    if (!agree) throw refusal(`its buckets hold ${inBuckets} observations, its count is ${count}`);
  }
}

function refusal(what: string): AppError {
  return new AppError('bad_data', `invalid native histogram: ${what}`);
}

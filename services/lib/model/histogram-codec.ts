// A native histogram as bytes, on its own: what travels in append batches and result frames, what the log and the head keep.
// Lossless for everything that a FloatHistogram holds, and equal histograms give equal bytes, so that bytes may be compared
// instead of histograms. Layout and golden bytes: ../wire/docs/histogram.md.
import { ByteReader, type ByteWriter, unzigzag, zigzag } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import {
  type BucketList,
  type CounterResetHint,
  CUSTOM_BUCKETS_SCHEMA,
  emptyBuckets,
  FloatHistogram,
} from './float-histogram.ts';
import { isStaleAt, putStale, wordsOf } from './sample-columns.ts';

/** What the counts were when they came in. PromQL does not tell the two apart; what goes out again may have to. */
export type CountsKind = 'integer' | 'float';

/** Most buckets of one side, and most custom bounds: bounds what a reader allocates. */
export const HISTOGRAM_BUCKETS_MAX = 16_384;
/** Counts up to this are written as varints; zigzag differences of two stay exact. Larger ones are doubles. */
const VARINT_COUNT_MAX = 2 ** 51;
/** Zero threshold that is not written: what clients use with exponential buckets. */
const USUAL_ZERO_THRESHOLD = 2 ** -128;
const SCHEMA_MIN = -9;
const SCHEMA_MAX = 52;
const INDEX_MAX = 2 ** 31;

export const COUNTER_RESET_HINTS: readonly CounterResetHint[] = ['unknown', 'reset', 'not_reset', 'gauge'];

const HINT_MASK = 3;
const FLAG_INTEGER = 4;
const FLAG_DOUBLES = 8;
const FLAG_CUSTOM = 16;
const FLAG_THRESHOLD = 32;
const FLAG_NEGATIVE = 64;
const FLAGS_ALL = 127;

export interface DecodedHistogram {
  readonly histogram: FloatHistogram;
  readonly kind: CountsKind;
}

/**
 * Appends one histogram to `into`.
 *
 * Counts are doubles here: whoever decodes integer counts above 2^53 rounds them to the nearest double first, as PromQL would.
 * Such a histogram keeps its kind.
 *
 * @param kind  As the histogram came in.
 * @throws AppError `bad_data` when no reader would take it back: schema outside −9 … 52 (or custom), more than 16,384 buckets
 *         of a side or bounds, bounds or indexes that do not ascend, indexes beyond ±2^31 or outside the custom bounds.
 *
 * Cost: O(buckets), no allocation but `into`'s growth.
 */
export function encodeHistogram(histogram: FloatHistogram, kind: CountsKind, into: ByteWriter): void {
  checkHistogram(histogram);
  const { positive, negative, schema, hasCustomBounds } = histogram;
  const isDoubles = !hasVarintCounts(histogram);
  const usualThreshold = hasCustomBounds ? 0 : USUAL_ZERO_THRESHOLD;
  const hasThreshold = !Object.is(histogram.zeroThreshold, usualThreshold);
  into.u8(
    COUNTER_RESET_HINTS.indexOf(histogram.hint) |
      (kind === 'integer' ? FLAG_INTEGER : 0) |
      (isDoubles ? FLAG_DOUBLES : 0) |
      (hasCustomBounds ? FLAG_CUSTOM : 0) |
      (hasThreshold ? FLAG_THRESHOLD : 0) |
      (negative.indexes.length > 0 ? FLAG_NEGATIVE : 0),
  );
  if (hasCustomBounds) putBounds(into, histogram.customBounds);
  else into.varint(zigzag(schema));
  if (hasThreshold) into.f64(histogram.zeroThreshold);
  putSum(into, histogram.sum);
  putCount(into, histogram.count, isDoubles);
  putCount(into, histogram.zeroCount, isDoubles);
  putBuckets(into, positive, isDoubles);
  if (negative.indexes.length > 0) putBuckets(into, negative, isDoubles);
}

/**
 * Decodes the histogram in bytes[start, end), which it has to fill.
 *
 * @throws AppError `bad_data` when the bytes are not a histogram; claimed sizes are checked before anything is allocated.
 */
export function decodeHistogram(bytes: Uint8Array, start: number, end: number): DecodedHistogram {
  const reader = new ByteReader(bytes, start, end);
  const decoded = readHistogram(reader);
  if (reader.remaining !== 0) {
    throw new AppError('bad_data', `histogram: ${reader.remaining} bytes behind its buckets`);
  }
  return decoded;
}

/** The same of the next histogram in a longer sequence. */
export function readHistogram(reader: ByteReader): DecodedHistogram {
  const flags = reader.u8();
  if (flags > FLAGS_ALL) throw new AppError('bad_data', `histogram: unknown flags ${flags}`);
  const histogram = new FloatHistogram();
  histogram.hint = COUNTER_RESET_HINTS[flags & HINT_MASK]!;
  const isCustom = (flags & FLAG_CUSTOM) !== 0;
  if (isCustom) {
    histogram.schema = CUSTOM_BUCKETS_SCHEMA;
    histogram.customBounds = readBounds(reader);
  } else {
    histogram.schema = unzigzag(reader.varint());
  }
  const usualThreshold = isCustom ? 0 : USUAL_ZERO_THRESHOLD;
  histogram.zeroThreshold = (flags & FLAG_THRESHOLD) === 0 ? usualThreshold : reader.f64();
  histogram.sum = reader.f64();
  const isDoubles = (flags & FLAG_DOUBLES) !== 0;
  histogram.count = readCount(reader, isDoubles);
  histogram.zeroCount = readCount(reader, isDoubles);
  histogram.positive = readBuckets(reader, isDoubles);
  if ((flags & FLAG_NEGATIVE) !== 0) histogram.negative = readBuckets(reader, isDoubles);
  checkHistogram(histogram);
  const isCanonical =
    hasVarintCounts(histogram) !== isDoubles &&
    Object.is(histogram.zeroThreshold, usualThreshold) === ((flags & FLAG_THRESHOLD) === 0) &&
    histogram.negative.indexes.length > 0 === ((flags & FLAG_NEGATIVE) !== 0);
  if (!isCanonical) throw new AppError('bad_data', `histogram: flags ${flags} are not those of its content`);
  return { histogram, kind: (flags & FLAG_INTEGER) === 0 ? 'float' : 'integer' };
}

/** True when the sum is the staleness marker, also after something quietened it: the series ends here. */
export function isStaleHistogram(histogram: FloatHistogram): boolean {
  return Number.isNaN(histogram.sum) && isStaleAt(wordsOf(Float64Array.of(histogram.sum)), 0);
}

/** @throws AppError `bad_data` when encodeHistogram would have to refuse it. */
export function checkHistogram(histogram: FloatHistogram): void {
  const { schema, customBounds, hasCustomBounds } = histogram;
  if (!hasCustomBounds && !(schema >= SCHEMA_MIN && schema <= SCHEMA_MAX && Number.isInteger(schema))) {
    throw new AppError('bad_data', `histogram: schema ${schema} is not ${SCHEMA_MIN} … ${SCHEMA_MAX}`);
  }
  if (customBounds.length > (hasCustomBounds ? HISTOGRAM_BUCKETS_MAX : 0)) {
    throw new AppError('bad_data', `histogram: ${customBounds.length} custom bounds with schema ${schema}`);
  }
  for (let i = 1; i < customBounds.length; i++) {
    if (!(customBounds[i]! > customBounds[i - 1]!)) {
      throw new AppError('bad_data', `histogram: bound ${customBounds[i]} after ${customBounds[i - 1]}`);
    }
  }
  if (Number.isNaN(customBounds[0])) throw new AppError('bad_data', 'histogram: a bound that is NaN');
  const least = hasCustomBounds ? 0 : -INDEX_MAX;
  const most = hasCustomBounds ? customBounds.length : INDEX_MAX;
  checkIndexes(histogram.positive, least, most);
  checkIndexes(histogram.negative, least, most);
}

function checkIndexes({ indexes, counts }: BucketList, least: number, most: number): void {
  if (indexes.length > HISTOGRAM_BUCKETS_MAX || counts.length !== indexes.length) {
    throw new AppError(
      'bad_data',
      `histogram: ${indexes.length} buckets of one side (${counts.length} counts); at most ${HISTOGRAM_BUCKETS_MAX}`,
    );
  }
  let next = least;
  for (let i = 0; i < indexes.length; i++) {
    const index = indexes[i]!;
    if (!(index >= next && index <= most && Number.isInteger(index))) {
      throw new AppError('bad_data', `histogram: bucket index ${index} is not ${next} … ${most}`);
    }
    next = index + 1;
  }
}

/** Whether all counts are whole numbers that fit a varint; −0 is none. */
function hasVarintCounts({ count, zeroCount, positive, negative }: FloatHistogram): boolean {
  if (!isVarintCount(count) || !isVarintCount(zeroCount)) return false;
  return areVarintCounts(positive.counts) && areVarintCounts(negative.counts);
}

function areVarintCounts(counts: readonly number[]): boolean {
  for (let i = 0; i < counts.length; i++) if (!isVarintCount(counts[i]!)) return false;
  return true;
}

function isVarintCount(value: number): boolean {
  if (value === 0) return Object.is(value, 0);
  return value > 0 && value <= VARINT_COUNT_MAX && Number.isInteger(value);
}

/** A sum's bits as they are; a staleness marker that was quietened becomes itself again. */
function putSum(into: ByteWriter, sum: number): void {
  into.f64(sum);
  if (!Number.isNaN(sum)) return;
  const words = wordsOf(Float64Array.of(sum));
  if (!isStaleAt(words, 0)) return;
  putStale(words, 0);
  into.view.setUint32(into.length - 8, words[0]!, true);
  into.view.setUint32(into.length - 4, words[1]!, true);
}

function putCount(into: ByteWriter, count: number, isDoubles: boolean): void {
  if (isDoubles) into.f64(count);
  else into.varint(count);
}

function readCount(reader: ByteReader, isDoubles: boolean): number {
  return isDoubles ? reader.f64() : reader.varint();
}

function putBounds(into: ByteWriter, bounds: readonly number[]): void {
  into.varint(bounds.length);
  for (let i = 0; i < bounds.length; i++) into.f64(bounds[i]!);
}

function readBounds(reader: ByteReader): number[] {
  const count = reader.varint();
  if (count > HISTOGRAM_BUCKETS_MAX || count * 8 > reader.remaining) {
    throw new AppError('bad_data', `histogram: ${count} bounds do not fit ${reader.remaining} bytes`);
  }
  const bounds: number[] = [];
  for (let i = 0; i < count; i++) bounds.push(reader.f64());
  return bounds;
}

function putBuckets(into: ByteWriter, { indexes, counts }: BucketList, isDoubles: boolean): void {
  into.varint(indexes.length);
  putIndexes(into, indexes);
  let previous = 0;
  for (let i = 0; i < counts.length; i++) {
    const count = counts[i]!;
    if (isDoubles) {
      into.f64(count);
      continue;
    }
    into.varint(zigzag(count - previous));
    previous = count;
  }
}

/** Indexes as spans of neighbours: the first index or the gap to the span before, and the length less one. */
export function putIndexes(into: ByteWriter, indexes: readonly number[]): void {
  for (let i = 0; i < indexes.length; ) {
    const first = indexes[i]!;
    if (i === 0) into.varint(zigzag(first));
    else into.varint(first - indexes[i - 1]! - 2);
    let end = i + 1;
    while (end < indexes.length && indexes[end] === first + end - i) end++;
    into.varint(end - i - 1);
    i = end;
  }
}

function readBuckets(reader: ByteReader, isDoubles: boolean): BucketList {
  const count = reader.varint();
  // Each bucket takes a byte at least.
  if (count > HISTOGRAM_BUCKETS_MAX || count * (isDoubles ? 8 : 1) > reader.remaining) {
    throw new AppError('bad_data', `histogram: ${count} buckets do not fit ${reader.remaining} bytes`);
  }
  const buckets = emptyBuckets();
  readIndexes(reader, count, buckets.indexes);
  let previous = 0;
  for (let i = 0; i < count; i++) {
    if (isDoubles) {
      buckets.counts.push(reader.f64());
      continue;
    }
    previous += unzigzag(reader.varint());
    buckets.counts.push(previous);
  }
  return buckets;
}

/** Reads `count` indexes of putIndexes into `into`. @throws AppError `bad_data` when the spans hold another number. */
export function readIndexes(reader: ByteReader, count: number, into: number[]): void {
  let index = 0;
  while (into.length < count) {
    index = into.length === 0 ? unzigzag(reader.varint()) : index + 1 + reader.varint();
    const length = reader.varint() + 1;
    if (length > count - into.length) {
      throw new AppError('bad_data', `histogram: a span of ${length} of ${count - into.length} buckets`);
    }
    for (let i = 0; i < length; i++) into.push(index++);
  }
}

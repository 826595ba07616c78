// The Histogram message of a protobuf exposition (io.prometheus.client.Histogram): its native part into HistogramParts, its
// classic buckets one after another. Fields come in any order, so that what all buckets need is read first.
import { type ProtobufCursor, WIRE_BYTES, WIRE_FIXED64, WIRE_VARINT } from '../core/protobuf-cursor.ts';
import { CUSTOM_BUCKETS_SCHEMA } from '../model/float-histogram.ts';
import type { HistogramParts, HistogramSide, NumberColumn } from '../model/histogram-parts.ts';

const FIELD_BUCKET = 3;
const FIELD_EXEMPLARS = 16;
const FIELD_START = 15;
const TAG_SAMPLE_COUNT = (1 << 3) | WIRE_VARINT;
const TAG_SAMPLE_SUM = (2 << 3) | WIRE_FIXED64;
export const TAG_BUCKET: number = (FIELD_BUCKET << 3) | WIRE_BYTES;
const TAG_SAMPLE_COUNT_FLOAT = (4 << 3) | WIRE_FIXED64;
const TAG_SCHEMA = (5 << 3) | WIRE_VARINT;
const TAG_ZERO_THRESHOLD = (6 << 3) | WIRE_FIXED64;
const TAG_ZERO_COUNT = (7 << 3) | WIRE_VARINT;
const TAG_ZERO_COUNT_FLOAT = (8 << 3) | WIRE_FIXED64;
const TAG_NEGATIVE_SPAN = (9 << 3) | WIRE_BYTES;
const TAG_POSITIVE_SPAN = (12 << 3) | WIRE_BYTES;
const TAG_START = (FIELD_START << 3) | WIRE_BYTES;
export const TAG_EXEMPLARS: number = (FIELD_EXEMPLARS << 3) | WIRE_BYTES;
const FIELD_NEGATIVE_DELTA = 10;
const FIELD_NEGATIVE_COUNT = 11;
const FIELD_POSITIVE_DELTA = 13;
const FIELD_POSITIVE_COUNT = 14;

// Bucket
const TAG_CUMULATIVE_COUNT = (1 << 3) | WIRE_VARINT;
const TAG_UPPER_BOUND = (2 << 3) | WIRE_FIXED64;
const TAG_EXEMPLAR = (3 << 3) | WIRE_BYTES;
const TAG_CUMULATIVE_COUNT_FLOAT = (4 << 3) | WIRE_FIXED64;

/** One histogram message; reused from metric to metric. */
export class ProtobufHistogram {
  readonly parts: HistogramParts;
  /** Observations, whichever way they are counted. */
  count = 0;
  sum = 0;
  /** Classic buckets in the message. */
  buckets = 0;
  /** Exemplars of the native histogram. */
  exemplars = 0;
  /** Unix milliseconds, NaN when the message has none. */
  startMs = Number.NaN;
  /** There are spans, a zero threshold or observations around zero: what upstream takes for a native histogram. */
  isNative = false;

  constructor(parts: HistogramParts) {
    this.parts = parts;
  }

  /**
   * Reads [cursor.at, end), and moves behind it.
   *
   * @param withNative  Fill `parts` too.
   */
  read(cursor: ProtobufCursor, end: number, withNative: boolean): void {
    const { parts } = this;
    const outer = cursor.end;
    let countFloat = 0;
    let zeroCountFloat = 0;
    parts.clear();
    this.count = 0;
    this.sum = 0;
    this.buckets = 0;
    this.exemplars = 0;
    this.startMs = Number.NaN;
    this.isNative = false;
    cursor.end = end;
    while (cursor.at < end) {
      const tag = cursor.tag();
      switch (tag) {
        case TAG_SAMPLE_COUNT:
          this.count = cursor.uint64();
          break;
        case TAG_SAMPLE_SUM:
          this.sum = cursor.double();
          break;
        case TAG_BUCKET:
          this.buckets++;
          cursor.skip(tag);
          break;
        case TAG_SAMPLE_COUNT_FLOAT:
          countFloat = cursor.double();
          break;
        case TAG_SCHEMA:
          parts.schema = cursor.sint32();
          break;
        case TAG_ZERO_THRESHOLD:
          parts.zeroThreshold = cursor.double();
          break;
        case TAG_ZERO_COUNT:
          parts.zeroCount = cursor.uint64();
          break;
        case TAG_ZERO_COUNT_FLOAT:
          zeroCountFloat = cursor.double();
          break;
        case TAG_NEGATIVE_SPAN:
        case TAG_POSITIVE_SPAN:
          this.isNative = true;
          if (withNative) readSpan(cursor, tag === TAG_POSITIVE_SPAN ? parts.positive : parts.negative);
          else cursor.skip(tag);
          break;
        case TAG_START:
          this.startMs = readTimestampMs(cursor, cursor.lengthEnd());
          break;
        case TAG_EXEMPLARS:
          this.exemplars++;
          cursor.skip(tag);
          break;
        default:
          this.#readCounts(cursor, tag, withNative);
      }
    }
    cursor.end = outer;
    parts.isFloat = countFloat > 0 || zeroCountFloat > 0;
    if (countFloat > 0) this.count = countFloat;
    if (parts.isFloat) parts.zeroCount = zeroCountFloat;
    parts.count = parts.isFloat ? countFloat : this.count;
    parts.sum = this.sum;
    this.isNative ||= parts.zeroThreshold > 0 || parts.zeroCount > 0;
  }

  /** Bucket counts; anything unknown is passed over. */
  #readCounts(cursor: ProtobufCursor, tag: number, withNative: boolean): void {
    const field = tag >>> 3;
    const isDelta = field === FIELD_NEGATIVE_DELTA || field === FIELD_POSITIVE_DELTA;
    const isCount = field === FIELD_NEGATIVE_COUNT || field === FIELD_POSITIVE_COUNT;
    if (isDelta || isCount) {
      const side = field >= FIELD_POSITIVE_DELTA ? this.parts.positive : this.parts.negative;
      readBucketCounts(cursor, tag, isDelta, withNative ? side : undefined);
    } else if (field <= FIELD_EXEMPLARS) throw cursor.wrongWireType(tag, `field ${field} of Histogram`);
    else cursor.skip(tag);
  }
}

/**
 * A field of bucket counts, whose tag has been read: packed or one count, differences (sint64) or doubles. Expositions and
 * both versions of remote write have the same.
 *
 * @param side  Where they go; undefined: nowhere.
 */
export function readBucketCounts(
  cursor: ProtobufCursor,
  tag: number,
  isDelta: boolean,
  side: HistogramSide | undefined,
): void {
  if (side === undefined) cursor.skip(tag);
  else if (isDelta) readRepeated(cursor, tag, WIRE_VARINT, () => side.addDelta(cursor.sint64()));
  else readDoubles(cursor, tag, side.counts);
}

/** A repeated double, packed or not, whose tag has been read. */
export function readDoubles(cursor: ProtobufCursor, tag: number, into: NumberColumn): void {
  readRepeated(cursor, tag, WIRE_FIXED64, () => into.push(cursor.double()));
}

function readRepeated(cursor: ProtobufCursor, tag: number, wireType: number, readOne: () => void): void {
  if ((tag & 7) === wireType) {
    readOne();
    return;
  }
  if ((tag & 7) !== WIRE_BYTES) throw cursor.wrongWireType(tag, `field ${tag >>> 3} of Histogram`);
  const outer = cursor.end;
  const end = cursor.lengthEnd();
  cursor.end = end;
  while (cursor.at < end) readOne();
  cursor.end = outer;
}

/** A classic bucket; reused. */
export class ProtobufBucket {
  cumulativeCount = 0;
  upperBound = 0;
  exemplarStart = 0;
  /** 0 when there is no exemplar. */
  exemplarEnd = 0;

  /** Reads [cursor.at, end), and moves behind it. */
  read(cursor: ProtobufCursor, end: number): void {
    const outer = cursor.end;
    let countFloat = 0;
    this.cumulativeCount = 0;
    this.upperBound = 0;
    this.exemplarEnd = 0;
    cursor.end = end;
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (tag === TAG_CUMULATIVE_COUNT) this.cumulativeCount = cursor.uint64();
      else if (tag === TAG_UPPER_BOUND) this.upperBound = cursor.double();
      else if (tag === TAG_CUMULATIVE_COUNT_FLOAT) countFloat = cursor.double();
      else if (tag === TAG_EXEMPLAR) {
        this.exemplarEnd = cursor.lengthEnd();
        this.exemplarStart = cursor.at;
        cursor.at = this.exemplarEnd;
      } else if (tag >>> 3 <= 4) throw cursor.wrongWireType(tag, 'a field of Bucket');
      else cursor.skip(tag);
    }
    if (countFloat > 0) this.cumulativeCount = countFloat;
    cursor.end = outer;
  }
}

/** Collects cumulative buckets as a histogram with custom buckets. */
export class CustomBucketsBuilder {
  readonly #parts: HistogramParts;
  readonly #cumulative: NumberColumn;
  #hasInfinite = false;

  constructor(parts: HistogramParts) {
    this.#parts = parts;
    this.#cumulative = parts.positive.counts;
  }

  begin(): void {
    this.#parts.clear();
    this.#hasInfinite = false;
  }

  /** Adds a bucket; bounds ascend. Cumulative counts become counts in `finish`. */
  add(upperBound: number, cumulativeCount: number): void {
    if (this.#hasInfinite) return;
    this.#cumulative.push(cumulativeCount);
    if (upperBound === Number.POSITIVE_INFINITY) this.#hasInfinite = true;
    else this.#parts.customBounds.push(upperBound);
  }

  /** The parts, complete. Counts that descend become negative ones, which the parts' checks refuse. */
  finish(count: number, sum: number): HistogramParts {
    const parts = this.#parts;
    const column = this.#cumulative;
    if (!this.#hasInfinite) column.push(count);
    let before = 0;
    let isFloat = !Number.isInteger(count);
    for (let i = 0; i < column.count; i++) {
      const cumulative = column.values[i]!;
      isFloat ||= !Number.isInteger(cumulative);
      column.values[i] = cumulative - before;
      before = cumulative;
    }
    parts.schema = CUSTOM_BUCKETS_SCHEMA;
    parts.isFloat = isFloat;
    parts.count = count;
    parts.sum = sum;
    parts.positive.addSpan(0, column.count);
    return parts;
  }
}

const TAG_SPAN_OFFSET = (1 << 3) | WIRE_VARINT;
const TAG_SPAN_LENGTH = (2 << 3) | WIRE_VARINT;

/** A BucketSpan with its length in front: the same message in expositions and in both versions of remote write. */
export function readSpan(cursor: ProtobufCursor, side: HistogramSide): void {
  const outer = cursor.end;
  const end = cursor.lengthEnd();
  let offset = 0;
  let length = 0;
  cursor.end = end;
  while (cursor.at < end) {
    const tag = cursor.tag();
    if (tag === TAG_SPAN_OFFSET) offset = cursor.sint32();
    else if (tag === TAG_SPAN_LENGTH) length = cursor.uint32();
    else if (tag >>> 3 <= 2) throw cursor.wrongWireType(tag, 'BucketSpan.offset or length');
    else cursor.skip(tag);
  }
  cursor.end = outer;
  side.addSpan(offset, length);
}

const TAG_SECONDS = (1 << 3) | WIRE_VARINT;
const TAG_NANOS = (2 << 3) | WIRE_VARINT;

/** A google.protobuf.Timestamp, [cursor.at, end), as Unix milliseconds; moves behind it. */
export function readTimestampMs(cursor: ProtobufCursor, end: number): number {
  const outer = cursor.end;
  let seconds = 0;
  let nanos = 0;
  cursor.end = end;
  while (cursor.at < end) {
    const tag = cursor.tag();
    if (tag === TAG_SECONDS) seconds = cursor.int64();
    else if (tag === TAG_NANOS) nanos = cursor.uint32() | 0;
    else if (tag >>> 3 <= 2) throw cursor.wrongWireType(tag, 'Timestamp.seconds or nanos');
    else cursor.skip(tag);
  }
  cursor.end = outer;
  return seconds * 1000 + Math.trunc(nanos / 1e6);
}

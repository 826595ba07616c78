// The Histogram message of both versions of remote write: the same fields, but for the start timestamp that 2.0 has.
import { type ProtobufCursor, WIRE_BYTES, WIRE_FIXED64, WIRE_VARINT } from '../../core/protobuf-cursor.ts';
import { readBucketCounts, readDoubles, readSpan } from '../../exposition/protobuf-histogram.ts';
import { COUNTER_RESET_HINTS } from '../../model/histogram-codec.ts';
import { HistogramParts } from '../../model/histogram-parts.ts';

const TAG_COUNT_INT = (1 << 3) | WIRE_VARINT;
const TAG_COUNT_FLOAT = (2 << 3) | WIRE_FIXED64;
const TAG_SUM = (3 << 3) | WIRE_FIXED64;
const TAG_SCHEMA = (4 << 3) | WIRE_VARINT;
const TAG_ZERO_THRESHOLD = (5 << 3) | WIRE_FIXED64;
const TAG_ZERO_COUNT_INT = (6 << 3) | WIRE_VARINT;
const TAG_ZERO_COUNT_FLOAT = (7 << 3) | WIRE_FIXED64;
const TAG_NEGATIVE_SPANS = (8 << 3) | WIRE_BYTES;
const FIELD_NEGATIVE_DELTAS = 9;
const FIELD_NEGATIVE_COUNTS = 10;
const TAG_POSITIVE_SPANS = (11 << 3) | WIRE_BYTES;
const FIELD_POSITIVE_DELTAS = 12;
const FIELD_POSITIVE_COUNTS = 13;
const TAG_RESET_HINT = (14 << 3) | WIRE_VARINT;
const TAG_TIMESTAMP = (15 << 3) | WIRE_VARINT;
const FIELD_CUSTOM_VALUES = 16;
const TAG_START_TIMESTAMP = (17 << 3) | WIRE_VARINT;

/** One histogram message; reused from histogram to histogram. */
export class RemoteWriteHistogram {
  readonly parts = new HistogramParts();
  /** Unix milliseconds. */
  timestampMs = 0;
  /** Unix milliseconds; 0 when there is none. */
  startMs = 0;

  /**
   * Reads [cursor.at, end), and moves behind it.
   *
   * @throws AppError `bad_data` when the message is malformed, or has more buckets than a histogram may.
   */
  read(cursor: ProtobufCursor, end: number): void {
    const { parts } = this;
    const outer = cursor.end;
    parts.clear();
    this.timestampMs = 0;
    this.startMs = 0;
    cursor.end = end;
    while (cursor.at < end) {
      const tag = cursor.tag();
      switch (tag) {
        case TAG_COUNT_INT:
          parts.count = cursor.uint64();
          parts.isFloat = false;
          break;
        case TAG_COUNT_FLOAT:
          parts.count = cursor.double();
          parts.isFloat = true;
          break;
        case TAG_SUM:
          parts.sum = cursor.double();
          break;
        case TAG_SCHEMA:
          parts.schema = cursor.sint32();
          break;
        case TAG_ZERO_THRESHOLD:
          parts.zeroThreshold = cursor.double();
          break;
        case TAG_ZERO_COUNT_INT:
          parts.zeroCount = cursor.uint64();
          break;
        case TAG_ZERO_COUNT_FLOAT:
          parts.zeroCount = cursor.double();
          break;
        case TAG_NEGATIVE_SPANS:
          readSpan(cursor, parts.negative);
          break;
        case TAG_POSITIVE_SPANS:
          readSpan(cursor, parts.positive);
          break;
        case TAG_RESET_HINT:
          this.#readHint(cursor);
          break;
        case TAG_TIMESTAMP:
          this.timestampMs = cursor.int64();
          break;
        case TAG_START_TIMESTAMP:
          this.startMs = cursor.int64();
          break;
        default:
          this.#readColumn(cursor, tag);
      }
    }
    cursor.end = outer;
  }

  /**
   * "No reset since the one before" is true of the sender's sequence, which need not be the stored one: it becomes "unknown",
   * and the counts tell.
   */
  #readHint(cursor: ProtobufCursor): void {
    const hint = COUNTER_RESET_HINTS[cursor.uint32()] ?? 'unknown';
    this.parts.hint = hint === 'not_reset' ? 'unknown' : hint;
  }

  #readColumn(cursor: ProtobufCursor, tag: number): void {
    const { positive, negative, customBounds } = this.parts;
    const field = tag >>> 3;
    if (field === FIELD_NEGATIVE_DELTAS) readBucketCounts(cursor, tag, true, negative);
    else if (field === FIELD_NEGATIVE_COUNTS) readBucketCounts(cursor, tag, false, negative);
    else if (field === FIELD_POSITIVE_DELTAS) readBucketCounts(cursor, tag, true, positive);
    else if (field === FIELD_POSITIVE_COUNTS) readBucketCounts(cursor, tag, false, positive);
    else if (field === FIELD_CUSTOM_VALUES) readDoubles(cursor, tag, customBounds);
    else if (field <= TAG_START_TIMESTAMP >>> 3)
      throw cursor.wrongWireType(tag, `field ${field} of Histogram`);
    else cursor.skip(tag);
  }
}

// Prometheus' protobuf exposition: MetricFamily messages (io.prometheus.client), each with its length in front. Reports what
// the text formats report, series as text included, plus native histograms. Which parts of a histogram are taken is the
// scrape's choice, as Prometheus' documents give it for `scrape_native_histograms` and its two neighbours.
import { isUtf8 } from 'node:buffer';
import { decodeUtf8, encodeUtf8 } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import { ProtobufCursor, WIRE_BYTES, WIRE_FIXED64, WIRE_VARINT } from '../core/protobuf-cursor.ts';
import { HistogramParts } from '../model/histogram-parts.ts';
import type { ExpositionSink, MetadataKind } from './exposition-sink.ts';
import {
  CustomBucketsBuilder,
  ProtobufBucket,
  ProtobufHistogram,
  readTimestampMs,
  TAG_BUCKET,
  TAG_EXEMPLARS,
} from './protobuf-histogram.ts';
import { ProtobufSeriesText } from './protobuf-series-text.ts';

// MetricFamily
const TAG_NAME = (1 << 3) | WIRE_BYTES;
const TAG_HELP = (2 << 3) | WIRE_BYTES;
const TAG_TYPE = (3 << 3) | WIRE_VARINT;
const TAG_METRIC = (4 << 3) | WIRE_BYTES;
const TAG_UNIT = (5 << 3) | WIRE_BYTES;
// Metric
const TAG_LABEL = (1 << 3) | WIRE_BYTES;
const TAG_TIMESTAMP_MS = (6 << 3) | WIRE_VARINT;
const METRIC_FIELDS = 7;
// Counter, Gauge, Untyped
const TAG_VALUE = (1 << 3) | WIRE_FIXED64;
const TAG_COUNTER_EXEMPLAR = (2 << 3) | WIRE_BYTES;
const TAG_COUNTER_START = (3 << 3) | WIRE_BYTES;
// Summary
const TAG_SUMMARY_COUNT = (1 << 3) | WIRE_VARINT;
const TAG_SUMMARY_SUM = (2 << 3) | WIRE_FIXED64;
const TAG_QUANTILE = (3 << 3) | WIRE_BYTES;
const TAG_SUMMARY_START = (4 << 3) | WIRE_BYTES;
// Quantile
const TAG_QUANTILE_QUANTILE = (1 << 3) | WIRE_FIXED64;
const TAG_QUANTILE_VALUE = (2 << 3) | WIRE_FIXED64;
// Exemplar
const TAG_EXEMPLAR_LABEL = (1 << 3) | WIRE_BYTES;
const TAG_EXEMPLAR_VALUE = (2 << 3) | WIRE_FIXED64;
const TAG_EXEMPLAR_TIMESTAMP = (3 << 3) | WIRE_BYTES;

// Types that are read in ways of their own.
const COUNTER = 0;
const SUMMARY = 2;
const HISTOGRAM = 4;
const GAUGE_HISTOGRAM = 5;

/** By the number of the type: its name, and the field of Metric that has its value. */
const TYPE_NAMES = ['counter', 'gauge', 'summary', 'unknown', 'histogram', 'gaugehistogram'].map((name) =>
  encodeUtf8(name),
);
const TYPE_FIELDS = [3, 2, 4, 5, 7, 7];

const SUFFIX_COUNT = encodeUtf8('_count');
const SUFFIX_SUM = encodeUtf8('_sum');
const SUFFIX_BUCKET = encodeUtf8('_bucket');
const LABEL_LE = encodeUtf8('le');
const LABEL_QUANTILE = encodeUtf8('quantile');
const TOTAL = '_total';

const SUBJECT = 'protobuf exposition';

/** Which parts of a histogram become samples. */
export interface HistogramChoice {
  /** `scrape_native_histograms`. */
  readonly native: boolean;
  /** `always_scrape_classic_histograms`. */
  readonly classicToo: boolean;
  /** `convert_classic_histograms_to_nhcb`. */
  readonly customBuckets: boolean;
}

/** What is known of a family before its metrics. Ranges are offsets in the exposition. */
interface Family {
  type: number;
  nameStart: number;
  nameEnd: number;
  helpStart: number;
  helpEnd: number;
  unitStart: number;
  unitEnd: number;
  metrics: number;
}

/** Parses one exposition at a time; its scratch is used again. */
export class ProtobufParser {
  readonly #series = new ProtobufSeriesText();
  readonly #exemplarText = new ProtobufSeriesText();
  readonly #native = new ProtobufHistogram(new HistogramParts());
  readonly #custom = new CustomBucketsBuilder(new HistogramParts());
  readonly #bucket = new ProtobufBucket();
  readonly #family: Family = {
    type: COUNTER,
    nameStart: 0,
    nameEnd: 0,
    helpStart: 0,
    helpEnd: 0,
    unitStart: 0,
    unitEnd: 0,
    metrics: 0,
  };
  #exemplarMs = Number.NaN;
  #exemplarValue = 0;

  /**
   * Parses bytes[0, end) and reports to the sink.
   *
   * @throws AppError `bad_data` with the offset and the reason; what was reported before it stays reported.
   *
   * Cost: O(n); no allocation per series whose bounds were seen before.
   */
  parse(bytes: Uint8Array, end: number, choice: HistogramChoice, sink: ExpositionSink): void {
    const cursor = new ProtobufCursor(SUBJECT, bytes, 0, end);
    while (cursor.at < end) {
      const familyEnd = cursor.lengthEnd();
      const start = cursor.at;
      cursor.end = familyEnd;
      this.#readFamily(cursor);
      if (this.#family.metrics > 0) {
        this.#checkFamily(cursor);
        this.#series.setName(bytes, this.#family.nameStart, this.#family.nameEnd);
        this.#reportMetadata(bytes, sink);
        cursor.at = start;
        while (cursor.at < familyEnd) {
          const tag = cursor.tag();
          if (tag === TAG_METRIC) this.#readMetric(cursor, cursor.lengthEnd(), choice, sink);
          else cursor.skip(tag);
        }
      }
      cursor.at = familyEnd;
      cursor.end = end;
    }
  }

  #readFamily(cursor: ProtobufCursor): void {
    const family = this.#family;
    family.type = COUNTER;
    family.nameStart = 0;
    family.nameEnd = 0;
    family.helpStart = 0;
    family.helpEnd = 0;
    family.unitStart = 0;
    family.unitEnd = 0;
    family.metrics = 0;
    while (cursor.at < cursor.end) {
      const tag = cursor.tag();
      if (tag === TAG_METRIC) {
        family.metrics++;
        cursor.skip(tag);
      } else if (tag === TAG_NAME) {
        family.nameEnd = cursor.lengthEnd();
        family.nameStart = cursor.at;
        cursor.at = family.nameEnd;
      } else if (tag === TAG_HELP) {
        family.helpEnd = cursor.lengthEnd();
        family.helpStart = cursor.at;
        cursor.at = family.helpEnd;
      } else if (tag === TAG_UNIT) {
        family.unitEnd = cursor.lengthEnd();
        family.unitStart = cursor.at;
        cursor.at = family.unitEnd;
      } else if (tag === TAG_TYPE) family.type = cursor.uint32();
      else if (tag >>> 3 <= 5) throw cursor.wrongWireType(tag, 'a field of MetricFamily');
      else cursor.skip(tag);
    }
  }

  #checkFamily({ bytes }: ProtobufCursor): void {
    const { type, nameStart, nameEnd, helpStart, helpEnd, unitStart, unitEnd } = this.#family;
    const name = bytes.subarray(nameStart, nameEnd);
    if (nameEnd === nameStart || !isUtf8(name)) {
      throw new AppError(
        'bad_data',
        `invalid metric name ${JSON.stringify(decodeUtf8(name, 0, name.length))}`,
      );
    }
    const printed = (): string => JSON.stringify(decodeUtf8(bytes, nameStart, nameEnd));
    if (TYPE_NAMES[type] === undefined) {
      throw new AppError('bad_data', `unknown metric type ${type} of metric ${printed()}`);
    }
    if (!isUtf8(bytes.subarray(helpStart, helpEnd))) {
      throw new AppError('bad_data', `the help text of metric ${printed()} is not valid UTF-8`);
    }
    if (unitEnd > unitStart)
      checkUnit(type, decodeUtf8(name, 0, name.length), decodeUtf8(bytes, unitStart, unitEnd));
  }

  #reportMetadata(bytes: Uint8Array, sink: ExpositionSink): void {
    const { type, helpStart, helpEnd, unitStart, unitEnd } = this.#family;
    const typeName = TYPE_NAMES[type]!;
    this.#reportLine('type', typeName, 0, typeName.length, sink);
    if (helpEnd > helpStart) this.#reportLine('help', bytes, helpStart, helpEnd, sink);
    if (unitEnd > unitStart) this.#reportLine('unit', bytes, unitStart, unitEnd, sink);
  }

  #reportLine(
    kind: MetadataKind,
    source: Uint8Array,
    start: number,
    end: number,
    sink: ExpositionSink,
  ): void {
    const { text } = this.#series;
    const { nameEnd, textStart } = this.#series.buildMetadata(source, start, end);
    sink.metadata(kind, text.bytes, 0, nameEnd, textStart, text.length);
  }

  /** One Metric, [cursor.at, end): first its labels and where its value is, then the value. */
  #readMetric(cursor: ProtobufCursor, end: number, choice: HistogramChoice, sink: ExpositionSink): void {
    const outer = cursor.end;
    const { type } = this.#family;
    const valueTag = (TYPE_FIELDS[type]! << 3) | WIRE_BYTES;
    let valueStart = end;
    let valueEnd = end;
    let timestampMs = 0;
    this.#series.clearLabels();
    cursor.end = end;
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (tag === TAG_LABEL) this.#series.addLabel(cursor, cursor.lengthEnd());
      else if (tag === TAG_TIMESTAMP_MS) timestampMs = cursor.int64();
      else if (tag === valueTag) {
        valueEnd = cursor.lengthEnd();
        valueStart = cursor.at;
        cursor.at = valueEnd;
      } else if (tag >>> 3 <= METRIC_FIELDS && (tag & 7) !== WIRE_BYTES) {
        throw cursor.wrongWireType(tag, 'a field of Metric');
      } else cursor.skip(tag);
    }
    // 0 is no time, as upstream has it: proto3 cannot say which of the two is meant.
    const stamp = timestampMs === 0 ? Number.NaN : timestampMs;
    cursor.at = valueStart;
    cursor.end = valueEnd;
    if (type === SUMMARY) this.#reportSummary(cursor, valueEnd, stamp, sink);
    else if (type === HISTOGRAM || type === GAUGE_HISTOGRAM) {
      this.#reportHistogram(cursor, valueEnd, stamp, choice, sink);
    } else this.#reportValue(cursor, valueEnd, stamp, sink);
    cursor.at = end;
    cursor.end = outer;
  }

  /** Counter, Gauge or Untyped. */
  #reportValue(cursor: ProtobufCursor, end: number, timestampMs: number, sink: ExpositionSink): void {
    const isCounter = this.#family.type === COUNTER;
    let value = 0;
    let exemplarStart = 0;
    let exemplarEnd = 0;
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (tag === TAG_VALUE) value = cursor.double();
      else if (isCounter && tag === TAG_COUNTER_EXEMPLAR) {
        exemplarEnd = cursor.lengthEnd();
        exemplarStart = cursor.at;
        cursor.at = exemplarEnd;
      } else if (isCounter && tag === TAG_COUNTER_START) {
        sink.startTime(readTimestampMs(cursor, cursor.lengthEnd()));
      } else if (tag >>> 3 === 1) throw cursor.wrongWireType(tag, 'a value');
      else cursor.skip(tag);
    }
    this.#series.build();
    this.#reportSample(value, timestampMs, sink);
    if (exemplarEnd > 0) this.#reportExemplar(cursor, exemplarStart, exemplarEnd, false, sink);
  }

  #reportSample(value: number, timestampMs: number, sink: ExpositionSink): void {
    const { text } = this.#series;
    // The text ends where the sink would say: this only lets it look at the series it expects before it searches.
    sink.recognise(text.bytes, 0, text.length + 1);
    sink.sample(text.bytes, 0, text.length, value, timestampMs);
  }

  #reportSummary(cursor: ProtobufCursor, end: number, timestampMs: number, sink: ExpositionSink): void {
    const start = cursor.at;
    let count = 0;
    let sum = 0;
    let startMs = Number.NaN;
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (tag === TAG_SUMMARY_COUNT) count = cursor.uint64();
      else if (tag === TAG_SUMMARY_SUM) sum = cursor.double();
      else if (tag === TAG_SUMMARY_START) startMs = readTimestampMs(cursor, cursor.lengthEnd());
      else if (tag === TAG_QUANTILE || tag >>> 3 > 4) cursor.skip(tag);
      else throw cursor.wrongWireType(tag, 'a field of Summary');
    }
    this.#reportCountAndSum(count, sum, startMs, timestampMs, sink);
    cursor.at = start;
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (tag !== TAG_QUANTILE) {
        cursor.skip(tag);
        continue;
      }
      const value = this.#readQuantile(cursor, cursor.lengthEnd());
      announceStart(startMs, sink);
      this.#reportSample(value, timestampMs, sink);
    }
  }

  /** Builds the series' text; returns the value. */
  #readQuantile(cursor: ProtobufCursor, end: number): number {
    const outer = cursor.end;
    let quantile = 0;
    let value = 0;
    cursor.end = end;
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (tag === TAG_QUANTILE_QUANTILE) quantile = cursor.double();
      else if (tag === TAG_QUANTILE_VALUE) value = cursor.double();
      else if (tag >>> 3 <= 2) throw cursor.wrongWireType(tag, 'a field of Quantile');
      else cursor.skip(tag);
    }
    cursor.end = outer;
    this.#series.build(undefined, LABEL_QUANTILE, quantile);
    return value;
  }

  #reportCountAndSum(
    count: number,
    sum: number,
    startMs: number,
    timestampMs: number,
    sink: ExpositionSink,
  ): void {
    this.#series.build(SUFFIX_COUNT);
    announceStart(startMs, sink);
    this.#reportSample(count, timestampMs, sink);
    this.#series.build(SUFFIX_SUM);
    announceStart(startMs, sink);
    this.#reportSample(sum, timestampMs, sink);
  }

  #reportHistogram(
    cursor: ProtobufCursor,
    end: number,
    timestampMs: number,
    choice: HistogramChoice,
    sink: ExpositionSink,
  ): void {
    const start = cursor.at;
    const histogram = this.#native;
    histogram.read(cursor, end, choice.native);
    if (this.#family.type === GAUGE_HISTOGRAM) histogram.parts.hint = 'gauge';
    const isNative = choice.native && histogram.isNative;
    if (isNative) {
      this.#reportParts(histogram.parts, histogram.startMs, timestampMs, sink);
      if (histogram.exemplars > 0) this.#reportNativeExemplars(cursor, start, end, sink);
      else this.#reportBucketExemplars(cursor, start, end, sink);
    }
    const withCustom = !isNative && choice.customBuckets;
    if (withCustom) this.#reportCustom(cursor, start, end, timestampMs, sink);
    const withClassic = isNative
      ? choice.classicToo && histogram.buckets > 0
      : !withCustom || choice.classicToo;
    if (withClassic) this.#reportClassic(cursor, start, end, timestampMs, sink);
  }

  #reportParts(parts: HistogramParts, startMs: number, timestampMs: number, sink: ExpositionSink): void {
    this.#series.build();
    announceStart(startMs, sink);
    const { text } = this.#series;
    sink.recognise(text.bytes, 0, text.length + 1);
    sink.histogram(text.bytes, 0, text.length, parts, timestampMs);
  }

  #reportCustom(
    cursor: ProtobufCursor,
    start: number,
    end: number,
    timestampMs: number,
    sink: ExpositionSink,
  ): void {
    const histogram = this.#native;
    const bucket = this.#bucket;
    this.#custom.begin();
    eachField(cursor, start, end, TAG_BUCKET, (bucketEnd) => {
      bucket.read(cursor, bucketEnd);
      this.#custom.add(bucket.upperBound, bucket.cumulativeCount);
    });
    const parts = this.#custom.finish(histogram.count, histogram.sum);
    if (this.#family.type === GAUGE_HISTOGRAM) parts.hint = 'gauge';
    this.#reportParts(parts, histogram.startMs, timestampMs, sink);
    this.#reportBucketExemplars(cursor, start, end, sink);
  }

  /** `_count`, `_sum`, and a `_bucket` for each bucket; +Inf is added where it is not sent. */
  #reportClassic(
    cursor: ProtobufCursor,
    start: number,
    end: number,
    timestampMs: number,
    sink: ExpositionSink,
  ): void {
    const { count, sum, startMs } = this.#native;
    const bucket = this.#bucket;
    let hasInfinite = false;
    this.#reportCountAndSum(count, sum, startMs, timestampMs, sink);
    eachField(cursor, start, end, TAG_BUCKET, (bucketEnd) => {
      bucket.read(cursor, bucketEnd);
      // Nothing comes after +Inf.
      if (hasInfinite) return;
      hasInfinite = bucket.upperBound === Number.POSITIVE_INFINITY;
      this.#series.build(SUFFIX_BUCKET, LABEL_LE, bucket.upperBound);
      announceStart(startMs, sink);
      this.#reportSample(bucket.cumulativeCount, timestampMs, sink);
      if (bucket.exemplarEnd > 0) {
        this.#reportExemplar(cursor, bucket.exemplarStart, bucket.exemplarEnd, false, sink);
      }
    });
    if (hasInfinite) return;
    this.#series.build(SUFFIX_BUCKET, LABEL_LE, Number.POSITIVE_INFINITY);
    announceStart(startMs, sink);
    this.#reportSample(count, timestampMs, sink);
  }

  #reportNativeExemplars(cursor: ProtobufCursor, start: number, end: number, sink: ExpositionSink): void {
    eachField(cursor, start, end, TAG_EXEMPLARS, (exemplarEnd) => {
      this.#reportExemplar(cursor, cursor.at, exemplarEnd, true, sink);
    });
  }

  #reportBucketExemplars(cursor: ProtobufCursor, start: number, end: number, sink: ExpositionSink): void {
    const bucket = this.#bucket;
    eachField(cursor, start, end, TAG_BUCKET, (bucketEnd) => {
      bucket.read(cursor, bucketEnd);
      if (bucket.exemplarEnd > 0) {
        this.#reportExemplar(cursor, bucket.exemplarStart, bucket.exemplarEnd, true, sink);
      }
    });
  }

  /**
   * An Exemplar at [start, end); the cursor stays where it is.
   *
   * @param mustHaveTime  Those of a native histogram belong to no bucket and are told apart by their times.
   */
  #reportExemplar(
    cursor: ProtobufCursor,
    start: number,
    end: number,
    mustHaveTime: boolean,
    sink: ExpositionSink,
  ): void {
    const { at, end: outer } = cursor;
    cursor.at = start;
    cursor.end = end;
    this.#readExemplar(cursor, end);
    cursor.at = at;
    cursor.end = outer;
    if (mustHaveTime && Number.isNaN(this.#exemplarMs)) return;
    this.#exemplarText.buildLabels();
    const { text } = this.#exemplarText;
    sink.exemplar(text.bytes, 0, text.length, this.#exemplarValue, this.#exemplarMs);
  }

  #readExemplar(cursor: ProtobufCursor, end: number): void {
    this.#exemplarMs = Number.NaN;
    this.#exemplarValue = 0;
    this.#exemplarText.clearLabels();
    while (cursor.at < end) {
      const tag = cursor.tag();
      if (tag === TAG_EXEMPLAR_LABEL) this.#exemplarText.addLabel(cursor, cursor.lengthEnd());
      else if (tag === TAG_EXEMPLAR_VALUE) this.#exemplarValue = cursor.double();
      else if (tag === TAG_EXEMPLAR_TIMESTAMP) this.#exemplarMs = readTimestampMs(cursor, cursor.lengthEnd());
      else if (tag >>> 3 <= 3) throw cursor.wrongWireType(tag, 'a field of Exemplar');
      else cursor.skip(tag);
    }
  }
}

/** Calls `visit` at each field with that tag in the message [start, end); it may move the cursor within the field. */
function eachField(
  cursor: ProtobufCursor,
  start: number,
  end: number,
  wanted: number,
  visit: (fieldEnd: number) => void,
): void {
  cursor.at = start;
  cursor.end = end;
  while (cursor.at < end) {
    const tag = cursor.tag();
    if (tag !== wanted) {
      cursor.skip(tag);
      continue;
    }
    const fieldEnd = cursor.lengthEnd();
    visit(fieldEnd);
    cursor.at = fieldEnd;
    cursor.end = end;
  }
}

function announceStart(startMs: number, sink: ExpositionSink): void {
  if (!Number.isNaN(startMs)) sink.startTime(startMs);
}

/** A unit must be the last part of its metric's name; of a counter's, before `_total`. */
function checkUnit(type: number, name: string, unit: string): void {
  const base = type === COUNTER && name.endsWith(TOTAL) ? name.slice(0, -TOTAL.length) : name;
  if (base.endsWith(`_${unit}`)) return;
  throw new AppError(
    'bad_data',
    `unit ${JSON.stringify(unit)} is not a suffix of metric ${JSON.stringify(name)}`,
  );
}

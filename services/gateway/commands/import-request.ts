// Remote write 1.0 requests as an import makes them: a series' labels once as bytes, its samples appended as bytes, series put
// together into requests of bounded size. Field numbers: wire/docs/remote-write.md and prometheus' prompb/types.proto.
import { ByteWriter, putVarint, VARINT_BYTES_MAX, varintBytes, zigzag } from '../../lib/core/bytes.ts';
import { COUNTER_RESET_HINTS } from '../../lib/model/histogram-codec.ts';
import type { HistogramParts, HistogramSide } from '../../lib/model/histogram-parts.ts';
import { STALE_NAN_HIGH, STALE_NAN_LOW } from '../../lib/model/sample-columns.ts';

const TAG_TIME_SERIES = 0x0a;
const TAG_METADATA = 0x1a;
const TAG_LABEL = 0x0a;
const TAG_SAMPLE = 0x12;
const TAG_EXEMPLAR = 0x1a;
const TAG_HISTOGRAM = 0x22;
const TAG_NAME = 0x0a;
const TAG_TEXT = 0x12;
const TAG_SAMPLE_VALUE = 0x09;
const TAG_SAMPLE_TIME = 0x10;
const INT64_BYTES_MAX = 10;
/** Of a sample field: tags, length, value, time. */
const SAMPLE_BYTES_MAX = 2 + 9 + 1 + INT64_BYTES_MAX;

/** Appends an int64 as a varint: two's complement below zero. */
export function putInt64(dst: Uint8Array, at: number, value: number): number {
  if (value >= 0) return putVarint(dst, at, value);
  let rest = BigInt.asUintN(64, BigInt(value));
  let position = at;
  for (; rest > 127n; rest >>= 7n) dst[position++] = Number(rest & 127n) | 128;
  dst[position++] = Number(rest);
  return position;
}

/** Appends the label fields of a TimeSeries or Exemplar. @param labels `[name, value, …]` in UTF-8. */
export function putLabels(into: ByteWriter, labels: readonly Uint8Array[]): void {
  for (let i = 0; i + 1 < labels.length; i += 2) {
    const name = labels[i]!;
    const value = labels[i + 1]!;
    into.u8(TAG_LABEL);
    into.varint(2 + varintBytes(name.length) + name.length + varintBytes(value.length) + value.length);
    putBytesField(into, TAG_NAME, name);
    putBytesField(into, TAG_TEXT, value);
  }
}

function putBytesField(into: ByteWriter, tag: number, bytes: Uint8Array): void {
  into.u8(tag);
  into.varint(bytes.length);
  into.raw(bytes);
}

/** Hot! Appends a Sample field; the value as its two words. */
export function putSample(into: ByteWriter, timestampMs: number, high: number, low: number): void {
  into.reserve(SAMPLE_BYTES_MAX);
  const { bytes, view } = into;
  const start = into.length;
  bytes[start] = TAG_SAMPLE;
  bytes[start + 2] = TAG_SAMPLE_VALUE;
  view.setUint32(start + 3, low, true);
  view.setUint32(start + 7, high, true);
  bytes[start + 11] = TAG_SAMPLE_TIME;
  const end = putInt64(bytes, start + 12, timestampMs);
  bytes[start + 1] = end - start - 2;
  into.length = end;
}

/** Appends an Exemplar field. */
export function putExemplar(
  into: ByteWriter,
  labels: readonly Uint8Array[],
  value: number,
  timestampMs: number,
): void {
  const body = new ByteWriter(256);
  putLabels(body, labels);
  body.u8(0x11);
  body.f64(value);
  body.u8(0x18);
  putTime(body, timestampMs);
  putBytesField(into, TAG_EXEMPLAR, body.bytes.subarray(0, body.length));
}

/** Appends a Histogram field. Of a staleness marker the sum only, which is the marker. */
export function putHistogram(
  into: ByteWriter,
  parts: HistogramParts,
  isStale: boolean,
  timestampMs: number,
): void {
  const body = new ByteWriter(512);
  if (isStale) {
    body.u8(0x08);
    body.u8(0);
    body.u8(0x19);
    body.u32(STALE_NAN_LOW);
    body.u32(STALE_NAN_HIGH);
  } else putContents(body, parts);
  body.u8(0x78);
  putTime(body, timestampMs);
  putBytesField(into, TAG_HISTOGRAM, body.bytes.subarray(0, body.length));
}

function putContents(body: ByteWriter, parts: HistogramParts): void {
  const { isFloat } = parts;
  if (isFloat) putDouble(body, 0x11, parts.count);
  else putNumber(body, 0x08, parts.count);
  putDouble(body, 0x19, parts.sum);
  putNumber(body, 0x20, zigzag(parts.schema));
  putDouble(body, 0x29, parts.zeroThreshold);
  if (isFloat) putDouble(body, 0x39, parts.zeroCount);
  else putNumber(body, 0x30, parts.zeroCount);
  putSide(body, parts.negative, { spans: 0x42, deltas: 0x48, counts: 0x51 }, isFloat);
  putSide(body, parts.positive, { spans: 0x5a, deltas: 0x60, counts: 0x69 }, isFloat);
  putNumber(body, 0x70, COUNTER_RESET_HINTS.indexOf(parts.hint));
  for (let i = 0; i < parts.customBounds.count; i++) {
    // Field 16: its tag takes two bytes.
    body.u8(0x81);
    body.u8(0x01);
    body.f64(parts.customBounds.values[i]!);
  }
}

function putSide(
  body: ByteWriter,
  side: HistogramSide,
  tags: { readonly spans: number; readonly deltas: number; readonly counts: number },
  isFloat: boolean,
): void {
  for (let i = 0; i < side.offsets.count; i++) {
    const offset = zigzag(side.offsets.values[i]!);
    const length = side.lengths.values[i]!;
    body.u8(tags.spans);
    body.u8(2 + varintBytes(offset) + varintBytes(length));
    putNumber(body, 0x08, offset);
    putNumber(body, 0x10, length);
  }
  let before = 0;
  for (let i = 0; i < side.counts.count; i++) {
    const count = side.counts.values[i]!;
    if (isFloat) putDouble(body, tags.counts, count);
    else putNumber(body, tags.deltas, zigzag(count - before));
    before = count;
  }
}

function putDouble(body: ByteWriter, tag: number, value: number): void {
  body.u8(tag);
  body.f64(value);
}

function putNumber(body: ByteWriter, tag: number, value: number): void {
  body.u8(tag);
  body.varint(value);
}

function putTime(body: ByteWriter, timestampMs: number): void {
  body.reserve(INT64_BYTES_MAX);
  body.length = putInt64(body.bytes, body.length, timestampMs);
}

/** What a request holds. */
export interface RequestCounts {
  readonly samples: number;
  readonly histograms: number;
  readonly exemplars: number;
}

/** A request's bytes, before compression, with what they hold. */
export interface ImportRequest extends RequestCounts {
  readonly bytes: Uint8Array;
}

/** Requests are cut behind this: large enough that the server's sync is shared, far below its limit of 32 MiB. */
const REQUEST_BYTES_TARGET = 512 * 1024;

/** Collects series into requests, and hands each over when it is full. */
export class RequestCollector {
  readonly #onRequest: (request: ImportRequest) => void;
  #bytes = new ByteWriter(REQUEST_BYTES_TARGET + 64 * 1024);
  #samples = 0;
  #histograms = 0;
  #exemplars = 0;

  /** @param onRequest  Takes the bytes over. */
  constructor(onRequest: (request: ImportRequest) => void) {
    this.#onRequest = onRequest;
  }

  /** Adds a series: label fields, then fields of samples, histograms and exemplars. */
  add(labels: Uint8Array, contents: Uint8Array, counts: RequestCounts): void {
    const into = this.#bytes;
    into.u8(TAG_TIME_SERIES);
    into.varint(labels.length + contents.length);
    into.raw(labels);
    into.raw(contents);
    this.#samples += counts.samples;
    this.#histograms += counts.histograms;
    this.#exemplars += counts.exemplars;
    if (into.length >= REQUEST_BYTES_TARGET) this.flush();
  }

  /** @param type  MetricMetadata's enum. */
  addMetadata(type: number, family: Uint8Array, help: Uint8Array, unit: Uint8Array): void {
    const into = this.#bytes;
    const texts = [family, help, unit].reduce((sum, { length }) => sum + 1 + varintBytes(length) + length, 0);
    into.reserve(VARINT_BYTES_MAX);
    into.u8(TAG_METADATA);
    into.varint(2 + texts);
    putNumber(into, 0x08, type);
    putBytesField(into, 0x12, family);
    putBytesField(into, 0x22, help);
    putBytesField(into, 0x2a, unit);
    if (into.length >= REQUEST_BYTES_TARGET) this.flush();
  }

  /** Hands over what there is. */
  flush(): void {
    if (this.#bytes.length === 0) return;
    const counts = { samples: this.#samples, histograms: this.#histograms, exemplars: this.#exemplars };
    const bytes = this.#bytes.take();
    this.#bytes.reset();
    this.#samples = this.#histograms = this.#exemplars = 0;
    this.#onRequest({ bytes, ...counts });
  }
}

/** Samples of one series that stand in one request at most: about a quarter of its bytes. */
export const SERIES_BYTES_TARGET: number = REQUEST_BYTES_TARGET / 4;

// Answers to remote read, as protobuf: whole series of samples (prometheus.ReadResponse), or frames of series as chunks
// (prometheus.ChunkedReadResponse) behind their length and checksum. Values are written bit for bit.
import { ByteReader, ByteWriter, zigzag } from '../../core/bytes.ts';
import type { BucketList, FloatHistogram } from '../../model/float-histogram.ts';
import { encodeXorChunk } from '../../tsdb/chunk/xor-encoder.ts';
import { crc32c } from '../../tsdb/import/crc32c.ts';
import { encodeHistogramChunk, spansOf } from './prometheus-histogram-chunk.ts';

/** Samples of a chunk, as Prometheus cuts them. */
const CHUNK_SAMPLES = 120;
const CHUNK_XOR = 1;
const CHUNK_FLOAT_HISTOGRAM = 3;
const HINTS = ['unknown', 'reset', 'not_reset', 'gauge'] as const;

const varintTag = (field: number) => field << 3;
const doubleTag = (field: number) => (field << 3) | 1;
const bytesTag = (field: number) => (field << 3) | 2;

/** Canonical label bytes and what to add to them where they have not got it. */
export interface ReadLabels {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** Ascending by name. */
  readonly external: readonly (readonly [name: string, value: string])[];
}

/** Samples of one series, ascending in time. */
export interface ReadColumns {
  readonly timestampsMs: Float64Array;
  readonly values: Float64Array;
  /** The words of `values`. */
  readonly words: Uint32Array;
  readonly count: number;
  /** Where entry i is set, sample i is that histogram. */
  readonly histograms: readonly (FloatHistogram | undefined)[] | undefined;
}

/** Writes messages into one buffer. */
export class ReadResponseWriter {
  readonly out = new ByteWriter(64 * 1024);
  readonly #inner = new ByteWriter(4096);
  readonly #chunk = new ByteWriter(4096);

  /** Appends a TimeSeries, as `field` of the message that is being written. */
  timeSeries(field: number, labels: ReadLabels, samples: ReadColumns): void {
    const inner = this.#inner;
    inner.reset();
    putLabels(inner, labels);
    const { timestampsMs, count, histograms, words } = samples;
    for (let i = 0; i < count; i++) {
      if (histograms?.[i] !== undefined) continue;
      const timeBytes = int64Bytes(timestampsMs[i]!);
      inner.varint(bytesTag(2));
      inner.varint(9 + 1 + timeBytes);
      inner.varint(doubleTag(1));
      inner.u32(words[2 * i]!);
      inner.u32(words[2 * i + 1]!);
      inner.varint(varintTag(2));
      putInt64(inner, timestampsMs[i]!);
    }
    for (let i = 0; i < count; i++) {
      const histogram = histograms?.[i];
      if (histogram === undefined) continue;
      const message = this.#chunk;
      message.reset();
      putHistogram(message, timestampsMs[i]!, histogram);
      putMessage(inner, 4, message);
    }
    putMessage(this.out, field, inner);
  }

  /** Appends a ChunkedSeries with samples from `from` on, until the buffer holds `bytesMax` or they are over; returns the next one. */
  chunkedSeries(labels: ReadLabels, samples: ReadColumns, from: number, bytesMax: number): number {
    const inner = this.#inner;
    inner.reset();
    putLabels(inner, labels);
    let at = from;
    while (at < samples.count && this.out.length + inner.length < bytesMax)
      at = this.#putChunk(inner, samples, at);
    putMessage(this.out, 1, inner);
    return at;
  }

  #putChunk(inner: ByteWriter, samples: ReadColumns, from: number): number {
    const { timestampsMs, values, count, histograms } = samples;
    const chunk = this.#chunk;
    chunk.reset();
    const histogram = histograms?.[from];
    let to = from + 1;
    if (histogram === undefined) {
      while (to < count && to - from < CHUNK_SAMPLES && histograms?.[to] === undefined) to++;
      encodeXorChunk(timestampsMs, values, from, to, chunk);
    } else {
      chunk.raw(encodeHistogramChunk(timestampsMs[from]!, histogram));
    }
    const firstMs = timestampsMs[from]!;
    const lastMs = timestampsMs[to - 1]!;
    const head = 3 + int64Bytes(firstMs) + int64Bytes(lastMs) + 2;
    inner.varint(bytesTag(2));
    inner.varint(head + varintLength(chunk.length) + chunk.length);
    inner.varint(varintTag(1));
    putInt64(inner, firstMs);
    inner.varint(varintTag(2));
    putInt64(inner, lastMs);
    inner.varint(varintTag(3));
    inner.varint(histogram === undefined ? CHUNK_XOR : CHUNK_FLOAT_HISTOGRAM);
    inner.varint(bytesTag(4));
    inner.varint(chunk.length);
    inner.raw(chunk.bytes, 0, chunk.length);
    return to;
  }

  /** Takes what was written as one frame: length, CRC-32C big-endian, message. */
  takeFrame(queryIndex: number): Buffer {
    const { out } = this;
    if (queryIndex > 0) {
      out.varint(varintTag(2));
      out.varint(queryIndex);
    }
    const head = new ByteWriter(16);
    head.varint(out.length);
    const crc = crc32c(out.bytes, 0, out.length);
    for (const shift of [24, 16, 8, 0]) head.u8((crc >>> shift) & 255);
    const frame = Buffer.concat([head.bytes.subarray(0, head.length), out.bytes.subarray(0, out.length)]);
    out.reset();
    return frame;
  }
}

/** Appends `message` as a field. */
export function putMessage(out: ByteWriter, field: number, message: ByteWriter): void {
  out.varint(bytesTag(field));
  out.varint(message.length);
  out.raw(message.bytes, 0, message.length);
}

/** Labels of the series, and external ones where it has none of that name, by name. */
function putLabels(out: ByteWriter, { bytes, start, end, external }: ReadLabels): void {
  const reader = new ByteReader(bytes, start, end);
  let next = 0;
  const putExternal = (before: string | undefined) => {
    while (next < external.length && (before === undefined || external[next]![0] < before)) {
      putLabel(out, external[next]![0], external[next]![1]);
      next++;
    }
  };
  while (reader.remaining > 0) {
    const name = reader.string();
    const value = reader.string();
    putExternal(name);
    if (next < external.length && external[next]![0] === name) next++;
    putLabel(out, name, value);
  }
  putExternal(undefined);
}

function putLabel(out: ByteWriter, name: string, value: string): void {
  const nameBytes = Buffer.from(name);
  const valueBytes = Buffer.from(value);
  out.varint(bytesTag(1));
  out.varint(
    2 +
      varintLength(nameBytes.length) +
      nameBytes.length +
      varintLength(valueBytes.length) +
      valueBytes.length,
  );
  for (const [field, text] of [
    [1, nameBytes],
    [2, valueBytes],
  ] as const) {
    out.varint(bytesTag(field));
    out.varint(text.length);
    out.raw(text);
  }
}

function putHistogram(out: ByteWriter, timeMs: number, histogram: FloatHistogram): void {
  out.varint(doubleTag(2));
  out.f64(histogram.count);
  out.varint(doubleTag(3));
  out.f64(histogram.sum);
  out.varint(varintTag(4));
  out.varint(zigzag(histogram.schema));
  out.varint(doubleTag(5));
  out.f64(histogram.zeroThreshold);
  out.varint(doubleTag(7));
  out.f64(histogram.zeroCount);
  putBuckets(out, 8, 10, histogram.negative);
  putBuckets(out, 11, 13, histogram.positive);
  out.varint(varintTag(14));
  out.varint(HINTS.indexOf(histogram.hint));
  out.varint(varintTag(15));
  putInt64(out, timeMs);
  if (histogram.customBounds.length > 0) putDoubles(out, 16, histogram.customBounds);
}

function putBuckets(out: ByteWriter, spansField: number, countsField: number, buckets: BucketList): void {
  const span = new ByteWriter(16);
  for (const [offset, length] of spansOf(buckets)) {
    span.reset();
    span.varint(varintTag(1));
    span.varint(zigzag(offset));
    span.varint(varintTag(2));
    span.varint(length);
    putMessage(out, spansField, span);
  }
  if (buckets.counts.length > 0) putDoubles(out, countsField, buckets.counts);
}

function putDoubles(out: ByteWriter, field: number, values: readonly number[]): void {
  out.varint(bytesTag(field));
  out.varint(values.length * 8);
  for (const value of values) out.f64(value);
}

function varintLength(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** A negative int64 takes ten bytes. */
function int64Bytes(value: number): number {
  return value < 0 ? 10 : varintLength(value);
}

function putInt64(out: ByteWriter, value: number): void {
  if (value >= 0) {
    out.varint(value);
    return;
  }
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) out.u8(Number(rest & 127n) | 128);
  out.u8(Number(rest));
}

// Reads samples by remote read and exemplars by the query API, slice of time by slice of time, and gives them as lines that lose
// nothing (exact-lines.ts). What is behind one slice is whole: there an export can be taken up again.
import { ByteReader, ByteWriter } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Matcher } from '../../lib/model/matcher.ts';
import { SampleColumns, wordsOf } from '../../lib/model/sample-columns.ts';
import { parseMetricSelector } from '../../lib/promql/parse/parser.ts';
import { decodeXorChunk } from '../../lib/tsdb/chunk/xor-decoder.ts';
import { crc32c } from '../../lib/tsdb/import/crc32c.ts';
import { decodeHistogramChunk } from '../../lib/tsdb/import/histogram-chunk.ts';
import { compressSnappy } from '../../lib/wire/compression/snappy-compress.ts';
import {
  type ExactExemplar,
  type ExactHistogram,
  exactHistogram,
  exactValue,
  printExactLine,
} from './exact-lines.ts';
import { putInt64 } from './import-request.ts';

/** Of a slice: an answer that is larger is asked for in halves. */
const ANSWER_BYTES_MAX = 256 << 20;
const SLICE_MS_FIRST = 3_600_000;
const SLICE_MS_MAX = 24 * 3_600_000;
const SLICE_MS_MIN = 1000;
/** Answers below this are followed by a slice of twice the length. */
const ANSWER_BYTES_SMALL = 8 << 20;
/** Of a line: it is held as a text, and read as one. */
const LINE_SAMPLES_MAX = 10_000;
const LINE_HISTOGRAMS_MAX = 200;
const REQUEST_TIMEOUT_MS = 150_000;
const TRIES = 5;
const OPERATORS = ['=', '!=', '=~', '!~'] as const;
const STREAMED = 1;
const CHUNK_XOR = 1;
const CHUNK_FLOAT_HISTOGRAM = 3;

export interface ExactCounts {
  samples: number;
  histograms: number;
  exemplars: number;
}

/** One slice of time, whole. */
export interface ExactSlice {
  /** Where the next one begins, Unix milliseconds. */
  readonly nextMs: number;
  readonly lines: Iterable<string>;
}

type Labels = Readonly<Record<string, string>>;

export class ExactReader {
  readonly #api: string;
  readonly counts: ExactCounts = { samples: 0, histograms: 0, exemplars: 0 };

  constructor(url: string) {
    this.#api = `${url.replace(/\/+$/, '')}/api/v1/`;
  }

  /**
   * Yields the slices of [startMs, endMs] in order.
   *
   * @throws AppError with the server's words when it refuses; `unavailable` when it does not answer.
   */
  async *read(match: string, startMs: number, endMs: number): AsyncGenerator<ExactSlice> {
    const matchers = parseMetricSelector(match);
    let lengthMs = SLICE_MS_FIRST;
    for (let from = startMs; from <= endMs; ) {
      const to = Math.min(endMs, from + lengthMs - 1);
      const answer = await this.#ask('read?external_labels=false', readRequest(matchers, from, to));
      if (answer === undefined) {
        if (lengthMs <= SLICE_MS_MIN)
          throw new AppError('resource_exhausted', `a second of ${match} is more than the server answers`);
        lengthMs = Math.max(SLICE_MS_MIN, Math.floor(lengthMs / 2));
        continue;
      }
      const exemplars = await this.#exemplars(match, from, to);
      yield { nextMs: to + 1, lines: this.#linesOf(answer, exemplars) };
      if (answer.length < ANSWER_BYTES_SMALL) lengthMs = Math.min(SLICE_MS_MAX, lengthMs * 2);
      from = to + 1;
    }
  }

  *#linesOf(answer: Buffer, exemplars: readonly [Labels, readonly ExactExemplar[]][]): Generator<string> {
    const { counts } = this;
    for (const { metric, samples, histograms } of seriesOf(answer)) {
      counts.samples += samples.count;
      counts.histograms += histograms.length;
      const { timestampsMs, values } = samples;
      const words = wordsOf(values);
      for (let from = 0; from < samples.count; from += LINE_SAMPLES_MAX) {
        const to = Math.min(samples.count, from + LINE_SAMPLES_MAX);
        const indexes = Array.from({ length: to - from }, (_, i) => from + i);
        yield printExactLine({
          metric,
          timestamps: indexes.map((i) => timestampsMs[i]!),
          values: indexes.map((i) => exactValue(values, words, i)),
        });
      }
      for (let from = 0; from < histograms.length; from += LINE_HISTOGRAMS_MAX)
        yield printExactLine({ metric, histograms: histograms.slice(from, from + LINE_HISTOGRAMS_MAX) });
    }
    for (const [metric, list] of exemplars) {
      counts.exemplars += list.length;
      yield printExactLine({ metric, exemplars: list });
    }
  }

  async #exemplars(match: string, fromMs: number, toMs: number): Promise<[Labels, ExactExemplar[]][]> {
    const form = new URLSearchParams({
      query: match,
      start: String(fromMs / 1000),
      end: String(toMs / 1000),
    });
    const answer = await this.#ask('query_exemplars', form);
    if (answer === undefined)
      throw new AppError('resource_exhausted', `exemplars of ${match}: more than ${ANSWER_BYTES_MAX} bytes`);
    const { data } = JSON.parse(answer.toString()) as {
      readonly data: readonly {
        readonly seriesLabels: Labels;
        readonly exemplars: readonly { labels: Labels; value: string; timestamp: number }[];
      }[];
    };
    return (data ?? []).map(({ seriesLabels, exemplars }) => [
      seriesLabels,
      exemplars.map(({ labels, value, timestamp }) => ({
        labels,
        value: Number.isFinite(Number(value)) ? Number(value) : value,
        timestamp: Math.round(timestamp * 1000),
      })),
    ]);
  }

  /** The body; undefined when it is too large, for the server or for us. */
  async #ask(endpoint: string, body: Uint8Array<ArrayBuffer> | URLSearchParams): Promise<Buffer | undefined> {
    const url = `${this.#api}${endpoint}`;
    for (let attempt = 1; ; attempt++) {
      try {
        const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
        const response = await fetch(url, { method: 'POST', body, signal });
        const bytes = await readBytes(response);
        if (bytes === undefined || response.status === 422) return undefined;
        if (response.ok) return bytes;
        const text = bytes.toString().slice(0, 500);
        if (response.status < 500) throw new AppError('bad_data', `${url}: ${response.status} ${text}`);
        throw new Error(`${response.status} ${text}`);
      } catch (caught) {
        if (caught instanceof AppError) throw caught;
        const reason = caught instanceof Error ? caught.message : String(caught);
        if (attempt >= TRIES) throw new AppError('unavailable', `${url}: ${reason}`, { cause: caught });
        await new Promise((resolve) => setTimeout(resolve, 500 * attempt));
      }
    }
  }
}

async function readBytes(response: Response): Promise<Buffer | undefined> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.length;
    if (bytes > ANSWER_BYTES_MAX) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** A remote read request for a stream of chunks. */
function readRequest(matchers: readonly Matcher[], fromMs: number, toMs: number): Uint8Array<ArrayBuffer> {
  const query = new ByteWriter(256);
  const time = (tag: number, timeMs: number) => {
    query.u8(tag);
    query.reserve(10);
    query.length = putInt64(query.bytes, query.length, timeMs);
  };
  time(0x08, fromMs);
  time(0x10, toMs);
  for (const { name, operator, value } of matchers) {
    const message = new ByteWriter(64);
    message.u8(0x08);
    message.varint(OPERATORS.indexOf(operator));
    for (const [tag, text] of [
      [0x12, name],
      [0x1a, value],
    ] as const) {
      const bytes = Buffer.from(text);
      message.u8(tag);
      message.varint(bytes.length);
      message.raw(bytes);
    }
    query.u8(0x1a);
    query.varint(message.length);
    query.raw(message.bytes, 0, message.length);
  }
  const request = new ByteWriter(query.length + 16);
  request.u8(0x0a);
  request.varint(query.length);
  request.raw(query.bytes, 0, query.length);
  request.u8(0x10);
  request.u8(STREAMED);
  return compressSnappy(request.bytes.subarray(0, request.length));
}

interface ReadSeries {
  readonly metric: Labels;
  readonly samples: SampleColumns;
  readonly histograms: readonly ExactHistogram[];
}

/** The series of a stream of ChunkedReadResponse; one that goes over several frames comes several times. */
function* seriesOf(answer: Buffer): Generator<ReadSeries> {
  const samples = new SampleColumns();
  const frames = new ByteReader(answer);
  while (frames.remaining > 0) {
    const length = frames.varint();
    const crc = frames.raw(4);
    const frame = frames.raw(length);
    const stated = ((crc[0]! << 24) | (crc[1]! << 16) | (crc[2]! << 8) | crc[3]!) >>> 0;
    if (crc32c(frame, 0, frame.length) !== stated)
      throw new AppError('internal', 'a frame of the answer came damaged');
    for (const [field, series] of fieldsOf(frame)) {
      if (field !== 1 || typeof series === 'number') continue;
      samples.count = 0;
      const metric: Record<string, string> = {};
      const histograms: ExactHistogram[] = [];
      for (const [inner, message] of fieldsOf(series)) {
        if (typeof message === 'number') continue;
        if (inner === 1) {
          const [name, value] = [...fieldsOf(message)].map(([, text]) =>
            Buffer.from(text as Uint8Array).toString(),
          );
          metric[name ?? ''] = value ?? '';
        } else if (inner === 2) readChunk(message, samples, histograms);
      }
      yield { metric, samples, histograms };
    }
  }
}

function readChunk(message: Uint8Array, samples: SampleColumns, histograms: ExactHistogram[]): void {
  const fields = new Map(fieldsOf(message));
  const data = fields.get(4) as Uint8Array;
  const type = fields.get(3);
  if (type === CHUNK_XOR) decodeXorChunk(data, 0, data.length, samples);
  else if (type === CHUNK_FLOAT_HISTOGRAM) {
    decodeHistogramChunk(data, 0, data.length, true, (timeMs, parts) => {
      histograms.push(exactHistogram(timeMs, parts));
    });
  } else throw new AppError('internal', `a chunk of unknown type ${String(type)}`);
}

/** Fields of a protobuf message: bytes, or a varint (of times, which nobody needs, only the low bits). */
function* fieldsOf(message: Uint8Array): Generator<readonly [field: number, value: Uint8Array | number]> {
  const reader = new ByteReader(message);
  while (reader.remaining > 0) {
    const tag = reader.varint();
    if ((tag & 7) === 2) yield [tag >>> 3, reader.raw(reader.varint())];
    else if ((tag & 7) === 0) {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = reader.u8();
        if (shift < 28) value |= (byte & 127) << shift;
        if (byte < 128) break;
      }
      yield [tag >>> 3, value];
    } else throw new AppError('internal', `a field of wire type ${tag & 7} in the answer`);
  }
}

// Codec of docs/spool-file.md: samples of one scrape with the labels of their series, so that another process can write them.
import { constants as zlib, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { ByteReader, ByteWriter } from '../../lib/core/bytes.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Appender, SeriesReference } from '../../lib/distributor/appender.ts';
import { EXTRA_BYTES_MAX } from '../../lib/model/extra-columns.ts';
import { wordsOf } from '../../lib/model/sample-columns.ts';
import type { WriteBatch } from '../write-batch.ts';

const VERSION = 1;
/** Most float samples of a record; bounds what a reader allocates. */
export const SPOOL_RECORD_SAMPLES_MAX = 65_536;
/** Largest record, not compressed: 65,536 samples whose labels take 2 KiB each. */
const RECORD_BYTES_MAX = 160 << 20;
/** Neighbouring label sets differ little: more effort gains next to nothing. */
const COMPRESSION_LEVEL = 1;

/** Numbers the series of one record. */
class SeriesNumbers {
  readonly #numbers = new Map<SeriesReference, number>();
  readonly #appender: Appender;
  readonly labels = new ByteWriter(16 * 1024);

  constructor(appender: Appender) {
    this.#appender = appender;
  }

  get count(): number {
    return this.#numbers.size;
  }

  /** Undefined when the reference is not known any more. */
  of(reference: SeriesReference): number | undefined {
    const known = this.#numbers.get(reference);
    if (known !== undefined) return known;
    const found = this.#appender.labelsOf(reference);
    if (found === undefined) return undefined;
    this.labels.varint(found.end - found.start);
    this.labels.raw(found.bytes, found.start, found.end);
    this.#numbers.set(reference, this.#numbers.size);
    return this.#numbers.size - 1;
  }
}

/**
 * Appends a record with the float samples [from, to) of a batch to `dst`; with those from 0 on go its extras and metadata.
 *
 * @returns  Samples and extras that are left out, because the distributor forgot their series.
 */
export function encodeSpoolRecord(
  batch: WriteBatch,
  from: number,
  to: number,
  appender: Appender,
  dst: ByteWriter,
): number {
  const series = new SeriesNumbers(appender);
  const samples = new ByteWriter((to - from) * 18);
  const words = wordsOf(batch.values);
  let forgotten = 0;
  for (let i = from; i < to; i++) {
    const number = series.of(batch.references[i]!);
    if (number === undefined) {
      forgotten++;
      continue;
    }
    samples.varint(number);
    samples.f64(batch.timestampsMs[i]!);
    samples.u32(words[2 * i]!);
    samples.u32(words[2 * i + 1]!);
  }
  const sampleCount = to - from - forgotten;
  const extras = new ByteWriter(256);
  const extrasForgotten = from === 0 ? putExtras(batch, series, extras) : 0;
  const metadata = from === 0 ? batch.metadata : [];
  const whole = new ByteWriter(32 + series.labels.length + samples.length + extras.length);
  whole.u32(VERSION);
  whole.u32(series.count);
  whole.u32(sampleCount);
  whole.u32(from === 0 ? (batch.extras?.count ?? 0) - extrasForgotten : 0);
  whole.u32(metadata.length);
  for (const part of [series.labels, samples, extras]) whole.raw(part.bytes, 0, part.length);
  for (const { metric, type, help, unit } of metadata)
    for (const text of [metric, type, help, unit]) whole.string(text);
  dst.raw(
    zstdCompressSync(whole.bytes.subarray(0, whole.length), {
      params: { [zlib.ZSTD_c_compressionLevel]: COMPRESSION_LEVEL },
    }),
  );
  return forgotten + extrasForgotten;
}

function putExtras({ extras }: WriteBatch, series: SeriesNumbers, dst: ByteWriter): number {
  let forgotten = 0;
  for (let i = 0; i < (extras?.count ?? 0); i++) {
    const { references, kinds, timestampsMs, starts, ends, bytes } = extras!;
    const number = series.of(references[i]!);
    if (number === undefined) {
      forgotten++;
      continue;
    }
    dst.varint(number);
    dst.u8(kinds[i]!);
    dst.f64(timestampsMs[i]!);
    dst.varint(ends[i]! - starts[i]!);
    dst.raw(bytes, starts[i]!, ends[i]!);
  }
  return forgotten;
}

/** What of a record cannot be written any more. */
export interface SpoolRefusal {
  readonly samples: number;
  /** Of the first series that the distributor refuses. */
  readonly reason: string | undefined;
}

/**
 * Fills an empty batch with a record's contents; its series get references of the appender.
 *
 * @throws AppError `bad_data` when the bytes are no such record; the batch is to be thrown away then.
 */
export function decodeSpoolRecord(payload: Uint8Array, appender: Appender, into: WriteBatch): SpoolRefusal {
  const reader = new ByteReader(decompress(payload));
  const version = reader.u32();
  if (version !== VERSION) throw new AppError('bad_data', `spool record of unknown version ${version}`);
  const seriesCount = reader.u32();
  const sampleCount = reader.u32();
  const extraCount = reader.u32();
  const metadataCount = reader.u32();
  if (seriesCount > reader.remaining || sampleCount > SPOOL_RECORD_SAMPLES_MAX) {
    throw new AppError('bad_data', `spool record of ${seriesCount} series and ${sampleCount} samples`);
  }
  const { references, reason } = resolveAll(reader, seriesCount, appender);
  let refused = 0;
  for (let i = 0; i < sampleCount; i++) {
    const reference = referenceAt(references, reader.varint());
    const timestampMs = reader.f64();
    const low = reader.u32();
    const high = reader.u32();
    if (reference < 0) refused++;
    else into.addWords(reference, timestampMs, low, high);
  }
  for (let i = 0; i < extraCount; i++) {
    const reference = referenceAt(references, reader.varint());
    const kind = reader.u8();
    const timestampMs = reader.f64();
    const length = reader.varint();
    const start = reader.position;
    if (length > EXTRA_BYTES_MAX)
      throw new AppError('bad_data', `spool record with an extra of ${length} bytes`);
    reader.raw(length);
    if (reference < 0) refused++;
    else into.needExtras().addRaw(reference, timestampMs, kind, reader.bytes, start, start + length);
  }
  for (let i = 0; i < metadataCount; i++) {
    const [metric, type, help, unit] = [reader.string(), reader.string(), reader.string(), reader.string()];
    into.metadata.push({ metric, type, help, unit });
  }
  if (reader.remaining > 0)
    throw new AppError('bad_data', `spool record with ${reader.remaining} bytes too many`);
  return { samples: refused, reason };
}

function decompress(payload: Uint8Array): Uint8Array {
  try {
    return zstdDecompressSync(payload, { maxOutputLength: RECORD_BYTES_MAX });
  } catch (caught) {
    throw new AppError('bad_data', `spool record cannot be decompressed: ${toAppError(caught).message}`, {
      cause: caught,
    });
  }
}

/** References of all series, −1 for those that are refused. */
function resolveAll(
  reader: ByteReader,
  seriesCount: number,
  appender: Appender,
): { readonly references: Float64Array; readonly reason: string | undefined } {
  const references = new Float64Array(seriesCount);
  let reason: string | undefined;
  for (let i = 0; i < seriesCount; i++) {
    const length = reader.varint();
    const start = reader.position;
    reader.raw(length);
    try {
      references[i] = appender.resolveBytes(reader.bytes, start, start + length);
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code !== 'bad_data' && error.code !== 'resource_exhausted') throw error;
      references[i] = -1;
      reason ??= error.message;
    }
  }
  return { references, reason };
}

function referenceAt(references: Float64Array, number: number): number {
  const reference = references[number];
  if (reference === undefined)
    throw new AppError('bad_data', `spool record: series ${number} of ${references.length}`);
  return reference;
}

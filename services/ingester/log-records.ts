// What the ingester writes to its log, as bytes (lib/tsdb/docs/format/log-records.md).
import {
  type ByteReader,
  type ByteWriter,
  putVarint,
  unzigzag,
  VARINT_BYTES_MAX,
  zigzag,
} from '../lib/core/bytes.ts';
import { AppError } from '../lib/core/errors.ts';
import type { MetricMetadata } from '../lib/wire/contracts.ts';

export const RECORD_SAMPLES = 1;
export const RECORD_CUT = 2;
export const RECORD_SEALED = 3;
export const RECORD_METADATA = 4;
export const RECORD_STATE = 5;
export const RECORD_END = 6;

/** Most samples in a record: what an append batch may hold. */
const SAMPLES_MAX = 1 << 20;
/** Values up to this many units take a varint; four times their zigzag code stays below 2^53. */
const UNITS_MAX = 2 ** 50;
const KIND_RAW = 3;
/** Units per 1 by kind: node-exporter's fractions are mostly hundredths (CPU seconds) or finer timer readings. */
const SCALE_1 = 100;
const SCALE_2 = 1_000_000;
/** Longest sample: id, time and value as varints, or a raw value. */
const SAMPLE_BYTES_MAX = 3 * VARINT_BYTES_MAX + 9;

/** Samples of one record, as columns; reused from record to record. */
export class RecordColumns {
  ids: Uint32Array = new Uint32Array(1024);
  timestampsMs: Float64Array = new Float64Array(1024);
  values: Float64Array = new Float64Array(1024);
  count = 0;

  /** Room for `capacity` samples; what is there may be lost. */
  resize(capacity: number): void {
    if (capacity <= this.ids.length) return;
    const size = Math.max(capacity, this.ids.length * 2);
    this.ids = new Uint32Array(size);
    this.timestampsMs = new Float64Array(size);
    this.values = new Float64Array(size);
  }
}

/** Appends the definition that goes between tenant and samples. */
export function putLogDefinition(
  dst: ByteWriter,
  id: number,
  partition: number,
  labels: Uint8Array,
  start: number,
  end: number,
): void {
  dst.varint(id);
  dst.varint(partition);
  dst.varint(end - start);
  dst.raw(labels, start, end);
}

/** Appends a samples record's payload; `definitions` are the first `definitionBytes` of a buffer of putLogDefinition. */
export function encodeSamples(
  dst: ByteWriter,
  tenant: string,
  definitionCount: number,
  definitions: Uint8Array,
  definitionBytes: number,
  columns: RecordColumns,
): void {
  const { count } = columns;
  dst.string(tenant);
  dst.varint(definitionCount);
  dst.raw(definitions, 0, definitionBytes);
  dst.varint(count);
  dst.reserve(count * SAMPLE_BYTES_MAX);
  let at = putIds(dst.bytes, dst.length, columns.ids, count);
  at = putTimes(dst.bytes, at, columns.timestampsMs, count);
  dst.length = putValues(dst.bytes, at, columns.values, count);
}

function putIds(bytes: Uint8Array, from: number, ids: Uint32Array, count: number): number {
  let at = from;
  let previous = 0;
  for (let i = 0; i < count; i++) {
    const id = ids[i]!;
    at = putVarint(bytes, at, zigzag(id - previous));
    previous = id;
  }
  return at;
}

function putTimes(bytes: Uint8Array, from: number, timestampsMs: Float64Array, count: number): number {
  let at = from;
  let previous = 0;
  for (let i = 0; i < count; i++) {
    const timeMs = timestampsMs[i]!;
    at = putVarint(bytes, at, zigzag(timeMs - previous));
    previous = timeMs;
  }
  return at;
}

function putValues(bytes: Uint8Array, from: number, values: Float64Array, count: number): number {
  const words = new Uint32Array(values.buffer, values.byteOffset, count * 2);
  let at = from;
  for (let i = 0; i < count; i++) {
    const code = codeOf(values[i]!);
    if (code >= 0) {
      at = putVarint(bytes, at, code);
      continue;
    }
    bytes[at++] = KIND_RAW;
    at = putWord(bytes, at, words[2 * i]!);
    at = putWord(bytes, at, words[2 * i + 1]!);
  }
  return at;
}

function putWord(bytes: Uint8Array, at: number, word: number): number {
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
  bytes[at + 2] = word >>> 16;
  bytes[at + 3] = word >>> 24;
  return at + 4;
}

/** The varint that stands for a value, or -1 when only its bits do. */
function codeOf(value: number): number {
  // Neither -0 nor NaN nor an infinity passes.
  if (!(value < UNITS_MAX / SCALE_2 && value > -UNITS_MAX / SCALE_2)) {
    return Math.abs(value) < UNITS_MAX && Math.trunc(value) === value ? zigzag(value) * 4 : -1;
  }
  if (value === 0) return Object.is(value, -0) ? -1 : 0;
  if (Math.trunc(value) === value) return zigzag(value) * 4;
  const hundredths = Math.round(value * SCALE_1);
  if (hundredths / SCALE_1 === value) return zigzag(hundredths) * 4 + 1;
  const millionths = Math.round(value * SCALE_2);
  if (millionths / SCALE_2 === value) return zigzag(millionths) * 4 + 2;
  return -1;
}

/** Called for each definition of a record; the label bytes are in bytes[start, end), valid during the call. */
export type DefinitionVisitor = (
  id: number,
  partition: number,
  bytes: Uint8Array,
  start: number,
  end: number,
) => void;

/**
 * Reads a samples record's payload behind its tenant: definitions to the visitor, samples into the columns.
 *
 * @throws AppError `bad_data` when it breaks a rule of the format.
 */
export function decodeSamples(reader: ByteReader, define: DefinitionVisitor, into: RecordColumns): void {
  for (let left = reader.varint(); left > 0; left--) {
    const id = reader.varint();
    const partition = reader.varint();
    const labelBytes = reader.varint();
    const start = reader.position;
    reader.raw(labelBytes);
    define(checkId(id), partition, reader.bytes, start, start + labelBytes);
  }
  const count = reader.varint();
  // Three bytes at least for each sample.
  if (count > SAMPLES_MAX || count * 3 > reader.remaining) {
    throw new AppError('bad_data', `${count} samples do not fit ${reader.remaining} bytes`);
  }
  into.resize(count);
  into.count = count;
  let id = 0;
  for (let i = 0; i < count; i++) into.ids[i] = id = checkId(id + unzigzag(reader.varint()));
  let timeMs = 0;
  for (let i = 0; i < count; i++) {
    timeMs += unzigzag(reader.varint());
    into.timestampsMs[i] = timeMs;
  }
  readValues(reader, into);
  if (reader.remaining !== 0) throw new AppError('bad_data', `${reader.remaining} bytes behind the samples`);
}

function checkId(id: number): number {
  if (id < 0 || id >= 2 ** 32 - 1) throw new AppError('bad_data', `series id ${id} is outside 0 … 2^32 - 2`);
  return id;
}

function readValues(reader: ByteReader, into: RecordColumns): void {
  const { values, count } = into;
  const words = new Uint32Array(values.buffer, values.byteOffset, count * 2);
  for (let i = 0; i < count; i++) {
    const code = reader.varint();
    const kind = code % 4;
    const units = unzigzag(Math.floor(code / 4));
    if (kind === 0) values[i] = units;
    else if (kind === 1) values[i] = units / SCALE_1;
    else if (kind === 2) values[i] = units / SCALE_2;
    else {
      words[2 * i] = reader.u32();
      words[2 * i + 1] = reader.u32();
    }
  }
}

export interface CutMark {
  readonly tenant: string;
  readonly startMs: number;
  readonly generation: number;
}

export function encodeCut(dst: ByteWriter, mark: CutMark): void {
  dst.string(mark.tenant);
  dst.varint(zigzag(mark.startMs));
  dst.varint(mark.generation);
}

export function decodeCut(reader: ByteReader): CutMark {
  return { tenant: reader.string(), startMs: unzigzag(reader.varint()), generation: reader.varint() };
}

export interface SealedMark {
  readonly tenant: string;
  readonly generation: number;
  readonly endMs: number;
  readonly blockId: string;
}

export function encodeSealed(dst: ByteWriter, mark: SealedMark): void {
  dst.string(mark.tenant);
  dst.varint(mark.generation);
  dst.varint(zigzag(mark.endMs));
  dst.string(mark.blockId);
}

export function decodeSealed(reader: ByteReader): SealedMark {
  return {
    tenant: reader.string(),
    generation: reader.varint(),
    endMs: unzigzag(reader.varint()),
    blockId: reader.string(),
  };
}

export function encodeMetadata(dst: ByteWriter, tenant: string, entries: readonly MetricMetadata[]): void {
  dst.string(tenant);
  dst.varint(entries.length);
  for (const { metric, type, help, unit } of entries) {
    for (const text of [metric, type, help, unit]) dst.string(text);
  }
}

/** Reads a metadata record behind its tenant. */
export function decodeMetadata(reader: ByteReader): MetricMetadata[] {
  const entries: MetricMetadata[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const metric = reader.string();
    const type = reader.string();
    const help = reader.string();
    entries.push({ metric, type, help, unit: reader.string() });
  }
  return entries;
}

export interface TenantMark {
  readonly tenant: string;
  readonly generationNext: number;
  /** Samples before this time may have left the head; -2^53 + 1 when none have. */
  readonly leftBeforeMs: number;
}

export function encodeState(dst: ByteWriter, mark: TenantMark): void {
  dst.string(mark.tenant);
  dst.varint(mark.generationNext);
  dst.varint(zigzag(mark.leftBeforeMs));
}

export function decodeState(reader: ByteReader): TenantMark {
  return {
    tenant: reader.string(),
    generationNext: reader.varint(),
    leftBeforeMs: unzigzag(reader.varint()),
  };
}

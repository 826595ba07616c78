// What the ingester writes to its log, as bytes (lib/tsdb/docs/format/log-records.md).
import { type ByteReader, type ByteWriter, unzigzag, zigzag } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { ExtraColumns, Extras } from '../../lib/model/extra-columns.ts';
import {
  DELTA_BYTES_MAX,
  putDeltas,
  putValueCodes,
  readDeltas,
  readValueCodes,
  VALUE_CODE_BYTES_MAX,
} from '../../lib/model/value-codes.ts';
import type { MetricMetadata } from '../../lib/wire/contracts.ts';

export const RECORD_SAMPLES = 1;
export const RECORD_CUT = 2;
export const RECORD_SEALED = 3;
export const RECORD_METADATA = 4;
export const RECORD_STATE = 5;
export const RECORD_END = 6;
export const RECORD_EXTRAS = 7;
/** Says nothing: what is before it in the log is durable once it is. */
export const RECORD_IMAGE_MARK = 8;

/** Most samples in a record: what an append batch may hold. */
const SAMPLES_MAX = 1 << 20;
/** Longest sample: id and time as differences, and a value. */
const SAMPLE_BYTES_MAX = 2 * DELTA_BYTES_MAX + VALUE_CODE_BYTES_MAX;
const ID_MAX = 2 ** 32 - 2;
const TIMES_MAX = Number.MAX_SAFE_INTEGER;

/** Samples of one record, as columns; reused from record to record. */
export class RecordColumns {
  ids: Uint32Array = new Uint32Array(1024);
  timestampsMs: Float64Array = new Float64Array(1024);
  values: Float64Array = new Float64Array(1024);
  count = 0;
  /** As putDeltas, from 0 on, and putValueCodes write them, where they were packed before: they are written as they are. */
  packedIds: Uint8Array | undefined;
  packedTimes: Uint8Array | undefined;
  packedValues: Uint8Array | undefined;

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
  if (columns.packedIds !== undefined) dst.raw(columns.packedIds);
  else dst.length = putDeltas(dst.bytes, dst.length, columns.ids, 0, count, 0);
  if (columns.packedTimes !== undefined) dst.raw(columns.packedTimes);
  else dst.length = putDeltas(dst.bytes, dst.length, columns.timestampsMs, 0, count, 0);
  if (columns.packedValues !== undefined) dst.raw(columns.packedValues);
  else dst.length = putValueCodes(dst.bytes, dst.length, columns.values, 0, count);
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
  readDefinitions(reader, define);
  const count = reader.varint();
  // Three bytes at least for each sample.
  if (count > SAMPLES_MAX || count * 3 > reader.remaining) {
    throw new AppError('bad_data', `${count} samples do not fit ${reader.remaining} bytes`);
  }
  into.resize(count);
  into.count = count;
  const { bytes, end } = reader;
  const timesAt = readDeltas(bytes, reader.position, end, into.ids, 0, count, 0, 0, ID_MAX);
  const valuesAt = readDeltas(bytes, timesAt, end, into.timestampsMs, 0, count, 0, -TIMES_MAX, TIMES_MAX);
  reader.position = readValueCodes(bytes, valuesAt, end, into.values, 0, count);
  if (reader.remaining !== 0) throw new AppError('bad_data', `${reader.remaining} bytes behind the samples`);
}

function readDefinitions(reader: ByteReader, define: DefinitionVisitor): void {
  for (let left = reader.varint(); left > 0; left--) {
    const id = reader.varint();
    const partition = reader.varint();
    const labelBytes = reader.varint();
    const start = reader.position;
    reader.skip(labelBytes);
    define(checkId(id), partition, reader.bytes, start, start + labelBytes);
  }
}

/** Appends an extras record's payload, as encodeSamples. `extras.references` are series ids. */
export function encodeExtras(
  dst: ByteWriter,
  tenant: string,
  definitionCount: number,
  definitions: Uint8Array,
  definitionBytes: number,
  extras: Extras,
): void {
  const { count, references, timestampsMs, kinds, starts, ends, bytes } = extras;
  dst.string(tenant);
  dst.varint(definitionCount);
  dst.raw(definitions, 0, definitionBytes);
  dst.varint(count);
  dst.reserve(count * 2 * DELTA_BYTES_MAX);
  const timesAt = putDeltas(dst.bytes, dst.length, references, 0, count, 0);
  dst.length = putDeltas(dst.bytes, timesAt, timestampsMs, 0, count, 0);
  dst.raw(kinds, 0, count);
  for (let i = 0; i < count; i++) dst.varint(ends[i]! - starts[i]!);
  for (let i = 0; i < count; i++) dst.raw(bytes, starts[i], ends[i]);
}

/**
 * Reads an extras record's payload behind its tenant: definitions to the visitor, extras into `into`, which is emptied first.
 *
 * @throws AppError `bad_data` when it breaks a rule of the format; contents are not looked into.
 */
export function decodeExtras(reader: ByteReader, define: DefinitionVisitor, into: ExtraColumns): void {
  into.reset();
  readDefinitions(reader, define);
  const count = reader.varint();
  // Four bytes at least for each.
  if (count > SAMPLES_MAX || count * 4 > reader.remaining) {
    throw new AppError('bad_data', `${count} extras do not fit ${reader.remaining} bytes`);
  }
  const ids = new Uint32Array(count);
  const timestampsMs = new Float64Array(count);
  const { bytes, end } = reader;
  const timesAt = readDeltas(bytes, reader.position, end, ids, 0, count, 0, 0, ID_MAX);
  reader.position = readDeltas(bytes, timesAt, end, timestampsMs, 0, count, 0, -TIMES_MAX, TIMES_MAX);
  const kinds = reader.raw(count);
  const lengths = Uint32Array.from({ length: count }, () => reader.varint());
  for (let i = 0; i < count; i++) {
    const start = reader.position;
    reader.skip(lengths[i]!);
    into.addRaw(ids[i]!, timestampsMs[i]!, kinds[i]!, bytes, start, reader.position);
  }
  if (reader.remaining !== 0) throw new AppError('bad_data', `${reader.remaining} bytes behind the extras`);
}

function checkId(id: number): number {
  if (id < 0 || id > ID_MAX) throw new AppError('bad_data', `series id ${id} is outside 0 … 2^32 - 2`);
  return id;
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

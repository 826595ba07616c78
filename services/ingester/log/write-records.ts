// Numbered writes in the ingester's log, as bytes (lib/tsdb/docs/format/log-records.md, type 13): the samples and extras of a write with
// its place among those of its distributor, in one record, so that neither is there without the other; and what is held in all.
import { ByteReader, type ByteWriter } from '../../lib/core/bytes.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { WriteSet } from '../../lib/model/write-set.ts';
import { decodeHeldWrites, encodeHeldWrites, isOrigin } from '../../lib/wire/append/held-writes.ts';
import type { HeldTable, WriteSections } from '../writes/held-table.ts';

export const RECORD_WRITES = 13;

const KIND_WRITE = 0;
const KIND_HELD = 1;
const FLAG_RECOVERING = 1;
const ORIGIN_BYTES = 16;
const PARTITIONS_MAX = 65_536;

/** A write as the log has it; the payloads are in the record's bytes. */
export interface LoggedWrite extends WriteSections {
  /** As of a samples record, tenant first. */
  readonly samples: ByteReader;
  /** As of an extras record, tenant first; undefined when there are none. */
  readonly extras: ByteReader | undefined;
}

/** What is held, as the log has it. */
export interface LoggedHeld {
  readonly writes: WriteSet;
  readonly isRecovering: boolean;
}

/** Appends what stands in front of the payloads. */
export function putWriteHead(dst: ByteWriter, { origin, write, partitions, steps }: WriteSections): void {
  dst.u8(KIND_WRITE);
  for (let i = 0; i < ORIGIN_BYTES; i++) dst.u8(origin.charCodeAt(i));
  dst.varint(write);
  dst.varint(partitions.length);
  let previous = 0;
  for (let i = 0; i < partitions.length; i++) {
    dst.varint(partitions[i]! - previous);
    dst.varint(steps[i]!);
    previous = partitions[i]!;
  }
}

/** Appends the payload of samples, which `put` writes, behind its length. */
export function putSamplesPayload(dst: ByteWriter, put: () => void): void {
  const at = dst.length;
  dst.u32(0);
  put();
  dst.view.setUint32(at, dst.length - at - 4, true);
}

export function encodeHeld(dst: ByteWriter, { held, isRecovering }: HeldTable): void {
  dst.u8(KIND_HELD);
  dst.u8(isRecovering ? FLAG_RECOVERING : 0);
  encodeHeldWrites(dst, held);
}

/** @throws AppError `bad_data` when it breaks a rule of the format; the payloads are not looked into. */
export function decodeWriteRecord(bytes: Uint8Array, start: number, end: number): LoggedWrite | LoggedHeld {
  const reader = new ByteReader(bytes, start, end);
  const kind = reader.u8();
  if (kind === KIND_HELD) {
    const isRecovering = (reader.u8() & FLAG_RECOVERING) !== 0;
    return { writes: decodeHeldWrites(bytes, reader.position, end), isRecovering };
  }
  if (kind !== KIND_WRITE) throw new AppError('bad_data', `a write record of kind ${kind}`);
  const sections = readSections(reader);
  const samplesBytes = reader.u32();
  const samplesAt = reader.position;
  reader.raw(samplesBytes);
  const extrasAt = reader.position;
  return {
    ...sections,
    samples: new ByteReader(bytes, samplesAt, extrasAt),
    extras: extrasAt < end ? new ByteReader(bytes, extrasAt, end) : undefined,
  };
}

function readSections(reader: ByteReader): WriteSections {
  const at = reader.position;
  reader.raw(ORIGIN_BYTES);
  const { bytes } = reader;
  const origin = Buffer.from(bytes.buffer, bytes.byteOffset + at, ORIGIN_BYTES).toString('latin1');
  const write = reader.varint();
  const count = reader.varint();
  if (!isOrigin(origin) || count > PARTITIONS_MAX) {
    throw new AppError('bad_data', `a write of origin ${JSON.stringify(origin)} with ${count} sections`);
  }
  const partitions: number[] = [];
  const steps: number[] = [];
  let partition = 0;
  for (let i = 0; i < count; i++) {
    const gap = reader.varint();
    partition += gap;
    if ((i > 0 && gap === 0) || partition >= PARTITIONS_MAX) {
      throw new AppError('bad_data', `a write with partition ${partition} out of order or range`);
    }
    partitions.push(partition);
    steps.push(checkStep(reader.varint(), write));
  }
  return { origin, write, partitions, steps };
}

/** @throws AppError `bad_data` when it would lead before the first write. */
export function checkStep(step: number, write: number): number {
  if (step >= 1 && step <= write) return step;
  throw new AppError(
    'bad_data',
    `a step of ${step} to write ${write}; it is 1 or more, and at most the number`,
  );
}

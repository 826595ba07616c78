// The checkpoint: what deleted log segments held and the remaining ones need, above all the labels of living series.
// Written beside the log while appends go on, visible whole or not at all (lib/tsdb/docs/format/log-records.md).
import path from 'node:path';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { type Disk, type DiskFile, errorCodeOf } from '../../lib/core/disk.ts';
import { failpoint } from '../../lib/core/failpoint.ts';
import { ExtraColumns } from '../../lib/model/extra-columns.ts';
import { RecordFileWriter } from '../../lib/tsdb/log/record-file.ts';
import {
  type RecordVisitor,
  type ReplayDeps,
  type ReplayReport,
  replayFile,
} from '../../lib/tsdb/log/replay.ts';
import type { MetricMetadata } from '../../lib/wire/contracts.ts';
import type { Tenant, Tenants } from '../tenants.ts';
import type { HeldTable } from '../writes/held-table.ts';
import { encodeDelete, RECORD_DELETE } from './delete-records.ts';
import {
  encodeExtras,
  encodeMetadata,
  encodeSamples,
  encodeState,
  putLogDefinition,
  RECORD_END,
  RECORD_EXTRAS,
  RECORD_METADATA,
  RECORD_SAMPLES,
  RECORD_STATE,
  RecordColumns,
} from './log-records.ts';
import { encodeHeld, RECORD_WRITES } from './write-records.ts';

export const CHECKPOINT_NAME = 'checkpoint';
/** Definitions go to the disk in records of about this size; other work gets its turn after each. */
const RECORD_BYTES_TARGET = 256 * 1024;
const METADATA_PER_RECORD = 256;
const START_TIMES_PER_RECORD = 8192;

/**
 * Writes the checkpoint of all tenants in place of the one before.
 *
 * @param segment  Log segment that is being written: what comes after this call's start is in it or behind.
 * @throws the disk's errors as they come; the old checkpoint stays then.
 */
export async function writeCheckpoint(
  folder: string,
  tenants: Tenants,
  segment: number,
  disk: Disk,
  held?: HeldTable,
): Promise<void> {
  const temporary = path.join(folder, `${CHECKPOINT_NAME}.tmp`);
  failpoint('checkpoint-before');
  const file = await disk.open(temporary, 'create');
  try {
    const writer = new RecordFileWriter(file);
    if (held?.isKnown === true) await writer.record(RECORD_WRITES, heldRecord(held));
    for (const tenant of [...tenants.all()]) await writeTenant(writer, tenant);
    await writeEnd(writer, segment);
  } finally {
    await file.close();
  }
  failpoint('checkpoint-rename-before');
  await disk.rename(temporary, path.join(folder, CHECKPOINT_NAME));
  await disk.syncFolder(folder);
  failpoint('checkpoint-rename-after');
}

/** Reads the checkpoint into the visitor, if there is one. Damaged records are set aside and counted in the report. */
export async function readCheckpoint(
  folder: string,
  visit: RecordVisitor,
  report: ReplayReport,
  deps: ReplayDeps,
): Promise<void> {
  await deps.disk.remove(path.join(folder, `${CHECKPOINT_NAME}.tmp`));
  let file: DiskFile;
  try {
    file = await deps.disk.open(path.join(folder, CHECKPOINT_NAME), 'read');
  } catch (caught) {
    if (errorCodeOf(caught) === 'ENOENT') return;
    throw caught;
  }
  try {
    const bytes = new Uint8Array(await file.size());
    const length = await file.read(bytes, 0, bytes.length, 0);
    await replayFile({ folder, segment: 0, isLast: false, bytes, length, file }, visit, report, deps);
  } finally {
    await file.close();
  }
}

/** What is held now, as a record. */
export function heldRecord(held: HeldTable): ByteWriter {
  const payload = new ByteWriter(1024);
  encodeHeld(payload, held);
  return payload;
}

async function writeTenant(writer: RecordFileWriter, tenant: Tenant): Promise<void> {
  await writeTenantState(writer, tenant, tenant.leftBeforeMs);
  await writeDefinitions(writer, tenant);
  await writeStartTimes(writer, tenant);
}

/** Closes a checkpoint or an image: what is before it is whole. */
export async function writeEnd(writer: RecordFileWriter, segment: number): Promise<void> {
  const payload = new ByteWriter(16);
  payload.varint(writer.records);
  payload.varint(segment);
  await writer.record(RECORD_END, payload);
  await writer.end();
}

/** Writes all of a tenant that is not in its head. */
export async function writeTenantState(
  writer: RecordFileWriter,
  tenant: Tenant,
  leftBeforeMs: number,
): Promise<void> {
  const payload = new ByteWriter(1024);
  encodeState(payload, {
    tenant: tenant.name,
    generationNext: tenant.generationNext,
    leftBeforeMs,
  });
  await writer.record(RECORD_STATE, payload);
  await writeMetadata(writer, tenant.name, tenant.metadata.list('', 0));
  for (const mark of tenant.deletes.marks) {
    payload.reset();
    encodeDelete(payload, mark);
    await writer.record(RECORD_DELETE, payload);
  }
}

async function writeMetadata(
  writer: RecordFileWriter,
  tenant: string,
  entries: MetricMetadata[],
): Promise<void> {
  const payload = new ByteWriter(1024);
  for (let at = 0; at < entries.length; at += METADATA_PER_RECORD) {
    payload.reset();
    encodeMetadata(payload, tenant, entries.slice(at, at + METADATA_PER_RECORD));
    await writer.record(RECORD_METADATA, payload);
  }
}

async function writeDefinitions(writer: RecordFileWriter, { name, head }: Tenant): Promise<void> {
  const definitions = new ByteWriter(RECORD_BYTES_TARGET * 2);
  const labels = new ByteWriter(1024);
  const payload = new ByteWriter(RECORD_BYTES_TARGET * 2);
  const none = new RecordColumns();
  let count = 0;
  const flush = async (): Promise<void> => {
    if (count === 0) return;
    payload.reset();
    encodeSamples(payload, name, count, definitions.bytes, definitions.length, none);
    await writer.record(RECORD_SAMPLES, payload);
    definitions.reset();
    count = 0;
  };
  // Ids that come while this runs are defined in segments that stay.
  for (let id = 0; id < head.idEnd; id++) {
    if (!head.has(id)) continue;
    labels.reset();
    head.index.writeLabels(id, labels);
    putLogDefinition(definitions, id, head.partitionOf(id), labels.bytes, 0, labels.length);
    count++;
    if (definitions.length >= RECORD_BYTES_TARGET) await flush();
  }
  await flush();
}

/** Start times hold on after the segment that they came in is deleted. */
async function writeStartTimes(writer: RecordFileWriter, { name, head }: Tenant): Promise<void> {
  const payload = new ByteWriter(64 * 1024);
  const all = new ExtraColumns();
  head.startTimes.forEach((series, timeMs, startMs) => {
    all.addStartTime(series, timeMs, startMs);
  });
  const part = new ExtraColumns();
  for (let from = 0; from < all.count; from += START_TIMES_PER_RECORD) {
    part.reset();
    for (let i = from; i < Math.min(all.count, from + START_TIMES_PER_RECORD); i++) {
      const { references, timestampsMs, kinds, bytes, starts, ends } = all;
      part.addRaw(references[i]!, timestampsMs[i]!, kinds[i]!, bytes, starts[i]!, ends[i]!);
    }
    payload.reset();
    encodeExtras(payload, name, 0, payload.bytes, 0, part);
    await writer.record(RECORD_EXTRAS, payload);
  }
}

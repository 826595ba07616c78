// Reads segments back after a start: whole records to a visitor, damaged pieces to quarantine, a torn tail cut off.
import path from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { type Disk, type DiskFile, errorCodeOf } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import { findRecord, type RecordView, SEGMENT_HEAD_BYTES, tryRecord, trySegmentSalt } from './record.ts';

/** Takes one record; the payload is valid during the call. An AppError `bad_data` makes it a poison record. */
export type RecordVisitor = (record: RecordView, bytes: Uint8Array, segment: number) => void;

/** What replay found; grows while it runs. */
export interface ReplayReport {
  records: number;
  bytes: number;
  /** Damaged pieces and poison records, copied aside. */
  quarantined: number;
  /** Bytes cut off the last segment. */
  truncatedBytes: number;
}

/** A damaged piece, for the log of the process. */
export interface Damage {
  readonly segment: number;
  readonly offset: number;
  readonly bytes: number;
  readonly reason: string;
}

export interface ReplayDeps {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Called for each damaged piece and for a cut. */
  readonly onDamage: (damage: Damage) => void;
  /** Called before each segment is read: its number, and those of the first and the last one to be read. */
  readonly onReplay?: (segment: number, first: number, last: number) => void;
}

/** Damaged pieces kept for people; what exceeds this is counted and logged only. */
const QUARANTINE_FILES_MAX = 256;
/** Other work, which is probes only, gets its turn after this much replay; a turn costs more than a millisecond. */
const SLICE_MS = 50;

const SEGMENT_NAME = /^(\d{12})\.log$/;

export function segmentName(segment: number): string {
  return `${String(segment).padStart(12, '0')}.log`;
}

/** A place between two records of the log. */
export interface LogPosition {
  readonly segment: number;
  /** Bytes of the segment before it. */
  readonly offset: number;
}

/** True when `a` is before `b`. */
export function isBefore(a: LogPosition, b: LogPosition): boolean {
  return a.segment < b.segment || (a.segment === b.segment && a.offset < b.offset);
}

/** Numbers of the segments in a folder, ascending. */
export async function listSegments(disk: Disk, folder: string): Promise<number[]> {
  const numbers: number[] = [];
  for (const name of await disk.list(folder)) {
    const match = SEGMENT_NAME.exec(name);
    if (match !== null) numbers.push(Number(match[1]));
  }
  return numbers.sort((a, b) => a - b);
}

/**
 * Replays the segments of a folder in order; memory is that of the largest segment.
 *
 * @param from  Records before it are not visited, segments before it not read.
 * @throws errors of the disk as they come; nothing was deleted then.
 */
export async function replaySegments(
  folder: string,
  visit: RecordVisitor,
  report: ReplayReport,
  deps: ReplayDeps,
  from: LogPosition = { segment: 0, offset: 0 },
): Promise<void> {
  const segments = (await listSegments(deps.disk, folder)).filter((segment) => segment >= from.segment);
  let buffer = new Uint8Array(0);
  for (const segment of segments) {
    const last = segments[segments.length - 1]!;
    const isLast = segment === last;
    deps.onReplay?.(segment, segments[0]!, last);
    const file = await deps.disk.open(path.join(folder, segmentName(segment)), 'write');
    try {
      const size = await file.size();
      if (size > buffer.length) buffer = new Uint8Array(size);
      const length = await file.read(buffer, 0, size, 0);
      const offset = segment === from.segment ? from.offset : 0;
      await replayFile({ folder, segment, isLast, bytes: buffer, length, file, offset }, visit, report, deps);
    } finally {
      await file.close();
    }
  }
}

/** A segment, or a file of the same format, in memory. */
export interface LoadedSegment {
  readonly folder: string;
  readonly segment: number;
  readonly isLast: boolean;
  readonly bytes: Uint8Array;
  /** Bytes of the segment in `bytes`. */
  readonly length: number;
  readonly file: DiskFile;
  /** A record begins here: what is before it is not read. Default: the first one. */
  readonly offset?: number;
}

/** Replays one file. */
export async function replayFile(
  loaded: LoadedSegment,
  visit: RecordVisitor,
  report: ReplayReport,
  deps: ReplayDeps,
): Promise<void> {
  const { bytes, length, segment } = loaded;
  // What an earlier start cut off at its head.
  if (length === 0) return;
  const salt = trySegmentSalt(bytes, length, segment);
  if (salt === undefined) {
    await giveUpRest(loaded, 0, report, deps, 'segment head is damaged');
    return;
  }
  let checksumBudget = length * 4;
  let at = Math.max(SEGMENT_HEAD_BYTES, loaded.offset ?? 0);
  let sliceEndsMs = deps.clock.monotonicMs() + SLICE_MS;
  while (at < length) {
    const record = tryRecord(bytes, at, length, salt);
    if (record === undefined) {
      const next = findRecord(bytes, at + 1, length, salt, checksumBudget);
      checksumBudget -= next - at;
      if (next >= length) {
        await giveUpRest(loaded, at, report, deps, 'no whole record follows');
        return;
      }
      await quarantine(loaded, at, next, report, deps, 'damaged record');
      at = next;
      continue;
    }
    try {
      visit(record, bytes, segment);
      report.records++;
    } catch (caught) {
      if (!(caught instanceof AppError) || caught.code !== 'bad_data') throw caught;
      await quarantine(loaded, at, record.end, report, deps, `poison record: ${caught.message}`);
    }
    report.bytes += record.end - at;
    at = record.end;
    if (deps.clock.monotonicMs() >= sliceEndsMs) {
      await deps.clock.sleep(0);
      sliceEndsMs = deps.clock.monotonicMs() + SLICE_MS;
    }
  }
}

/** Nothing readable from `at` on: cut in the last segment, else quarantine. */
async function giveUpRest(
  loaded: LoadedSegment,
  at: number,
  report: ReplayReport,
  deps: ReplayDeps,
  reason: string,
): Promise<void> {
  const { segment, isLast, length, file } = loaded;
  if (!isLast) {
    await quarantine(loaded, at, length, report, deps, reason);
    return;
  }
  await file.truncate(at);
  await file.sync();
  report.truncatedBytes += length - at;
  deps.onDamage({ segment, offset: at, bytes: length - at, reason: `torn write cut off: ${reason}` });
}

async function quarantine(
  loaded: LoadedSegment,
  from: number,
  to: number,
  report: ReplayReport,
  { disk, onDamage }: ReplayDeps,
  reason: string,
): Promise<void> {
  const { folder, segment, bytes } = loaded;
  report.quarantined++;
  onDamage({ segment, offset: from, bytes: to - from, reason });
  const aside = path.join(folder, 'quarantine');
  try {
    await disk.makeFolder(aside);
    if ((await disk.list(aside)).length >= QUARANTINE_FILES_MAX) return;
    const file = await disk.open(path.join(aside, `${segment}-${from}.bin`), 'create');
    try {
      await file.write(bytes, from, to, 0);
    } finally {
      await file.close();
    }
  } catch (caught) {
    // A full disk must not keep the process from starting: the copy is for people, and the segment still has the bytes.
    if (errorCodeOf(caught) !== 'ENOSPC') throw caught;
  }
}

// Reads the records of a segment that is there for good or still being written: for whoever wants what was logged again. Replay, which
// repairs, is elsewhere (replay.ts).
import path from 'node:path';
import { type Disk, errorCodeOf } from '../../core/disk.ts';
import { findRecord, type RecordView, SEGMENT_HEAD_BYTES, tryRecord, trySegmentSalt } from './record.ts';
import { segmentName } from './replay.ts';

/** A segment in memory. */
export interface SegmentBytes {
  readonly segment: number;
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** The segment as it is on disk now; undefined when it was deleted. */
export async function readSegment(
  disk: Disk,
  folder: string,
  segment: number,
): Promise<SegmentBytes | undefined> {
  try {
    const file = await disk.open(path.join(folder, segmentName(segment)), 'read');
    try {
      const bytes = new Uint8Array(await file.size());
      return { segment, bytes, length: await file.read(bytes, 0, bytes.length, 0) };
    } finally {
      await file.close();
    }
  } catch (caught) {
    if (errorCodeOf(caught) === 'ENOENT') return undefined;
    throw caught;
  }
}

/**
 * Whole records, in order. What is damaged is stepped over; so is a record that is being written at the end.
 *
 * @param onDamage  Told of each piece that is no whole record, from and to which byte.
 */
export function* recordsOf(
  { segment, bytes, length }: SegmentBytes,
  onDamage: (from: number, to: number) => void,
): Generator<RecordView> {
  const salt = trySegmentSalt(bytes, length, segment);
  if (salt === undefined) {
    onDamage(0, length);
    return;
  }
  let checksumBudget = length * 4;
  for (let at = SEGMENT_HEAD_BYTES; at < length; ) {
    const record = tryRecord(bytes, at, length, salt);
    if (record === undefined) {
      const next = findRecord(bytes, at + 1, length, salt, checksumBudget);
      checksumBudget -= next - at;
      onDamage(at, next);
      at = next;
      continue;
    }
    yield record;
    at = record.end;
  }
}

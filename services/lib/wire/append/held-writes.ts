// Codec of docs/held-writes.md: sets of writes as replicas tell each other, and as the ingester's log keeps them.
import { ByteReader, type ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { WriteSet } from '../../model/write-set.ts';

const VERSION = 1;
const ORIGIN_BYTES = 16;
/** Distributor processes whose writes an ingester tells apart: those of several hours, restarts included. */
export const ORIGINS_MAX = 4096;
/** Intervals of one origin and partition; each is a time in which a replica was passed over. */
export const INTERVALS_MAX = 64;
const PARTITIONS_MAX = 65_536;

export function isOrigin(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text);
}

/** Appends the set, which has at most ORIGINS_MAX origins of at most INTERVALS_MAX intervals each. */
export function encodeHeldWrites(dst: ByteWriter, set: WriteSet): void {
  const partitionsOf = new Map<string, number>();
  set.forEach((origin) => {
    partitionsOf.set(origin, (partitionsOf.get(origin) ?? 0) + 1);
  });
  dst.u8(VERSION);
  dst.varint(partitionsOf.size);
  let current = '';
  let previous = 0;
  set.forEach((origin, partition, intervals) => {
    if (origin !== current) {
      for (let i = 0; i < ORIGIN_BYTES; i++) dst.u8(origin.charCodeAt(i));
      dst.varint(partitionsOf.get(origin)!);
      current = origin;
      previous = 0;
    }
    dst.varint(partition - previous);
    previous = partition;
    dst.varint(intervals.length / 2);
    let end = 0;
    for (let i = 0; i < intervals.length; i += 2) {
      dst.varint(intervals[i]! - end);
      dst.varint(intervals[i + 1]! - intervals[i]!);
      end = intervals[i + 1]!;
    }
  });
}

/** @throws AppError `bad_data` when the bytes break a rule of the format. */
export function decodeHeldWrites(bytes: Uint8Array, start = 0, end: number = bytes.length): WriteSet {
  const reader = new ByteReader(bytes, start, end);
  const version = reader.u8();
  if (version !== VERSION) throw new AppError('bad_data', `held writes of unknown version ${version}`);
  const set = new WriteSet();
  const origins = reader.varint();
  if (origins > ORIGINS_MAX) throw new AppError('bad_data', `held writes of ${origins} origins`);
  for (let left = origins; left > 0; left--) {
    const at = reader.position;
    reader.raw(ORIGIN_BYTES);
    const origin = Buffer.from(bytes.buffer, bytes.byteOffset + at, ORIGIN_BYTES).toString('latin1');
    if (!isOrigin(origin)) throw new AppError('bad_data', `held writes: origin ${JSON.stringify(origin)}`);
    readPartitions(reader, origin, set);
  }
  if (set.originCount !== origins)
    throw new AppError('bad_data', 'held writes: an origin that is empty or stands twice');
  if (reader.remaining !== 0) throw new AppError('bad_data', `${reader.remaining} bytes behind held writes`);
  return set;
}

function readPartitions(reader: ByteReader, origin: string, set: WriteSet): void {
  const partitions = reader.varint();
  let partition = 0;
  for (let i = 0; i < partitions; i++) {
    const step = reader.varint();
    partition += step;
    if ((i > 0 && step === 0) || partition >= PARTITIONS_MAX) {
      throw new AppError('bad_data', `held writes: partition ${partition} is out of order or range`);
    }
    const intervals = reader.varint();
    if (intervals === 0 || intervals > INTERVALS_MAX) {
      throw new AppError('bad_data', `held writes: ${intervals} intervals of partition ${partition}`);
    }
    let end = 0;
    for (let j = 0; j < intervals; j++) {
      const gap = reader.varint();
      const length = reader.varint();
      const begin = end + gap;
      end = begin + length;
      if (length === 0 || (j > 0 && gap === 0) || end > Number.MAX_SAFE_INTEGER) {
        throw new AppError('bad_data', `held writes: an interval of ${length} after ${gap}`);
      }
      set.add(origin, partition, begin, end);
    }
  }
}

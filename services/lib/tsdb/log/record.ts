// Bytes of log records and segment heads (docs/format/log.md): writing them, checking them, finding the next whole one
// behind a damaged place. No file is touched here.
import { crc32 } from 'node:zlib';
import type { ByteWriter } from '../../core/bytes.ts';

/** Bytes in front of a segment's first record: the head, twice, so that one damaged bit costs no record. */
export const SEGMENT_HEAD_BYTES = 32;
const HEAD_COPY_BYTES = 16;
/** Bytes of a record in front of its payload. */
export const RECORD_HEAD_BYTES = 24;
/** Largest payload of a record. */
export const RECORD_PAYLOAD_BYTES_MAX = 48 << 20;
/** Record types are 1 … 15; 0 is what a hole in a file reads as. */
export const RECORD_TYPE_MAX = 15;

/** "TMLG" read as a little-endian word. */
const MAGIC = 0x474c4d54;
const VERSION = 1;
const TWO_32 = 4_294_967_296;

/** A record found whole: its fields, and its payload in bytes[start, end) of the segment that was read. */
export interface RecordView {
  readonly type: number;
  readonly writer: number;
  readonly sequence: number;
  readonly start: number;
  readonly end: number;
}

/** The head of segment `segment`, whose records are checked with `salt`. */
export function encodeSegmentHead(dst: ByteWriter, segment: number, salt: number): void {
  for (let copy = 0; copy < 2; copy++) {
    const at = dst.length;
    dst.u32(MAGIC);
    dst.u16(VERSION);
    dst.u16(0);
    dst.u32(salt);
    dst.u32(crc32(dst.bytes.subarray(at, at + 12), segment));
  }
}

/** The salt of a segment, or undefined when both copies of its head are damaged or another segment's. */
export function trySegmentSalt(bytes: Uint8Array, length: number, segment: number): number | undefined {
  for (let at = 0; at < SEGMENT_HEAD_BYTES && at + HEAD_COPY_BYTES <= length; at += HEAD_COPY_BYTES) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, HEAD_COPY_BYTES);
    if (view.getUint32(0, true) !== MAGIC || view.getUint16(4, true) !== VERSION) continue;
    if (view.getUint32(12, true) === crc32(bytes.subarray(at, at + 12), segment))
      return view.getUint32(8, true);
  }
  return undefined;
}

/** Appends a record with the payload in payload[start, end). */
export function encodeRecord(
  dst: ByteWriter,
  salt: number,
  type: number,
  writer: number,
  sequence: number,
  payload: Uint8Array,
  start: number,
  end: number,
): void {
  const at = dst.length;
  dst.reserve(RECORD_HEAD_BYTES + end - start);
  dst.u32(end - start);
  dst.u32(0);
  dst.u32(type);
  dst.u32(writer);
  dst.u32(sequence >>> 0);
  dst.u32(Math.floor(sequence / TWO_32));
  dst.raw(payload, start, end);
  dst.view.setUint32(at + 4, checksum(dst.bytes, at, dst.length, salt), true);
}

/** CRC-32 of length and then of all behind the checksum, continued from the salt. */
function checksum(bytes: Uint8Array, at: number, end: number, salt: number): number {
  return crc32(bytes.subarray(at + 8, end), crc32(bytes.subarray(at, at + 4), salt));
}

/** The record at bytes[at, …end), or undefined when what stands there is not a whole record. */
export function tryRecord(bytes: Uint8Array, at: number, end: number, salt: number): RecordView | undefined {
  if (!looksLikeRecord(bytes, at, end)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  const start = at + RECORD_HEAD_BYTES;
  const stop = start + view.getUint32(0, true);
  if (view.getUint32(4, true) !== checksum(bytes, at, stop, salt)) return undefined;
  return {
    type: view.getUint32(8, true),
    writer: view.getUint32(12, true),
    sequence: view.getUint32(16, true) + view.getUint32(20, true) * TWO_32,
    start,
    end: stop,
  };
}

/** Cheap tests before a checksum is worth its cost. */
function looksLikeRecord(bytes: Uint8Array, at: number, end: number): boolean {
  if (at + RECORD_HEAD_BYTES > end) return false;
  const type = bytes[at + 8]!;
  if (type === 0 || type > RECORD_TYPE_MAX) return false;
  if ((bytes[at + 9]! | bytes[at + 10]! | bytes[at + 11]!) !== 0) return false;
  const payload = bytes[at]! + bytes[at + 1]! * 256 + bytes[at + 2]! * 65_536 + bytes[at + 3]! * 16_777_216;
  return payload <= RECORD_PAYLOAD_BYTES_MAX && at + RECORD_HEAD_BYTES + payload <= end;
}

/**
 * Offset of the first whole record in bytes[from, end), or `end`. The salt keeps payloads from passing as records.
 *
 * Cost: one look per byte; checksums of at most `checksumBytesMax` bytes in all, so that no input makes it quadratic.
 */
export function findRecord(
  bytes: Uint8Array,
  from: number,
  end: number,
  salt: number,
  checksumBytesMax: number,
): number {
  let left = checksumBytesMax;
  for (let at = from; at + RECORD_HEAD_BYTES <= end; at++) {
    if (!looksLikeRecord(bytes, at, end)) continue;
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, 4);
    left -= RECORD_HEAD_BYTES + view.getUint32(0, true);
    if (left < 0) return end;
    if (tryRecord(bytes, at, end, salt) !== undefined) return at;
  }
  return end;
}

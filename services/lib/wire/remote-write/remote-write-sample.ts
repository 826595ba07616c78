// The Sample message of both versions of remote write; 2.0 has a start timestamp besides value and timestamp.

import { type ProtobufCursor, WIRE_FIXED64, WIRE_VARINT } from '../../core/protobuf-cursor.ts';
import type { RemoteWriteColumns } from './remote-write-columns.ts';

const TAG_VALUE = (1 << 3) | WIRE_FIXED64;
const TAG_TIMESTAMP = (2 << 3) | WIRE_VARINT;
const TAG_START_TIMESTAMP = (3 << 3) | WIRE_VARINT;

/** Bytes of a sample of our times: value tag and 8 bytes, timestamp tag and 6 bytes of varint (until the year 2109). */
export const USUAL_SAMPLE_BYTES = 16;
const TWO_28 = 268435456;
/** The bits that say "goes on" of four bytes of a varint. */
const CONTINUED_4 = 0x80808080;

/**
 * Hot! Appends the Sample in [cursor.at, end) to the columns, which have room. The value moves as two words, never as a
 * number. `limit` bounds what may be read afterwards.
 *
 * @returns The start timestamp, Unix milliseconds; 0 when there is none.
 */
export function putSample(
  cursor: ProtobufCursor,
  end: number,
  limit: number,
  columns: RemoteWriteColumns,
): number {
  const { bytes, view, at } = cursor;
  if (end - at === USUAL_SAMPLE_BYTES && tryPutUsualSample(bytes, view, at, columns)) return 0;
  const startMs = putUnusualSample(cursor, end, columns);
  cursor.end = limit;
  return startMs;
}

/** Hot! The same for the USUAL_SAMPLE_BYTES at `at`; false, with nothing changed, when they are not a usual sample. */
export function tryPutUsualSample(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  columns: RemoteWriteColumns,
): boolean {
  if (bytes[at] !== TAG_VALUE || bytes[at + 9] !== TAG_TIMESTAMP || bytes[at + 15]! >= 128) return false;
  // Five bytes of the varint that go on, and one that ends it.
  const low = view.getInt32(at + 10, true);
  const b4 = bytes[at + 14]!;
  if ((low & CONTINUED_4) !== (CONTINUED_4 | 0) || b4 < 128) return false;
  const index = columns.count;
  const low28 =
    (low & 0x7f) | ((low >>> 1) & (0x7f << 7)) | ((low >>> 2) & (0x7f << 14)) | ((low >>> 3) & (0x7f << 21));
  columns.valueWords[2 * index] = view.getInt32(at + 1, true);
  columns.valueWords[2 * index + 1] = view.getInt32(at + 5, true);
  columns.timestampsMs[index] = low28 + ((b4 & 127) | (bytes[at + 15]! << 7)) * TWO_28;
  columns.count = index + 1;
  return true;
}

function putUnusualSample(cursor: ProtobufCursor, end: number, columns: RemoteWriteColumns): number {
  const index = columns.count;
  let low = 0;
  let high = 0;
  let timestampMs = 0;
  let startMs = 0;
  cursor.end = end;
  while (cursor.at < end) {
    const tag = cursor.tag();
    if (tag === TAG_VALUE) {
      const at = cursor.fixed64();
      low = cursor.view.getUint32(at, true);
      high = cursor.view.getUint32(at + 4, true);
    } else if (tag === TAG_TIMESTAMP) timestampMs = cursor.int64();
    else if (tag === TAG_START_TIMESTAMP) startMs = cursor.int64();
    else if (tag >>> 3 <= 2) throw cursor.wrongWireType(tag, 'Sample.value or timestamp');
    else cursor.skip(tag);
  }
  columns.valueWords[2 * index] = low;
  columns.valueWords[2 * index + 1] = high;
  columns.timestampsMs[index] = timestampMs;
  columns.count = index + 1;
  return startMs;
}

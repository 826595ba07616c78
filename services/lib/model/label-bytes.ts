// Canonical label bytes (labels.ts) checked and compared without making strings of them.
import { ByteReader, decodeUtf8 } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';

/**
 * Checks that bytes[start, end) are a label set.
 *
 * @throws AppError `bad_data` on truncation, unsorted or repeated names, or empty values.
 */
export function checkLabelBytes(bytes: Uint8Array, start: number, end: number): void {
  const reader = new ByteReader(bytes, start, end);
  let previousAt = start;
  let previousEnd = start;
  let isFirst = true;
  while (reader.remaining > 0) {
    const nameBytes = reader.varint();
    const nameAt = reader.position;
    reader.skip(nameBytes);
    const valueBytes = reader.varint();
    reader.skip(valueBytes);
    const nameEnd = nameAt + nameBytes;
    if (
      valueBytes === 0 ||
      (!isFirst && compareText(bytes, previousAt, previousEnd, bytes, nameAt, nameEnd) >= 0)
    ) {
      const name = JSON.stringify(decodeUtf8(bytes, nameAt, nameEnd));
      throw new AppError('bad_data', `label bytes are not canonical at label ${name}`);
    }
    previousAt = nameAt;
    previousEnd = nameEnd;
    isFirst = false;
  }
}

/**
 * Prometheus' label order of two label sets given as canonical bytes: pair by pair, names before values. Bytes that were not
 * checked have some order.
 */
export function compareLabelBytes(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  let i = skipShared(a, aStart, aEnd, b, bStart, bEnd);
  let j = bStart + (i - aStart);
  while (i < aEnd && j < bEnd) {
    const aLength = lengthAt(a, i);
    const bLength = lengthAt(b, j);
    i += prefixBytes(aLength);
    j += prefixBytes(bLength);
    const order = compareText(a, i, i + aLength, b, j, j + bLength);
    if (order !== 0) return order;
    i += aLength;
    j += bLength;
  }
  return aEnd - i - (bEnd - j);
}

/** Where in `a` the first string begins that is not equal in both; most of two neighbours' strings are. */
function skipShared(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  let i = aStart;
  const offset = bStart - aStart;
  while (i < aEnd && i + offset < bEnd) {
    const length = a[i]!;
    if (length > 127 || b[i + offset] !== length) return i;
    const end = Math.min(i + 1 + length, aEnd);
    for (let at = i + 1; at < end; at++) if (a[at] !== b[at + offset]) return i;
    i = end;
  }
  return i;
}

function compareText(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  const shared = Math.min(aEnd - aStart, bEnd - bStart);
  for (let i = 0; i < shared; i++) {
    const difference = a[aStart + i]! - b[bStart + i]!;
    if (difference !== 0) return difference;
  }
  return aEnd - aStart - (bEnd - bStart);
}

/** Length of the string whose varint stands at `at`; behind the end of the buffer bytes count as 0. */
function lengthAt(bytes: Uint8Array, at: number): number {
  let length = 0;
  let factor = 1;
  for (let i = at; ; i++) {
    const byte = bytes[i] ?? 0;
    length += (byte & 127) * factor;
    if (byte < 128) return length;
    factor *= 128;
  }
}

/** Bytes of a length as varint. Ours are written as short as possible. */
function prefixBytes(length: number): number {
  let bytes = 1;
  for (let rest = length; rest > 127; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

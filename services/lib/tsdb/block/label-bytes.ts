// Canonical label bytes (model/labels.ts) compared without decoding them.
import { AppError } from '../../core/errors.ts';
import { compareRanges } from './byte-ranges.ts';

/**
 * Checks that bytes[start, end) are pairs of strings, so that they can be compared; what the strings say is checked when
 * they are decoded.
 *
 * @throws AppError `bad_data` when they are not.
 */
export function checkLabelBytes(bytes: Uint8Array, start: number, end: number): void {
  let strings = 0;
  let at = start;
  while (at < end) {
    const length = lengthAt(bytes, at);
    const prefix = prefixBytes(length);
    // The last byte of the shortest varint is the first one below 128.
    if (!(bytes[at + prefix - 1]! < 128)) break;
    at += prefix + length;
    strings++;
  }
  if (at !== end || strings % 2 !== 0) {
    throw new AppError('bad_data', `label bytes at ${start} to ${end} are not pairs of strings`);
  }
}

/** Prometheus' label order of two label sets given as canonical bytes: pair by pair, names before values. */
export function compareLabelBytes(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  let i = aStart;
  let j = bStart;
  while (i < aEnd && j < bEnd) {
    const aLength = lengthAt(a, i);
    const bLength = lengthAt(b, j);
    i += prefixBytes(aLength);
    j += prefixBytes(bLength);
    const order = compareRanges(a, i, i + aLength, b, j, j + bLength);
    if (order !== 0) return order;
    i += aLength;
    j += bLength;
  }
  return aEnd - i - (bEnd - j);
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

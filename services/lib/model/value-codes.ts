// Columns of samples in as few bytes as varints allow, for the log and for what travels between processes. A value stands for
// itself, so that any run of a column is a run of its bytes; references and times are differences. Bit for bit, NaN payloads
// and -0 included. Layout: tsdb/docs/format/log-records.md ("1 samples").
import { putVarint, unzigzag, VARINT_BYTES_MAX, zigzag } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';

/** Longest value: its kind and eight raw bytes. A varint is shorter. */
export const VALUE_CODE_BYTES_MAX = 9;
/** Longest difference. */
export const DELTA_BYTES_MAX = VARINT_BYTES_MAX;

/** Values up to this many units take a varint; four times their zigzag code stays below 2^53. */
const UNITS_MAX = 2 ** 50;
const KIND_RAW = 3;
/** Units per 1 by kind: node-exporter's fractions are mostly hundredths (CPU seconds) or finer timer readings. */
const SCALE_1 = 100;
const SCALE_2 = 1_000_000;

/** Bits of a varint that are put together as a 32-bit integer. */
const INTEGER_BITS = 28;
const VARINT_BITS_MAX = 7 * VARINT_BYTES_MAX;

/**
 * Hot! Writes values[from, to) at `at`.
 *
 * @param dst  Has room for VALUE_CODE_BYTES_MAX a value.
 * @returns    Position behind the last one.
 */
export function putValueCodes(
  dst: Uint8Array,
  at: number,
  values: Float64Array,
  from: number,
  to: number,
): number {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
  let position = at;
  for (let i = from; i < to; i++) {
    const code = codeOf(values[i]!);
    if (code >= 0) {
      position = putVarint(dst, position, code);
      continue;
    }
    dst[position++] = KIND_RAW;
    position = putWord(dst, position, words[2 * i]!);
    position = putWord(dst, position, words[2 * i + 1]!);
  }
  return position;
}

/**
 * Hot! Reads values[from, to) from src[at, end).
 *
 * @returns Position behind the last one.
 * @throws AppError `bad_data` when the bytes end early or hold a varint of more than 8 bytes.
 */
export function readValueCodes(
  src: Uint8Array,
  at: number,
  end: number,
  values: Float64Array,
  from: number,
  to: number,
): number {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
  let position = at;
  for (let i = from; i < to; i++) {
    if (position >= end) throw endsEarly(position);
    let byte = src[position++]!;
    let code = byte & 127;
    for (let bits = 7; byte >= 128; bits += 7) {
      if (position >= end || bits === VARINT_BITS_MAX) throw endsEarly(position);
      byte = src[position++]!;
      if (bits < INTEGER_BITS) code |= (byte & 127) << bits;
      else code += (byte & 127) * 2 ** bits;
    }
    const kind = code & 3;
    if (kind === KIND_RAW) {
      if (end - position < 8) throw endsEarly(position);
      words[2 * i] = wordAt(src, position);
      words[2 * i + 1] = wordAt(src, position + 4);
      position += 8;
    } else {
      const units = code < 2 ** INTEGER_BITS ? unzigzag32(code >>> 2) : unzigzag(Math.floor(code / 4));
      values[i] = kind === 0 ? units : kind === 1 ? units / SCALE_1 : units / SCALE_2;
    }
  }
  return position;
}

/**
 * Writes column[from, to) at `at` as differences, the first one from `base`. Whole numbers within ±2^51.
 *
 * @param dst  Has room for DELTA_BYTES_MAX a number.
 * @returns    Position behind the last one.
 */
export function putDeltas(
  dst: Uint8Array,
  at: number,
  column: Uint32Array | Float64Array,
  from: number,
  to: number,
  base: number,
): number {
  // A loop for each: one that reads both kinds of columns makes an object of every number of the second.
  return column instanceof Float64Array
    ? putDeltasOfTimes(dst, at, column, from, to, base)
    : putDeltasOfIds(dst, at, column, from, to, base);
}

/** Hot! */
function putDeltasOfIds(
  dst: Uint8Array,
  at: number,
  column: Uint32Array,
  from: number,
  to: number,
  base: number,
): number {
  if (from >= to) return at;
  // Out of the column from the beginning: what is a whole number first and a double later is an object each time.
  let previous = column[from]!;
  let position = putDifference(dst, at, previous - base);
  for (let i = from + 1; i < to; i++) {
    const number = column[i]!;
    position = putDifference(dst, position, number - previous);
    previous = number;
  }
  return position;
}

/** Hot! */
function putDeltasOfTimes(
  dst: Uint8Array,
  at: number,
  column: Float64Array,
  from: number,
  to: number,
  base: number,
): number {
  if (from >= to) return at;
  // Out of the column from the beginning: what is a whole number first and a double later is an object each time.
  let previous = column[from]!;
  let position = putDifference(dst, at, previous - base);
  for (let i = from + 1; i < to; i++) {
    const number = column[i]!;
    position = putDifference(dst, position, number - previous);
    previous = number;
  }
  return position;
}

/** Hot! One byte for most: the same time again, the next id. Two for times of one scrape; which it is no branch can foresee. */
function putDifference(dst: Uint8Array, at: number, difference: number): number {
  if (difference < 8192 && difference >= -8192) {
    const small = difference | 0;
    const code = (small << 1) ^ (small >> 31);
    // 1 from 128 on.
    const more = (127 - code) >>> 31;
    dst[at] = code | (more << 7);
    dst[at + 1] = code >>> 7;
    return at + 1 + more;
  }
  return putVarint(dst, at, zigzag(difference));
}

/**
 * Hot! Reads column[from, to) from src[at, end).
 *
 * @param max  No number of the column may be above it, or below `min`.
 * @returns    Position behind the last one.
 * @throws AppError `bad_data` when the bytes end early, or a number is out of range.
 */
export function readDeltas(
  src: Uint8Array,
  at: number,
  end: number,
  column: Uint32Array | Float64Array,
  from: number,
  to: number,
  base: number,
  min: number,
  max: number,
): number {
  let position = at;
  let number = base;
  for (let i = from; i < to; i++) {
    if (position >= end) throw endsEarly(position);
    let byte = src[position++]!;
    let code = byte & 127;
    for (let bits = 7; byte >= 128; bits += 7) {
      if (position >= end || bits === VARINT_BITS_MAX) throw endsEarly(position);
      byte = src[position++]!;
      if (bits < INTEGER_BITS) code |= (byte & 127) << bits;
      else code += (byte & 127) * 2 ** bits;
    }
    number += code < 2 ** INTEGER_BITS ? unzigzag32(code) : unzigzag(code);
    if (!(number >= min && number <= max)) {
      throw new AppError('bad_data', `${number} at offset ${position} is outside ${min} … ${max}`);
    }
    column[i] = number;
  }
  return position;
}

/** For the reader of a column: it ends early, or in a varint of more than 8 bytes. */
function endsEarly(position: number): AppError {
  return new AppError(
    'bad_data',
    `a column of samples ends early, or in a varint of over 8 bytes, at ${position}`,
  );
}

/** The varint that stands for a value, or -1 when only its bits do. */
function codeOf(value: number): number {
  // Neither -0 nor NaN nor an infinity passes.
  if (!(value < UNITS_MAX / SCALE_2 && value > -UNITS_MAX / SCALE_2)) {
    return Math.abs(value) < UNITS_MAX && Math.trunc(value) === value ? zigzag(value) * 4 : -1;
  }
  const integer = value | 0;
  if (integer === value) {
    if (integer === 0) return Object.is(value, -0) ? -1 : 0;
    return zigzag(integer) * 4;
  }
  if (Math.trunc(value) === value) return zigzag(value) * 4;
  const hundredths = Math.round(value * SCALE_1);
  if (hundredths / SCALE_1 === value) return zigzag(hundredths) * 4 + 1;
  const millionths = Math.round(value * SCALE_2);
  if (millionths / SCALE_2 === value) return zigzag(millionths) * 4 + 2;
  return -1;
}

/** `unzigzag` of a code below 2^32. */
function unzigzag32(code: number): number {
  return (code >>> 1) ^ -(code & 1);
}

function putWord(bytes: Uint8Array, at: number, word: number): number {
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
  bytes[at + 2] = word >>> 16;
  bytes[at + 3] = word >>> 24;
  return at + 4;
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

// Sample values from bytes, correctly rounded, without a string for what exporters mostly write: up to 15 digits with a
// small exponent. There, mantissa and power of ten are both exact doubles, so one multiplication or division rounds once and
// rounds right (Clinger 1990, the fast path of every strtod). All else goes through Number(), which rounds right as well.
import { decodeUtf8 } from '../core/bytes.ts';
import { parseNonFinite } from '../model/number-format.ts';

/** Powers of ten that a double holds exactly. */
const EXACT_POWERS = new Float64Array(23);
for (let i = 0; i <= 22; i++) EXACT_POWERS[i] = Number(`1e${i}`);
const EXACT_POWER_MAX = 22;
/** 10^15 < 2^53: this many digits always make an exact integer. */
const EXACT_DIGITS_MAX = 15;
/** Longest number that is read; Go's shortest notation needs 24 characters. */
const NUMBER_BYTES_MAX = 512;

/** Why a text is no number; a constant string per reason keeps the hot path free of closures. */
export class NumberSyntaxError extends Error {
  constructor(text: string) {
    super(`${JSON.stringify(text)} is not a number`);
    this.name = 'NumberSyntaxError';
  }
}

/**
 * Parses bytes[start, end) as Go's strconv.ParseFloat does, hexadecimal and underscores excepted, as Prometheus excepts them.
 *
 * @throws NumberSyntaxError when it is malformed, or finite and out of range.
 *
 * Cost: O(n), no allocation for plain decimals of up to 15 digits.
 */
export function parseFloatBytes(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  const sign = at < end ? bytes[at]! : 0;
  if (sign === 45 || sign === 43) at++;
  let mantissa = 0;
  let digits = 0;
  let exponent = 0;
  let digit = 0;
  while (at < end && (digit = bytes[at]! - 48) >= 0 && digit <= 9) {
    mantissa = mantissa * 10 + digit;
    digits++;
    at++;
  }
  if (at < end && bytes[at] === 46) {
    at++;
    while (at < end && (digit = bytes[at]! - 48) >= 0 && digit <= 9) {
      mantissa = mantissa * 10 + digit;
      digits++;
      exponent--;
      at++;
    }
  }
  if (digits === 0 || digits > EXACT_DIGITS_MAX) return parseSlowly(bytes, start, end);
  if (at < end) {
    const written = readExponent(bytes, at, end);
    if (written > 999) return parseSlowly(bytes, start, end);
    exponent += written;
  }
  if (exponent > EXACT_POWER_MAX || exponent < -EXACT_POWER_MAX) return parseSlowly(bytes, start, end);
  const value =
    exponent === 0
      ? mantissa
      : exponent > 0
        ? mantissa * EXACT_POWERS[exponent]!
        : mantissa / EXACT_POWERS[-exponent]!;
  return sign === 45 ? -value : value;
}

/** The exponent that stands at `at` and reaches to `end`; over 999 when it is something else or longer. */
function readExponent(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  if ((bytes[at]! | 32) !== 101 || end - start > 5) return 1000;
  at++;
  const sign = at < end ? bytes[at]! : 0;
  if (sign === 45 || sign === 43) at++;
  if (at >= end) return 1000;
  let exponent = 0;
  for (; at < end; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) return 1000;
    exponent = exponent * 10 + digit;
  }
  return sign === 45 ? -exponent : exponent;
}

const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

function parseSlowly(bytes: Uint8Array, start: number, end: number): number {
  const text = decodeUtf8(bytes, start, Math.min(end, start + NUMBER_BYTES_MAX + 1));
  if (text.length > NUMBER_BYTES_MAX) throw new NumberSyntaxError(`${text.slice(0, 40)}…`);
  if (DECIMAL.test(text)) {
    const value = Number(text);
    if (!Number.isFinite(value)) throw new NumberSyntaxError(text);
    return value;
  }
  const special = parseNonFinite(text);
  if (special === undefined) throw new NumberSyntaxError(text);
  return special;
}

// Times of samples as text in bytes: what formatTimestamp writes, digit by digit, without a string for each of a grid.
import { formatTimestamp } from '../../lib/model/number-format.ts';

const ZERO = 48;
const POINT = 46;
/** Times below have seconds that an integer holds. */
const SECONDS_MAX = 0x7fffffff;

/**
 * Writes a time as formatTimestamp does.
 *
 * @param timeMs  Unix milliseconds, whole.
 * @returns       The position behind it; `at` where it needs more than `room` bytes.
 */
export function putTime(to: Uint8Array, at: number, room: number, timeMs: number): number {
  const seconds = Math.trunc(timeMs / 1000);
  if (!(timeMs >= 0 && seconds <= SECONDS_MAX)) return putText(to, at, room, formatTimestamp(timeMs));
  const digits = digitsOf(seconds);
  const rest = timeMs - seconds * 1000;
  if (digits + (rest === 0 ? 0 : 4) > room) return at;
  putDigits(to, at + digits, digits, seconds);
  if (rest === 0) return at + digits;
  to[at + digits] = POINT;
  putDigits(to, at + digits + 4, 3, rest);
  return at + digits + 4;
}

/** Writes ASCII. @returns The position behind it; `at` where it needs more than `room` bytes. */
function putText(to: Uint8Array, at: number, room: number, text: string): number {
  if (text.length > room) return at;
  for (let i = 0; i < text.length; i++) to[at + i] = text.charCodeAt(i);
  return at + text.length;
}

function digitsOf(value: number): number {
  let digits = 1;
  for (let bound = 10; digits < 10 && value >= bound; bound *= 10) digits++;
  return digits;
}

/** The last `digits` digits of a number, zeros before it, up to `end`. */
function putDigits(to: Uint8Array, end: number, digits: number, value: number): void {
  let left = value | 0;
  for (let i = 1; i <= digits; i++) {
    const tenth = (left / 10) | 0;
    to[end - i] = ZERO + left - tenth * 10;
    left = tenth;
  }
}

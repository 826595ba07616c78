// The shortest digits that give a double back, as String(value) finds them, but written as bytes and several times as fast
// for what most results are: values of 15 to 17 digits without an exponent. The rest is left to String().
//
// v·10^k is computed exactly, as a sum of two doubles, with k such that it has 17 digits before the point. All numbers
// nearer to it than half the distance of v's neighbours give v when they are read; the one with the most zeros at its end
// is the shortest, and there is at most one such that is nearest.

/** Below 1e-5 … 1e-6 and above, printing is String's: 10^k is exact up to k = 22 only. */
const MAGNITUDE_MIN = 1e-5;
const MAGNITUDE_MAX = 1e15;
/** Digits of v·10^k before its point. */
const DIGITS = 17;
const HALF_DIGITS = 1e8;
/** Zeros at the end that are looked for: those of the lower eight digits but one, so that all from ten digits on are written here. */
const ZEROS_MAX = 7;
/** Decisions nearer than this to a tie are String's. */
const DOUBT = 1e-6;
/** Splits a double into halves of 26 bits (Veltkamp). */
const SPLITTER = 134_217_729;
const LOG10_OF_2 = Math.log10(2);
const ZERO = 48;
const POINT = 46;
const MINUS = 45;

const POWERS = Float64Array.from({ length: 23 }, (_, k) => Number(`1e${k}`));

/** Room to take a double apart in: one per writer. */
export class DoubleParts {
  readonly value = new Float64Array(1);
  readonly words = new Uint32Array(this.value.buffer);
}

/**
 * Writes `value` at dst[at, …), where 25 bytes of room are.
 *
 * @returns  The position behind it, or `at` when String(value) must be asked.
 *
 * Cost: about 50 ns, no allocation.
 */
export function putShortest(dst: Uint8Array, at: number, value: number, parts: DoubleParts): number {
  const v = Math.abs(value);
  if (!(v >= MAGNITUDE_MIN && v < MAGNITUDE_MAX)) return at;
  parts.value[0] = v;
  const low = parts.words[0]!;
  const high = parts.words[1]!;
  // Below a power of two the neighbours are nearer on one side.
  if (low === 0 && (high & 0xfffff) === 0) return at;
  const exponent = (high >>> 20) - 1023;
  let k = DIGITS - 1 - Math.floor(exponent * LOG10_OF_2);
  if (v * POWERS[k]! >= 1e17) k--;
  const power = POWERS[k]!;

  // product + error is v·10^k, exactly (Dekker).
  const product = v * power;
  if (product < 1e16 || product >= 1e17) return at;
  const splitV = SPLITTER * v;
  const highV = splitV - (splitV - v);
  const lowV = v - highV;
  const splitP = SPLITTER * power;
  const highP = splitP - (splitP - power);
  const lowP = power - highP;
  const error = highV * highP - product + highV * lowP + lowV * highP + lowV * lowP;

  parts.words[0] = 0;
  parts.words[1] = (exponent - 53 + 1023) << 20;
  const half = parts.value[0]! * power;

  let upper = Math.floor(product / HALF_DIGITS);
  let lower = product - upper * HALF_DIGITS;
  // The quotient was rounded.
  if (lower < 0) {
    lower += HALF_DIGITS;
    upper--;
  }
  const last = lower | 0;
  // What is added to the product to make it the shortest number.
  let offset = Math.round(error);
  if (Math.abs(Math.abs(error - offset) - 0.5) < DOUBT) return at;
  let zeros = 0;
  for (let unit = 10; ; unit *= 10) {
    const own = last % unit;
    const rest = own + error;
    const nearest = Math.round(rest / unit) * unit;
    const distance = Math.abs(rest - nearest);
    if (Math.abs(distance - half) < DOUBT || Math.abs(distance - unit / 2) < DOUBT) return at;
    if (distance > half) break;
    offset = nearest - own;
    if (++zeros > ZEROS_MAX) return at;
  }

  lower += offset;
  if (lower < 0) {
    lower += HALF_DIGITS;
    upper--;
  } else if (lower >= HALF_DIGITS) {
    lower -= HALF_DIGITS;
    upper++;
  }
  if (upper >= 1e9 || upper < 1e8) return at;
  return putDigits(dst, value < 0 ? putByte(dst, at, MINUS) : at, upper, lower, DIGITS - k);
}

function putByte(dst: Uint8Array, at: number, byte: number): number {
  dst[at] = byte;
  return at + 1;
}

/** Writes nine and eight digits with the point behind the first `whole` of them, without zeros at the end. */
function putDigits(dst: Uint8Array, at: number, upper: number, lower: number, whole: number): number {
  let first = at;
  if (whole <= 0) {
    dst[first++] = ZERO;
    dst[first++] = POINT;
    for (let i = whole; i < 0; i++) dst[first++] = ZERO;
    const end = first + DIGITS;
    putSeventeen(dst, first, upper, lower);
    return behindZeros(dst, first, end);
  }
  // One place further on, so that the few digits before the point are what moves.
  putSeventeen(dst, first + 1, upper, lower);
  for (let i = first; i < first + whole; i++) dst[i] = dst[i + 1]!;
  const pointAt = first + whole;
  const end = behindZeros(dst, pointAt + 1, first + 1 + DIGITS);
  if (end === pointAt + 1) return pointAt;
  dst[pointAt] = POINT;
  return end;
}

/** The end without zeros before it. */
function behindZeros(dst: Uint8Array, start: number, end: number): number {
  let last = end;
  while (last > start && dst[last - 1] === ZERO) last--;
  return last;
}

function putSeventeen(dst: Uint8Array, at: number, upper: number, lower: number): void {
  const lead = (upper / HALF_DIGITS) | 0;
  dst[at] = ZERO + lead;
  putEightDigits(dst, at + 1, upper - lead * HALF_DIGITS);
  putEightDigits(dst, at + 9, lower);
}

/** The digits of 0 … 9999, four each. */
const FOURS = Uint8Array.from({ length: 40_000 }, (_, i) => {
  const number = i >>> 2;
  return ZERO + (Math.floor(number / 10 ** (3 - (i & 3))) % 10);
});

/** Writes an integer below 1e8 as eight digits at dst[at, at + 8). */
export function putEightDigits(dst: Uint8Array, at: number, value: number): void {
  const eight = value | 0;
  const upper = (eight / 10_000) | 0;
  let from = upper << 2;
  dst[at] = FOURS[from]!;
  dst[at + 1] = FOURS[from + 1]!;
  dst[at + 2] = FOURS[from + 2]!;
  dst[at + 3] = FOURS[from + 3]!;
  from = (eight - upper * 10_000) << 2;
  dst[at + 4] = FOURS[from]!;
  dst[at + 5] = FOURS[from + 1]!;
  dst[at + 6] = FOURS[from + 2]!;
  dst[at + 7] = FOURS[from + 3]!;
}

// Numbers as decimal text: the shortest digits that give a double back, written as JavaScript and Prometheus write them where they need no
// exponent. The digits are found with Schubfach (Raffaello Giulietti, "The Schubfach way to render doubles", 2021): exact, in whole numbers.

/** From here up to the next, both write digits and a point; outside, an exponent. */
const DECIMAL_MIN: f64 = 1e-6;
const DECIMAL_MAX: f64 = 1e21;
/** Integers below are doubles, each of them. */
const INTEGER_MAX: f64 = 9007199254740992;

/** 10^e · 2^(127 − ⌊log₂ 10^e⌋), rounded up, upper word first, from e = −5 on: as many as doubles of these magnitudes need. */
const POWER_FIRST: i32 = -5;
const POWERS = memory.data<u64>([
  0xa7c5ac471b478423, 0xfcf80dc33721d54, 0xd1b71758e219652b, 0xd3c36113404ea4a9, 0x83126e978d4fdf3b,
  0x645a1cac083126ea, 0xa3d70a3d70a3d70a, 0x3d70a3d70a3d70a4, 0xcccccccccccccccc, 0xcccccccccccccccd,
  0x8000000000000000, 0x0, 0xa000000000000000, 0x0, 0xc800000000000000, 0x0, 0xfa00000000000000, 0x0,
  0x9c40000000000000, 0x0, 0xc350000000000000, 0x0, 0xf424000000000000, 0x0, 0x9896800000000000, 0x0,
  0xbebc200000000000, 0x0, 0xee6b280000000000, 0x0, 0x9502f90000000000, 0x0, 0xba43b74000000000, 0x0,
  0xe8d4a51000000000, 0x0, 0x9184e72a00000000, 0x0, 0xb5e620f480000000, 0x0, 0xe35fa931a0000000, 0x0,
  0x8e1bc9bf04000000, 0x0, 0xb1a2bc2ec5000000, 0x0, 0xde0b6b3a76400000, 0x0, 0x8ac7230489e80000, 0x0,
  0xad78ebc5ac620000, 0x0, 0xd8d726b7177a8000, 0x0, 0x878678326eac9000, 0x0,
]);

const ZERO: u32 = 48;
const POINT: u32 = 46;
const MINUS: u32 = 45;
const ZEROS: u64 = 0x3030303030303030;

/** Room for the digits of one number: seventeen, and what is loaded beyond. */
const DIGITS = memory.data(64, 16);
const DIGIT_COUNT: usize = 17;

/** What `shortest` found: a number is digits · 10^exponent. */
let exponent: i32 = 0;

/** The upper word of a product. */
function upperProduct(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const middle = aHigh * bLow + ((aLow * bLow) >> 32);
  const other = aLow * bHigh + (middle & 0xffffffff);
  return aHigh * bHigh + (middle >> 32) + (other >> 32);
}

/** The upper word of power · c, whose lowest bit says whether anything is behind it. */
function roundToOdd(high: u64, low: u64, c: u64): u64 {
  const carried = upperProduct(low, c);
  const lower = high * c + carried;
  const upper = upperProduct(high, c) + (lower < carried ? 1 : 0);
  return upper | (lower > 1 ? 1 : 0);
}

/** The digits of a positive double from DECIMAL_MIN to DECIMAL_MAX that are as few as give it back, and of these the nearest; zeros may be at their end. */
function shortest(bits: u64): u64 {
  const fraction = bits & 0xfffffffffffff;
  const c = fraction | 0x10000000000000;
  const q = ((bits >> 52) as i32) - 1075;
  // Below a power of two the neighbours are nearer on one side.
  const isUneven = fraction === 0;
  const k = (q * 1262611 - (isUneven ? 524031 : 0)) >> 22;
  const shift = (q + ((-k * 1741647) >> 19) + 1) as u64;
  const power = POWERS + (((-k - POWER_FIRST) as usize) << 4);
  const high = load<u64>(power);
  const low = load<u64>(power, 8);
  const odd = c & 1;
  const lower = roundToOdd(high, low, (4 * c - (isUneven ? 1 : 2)) << shift) + odd;
  const own = roundToOdd(high, low, (4 * c) << shift);
  const upper = roundToOdd(high, low, (4 * c + 2) << shift) - odd;
  const whole = own >> 2;
  const tens = whole / 10;
  const isBelow = lower <= 40 * tens;
  const isAbove = 40 * tens + 40 <= upper;
  if (isBelow !== isAbove) {
    exponent = k + 1;
    return tens + (isAbove ? 1 : 0);
  }
  exponent = k;
  const isIn = lower <= 4 * whole;
  const isNextIn = 4 * whole + 4 <= upper;
  if (isIn !== isNextIn) return whole + (isNextIn ? 1 : 0);
  const middle = 4 * whole + 2;
  return whole + (own > middle || (own === middle && (whole & 1) !== 0) ? 1 : 0);
}

/** Writes an integer below 10⁸ as eight digits: halves, quarters and single digits of it side by side in one word. */
function putEight(at: usize, value: u32): void {
  const upper = (value / 10000) as u64;
  const fours = upper | (((value as u64) - upper * 10000) << 32);
  // Each divided by 100, and each of these by 10, by a multiplication that is exact for numbers so small.
  const hundreds = ((fours * 10486) >> 20) & 0x0000007f0000007f;
  const twos = hundreds | ((fours - hundreds * 100) << 16);
  const tens = ((twos * 103) >> 10) & 0x000f000f000f000f;
  store<u64>(at, (tens | ((twos - tens * 10) << 8)) + ZEROS);
}

/** Writes the number's seventeen digits, zeros before them. */
function putSeventeen(at: usize, digits: u64): void {
  const upper = digits / 100000000;
  const lead = (upper / 100000000) as u32;
  store<u8>(at, ZERO + lead);
  putEight(at + 1, (upper - (lead as u64) * 100000000) as u32);
  putEight(at + 9, (digits - upper * 100000000) as u32);
}

function copy32(to: usize, from: usize): void {
  v128.store(to, v128.load(from));
  v128.store(to + 16, v128.load(from + 16));
}

/** An integer below 2⁵³. */
function putInteger(to: usize, value: u64): usize {
  putSeventeen(DIGITS, value);
  let first: usize = DIGITS;
  const last = DIGITS + DIGIT_COUNT - 1;
  while (first < last && load<u8>(first) === (ZERO as u8)) first++;
  copy32(to, first);
  return to + (last + 1 - first);
}

/** Writes three bytes of text. */
function putText(to: usize, text: u32, bytes: usize): usize {
  store<u32>(to, text);
  return to + bytes;
}

/** Writes a value at `to`, where 64 bytes are free. Returns the end; `to` itself for numbers that have an exponent. */
export function putValue(to: usize, value: f64): usize {
  const magnitude = abs(value);
  let at = to;
  if (reinterpret<i64>(value) < 0 && magnitude <= f64.POSITIVE_INFINITY) store<u8>(at++, MINUS);
  if (magnitude < INTEGER_MAX && trunc(magnitude) === magnitude) return putInteger(at, magnitude as u64);
  if (!(magnitude >= DECIMAL_MIN && magnitude < DECIMAL_MAX)) {
    if (magnitude < f64.POSITIVE_INFINITY) return to;
    if (magnitude !== f64.POSITIVE_INFINITY) return putText(at, 0x4e614e, 3);
    if (value > 0) store<u8>(at++, 43);
    return putText(at, 0x666e49, 3);
  }
  putSeventeen(DIGITS, shortest(reinterpret<u64>(magnitude)));
  let first: usize = DIGITS;
  while (load<u8>(first) === (ZERO as u8)) first++;
  let end: usize = DIGITS + DIGIT_COUNT;
  const point = ((end - first) as i32) + exponent;
  while (load<u8>(end - 1) === (ZERO as u8)) end--;
  const count = (end - first) as i32;
  if (point <= 0) {
    store<u64>(at, ZEROS);
    store<u8>(at, POINT, 1);
    copy32(at + 2 - point, first);
    return at + 2 - point + count;
  }
  copy32(at, first);
  if (point >= count) {
    // Zeros that stand before the point; at most 21 digits in all.
    for (let i = count; i < point; i++) store<u8>(at + i, ZERO);
    return at + point;
  }
  copy32(at + point + 1, first + point);
  store<u8>(at + point, POINT);
  return at + count + 1;
}

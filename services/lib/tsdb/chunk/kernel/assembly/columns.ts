// Column chunks (../../docs/format/chunk-columns.md).
import { bitsFrom, FAULT, TIME_MAX } from './bits';

const SAMPLES_MAX: f64 = 65535;
const KIND_ORDER_MASK: u32 = 3;
const KIND_FACTOR: u32 = 4;
const KIND_PATCHED: u32 = 8;
const KIND_ALL: u32 = 15;
const WIDTH_BITS_MAX: u32 = 53;
const FORM_EXPONENT_MASK: u32 = 31;
const FORM_CONSTANT: u32 = 31;
const FORM_EXCEPTIONS: u32 = 32;
const EXPONENT_MAX: u32 = 22;

const POWERS_OF_TEN: StaticArray<f64> = [
  1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
  1e20, 1e21, 1e22,
];

/** What is read next, of a chunk that ends at `limit`. */
let position: usize = 0;
let limit: usize = 0;
/** Something was not as it should be: what was read since means nothing. */
let isFaulty: bool = false;

function u8At(): u32 {
  if (position >= limit) {
    isFaulty = true;
    return 0;
  }
  return load<u8>(position++);
}

/** Up to eight bytes: 56 bits. */
function varint64(): u64 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 56; shift += 7) {
    const byte = u8At();
    value |= ((byte & 127) as u64) << shift;
    if (byte < 128) return value;
  }
  isFaulty = true;
  return 0;
}

function varint(): f64 {
  const value = varint64() as f64;
  if (value > TIME_MAX) isFaulty = true;
  return value;
}

function zigzag(): f64 {
  const value = varint64();
  const magnitude = (value >> 1) as f64;
  if (magnitude > TIME_MAX) isFaulty = true;
  return (value & 1) === 0 ? magnitude : -magnitude - 1;
}

/** A count of what takes `bytes` each in the chunk; 0 and a fault where there cannot be so many. */
function countOf(bytes: f64): u32 {
  const count = varint();
  if (count * bytes <= ((limit - position) as f64)) return count as u32;
  isFaulty = true;
  return 0;
}

/** Skips so many bytes and answers where they begin. */
function skip(bytes: usize): usize {
  const at = position;
  if (bytes > limit - at) {
    isFaulty = true;
    return at;
  }
  position = at + bytes;
  return at;
}

/** Walks over entries of a gap and a value, of `wide` bytes or a zigzag, and checks that they lie within `count`. */
function skipSparse(entries: u32, count: u32, wide: usize): void {
  let next: f64 = 0;
  for (let i: u32 = 0; i < entries && !isFaulty; i++) {
    next += varint() + 1;
    if (next > (count as f64)) isFaulty = true;
    if (wide > 0) skip(wide);
    else zigzag();
  }
}

/**
 * Reads an integer column into doubles.
 *
 * @returns False when all of them are zero.
 */
function decodeColumn(out: usize, count: u32): bool {
  const kind = u8At();
  const width = u8At();
  const order = kind & KIND_ORDER_MASK;
  if (kind > KIND_ALL || order > 2 || width > WIDTH_BITS_MAX || order > count) {
    isFaulty = true;
    return false;
  }
  for (let i: u32 = 0; i < order; i++) store<f64>(out + ((i as usize) << 3), zigzag());
  const base = zigzag();
  const factor = (kind & KIND_FACTOR) === 0 ? 1 : varint();
  const first = out + ((order as usize) << 3);
  const end = out + ((count as usize) << 3);
  let patches: u32 = 0;
  let patchesAt: usize = 0;
  if ((kind & KIND_PATCHED) !== 0) {
    patches = countOf(2);
    patchesAt = position;
    skipSparse(patches, count - order, 0);
  }
  const packedAt = skip((((count - order) as usize) * width + 7) >> 3);
  if (isFaulty) return false;
  if (patches === 0 && order === 1) {
    sumUnpacked(packedAt, width, base, factor, first, end);
    return true;
  }
  unpack(packedAt, width, base, factor, first, end);
  if (patches > 0) patch(patches, patchesAt, first);
  if (order === 0) return kind !== 0 || width !== 0 || base !== 0;
  if (order === 2) sum(first - 8, end);
  sum(out, end);
  return true;
}

function unpack(packedAt: usize, width: u32, base: f64, factor: f64, first: usize, end: usize): void {
  if (width === 0) {
    for (let out = first; out < end; out += 8) store<f64>(out, base);
    return;
  }
  const drop = (64 - width) as u64;
  let bit: usize = 0;
  for (let out = first; out < end; out += 8) {
    store<f64>(out, base + factor * ((bitsFrom(packedAt, bit) >> drop) as i64 as f64));
    bit += width;
  }
}

/** As unpack() and then sum() from the entry before. */
function sumUnpacked(packedAt: usize, width: u32, base: f64, factor: f64, first: usize, end: usize): void {
  let total = load<f64>(first - 8);
  if (width === 0) {
    for (let out = first; out < end; out += 8) {
      total += base;
      store<f64>(out, total);
    }
    return;
  }
  const drop = (64 - width) as u64;
  let bit: usize = 0;
  for (let out = first; out < end; out += 8) {
    total += base + factor * ((bitsFrom(packedAt, bit) >> drop) as i64 as f64);
    store<f64>(out, total);
    bit += width;
  }
}

function patch(patches: u32, at: usize, first: usize): void {
  const behind = position;
  position = at;
  let out = first;
  for (let i: u32 = 0; i < patches; i++) {
    out += (varint() as usize) << 3;
    store<f64>(out, zigzag());
    out += 8;
  }
  position = behind;
}

/** Running sums. */
function sum(from: usize, end: usize): void {
  let total = load<f64>(from);
  for (let out = from + 8; out < end; out += 8) {
    total += load<f64>(out);
    store<f64>(out, total);
  }
}

function decodeTimes(times: usize, count: u32): void {
  const step = varint();
  const first = zigzag();
  const deviates = decodeColumn(times, count);
  if (isFaulty) return;
  if (!deviates) {
    fillGrid(times, count, first, step);
    return;
  }
  let previous: f64 = -TIME_MAX - 1;
  for (let i: u32 = 0; i < count; i++) {
    const at = times + ((i as usize) << 3);
    const time = first + (i as f64) * step + load<f64>(at);
    if (!(time > previous)) isFaulty = true;
    store<f64>(at, time);
    previous = time;
  }
  if (previous > TIME_MAX) isFaulty = true;
}

/** Times of a grid. Writes one more where their number is odd. */
function fillGrid(times: usize, count: u32, first: f64, step: f64): void {
  const last = first + ((count - 1) as f64) * step;
  if ((count > 1 && step === 0) || first < -TIME_MAX || last > TIME_MAX) {
    isFaulty = true;
    return;
  }
  const firsts = f64x2.splat(first);
  const steps = f64x2.splat(step);
  const twos = f64x2.splat(2);
  let places = f64x2.replace_lane(f64x2.splat(0), 1, 1);
  const end = times + ((count as usize) << 3);
  for (let at = times; at < end; at += 16) {
    v128.store(at, f64x2.add(firsts, f64x2.mul(places, steps)));
    places = f64x2.add(places, twos);
  }
}

function divide(from: usize, end: usize, power: f64): void {
  const powers = f64x2.splat(power);
  let at = from;
  for (; at + 16 <= end; at += 16) v128.store(at, f64x2.div(v128.load(at), powers));
  if (at < end) store<f64>(at, load<f64>(at) / power);
}

function decodeValues(values: usize, count: u32): void {
  const form = u8At();
  const exponent = form & FORM_EXPONENT_MASK;
  const end = values + ((count as usize) << 3);
  if (form === FORM_CONSTANT) {
    const at = skip(8);
    if (isFaulty) return;
    const bits = load<u64>(at);
    for (let out = values; out < end; out += 8) store<u64>(out, bits);
    return;
  }
  if (form > (FORM_EXCEPTIONS | EXPONENT_MAX) || exponent > EXPONENT_MAX) {
    isFaulty = true;
    return;
  }
  let exceptions: u32 = 0;
  let exceptionsAt: usize = 0;
  if ((form & FORM_EXCEPTIONS) !== 0) {
    exceptions = countOf(9);
    exceptionsAt = position;
    skipSparse(exceptions, count, 8);
  }
  if (isFaulty) return;
  decodeColumn(values, count);
  if (isFaulty) return;
  if (exponent > 0) divide(values, end, POWERS_OF_TEN[exponent]);
  const behind = position;
  position = exceptionsAt;
  let out = values;
  for (let i: u32 = 0; i < exceptions; i++) {
    out += (varint() as usize) << 3;
    store<u64>(out, load<u64>(skip(8)));
    out += 8;
  }
  position = behind;
}

/** Samples that a chunk says it holds; 0 where it does not say, or too many. */
export function countColumns(start: usize, end: usize): u32 {
  position = start;
  limit = end;
  isFaulty = false;
  const count = varint();
  return isFaulty || count > SAMPLES_MAX ? 0 : (count as u32);
}

/**
 * Decodes the rest of the chunk that countColumns() counted just now, behind whose end eight bytes may be read, into columns at `times` and
 * `values`.
 *
 * @returns How many samples; FAULT where the bytes are no whole chunk.
 */
export function decodeColumns(count: u32, times: usize, values: usize): i32 {
  decodeTimes(times, count);
  if (!isFaulty) decodeValues(values, count);
  return isFaulty || position !== limit ? FAULT : count;
}

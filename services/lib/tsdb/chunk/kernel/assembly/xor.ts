// XOR chunks (../../docs/format/chunk-xor.md).
import { bitsFrom, FAULT, TIME_MAX } from './bits';

const HEADER_BYTES: usize = 2;
/** Bits of a window that are certainly there. */
const WINDOW_BITS: u64 = 57;
/** A distance of times beyond this is left to JavaScript: sums of 65,535 smaller ones are exact. */
const DELTA_MAX: f64 = 1099511627776;

/** Bytes of the varint at `at`; 0 for one that is longer than 8 or does not end before `end`. */
function varintBytes(at: usize, end: usize): usize {
  for (let i: usize = 0; i < 8 && at + i < end; i++) if (load<u8>(at + i) < 128) return i + 1;
  return 0;
}

function varint(at: usize, bytes: usize): u64 {
  let value: u64 = 0;
  for (let i: usize = 0; i < bytes; i++) value |= ((load<u8>(at + i) & 127) as u64) << ((7 * i) as u64);
  return value;
}

/**
 * Decodes the chunk in [start, end), which is not empty, behind whose end 32 bytes may be read, into columns at `times` and `values`.
 *
 * @returns How many samples; FAULT where the bytes are no whole chunk, or not a usual one.
 */
export function decodeXor(start: usize, end: usize, count: u32, times: usize, values: usize): i32 {
  const endBit = (end - start) << 3;
  let at = start + HEADER_BYTES;
  const headBytes = varintBytes(at, end);
  if (headBytes === 0) return FAULT;
  const zigzag = varint(at, headBytes);
  let time = (((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64)) as f64;
  at += headBytes;
  let bit = (at - start) << 3;
  if (bit + 64 > endBit) return FAULT;
  let value = (bitsFrom(start, bit) & ~0xffffffff) | (bitsFrom(start, bit + 32) >> 32);
  bit += 64;
  if (abs<f64>(time) > TIME_MAX) return FAULT;
  store<f64>(times, time);
  store<u64>(values, value);
  if (count === 1) return endBit - bit >= 8 ? FAULT : 1;

  const last = times + ((count as usize) << 3);
  const toValues = values - times;
  let delta: f64 = 0;
  let trailing: u64 = 0;
  let significant: u64 = 0;
  let out = times + 8;
  while (out < last) {
    let window: u64;
    /** Bits of the window that are used up. */
    let used: u64 = 0;
    if (out === times + 8) {
      at = start + (bit >> 3);
      const deltaBytes = varintBytes(at, end);
      if (deltaBytes === 0) return FAULT;
      delta = varint(at, deltaBytes) as f64;
      if (delta > DELTA_MAX) return FAULT;
      bit += deltaBytes << 3;
      window = bitsFrom(start, bit);
    } else {
      window = bitsFrom(start, bit);
      if (window >> 62 === 0) {
        // Two zeros say: the same distance, the same value. Mostly there are many of them.
        let run = min<usize>((min<u64>(clz(window), WINDOW_BITS) as usize) >> 1, (last - out) >> 3);
        bit += run << 1;
        for (; run > 0; run--) {
          time += delta;
          store<f64>(out, time);
          store<u64>(out + toValues, value);
          out += 8;
        }
        if (bit > endBit) return FAULT;
        continue;
      }
      if ((window as i64) >= 0) {
        used = 1;
      } else {
        let change: i64;
        if (((window >> 62) & 1) === 0) {
          change = ((window << 2) >> 50) as i64;
          if (change > 8192) change -= 16384;
          used = 16;
        } else if (((window >> 61) & 1) === 0) {
          change = ((window << 3) >> 47) as i64;
          if (change > 65536) change -= 131072;
          used = 20;
        } else if (((window >> 60) & 1) === 0) {
          change = ((window << 4) >> 44) as i64;
          if (change > 524288) change -= 1048576;
          used = 24;
        } else {
          change = ((bitsFrom(start, bit + 4) & ~0xffffffff) | (bitsFrom(start, bit + 36) >> 32)) as i64;
          bit += 68;
          window = bitsFrom(start, bit);
        }
        delta += change as f64;
        if (delta > DELTA_MAX) return FAULT;
      }
      window <<= used;
    }
    if (!(delta > 0)) return FAULT;
    time += delta;

    if ((window as i64) >= 0) {
      bit += (used as usize) + 1;
    } else {
      if (((window >> 62) & 1) === 0) {
        if (significant === 0) return FAULT;
        used += 2;
        window <<= 2;
      } else {
        const leading = (window << 2) >> 59;
        significant = (window << 7) >> 58;
        if (significant === 0) significant = 64;
        if (leading + significant > 64) return FAULT;
        trailing = 64 - leading - significant;
        used += 13;
        window <<= 13;
      }
      bit += used as usize;
      let bits: u64;
      if (used + significant <= WINDOW_BITS) {
        bits = window >> (64 - significant);
      } else if (significant <= WINDOW_BITS) {
        bits = bitsFrom(start, bit) >> (64 - significant);
      } else {
        const rest = significant - 32;
        bits = ((bitsFrom(start, bit) >> 32) << rest) | (bitsFrom(start, bit + 32) >> (64 - rest));
      }
      value ^= bits << trailing;
      bit += significant as usize;
    }
    if (bit > endBit) return FAULT;
    store<f64>(out, time);
    store<u64>(out + toValues, value);
    out += 8;
  }
  if (endBit - bit >= 8 || abs<f64>(time) > TIME_MAX) return FAULT;
  return count;
}

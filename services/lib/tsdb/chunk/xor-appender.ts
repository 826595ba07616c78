// Appends to XOR chunks (docs/format/chunk-xor.md) sample by sample. The state of an open chunk is a few words in a
// caller-owned typed array, so that the head keeps a million open chunks without an object for any of them.

/** Words of state per open chunk; a multiple of 2, since three fields are 64-bit. */
export const XOR_STATE_WORDS = 8;
/** Room that appending one sample needs behind the chunk's bytes so far. */
export const XOR_APPEND_BYTES_MAX = 28;

// Word offsets. Times and deltas are f64 (two words); the others are u32.
const TIME = 0;
const DELTA = 2;
const VALUE_LOW = 4;
const VALUE_HIGH = 5;
const BITS = 6;
/** count | leading zeros << 16 | trailing zeros << 24. */
const PACKED = 7;
const NO_WINDOW = 0xff;

/** Makes the state at `base` that of a chunk without samples. */
export function resetXorState(words: Uint32Array, base: number): void {
  words.fill(0, base, base + XOR_STATE_WORDS);
}

/** Ends the chunk: the next sample begins a new one. Time and value of the last sample stay readable. */
export function endXorChunk(words: Uint32Array, base: number): void {
  words[base + BITS] = 0;
  words[base + PACKED] = 0;
}

/** Writes the chunk's header into bytes[at, at + 2). Appending leaves it alone: it is a cache line of its own. */
export function putXorHeader(words: Uint32Array, base: number, bytes: Uint8Array, at: number): void {
  const count = xorStateCount(words, base);
  bytes[at] = count >>> 8;
  bytes[at + 1] = count;
}

/** Samples in the open chunk. */
export function xorStateCount(words: Uint32Array, base: number): number {
  return words[base + PACKED]! & 0xffff;
}

/** Bytes of the open chunk, the last one perhaps not full: behind `putXorHeader` these are a whole chunk at any time. */
export function xorStateBytes(words: Uint32Array, base: number): number {
  return (words[base + BITS]! + 7) >>> 3;
}

/** Time of the last sample, Unix ms; 0 without samples. `times` is a Float64Array over the memory of the words. */
export function xorStateTimeMs(times: Float64Array, base: number): number {
  return times[base >>> 1]!;
}

/** True when the last sample's value has these words (signed or unsigned). */
export function xorStateHasValue(words: Uint32Array, base: number, low: number, high: number): boolean {
  return ((words[base + VALUE_LOW]! ^ low) | (words[base + VALUE_HIGH]! ^ high)) === 0;
}

/**
 * Appends one sample to the open chunk in bytes[at, …), behind its header, which is not touched.
 *
 * @param words,times  Two views of the same memory; the state is at words[base, base + XOR_STATE_WORDS), base even.
 * @param bytes        Has XOR_APPEND_BYTES_MAX bytes of room behind the chunk; what they hold does not matter. (A view, whose
 *                     words are written whole: a sixth faster than bytes of a typed array.)
 * @param timestampsMs The sample's time is element `index`: a safe integer, above the last sample's by at most 2^53 - 1.
 *                     (As an argument it would cost a heap number.)
 * @param low,high     Words of the value, as signed integers: V8 passes these without a heap number.
 *
 * Cost: 20 to 40 ns in cache, no allocation. The caller bounds the count to 65535.
 */
export function appendXorSample(
  words: Uint32Array,
  times: Float64Array,
  base: number,
  bytes: DataView,
  at: number,
  timestampsMs: Float64Array,
  index: number,
  low: number,
  high: number,
): void {
  const timeMs = timestampsMs[index]!;
  const packed = words[base + PACKED]!;
  const count = packed & 0xffff;
  if (count === 0) {
    beginChunk(words, times, base, bytes, at, timestampsMs, index, low, high);
    return;
  }
  const half = base >>> 1;
  let bit = words[base + BITS]!;
  const deltaMs = timeMs - times[half + TIME]!;
  const xorLow = low ^ words[base + VALUE_LOW]!;
  const xorHigh = high ^ words[base + VALUE_HIGH]!;
  times[half + TIME] = timeMs;
  let window = packed >>> 16;
  let isRegular = false;
  if (count === 1) {
    bit = putDelta(bytes, at, bit, deltaMs);
    times[half + DELTA / 2] = deltaMs;
  } else {
    const change = deltaMs - times[half + DELTA / 2]!;
    isRegular = change === 0;
    if (!isRegular) {
      bit = putDeltaOfDelta(bytes, at, bit, change);
      times[half + DELTA / 2] = deltaMs;
    }
  }
  if ((xorLow | xorHigh) === 0) {
    bit = putZeros(bytes, at, bit, isRegular ? 2 : 1);
  } else {
    // The zero that says that the distance is the same goes out with what follows it.
    const zero = isRegular ? 1 : 0;
    const leading = xorHigh !== 0 ? Math.min(31, Math.clz32(xorHigh)) : 31;
    const trailing = trailingZeros(xorLow, xorHigh);
    const windowLeading = window & 0xff;
    const windowTrailing = window >>> 8;
    if (windowLeading !== NO_WINDOW && leading >= windowLeading && trailing >= windowTrailing) {
      const significant = 64 - windowLeading - windowTrailing;
      if (significant <= 29) {
        const shifted = shiftedLow(xorLow, xorHigh, windowTrailing);
        bit = putBits(bytes, at, bit, (2 << significant) | shifted, significant + 2 + zero);
      } else {
        bit = putBits(bytes, at, bit, 2, 2 + zero);
        bit = putShifted(bytes, at, bit, xorLow, xorHigh, windowTrailing, significant);
      }
    } else {
      const significant = 64 - leading - trailing;
      const head = (3 << 11) | (leading << 6) | (significant & 63);
      if (significant <= 18) {
        const shifted = shiftedLow(xorLow, xorHigh, trailing);
        bit = putBits(bytes, at, bit, (head << significant) | shifted, significant + 13 + zero);
      } else {
        bit = putBits(bytes, at, bit, head, 13 + zero);
        bit = putShifted(bytes, at, bit, xorLow, xorHigh, trailing, significant);
      }
      window = leading | (trailing << 8);
    }
    words[base + VALUE_LOW] = low;
    words[base + VALUE_HIGH] = high;
  }
  words[base + BITS] = bit;
  words[base + PACKED] = ((window << 16) | (count + 1)) >>> 0;
}

function beginChunk(
  words: Uint32Array,
  times: Float64Array,
  base: number,
  bytes: DataView,
  at: number,
  timestampsMs: Float64Array,
  index: number,
  low: number,
  high: number,
): void {
  const timeMs = timestampsMs[index]!;
  // The sign is the lowest bit; halving first keeps codes of 54 bits exact.
  const negative = timeMs < 0;
  const magnitude = negative ? -timeMs - 1 : timeMs;
  let position = at + 2;
  let rest = Math.floor(magnitude / 64);
  bytes.setUint8(position++, ((magnitude % 64) << 1) | (negative ? 1 : 0) | (rest > 0 ? 128 : 0));
  while (rest > 0) {
    const next = Math.floor(rest / 128);
    bytes.setUint8(position++, (rest % 128) | (next > 0 ? 128 : 0));
    rest = next;
  }
  bytes.setInt32(position, high);
  bytes.setInt32(position + 4, low);
  bytes.setUint8(position + 8, 0);
  times[(base >>> 1) + TIME] = timeMs;
  times[(base >>> 1) + DELTA / 2] = 0;
  words[base + VALUE_LOW] = low;
  words[base + VALUE_HIGH] = high;
  words[base + BITS] = (position + 8 - at) * 8;
  words[base + PACKED] = (1 | (NO_WINDOW << 16)) >>> 0;
}

/** The second sample's delta as uvarint; the stream is at a byte boundary there. */
function putDelta(bytes: DataView, at: number, bit: number, deltaMs: number): number {
  let position = at + (bit >>> 3);
  let rest = deltaMs;
  while (rest > 127) {
    bytes.setUint8(position++, (rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.setUint8(position++, rest);
  bytes.setUint8(position, 0);
  return (position - at) * 8;
}

function putDeltaOfDelta(bytes: DataView, at: number, bit: number, change: number): number {
  if (change >= -8191 && change <= 8192) return putBits(bytes, at, bit, (2 << 14) | (change & 0x3fff), 16);
  if (change >= -65535 && change <= 65536) return putBits(bytes, at, bit, (6 << 17) | (change & 0x1ffff), 20);
  if (change >= -524287 && change <= 524288) {
    return putBits(bytes, at, bit, (14 << 20) | (change & 0xfffff), 24);
  }
  const marked = putBits(bytes, at, bit, 15, 4);
  const upper = putBits(bytes, at, marked, Math.floor(change / 4_294_967_296) | 0, 32);
  return putBits(bytes, at, upper, change | 0, 32);
}

function trailingZeros(low: number, high: number): number {
  return low !== 0 ? 31 - Math.clz32(low & -low) : 63 - Math.clz32(high & -high);
}

/** Writes `count` bits of (high:low) >> shift. */
function putShifted(
  bytes: DataView,
  at: number,
  bit: number,
  low: number,
  high: number,
  shift: number,
  count: number,
): number {
  const lower = shiftedLow(low, high, shift);
  if (count <= 32) return putBits(bytes, at, bit, lower, count);
  const upper = putBits(bytes, at, bit, shift === 0 ? high : high >>> shift, count - 32);
  return putBits(bytes, at, upper, lower, 32);
}

/** The low word of (high:low) >> shift. */
function shiftedLow(low: number, high: number, shift: number): number {
  if (shift >= 32) return high >>> (shift - 32);
  return shift === 0 ? low : (low >>> shift) | (high << (32 - shift));
}

/** `putBits` of one or two zeros: mostly they are there already, and the chunk's memory is left alone. */
function putZeros(bytes: DataView, at: number, bit: number, count: number): number {
  const used = bit & 7;
  if (used === 0) bytes.setUint8(at + (bit >>> 3), 0);
  else if (used + count > 8) bytes.setUint8(at + (bit >>> 3) + 1, 0);
  return bit + count;
}

/**
 * Writes the low `count` (1 … 32) bits of `value` at bit offset `bit` behind byte `at`; returns the offset behind them.
 * Law: bits behind `bit` in its byte are zero before and after; the four bytes after it are overwritten.
 */
function putBits(bytes: DataView, at: number, bit: number, value: number, count: number): number {
  const top = value << (32 - count);
  const position = at + (bit >>> 3);
  const used = bit & 7;
  const kept = bytes.getUint8(position) & (0xff00 >>> used) & 0xff;
  bytes.setInt32(position, (kept << 24) | (top >>> used));
  bytes.setUint8(position + 4, top << (8 - used));
  return bit + count;
}

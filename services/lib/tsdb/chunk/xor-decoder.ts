// Decodes XOR chunks (docs/format/chunk-xor.md), byte-compatible with Prometheus' tsdb/chunkenc/xor.go.
// Bits are read through a 32-bit window at any bit offset; 64-bit values are two 32-bit words throughout, so that NaN
// payloads survive and nothing allocates per sample.
import { AppError } from '../../core/errors.ts';
import type { SampleColumns } from '../../model/sample-columns.ts';

/** Bytes of the sample count in front of the bit stream. */
export const XOR_HEADER_BYTES = 2;
/** Most samples that the 16-bit count can say. */
export const XOR_SAMPLES_MAX = 0xffff;

/** The window may read this far behind the chunk's last byte; a chunk closer to the buffer's end is copied first. */
const SLACK_BYTES = 24;
const TWO_32 = 4_294_967_296;
/** Longest zigzag or plain varint of 64 bits. */
const VARINT64_BYTES_MAX = 10;

/**
 * Decodes one XOR chunk and appends its samples to caller-owned columns.
 *
 * @param bytes  Holds the chunk in bytes[start, end): the 2-byte big-endian count first. Read only, not retained.
 * @param into   Grows by the chunk's samples; timestamps of one chunk ascend strictly. Unchanged when this throws.
 * @throws AppError `internal` when the bytes are not a whole chunk. Callers skip the chunk or fail the query.
 *
 * Cost: O(n), 2 to 9 ns per sample, a view per chunk and growth of `into`. Reentrant.
 * Source: Gorilla §4.1 (VLDB 2015) as Prometheus varies it. Stricter: trailing bytes and time going back are errors.
 */
export function decodeXorChunk(bytes: Uint8Array, start: number, end: number, into: SampleColumns): void {
  const chunkBytes = end - start;
  if (chunkBytes < XOR_HEADER_BYTES) throw corrupt(`${chunkBytes} bytes are too few for a sample count`);
  const count = (bytes[start]! << 8) | bytes[start + 1]!;
  if (count === 0) {
    if (chunkBytes !== XOR_HEADER_BYTES) throw corrupt(`${chunkBytes - 2} bytes behind an empty chunk`);
    return;
  }
  // The first sample takes 9 bytes or more, the second 9 bits or more, each further one 2 bits or more.
  const least = XOR_HEADER_BYTES + 9 + (count === 1 ? 0 : 1 + Math.ceil((1 + (count - 2) * 2) / 8));
  if (chunkBytes < least) throw corrupt(`${chunkBytes} bytes are too few for ${count} samples`);
  into.reserve(into.count + count);
  if (end + SLACK_BYTES <= bytes.length) {
    decodePadded(bytes, start, chunkBytes, count, into);
  } else {
    const padded = new Uint8Array(chunkBytes + SLACK_BYTES);
    padded.set(bytes.subarray(start, end));
    decodePadded(padded, 0, chunkBytes, count, into);
  }
  into.count += count;
}

/** Samples that the chunk says it holds; nothing else is looked at. The caller has checked that 2 bytes are there. */
export function xorSampleCount(bytes: Uint8Array, start: number): number {
  return (bytes[start]! << 8) | bytes[start + 1]!;
}

/** Time of the first sample of a whole chunk that is not empty, Unix ms. */
export function xorFirstTimeMs(bytes: Uint8Array, start: number, end: number): number {
  const at = start + XOR_HEADER_BYTES;
  return zigzag(bytes, at, varintBytes(bytes, at, end));
}

function corrupt(reason: string): AppError {
  return new AppError('internal', `corrupt XOR chunk: ${reason}`);
}

/** 32 bits from bit offset `bit`, as a signed integer. */
function window32(view: DataView, bit: number): number {
  const at = bit >>> 3;
  const shift = bit & 7;
  return (view.getInt32(at) << shift) | (view.getUint8(at + 4) >>> (8 - shift));
}

// Hot! One function, locals only: the bit position, the time and the value's words stay in registers.
function decodePadded(
  bytes: Uint8Array,
  start: number,
  chunkBytes: number,
  count: number,
  into: SampleColumns,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, chunkBytes + SLACK_BYTES);
  const times = into.timestampsMs;
  const { words } = into;
  const first = into.count;
  const last = first + count;
  const endBit = chunkBytes * 8;

  const headAt = start + XOR_HEADER_BYTES;
  const headBytes = varintBytes(bytes, headAt, start + chunkBytes);
  let timeMs = zigzag(bytes, headAt, headBytes);
  let bit = (XOR_HEADER_BYTES + headBytes) * 8;
  let high = window32(view, bit);
  let low = window32(view, bit + 32);
  bit += 64;
  times[first] = timeMs;
  words[2 * first] = low;
  words[2 * first + 1] = high;

  let deltaMs = 0;
  let leading = 0;
  let trailing = 0;
  let significant = 0;
  for (let i = first + 1; i < last; i++) {
    let w: number;
    // Bits of the window that are used up.
    let used = 0;
    if (i === first + 1) {
      const at = start + (bit >>> 3);
      const deltaBytes = varintBytes(bytes, at, start + chunkBytes);
      deltaMs = uvarint(bytes, at, deltaBytes);
      bit += deltaBytes * 8;
      w = window32(view, bit);
    } else {
      w = window32(view, bit);
      if (w >>> 30 === 0) {
        // Two zeros say: the same distance, the same value. Mostly there are many of them.
        const run = Math.min(Math.clz32(w) >>> 1, last - i);
        for (const end = i + run; i < end; i++) {
          timeMs += deltaMs;
          times[i] = timeMs;
          words[2 * i] = low;
          words[2 * i + 1] = high;
        }
        bit += 2 * run;
        if (bit > endBit) throw corrupt(`the bit stream ends within sample ${i - first - 1} of ${count}`);
        i--;
        continue;
      }
      if (w >= 0) {
        used = 1;
        w <<= 1;
        // 31 bits are left in the window: enough for the value's control bits.
      } else {
        if ((w & 0x40000000) === 0) {
          const change = (w << 2) >>> 18;
          deltaMs += change > 8192 ? change - 16384 : change;
          bit += 16;
        } else if ((w & 0x20000000) === 0) {
          const change = (w << 3) >>> 15;
          deltaMs += change > 65536 ? change - 131072 : change;
          bit += 20;
        } else if ((w & 0x10000000) === 0) {
          const change = (w << 4) >>> 12;
          deltaMs += change > 524288 ? change - 1048576 : change;
          bit += 24;
        } else {
          deltaMs += window32(view, bit + 4) * TWO_32 + (window32(view, bit + 36) >>> 0);
          bit += 68;
        }
        w = window32(view, bit);
      }
    }
    if (!(deltaMs > 0)) throw corrupt(`time goes back or stands still at sample ${i - first}`);
    timeMs += deltaMs;

    if (w >= 0) {
      bit += used + 1;
    } else {
      if ((w & 0x40000000) === 0) {
        used += 2;
        w <<= 2;
        if (significant === 0) throw corrupt(`sample ${i - first} reuses a window before there is one`);
      } else {
        leading = (w << 2) >>> 27;
        significant = (w << 7) >>> 26;
        if (significant === 0) significant = 64;
        trailing = 64 - leading - significant;
        if (trailing < 0) throw corrupt(`${leading} leading and ${significant} significant bits`);
        used += 13;
        w <<= 13;
      }
      bit += used;
      if (significant <= 32) {
        const bits = (used + significant <= 32 ? w : window32(view, bit)) >>> (32 - significant);
        if (trailing >= 32) {
          high ^= bits << (trailing - 32);
        } else {
          low ^= bits << trailing;
          if (trailing > 0) high ^= bits >>> (32 - trailing);
        }
      } else {
        const a = window32(view, bit);
        const drop = 64 - significant;
        const b = (window32(view, bit + 32) >>> drop) << drop;
        high ^= a >>> leading;
        low ^= leading === 0 ? b : (a << (32 - leading)) | (b >>> leading);
      }
      bit += significant;
    }
    if (bit > endBit) throw corrupt(`the bit stream ends within sample ${i - first} of ${count}`);
    times[i] = timeMs;
    words[2 * i] = low;
    words[2 * i + 1] = high;
  }
  if (endBit - bit >= 8 || bit > endBit) {
    throw corrupt(`${count} samples take ${Math.ceil(bit / 8)} bytes, the chunk has ${chunkBytes}`);
  }
  if (!Number.isSafeInteger(timeMs) || !Number.isSafeInteger(times[first]!)) {
    throw corrupt(`times reach ${timeMs} ms, beyond 2^53`);
  }
}

/** Bytes of the varint at `at`. */
function varintBytes(bytes: Uint8Array, at: number, end: number): number {
  for (let i = 0; i < VARINT64_BYTES_MAX && at + i < end; i++) if (bytes[at + i]! < 128) return i + 1;
  throw corrupt(`unfinished varint at byte ${at}`);
}

/** An unsigned varint as a number; beyond 2^53 it is inexact and refused at the end of the decoder. */
function uvarint(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  let factor = 1;
  for (let i = 0; i < count; i++) {
    value += (bytes[at + i]! & 127) * factor;
    factor *= 128;
  }
  return value;
}

/** A zigzag varint as a number; beyond 2^53 it is inexact and refused at the end of the decoder. */
function zigzag(bytes: Uint8Array, at: number, count: number): number {
  const negative = (bytes[at]! & 1) === 1;
  // Halving first keeps 54-bit codes exact: the lowest bit is the sign.
  let value = (bytes[at]! & 127) >>> 1;
  let factor = 64;
  for (let i = 1; i < count; i++) {
    value += (bytes[at + i]! & 127) * factor;
    factor *= 128;
  }
  return negative ? -value - 1 : value;
}

// Snappy's block format, decompressed in plain JavaScript into a buffer that the caller owns. The declared length is read
// and checked first, so that nothing is allocated on a sender's word. The compressor is in snappy-compress.ts; layout in
// docs/snappy.md. (Native bindings were slower here: each call allocates an external buffer.)
import { assert } from '../../core/assert.ts';
import { AppError } from '../../core/errors.ts';

/** Largest decoded block that is accepted unless the caller says otherwise; what Prometheus' own receiver takes. */
export const SNAPPY_DECODED_BYTES_MAX = 32 * 1024 * 1024;

/** Room behind the decoded bytes that `decompressSnappy` may scribble on: it copies 8, 16, 32 or 64 bytes whatever is left. */
export const SNAPPY_SLACK_BYTES = 64;

/** A copy of 64 bytes takes three: no valid block grows more than this, so one that claims to is refused unread. */
export const SNAPPY_GROWTH_MAX = 22;

const PREAMBLE_BYTES_MAX = 5;

/**
 * The decoded length that a block declares, without decoding it.
 *
 * @returns Bytes, 0 … 2^32 − 1. It may be far above any limit of the caller's.
 * @throws AppError `bad_data` when the preamble is truncated, too long, or over 2^32 − 1.
 */
export function snappyDecodedBytes(src: Uint8Array): number {
  let length = 0;
  let factor = 1;
  for (let i = 0; i < PREAMBLE_BYTES_MAX; i++) {
    if (i >= src.length) throw malformed('the length preamble is truncated', i);
    const byte = src[i]!;
    length += (byte & 127) * factor;
    if (byte < 128) {
      if (length > 0xffffffff) break;
      return length;
    }
    factor *= 128;
  }
  throw malformed('the length preamble is over 2^32 - 1', 0);
}

/**
 * Decompresses one block.
 *
 * @param src  The whole block. Read only, not retained.
 * @param dst  At least the declared length plus SNAPPY_SLACK_BYTES long; the slack is overwritten too.
 * @returns    Bytes decoded, which is the declared length.
 * @throws AppError `bad_data` with the offset, on every block that breaks the format; `dst` is garbage then.
 *
 * Cost: O(decoded bytes), allocates two DataViews. Reentrant.
 */
export function decompressSnappy(src: Uint8Array, dst: Uint8Array): number {
  const declared = snappyDecodedBytes(src);
  if (declared > src.length * SNAPPY_GROWTH_MAX) {
    throw malformed(`${src.length} bytes cannot hold the ${declared} that they declare`, 0);
  }
  assert(
    dst.length >= declared + SNAPPY_SLACK_BYTES,
    `snappy: room ${dst.length} >= ${declared} + ${SNAPPY_SLACK_BYTES}`,
  );
  let at = 1;
  while (src[at - 1]! >= 128) at++;
  decodeElements(src, at, dst, declared);
  return declared;
}

/**
 * Hot! Locals and plain loops only. Ends because each turn consumes at least one byte of `src`. Most elements are literals and
 * two-byte copies of up to 16 bytes, which take two loads and stores, whatever their length.
 */
function decodeElements(src: Uint8Array, start: number, dst: Uint8Array, declared: number): void {
  const srcView = new DataView(src.buffer, src.byteOffset, src.byteLength);
  const dstView = new DataView(dst.buffer, dst.byteOffset, dst.byteLength);
  const end = src.length;
  let s = start;
  let d = 0;
  while (s < end) {
    const element = s;
    const tag = src[s++]!;
    const kind = tag & 3;
    let count = (tag >>> 2) + 1;
    if (kind === 0) {
      if (count > 60) {
        const extra = count - 60;
        if (s + extra > end) throw malformed('a literal length is truncated', element);
        count = littleEndian(src, s, extra) + 1;
        s += extra;
      }
      if (s + count > end) throw malformed(`a literal of ${count} bytes is truncated`, element);
      if (d + count > declared) throw overrun(count, d, declared, element);
      if (s + count + 16 <= end) {
        dstView.setBigUint64(d, srcView.getBigUint64(s, true), true);
        for (let i = 8; i < count; i += 8)
          dstView.setBigUint64(d + i, srcView.getBigUint64(s + i, true), true);
      } else {
        for (let i = 0; i < count; i++) dst[d + i] = src[s + i]!;
      }
      s += count;
      d += count;
      continue;
    }
    let offset: number;
    if (kind === 2) {
      if (s + 2 > end) throw malformed('a copy is truncated', element);
      offset = src[s]! | (src[s + 1]! << 8);
      s += 2;
    } else if (kind === 1) {
      if (s + 1 > end) throw malformed('a copy is truncated', element);
      count = ((tag >>> 2) & 7) + 4;
      offset = ((tag >>> 5) << 8) | src[s]!;
      s += 1;
    } else {
      if (s + 4 > end) throw malformed('a copy is truncated', element);
      offset = srcView.getUint32(s, true);
      s += 4;
    }
    if (offset === 0 || offset > d)
      throw malformed(`a copy from ${offset} bytes back with ${d} written`, element);
    if (d + count > declared) throw overrun(count, d, declared, element);
    const from = d - offset;
    if (offset < 8) {
      for (let i = 0; i < count; i++) dst[d + i] = dst[from + i]!;
    } else {
      dstView.setBigUint64(d, dstView.getBigUint64(from, true), true);
      dstView.setBigUint64(d + 8, dstView.getBigUint64(from + 8, true), true);
      if (count > 16) {
        dstView.setBigUint64(d + 16, dstView.getBigUint64(from + 16, true), true);
        dstView.setBigUint64(d + 24, dstView.getBigUint64(from + 24, true), true);
        if (count > 32) {
          dstView.setBigUint64(d + 32, dstView.getBigUint64(from + 32, true), true);
          dstView.setBigUint64(d + 40, dstView.getBigUint64(from + 40, true), true);
          dstView.setBigUint64(d + 48, dstView.getBigUint64(from + 48, true), true);
          dstView.setBigUint64(d + 56, dstView.getBigUint64(from + 56, true), true);
        }
      }
    }
    d += count;
  }
  if (d !== declared) throw malformed(`${d} bytes decoded, the preamble says ${declared}`, end);
}

/** One to four bytes as an unsigned number. */
function littleEndian(src: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let i = count - 1; i >= 0; i--) value = value * 256 + src[at + i]!;
  return value;
}

function overrun(count: number, written: number, declared: number, offset: number): AppError {
  return malformed(`${count} more bytes after ${written} pass the declared length ${declared}`, offset);
}

function malformed(what: string, offset: number): AppError {
  return new AppError('bad_data', `malformed snappy block: ${what} (at offset ${offset})`);
}

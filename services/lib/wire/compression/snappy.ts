// Snappy's block format. The declared length is read and checked first, so that nothing is allocated on a sender's word; the
// elements are decoded by the kernel (kernel/assembly/snappy.ts). The compressor is in snappy-compress.ts; layout in docs/snappy.md.
// (Native bindings were slower here: each call allocates an external buffer.)
import { assert } from '../../core/assert.ts';
import { AppError } from '../../core/errors.ts';
import { WireKernel } from '../kernel/wire-kernel.ts';

/** Largest decoded block that is accepted unless the caller says otherwise; what Prometheus' own receiver takes. */
export const SNAPPY_DECODED_BYTES_MAX = 32 * 1024 * 1024;

/** Room behind the decoded bytes that the decoder may scribble on: it copies 16, 32 or 64 bytes whatever is left. */
export const SNAPPY_SLACK_BYTES = 64;

/** A copy of 64 bytes takes three: no valid block grows more than this, so one that claims to is refused unread. */
export const SNAPPY_GROWTH_MAX = 22;

const PREAMBLE_BYTES_MAX = 5;

/** Blocks that need no more than this, decoded bytes included, are decoded in a memory that is kept. */
const SCRATCH_BYTES = 4 << 20;

/** Holds nothing from one call to the next. */
const scratch = new WireKernel(SCRATCH_BYTES);

/** For blocks that are larger, one after the other: a memory for each would be garbage faster than it is collected. */
let large: WeakRef<WireKernel> | undefined;

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
 * @param dst  At least the declared length plus SNAPPY_SLACK_BYTES long; what is behind the declared length is left alone.
 * @returns    Bytes decoded, which is the declared length.
 * @throws AppError `bad_data` with the offset, on every block that breaks the format; `dst` is as it was then.
 *
 * Cost: O(decoded bytes).
 */
export function decompressSnappy(src: Uint8Array, dst: Uint8Array): number {
  const declared = plausibleBytes(src);
  assert(
    dst.length >= declared + SNAPPY_SLACK_BYTES,
    `snappy: room ${dst.length} >= ${declared} + ${SNAPPY_SLACK_BYTES}`,
  );
  dst.set(decompressSnappyIn(scratch, SCRATCH_BYTES, src));
  return declared;
}

/**
 * Decompresses one block into a kernel's memory.
 *
 * @param kernel     Its room is overwritten.
 * @param roomBytes  So much of it at most. A block that needs more is decoded in a memory that goes when none has come for a while.
 * @returns          The decoded bytes, valid until the next block is decoded.
 * @throws AppError `bad_data` as `decompressSnappy`.
 */
export function decompressSnappyIn(kernel: WireKernel, roomBytes: number, src: Uint8Array): Uint8Array {
  const needed = snappyRoomBytes(src);
  return decodeIn(needed <= roomBytes ? kernel : largeKernel(needed), src, plausibleBytes(src));
}

function largeKernel(roomBytes: number): WireKernel {
  const kept = large?.deref();
  if (kept !== undefined && kept.bytes.length - kept.room >= roomBytes) return kept;
  const kernel = new WireKernel(roomBytes);
  large = new WeakRef(kernel);
  return kernel;
}

/** Room of a kernel that a block needs. @throws AppError `bad_data` when it cannot hold what it declares. */
export function snappyRoomBytes(src: Uint8Array): number {
  return src.length + plausibleBytes(src) + 2 * SNAPPY_SLACK_BYTES;
}

/** Source and decoded bytes stand in the kernel's room, with slack behind each. */
function decodeIn(kernel: WireKernel, src: Uint8Array, declared: number): Uint8Array {
  const { exports, room } = kernel;
  const to = room + src.length + SNAPPY_SLACK_BYTES;
  kernel.bytes.set(src, room);
  let elements = 1;
  while (src[elements - 1]! >= 128) elements++;
  const fault = exports.decodeElements(room + elements, room + src.length, to, declared);
  if (fault !== 0) throw faultOf(kernel, fault, declared);
  return kernel.bytes.subarray(to, to + declared);
}

/** The declared length. @throws AppError `bad_data` when the block cannot hold as much. */
function plausibleBytes(src: Uint8Array): number {
  const declared = snappyDecodedBytes(src);
  if (declared > src.length * SNAPPY_GROWTH_MAX) {
    throw malformed(`${src.length} bytes cannot hold the ${declared} that they declare`, 0);
  }
  return declared;
}

/** What the kernel found wrong, in words. */
function faultOf({ exports, room }: WireKernel, fault: number, declared: number): AppError {
  const at = exports.faultAt.value - room;
  const decoded = exports.faultDecoded.value;
  const number = exports.faultNumber.value >>> 0;
  switch (fault) {
    case exports.FAULT_LENGTH_TRUNCATED.value:
      return malformed('a literal length is truncated', at);
    case exports.FAULT_LITERAL_TRUNCATED.value:
      return malformed(`a literal of ${number + 1} bytes is truncated`, at);
    case exports.FAULT_COPY_TRUNCATED.value:
      return malformed('a copy is truncated', at);
    case exports.FAULT_OFFSET.value:
      return malformed(`a copy from ${number} bytes back with ${decoded} written`, at);
    case exports.FAULT_OVERRUN.value:
      return malformed(`${number + 1} more bytes after ${decoded} pass the declared length ${declared}`, at);
    default:
      return malformed(`${decoded} bytes decoded, the preamble says ${declared}`, at);
  }
}

function malformed(what: string, offset: number): AppError {
  return new AppError('bad_data', `malformed snappy block: ${what} (at offset ${offset})`);
}

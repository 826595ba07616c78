// The compressing side of snappy.ts: valid blocks by a greedy matcher, for tests, the load generator and remote read.
// Smaller output is not its aim.
import { ByteWriter, putVarint } from '../../core/bytes.ts';

/** Matches are sought within fragments of this size, so that every offset fits a two-byte copy. */
const FRAGMENT_BYTES = 1 << 16;
const HASH_BITS = 14;
const MATCH_BYTES_MIN = 4;
const COPY_BYTES_MAX = 64;

/**
 * Compresses `src` into one block.
 *
 * @returns A buffer of its own length, owned by the caller.
 *
 * Cost: O(n); allocates the output and a table of 64 KiB. Reentrant.
 */
export function compressSnappy(src: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter(32 + src.length + Math.floor(src.length / 6));
  out.reserve(8);
  out.length = putVarint(out.bytes, 0, src.length);
  const table = new Int32Array(1 << HASH_BITS);
  for (let start = 0; start < src.length; start += FRAGMENT_BYTES) {
    compressFragment(out, src, start, Math.min(src.length, start + FRAGMENT_BYTES), table);
  }
  return out.take();
}

function compressFragment(
  out: ByteWriter,
  src: Uint8Array,
  start: number,
  end: number,
  table: Int32Array,
): void {
  table.fill(-1);
  const view = new DataView(src.buffer, src.byteOffset, src.byteLength);
  let literalStart = start;
  let at = start;
  while (at + MATCH_BYTES_MIN <= end) {
    const word = view.getUint32(at, true);
    const slot = Math.imul(word, 0x1e35a7bd) >>> (32 - HASH_BITS);
    const candidate = table[slot]!;
    table[slot] = at;
    if (candidate < 0 || view.getUint32(candidate, true) !== word) {
      at++;
      continue;
    }
    let length = MATCH_BYTES_MIN;
    while (at + length < end && src[candidate + length] === src[at + length]) length++;
    putLiteral(out, src, literalStart, at);
    putCopies(out, at - candidate, length);
    at += length;
    literalStart = at;
  }
  putLiteral(out, src, literalStart, end);
}

function putLiteral(out: ByteWriter, src: Uint8Array, start: number, end: number): void {
  const count = end - start;
  if (count === 0) return;
  const code = count - 1;
  if (code < 60) {
    out.u8(code << 2);
  } else if (code < 256) {
    out.u8(60 << 2);
    out.u8(code);
  } else {
    out.u8(61 << 2);
    out.u16(code);
  }
  out.raw(src, start, end);
}

function putCopies(out: ByteWriter, offset: number, length: number): void {
  let rest = length;
  while (rest > 0) {
    const count = Math.min(rest, COPY_BYTES_MAX);
    out.u8(((count - 1) << 2) | 2);
    out.u16(offset);
    rest -= count;
  }
}

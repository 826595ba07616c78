// Decodes one integer column of a column chunk (docs/format/chunk-columns.md, "Integer column") into doubles.
import { type ColumnCursor, corruptColumns } from './column-cursor.ts';
import { KIND_FACTOR, KIND_ORDER_MASK, KIND_PATCHED, WIDTH_BITS_MAX } from './columns-format.ts';

/** Bytes behind an entry's first that unpacking may touch. */
const WINDOW_BYTES = 10;
const TWO_32 = 4_294_967_296;

/**
 * Reads a column of `count` integers into out[at, at + count) and moves the cursor behind it.
 *
 * @returns  False when all of them are zero: what a regular grid of times makes of itself.
 * @throws AppError `internal` when the bytes are not a whole column. Integers beyond 2^53 are the caller's to find: sums
 *         of forged differences are rounded, nothing worse.
 *
 * Cost: O(count), 2 to 4 ns each, no allocation.
 */
export function decodeIntegerColumn(
  cursor: ColumnCursor,
  out: Float64Array,
  at: number,
  count: number,
): boolean {
  const kind = cursor.u8();
  const width = cursor.u8();
  const order = kind & KIND_ORDER_MASK;
  if (kind > 15 || order > 2 || width > WIDTH_BITS_MAX || order > count) {
    throw corruptColumns(`column of kind ${kind}, ${width} bits, ${count} entries`);
  }
  for (let i = 0; i < order; i++) out[at + i] = cursor.zigzag();
  const base = cursor.zigzag();
  const factor = (kind & KIND_FACTOR) === 0 ? 1 : cursor.varint();
  const first = at + order;
  const end = at + count;
  let patchesAt = -1;
  if ((kind & KIND_PATCHED) !== 0) {
    patchesAt = cursor.position;
    skipPatches(cursor, count - order);
  }
  const packedAt = cursor.skip(Math.ceil(((count - order) * width) / 8));
  if (width === 0) out.fill(base, first, end);
  else if (width <= 32) unpackNarrow(cursor.bytes, packedAt, width, base, factor, out, first, end);
  else unpackWide(cursor.bytes, packedAt, width, base, factor, out, first, end);
  if (patchesAt >= 0) {
    const behind = cursor.position;
    cursor.position = patchesAt;
    applyPatches(cursor, out, first);
    cursor.position = behind;
  }
  if (order === 0) return kind !== 0 || width !== 0 || base !== 0;
  if (order === 2) sum(out, first - 1, end);
  sum(out, at, end);
  return true;
}

/** Walks over the patches and checks that they lie within the column. */
function skipPatches(cursor: ColumnCursor, entries: number): void {
  const patches = cursor.varint();
  let next = 0;
  // Each takes two bytes or more, so the chunk's length bounds the loop.
  for (let i = 0; i < patches; i++) {
    next += cursor.varint() + 1;
    if (next > entries) throw corruptColumns(`a patch of entry ${next - 1} of ${entries}`);
    cursor.zigzag();
  }
}

function applyPatches(cursor: ColumnCursor, out: Float64Array, first: number): void {
  const patches = cursor.varint();
  let next = first;
  for (let i = 0; i < patches; i++) {
    next += cursor.varint();
    out[next++] = cursor.zigzag();
  }
}

/** Running sums over out[from, to). */
function sum(out: Float64Array, from: number, to: number): void {
  let total = out[from]!;
  for (let i = from + 1; i < to; i++) {
    total += out[i]!;
    out[i] = total;
  }
}

// Hot! Entries of 1 to 32 bits, each from a window of five bytes; those near the buffer's end by single bytes.
function unpackNarrow(
  bytes: Uint8Array,
  packedAt: number,
  width: number,
  base: number,
  factor: number,
  out: Float64Array,
  first: number,
  end: number,
): void {
  const fastEnd = Math.min(end, first + windowed(bytes, packedAt, width));
  const drop = 32 - width;
  let bit = 0;
  for (let i = first; i < fastEnd; i++) {
    const p = packedAt + (bit >>> 3);
    const shift = bit & 7;
    const word = (bytes[p]! << 24) | (bytes[p + 1]! << 16) | (bytes[p + 2]! << 8) | bytes[p + 3]!;
    const entry = ((word << shift) | (bytes[p + 4]! >>> (8 - shift))) >>> drop;
    out[i] = base + factor * entry;
    bit += width;
  }
  for (let i = fastEnd; i < end; i++) {
    out[i] = base + factor * bitsAt(bytes, packedAt, bit, width);
    bit += width;
  }
}

/** Entries of 33 to 53 bits: the upper width - 32, then the lower 32. */
function unpackWide(
  bytes: Uint8Array,
  packedAt: number,
  width: number,
  base: number,
  factor: number,
  out: Float64Array,
  first: number,
  end: number,
): void {
  let bit = 0;
  for (let i = first; i < end; i++) {
    const upper = bitsAt(bytes, packedAt, bit, width - 32);
    const lower = bitsAt(bytes, packedAt, bit + width - 32, 32);
    out[i] = base + factor * (upper * TWO_32 + lower);
    bit += width;
  }
}

/** Entries whose window lies within the buffer. */
function windowed(bytes: Uint8Array, packedAt: number, width: number): number {
  return Math.max(0, Math.floor(((bytes.length - packedAt - WINDOW_BYTES) * 8) / width));
}

/** `count` (1 to 32) bits from bit `bit` behind byte `at`, touching only the bytes they stand in. */
function bitsAt(bytes: Uint8Array, at: number, bit: number, count: number): number {
  let position = at + (bit >>> 3);
  let have = 8 - (bit & 7);
  let value = bytes[position++]! & (0xff >>> (bit & 7));
  while (have < count) {
    value = value * 256 + bytes[position++]!;
    have += 8;
  }
  return Math.floor(value / 2 ** (have - count));
}

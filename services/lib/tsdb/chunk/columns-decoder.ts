// Decodes column chunks (docs/format/chunk-columns.md): times as a grid and what deviates from it, values as integers
// over a power of ten, both unpacked straight into the caller's columns.
import type { SampleColumns } from '../../model/sample-columns.ts';
import { ColumnCursor, corruptColumns } from './column-cursor.ts';
import {
  COLUMNS_SAMPLES_MAX,
  EXPONENT_MAX,
  FORM_CONSTANT,
  FORM_EXCEPTIONS,
  FORM_EXPONENT_MASK,
  POWERS_OF_TEN,
} from './columns-format.ts';
import { decodeIntegerColumn } from './integer-column-decoder.ts';

/**
 * Decodes one column chunk and appends its samples to caller-owned columns.
 *
 * @param bytes  Holds the chunk in bytes[start, end). Read only, not retained.
 * @param into   Grows by the chunk's samples; timestamps of one chunk ascend strictly. `count` is unchanged when this
 *               throws.
 * @throws AppError `internal` when the bytes are not a whole chunk. Callers skip the chunk or fail the query.
 *
 * Cost: O(n), 2 to 6 ns per sample, one small object per chunk and growth of `into`. Reentrant.
 */
export function decodeColumnsChunk(bytes: Uint8Array, start: number, end: number, into: SampleColumns): void {
  const cursor = new ColumnCursor(bytes, start, end);
  const count = cursor.varint();
  if (count === 0 || count > COLUMNS_SAMPLES_MAX) {
    throw corruptColumns(`${count} samples; 1 to ${COLUMNS_SAMPLES_MAX} fit`);
  }
  into.reserve(into.count + count);
  decodeTimes(cursor, into.timestampsMs, into.count, count);
  decodeValues(cursor, into.values, into.words, into.count, count);
  if (cursor.remaining !== 0) throw corruptColumns(`${cursor.remaining} bytes behind its values`);
  into.count += count;
}

function decodeTimes(cursor: ColumnCursor, times: Float64Array, at: number, count: number): void {
  const stepMs = cursor.varint();
  const firstMs = cursor.zigzag();
  const deviates = decodeIntegerColumn(cursor, times, at, count);
  if (deviates) addGrid(times, at, count, firstMs, stepMs);
  else fillGrid(times, at, count, firstMs, stepMs);
  if (!isSafeAscending(times, at, count)) {
    throw corruptColumns(`times from ${firstMs} ms in steps of ${stepMs} ms do not ascend within 2^53`);
  }
}

function fillGrid(times: Float64Array, at: number, count: number, firstMs: number, stepMs: number): void {
  for (let i = 0; i < count; i++) times[at + i] = firstMs + i * stepMs;
}

function addGrid(times: Float64Array, at: number, count: number, firstMs: number, stepMs: number): void {
  for (let i = 0; i < count; i++) times[at + i] = firstMs + i * stepMs + times[at + i]!;
}

function isSafeAscending(times: Float64Array, at: number, count: number): boolean {
  for (let i = at + 1; i < at + count; i++) if (!(times[i]! > times[i - 1]!)) return false;
  return Number.isSafeInteger(times[at]!) && Number.isSafeInteger(times[at + count - 1]!);
}

function decodeValues(
  cursor: ColumnCursor,
  values: Float64Array,
  words: Uint32Array,
  at: number,
  count: number,
): void {
  const form = cursor.u8();
  const exponent = form & FORM_EXPONENT_MASK;
  if (form === FORM_CONSTANT) {
    fillWords(words, at, count, cursor.u32(), cursor.u32());
    return;
  }
  if (form > (FORM_EXCEPTIONS | EXPONENT_MAX) || exponent > EXPONENT_MAX) {
    throw corruptColumns(`values of form ${form}`);
  }
  let exceptionsAt = -1;
  if ((form & FORM_EXCEPTIONS) !== 0) {
    exceptionsAt = cursor.position;
    skipExceptions(cursor, count);
  }
  decodeIntegerColumn(cursor, values, at, count);
  if (exponent > 0) divide(values, at, at + count, POWERS_OF_TEN[exponent]!);
  if (exceptionsAt >= 0) {
    const behind = cursor.position;
    cursor.position = exceptionsAt;
    applyExceptions(cursor, words, at);
    cursor.position = behind;
  }
}

function fillWords(words: Uint32Array, at: number, count: number, low: number, high: number): void {
  for (let i = at; i < at + count; i++) {
    words[2 * i] = low;
    words[2 * i + 1] = high;
  }
}

function divide(values: Float64Array, from: number, to: number, power: number): void {
  for (let i = from; i < to; i++) values[i] = values[i]! / power;
}

/** Walks over the exceptions and checks that they lie within the chunk. */
function skipExceptions(cursor: ColumnCursor, count: number): void {
  const exceptions = cursor.varint();
  let next = 0;
  // Each takes nine bytes or more, so the chunk's length bounds the loop.
  for (let i = 0; i < exceptions; i++) {
    next += cursor.varint() + 1;
    if (next > count) throw corruptColumns(`an exception at sample ${next - 1} of ${count}`);
    cursor.skip(8);
  }
}

function applyExceptions(cursor: ColumnCursor, words: Uint32Array, at: number): void {
  const exceptions = cursor.varint();
  let next = at;
  for (let i = 0; i < exceptions; i++) {
    next += cursor.varint();
    words[2 * next] = cursor.u32();
    words[2 * next + 1] = cursor.u32();
    next++;
  }
}

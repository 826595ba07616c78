// Chunks of aggregate cells, and of the weights of histograms (docs/format/chunk-aggregates.md): columns of what stands for
// downsampled samples, each written as the chunk of floats that it is, or as a reference to another column.
import { assert } from '../../core/assert.ts';
import { ByteReader, ByteWriter } from '../../core/bytes.ts';
import { AppError, toAppError } from '../../core/errors.ts';
import type { AggregateCells } from '../../model/aggregate-cells.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { ChunkEncoder } from './chunk-encoder.ts';
import { ColumnCursor } from './column-cursor.ts';
import { decodeChunk } from './decode-chunk.ts';
import { decodeIntegerColumn } from './integer-column-decoder.ts';
import { IntegerColumnEncoder } from './integer-column-encoder.ts';

/** Most cells of one chunk; bounds what a reader allocates. */
export const CELLS_MAX = 4096;
/** Coarsest resolution, ms: 34 years. Finer than the reader's arithmetic needs. */
export const RESOLUTION_MS_MAX = 2 ** 40;

const FORM_OWN = 0;
const FORM_AS_LAST = 1;
const FORM_AS_FIRST = 2;
const FORM_ZERO = 3;

/** Which multiple of the resolution ends the range that a time is in: (k·R − R, k·R]. */
export function cellEnd(timeMs: number, resolutionMs: number): number {
  return Math.ceil(timeMs / resolutionMs) * resolutionMs;
}

/** Encodes chunk by chunk; keeps its scratch. Not reentrant. */
export class AggregateChunkEncoder {
  readonly #cellsMax: number;
  readonly #floats: ChunkEncoder;
  readonly #integers: IntegerColumnEncoder;
  readonly #ordinals: Float64Array;
  readonly #embedded = new ByteWriter(1024);

  /** @param cellsMax  Most cells of a chunk. */
  constructor(cellsMax: number) {
    assert(cellsMax <= CELLS_MAX, `${cellsMax} cells <= ${CELLS_MAX}`);
    this.#cellsMax = cellsMax;
    this.#floats = new ChunkEncoder(cellsMax);
    this.#integers = new IntegerColumnEncoder(cellsMax);
    this.#ordinals = Float64Array.from({ length: cellsMax }, (_, i) => i);
  }

  /**
   * Appends one chunk with cells from `from` on: as many as have the same resolution and fit.
   *
   * @param cells  Ascending, none overlapping another.
   * @returns      The first cell that is not in the chunk.
   */
  encode(cells: AggregateCells, from: number, dst: ByteWriter): number {
    const resolutionMs = cells.resolutionsMs[from]!;
    const limit = Math.min(cells.count, from + this.#cellsMax);
    let to = from + 1;
    while (to < limit && cells.resolutionsMs[to] === resolutionMs) to++;
    const count = to - from;
    dst.varint(resolutionMs);
    dst.varint(count);
    this.#putFloats(cells.lastTimesMs.subarray(from, to), cells.lasts.subarray(from, to), count, dst);
    const { entries } = this.#integers;
    for (let i = 0; i < count; i++) entries[i] = cells.lastTimesMs[from + i]! - cells.firstTimesMs[from + i]!;
    this.#putIntegers(count, dst);
    for (let i = 0; i < count; i++) entries[i] = cells.counts[from + i]! - 1;
    this.#putIntegers(count, dst);
    const lasts = cells.lasts.subarray(from, to);
    const firsts = cells.firsts.subarray(from, to);
    this.#putValues(firsts, lasts, lasts, dst);
    for (const column of [cells.mins, cells.maxs, cells.sums, cells.corrections]) {
      this.#putValues(column.subarray(from, to), lasts, firsts, dst);
    }
    return to;
  }

  #putIntegers(count: number, dst: ByteWriter): void {
    const isWritten = this.#integers.encode(count, dst);
    assert(isWritten, 'ages and counts of cells are small integers');
  }

  #putValues(column: Float64Array, lasts: Float64Array, firsts: Float64Array, dst: ByteWriter): void {
    if (isZero(column)) dst.u8(FORM_ZERO);
    else if (isEqual(column, lasts)) dst.u8(FORM_AS_LAST);
    else if (isEqual(column, firsts) && column !== firsts) dst.u8(FORM_AS_FIRST);
    else {
      dst.u8(FORM_OWN);
      this.#putFloats(this.#ordinals, column, column.length, dst);
    }
  }

  #putFloats(times: Float64Array, values: Float64Array, count: number, dst: ByteWriter): void {
    this.#embedded.reset();
    const encoding = this.#floats.encode(times, values, 0, count, this.#embedded);
    dst.u8(encoding);
    dst.varint(this.#embedded.length);
    dst.raw(this.#embedded.bytes, 0, this.#embedded.length);
  }
}

function isZero(column: Float64Array): boolean {
  return column.every((value) => Object.is(value, 0));
}

/** Bit for bit. */
function isEqual(a: Float64Array, b: Float64Array): boolean {
  const wordsOfA = wordsOf(a);
  const wordsOfB = wordsOf(b);
  return wordsOfA.every((word, i) => word === wordsOfB[i]);
}

/**
 * Appends the cells of a chunk in bytes[start, end).
 *
 * @throws AppError `internal` when the bytes are not a whole chunk, or its cells contradict one another.
 */
export function decodeAggregateChunk(
  bytes: Uint8Array,
  start: number,
  end: number,
  into: AggregateCells,
): void {
  try {
    new AggregateChunkReader(bytes, start, end, into).read();
  } catch (caught) {
    const error = toAppError(caught);
    throw new AppError('internal', `corrupt aggregate chunk: ${error.message}`, { cause: error });
  }
}

class AggregateChunkReader {
  readonly #reader: ByteReader;
  readonly #into: AggregateCells;
  readonly #columns = new SampleColumns(64);
  #count = 0;

  constructor(bytes: Uint8Array, start: number, end: number, into: AggregateCells) {
    this.#reader = new ByteReader(bytes, start, end);
    this.#into = into;
  }

  read(): void {
    const reader = this.#reader;
    const into = this.#into;
    const resolutionMs = reader.varint();
    this.#count = reader.varint();
    if (resolutionMs < 1 || resolutionMs > RESOLUTION_MS_MAX)
      throw corrupt(`a resolution of ${resolutionMs} ms`);
    if (this.#count < 1 || this.#count > CELLS_MAX) throw corrupt(`${this.#count} cells`);
    const at = into.count;
    into.reserve(at + this.#count);
    this.#readFloats();
    into.lastTimesMs.set(this.#columns.timestampsMs.subarray(0, this.#count), at);
    into.lasts.set(this.#columns.values.subarray(0, this.#count), at);
    this.#readIntegers(into.firstTimesMs, at);
    this.#readIntegers(into.counts, at);
    this.#settle(at, resolutionMs);
    for (const column of [into.firsts, into.mins, into.maxs, into.sums, into.corrections])
      this.#readValues(column, at);
    if (reader.remaining !== 0) throw corrupt(`${reader.remaining} bytes behind its columns`);
    into.count = at + this.#count;
  }

  /** Makes times of ages and counts of what was written, and checks both. */
  #settle(at: number, resolutionMs: number): void {
    const { resolutionsMs, firstTimesMs, lastTimesMs, counts } = this.#into;
    for (let i = at; i < at + this.#count; i++) {
      const ageMs = firstTimesMs[i]!;
      const lastMs = lastTimesMs[i]!;
      const firstMs = lastMs - ageMs;
      counts[i] = counts[i]! + 1;
      const isSound =
        ageMs >= 0 &&
        Number.isSafeInteger(firstMs) &&
        Number.isSafeInteger(counts[i]) &&
        counts[i]! >= 1 &&
        counts[i]! <= ageMs + 1 &&
        cellEnd(firstMs, resolutionMs) === cellEnd(lastMs, resolutionMs) &&
        (i === at || firstMs > lastTimesMs[i - 1]!);
      if (!isSound) throw corrupt(`a cell of ${counts[i]} samples from ${firstMs} to ${lastMs}`);
      firstTimesMs[i] = firstMs;
      resolutionsMs[i] = resolutionMs;
    }
  }

  #readValues(out: Float64Array, at: number): void {
    const form = this.#reader.u8();
    const { firsts, lasts } = this.#into;
    const end = at + this.#count;
    if (form === FORM_ZERO) out.fill(0, at, end);
    else if (form === FORM_AS_LAST) out.set(lasts.subarray(at, end), at);
    else if (form === FORM_AS_FIRST && out !== firsts) out.set(firsts.subarray(at, end), at);
    else if (form === FORM_OWN) {
      this.#readFloats();
      out.set(this.#columns.values.subarray(0, this.#count), at);
    } else throw corrupt(`values of form ${form}`);
  }

  #readFloats(): void {
    const encoding = this.#reader.u8();
    const length = this.#reader.varint();
    const at = this.#reader.position;
    this.#reader.skip(length);
    this.#columns.count = 0;
    decodeChunk(encoding, this.#reader.bytes, at, at + length, this.#columns);
    if (this.#columns.count !== this.#count)
      throw corrupt(`${this.#columns.count} floats of ${this.#count} cells`);
  }

  #readIntegers(out: Float64Array, at: number): void {
    const reader = this.#reader;
    const cursor = new ColumnCursor(reader.bytes, reader.position, reader.end);
    decodeIntegerColumn(cursor, out, at, this.#count);
    reader.position = cursor.position;
  }
}

/** How many histograms those stand for that were kept: at their times, weights above 1. */
export class HistogramWeights {
  readonly columns = new SampleColumns(64);
  /** Milliseconds; the coarsest where several were added. */
  resolutionMs = 0;

  get count(): number {
    return this.columns.count;
  }

  clear(): void {
    this.columns.count = 0;
    this.resolutionMs = 0;
  }

  add(timeMs: number, weight: number): void {
    const { columns } = this;
    columns.reserve(columns.count + 1);
    columns.timestampsMs[columns.count] = timeMs;
    columns.values[columns.count++] = weight;
  }
}

/** Appends weights [from, to) as one chunk. */
export function encodeWeights(
  encoder: ChunkEncoder,
  { columns: weights, resolutionMs }: HistogramWeights,
  from: number,
  to: number,
  dst: ByteWriter,
): void {
  const chunk = new ByteWriter(256);
  dst.varint(resolutionMs);
  dst.u8(encoder.encode(weights.timestampsMs, weights.values, from, to, chunk));
  dst.raw(chunk.bytes, 0, chunk.length);
}

/** Appends the weights of a chunk in bytes[start, end). @throws AppError `internal` when they are no whole chunk. */
export function decodeWeights(bytes: Uint8Array, start: number, end: number, into: HistogramWeights): void {
  try {
    const reader = new ByteReader(bytes, start, end);
    const resolutionMs = reader.varint();
    if (resolutionMs < 1 || resolutionMs > RESOLUTION_MS_MAX)
      throw corrupt(`a resolution of ${resolutionMs} ms`);
    const encoding = reader.u8();
    const { columns } = into;
    const from = columns.count;
    decodeChunk(encoding, bytes, reader.position, end, columns);
    for (let i = from; i < columns.count; i++) {
      const weight = columns.values[i]!;
      if (!(Number.isSafeInteger(weight) && weight >= 1)) throw corrupt(`a weight of ${weight}`);
    }
    into.resolutionMs = Math.max(into.resolutionMs, resolutionMs);
  } catch (caught) {
    const error = toAppError(caught);
    throw new AppError('internal', `corrupt weight chunk: ${error.message}`, { cause: error });
  }
}

function corrupt(reason: string): AppError {
  return new AppError('internal', reason);
}

// Decodes histogram chunks (docs/format/chunk-histograms.md): columns back into histograms.
import { ByteReader } from '../../core/bytes.ts';
import { AppError, toAppError } from '../../core/errors.ts';
import { CUSTOM_BUCKETS_SCHEMA, FloatHistogram } from '../../model/float-histogram.ts';
import {
  COUNTER_RESET_HINTS,
  type CountsKind,
  checkHistogram,
  HISTOGRAM_BUCKETS_MAX,
  readIndexes,
} from '../../model/histogram-codec.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { ColumnCursor } from './column-cursor.ts';
import { decodeChunk } from './decode-chunk.ts';
import {
  COLUMN_FLOATS,
  COLUMN_INTEGERS,
  COLUMN_REST,
  FIXED_COLUMNS,
  HISTOGRAM_CELLS_MAX,
  HISTOGRAM_SAMPLES_MAX,
  RUN_FLAGS_ALL,
  RUN_HINT_MASK,
  RUN_INTEGER,
  RUN_SOME_NEGATIVE,
  RUN_SOME_POSITIVE,
  SHAPE_CUSTOM,
  SUMS_CORRECTED,
  SUMS_PLAIN,
} from './histogram-chunk-format.ts';
import type { HistogramSamples } from './histogram-samples.ts';
import { decodeIntegerColumn } from './integer-column-decoder.ts';

/** The least that a column takes: form, kind, width, base. */
const COLUMN_BYTES_MIN = 4;
const TWO_32 = 2 ** 32;

/** One kind of histograms in a row. */
interface Run {
  readonly end: number;
  readonly hint: FloatHistogram['hint'];
  readonly kind: CountsKind;
  /** Positions of its buckets among those of the chunk, and their indexes. */
  readonly positive: BucketPlaces;
  readonly negative: BucketPlaces;
}

interface BucketPlaces {
  readonly places: readonly number[];
  readonly indexes: number[];
}

/**
 * Decodes one chunk and appends its samples.
 *
 * @param bytes  Holds the chunk in bytes[start, end). Read only, not retained.
 * @param into   Samples of one run share the lists of their bucket indexes. Unchanged when this throws.
 * @throws AppError `internal` when the bytes are not a whole chunk.
 */
export function decodeHistogramChunk(
  bytes: Uint8Array,
  start: number,
  end: number,
  into: HistogramSamples,
): void {
  try {
    new HistogramChunk(new ByteReader(bytes, start, end)).appendTo(into);
  } catch (caught) {
    const error = toAppError(caught);
    if (error.code === 'internal') throw error;
    throw new AppError('internal', `corrupt histogram chunk: ${error.message}`, { cause: error });
  }
}

/** A chunk while it is decoded. */
class HistogramChunk {
  readonly #reader: ByteReader;
  readonly #count: number;
  readonly #sums = new SampleColumns(16);
  readonly #shape: FloatHistogram;
  readonly #runs: Run[] = [];
  readonly #positive: readonly number[];
  readonly #negative: readonly number[];
  readonly #cells: Float64Array;
  readonly #counts: Float64Array;

  constructor(reader: ByteReader) {
    this.#reader = reader;
    this.#count = reader.varint();
    if (this.#count === 0 || this.#count > HISTOGRAM_SAMPLES_MAX) {
      throw corrupt(`${this.#count} samples; 1 to ${HISTOGRAM_SAMPLES_MAX} fit`);
    }
    this.#readFloats(this.#sums);
    this.#correctSums();
    this.#shape = readShape(reader);
    this.#positive = readIndexList(reader);
    this.#negative = readIndexList(reader);
    const columns = this.#positive.length + this.#negative.length + FIXED_COLUMNS;
    const cells = columns * this.#count;
    if (columns * COLUMN_BYTES_MIN > reader.remaining || (this.#count > 1 && cells > HISTOGRAM_CELLS_MAX)) {
      throw corrupt(`${columns} columns of ${this.#count} samples in ${reader.remaining} bytes`);
    }
    this.#readRuns();
    this.#cells = new Float64Array(cells - this.#count);
    this.#counts = new Float64Array(this.#count);
    for (let at = 0; at < this.#cells.length; at += this.#count) this.#readColumn(this.#cells, at);
    this.#readColumn(this.#counts, 0);
    if (reader.remaining !== 0) throw corrupt(`${reader.remaining} bytes behind its columns`);
    this.#checkBuckets();
  }

  appendTo(into: HistogramSamples): void {
    const { timestampsMs, values } = this.#sums;
    const negativeAt = 1 + this.#positive.length;
    let from = 0;
    for (const { end, hint, kind, positive, negative } of this.#runs) {
      for (let i = from; i < end; i++) {
        const histogram = this.#shape.withHint(hint);
        histogram.sum = values[i]!;
        histogram.count = this.#counts[i]!;
        histogram.zeroCount = this.#cells[i]!;
        histogram.positive = { indexes: positive.indexes, counts: this.#countsAt(positive.places, 1, i) };
        histogram.negative = {
          indexes: negative.indexes,
          counts: this.#countsAt(negative.places, negativeAt, i),
        };
        into.add(timestampsMs[i]!, histogram, kind);
      }
      from = end;
    }
  }

  #countsAt(places: readonly number[], firstColumn: number, row: number): number[] {
    const counts: number[] = [];
    for (let p = 0; p < places.length; p++) {
      counts.push(this.#cells[(firstColumn + places[p]!) * this.#count + row]!);
    }
    return counts;
  }

  /** A chunk of floats within the chunk, of as many samples. */
  #readFloats(into: SampleColumns): void {
    const encoding = this.#reader.u8();
    const length = this.#reader.varint();
    const at = this.#reader.position;
    this.#reader.raw(length);
    decodeChunk(encoding, this.#reader.bytes, at, at + length, into);
    if (into.count !== this.#count) throw corrupt(`${into.count} floats of ${this.#count} samples`);
  }

  /** Adds to the sums' bits what the chunk says. */
  #correctSums(): void {
    const form = this.#reader.u8();
    if (form === SUMS_PLAIN) return;
    if (form !== SUMS_CORRECTED) throw corrupt(`sums of form ${form}`);
    const corrections = new Float64Array(this.#count);
    this.#readIntegers(corrections, 0);
    const words = wordsOf(this.#sums.values);
    for (let i = 0; i < this.#count; i++) {
      const low = words[2 * i]! + corrections[i]!;
      words[2 * i] = low;
      words[2 * i + 1] = words[2 * i + 1]! + Math.floor(low / TWO_32);
    }
  }

  #readIntegers(out: Float64Array, at: number): void {
    const cursor = new ColumnCursor(this.#reader.bytes, this.#reader.position, this.#reader.end);
    decodeIntegerColumn(cursor, out, at, this.#count);
    this.#reader.position = cursor.position;
  }

  #readRuns(): void {
    const reader = this.#reader;
    for (let from = 0; from < this.#count; ) {
      const end = from + reader.varint() + 1;
      const flags = reader.u8();
      if (end > this.#count || flags > RUN_FLAGS_ALL) throw corrupt(`run to ${end} of kind ${flags}`);
      this.#runs.push({
        end,
        hint: COUNTER_RESET_HINTS[flags & RUN_HINT_MASK]!,
        kind: (flags & RUN_INTEGER) === 0 ? 'float' : 'integer',
        positive: readPlaces(reader, this.#positive, (flags & RUN_SOME_POSITIVE) !== 0),
        negative: readPlaces(reader, this.#negative, (flags & RUN_SOME_NEGATIVE) !== 0),
      });
      from = end;
    }
  }

  #readColumn(out: Float64Array, at: number): void {
    const form = this.#reader.u8();
    const isLast = out === this.#counts;
    if (form === COLUMN_FLOATS) {
      const column = new SampleColumns(this.#count);
      this.#readFloats(column);
      out.set(column.values.subarray(0, this.#count), at);
      return;
    }
    if (form !== COLUMN_INTEGERS && !(form === COLUMN_REST && isLast))
      throw corrupt(`column of form ${form}`);
    this.#readIntegers(out, at);
    if (form === COLUMN_REST) addTotals(this.#cells, out, this.#count);
  }

  /** The widest histogram that the chunk may hold has to be one: the others have some of its buckets. */
  #checkBuckets(): void {
    const widest = this.#shape.withHint('unknown');
    widest.positive = { indexes: [...this.#positive], counts: [...this.#positive] };
    widest.negative = { indexes: [...this.#negative], counts: [...this.#negative] };
    checkHistogram(widest);
  }
}

function addTotals(cells: Float64Array, counts: Float64Array, rows: number): void {
  for (let at = 0; at < cells.length; at += rows) {
    for (let i = 0; i < rows; i++) counts[i] = counts[i]! + cells[at + i]!;
  }
}

function readShape(reader: ByteReader): FloatHistogram {
  const shape = new FloatHistogram();
  const flags = reader.u8();
  if (flags > SHAPE_CUSTOM) throw corrupt(`shape ${flags}`);
  if (flags === SHAPE_CUSTOM) {
    const count = reader.varint();
    if (count > HISTOGRAM_BUCKETS_MAX || count * 8 > reader.remaining) {
      throw corrupt(`${count} bounds in ${reader.remaining} bytes`);
    }
    shape.schema = CUSTOM_BUCKETS_SCHEMA;
    shape.customBounds = Array.from({ length: count }, () => reader.f64());
  } else {
    const cursor = new ColumnCursor(reader.bytes, reader.position, reader.end);
    shape.schema = cursor.zigzag();
    reader.position = cursor.position;
  }
  shape.zeroThreshold = reader.f64();
  return shape;
}

function readIndexList(reader: ByteReader): readonly number[] {
  const count = reader.varint();
  if (count > HISTOGRAM_BUCKETS_MAX) throw corrupt(`${count} buckets of one side`);
  const indexes: number[] = [];
  readIndexes(reader, count, indexes);
  return indexes;
}

function readPlaces(reader: ByteReader, all: readonly number[], hasBitmap: boolean): BucketPlaces {
  const places: number[] = [];
  const indexes: number[] = [];
  const bitmap = hasBitmap ? reader.raw(Math.ceil(all.length / 8)) : undefined;
  for (let at = 0; at < all.length; at++) {
    if (bitmap !== undefined && (bitmap[at >>> 3]! & (1 << (at & 7))) === 0) continue;
    places.push(at);
    indexes.push(all[at]!);
  }
  return { places, indexes };
}

function corrupt(reason: string): AppError {
  return new AppError('internal', `corrupt histogram chunk: ${reason}`);
}

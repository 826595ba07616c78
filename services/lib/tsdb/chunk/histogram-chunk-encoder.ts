// Encodes histogram samples as columns, one per bucket (docs/format/chunk-histograms.md): a bucket's count differs little
// from sample to sample, and a column of such counts packs to a few bits each. Equal samples give equal bytes.
import { assert } from '../../core/assert.ts';
import { ByteWriter } from '../../core/bytes.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { COUNTER_RESET_HINTS, putIndexes } from '../../model/histogram-codec.ts';
import { wordsOf } from '../../model/sample-columns.ts';
import { ChunkEncoder } from './chunk-encoder.ts';
import {
  COLUMN_FLOATS,
  COLUMN_INTEGERS,
  COLUMN_REST,
  FIXED_COLUMNS,
  HISTOGRAM_CELLS_MAX,
  HISTOGRAM_SAMPLES_MAX,
  RUN_INTEGER,
  RUN_SOME_NEGATIVE,
  RUN_SOME_POSITIVE,
  SHAPE_CUSTOM,
  SUMS_CORRECTED,
  SUMS_PLAIN,
} from './histogram-chunk-format.ts';
import type { HistogramSamples } from './histogram-samples.ts';
import { IntegerColumnEncoder, putZigzag } from './integer-column-encoder.ts';

/** Units that clocks and sizes come in: thousandths, millionths, billionths. */
const SUM_POWERS = [1e3, 1e6, 1e9];
/** Sums farther than this from a decimal are no sums of such. */
const CORRECTION_MAX = 2 ** 32;
const TWO_32 = 2 ** 32;

/** Encodes chunk by chunk; keeps its scratch. Not reentrant. */
export class HistogramChunkEncoder {
  readonly #samplesMax: number;
  readonly #floats: ChunkEncoder;
  readonly #integers: IntegerColumnEncoder;
  /** 0, 1, 2 …: the times of a column of floats. */
  readonly #ordinals: Float64Array;
  readonly #times: Float64Array;
  readonly #values: Float64Array;
  readonly #embedded = new ByteWriter(1024);
  readonly #trial = new ByteWriter(1024);
  readonly #rounded: Float64Array;
  #cells = new Float64Array(0);

  /** @param samplesMax  Most samples of a chunk. */
  constructor(samplesMax: number) {
    assert(samplesMax <= HISTOGRAM_SAMPLES_MAX, `${samplesMax} samples <= ${HISTOGRAM_SAMPLES_MAX}`);
    this.#samplesMax = samplesMax;
    this.#floats = new ChunkEncoder(samplesMax);
    this.#integers = new IntegerColumnEncoder(samplesMax);
    this.#ordinals = Float64Array.from({ length: samplesMax }, (_, i) => i);
    this.#times = new Float64Array(samplesMax);
    this.#values = new Float64Array(samplesMax);
    this.#rounded = new Float64Array(samplesMax);
  }

  /**
   * Appends to `dst` one chunk with the samples from `from` on: as many as have the same kind of buckets and fit a chunk.
   *
   * @param samples  Sorted, each time once; `from` is one of them.
   * @returns        Index behind the chunk's last sample.
   */
  encode(samples: HistogramSamples, from: number, dst: ByteWriter): number {
    const extent = measureChunk(samples, from, this.#samplesMax);
    const { to, positive, negative } = extent;
    const count = to - from;
    for (let i = 0; i < count; i++) this.#times[i] = samples.timestampsMs[from + i]!;
    for (let i = 0; i < count; i++) this.#values[i] = samples.histograms[from + i]!.sum;
    dst.varint(count);
    this.#putSums(count, dst);
    putShape(samples.histograms[from]!, dst);
    for (const indexes of [positive, negative]) {
      dst.varint(indexes.length);
      putIndexes(dst, indexes);
    }
    putRuns(samples, from, extent, dst);
    this.#fillCells(samples, from, extent);
    this.#putColumns(samples, from, count, positive.length + negative.length, dst);
    return to;
  }

  /**
   * Times and sums, the smallest way. Sums of decimals (latencies in whole microseconds) are near decimals themselves, off by what
   * adding doubles rounds: then the near decimals go into the floats, and the distances into a column of small integers.
   */
  #putSums(count: number, dst: ByteWriter): void {
    const startedAt = dst.length;
    this.#putFloats(this.#times, this.#values, count, dst);
    dst.u8(SUMS_PLAIN);
    let least = dst.length - startedAt;
    for (const power of SUM_POWERS) {
      const trial = this.#trial;
      trial.reset();
      if (!this.#fillCorrections(power, count)) continue;
      this.#putFloats(this.#times, this.#rounded, count, trial);
      trial.u8(SUMS_CORRECTED);
      if (!this.#integers.encode(count, trial) || trial.length >= least) continue;
      least = trial.length;
      dst.length = startedAt;
      dst.raw(trial.bytes, 0, trial.length);
    }
  }

  /** Decimals near the sums into `#rounded`, what their bits lack into the column's entries; false when some are far off. */
  #fillCorrections(power: number, count: number): boolean {
    const values = this.#values;
    const rounded = this.#rounded;
    const { entries } = this.#integers;
    for (let i = 0; i < count; i++) {
      rounded[i] = Math.round(values[i]! * power) / power;
      // The bits of a NaN that was reckoned are the machine's own.
      if (!Number.isFinite(rounded[i]!)) return false;
    }
    const words = wordsOf(values);
    const near = wordsOf(rounded);
    for (let i = 0; i < count; i++) {
      const distance = (words[2 * i + 1]! - near[2 * i + 1]!) * TWO_32 + (words[2 * i]! - near[2 * i]!);
      if (!(Math.abs(distance) <= CORRECTION_MAX)) return false;
      entries[i] = distance;
    }
    return true;
  }

  /** Counts by column: zero bucket, positive, negative buckets. */
  #fillCells(samples: HistogramSamples, from: number, { to, positive, negative }: ChunkExtent): void {
    const count = to - from;
    const needed = count * (1 + positive.length + negative.length);
    if (this.#cells.length < needed) this.#cells = new Float64Array(needed);
    const cells = this.#cells;
    cells.fill(0, 0, needed);
    const negativeAt = 1 + positive.length;
    for (let i = 0; i < count; i++) {
      const histogram = samples.histograms[from + i]!;
      cells[i] = histogram.zeroCount;
      spread(histogram.positive, positive, cells, 1, count, i);
      spread(histogram.negative, negative, cells, negativeAt, count, i);
    }
  }

  #putColumns(
    samples: HistogramSamples,
    from: number,
    count: number,
    buckets: number,
    dst: ByteWriter,
  ): void {
    const cells = this.#cells;
    const totals = this.#times;
    totals.fill(0, 0, count);
    for (let column = 0; column <= buckets; column++) {
      const at = column * count;
      this.#putColumn(cells, at, count, dst);
      // A total that is no exact sum says so by NaN.
      for (let i = 0; i < count; i++) {
        const cell = cells[at + i]!;
        const total = totals[i]! + cell;
        totals[i] =
          cell >= 0 && Number.isSafeInteger(cell) && Number.isSafeInteger(total) ? total : Number.NaN;
      }
    }
    const values = this.#values;
    let isExact = true;
    for (let i = 0; i < count; i++) {
      const value = samples.histograms[from + i]!.count;
      values[i] = value;
      if (!(totals[i]! >= 0 && isWhole(value) && value >= 0)) isExact = false;
    }
    if (!isExact) {
      this.#putColumn(values, 0, count, dst);
      return;
    }
    const { entries } = this.#integers;
    for (let i = 0; i < count; i++) entries[i] = values[i]! - totals[i]!;
    const before = dst.length;
    dst.u8(COLUMN_REST);
    if (this.#integers.encode(count, dst)) return;
    dst.length = before;
    this.#putColumn(values, 0, count, dst);
  }

  /** The column values[at, at + count). */
  #putColumn(values: Float64Array, at: number, count: number, dst: ByteWriter): void {
    const { entries } = this.#integers;
    let i = 0;
    for (; i < count; i++) {
      const value = values[at + i]!;
      if (!isWhole(value)) break;
      entries[i] = value;
    }
    if (i === count) {
      const before = dst.length;
      dst.u8(COLUMN_INTEGERS);
      if (this.#integers.encode(count, dst)) return;
      dst.length = before;
    }
    dst.u8(COLUMN_FLOATS);
    this.#putFloats(this.#ordinals, values.subarray(at, at + count), count, dst);
  }

  /** A chunk of floats within the chunk. */
  #putFloats(times: Float64Array, values: Float64Array, count: number, dst: ByteWriter): void {
    this.#embedded.reset();
    const encoding = this.#floats.encode(times, values, 0, count, this.#embedded);
    dst.u8(encoding);
    dst.varint(this.#embedded.length);
    dst.raw(this.#embedded.bytes, 0, this.#embedded.length);
  }
}

/** What one chunk takes: samples up to `to`, and all bucket indexes that occur in them. */
interface ChunkExtent {
  readonly to: number;
  readonly positive: readonly number[];
  readonly negative: readonly number[];
}

function measureChunk(samples: HistogramSamples, from: number, samplesMax: number): ChunkExtent {
  const first = samples.histograms[from]!;
  let positive: readonly number[] = first.positive.indexes;
  let negative: readonly number[] = first.negative.indexes;
  const end = Math.min(samples.count, from + samplesMax);
  let to = from + 1;
  for (; to < end; to++) {
    const histogram = samples.histograms[to]!;
    if (!isSameShape(first, histogram)) break;
    const nextPositive = union(positive, histogram.positive.indexes);
    const nextNegative = union(negative, histogram.negative.indexes);
    const columns = nextPositive.length + nextNegative.length + FIXED_COLUMNS;
    if (columns * (to + 1 - from) > HISTOGRAM_CELLS_MAX) break;
    positive = nextPositive;
    negative = nextNegative;
  }
  return { to, positive, negative };
}

function isSameShape(a: FloatHistogram, b: FloatHistogram): boolean {
  return (
    a.schema === b.schema &&
    Object.is(a.zeroThreshold, b.zeroThreshold) &&
    isSameList(a.customBounds, b.customBounds)
  );
}

function isSameList(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

/** Both ascending; `a` itself when it has all of `b`. */
function union(a: readonly number[], b: readonly number[]): readonly number[] {
  if (isSameList(a, b)) return a;
  const out: number[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (j === b.length || (i < a.length && a[i]! <= b[j]!)) {
      if (j < b.length && a[i] === b[j]) j++;
      out.push(a[i++]!);
    } else {
      out.push(b[j++]!);
    }
  }
  return out.length === a.length ? a : out;
}

function putShape(histogram: FloatHistogram, dst: ByteWriter): void {
  const { hasCustomBounds, customBounds } = histogram;
  dst.u8(hasCustomBounds ? SHAPE_CUSTOM : 0);
  if (hasCustomBounds) {
    dst.varint(customBounds.length);
    for (const bound of customBounds) dst.f64(bound);
  } else {
    putZigzag(dst, histogram.schema);
  }
  dst.f64(histogram.zeroThreshold);
}

/** Samples of the same hint, kind and buckets, as often as they come one after another. */
function putRuns(samples: HistogramSamples, from: number, extent: ChunkExtent, dst: ByteWriter): void {
  const { to, positive, negative } = extent;
  for (let i = from; i < to; ) {
    const histogram = samples.histograms[i]!;
    let end = i + 1;
    while (end < to && isSameRun(samples, i, end)) end++;
    const hasAllPositive = histogram.positive.indexes.length === positive.length;
    const hasAllNegative = histogram.negative.indexes.length === negative.length;
    dst.varint(end - i - 1);
    dst.u8(
      COUNTER_RESET_HINTS.indexOf(histogram.hint) |
        (samples.kinds[i] === 'integer' ? RUN_INTEGER : 0) |
        (hasAllPositive ? 0 : RUN_SOME_POSITIVE) |
        (hasAllNegative ? 0 : RUN_SOME_NEGATIVE),
    );
    if (!hasAllPositive) putBitmap(positive, histogram.positive.indexes, dst);
    if (!hasAllNegative) putBitmap(negative, histogram.negative.indexes, dst);
    i = end;
  }
}

function isSameRun(samples: HistogramSamples, a: number, b: number): boolean {
  const one = samples.histograms[a]!;
  const other = samples.histograms[b]!;
  return (
    one.hint === other.hint &&
    samples.kinds[a] === samples.kinds[b] &&
    isSameList(one.positive.indexes, other.positive.indexes) &&
    isSameList(one.negative.indexes, other.negative.indexes)
  );
}

/** A bit for each of `all`, lowest bit of the first byte first: set where `some` has it. */
function putBitmap(all: readonly number[], some: readonly number[], dst: ByteWriter): void {
  let next = 0;
  for (let at = 0; at < all.length; at += 8) {
    let byte = 0;
    for (let bit = 0; bit < 8 && at + bit < all.length; bit++) {
      if (next < some.length && some[next] === all[at + bit]) {
        byte |= 1 << bit;
        next++;
      }
    }
    dst.u8(byte);
  }
}

/** Puts a sample's counts into its row of the columns that begin at `firstColumn`. */
function spread(
  { indexes, counts }: FloatHistogram['positive'],
  all: readonly number[],
  cells: Float64Array,
  firstColumn: number,
  rows: number,
  row: number,
): void {
  let column = 0;
  for (let b = 0; b < indexes.length; b++) {
    while (all[column] !== indexes[b]) column++;
    cells[(firstColumn + column) * rows + row] = counts[b]!;
  }
}

/** A whole number that an integer column holds; −0 is none. */
function isWhole(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

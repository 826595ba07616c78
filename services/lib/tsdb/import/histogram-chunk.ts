// Prometheus' chunks of native histograms, integer and float (docs/format/prometheus.md). Each histogram is handed over in
// the parts that protocols carry; the parts are one object, filled anew for each.
import { AppError } from '../../core/errors.ts';
import { CUSTOM_BUCKETS_SCHEMA } from '../../model/float-histogram.ts';
import { HISTOGRAM_BUCKETS_MAX } from '../../model/histogram-codec.ts';
import { HistogramParts, type HistogramSide } from '../../model/histogram-parts.ts';
import { STALE_NAN_HIGH, STALE_NAN_LOW } from '../../model/sample-columns.ts';
import { BitReader, XorState } from './bit-reader.ts';

const HEADER_BYTES = 3;
const HINT_RESET = 2;
const HINT_GAUGE = 3;
/** Byte of a zero threshold that is written out. */
const THRESHOLD_IN_FULL = 255;
const THRESHOLD_EXPONENT = 244;
/** Bounds are written in thousandths where that is exact. */
const BOUND_UNITS = 1000;
const TIME_MS_MAX = 2 ** 51;

/** Receives a histogram; `parts` are valid during the call, and of a staleness marker only the sum is. */
export type OnHistogram = (timestampMs: number, parts: HistogramParts, isStale: boolean) => void;

/**
 * Decodes bytes[start, end), a chunk's data.
 *
 * @param isFloat  Whether it is a chunk of float histograms.
 * @throws AppError `bad_data` when it is not whole; what was handed over before stays. Counts beyond 2^53 are refused too.
 */
export function decodeHistogramChunk(
  bytes: Uint8Array,
  start: number,
  end: number,
  isFloat: boolean,
  onHistogram: OnHistogram,
): void {
  if (end - start < HEADER_BYTES)
    throw new AppError('bad_data', `${end - start} bytes are too few for a histogram chunk`);
  const count = (bytes[start]! << 8) | bytes[start + 1]!;
  if (count === 0) return;
  const bits = new BitReader(bytes, start + HEADER_BYTES, end);
  const parts = new HistogramParts();
  const buckets = readLayout(bits, parts);
  parts.isFloat = isFloat;
  const samples = isFloat
    ? new FloatSamples(bits, parts, buckets.positive, buckets.negative)
    : new IntegerSamples(bits, parts, buckets.positive, buckets.negative);
  const hint = bytes[start + 2]! >>> 6;
  let timeMs = 0;
  let deltaMs = 0;
  for (let i = 0; i < count; i++) {
    if (i === 0) timeMs = bits.signed();
    else {
      deltaMs += bits.signed();
      timeMs += deltaMs;
    }
    if (!(Math.abs(timeMs) <= TIME_MS_MAX))
      throw new AppError('bad_data', `time ${timeMs} ms is out of range`);
    if (i === 0) samples.first();
    else samples.next();
    parts.hint = hint === HINT_GAUGE ? 'gauge' : i === 0 && hint === HINT_RESET ? 'reset' : 'unknown';
    onHistogram(timeMs, parts, samples.isStale);
  }
  // Where a histogram ends with a byte, Prometheus may begin another one and leave it zero.
  const filling = bytes[end - 1] === 0 ? 16 : 8;
  if (bits.bitsLeft >= filling)
    throw new AppError('bad_data', `${bits.bytesLeft} bytes behind the last histogram`);
}

/** Reads what all histograms of the chunk share; returns how many buckets each side has. */
function readLayout(bits: BitReader, parts: HistogramParts): { positive: number; negative: number } {
  const threshold = bits.bits(8);
  if (threshold === THRESHOLD_IN_FULL) parts.zeroThreshold = bits.double();
  else parts.zeroThreshold = threshold === 0 ? 0 : 2 ** (threshold - THRESHOLD_EXPONENT);
  parts.schema = bits.signed();
  const positive = readSpans(bits, parts.positive);
  const negative = readSpans(bits, parts.negative);
  if (parts.schema === CUSTOM_BUCKETS_SCHEMA) {
    const bounds = bits.unsigned();
    checkCount(bounds);
    for (let i = 0; i < bounds; i++) {
      const code = bits.unsigned();
      parts.customBounds.push(code === 0 ? bits.double() : (code - 1) / BOUND_UNITS);
    }
  }
  return { positive, negative };
}

function readSpans(bits: BitReader, side: HistogramSide): number {
  const spans = bits.unsigned();
  checkCount(spans);
  let buckets = 0;
  for (let i = 0; i < spans; i++) {
    const length = bits.unsigned();
    side.addSpan(bits.signed(), length);
    buckets += length;
    checkCount(buckets);
  }
  return buckets;
}

function checkCount(count: number): void {
  if (count > HISTOGRAM_BUCKETS_MAX)
    throw new AppError('bad_data', `${count} buckets, spans or bounds; at most ${HISTOGRAM_BUCKETS_MAX}`);
}

function isStaleState({ high, low }: XorState): boolean {
  return low === STALE_NAN_LOW && high === STALE_NAN_HIGH;
}

/** Integer histograms: counts, and the differences between buckets, as deltas of deltas. */
class IntegerSamples {
  readonly #bits: BitReader;
  readonly #parts: HistogramParts;
  readonly #sum = new XorState();
  readonly #positive: BucketDeltas;
  readonly #negative: BucketDeltas;
  #countDelta = 0;
  #zeroDelta = 0;
  #count = 0;
  #zeroCount = 0;
  isStale = false;

  constructor(bits: BitReader, parts: HistogramParts, positive: number, negative: number) {
    this.#bits = bits;
    this.#parts = parts;
    this.#positive = new BucketDeltas(positive);
    this.#negative = new BucketDeltas(negative);
  }

  first(): void {
    const bits = this.#bits;
    this.#count = bits.unsigned();
    this.#zeroCount = bits.unsigned();
    bits.firstXor(this.#sum);
    this.#positive.first(bits);
    this.#negative.first(bits);
    this.#fill();
  }

  next(): void {
    const bits = this.#bits;
    this.#countDelta += bits.signed();
    this.#count += this.#countDelta;
    this.#zeroDelta += bits.signed();
    this.#zeroCount += this.#zeroDelta;
    bits.nextXor(this.#sum);
    if (!isStaleState(this.#sum)) {
      this.#positive.next(bits);
      this.#negative.next(bits);
    }
    this.#fill();
  }

  #fill(): void {
    const parts = this.#parts;
    this.isStale = isStaleState(this.#sum);
    parts.count = this.#count;
    parts.zeroCount = this.#zeroCount;
    parts.sum = this.#bits.valueOf(this.#sum);
    this.#positive.fill(parts.positive);
    this.#negative.fill(parts.negative);
  }
}

/** Buckets as differences to their neighbour, these as differences to the histogram before, these to the one before that. */
class BucketDeltas {
  readonly #values: Float64Array;
  readonly #deltas: Float64Array;

  constructor(count: number) {
    this.#values = new Float64Array(count);
    this.#deltas = new Float64Array(count);
  }

  first(bits: BitReader): void {
    for (let i = 0; i < this.#values.length; i++) this.#values[i] = bits.signed();
  }

  next(bits: BitReader): void {
    for (let i = 0; i < this.#values.length; i++) {
      this.#deltas[i]! += bits.signed();
      this.#values[i]! += this.#deltas[i]!;
    }
  }

  fill(side: HistogramSide): void {
    side.counts.count = 0;
    for (const delta of this.#values) side.addDelta(delta);
  }
}

/** Float histograms: every count is a column of its own, XOR-coded. */
class FloatSamples {
  readonly #bits: BitReader;
  readonly #parts: HistogramParts;
  readonly #count = new XorState();
  readonly #zeroCount = new XorState();
  readonly #sum = new XorState();
  readonly #positive: readonly XorState[];
  readonly #negative: readonly XorState[];
  isStale = false;

  constructor(bits: BitReader, parts: HistogramParts, positive: number, negative: number) {
    // A first histogram takes eight bytes for each: checked before the states are made.
    if ((positive + negative) * 8 > bits.bytesLeft)
      throw new AppError('bad_data', `${bits.bytesLeft} bytes cannot hold ${positive + negative} buckets`);
    this.#bits = bits;
    this.#parts = parts;
    this.#positive = Array.from({ length: positive }, () => new XorState());
    this.#negative = Array.from({ length: negative }, () => new XorState());
  }

  first(): void {
    const bits = this.#bits;
    for (const state of [this.#count, this.#zeroCount, this.#sum]) bits.firstXor(state);
    for (const state of this.#positive) bits.firstXor(state);
    for (const state of this.#negative) bits.firstXor(state);
    this.#fill();
  }

  next(): void {
    const bits = this.#bits;
    for (const state of [this.#count, this.#zeroCount, this.#sum]) bits.nextXor(state);
    if (!isStaleState(this.#sum)) {
      for (const state of this.#positive) bits.nextXor(state);
      for (const state of this.#negative) bits.nextXor(state);
    }
    this.#fill();
  }

  #fill(): void {
    const parts = this.#parts;
    const bits = this.#bits;
    this.isStale = isStaleState(this.#sum);
    parts.count = bits.valueOf(this.#count);
    parts.zeroCount = bits.valueOf(this.#zeroCount);
    parts.sum = bits.valueOf(this.#sum);
    fillCounts(parts.positive, this.#positive, bits);
    fillCounts(parts.negative, this.#negative, bits);
  }
}

function fillCounts(side: HistogramSide, states: readonly XorState[], bits: BitReader): void {
  side.counts.count = 0;
  for (const state of states) side.counts.push(bits.valueOf(state));
}

// Encodes whole columns as the cheaper of a column chunk (docs/format/chunk-columns.md) and an XOR chunk: what sealing
// and compaction write. Equal samples give equal bytes, whatever came before.
import { ByteWriter } from '../../core/bytes.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../model/chunk-sink.ts';
import { wordsOf } from '../../model/sample-columns.ts';
import { EXPONENT_MAX, FORM_CONSTANT, FORM_EXCEPTIONS, POWERS_OF_TEN } from './columns-format.ts';
import { IntegerColumnEncoder, putZigzag } from './integer-column-encoder.ts';
import { encodeXorChunk } from './xor-encoder.ts';

/** Of so many samples one may be no decimal; with more of them XOR is smaller. */
const SAMPLES_PER_EXCEPTION = 8;
/** Bytes per sample of a column chunk from which XOR is tried too: decimals rarely take so much. */
const XOR_TRIAL_BYTES = 3;

/** Encodes chunk by chunk; keeps its scratch. Not reentrant. */
export class ChunkEncoder {
  readonly #samplesMax: number;
  readonly #integers: IntegerColumnEncoder;
  /** Indices of the values that are no decimal. */
  readonly #exceptions: Uint32Array;
  readonly #trial = new ByteWriter(4096);

  /** @param samplesMax  Most samples of a chunk. */
  constructor(samplesMax: number) {
    this.#samplesMax = samplesMax;
    this.#integers = new IntegerColumnEncoder(samplesMax);
    this.#exceptions = new Uint32Array(Math.ceil(samplesMax / SAMPLES_PER_EXCEPTION) + 1);
  }

  /**
   * Appends to `dst` one chunk with samples [from, to).
   *
   * @param timestampsMs  Unix ms, safe integers, strictly ascending in [from, to).
   * @param values        Kept bit for bit.
   * @param to            Above `from`, by `samplesMax` at most.
   * @returns             The encoding: CHUNK_COLUMNS or CHUNK_XOR.
   *
   * Cost: O(n), 20 to 60 ns per sample, no allocation unless XOR is tried.
   */
  encode(
    timestampsMs: Float64Array,
    values: Float64Array,
    from: number,
    to: number,
    dst: ByteWriter,
  ): number {
    const count = to - from;
    // Not assert(): its message would be built for every chunk.
    if (!(count > 0 && count <= this.#samplesMax)) doesNotFit(count, this.#samplesMax);
    const startedAt = dst.length;
    if (!this.#putColumns(timestampsMs, values, from, count, dst)) {
      dst.length = startedAt;
      encodeXorChunk(timestampsMs, values, from, to, dst);
      return CHUNK_XOR;
    }
    if (dst.length - startedAt < count * XOR_TRIAL_BYTES) return CHUNK_COLUMNS;
    this.#trial.reset();
    encodeXorChunk(timestampsMs, values, from, to, this.#trial);
    if (this.#trial.length >= dst.length - startedAt) return CHUNK_COLUMNS;
    dst.length = startedAt;
    dst.raw(this.#trial.bytes, 0, this.#trial.length);
    return CHUNK_XOR;
  }

  /** False when too many values are no decimal, or the times are too far apart: then `dst` holds a piece. */
  #putColumns(
    times: Float64Array,
    values: Float64Array,
    from: number,
    count: number,
    dst: ByteWriter,
  ): boolean {
    const words = wordsOf(values);
    const isConstant = isConstantRun(words, from, count);
    const exponent = isConstant ? decimalExponent(values, from, 1) : decimalExponent(values, from, count);
    const { entries } = this.#integers;
    dst.varint(count);
    const stepMs = gridStep(times, from, count);
    if (!fillResiduals(times, from, count, stepMs, entries)) return false;
    dst.varint(stepMs);
    putZigzag(dst, times[from]!);
    if (!this.#integers.encode(count, dst)) return false;
    if (isConstant && !isDecimal(values, words, from, Math.max(0, exponent))) {
      dst.u8(FORM_CONSTANT);
      dst.u32(words[2 * from]!);
      dst.u32(words[2 * from + 1]!);
      return true;
    }
    if (exponent < 0) return false;
    const exceptions = fillScaled(values, words, from, count, exponent, entries, this.#exceptions);
    if (exceptions * SAMPLES_PER_EXCEPTION > count) return false;
    dst.u8(exponent | (exceptions > 0 ? FORM_EXCEPTIONS : 0));
    if (exceptions > 0) putExceptions(dst, words, from, this.#exceptions, exceptions);
    return this.#integers.encode(count, dst);
  }
}

/**
 * Appends the column chunk of samples that are all the same on a regular grid, without a look at each of them. Not always
 * what `encode` would write, and up to 8 bytes more.
 *
 * @param count     2 or more.
 * @param stepMs    Above 0.
 * @param low,high  Words of the value.
 */
export function putConstantChunk(
  dst: ByteWriter,
  count: number,
  firstMs: number,
  stepMs: number,
  low: number,
  high: number,
): void {
  dst.varint(count);
  dst.varint(stepMs);
  putZigzag(dst, firstMs);
  // A column of zeros: order 0, no bits, base 0.
  dst.u8(0);
  dst.u8(0);
  dst.u8(0);
  dst.u8(FORM_CONSTANT);
  dst.u32(low);
  dst.u32(high);
}

function doesNotFit(count: number, samplesMax: number): never {
  throw new Error(`assertion failed: chunk of ${count} samples; 1 to ${samplesMax} fit`);
}

function isConstantRun(words: Uint32Array, from: number, count: number): boolean {
  const low = words[2 * from]!;
  const high = words[2 * from + 1]!;
  for (let i = from + 1; i < from + count; i++) {
    if (words[2 * i] !== low || words[2 * i + 1] !== high) return false;
  }
  return true;
}

/** The step of most samples, when most have the same; else the mean. */
function gridStep(times: Float64Array, from: number, count: number): number {
  if (count === 1) return 0;
  let candidate = 0;
  let votes = 0;
  for (let i = from + 1; i < from + count; i++) {
    const step = times[i]! - times[i - 1]!;
    if (votes === 0) candidate = step;
    votes += step === candidate ? 1 : -1;
  }
  // Votes are left over too where the candidate is no majority; it is the commoner of the last then, which does.
  if (votes > 0) return candidate;
  return Math.round((times[from + count - 1]! - times[from]!) / (count - 1));
}

/** How far each time is off the grid; false when a number on the way is beyond 2^53. Throws when time stands still. */
function fillResiduals(
  times: Float64Array,
  from: number,
  count: number,
  stepMs: number,
  out: Float64Array,
): boolean {
  const firstMs = times[from]!;
  for (let i = 0; i < count; i++) {
    const timeMs = times[from + i]!;
    // Not assert(): its message would be built for every sample.
    if (i > 0 && !(timeMs > times[from + i - 1]!)) outOfOrder(from + i, timeMs);
    out[i] = timeMs - firstMs - i * stepMs;
  }
  const lastMs = times[from + count - 1]!;
  const farthest = Math.max(Math.abs(firstMs), Math.abs(lastMs)) + count * stepMs;
  return lastMs - firstMs <= Number.MAX_SAFE_INTEGER && farthest <= Number.MAX_SAFE_INTEGER;
}

function outOfOrder(index: number, timeMs: number): never {
  throw new Error(`assertion failed: sample ${index} at ${timeMs} ms is not after the one before`);
}

/**
 * The smallest exponent that makes whole numbers of all values but a few; -1 when they are too many. A value whose many
 * digits would push those before it beyond 2^53 is one of the few.
 */
function decimalExponent(values: Float64Array, from: number, count: number): number {
  let exponent = 0;
  let missed = 0;
  let largest = 0;
  for (let i = from; i < from + count; i++) {
    const value = values[i]!;
    if (!isScaled(value, POWERS_OF_TEN[exponent]!)) {
      const found = exponentOf(value, exponent + 1);
      if (found === 0 || largest * POWERS_OF_TEN[found]! > Number.MAX_SAFE_INTEGER) {
        if (++missed * SAMPLES_PER_EXCEPTION > count) return -1;
        continue;
      }
      exponent = found;
    }
    largest = Math.max(largest, Math.abs(value));
  }
  return exponent;
}

/** 0 when no exponent from `least` on does. */
function exponentOf(value: number, least: number): number {
  for (let exponent = least; exponent <= EXPONENT_MAX; exponent++) {
    const power = POWERS_OF_TEN[exponent]!;
    if (!(Math.abs(value) * power <= Number.MAX_SAFE_INTEGER)) return 0;
    if (isScaled(value, power)) return exponent;
  }
  return 0;
}

/** True when an integer up to 2^53 - 1, divided by the power, is the value. */
function isScaled(value: number, power: number): boolean {
  const scaled = Math.round(value * power);
  return scaled / power === value && Math.abs(scaled) <= Number.MAX_SAFE_INTEGER;
}

/** True when dividing the scaled value gives all its bits back: of zeros, only the positive one does. */
function isDecimal(values: Float64Array, words: Uint32Array, index: number, exponent: number): boolean {
  const value = values[index]!;
  if (value === 0) return words[2 * index + 1] === 0;
  return isScaled(value, POWERS_OF_TEN[exponent]!);
}

/**
 * Puts the scaled values into `out`, the one before for a value that is no decimal (none of them, or -0).
 *
 * @returns  How many those are, as far as `exceptions` has room; their indices stand there.
 */
function fillScaled(
  values: Float64Array,
  words: Uint32Array,
  from: number,
  count: number,
  exponent: number,
  out: Float64Array,
  exceptions: Uint32Array,
): number {
  const power = POWERS_OF_TEN[exponent]!;
  let found = 0;
  let previous = 0;
  for (let i = 0; i < count; i++) {
    const value = values[from + i]!;
    if (isDecimal(values, words, from + i, exponent)) {
      previous = Math.round(value * power);
    } else {
      if (found === exceptions.length) return found;
      exceptions[found++] = from + i;
    }
    out[i] = previous;
  }
  return found;
}

function putExceptions(
  dst: ByteWriter,
  words: Uint32Array,
  from: number,
  exceptions: Uint32Array,
  count: number,
): void {
  dst.varint(count);
  let next = from;
  for (let e = 0; e < count; e++) {
    const i = exceptions[e]!;
    dst.varint(i - next);
    dst.u32(words[2 * i]!);
    dst.u32(words[2 * i + 1]!);
    next = i + 1;
  }
}

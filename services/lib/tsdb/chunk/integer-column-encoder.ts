// Encodes one integer column of a column chunk (docs/format/chunk-columns.md, "Integer column"): picks the order of
// differences that takes the fewest bits, a base, a common factor, a width, and which entries are worth a patch.
// All choices are made in exact arithmetic: equal columns give equal bytes on every machine.
import { type ByteWriter, VARINT_BYTES_MAX } from '../../core/bytes.ts';
import { KIND_FACTOR, KIND_PATCHED, ZIGZAG_BYTES_MAX } from './columns-format.ts';

const ORDER_MAX = 2;
const TWO_32 = 4_294_967_296;
/** Packing goes through a 31-bit accumulator that may hold 7 bits already. */
const PACK_BITS_MAX = 24;
/** Bits that a start value and a wider base cost: a higher order must save more. */
const ORDER_COST_BITS = 24;

/** How one order of differences would be written. */
interface Plan {
  order: number;
  min: number;
  width: number;
  /** Entries of more bits than this, sign apart, are patches; 64 means that none is. */
  capBits: number;
  patches: number;
  costBits: number;
}

/** Reusable scratch of one encoder; not reentrant. */
export class IntegerColumnEncoder {
  /** Differences of order 0 to 2. Entry i of order o stands at i; the first o entries mean nothing. */
  readonly #orders: [Float64Array, Float64Array, Float64Array];
  readonly #histogram = new Uint32Array(64);
  #plan = emptyPlan();
  #best = emptyPlan();

  /** @param capacity  Most entries of a column. */
  constructor(capacity: number) {
    this.#orders = [new Float64Array(capacity), new Float64Array(capacity), new Float64Array(capacity)];
  }

  /** Where the caller puts the column: safe integers, no negative zero. */
  get entries(): Float64Array {
    return this.#orders[0];
  }

  /**
   * Appends the column of the first `count` (1 or more) entries to `dst`.
   *
   * @returns  False, and nothing is appended, when they lie so far apart that differences would be rounded.
   *
   * Cost: O(count), 5 to 30 ns each; one small object.
   */
  encode(count: number, dst: ByteWriter): boolean {
    if (!this.#choose(count)) return false;
    const { order, min, capBits, patches } = this.#best;
    const column = this.#orders[order]!;
    const factor = commonFactor(column, order, count, min, capBits);
    const width = factor > 1 ? scaledWidth(column, order, count, min, capBits, factor) : this.#best.width;
    dst.reserve(2 + 5 * ZIGZAG_BYTES_MAX);
    dst.u8(order | (factor > 1 ? KIND_FACTOR : 0) | (patches > 0 ? KIND_PATCHED : 0));
    dst.u8(width);
    for (let i = 0; i < order; i++) putZigzag(dst, this.#orders[i]![i]!);
    putZigzag(dst, min);
    if (factor > 1) dst.varint(factor);
    if (patches > 0) putPatches(dst, column, order, count, capBits, patches);
    if (width > 0) pack(dst, column, order, count, { min, factor, width, capBits });
    return true;
  }

  #choose(count: number): boolean {
    const best = this.#best;
    best.costBits = Number.POSITIVE_INFINITY;
    for (let order = 0; order <= ORDER_MAX && order < count; order++) {
      if (order > 0) subtractNeighbours(this.#orders[order - 1]!, this.#orders[order]!, order, count);
      const tried = this.#plan;
      if (!planOrder(this.#orders[order]!, order, count, this.#histogram, tried)) break;
      if (tried.costBits < this.#best.costBits) {
        this.#plan = this.#best;
        this.#best = tried;
      }
      // Nothing is cheaper than no bits at all.
      if (this.#best.width === 0 && this.#best.patches === 0) break;
    }
    return this.#best.costBits < Number.POSITIVE_INFINITY;
  }
}

function emptyPlan(): Plan {
  return { order: 0, min: 0, width: 0, capBits: 64, patches: 0, costBits: 0 };
}

function subtractNeighbours(from: Float64Array, to: Float64Array, order: number, count: number): void {
  for (let i = order; i < count; i++) to[i] = from[i]! - from[i - 1]!;
}

/** Fills in `plan`; false when the differences are beyond 2^53, so that sums of them would be rounded. */
function planOrder(
  column: Float64Array,
  order: number,
  count: number,
  histogram: Uint32Array,
  plan: Plan,
): boolean {
  histogram.fill(0);
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = order; i < count; i++) {
    const entry = column[i]!;
    if (entry < min) min = entry;
    if (entry > max) max = entry;
    histogram[bitLength(Math.abs(entry))]!++;
  }
  if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max)) return false;
  const entries = count - order;
  plan.order = order;
  plan.costBits = Number.POSITIVE_INFINITY;
  if (max - min <= Number.MAX_SAFE_INTEGER) {
    plan.min = min;
    plan.width = bitLength(max - min);
    plan.capBits = 64;
    plan.patches = 0;
    plan.costBits = entries * plan.width + order * ORDER_COST_BITS;
  }
  if (plan.width > 1 || plan.costBits === Number.POSITIVE_INFINITY) {
    tryPatches(column, order, count, histogram, plan);
  }
  return plan.costBits < Number.POSITIVE_INFINITY;
}

/** Takes patches for the largest entries into the plan if that is cheaper. */
function tryPatches(
  column: Float64Array,
  order: number,
  count: number,
  histogram: Uint32Array,
  plan: Plan,
): void {
  const entries = count - order;
  let capBits = 64;
  let patches = 0;
  let patchBits = 0;
  let cheapest = Number.POSITIVE_INFINITY;
  let above = 0;
  let aboveBits = 0;
  for (let bits = 53; bits >= 0; bits--) {
    if (above > 0 && bits * entries + aboveBits < cheapest) {
      cheapest = bits * entries + aboveBits;
      capBits = bits;
      patches = above;
      patchBits = aboveBits;
    }
    above += histogram[bits]!;
    // A byte for the gap and a zigzag varint for the value.
    aboveBits += histogram[bits]! * (8 + 8 * Math.ceil((bits + 1) / 7));
  }
  if (patches === 0 || patches === entries) return;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = order; i < count; i++) {
    const entry = column[i]!;
    if (bitLength(Math.abs(entry)) > capBits) continue;
    if (entry < min) min = entry;
    if (entry > max) max = entry;
  }
  const costBits = entries * bitLength(max - min) + patchBits + order * ORDER_COST_BITS;
  if (!(max - min <= Number.MAX_SAFE_INTEGER) || costBits >= plan.costBits) return;
  plan.min = min;
  plan.width = bitLength(max - min);
  plan.capBits = capBits;
  plan.patches = patches;
  plan.costBits = costBits;
}

/** Greatest number that divides the distance of every entry from `min`; 1 when they are all equal. */
function commonFactor(
  column: Float64Array,
  order: number,
  count: number,
  min: number,
  capBits: number,
): number {
  let factor = 0;
  for (let i = order; i < count && factor !== 1; i++) {
    const entry = column[i]!;
    const distance = entry - min;
    // Rounding cannot hide a remainder: the product of an exact quotient is exact.
    if (distance === 0 || Math.floor(distance / factor) * factor === distance) continue;
    if (capBits < 64 && bitLength(Math.abs(entry)) > capBits) continue;
    factor = greatestDivisor(distance, factor);
  }
  return factor === 0 ? 1 : factor;
}

function greatestDivisor(a: number, b: number): number {
  let [larger, smaller] = [a, b];
  while (smaller !== 0) [larger, smaller] = [smaller, larger % smaller];
  return larger;
}

function scaledWidth(
  column: Float64Array,
  order: number,
  count: number,
  min: number,
  capBits: number,
  factor: number,
): number {
  let max = min;
  for (let i = order; i < count; i++) {
    const entry = column[i]!;
    if (entry > max && (capBits === 64 || bitLength(Math.abs(entry)) <= capBits)) max = entry;
  }
  return bitLength((max - min) / factor);
}

function putPatches(
  dst: ByteWriter,
  column: Float64Array,
  order: number,
  count: number,
  capBits: number,
  patches: number,
): void {
  dst.varint(patches);
  let next = order;
  for (let i = order; i < count; i++) {
    const entry = column[i]!;
    if (bitLength(Math.abs(entry)) <= capBits) continue;
    dst.varint(i - next);
    putZigzag(dst, entry);
    next = i + 1;
  }
}

/** Packs the entries, most significant bit first; the last byte is filled up with zeros. */
function pack(
  dst: ByteWriter,
  column: Float64Array,
  order: number,
  count: number,
  { min, factor, width, capBits }: { min: number; factor: number; width: number; capBits: number },
): void {
  dst.reserve(Math.ceil(((count - order) * width) / 8) + VARINT_BYTES_MAX);
  const { bytes } = dst;
  let at = dst.length;
  let pending = 0;
  let accumulator = 0;
  for (let i = order; i < count; i++) {
    const entry = column[i]!;
    const isPatch = capBits < 64 && bitLength(Math.abs(entry)) > capBits;
    let rest = isPatch ? 0 : (entry - min) / factor;
    let left = width;
    while (left > 0) {
      const take = left > PACK_BITS_MAX ? ((left - 1) % PACK_BITS_MAX) + 1 : left;
      left -= take;
      const power = 2 ** left;
      const part = left === 0 ? rest : Math.floor(rest / power);
      if (left > 0) rest -= part * power;
      accumulator = (accumulator << take) | part;
      pending += take;
      while (pending >= 8) {
        pending -= 8;
        bytes[at++] = accumulator >>> pending;
      }
      accumulator &= 0xff;
    }
  }
  if (pending > 0) bytes[at++] = accumulator << (8 - pending);
  dst.length = at;
}

/** Bits of a whole number up to 2^53: 0 for 0. */
function bitLength(value: number): number {
  return value < TWO_32 ? 32 - Math.clz32(value) : 64 - Math.clz32(value / TWO_32);
}

/** A whole number from -2^53 to 2^53 - 1 as zigzag varint. */
export function putZigzag(dst: ByteWriter, value: number): void {
  dst.reserve(ZIGZAG_BYTES_MAX);
  const isNegative = value < 0;
  const magnitude = isNegative ? -value - 1 : value;
  // The lowest six bits and the sign first: doubling would lose a bit at 2^53.
  const low = ((magnitude % 64) << 1) | (isNegative ? 1 : 0);
  const rest = Math.floor(magnitude / 64);
  dst.u8(rest > 0 ? low | 128 : low);
  if (rest > 0) dst.varint(rest);
}

// The samples that belong to each step of a range selector: (end − range, end], found once per series for all kernels.

import type { AggregateCells } from '../../../model/aggregate-cells.ts';

/** A series' samples, its windows, and what a kernel needs to know about the grid. Reused from series to series. */
export interface WindowPass {
  timestampsMs: Float64Array;
  values: Float64Array;
  /** Start times of the samples, 0 where unknown; undefined where none is known, or wanted. */
  startTimesMs: Float64Array | undefined;
  /** What the entries stand for, where some are aggregates. */
  cells: AggregateCells | undefined;
  count: number;
  readonly steps: number;
  readonly rangeMs: number;
  /** End of window k is firstEndMs + k·endStepMs. */
  readonly firstEndMs: number;
  readonly endStepMs: number;
  /** Step k is evaluated at firstEvalMs + k·evalStepMs. */
  readonly firstEvalMs: number;
  readonly evalStepMs: number;
  /** Window k holds samples [low[k], high[k]). */
  readonly low: Int32Array<ArrayBuffer>;
  readonly high: Int32Array<ArrayBuffer>;
  /** Steps whose windows lie alike, where the times are regular; undefined where that is not known. */
  alike: AlikeWindows | undefined;
  /** `anchored`, `smoothed`. */
  readonly extension: 'anchored' | 'smoothed' | undefined;
  /** Scalar arguments, a value per step. */
  readonly params: readonly Float64Array[];
  /** Room for a kernel's own numbers, at least `count` long where scratchOf() was asked. */
  scratch: Float64Array<ArrayBuffer>;
  indexes: Int32Array<ArrayBuffer>;
  /**
   * Told by kernels that look at every sample of every window before they do: how many samples it is.
   *
   * @throws AppError when the query is over.
   */
  readonly spend?: (samples: number) => void;
}

/**
 * Windows of equally spaced samples that none is missing from: that of step k, from ≤ k < to, is the one before, `stride` samples later, and
 * its samples are as far from its bounds.
 */
export interface AlikeWindows {
  readonly from: number;
  readonly to: number;
  readonly stride: number;
}

/** Samples in all windows together, and in the largest. */
export interface WindowCounts {
  total: number;
  largest: number;
}

/**
 * Finds the windows, `earlierMs` wider at their start and `laterMs` at their end (anchored and smoothed selectors).
 *
 * Cost: O(samples + steps). No allocation.
 */
export function findWindows(
  pass: WindowPass,
  earlierMs: number,
  laterMs: number,
  counts: WindowCounts,
): void {
  const { timestampsMs, count, low, high, firstEndMs, endStepMs } = pass;
  const rangeMs = pass.rangeMs + earlierMs;
  let from = 0;
  let to = 0;
  counts.total = 0;
  counts.largest = 0;
  for (let k = 0; k < pass.steps; k++) {
    const endMs = firstEndMs + k * endStepMs;
    const startMs = endMs - rangeMs;
    while (to < count && timestampsMs[to]! <= endMs + laterMs) to++;
    while (from < to && timestampsMs[from]! <= startMs) from++;
    low[k] = from;
    high[k] = to;
    const size = to - from;
    counts.total += size;
    if (size > counts.largest) counts.largest = size;
  }
}

/** Distances of times from bounds of windows below which a quotient of two of them rounds to the right integer. */
const EXACT_QUOTIENT_MAX = 2 ** 48;

/**
 * Windows that are found again only where the times of the next series ask for it. Those of one target have the same times, and regular
 * ones, as scrapes are, mostly have their samples at the same places of the grid.
 */
export class KeptWindows {
  readonly #earlierMs: number;
  readonly #laterMs: number;
  readonly #charge: (bytes: number) => void;
  #timestampsMs: Float64Array<ArrayBuffer> = new Float64Array(0);
  /** How many of them are those that the pass' windows are of; -1: none, and others decide. */
  #keptCount = -1;
  /** Samples that the pass' windows are of; -1: they are of no use. */
  #count = -1;
  /** Of regular times: samples at or before the start and the end of the first window if there were any number of them; their distance. */
  #low = 0;
  #high = 0;
  #gapMs = 0;

  /**
   * @param earlierMs  As findWindows().
   * @param charge     Is told of what is held.
   */
  constructor(earlierMs: number, laterMs: number, charge: (bytes: number) => void) {
    this.#earlierMs = earlierMs;
    this.#laterMs = laterMs;
    this.#charge = charge;
  }

  /**
   * Sees to it that the windows of a pass are those of its times. Windows and counts are the same objects at each call.
   *
   * @param knownGapMs  What neighbouring times are apart, where that is known, else 0.
   *
   * Cost: a comparison per sample, none where the gap is known, and O(steps) where windows are not those of the series before.
   */
  find(pass: WindowPass, counts: WindowCounts, knownGapMs = 0): void {
    const { timestampsMs, count } = pass;
    if (knownGapMs > 0 && count > 1 && this.#findRegular(pass, knownGapMs, counts)) {
      this.#keptCount = -1;
      return;
    }
    if (count === this.#keptCount && areEqual(timestampsMs, this.#timestampsMs, count)) return;
    const gapMs = regularGapMs(timestampsMs, count);
    if (!(gapMs > 0 && this.#findRegular(pass, gapMs, counts))) {
      pass.alike = undefined;
      findWindows(pass, this.#earlierMs, this.#laterMs, counts);
      this.#count = count;
      this.#gapMs = 0;
    }
    this.#keep(timestampsMs, count);
  }

  /** The windows were written over. */
  forget(): void {
    this.#count = -1;
    this.#keptCount = -1;
  }

  /** False where steps and samples do not go together. */
  #findRegular(pass: WindowPass, gapMs: number, counts: WindowCounts): boolean {
    const { count, endStepMs, steps } = pass;
    const endMs = pass.firstEndMs + this.#laterMs - pass.timestampsMs[0]!;
    const startMs = pass.firstEndMs - pass.rangeMs - this.#earlierMs - pass.timestampsMs[0]!;
    if (steps > 1 && endStepMs % gapMs !== 0) return false;
    if (!(Math.abs(startMs) < EXACT_QUOTIENT_MAX && Math.abs(endMs) < EXACT_QUOTIENT_MAX)) return false;
    const low = Math.floor(startMs / gapMs) + 1;
    const high = Math.floor(endMs / gapMs) + 1;
    if (count !== this.#count || gapMs !== this.#gapMs || low !== this.#low || high !== this.#high) {
      pass.alike = placeWindows(pass, low, high, endStepMs / gapMs, counts);
      this.#low = low;
      this.#high = high;
      this.#count = count;
      this.#gapMs = gapMs;
    }
    return true;
  }

  #keep(timestampsMs: Float64Array, count: number): void {
    if (this.#timestampsMs.length < count) {
      this.#charge((timestampsMs.length - this.#timestampsMs.length) * 8);
      this.#timestampsMs = new Float64Array(timestampsMs.length);
    }
    this.#timestampsMs.set(timestampsMs.subarray(0, count));
    this.#keptCount = count;
  }
}

/** Writes windows [low + k·stride, high + k·stride), cut to the samples there are. */
function placeWindows(
  pass: WindowPass,
  low: number,
  high: number,
  stride: number,
  counts: WindowCounts,
): AlikeWindows | undefined {
  const { count, steps } = pass;
  let alikeFrom = steps;
  let alikeTo = steps;
  counts.total = 0;
  counts.largest = 0;
  for (let k = 0; k < steps; k++) {
    const rawFrom = low + k * stride;
    const rawTo = high + k * stride;
    const from = Math.min(Math.max(rawFrom, 0), count);
    const to = Math.min(Math.max(rawTo, 0), count);
    if (rawFrom >= 0 && alikeFrom === steps) alikeFrom = k;
    if (rawTo > count && alikeTo === steps) alikeTo = k;
    pass.low[k] = from;
    pass.high[k] = to;
    const size = to - from;
    counts.total += size;
    if (size > counts.largest) counts.largest = size;
  }
  return alikeFrom < alikeTo ? { from: alikeFrom, to: alikeTo, stride } : undefined;
}

/** What neighbours are apart where all are as far from each other; 0 otherwise. */
function regularGapMs(timestampsMs: Float64Array, count: number): number {
  if (count < 2) return 0;
  const gapMs = timestampsMs[1]! - timestampsMs[0]!;
  let previousMs = timestampsMs[0]!;
  for (let i = 1; i < count; i++) {
    const timeMs = timestampsMs[i]!;
    if (timeMs - previousMs !== gapMs) return 0;
    previousMs = timeMs;
  }
  return gapMs;
}

/** Ends first: what differs in one sample mostly does in the newest ones. */
function areEqual(a: Float64Array, b: Float64Array, count: number): boolean {
  for (let i = count - 1; i >= 0; i--) if (a[i] !== b[i]) return false;
  return true;
}

const SCRATCH_MIN = 256;

/** Scratch numbers for at least `count` samples. */
export function scratchOf(pass: WindowPass, count: number): Float64Array<ArrayBuffer> {
  const { length } = pass.scratch;
  if (length < count) pass.scratch = new Float64Array(Math.max(count, 2 * length, SCRATCH_MIN));
  return pass.scratch;
}

/** Scratch indexes for at least `count` samples. */
export function indexesOf(pass: WindowPass, count: number): Int32Array<ArrayBuffer> {
  const { length } = pass.indexes;
  if (length < count) pass.indexes = new Int32Array(Math.max(count, 2 * length, SCRATCH_MIN));
  return pass.indexes;
}

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

/**
 * The times of the series before, whose windows need not be found again where the next one has the same: those of one target do, and
 * mostly those of all.
 */
export class SameTimes {
  readonly #charge: (bytes: number) => void;
  #timestampsMs: Float64Array<ArrayBuffer> = new Float64Array(0);
  #count = -1;

  /** @param charge  Is told of what is held. */
  constructor(charge: (bytes: number) => void) {
    this.#charge = charge;
  }

  /** Whether `count` times are those that were kept last; keeps them otherwise. Cost: a comparison per sample. */
  areKept(timestampsMs: Float64Array, count: number): boolean {
    if (count === this.#count && areEqual(timestampsMs, this.#timestampsMs, count)) return true;
    if (this.#timestampsMs.length < count) {
      this.#charge((timestampsMs.length - this.#timestampsMs.length) * 8);
      this.#timestampsMs = new Float64Array(timestampsMs.length);
    }
    this.#timestampsMs.set(timestampsMs.subarray(0, count));
    this.#count = count;
    return false;
  }

  /** The windows of the kept times were written over. */
  forget(): void {
    this.#count = -1;
  }
}

/** Ends first: what differs in one sample mostly does in the newest ones. */
function areEqual(a: Float64Array, b: Float64Array, count: number): boolean {
  for (let i = count - 1; i >= 0; i--) if (a[i] !== b[i]) return false;
  return true;
}

/** Scratch numbers for at least `count` samples. */
export function scratchOf(pass: WindowPass, count: number): Float64Array<ArrayBuffer> {
  if (pass.scratch.length < count) pass.scratch = new Float64Array(Math.max(count, 2 * pass.scratch.length));
  return pass.scratch;
}

/** Scratch indexes for at least `count` samples. */
export function indexesOf(pass: WindowPass, count: number): Int32Array<ArrayBuffer> {
  if (pass.indexes.length < count) pass.indexes = new Int32Array(Math.max(count, 2 * pass.indexes.length));
  return pass.indexes;
}

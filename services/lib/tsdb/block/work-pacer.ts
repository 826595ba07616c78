// Cooperative pauses by amount of work, so that engines need no clock: after so many units the event loop gets a turn.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from '../../core/errors.ts';

/** Compressing or expanding one page. */
export const UNITS_PER_PAGE = 300;

/** Counts work and pauses. A unit is about a microsecond; 5000 of them keep a turn well under 20 ms. */
export class WorkPacer {
  readonly #unitsPerTurn: number;
  readonly #signal: AbortSignal | undefined;
  #left: number;

  constructor(signal?: AbortSignal, unitsPerTurn = 5000) {
    this.#signal = signal;
    this.#unitsPerTurn = unitsPerTurn;
    this.#left = unitsPerTurn;
  }

  /** Notes work done; true when it is time for `pause`. */
  spend(units: number): boolean {
    this.#left -= units;
    return this.#left <= 0;
  }

  /**
   * Gives the event loop a turn.
   *
   * @throws AppError with the signal's reason.
   */
  async pause(): Promise<void> {
    this.#left = this.#unitsPerTurn;
    await nextTurn();
    if (this.#signal !== undefined) throwIfAborted(this.#signal);
  }
}

/**
 * Sorts `ids` in place with pauses: runs by the engine's own sort, then merges. Stable.
 *
 * @param compare  As for Array.prototype.sort; about a tenth of a microsecond.
 */
export async function sortPaced(
  ids: Uint32Array,
  compare: (a: number, b: number) => number,
  pacer: WorkPacer,
): Promise<void> {
  const runLength = 2048;
  for (let at = 0; at < ids.length; at += runLength) {
    ids.subarray(at, at + runLength).sort(compare);
    if (pacer.spend(runLength * 2)) await pacer.pause();
  }
  let from = ids;
  let to = new Uint32Array(ids.length);
  for (let width = runLength; width < ids.length; width *= 2) {
    for (let at = 0; at < ids.length; at += width * 2) {
      const middle = Math.min(at + width, ids.length);
      const end = Math.min(at + width * 2, ids.length);
      await mergeRuns(from, to, at, middle, end, compare, pacer);
    }
    [from, to] = [to, from as Uint32Array<ArrayBuffer>];
  }
  if (from !== ids) ids.set(from);
}

async function mergeRuns(
  from: Uint32Array,
  to: Uint32Array,
  start: number,
  middle: number,
  end: number,
  compare: (a: number, b: number) => number,
  pacer: WorkPacer,
): Promise<void> {
  let left = start;
  let right = middle;
  for (let out = start; out < end; ) {
    const stop = Math.min(end, out + 4096);
    for (; out < stop; out++) {
      const takeLeft = left < middle && (right >= end || compare(from[left]!, from[right]!) <= 0);
      to[out] = takeLeft ? from[left++]! : from[right++]!;
    }
    if (pacer.spend(1024)) await pacer.pause();
  }
}

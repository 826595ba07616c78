// Cooperative pauses by amount of work, so that engines need no clock: after so many units the event loop gets a turn.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from '../../core/errors.ts';
import { sortInSteps } from './sort-in-steps.ts';

/** Compressing or expanding one page. */
export const UNITS_PER_PAGE = 300;
/** A step of sorting: a run of 2,048, or 4,096 merged. */
const UNITS_PER_SORT_STEP = 1024;

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

/** Sorts `ids` in place as sortInSteps, with pauses. */
export async function sortPaced(
  ids: Uint32Array,
  compare: (a: number, b: number) => number,
  pacer: WorkPacer,
): Promise<void> {
  const steps = sortInSteps(ids, compare);
  while (steps.next().done !== true) if (pacer.spend(UNITS_PER_SORT_STEP)) await pacer.pause();
}

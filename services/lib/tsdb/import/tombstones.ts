// What was deleted of which series: closed intervals of time by reference.
import { AppError } from '../../core/errors.ts';

/** Deletes that an import holds in memory. */
const INTERVALS_MAX = 10_000_000;

export class Tombstones {
  readonly #byReference = new Map<number, number[]>();
  #intervals = 0;

  /** @throws AppError `resource_exhausted` beyond ten million intervals. */
  add(reference: number, minTimeMs: number, maxTimeMs: number): void {
    if (++this.#intervals > INTERVALS_MAX)
      throw new AppError('resource_exhausted', `more than ${INTERVALS_MAX} deleted intervals`);
    const intervals = this.#byReference.get(reference);
    if (intervals === undefined) this.#byReference.set(reference, [minTimeMs, maxTimeMs]);
    else intervals.push(minTimeMs, maxTimeMs);
  }

  has(reference: number): boolean {
    return this.#byReference.has(reference);
  }

  /** Whether one deleted interval of the series holds all of [minTimeMs, maxTimeMs]. */
  covers(reference: number, minTimeMs: number, maxTimeMs: number): boolean {
    const intervals = this.#byReference.get(reference);
    if (intervals === undefined) return false;
    for (let i = 0; i < intervals.length; i += 2) {
      if (intervals[i]! <= minTimeMs && intervals[i + 1]! >= maxTimeMs) return true;
    }
    return false;
  }
}

// What operators hand to each other: first the label sets of all series, then one column of step values per series, in
// the same order, each exactly once. A column may be empty: whether a series has values is only known once it is read.
import type { Labels } from '../../model/labels.ts';

/** No value at this step. */
export const ABSENT = 0;
/** A float at this step. */
export const FLOAT = 1;

export interface SeriesMeta {
  readonly labels: Labels;
  /** The metric name goes away at the end (feature promql-delayed-name-removal only). */
  readonly dropName: boolean;
}

/** One series' values at every step of a grid; reused from series to series. */
export class StepColumn {
  readonly values: Float64Array<ArrayBuffer>;
  /** ABSENT or FLOAT; a value counts only where its kind says so. */
  readonly kinds: Uint8Array<ArrayBuffer>;

  constructor(steps: number) {
    this.values = new Float64Array(steps);
    this.kinds = new Uint8Array(steps);
  }
}

/** An instant vector over all steps. */
export interface VectorOperand {
  readonly series: readonly SeriesMeta[];
  /** Overwrites `into` with the next series. Called at most once per series. */
  next(into: StepColumn): void;
}

/** Number of values in kinds[offset, offset + steps). */
export function countPresent(kinds: Uint8Array, offset: number, steps: number): number {
  let count = 0;
  for (let i = offset; i < offset + steps; i++) if (kinds[i] !== ABSENT) count++;
  return count;
}

/** True when the kinds of a column hold any value. */
export function hasValues(kinds: Uint8Array, offset: number, steps: number): boolean {
  for (let i = offset; i < offset + steps; i++) if (kinds[i] !== ABSENT) return true;
  return false;
}

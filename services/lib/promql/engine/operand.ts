// What operators hand to each other: first the label sets of all series, then one column of step values per series, in
// the same order, each exactly once. A column may be empty: whether a series has values is only known once it is read.
import type { FloatHistogram } from '../../model/float-histogram.ts';
import type { Labels } from '../../model/labels.ts';

/** No value at this step. */
export const ABSENT = 0;
/** A float at this step. */
export const FLOAT = 1;
/** A native histogram at this step. */
export const HISTOGRAM = 2;

export interface SeriesMeta {
  readonly labels: Labels;
  /** The metric name goes away at the end (feature promql-delayed-name-removal only). */
  readonly dropName: boolean;
}

/** One series' values at every step of a grid; reused from series to series. */
export class StepColumn {
  readonly values: Float64Array<ArrayBuffer>;
  /** ABSENT, FLOAT or HISTOGRAM; a value counts only where its kind says so. */
  readonly kinds: Uint8Array<ArrayBuffer>;
  /** Histograms, at steps of that kind; other entries mean nothing. */
  readonly histograms: (FloatHistogram | undefined)[] = [];
  /** False only when no kind is HISTOGRAM: then nobody looks for any. */
  mayHaveHistograms = false;

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

/** Puts a histogram at a step. It is shared from then on: nobody changes it. */
export function putHistogram(column: StepColumn, step: number, histogram: FloatHistogram): void {
  column.kinds[step] = HISTOGRAM;
  column.histograms[step] = histogram;
  column.mayHaveHistograms = true;
}

/** Removes the histograms from a column. */
export function dropHistograms(column: StepColumn): void {
  if (!column.mayHaveHistograms) return;
  const { kinds } = column;
  for (let k = 0; k < kinds.length; k++) if (kinds[k] === HISTOGRAM) kinds[k] = ABSENT;
  column.mayHaveHistograms = false;
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

// Counts the samples of storage that a query uses, as Prometheus counts them: at each step of the query, whatever the steps
// of the operator that reads them. A grid carries where its operators count (Grid.tally).
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { SampleColumns } from '../../../model/sample-columns.ts';
import { ABSENT, HISTOGRAM, type StepColumn } from '../operand.ts';

/** What a query used; with `…PerStep` where that was asked for, a number for each of its steps. */
export interface SampleTotals {
  /** Once per step that used them (Prometheus' totalQueryableSamples). */
  readonly used: number;
  /** Without what the window of the step before had already (Prometheus' samplesRead). */
  readonly fetched: number;
  readonly usedPerStep?: Float64Array | undefined;
  readonly fetchedPerStep?: Float64Array | undefined;
}

/** Where operators count. Steps are those of their grid. */
export interface SampleTally {
  /** False: it is all the same which step is named. */
  readonly isPerStep: boolean;
  add(step: number, used: number, fetched: number): void;
  /** Set where a subquery is no function's argument but the result: where its expression counts. */
  readonly ofSubquery?: SampleTally;
}

/** The account of a query. */
export class QueryTally implements SampleTally, SampleTotals {
  used = 0;
  fetched = 0;
  readonly usedPerStep: Float64Array | undefined;
  readonly fetchedPerStep: Float64Array | undefined;

  /** @param steps  Of the query; undefined where nobody asks for each of them. */
  constructor(steps: number | undefined) {
    if (steps === undefined) return;
    this.usedPerStep = new Float64Array(steps);
    this.fetchedPerStep = new Float64Array(steps);
  }

  get isPerStep(): boolean {
    return this.usedPerStep !== undefined;
  }

  add(step: number, used: number, fetched: number): void {
    this.used += used;
    this.fetched += fetched;
    if (this.usedPerStep === undefined) return;
    this.usedPerStep[step]! += used;
    this.fetchedPerStep![step]! += fetched;
  }
}

/** For what is evaluated at the first step and stands at all of them: used at each, fetched once. */
export function broadcastTally(outer: SampleTally, steps: number): SampleTally {
  return {
    isPerStep: false,
    add: (_step, used, fetched) => {
      if (outer.isPerStep) {
        for (let k = 0; k < steps; k++) outer.add(k, used, 0);
        outer.add(0, 0, fetched);
      } else outer.add(0, used * steps, fetched);
    },
  };
}

/** For a range vector as the result of an instant query, which has one step. */
export function onlyStepTally(outer: SampleTally): SampleTally {
  const all: SampleTally = { isPerStep: false, add: (_step, used, fetched) => outer.add(0, used, fetched) };
  return { ...all, ofSubquery: all };
}

/** Steps of a subquery, and of the function that it is the argument of. */
export interface SubquerySteps {
  /** First step of the subquery, moved by its offset to the steps that it serves. */
  readonly shiftedStartMs: number;
  readonly stepMs: number;
  readonly rangeMs: number;
  readonly outer: { readonly startMs: number; readonly stepMs: number; readonly steps: number };
}

/**
 * For the expression of a subquery. What it uses is counted by the function around, as values of the subquery; what it
 * fetches counts at the first outer step that comes after, unless that step's window has passed over it.
 */
export function subqueryTally(tally: SampleTally, steps: SubquerySteps): SampleTally {
  if (tally.ofSubquery !== undefined) return tally.ofSubquery;
  const { shiftedStartMs, stepMs, rangeMs, outer } = steps;
  const hasGaps = outer.steps > 1 && rangeMs < outer.stepMs;
  const isPerStep = outer.steps > 1 && (tally.isPerStep || hasGaps);
  return {
    isPerStep,
    add: (step, _used, fetched) => {
      if (!isPerStep) {
        tally.add(0, 0, fetched);
        return;
      }
      const timeMs = shiftedStartMs + step * stepMs;
      const next = Math.max(0, Math.ceil((timeMs - outer.startMs) / outer.stepMs));
      const at = Math.min(next, outer.steps - 1);
      if (timeMs > outer.startMs + at * outer.stepMs - rangeMs) tally.add(at, 0, fetched);
    },
  };
}

/**
 * Counts the samples that a selector found.
 *
 * @param isPinned  All steps have the same sample, which is fetched once.
 * @returns         How many, as the limit on samples counts them.
 */
export function tallyColumn(
  tally: SampleTally,
  column: StepColumn,
  found: number,
  isPinned: boolean,
): number {
  if (!tally.isPerStep && !column.mayHaveHistograms && !isPinned) {
    tally.add(0, found, found);
    return found;
  }
  let total = 0;
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    const samples = column.kinds[k] === HISTOGRAM ? samplesOf(column.histograms[k]!) : 1;
    total += samples;
    tally.add(k, samples, isPinned && k > 0 ? 0 : samples);
  }
  return total;
}

/** The windows of a series: step k has samples [low[k], high[k]). */
export interface TalliedWindows {
  readonly low: Int32Array;
  readonly high: Int32Array;
  readonly steps: number;
  /** Samples in all of them. */
  readonly total: number;
  /** How the windows lie. `fixed`: all are the same one; `apart`: none has samples of another. */
  readonly order: 'moving' | 'apart' | 'fixed';
  /** What each sample counts for, summed up from the first on; undefined: 1. */
  readonly sums: Float64Array | undefined;
  /** Samples come from storage, not from a subquery. */
  readonly isStored: boolean;
}

/** Counts the windows of a range function. */
export function tallyWindows(tally: SampleTally, windows: TalliedWindows): void {
  const { low, high, steps, total, order, sums, isStored } = windows;
  if (steps === 0) return;
  const weigh = (from: number, to: number) => (sums === undefined ? to - from : sums[to]! - sums[from]!);
  if (!tally.isPerStep && sums === undefined) {
    let fetched = 0;
    if (isStored) {
      if (order === 'apart') fetched = total;
      else fetched = order === 'fixed' ? weigh(low[0]!, high[0]!) : weigh(low[0]!, high[steps - 1]!);
    }
    tally.add(0, total, fetched);
    return;
  }
  for (let k = 0; k < steps; k++) {
    const from = low[k]!;
    const to = high[k]!;
    if (to === from) continue;
    let seen = from;
    if (k > 0) seen = order === 'fixed' ? to : Math.max(from, Math.min(high[k - 1]!, to));
    tally.add(k, weigh(from, to), isStored ? weigh(seen, to) : 0);
  }
}

/** Bytes of Prometheus' histogram without its lists, and of an entry of these. */
const HISTOGRAM_BYTES = 168;
const ENTRY_BYTES = 8;

/** How many samples a native histogram counts for: by its size in Prometheus' memory. */
export function samplesOf({ positive, negative, customBounds }: FloatHistogram): number {
  const entries =
    positive.indexes.length +
    negative.indexes.length +
    customBounds.length +
    spansOf(positive.indexes) +
    spansOf(negative.indexes);
  return Math.floor((HISTOGRAM_BYTES + ENTRY_BYTES * entries + 8) / 16);
}

function spansOf(indexes: readonly number[]): number {
  let spans = 0;
  for (let i = 0; i < indexes.length; i++) if (i === 0 || indexes[i] !== indexes[i - 1]! + 1) spans++;
  return spans;
}

/** What the samples from `from` on count for. */
export function weightOf({ histograms, count }: SampleColumns, from: number): number {
  if (histograms === undefined) return count - from;
  const sums = weightSums(histograms, count);
  return sums[count]! - sums[from]!;
}

/** Sums for TalliedWindows of a series with histograms. */
export function weightSums(histograms: readonly (FloatHistogram | undefined)[], count: number): Float64Array {
  const sums = new Float64Array(count + 1);
  for (let i = 0; i < count; i++) {
    const histogram = histograms[i];
    sums[i + 1] = sums[i]! + (histogram === undefined ? 1 : samplesOf(histogram));
  }
  return sums;
}

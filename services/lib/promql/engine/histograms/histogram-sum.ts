// Sums and averages of native histograms, for sum and avg and for sum_over_time and avg_over_time.
import { type CombineOutcome, FloatHistogram } from '../../../model/float-histogram.ts';
import type { Position } from '../../ast.ts';
import type { Annotations } from '../annotations.ts';

/** What the annotations of a sum name. */
export interface SumContext {
  readonly metric: string;
  readonly position: Position;
  readonly annotations: Annotations;
}

const SEEN_RESET = 1;
const SEEN_NO_RESET = 2;

/** A sum on its way from a part to the merge. */
export interface PartialSum {
  readonly sum: FloatHistogram;
  readonly compensation: FloatHistogram;
  readonly count: number;
  /** Bit 0: a histogram said that there was a counter reset; bit 1: one said that there was none. */
  readonly resets: number;
}

/** A running sum. */
export class HistogramSum {
  readonly #context: SumContext;
  #sum: FloatHistogram | undefined;
  #compensation = new FloatHistogram();
  #count = 0;
  readonly #isAverage: boolean;
  /** The sum would overflow: #sum is the mean of what was added so far. */
  #isIncremental = false;
  #seenReset = false;
  #seenNoReset = false;
  /** Histograms of different kinds were added: there is no result. */
  isIncompatible = false;
  #isReconciled = false;

  constructor(context: SumContext, isAverage: boolean) {
    this.#isAverage = isAverage;
    this.#context = context;
  }

  /** @param metric  Name of the series that the histogram is of, for the warning. */
  add(histogram: FloatHistogram, metric: string): void {
    this.#count++;
    this.#seenReset ||= histogram.hint === 'reset';
    this.#seenNoReset ||= histogram.hint === 'not_reset';
    if (this.isIncompatible) return;
    if (this.#sum === undefined) {
      this.#sum = histogram.copy();
      this.#compensation.schema = histogram.schema;
      this.#compensation.zeroThreshold = histogram.zeroThreshold;
      this.#compensation.customBounds = histogram.customBounds;
      return;
    }
    const outcome = this.#accumulate(histogram);
    const { annotations, position } = this.#context;
    if (outcome.incompatible) {
      annotations.mixedSchemas(metric, position);
      this.isIncompatible = true;
    } else if (outcome.boundsReconciled) {
      this.#isReconciled = true;
      annotations.reconciledBounds('aggregation', position);
    }
  }

  /** What was added so far; undefined where the order of additions shows in the result, or in what is said of it. */
  partial(): PartialSum | undefined {
    if (this.isIncompatible || this.#isReconciled || this.#isIncremental || this.#sum === undefined)
      return undefined;
    return {
      sum: this.#sum,
      compensation: this.#compensation,
      count: this.#count,
      resets: (this.#seenReset ? SEEN_RESET : 0) | (this.#seenNoReset ? SEEN_NO_RESET : 0),
    };
  }

  /** Adds what another sum added; false where the order of additions would show. */
  absorb({ sum, compensation, count, resets }: PartialSum): boolean {
    this.#count += count;
    this.#seenReset ||= (resets & SEEN_RESET) !== 0;
    this.#seenNoReset ||= (resets & SEEN_NO_RESET) !== 0;
    if (this.#sum === undefined) {
      this.#sum = sum.copy();
      this.#compensation = compensation.copy();
      return true;
    }
    const outcome = this.#sum.addCompensated(sum, this.#compensation);
    if (outcome.incompatible || outcome.boundsReconciled) return false;
    this.#compensation.add(compensation);
    return !(this.#isAverage && this.#sum.isOverflown);
  }

  /** The sum, or the average; undefined where there is none. */
  finish(): FloatHistogram | undefined {
    if (this.#seenReset && this.#seenNoReset && !this.isIncompatible) {
      this.#context.annotations.resetCollision('aggregation', this.#context.position);
    }
    if (this.isIncompatible || this.#sum === undefined) return undefined;
    const isMean = this.#isAverage && !this.#isIncremental;
    const sum = isMean ? this.#sum.divide(this.#count) : this.#sum;
    const compensation = isMean ? this.#compensation.divide(this.#count) : this.#compensation;
    compensation.hint = sum.hint;
    sum.add(compensation);
    return sum.compact();
  }

  #accumulate(histogram: FloatHistogram): CombineOutcome {
    const sum = this.#sum!;
    if (!this.#isIncremental) {
      if (!this.#isAverage) return sum.addCompensated(histogram, this.#compensation);
      const nextSum = sum.copy();
      const nextCompensation = this.#compensation.copy();
      const outcome = nextSum.addCompensated(histogram, nextCompensation);
      if (outcome.incompatible || !nextSum.isOverflown) {
        this.#sum = nextSum;
        this.#compensation = nextCompensation;
        return outcome;
      }
      this.#isIncremental = true;
      sum.divide(this.#count - 1);
      this.#compensation.divide(this.#count - 1);
    }
    const share = (this.#count - 1) / this.#count;
    this.#compensation.scale(share);
    return sum.scale(share).addCompensated(histogram.copy().divide(this.#count), this.#compensation);
  }
}

/** Sum of a window's histograms. */
export function sumHistograms(
  histograms: readonly FloatHistogram[],
  context: SumContext,
): FloatHistogram | undefined {
  const sum = new HistogramSum(context, false);
  for (const histogram of histograms) sum.add(histogram, context.metric);
  return sum.finish();
}

/** Mean of a window's histograms. */
export function averageHistograms(
  histograms: readonly FloatHistogram[],
  context: SumContext,
): FloatHistogram | undefined {
  const sum = new HistogramSum(context, true);
  for (const histogram of histograms) sum.add(histogram, context.metric);
  return sum.finish();
}

// Operands without storage behind them: a scalar as a vector, the empty vector, one value at every step.
import { Labels } from '../../model/labels.ts';
import { FLOAT, HISTOGRAM, type SeriesMeta, StepColumn, type VectorOperand } from './operand.ts';

/** A scalar as a series without labels. */
export class ScalarOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[] = [{ labels: Labels.empty, dropName: false }];
  readonly #values: Float64Array;

  constructor(values: Float64Array) {
    this.#values = values;
  }

  next(into: StepColumn): void {
    into.values.set(this.#values);
    into.kinds.fill(FLOAT);
  }
}

/** No series. */
export const EMPTY_OPERAND: VectorOperand = { series: [], next: () => {} };

/** What was evaluated at one step, at every step. */
export class BroadcastOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;
  readonly #column = new StepColumn(1);

  constructor(input: VectorOperand) {
    this.series = input.series;
    this.#input = input;
  }

  next(into: StepColumn): void {
    this.#input.next(this.#column);
    const { kinds, values, histograms } = this.#column;
    into.values.fill(values[0]!);
    into.kinds.fill(kinds[0]!);
    into.mayHaveHistograms = kinds[0] === HISTOGRAM;
    if (into.mayHaveHistograms)
      for (let k = 0; k < into.kinds.length; k++) into.histograms[k] = histograms[0];
  }
}

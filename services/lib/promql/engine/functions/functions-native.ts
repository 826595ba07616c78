// Functions of native histograms that answer a float each: count, sum, average, deviation. Floats are not in the result.
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { Call } from '../../ast.ts';
import type { Grid } from '../grid.ts';
import { histogramVariance } from '../histograms/histogram-quantile.ts';
import { dropMetricNames, mergeSameLabels } from '../names.ts';
import {
  ABSENT,
  FLOAT,
  HISTOGRAM,
  type SeriesMeta,
  type StepColumn,
  type VectorOperand,
} from '../operand.ts';
import type { Evaluator } from '../session.ts';

type Property = (histogram: FloatHistogram) => number;

const PROPERTIES: ReadonlyMap<string, Property> = new Map<string, Property>([
  ['histogram_count', ({ count }) => count],
  ['histogram_sum', ({ sum }) => sum],
  ['histogram_avg', ({ sum, count }) => sum / count],
  ['histogram_stdvar', histogramVariance],
  ['histogram_stddev', (histogram) => Math.sqrt(histogramVariance(histogram))],
]);

export function isHistogramProperty(func: string): boolean {
  return PROPERTIES.has(func);
}

export async function openHistogramProperty(
  evaluator: Evaluator,
  call: Call,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const input = await evaluator.vector(call.args[0]!, grid);
  const operand = new PropertyOperand(
    dropMetricNames(session, input.series),
    input,
    PROPERTIES.get(call.func)!,
  );
  return session.delayedNames ? operand : mergeSameLabels(session, operand, grid);
}

class PropertyOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;
  readonly #property: Property;

  constructor(series: readonly SeriesMeta[], input: VectorOperand, property: Property) {
    this.series = series;
    this.#input = input;
    this.#property = property;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    if (!into.mayHaveHistograms) {
      into.kinds.fill(ABSENT);
      return;
    }
    const { kinds, values, histograms } = into;
    for (let k = 0; k < kinds.length; k++) {
      if (kinds[k] === HISTOGRAM) {
        values[k] = this.#property(histograms[k]!);
        kinds[k] = FLOAT;
      } else {
        kinds[k] = ABSENT;
      }
    }
    into.mayHaveHistograms = false;
  }
}

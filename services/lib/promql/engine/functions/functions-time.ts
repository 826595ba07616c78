// timestamp(v): of a selector the samples' own times, of anything else the time of evaluation. start_timestamp(v).
import type { Call } from '../../ast.ts';
import { unwrap } from '../expressions.ts';
import type { Grid } from '../grid.ts';
import { dropMetricNames, mergeSameLabels } from '../names.ts';
import { FLOAT, HISTOGRAM, type SeriesMeta, type StepColumn, type VectorOperand } from '../operand.ts';
import { openSelector } from '../select/selector.ts';
import type { Evaluator } from '../session.ts';

export async function openTimestamp(evaluator: Evaluator, call: Call, grid: Grid): Promise<VectorOperand> {
  const { session } = evaluator;
  const argument = unwrap(call.args[0]!);
  const isSelector = argument.kind === 'vector-selector';
  const input = isSelector
    ? await openSelector(session, argument, grid, 'time-seconds')
    : await evaluator.vector(argument, grid);
  const series = dropMetricNames(session, input.series);
  const operand = new TimestampOperand(series, input, isSelector ? undefined : grid);
  return session.delayedNames ? operand : mergeSameLabels(session, operand, grid);
}

/**
 * start_timestamp(v): of a selector the start times of its samples, of anything else nothing, nor without the feature
 * use-start-timestamps.
 */
export async function openStartTimestamp(
  evaluator: Evaluator,
  call: Call,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const argument = unwrap(call.args[0]!);
  if (!session.options.features.startTimestamps || argument.kind !== 'vector-selector') {
    // Opened all the same: what is wrong with it is to be said.
    await evaluator.vector(argument, grid);
    return { series: [], next: () => {} };
  }
  const input = await openSelector(session, argument, grid, 'start-seconds');
  const operand = new TimestampOperand(dropMetricNames(session, input.series), input, undefined);
  return session.delayedNames ? operand : mergeSameLabels(session, operand, grid);
}

class TimestampOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;
  readonly #grid: Grid | undefined;

  constructor(series: readonly SeriesMeta[], input: VectorOperand, grid: Grid | undefined) {
    this.series = series;
    this.#input = input;
    this.#grid = grid;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    const grid = this.#grid;
    if (grid === undefined) return;
    for (let k = 0; k < grid.steps; k++) {
      into.values[k] = (grid.startMs + k * grid.stepMs) / 1000;
      if (into.kinds[k] === HISTOGRAM) into.kinds[k] = FLOAT;
    }
    into.mayHaveHistograms = false;
  }
}

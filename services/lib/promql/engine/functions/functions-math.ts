// Functions that map each value on its own: arithmetic, trigonometry, parts of dates, clamping, rounding.
import { Labels } from '../../../model/labels.ts';
import type { Call } from '../../ast.ts';
import type { Grid } from '../grid.ts';
import { dropMetricNames, mergeSameLabels } from '../names.ts';
import { dropHistograms, type SeriesMeta, type StepColumn, type VectorOperand } from '../operand.ts';
import type { Evaluator } from '../session.ts';
import { DATE_PARTS } from './date-parts.ts';

type Mapping = (value: number) => number;

const MAPPINGS: ReadonlyMap<string, Mapping> = new Map<string, Mapping>([
  ['abs', Math.abs],
  ['ceil', Math.ceil],
  ['floor', Math.floor],
  ['exp', Math.exp],
  ['sqrt', Math.sqrt],
  ['ln', Math.log],
  ['log2', Math.log2],
  ['log10', Math.log10],
  ['sin', Math.sin],
  ['cos', Math.cos],
  ['tan', Math.tan],
  ['asin', Math.asin],
  ['acos', Math.acos],
  ['atan', Math.atan],
  ['sinh', Math.sinh],
  ['cosh', Math.cosh],
  ['tanh', Math.tanh],
  ['asinh', Math.asinh],
  ['acosh', Math.acosh],
  ['atanh', Math.atanh],
  ['deg', (value) => (value * 180) / Math.PI],
  ['rad', (value) => (value * Math.PI) / 180],
  ['sgn', (value) => (value < 0 ? -1 : value > 0 ? 1 : value)],
]);

/** Whether openMapping() knows a function. */
export function isMapping(func: string): boolean {
  return MAPPINGS.has(func) || DATE_PARTS.has(func);
}

/** Opens a function that maps each value. */
export async function openMapping(evaluator: Evaluator, call: Call, grid: Grid): Promise<VectorOperand> {
  const datePart = DATE_PARTS.get(call.func);
  if (datePart === undefined) {
    const input = await evaluator.vector(call.args[0]!, grid);
    return mapped(evaluator, input, new MapColumn(MAPPINGS.get(call.func)!), grid);
  }
  if (call.args.length === 0) return new DateOfStep(datePart, grid);
  const input = await evaluator.vector(call.args[0]!, grid);
  return mapped(evaluator, input, new MapColumn(datePart), grid);
}

/** Opens clamp, clamp_min or clamp_max. */
export async function openClamp(evaluator: Evaluator, call: Call, grid: Grid): Promise<VectorOperand> {
  const input = await evaluator.vector(call.args[0]!, grid);
  const first = await evaluator.scalar(call.args[1]!, grid);
  const low = call.func === 'clamp_max' ? new Float64Array(grid.steps).fill(Number.NEGATIVE_INFINITY) : first;
  const high =
    call.func === 'clamp'
      ? await evaluator.scalar(call.args[2]!, grid)
      : call.func === 'clamp_max'
        ? first
        : new Float64Array(grid.steps).fill(Number.POSITIVE_INFINITY);
  return mapped(evaluator, input, new ClampColumn(low, high), grid);
}

/** Opens round(v, to_nearest). */
export async function openRound(evaluator: Evaluator, call: Call, grid: Grid): Promise<VectorOperand> {
  const input = await evaluator.vector(call.args[0]!, grid);
  const nearest =
    call.args.length > 1 ? await evaluator.scalar(call.args[1]!, grid) : new Float64Array(grid.steps).fill(1);
  return mapped(evaluator, input, new RoundColumn(nearest), grid);
}

/** Changes a column's values in place. */
interface ColumnChange {
  apply(column: StepColumn): void;
}

function mapped(
  evaluator: Evaluator,
  input: VectorOperand,
  change: ColumnChange,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const operand = new ChangedOperand(dropMetricNames(session, input.series), input, change);
  return session.delayedNames ? Promise.resolve(operand) : mergeSameLabels(session, operand, grid);
}

class ChangedOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;
  readonly #change: ColumnChange;

  constructor(series: readonly SeriesMeta[], input: VectorOperand, change: ColumnChange) {
    this.series = series;
    this.#input = input;
    this.#change = change;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    dropHistograms(into);
    this.#change.apply(into);
  }
}

class MapColumn implements ColumnChange {
  readonly #mapping: Mapping;

  constructor(mapping: Mapping) {
    this.#mapping = mapping;
  }

  apply(column: StepColumn): void {
    const { values, kinds } = column;
    for (let k = 0; k < kinds.length; k++) if (kinds[k] !== 0) values[k] = this.#mapping(values[k]!);
  }
}

/** The larger number as Go has it: infinity wins over NaN. */
function larger(a: number, b: number): number {
  if (a === Number.POSITIVE_INFINITY || b === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  return Math.max(a, b);
}

function smaller(a: number, b: number): number {
  if (a === Number.NEGATIVE_INFINITY || b === Number.NEGATIVE_INFINITY) return Number.NEGATIVE_INFINITY;
  return Math.min(a, b);
}

class ClampColumn implements ColumnChange {
  readonly #low: Float64Array;
  readonly #high: Float64Array;

  constructor(low: Float64Array, high: Float64Array) {
    this.#low = low;
    this.#high = high;
  }

  apply(column: StepColumn): void {
    const { values, kinds } = column;
    for (let k = 0; k < kinds.length; k++) {
      const low = this.#low[k]!;
      const high = this.#high[k]!;
      if (high < low) kinds[k] = 0;
      else values[k] = larger(low, smaller(high, values[k]!));
    }
  }
}

class RoundColumn implements ColumnChange {
  readonly #nearest: Float64Array;

  constructor(nearest: Float64Array) {
    this.#nearest = nearest;
  }

  apply(column: StepColumn): void {
    const { values, kinds } = column;
    for (let k = 0; k < kinds.length; k++) {
      // The inverse has fewer rounding errors than the fraction itself.
      const inverse = 1 / this.#nearest[k]!;
      values[k] = Math.floor(values[k]! * inverse + 0.5) / inverse;
    }
  }
}

/** A date function without argument: of each step's own time. */
class DateOfStep implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #part: Mapping;
  readonly #grid: Grid;

  constructor(part: Mapping, grid: Grid) {
    this.series = [{ labels: Labels.empty, dropName: false }];
    this.#part = part;
    this.#grid = grid;
  }

  next(into: StepColumn): void {
    for (let k = 0; k < this.#grid.steps; k++) {
      into.values[k] = this.#part((this.#grid.startMs + k * this.#grid.stepMs) / 1000);
    }
    into.kinds.fill(1);
  }
}

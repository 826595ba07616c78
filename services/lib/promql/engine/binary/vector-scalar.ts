// Operators between a vector and a scalar, scalar and scalar, and unary minus: a column at a time, in place.
import { AppError } from '../../../core/errors.ts';
import { FloatHistogram } from '../../../model/float-histogram.ts';
import type { BinaryExpr, Position, UnaryExpr } from '../../ast.ts';
import { typeOf } from '../../parse/expression-type.ts';
import type { Annotations } from '../annotations.ts';
import type { Grid } from '../grid.ts';
import { combinePair } from '../histograms/histogram-binary.ts';
import { dropMetricNames, mergeSameLabels } from '../names.ts';
import {
  ABSENT,
  dropHistograms,
  FLOAT,
  HISTOGRAM,
  putHistogram,
  type SeriesMeta,
  type StepColumn,
  type VectorOperand,
} from '../operand.ts';
import type { Evaluator } from '../session.ts';
import {
  type ArithmeticOperator,
  type ComparisonOperator,
  compareColumn,
  computeColumn,
  isComparison,
  isSetOperator,
  isTrim,
  type TrimOperator,
} from './arithmetic.ts';

/** Opens `vector ⊕ scalar` or `scalar ⊕ vector`. */
export async function openVectorScalar(
  evaluator: Evaluator,
  expr: BinaryExpr,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const { operator } = expr;
  if (isSetOperator(operator)) {
    throw new AppError('execution', `set operator "${operator}" not allowed in binary scalar expression`);
  }
  const scalarLeft = typeOf(expr.left) === 'scalar';
  // Left before right, as Prometheus evaluates them.
  const leftScalar = scalarLeft ? await evaluator.scalar(expr.left, grid) : undefined;
  const vector = await evaluator.vector(scalarLeft ? expr.right : expr.left, grid);
  const scalar = leftScalar ?? (await evaluator.scalar(expr.right, grid));
  if (isTrim(operator) && scalarLeft) {
    return new RefusedTrimOperand(vector, operator, grid, session.annotations, expr.pos);
  }
  if (!isComparison(operator)) {
    const series = isTrim(operator) ? vector.series : dropMetricNames(session, vector.series);
    const operand = new ArithmeticOperand(
      series,
      vector,
      operator,
      scalar,
      scalarLeft,
      session.annotations,
      expr.pos,
    );
    return session.delayedNames ? operand : mergeSameLabels(session, operand, grid);
  }
  if (!expr.returnBool) {
    return new FilterOperand(
      vector.series,
      vector,
      operator,
      scalar,
      scalarLeft,
      false,
      session.annotations,
      expr.pos,
    );
  }
  const series = dropMetricNames(session, vector.series);
  const operand = new FilterOperand(
    series,
    vector,
    operator,
    scalar,
    scalarLeft,
    true,
    session.annotations,
    expr.pos,
  );
  return session.delayedNames ? operand : mergeSameLabels(session, operand, grid);
}

/** Values of `scalar ⊕ scalar`; comparisons answer 0 or 1. */
export async function scalarBinary(
  evaluator: Evaluator,
  expr: BinaryExpr,
  grid: Grid,
): Promise<Float64Array<ArrayBuffer>> {
  const left = await evaluator.scalar(expr.left, grid);
  const right = await evaluator.scalar(expr.right, grid);
  const { operator } = expr;
  if (isSetOperator(operator) || isTrim(operator)) {
    throw new AppError('execution', `operator "${operator}" not allowed for Scalar operations`);
  }
  const out = new Float64Array(grid.steps);
  if (isComparison(operator)) {
    const holds = new Uint8Array(grid.steps);
    compareColumn(operator, left, 0, right, 0, holds, grid.steps);
    out.set(holds);
  } else {
    computeColumn(operator, left, 0, right, 0, out, 0, grid.steps);
  }
  return out;
}

/** Opens `-vector`. */
export async function openNegation(
  evaluator: Evaluator,
  expr: UnaryExpr,
  grid: Grid,
): Promise<VectorOperand> {
  const input = await evaluator.vector(expr.expr, grid);
  if (expr.operator === '+') return input;
  const { session } = evaluator;
  const operand = new NegationOperand(dropMetricNames(session, input.series), input);
  return session.delayedNames ? operand : mergeSameLabels(session, operand, grid);
}

class NegationOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;

  constructor(series: readonly SeriesMeta[], input: VectorOperand) {
    this.series = series;
    this.#input = input;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    const { values } = into;
    for (let k = 0; k < values.length; k++) values[k] = -values[k]!;
    if (!into.mayHaveHistograms) return;
    for (let k = 0; k < values.length; k++) {
      if (into.kinds[k] === HISTOGRAM) putHistogram(into, k, into.histograms[k]!.copy().scale(-1));
    }
  }
}

class ArithmeticOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;
  readonly #operator: ArithmeticOperator | TrimOperator;
  readonly #scalar: Float64Array;
  readonly #scalarLeft: boolean;
  readonly #annotations: Annotations;
  readonly #position: Position;

  constructor(
    series: readonly SeriesMeta[],
    input: VectorOperand,
    operator: ArithmeticOperator | TrimOperator,
    scalar: Float64Array,
    scalarLeft: boolean,
    annotations: Annotations,
    position: Position,
  ) {
    this.#annotations = annotations;
    this.#position = position;
    this.series = series;
    this.#input = input;
    this.#operator = operator;
    this.#scalar = scalar;
    this.#scalarLeft = scalarLeft;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    const { values } = into;
    const left = this.#scalarLeft ? this.#scalar : values;
    const right = this.#scalarLeft ? values : this.#scalar;
    if (isTrim(this.#operator) || into.mayHaveHistograms) this.#combine(into);
    if (!isTrim(this.#operator)) computeColumn(this.#operator, left, 0, right, 0, values, 0, values.length);
  }

  /** Histograms, and what trims find instead of them. */
  #combine(into: StepColumn): void {
    const { kinds, values, histograms } = into;
    for (let k = 0; k < kinds.length; k++) {
      if (kinds[k] === ABSENT || (kinds[k] === FLOAT && !isTrim(this.#operator))) continue;
      const vector = kinds[k] === HISTOGRAM ? histograms[k]! : values[k]!;
      const scalar = this.#scalar[k]!;
      const result = this.#scalarLeft
        ? combinePair(this.#operator, scalar, vector, this.#annotations, this.#position)
        : combinePair(this.#operator, vector, scalar, this.#annotations, this.#position);
      if (result instanceof FloatHistogram) putHistogram(into, k, result);
      else kinds[k] = ABSENT;
    }
  }
}

/** Nothing can be trimmed off a number. At each step Prometheus says so of the last value it finds. */
class RefusedTrimOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;
  readonly #operator: TrimOperator;
  readonly #annotations: Annotations;
  readonly #position: Position;
  /** Kind of the last value by step. */
  readonly #lastKinds: Uint8Array<ArrayBuffer>;
  #left: number;

  constructor(
    input: VectorOperand,
    operator: TrimOperator,
    grid: Grid,
    annotations: Annotations,
    position: Position,
  ) {
    this.series = input.series;
    this.#input = input;
    this.#operator = operator;
    this.#annotations = annotations;
    this.#position = position;
    this.#lastKinds = new Uint8Array(grid.steps);
    this.#left = input.series.length;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    const { kinds } = into;
    for (let k = 0; k < kinds.length; k++) if (kinds[k] !== ABSENT) this.#lastKinds[k] = kinds[k]!;
    kinds.fill(ABSENT);
    into.mayHaveHistograms = false;
    if (--this.#left > 0) return;
    for (const kind of new Set(this.#lastKinds)) {
      if (kind === ABSENT) continue;
      const type = kind === HISTOGRAM ? 'histogram' : 'float';
      this.#annotations.incompatibleTypes(this.#operator, 'float', type, this.#position);
    }
  }
}

class FilterOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;
  readonly #operator: ComparisonOperator;
  readonly #scalar: Float64Array;
  readonly #scalarLeft: boolean;
  readonly #returnBool: boolean;
  readonly #annotations: Annotations;
  readonly #position: Position;
  readonly #holds: Uint8Array<ArrayBuffer>;

  constructor(
    series: readonly SeriesMeta[],
    input: VectorOperand,
    operator: ComparisonOperator,
    scalar: Float64Array,
    scalarLeft: boolean,
    returnBool: boolean,
    annotations: Annotations,
    position: Position,
  ) {
    this.#annotations = annotations;
    this.#position = position;
    this.series = series;
    this.#input = input;
    this.#operator = operator;
    this.#scalar = scalar;
    this.#scalarLeft = scalarLeft;
    this.#returnBool = returnBool;
    this.#holds = new Uint8Array(scalar.length);
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    const { values, kinds } = into;
    const holds = this.#holds;
    if (into.mayHaveHistograms && kinds.includes(HISTOGRAM)) {
      // A histogram does not compare to a number, in either order.
      const [left, right] = this.#scalarLeft ? ['float', 'histogram'] : ['histogram', 'float'];
      this.#annotations.incompatibleTypes(this.#operator, left!, right!, this.#position);
      dropHistograms(into);
    }
    const left = this.#scalarLeft ? this.#scalar : values;
    const right = this.#scalarLeft ? values : this.#scalar;
    compareColumn(this.#operator, left, 0, right, 0, holds, values.length);
    if (this.#returnBool) values.set(holds);
    else for (let k = 0; k < holds.length; k++) if (holds[k] === 0) kinds[k] = ABSENT;
  }
}

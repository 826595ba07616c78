// Opens expressions: decides which operator evaluates which node of the tree.
import { AppError } from '../../core/errors.ts';
import type { BinaryExpr, Call, Expr } from '../ast.ts';
import { typeOf } from '../parse/expression-type.ts';
import { openAggregation } from './aggregation/aggregation.ts';
import { isSetOperator } from './binary/arithmetic.ts';
import { openSetOperator } from './binary/set-operators.ts';
import { openVectorBinary } from './binary/vector-binary.ts';
import { openNegation, openVectorScalar, scalarBinary } from './binary/vector-scalar.ts';
import { CommonExpressions } from './common-expressions.ts';
import { isStepInvariant, unwrap } from './expressions.ts';
import { openAbsence } from './functions/functions-absent.ts';
import {
  openHistogramFraction,
  openHistogramQuantile,
  openHistogramQuantiles,
} from './functions/functions-histogram.ts';
import { openLabelJoin, openLabelReplace } from './functions/functions-labels.ts';
import { isMapping, openClamp, openMapping, openRound } from './functions/functions-math.ts';
import { isHistogramProperty, openHistogramProperty } from './functions/functions-native.ts';
import { openSort } from './functions/functions-order.ts';
import { openStartTimestamp, openTimestamp } from './functions/functions-time.ts';
import { openInfo } from './functions/info.ts';
import { scalarOf } from './functions/scalar-of.ts';
import { firstStepOf, type Grid } from './grid.ts';
import { BroadcastOperand, ScalarOperand } from './literals.ts';
import type { VectorOperand } from './operand.ts';
import { matrixArgument, openRangeFunction } from './range/range-function.ts';
import { openSelector } from './select/selector.ts';
import type { Evaluator, QuerySession } from './session.ts';

type OpenCall = (evaluator: Evaluator, call: Call, grid: Grid) => Promise<VectorOperand>;

const CALLS: ReadonlyMap<string, OpenCall> = new Map<string, OpenCall>([
  ['clamp', openClamp],
  ['clamp_min', openClamp],
  ['clamp_max', openClamp],
  ['round', openRound],
  ['label_replace', openLabelReplace],
  ['label_join', openLabelJoin],
  ['sort', openSort],
  ['sort_desc', openSort],
  ['sort_by_label', openSort],
  ['sort_by_label_desc', openSort],
  ['timestamp', openTimestamp],
  ['start_timestamp', openStartTimestamp],
  ['histogram_quantile', openHistogramQuantile],
  ['histogram_quantiles', openHistogramQuantiles],
  ['histogram_fraction', openHistogramFraction],
  ['info', openInfo],
  ['vector', async (evaluator, call, grid) => new ScalarOperand(await evaluator.scalar(call.args[0]!, grid))],
  [
    'absent',
    async (evaluator, call, grid) =>
      openAbsence(evaluator.session, await evaluator.vector(call.args[0]!, grid), call.args[0]!, grid),
  ],
]);

/** Bytes per step that an operator's own columns take at most, whatever it is; rows of series it charges itself. */
const NODE_STEP_BYTES = 32;

/** Opens the expressions of one query. */
export class TreeEvaluator implements Evaluator {
  readonly session: QuerySession;
  readonly #common: CommonExpressions;

  constructor(session: QuerySession) {
    this.session = session;
    this.#common = new CommonExpressions(session.request.expr, session.countedSelectors);
  }

  async vector(expr: Expr, grid: Grid): Promise<VectorOperand> {
    const inner = unwrap(expr);
    this.session.charge(grid.steps * NODE_STEP_BYTES);
    if (typeOf(inner) === 'scalar') return new ScalarOperand(await this.scalar(inner, grid));
    if (grid.steps > 1 && isStepInvariant(inner)) {
      return new BroadcastOperand(await this.#open(inner, firstStepOf(grid)));
    }
    return this.#open(inner, grid);
  }

  async scalar(expr: Expr, grid: Grid): Promise<Float64Array<ArrayBuffer>> {
    const inner = unwrap(expr);
    this.session.charge(grid.steps * NODE_STEP_BYTES);
    switch (inner.kind) {
      case 'number':
        return new Float64Array(grid.steps).fill(inner.value);
      case 'unary': {
        const values = await this.scalar(inner.expr, grid);
        if (inner.operator === '-') for (let k = 0; k < values.length; k++) values[k] = -values[k]!;
        return values;
      }
      case 'binary':
        return scalarBinary(this, inner, grid);
      case 'call':
        return this.#scalarCall(inner, grid);
      default:
        throw new AppError('execution', `expected a scalar expression, got ${inner.kind}`);
    }
  }

  async #scalarCall(call: Call, grid: Grid): Promise<Float64Array<ArrayBuffer>> {
    const { request } = this.session;
    const values = new Float64Array(grid.steps);
    switch (call.func) {
      case 'time':
        for (let k = 0; k < grid.steps; k++) values[k] = (grid.startMs + k * grid.stepMs) / 1000;
        return values;
      case 'pi':
        return values.fill(Math.PI);
      case 'start':
        return values.fill(request.startMs / 1000);
      case 'end':
        return values.fill(request.endMs / 1000);
      case 'step':
        return values.fill(request.stepMs / 1000);
      case 'range':
        return values.fill((request.endMs - request.startMs) / 1000);
      case 'min_of':
      case 'max_of': {
        const a = await this.scalar(call.args[0]!, grid);
        const b = await this.scalar(call.args[1]!, grid);
        const pick = call.func === 'min_of' ? Math.min : Math.max;
        for (let k = 0; k < grid.steps; k++) values[k] = pick(a[k]!, b[k]!);
        return values;
      }
      case 'scalar':
        return scalarOf(this.session, await this.vector(call.args[0]!, grid), grid);
      default:
        throw new AppError('execution', `function ${call.func}() does not answer a scalar`);
    }
  }

  #open(expr: Expr, grid: Grid): Promise<VectorOperand> {
    const { session } = this;
    const { merged } = session;
    if (merged !== undefined) return merged.open(expr, grid) ?? this.#openNew(expr, grid);
    // A part is a single expression.
    if (session.partRoot !== undefined) return this.#openNew(expr, grid);
    return this.#common.open(session, expr, grid, (chosen, counted) => this.#openNew(chosen, counted));
  }

  #openNew(expr: Expr, grid: Grid): Promise<VectorOperand> {
    switch (expr.kind) {
      case 'vector-selector':
        return openSelector(this.session, expr, grid, 'value');
      case 'call':
        return this.#openCall(expr, grid);
      case 'aggregation':
        return openAggregation(this, expr, grid);
      case 'unary':
        return openNegation(this, expr, grid);
      case 'binary':
        return this.#openBinary(expr, grid);
      default:
        throw new AppError('execution', `expected an instant vector expression, got ${expr.kind}`);
    }
  }

  #openBinary(expr: BinaryExpr, grid: Grid): Promise<VectorOperand> {
    if (typeOf(expr.left) === 'scalar' || typeOf(expr.right) === 'scalar') {
      return openVectorScalar(this, expr, grid);
    }
    const { matching } = expr;
    if (matching === undefined) {
      throw new AppError('execution', `operator ${expr.operator} between vectors has no matching`);
    }
    return isSetOperator(expr.operator)
      ? openSetOperator(this, expr, matching, grid)
      : openVectorBinary(this, expr, matching, grid);
  }

  async #openCall(call: Call, grid: Grid): Promise<VectorOperand> {
    if (isMapping(call.func)) return openMapping(this, call, grid);
    const open = CALLS.get(call.func);
    if (open !== undefined) return open(this, call, grid);
    if (isHistogramProperty(call.func)) return openHistogramProperty(this, call, grid);
    const matrix = matrixArgument(call);
    if (matrix === undefined) throw new AppError('execution', `unknown function ${call.func}()`);
    const operand = await openRangeFunction(this, call, matrix, grid);
    return call.func === 'absent_over_time' ? openAbsence(this.session, operand, matrix, grid) : operand;
  }
}

// Which expressions may be evaluated in pieces of time, so that the pieces put together are bit for bit what one evaluation of them all
// answers. What is not known to be so is evaluated whole. README.md says why for each.
import { METRIC_NAME } from '../../lib/model/labels.ts';
import type {
  Aggregation,
  AggregationOperator,
  BinaryExpr,
  Call,
  DurationExpr,
  Expr,
  Subquery,
  VectorSelector,
} from '../../lib/promql/ast.ts';
import { unwrap, visitExpr } from '../../lib/promql/engine/expressions.ts';
import type { PromqlFeatures } from '../../lib/promql/features.ts';
import { typeOf } from '../../lib/promql/parse/expression-type.ts';
import { isSeriesWiseCall, keepsNames } from '../../lib/promql/plan/series-wise.ts';

/** Why an expression is not cut by time. */
export type Obstacle =
  /** `@`, `range()`, `start()`, `end()`: values depend on where the query begins or ends, or on one time that every piece would have to be checked for. */
  | 'pinned'
  /** Sums and ties over rows whose order depends on which of them has values first. */
  | 'order'
  /** Names are dropped or labels rewritten: rows of different series may get the same labels, an error only where they meet. */
  | 'labels'
  /** Nothing is selected: there is nothing to save. */
  | 'constant'
  /** A language feature whose results depend on all steps. */
  | 'feature';

/** Calls that rewrite labels, or look further than their arguments say. */
const LABEL_CALLS: ReadonlySet<string> = new Set(['label_replace', 'label_join', 'info']);

/** Calls that answer what the whole query's times are. */
const TIME_CALLS: ReadonlySet<string> = new Set(['start', 'end', 'range']);

/** Calls whose result is one row, or none. */
const ONE_ROW_CALLS: ReadonlySet<string> = new Set(['absent', 'absent_over_time', 'scalar', 'vector']);

/** Aggregations whose result depends on the order of what they aggregate: rounding, and which of equal values is kept. */
const ORDER_SENSITIVE: ReadonlySet<AggregationOperator> = new Set([
  ...(['sum', 'avg', 'stddev', 'stdvar', 'topk', 'bottomk', 'limitk'] as const),
]);

/** Aggregations that answer some of the rows that they were given. */
const SELECTING: ReadonlySet<AggregationOperator> = new Set(['topk', 'bottomk', 'limitk', 'limit_ratio']);

/** Undefined where the expression may be cut by time. */
export function obstacleOf(expr: Expr, features: PromqlFeatures): Obstacle | undefined {
  if (features.delayedNameRemoval) return 'feature';
  const selectors: VectorSelector[] = [];
  let found: Obstacle | undefined;
  let relabels = false;
  visitExpr(expr, (node) => {
    if (node.kind === 'vector-selector') selectors.push(node);
    found ??= ownObstacle(node);
    relabels ||= dropsNames(node);
    return undefined;
  });
  if (found !== undefined) return found;
  if (selectors.length === 0) return 'constant';
  return relabels && !selectors.every(hasOneName) ? 'labels' : undefined;
}

function ownObstacle(node: Expr): Obstacle | undefined {
  switch (node.kind) {
    case 'vector-selector':
      return node.at !== undefined || dependsOnRange(node.offset) ? 'pinned' : undefined;
    case 'matrix-selector':
      return dependsOnRange(node.range) ? 'pinned' : undefined;
    case 'subquery':
      return isPinned(node) ? 'pinned' : undefined;
    case 'call':
      if (TIME_CALLS.has(node.func)) return 'pinned';
      return LABEL_CALLS.has(node.func) ? 'labels' : undefined;
    case 'aggregation':
      return ORDER_SENSITIVE.has(node.operator) && !hasStableOrder(node.expr) ? 'order' : undefined;
    default:
      return undefined;
  }
}

function isPinned({ at, range, step, offset }: Subquery): boolean {
  return at !== undefined || [range, step, offset].some(dependsOnRange);
}

/** step() is the same for all pieces of a query, range() is not. */
function dependsOnRange(duration: DurationExpr | undefined): boolean {
  if (duration?.kind !== 'operation') return false;
  return duration.operator === 'range' || dependsOnRange(duration.left) || dependsOnRange(duration.right);
}

/** Every series of the selector has the same metric name: without it they still differ. */
function hasOneName({ matchers }: VectorSelector): boolean {
  return matchers.some(
    ({ name, operator, value }) => name === METRIC_NAME && operator === '=' && value !== '',
  );
}

function dropsNames(node: Expr): boolean {
  switch (node.kind) {
    case 'call':
      return typeOf(node) === 'vector' && !keepsNames(node);
    case 'unary':
    case 'binary':
      return !keepsNames(node) && !isSetOperator(node);
    default:
      return false;
  }
}

function isSetOperator(node: Expr): boolean {
  return node.kind === 'binary' && ['and', 'or', 'unless'].includes(node.operator);
}

/**
 * Whether two rows that have values at a step are in the same order whatever other steps are evaluated: that of the labels of the
 * series that they were made of. Rows that several series make together are where the first of these is, which may be at another step.
 */
function hasStableOrder(expr: Expr): boolean {
  const node = unwrap(expr);
  switch (node.kind) {
    case 'vector-selector':
    case 'matrix-selector':
    case 'number':
      return true;
    case 'unary':
    case 'subquery':
      return hasStableOrder(node.expr);
    case 'call':
      return isStableCall(node);
    case 'aggregation':
      return isStableAggregation(node);
    case 'binary':
      return isStableBinary(node);
    default:
      return false;
  }
}

function isStableCall(call: Call): boolean {
  if (ONE_ROW_CALLS.has(call.func) || typeOf(call) === 'scalar') return true;
  if (!isSeriesWiseCall(call)) return false;
  return call.args.every((argument) => {
    const type = typeOf(unwrap(argument));
    return (type !== 'vector' && type !== 'matrix') || hasStableOrder(argument);
  });
}

function isStableAggregation({ operator, grouping, without, expr }: Aggregation): boolean {
  if (operator === 'limit_ratio') return hasStableOrder(expr);
  if (SELECTING.has(operator) || operator === 'count_values') return false;
  // One group is one row.
  return grouping.length === 0 && !without;
}

function isStableBinary(node: BinaryExpr): boolean {
  const { left, right, operator, matching } = node;
  if (matching === undefined) return hasStableOrder(left) && hasStableOrder(right);
  if (operator === 'and' || operator === 'unless') return hasStableOrder(left);
  if (operator === 'or' || matching.fillLeft !== undefined || matching.fillRight !== undefined) return false;
  // A row per series of the side that may have several for each of the other's, unless labels of the other side replace its own.
  switch (matching.cardinality) {
    case 'many-to-one':
      return matching.include.length === 0 && hasStableOrder(left);
    case 'one-to-many':
      return matching.include.length === 0 && hasStableOrder(right);
    default:
      return !matching.on && matching.labels.length === 0 && hasStableOrder(left) && hasStableOrder(right);
  }
}

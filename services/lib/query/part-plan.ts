// The plan of a query as querier and ingesters make it of the same text: parse, narrow, cut. Who evaluates a part is told its number.
import type { DurationExpr, Expr } from '../promql/ast.ts';
import type { PromqlFeatures } from '../promql/features.ts';
import { parseExpr } from '../promql/parse/parser.ts';
import { cut, type Part, type Plan } from '../promql/plan/plan.ts';
import { matchesAnyOf, propagateMatchers } from '../promql/plan/propagate.ts';
import { type PartWindow, type WindowContext, windowOf } from '../promql/plan/window.ts';

/**
 * Parses an expression for evaluation over a cluster.
 *
 * @param replicaLabels  Labels that results do not have: a matcher on one says nothing of partners in a join.
 * @throws AppError `bad_data` in Prometheus' words.
 */
export function parseForCluster(
  query: string,
  features: PromqlFeatures,
  replicaLabels: readonly string[],
): Expr {
  const expr = parseExpr(query, features);
  return matchesAnyOf(expr, replicaLabels) ? expr : propagateMatchers(expr);
}

/** The parts that nodes evaluate: those that answer less than the series that they read. */
export function planForNodes(expr: Expr, features: PromqlFeatures): Plan | undefined {
  return cut(expr, { features, parts: 'reducing' });
}

/** Steps of a query. */
export interface QuerySteps {
  readonly startMs: number;
  readonly endMs: number;
  /** 0 for an instant query. */
  readonly stepMs: number;
}

/** Which steps of a part may be evaluated by nodes, and what samples these read. */
export interface PushableSteps {
  /** Index of the first one. */
  readonly from: number;
  /** Of the window of all of them, Unix ms, both inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

/**
 * The steps whose windows are beyond the horizon; undefined when none is.
 *
 * @param horizonMs  Up to which blocks have samples.
 */
export function stepsBeyond(
  part: Part,
  context: WindowContext,
  horizonMs: number,
): PushableSteps | undefined {
  const { startMs, stepMs } = context.request;
  const reach = reachOfSteps(part, context);
  const last = stepCount(context.request) - 1;
  if (reach.kind === 'fixed') {
    const { earliestMs, latestMs } = reach;
    return earliestMs > horizonMs ? { from: 0, minTimeMs: earliestMs, maxTimeMs: latestMs } : undefined;
  }
  const first = startMs + reach.earliestMs > horizonMs ? 0 : firstBeyond(reach, context.request, horizonMs);
  if (first > last || (first > 0 && !isShiftable(part))) return undefined;
  return {
    from: first,
    minTimeMs: startMs + first * stepMs + reach.earliestMs,
    maxTimeMs: startMs + last * stepMs + reach.latestMs,
  };
}

/** Which steps of a part, from the first on, may be evaluated by nodes, and what samples these read. */
export interface EarlySteps {
  /** Index of the last one. */
  readonly to: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

/**
 * The steps whose windows are before a time; undefined when none is.
 *
 * @param beforeMs  Unix ms, exclusive.
 * @param count     How many of the steps are asked about, 1 or more: the first ones. All are, or a part whose steps cannot be evaluated apart
 *                  has none.
 */
export function stepsBefore(
  part: Part,
  context: WindowContext,
  beforeMs: number,
  count: number,
): EarlySteps | undefined {
  const { startMs, stepMs } = context.request;
  const reach = reachOfSteps(part, context);
  const isAll = count === stepCount(context.request);
  if (reach.kind === 'fixed') {
    const { earliestMs, latestMs } = reach;
    return isAll && latestMs < beforeMs
      ? { to: count - 1, minTimeMs: earliestMs, maxTimeMs: latestMs }
      : undefined;
  }
  if (startMs + reach.latestMs >= beforeMs) return undefined;
  // Of an instant query there is the one step.
  const last = stepMs > 0 ? Math.ceil((beforeMs - reach.latestMs - startMs) / stepMs) - 1 : 0;
  const to = Math.min(count - 1, last);
  if (!(isAll && to === count - 1) && !isShiftable(part)) return undefined;
  return { to, minTimeMs: startMs + reach.earliestMs, maxTimeMs: startMs + to * stepMs + reach.latestMs };
}

/** Steps of a query. */
export function stepCount({ startMs, endMs, stepMs }: QuerySteps): number {
  return stepMs > 0 ? Math.floor((endMs - startMs) / stepMs) + 1 : 1;
}

function firstBeyond({ earliestMs }: PartWindow, { startMs, stepMs }: QuerySteps, horizonMs: number): number {
  if (stepMs === 0) return Number.POSITIVE_INFINITY;
  return Math.floor((horizonMs - earliestMs - startMs) / stepMs) + 1;
}

/** What a step of the query reads, where the part's own steps are those of subqueries around it. */
function reachOfSteps(part: Part, context: WindowContext): PartWindow {
  // As if nothing else were inside of them.
  const root = part.subqueries.reduceRight<Expr>((expr, subquery) => ({ ...subquery, expr }), part.root);
  return windowOf({ ...part, root }, context);
}

/**
 * Whether a part says the same at a step whatever the first and the last step are: not so with `@ start()` and with durations that are
 * computed, and subqueries are aligned to steps of their own.
 */
function isShiftable(part: Part): boolean {
  return part.subqueries.length === 0 && hasPlainDurations(part.root);
}

function hasPlainDurations(expr: Expr): boolean {
  const isPlain = (duration: DurationExpr | undefined): boolean =>
    duration === undefined || duration.kind === 'literal';
  switch (expr.kind) {
    case 'vector-selector':
      return isPlain(expr.offset) && expr.at === undefined;
    case 'matrix-selector':
      return isPlain(expr.range) && hasPlainDurations(expr.vector);
    case 'subquery':
      return (
        expr.at === undefined &&
        [expr.range, expr.step, expr.offset].every(isPlain) &&
        hasPlainDurations(expr.expr)
      );
    case 'paren':
    case 'unary':
      return hasPlainDurations(expr.expr);
    case 'aggregation':
      return hasPlainDurations(expr.expr) && (expr.param === undefined || hasPlainDurations(expr.param));
    case 'binary':
      return hasPlainDurations(expr.left) && hasPlainDurations(expr.right);
    case 'call':
      return expr.args.every(hasPlainDurations);
    case 'number':
    case 'string':
      return true;
  }
}

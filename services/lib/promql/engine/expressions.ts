// What the engine asks of the syntax tree: parentheses, and which parts do not depend on the step.
import { AppError } from '../../core/errors.ts';
import type { Call, Expr, VectorSelector } from '../ast.ts';

/** Calls whose value depends on the step even when their arguments do not. */
const STEP_DEPENDENT = new Set([
  'time',
  'timestamp',
  'predict_linear',
  'days_in_month',
  'day_of_month',
  'day_of_week',
  'day_of_year',
  'hour',
  'minute',
  'month',
  'year',
]);

/** The expression without the parentheses around it. */
export function unwrap(expr: Expr): Expr {
  let inner = expr;
  while (inner.kind === 'paren') inner = inner.expr;
  return inner;
}

/** True when the expression has the same value at every step: then one evaluation will do. */
export function isStepInvariant(expr: Expr): boolean {
  switch (expr.kind) {
    case 'number':
    case 'string':
      return true;
    case 'vector-selector':
    case 'subquery':
      return expr.at !== undefined;
    case 'matrix-selector':
      return expr.vector.at !== undefined;
    case 'call':
      return !STEP_DEPENDENT.has(expr.func) && expr.args.every(isStepInvariant);
    case 'aggregation':
      // Prometheus does not look at the parameter: `topk(scalar(x), y @ end())` is evaluated once.
      return isStepInvariant(expr.expr);
    case 'binary':
      return isStepInvariant(expr.left) && isStepInvariant(expr.right);
    case 'unary':
    case 'paren':
      return isStepInvariant(expr.expr);
  }
}

/** Calls `visit` with every node of the tree, those above first, from left to right; not below one that it answers `skip` for. */
export function visitExpr(expr: Expr, visit: (node: Expr) => 'skip' | undefined): void {
  if (visit(expr) === 'skip') return;
  switch (expr.kind) {
    case 'subquery':
    case 'unary':
    case 'paren':
      visitExpr(expr.expr, visit);
      return;
    case 'matrix-selector':
      visitExpr(expr.vector, visit);
      return;
    case 'aggregation':
      if (expr.param !== undefined) visitExpr(expr.param, visit);
      visitExpr(expr.expr, visit);
      return;
    case 'call':
      for (const argument of expr.args) visitExpr(argument, visit);
      return;
    case 'binary':
      visitExpr(expr.left, visit);
      visitExpr(expr.right, visit);
      return;
    case 'vector-selector':
    case 'number':
    case 'string':
  }
}

/** Calls that need no more of a native histogram than count and sum. */
const COUNTS_ONLY = new Set(['histogram_count', 'histogram_sum', 'histogram_avg']);
/** Calls that need its buckets. */
const NEEDS_BUCKETS = new Set(['histogram_quantile', 'histogram_quantiles', 'histogram_fraction']);

/**
 * Selectors below histogram_count(), histogram_sum() or histogram_avg(), unless a subquery or something that needs
 * buckets comes first on the way up, or later.
 */
export function findCountedSelectors(expr: Expr): ReadonlySet<VectorSelector> {
  const found = new Set<VectorSelector>();
  collectCounted(expr, 'no', found);
  return found;
}

/** @param state  What the nodes above say; `never`: something above needs buckets. */
function collectCounted(expr: Expr, state: 'no' | 'counted' | 'never', found: Set<VectorSelector>): void {
  switch (expr.kind) {
    case 'vector-selector':
      if (state === 'counted') found.add(expr);
      return;
    case 'matrix-selector':
      collectCounted(expr.vector, state, found);
      return;
    case 'subquery':
      collectCounted(expr.expr, 'no', found);
      return;
    case 'call': {
      let below = state;
      if (NEEDS_BUCKETS.has(expr.func)) below = 'never';
      else if (COUNTS_ONLY.has(expr.func) && state === 'no') below = 'counted';
      for (const argument of expr.args) collectCounted(argument, below, found);
      return;
    }
    case 'aggregation':
      collectCounted(expr.expr, state, found);
      if (expr.param !== undefined) collectCounted(expr.param, state, found);
      return;
    case 'binary': {
      const below = expr.operator === '</' || expr.operator === '>/' ? 'never' : state;
      collectCounted(expr.left, below, found);
      collectCounted(expr.right, below, found);
      return;
    }
    case 'unary':
    case 'paren':
      collectCounted(expr.expr, state, found);
      return;
    default:
  }
}

/** String literal at an argument's place. */
export function stringArgument(call: Call, index: number): string {
  const argument = unwrap(call.args[index]!);
  if (argument.kind === 'string') return argument.value;
  throw new AppError('execution', `argument ${index + 1} of ${call.func}() must be a string literal`);
}

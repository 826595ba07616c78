// What an order says of a query: its expression, type-checked, and its times.
import { AppError } from '../../lib/core/errors.ts';
import type { Expr } from '../../lib/promql/ast.ts';
import { TYPE_NAMES } from '../../lib/promql/parse/check.ts';
import { typeOf } from '../../lib/promql/parse/expression-type.ts';
import { goQuote } from '../../lib/promql/parse/go-quote.ts';
import type { ParsedQueries } from '../../lib/query/parsed-queries.ts';
import type { EvaluationOrder } from './evaluation-messages.ts';

/** Times of a query, as the engine takes them. */
export function timesOf({ request, engine }: EvaluationOrder) {
  return {
    query: request.query,
    startMs: request.startMs,
    endMs: request.endMs,
    stepMs: request.stepMs,
    lookbackMs: request.lookbackMs > 0 ? request.lookbackMs : engine.lookbackMs,
    isPerStepWanted: request.perStepStats === true,
  };
}

/**
 * Parses a query.
 *
 * @param parsed  Those that the thread has parsed lately.
 * @throws AppError `bad_data` in Prometheus' words.
 */
export function parseOrder({ request, engine, limits }: EvaluationOrder, parsed: ParsedQueries): Expr {
  const { startMs, endMs, stepMs } = request;
  if (stepMs < 0 || endMs < startMs || (stepMs === 0 && endMs !== startMs)) {
    throw new AppError(
      'bad_data',
      `no steps from ${startMs} to ${endMs} every ${stepMs} ms: the end is before the start, or the step is not positive`,
    );
  }
  const expr = parsed.parse(request.query, engine.features, limits.replicaLabels ?? []);
  const type = typeOf(expr);
  if (stepMs > 0 && type !== 'vector' && type !== 'scalar') {
    throw new AppError(
      'bad_data',
      `invalid expression type ${goQuote(TYPE_NAMES[type])} for range query, must be Scalar or instant Vector`,
    );
  }
  return expr;
}

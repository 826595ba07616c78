// How far from its step an expression reads: found out by evaluating it over nothing, at one step.
import { AppError } from '../../lib/core/errors.ts';
import type { Expr } from '../../lib/promql/ast.ts';
import { evaluateDuration } from '../../lib/promql/engine/durations.ts';
import { createEngine } from '../../lib/promql/engine/engine.ts';
import { visitExpr } from '../../lib/promql/engine/expressions.ts';
import type { EngineOptions } from '../../lib/promql/engine/query.ts';
import type { QueryRequest } from '../../lib/wire/contracts.ts';
import type { UnionLimits } from '../selection/series-union.ts';
import { UnitingQueryable } from '../selection/uniting-queryable.ts';

/** Milliseconds before and after a step, both inclusive; negative where windows end before it, or begin after it. */
export interface Reach {
  readonly backMs: number;
  readonly aheadMs: number;
  /** So much less it may be, on both sides, at some steps. */
  readonly slackMs: number;
}

/**
 * What evaluation of a step may read; undefined when nothing is read, or that cannot be told.
 *
 * Cost: some 50 µs.
 */
export async function reachOf(
  request: QueryRequest,
  expr: Expr,
  engine: Pick<EngineOptions, 'lookbackMs' | 'samplesMax' | 'features' | 'noStepSubqueryIntervalMs'>,
  limits: UnionLimits,
  signal: AbortSignal,
): Promise<Reach | undefined> {
  const { query, startMs, stepMs } = request;
  let fromMs = Number.POSITIVE_INFINITY;
  let toMs = Number.NEGATIVE_INFINITY;
  const queryable = new UnitingQueryable(limits, async ({ minTimeMs, maxTimeMs }) => {
    fromMs = Math.min(fromMs, minTimeMs);
    toMs = Math.max(toMs, maxTimeMs);
    return [];
  });
  const lookbackMs = request.lookbackMs > 0 ? request.lookbackMs : engine.lookbackMs;
  try {
    await createEngine(engine).execute(
      { expr, query, startMs, endMs: startMs, stepMs, lookbackMs },
      queryable,
      { signal, chargeBytes: () => undefined },
    );
    const slackMs = subqueryStepsMs(request, expr, engine.noStepSubqueryIntervalMs);
    if (!(fromMs <= toMs)) return undefined;
    return { backMs: startMs - fromMs + slackMs, aheadMs: toMs - startMs + slackMs, slackMs };
  } catch (caught) {
    // Evaluation of the query says it better.
    if (caught instanceof AppError) return undefined;
    throw caught;
  }
}

/** Steps of subqueries are multiples of their step, whatever the query's are: windows reach further at one than at another. */
function subqueryStepsMs(request: QueryRequest, expr: Expr, intervalMs: number): number {
  let sumMs = 0;
  visitExpr(expr, (node) => {
    if (node.kind === 'subquery')
      sumMs += node.step === undefined ? intervalMs : evaluateDuration({ request }, node.step, false);
    return undefined;
  });
  return sumMs;
}

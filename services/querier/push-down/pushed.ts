// Evaluation of a query whose parts are evaluated by the ingesters, as far as they can be: the thread that has the query says which
// steps of which parts, evaluates the rest over chunks, and merges (services/lib/wire/docs/part-evaluation.md).
import { AppError } from '../../lib/core/errors.ts';
import type { Queryable, QueryContext, SelectRequest, SeriesSet } from '../../lib/model/queryable.ts';
import type { PartialResult } from '../../lib/promql/engine/parts/partial.ts';
import type { CutRequest, Engine, QueryResult } from '../../lib/promql/engine/query.ts';
import { type PushableSteps, stepsBeyond } from '../../lib/query/part-plan.ts';

/** A part as it is pushed down: steps from the first on that may be. */
export interface PartPush {
  readonly part: number;
  readonly startMs: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

/** What ingesters answered. */
export interface PushedResult {
  readonly partials: readonly PartialResult[];
  /** Partitions that the results are not of. */
  readonly refused: readonly number[];
}

export interface PushedDeps {
  readonly engine: Engine;
  /** All series, by chunks. */
  readonly queryable: Queryable;
  /** Series of some partitions, by chunks. */
  readonly selectOf: (
    request: SelectRequest,
    partitions: readonly number[],
    context: QueryContext,
  ) => Promise<SeriesSet>;
  readonly push: (push: PartPush) => Promise<PushedResult>;
}

/**
 * Evaluates a cut query.
 *
 * @param horizonMs  Up to when blocks have samples.
 * @returns          Undefined when it is to be evaluated otherwise: nothing can be pushed down, or the parts cannot be merged exactly.
 * @throws AppError as Engine.execute.
 */
export async function executePushed(
  request: CutRequest & { readonly lookbackMs: number },
  horizonMs: number,
  deps: PushedDeps,
  context: QueryContext,
): Promise<QueryResult | undefined> {
  const steps = pushableSteps(request, horizonMs);
  if (!steps.some((each) => each !== undefined)) return undefined;
  const runs = steps.map((each, part) =>
    each === undefined
      ? deps.engine.executePart({ ...request, part }, deps.queryable, context).then((partial) => [partial])
      : executePart(request, part, each, deps, context),
  );
  const settled = await Promise.allSettled(runs);
  const partials: PartialResult[] = [];
  for (const outcome of settled) {
    if (outcome.status === 'rejected') throw outcome.reason;
    partials.push(...outcome.value);
  }
  // What no part can say for all is found out before anything else is read.
  if (partials.some(({ declined }) => declined !== '')) return undefined;
  return deps.engine.executeMerge(request, partials, deps.queryable, context);
}

/** By part: the steps that ingesters may evaluate. */
function pushableSteps(
  request: CutRequest & { readonly lookbackMs: number },
  horizonMs: number,
): readonly (PushableSteps | undefined)[] {
  const { query = '', startMs, endMs, stepMs, lookbackMs } = request;
  const times = { request: { query, startMs, endMs, stepMs }, lookbackMs };
  try {
    return request.plan.parts.map((part) => stepsBeyond(part, times, horizonMs));
  } catch (caught) {
    // Durations that cannot be: evaluation says so in the order in which it comes to them.
    if (caught instanceof AppError) return [];
    throw caught;
  }
}

/** The partial results of one part: the ingesters', of what they refused, and of the steps before. */
async function executePart(
  request: CutRequest,
  part: number,
  { from, minTimeMs, maxTimeMs }: PushableSteps,
  deps: PushedDeps,
  context: QueryContext,
): Promise<PartialResult[]> {
  const { engine, queryable } = deps;
  const startMs = request.startMs + from * request.stepMs;
  const pushing = deps.push({ part, startMs, minTimeMs, maxTimeMs });
  const before =
    from === 0
      ? undefined
      : engine.executePart({ ...request, part, endMs: startMs - request.stepMs }, queryable, context);
  // Either may fail while the other is under way.
  const [pushed, earlier] = await Promise.all([pushing, before]);
  const partials = [...pushed.partials];
  if (earlier !== undefined) partials.push(earlier);
  const { refused } = pushed;
  if (refused.length > 0) {
    const rest: Queryable = { select: (select, its) => deps.selectOf(select, refused, its) };
    partials.push(await engine.executePart({ ...request, part, startMs }, rest, context));
  }
  return partials;
}

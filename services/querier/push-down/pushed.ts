// Evaluation of a query whose parts are evaluated by ingesters and stores, as far as they can be: the thread that has the query says which
// steps of which parts, evaluates the rest over chunks, and merges (services/lib/wire/docs/part-evaluation.md).
import { AppError } from '../../lib/core/errors.ts';
import type { Queryable, QueryContext, SelectRequest, SeriesSet } from '../../lib/model/queryable.ts';
import type { PartialResult } from '../../lib/promql/engine/parts/partial.ts';
import type { CutRequest, Engine, QueryResult } from '../../lib/promql/engine/query.ts';
import {
  type EarlySteps,
  type PushableSteps,
  stepCount,
  stepsBefore,
  stepsBeyond,
} from '../../lib/query/part-plan.ts';

/** Some steps of a part as they are pushed down. */
export interface PartPush {
  readonly to: 'ingesters' | 'stores';
  readonly part: number;
  /** First and last step. */
  readonly startMs: number;
  readonly endMs: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

/** What nodes answered. */
export interface PushedResult {
  readonly partials: readonly PartialResult[];
  /** Partitions that the results are not of. */
  readonly refused: readonly number[];
}

/** Times that decide which steps may be pushed down, Unix ms. */
export interface PushTimes {
  /** Up to when blocks have samples. */
  readonly horizonMs: number;
  /** Before it all samples are in blocks; undefined: not known. */
  readonly sealedBeforeMs: number | undefined;
}

/** Which steps of a part are pushed where; those between are read by chunks. */
interface PushedSteps {
  readonly stores: EarlySteps | undefined;
  readonly ingesters: PushableSteps | undefined;
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
 * @returns  Undefined when it is to be evaluated otherwise: nothing can be pushed down, or the parts cannot be merged exactly.
 * @throws AppError as Engine.execute.
 */
export async function executePushed(
  request: CutRequest & { readonly lookbackMs: number },
  pushTimes: PushTimes,
  deps: PushedDeps,
  context: QueryContext,
): Promise<QueryResult | undefined> {
  const steps = pushableSteps(request, pushTimes);
  if (!steps.some(({ stores, ingesters }) => stores !== undefined || ingesters !== undefined))
    return undefined;
  const runs = steps.map((each, part) => executePart(request, part, each, deps, context));
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

/** By part: the steps that nodes may evaluate. */
function pushableSteps(
  request: CutRequest & { readonly lookbackMs: number },
  { horizonMs, sealedBeforeMs }: PushTimes,
): readonly PushedSteps[] {
  const { query = '', startMs, endMs, stepMs, lookbackMs } = request;
  const times = { request: { query, startMs, endMs, stepMs }, lookbackMs };
  const count = stepCount(request);
  try {
    return request.plan.parts.map((part) => {
      const ingesters = stepsBeyond(part, times, horizonMs);
      const left = ingesters?.from ?? count;
      const stores =
        sealedBeforeMs === undefined || left === 0
          ? undefined
          : stepsBefore(part, times, sealedBeforeMs, left);
      return { stores, ingesters };
    });
  } catch (caught) {
    // Durations that cannot be: evaluation says so in the order in which it comes to them.
    if (caught instanceof AppError) return [];
    throw caught;
  }
}

/** The partial results of one part: the stores' of the first steps, the ingesters' of the last, and of what is between or was refused. */
async function executePart(
  request: CutRequest,
  part: number,
  { stores, ingesters }: PushedSteps,
  deps: PushedDeps,
  context: QueryContext,
): Promise<PartialResult[]> {
  const { engine, queryable } = deps;
  const { startMs, endMs, stepMs } = request;
  const timeOf = (step: number): number => startMs + step * stepMs;
  const count = stepCount(request);
  const [first, end] = [stores === undefined ? 0 : stores.to + 1, ingesters?.from ?? count];
  const runs: Promise<PartialResult[]>[] = [];
  if (stores !== undefined) {
    const { minTimeMs, maxTimeMs } = stores;
    const times = { startMs, endMs: timeOf(stores.to), minTimeMs, maxTimeMs };
    runs.push(pushSteps(request, { to: 'stores', part, ...times }, deps, context));
  }
  if (first < end) {
    const times = { startMs: timeOf(first), endMs: end === count ? endMs : timeOf(end - 1) };
    runs.push(
      engine.executePart({ ...request, ...times, part }, queryable, context).then((partial) => [partial]),
    );
  }
  if (ingesters !== undefined) {
    const { minTimeMs, maxTimeMs } = ingesters;
    const times = { startMs: timeOf(ingesters.from), endMs, minTimeMs, maxTimeMs };
    runs.push(pushSteps(request, { to: 'ingesters', part, ...times }, deps, context));
  }
  // Any may fail while the others are under way.
  return (await Promise.all(runs)).flat();
}

/** What nodes made of some steps, and of what they refused, by chunks. */
async function pushSteps(
  request: CutRequest,
  push: PartPush,
  { engine, push: pushDown, selectOf }: PushedDeps,
  context: QueryContext,
): Promise<PartialResult[]> {
  const { partials, refused } = await pushDown(push);
  if (refused.length === 0) return [...partials];
  const { part, startMs, endMs } = push;
  const rest: Queryable = { select: (select, its) => selectOf(select, refused, its) };
  return [...partials, await engine.executePart({ ...request, part, startMs, endMs }, rest, context)];
}

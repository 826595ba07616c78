// What a query will select, found out before it is evaluated: by evaluating it over nothing. So nodes are asked while its thread
// is still on its way, and what is small need not travel to a thread at all.
import { AppError } from '../../lib/core/errors.ts';
import type { Queryable, SeriesSet } from '../../lib/model/queryable.ts';
import type { Expr } from '../../lib/promql/ast.ts';
import { createEngine } from '../../lib/promql/engine/engine.ts';
import type { ParsedQueries } from '../../lib/query/parsed-queries.ts';
import { readSeriesFrame } from '../../lib/wire/frames/series-frame.ts';
import { type FrameRequest, requestOf, selectKey } from '../selection/uniting-queryable.ts';
import type { EvaluationOrder, SentFrame } from './evaluation-messages.ts';
import type { MainThreadLimits } from './main-thread.ts';
import { parseOrder, timesOf } from './order.ts';
import { estimateMs, FrameWeight, type QueryShape, shapeOf } from './query-work.ts';

/** Longer queries are not looked at by the main thread: parsing takes 10 ns per byte, and more for what is nested. */
const QUERY_LENGTH_MAX = 2000;

export interface QueryPlan {
  readonly expr: Expr;
  /** Each once. What the query really asks for may differ, where that depends on what it finds. */
  readonly selects: readonly FrameRequest[];
  /** The selectKey() of each. */
  readonly keys: readonly string[];
  readonly shape: QueryShape;
}

/**
 * Finds out what a query selects; undefined when that would take long, or is an error, which evaluation then finds as well.
 *
 * Cost: 50 to 100 µs for what dashboards ask, at most some milliseconds.
 */
export async function planSelects(
  order: EvaluationOrder,
  parsed: ParsedQueries,
  signal: AbortSignal,
): Promise<QueryPlan | undefined> {
  if (order.request.query.length > QUERY_LENGTH_MAX) return undefined;
  const selects = new Map<string, FrameRequest>();
  const queryable: Queryable = {
    select: async (request) => {
      const asked = requestOf(request, order.limits);
      selects.set(selectKey(asked), asked);
      return NOTHING;
    },
  };
  try {
    const expr = parseOrder(order, parsed);
    const shape = shapeOf(expr, order);
    if (shape === undefined) return undefined;
    await createEngine(order.engine).execute({ ...timesOf(order), expr }, queryable, {
      signal,
      chargeBytes: () => undefined,
    });
    return { expr, selects: [...selects.values()], keys: [...selects.keys()], shape };
  } catch (caught) {
    if (caught instanceof AppError) return undefined;
    throw caught;
  }
}

/** No series. */
const NOTHING: SeriesSet = {
  size: 0,
  warnings: [],
  labels: () => unreachableSeries(),
  read: () => unreachableSeries(),
  release: () => undefined,
};

function unreachableSeries(): never {
  throw new Error('there is no series');
}

/**
 * Whether evaluating what was fetched for a query is within the limits, as far as that can be told.
 *
 * Cost: 10 to 20 ns per chunk; of runs next to nothing.
 */
export function isSmall(
  frames: readonly SentFrame[],
  shape: QueryShape,
  { msMax, takesRuns }: MainThreadLimits,
): boolean {
  const weight = new FrameWeight();
  try {
    for (const { frame, run } of frames) {
      if (run === undefined) readSeriesFrame(frame, weight);
      else if (takesRuns) weight.addRun(run);
      else return false;
      if (estimateMs(weight, shape) > msMax) return false;
    }
  } catch (caught) {
    // A malformed frame is the evaluation's to find.
    if (caught instanceof AppError) return false;
    throw caught;
  }
  return true;
}

// What a query will select, found out before it is evaluated: by evaluating it over nothing. So nodes are asked while its thread
// is still on its way, and what is small need not travel to a thread at all.
import { AppError } from '../../lib/core/errors.ts';
import { CHUNK_COLUMNS, type ChunkSink } from '../../lib/model/chunk-sink.ts';
import type { Expr } from '../../lib/promql/ast.ts';
import { evaluateDuration } from '../../lib/promql/engine/durations.ts';
import { createEngine } from '../../lib/promql/engine/engine.ts';
import { visitExpr } from '../../lib/promql/engine/expressions.ts';
import { chunkSampleCount } from '../../lib/tsdb/chunk/decode-chunk.ts';
import { readSeriesFrame } from '../../lib/wire/frames/series-frame.ts';
import { type FrameRequest, selectKey, UnitingQueryable } from '../selection/uniting-queryable.ts';
import type { EvaluationOrder, SentFrame } from './evaluation-messages.ts';
import { parseOrder, timesOf } from './order.ts';

/** Longer queries are not looked at by the main thread: parsing takes 10 ns per byte, and more for what is nested. */
const QUERY_LENGTH_MAX = 2000;
/** Nodes of the expression, each at all steps, that evaluation over nothing may walk: a millisecond. */
const STEPS_MAX = 200_000;
/** Samples of one series times steps: what a function that looks at its whole window anew walks without a pause, 5 ms. */
const WINDOWS_MAX = 500_000;

/** Uniting a series, its labels and its group take as long as so many of its samples: 0.5 to 1 µs. */
const SAMPLES_PER_SERIES = 64;

export interface QueryPlan {
  readonly expr: Expr;
  /** Each once. What the query really asks for may differ, where that depends on what it finds. */
  readonly selects: readonly FrameRequest[];
  /** The selectKey() of each. */
  readonly keys: readonly string[];
  /** Most steps at which some part of the expression is evaluated. */
  readonly steps: number;
}

/**
 * Finds out what a query selects; undefined when that would take long, or is an error, which evaluation then finds as well.
 *
 * Cost: 50 to 100 µs for what dashboards ask, at most some milliseconds.
 */
export async function planSelects(
  order: EvaluationOrder,
  signal: AbortSignal,
): Promise<QueryPlan | undefined> {
  if (order.request.query.length > QUERY_LENGTH_MAX) return undefined;
  const selects = new Map<string, FrameRequest>();
  const queryable = new UnitingQueryable(order.limits, async (request) => {
    selects.set(selectKey(request), request);
    return [];
  });
  try {
    const expr = parseOrder(order);
    const steps = stepsOf(expr, order);
    if (steps === undefined) return undefined;
    await createEngine(order.engine).execute({ ...timesOf(order), expr }, queryable, {
      signal,
      chargeBytes: () => undefined,
    });
    return { expr, selects: [...selects.values()], keys: [...selects.keys()], steps };
  } catch (caught) {
    if (caught instanceof AppError) return undefined;
    throw caught;
  }
}

/** Most steps of a node, subqueries around it included; undefined when there is too much of them to walk. */
function stepsOf(expr: Expr, order: EvaluationOrder): number | undefined {
  const { request, engine } = order;
  let spanMs = request.endMs - request.startMs;
  let stepMs = request.stepMs > 0 ? request.stepMs : Number.POSITIVE_INFINITY;
  let nodes = 0;
  visitExpr(expr, (node) => {
    nodes++;
    if (node.kind !== 'subquery') return undefined;
    spanMs += evaluateDuration({ request }, node.range, false);
    const ownMs =
      node.step === undefined
        ? engine.noStepSubqueryIntervalMs
        : evaluateDuration({ request }, node.step, false);
    stepMs = Math.min(stepMs, ownMs);
    return undefined;
  });
  const steps = Math.floor(spanMs / stepMs) + 2;
  return steps * nodes <= STEPS_MAX ? steps : undefined;
}

/**
 * Whether what was fetched for a query is so little that evaluating it takes no longer than giving it to a thread: few samples and
 * steps of series altogether, and no series that would hold the thread on its own. Floats only.
 *
 * @param samplesMax  Samples and steps of series, taken together, and 64 for each series.
 *
 * Cost: 10 to 20 ns per chunk.
 */
export function isSmall(frames: readonly SentFrame[], steps: number, samplesMax: number): boolean {
  const weight = new FrameWeight();
  try {
    for (const { frame } of frames) {
      readSeriesFrame(frame, weight);
      const samples = weight.samples + weight.series * (SAMPLES_PER_SERIES + steps);
      if (weight.isStrange || samples > samplesMax) return false;
    }
  } catch (caught) {
    // A malformed frame is the evaluation's to find.
    if (caught instanceof AppError) return false;
    throw caught;
  }
  return weight.longest * steps <= WINDOWS_MAX;
}

class FrameWeight implements ChunkSink {
  series = 0;
  samples = 0;
  /** Samples of the longest series of a frame. */
  longest = 0;
  /** Something else than floats is there. */
  isStrange = false;
  #own = 0;

  beginSeries(): void {
    this.series++;
    this.#own = 0;
  }

  chunk(encoding: number, _from: number, _to: number, bytes: Uint8Array, start: number, end: number): void {
    if (encoding > CHUNK_COLUMNS) {
      this.isStrange = true;
      return;
    }
    const count = chunkSampleCount(encoding, bytes, start, end);
    this.samples += count;
    this.#own += count;
    if (this.#own > this.longest) this.longest = this.#own;
  }
}

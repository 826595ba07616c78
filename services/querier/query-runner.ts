// One query from its text to the stream of its result: parse, wait for a turn, evaluate, send.
import type { Clock } from '../lib/core/clock.ts';
import { AppError, throwIfAborted } from '../lib/core/errors.ts';
import type { Queryable, QueryContext, SelectRequest, SeriesSet } from '../lib/model/queryable.ts';
import type { Expr } from '../lib/promql/ast.ts';
import { typeOf } from '../lib/promql/engine/expressions.ts';
import type { Engine, QueryResult } from '../lib/promql/engine/query.ts';
import { TYPE_NAMES } from '../lib/promql/parse/check.ts';
import { goQuote } from '../lib/promql/parse/go-quote.ts';
import { parseExpr } from '../lib/promql/parse/parser.ts';
import { type QueryRequest, type QueryResponse, ResultType } from '../lib/wire/contracts.ts';
import { ResultFrameWriter } from '../lib/wire/result-frame.ts';
import type { Deadline } from './deadline.ts';
import { MemoryBudget, type MemoryPool } from './memory-budget.ts';
import type { QuerierOptions } from './options.ts';
import type { QueryGate } from './query-gate.ts';

export interface QueryRunnerDeps {
  readonly engine: Engine;
  readonly gate: QueryGate;
  readonly pool: MemoryPool;
  readonly clock: Clock;
  /** What the query reads from. */
  readonly queryable: Queryable;
  /** Told at the end, whatever the outcome. */
  readonly onEnd: (use: { readonly samplesRead: number; readonly peakBytes: number }) => void;
}

const RESULT_TYPES: Readonly<Record<QueryResult['type'], ResultType>> = {
  scalar: ResultType.RESULT_TYPE_SCALAR,
  string: ResultType.RESULT_TYPE_STRING,
  vector: ResultType.RESULT_TYPE_VECTOR,
  matrix: ResultType.RESULT_TYPE_MATRIX,
};

/**
 * Runs a query under a deadline that has begun.
 *
 * @throws AppError `bad_data` for a malformed query, `execution` over a limit or in evaluation, `timeout`, `canceled`,
 *         `unavailable`. Whatever the end, the turn and the memory are given back.
 */
export async function* runQuery(
  request: QueryRequest,
  options: QuerierOptions,
  deadline: Deadline,
  deps: QueryRunnerDeps,
): AsyncGenerator<QueryResponse> {
  const { clock } = deps;
  const startedMs = clock.monotonicMs();
  const expr = parse(request, options);
  const planMs = clock.monotonicMs() - startedMs;
  const leave = await deps.gate.enter(deadline.signal);
  deadline.phase = 'expression evaluation';
  const budget = new MemoryBudget(deps.pool, options.memoryBytesMax);
  let samplesRead = 0;
  try {
    const context: QueryContext = {
      signal: deadline.signal,
      chargeBytes: (bytes) => budget.charge(bytes),
    };
    const queryable = new TimedQueryable(deps.queryable, clock);
    const evaluationMs = clock.monotonicMs();
    const result = await deps.engine.execute(engineRequest(request, expr, options), queryable, context);
    samplesRead = result.stats.samplesRead;
    const elapsedMs = clock.monotonicMs() - evaluationMs;
    const isCut = request.limit > 0 && result.series.length > request.limit;
    yield { part: { $case: 'header', value: headerOf(result) } };
    yield* frames(result, isCut ? request.limit : result.series.length, deadline.signal);
    const { fetchMs } = queryable;
    yield {
      part: {
        $case: 'trailer',
        value: {
          warnings: [...result.warnings, ...(isCut ? ['results truncated due to limit'] : [])],
          infos: [...result.infos],
          samplesRead,
          samplesPeak: result.stats.samplesPeak,
          planMs,
          fetchMs,
          evaluateMs: Math.max(0, elapsedMs - fetchMs),
        },
      },
    };
  } finally {
    leave();
    budget.release();
    deps.onEnd({ samplesRead, peakBytes: budget.peakBytes });
  }
}

function parse(request: QueryRequest, options: QuerierOptions): Expr {
  const { startMs, endMs, stepMs } = request;
  if (stepMs < 0 || endMs < startMs || (stepMs === 0 && endMs !== startMs)) {
    throw new AppError(
      'bad_data',
      `no steps from ${startMs} to ${endMs} every ${stepMs} ms: the end is before the start, or the step is not positive`,
    );
  }
  const expr = parseExpr(request.query, options.features);
  const type = typeOf(expr);
  if (stepMs > 0 && type !== 'vector' && type !== 'scalar') {
    throw new AppError(
      'bad_data',
      `invalid expression type ${goQuote(TYPE_NAMES[type])} for range query, must be Scalar or instant Vector`,
    );
  }
  return expr;
}

function engineRequest(request: QueryRequest, expr: Expr, options: QuerierOptions) {
  return {
    expr,
    query: request.query,
    startMs: request.startMs,
    endMs: request.endMs,
    stepMs: request.stepMs,
    lookbackMs: request.lookbackMs > 0 ? request.lookbackMs : options.lookbackMs,
  };
}

function headerOf(result: QueryResult): { resultType: ResultType; stringValue: string } {
  return { resultType: RESULT_TYPES[result.type], stringValue: result.text };
}

function* frames(result: QueryResult, count: number, signal: AbortSignal): Generator<QueryResponse> {
  const writer = new ResultFrameWriter();
  for (let i = 0; i < count; i++) {
    const series = result.series[i]!;
    const frame = writer.add(series.labels, series.timestampsMs, series.values, series.count);
    if (frame === undefined) continue;
    throwIfAborted(signal);
    yield { part: { $case: 'frame', value: frame } };
  }
  const last = writer.finish();
  if (last !== undefined) yield { part: { $case: 'frame', value: last } };
}

/** Measures how long at least one select was under way. */
class TimedQueryable implements Queryable {
  readonly #inner: Queryable;
  readonly #clock: Clock;
  #underWay = 0;
  #sinceMs = 0;
  fetchMs = 0;

  constructor(inner: Queryable, clock: Clock) {
    this.#inner = inner;
    this.#clock = clock;
  }

  async select(request: SelectRequest, context: QueryContext): Promise<SeriesSet> {
    if (this.#underWay++ === 0) this.#sinceMs = this.#clock.monotonicMs();
    try {
      return await this.#inner.select(request, context);
    } finally {
      if (--this.#underWay === 0) this.fetchMs += this.#clock.monotonicMs() - this.#sinceMs;
    }
  }
}

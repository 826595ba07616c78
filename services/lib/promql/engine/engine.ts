// The engine's front: takes a parsed query, evaluates it over a Queryable, and hands out the result as columns.
import { assert } from '../../core/assert.ts';
import { AppError, throwIfAborted } from '../../core/errors.ts';
import type { Queryable, QueryContext } from '../../model/queryable.ts';
import type { Expr } from '../ast.ts';
import { typeOf } from '../parse/expression-type.ts';
import { checkDurations } from './durations.ts';
import { TreeEvaluator } from './evaluate.ts';
import { unwrap } from './expressions.ts';
import { makeGrid } from './grid.ts';
import { mergeSameLabels, withoutMetadata } from './names.ts';
import { countPresent, type SeriesMeta, StepColumn, type VectorOperand } from './operand.ts';
import { PartMerger } from './parts/merge.ts';
import { evaluatePart } from './parts/part.ts';
import { Declined } from './parts/partial.ts';
import type { CutRequest, Engine, EngineOptions, QueryRequest, QueryResult, ResultSeries } from './query.ts';
import { openMatrix } from './range/matrix-source.ts';
import { gridTimes, presentSteps, ResultBuffers } from './result-columns.ts';
import { onlyStepTally, weightOf } from './select/sample-tally.ts';
import { QuerySession } from './session.ts';

/** Makes an engine. It keeps nothing between queries; any number may run at once. */
export function createEngine(options: EngineOptions): Engine {
  const run = async <T>(
    request: QueryRequest,
    queryable: Queryable,
    context: QueryContext,
    work: (session: QuerySession) => Promise<T>,
  ): Promise<T> => {
    throwIfAborted(context.signal);
    const session = new QuerySession(options, request, queryable, context);
    try {
      checkDurations(session, request.expr);
      return await work(session);
    } finally {
      session.close();
    }
  };
  return {
    execute: (request, queryable, context) => {
      return run(request, queryable, context, (session) => evaluate(session, request));
    },
    executePart: (request, queryable, context) => {
      const part = request.plan.parts[request.part];
      assert(part !== undefined, `part ${request.part} of a plan of ${request.plan.parts.length}`);
      return run(uncut(request), queryable, context, (session) => evaluatePart(session, part));
    },
    executeMerge: (request, partials, queryable, context) => {
      const whole = uncut(request);
      return run(whole, queryable, context, async (session) => {
        session.merged = new PartMerger(session, request.plan, partials);
        try {
          return await evaluate(session, whole);
        } catch (caught) {
          if (caught instanceof Declined) return undefined;
          throw caught;
        }
      });
    },
  };
}

function uncut(request: CutRequest): QueryRequest {
  return { ...request, expr: request.plan.expr };
}

async function evaluate(session: QuerySession, request: QueryRequest): Promise<QueryResult> {
  const expr = unwrap(request.expr);
  const type = typeOf(expr);
  const isRange = request.stepMs > 0;
  if (type === 'string') {
    if (isRange) throw new AppError('execution', 'invalid expression type "string" for range query');
    return finish(session, request, 'string', [], expr.kind === 'string' ? expr.value : '');
  }
  if (type === 'matrix') {
    if (isRange) throw new AppError('execution', 'invalid expression type "range vector" for range query');
    return finish(session, request, 'matrix', await evaluateMatrix(session, expr), '');
  }
  const series = await evaluateSteps(session, request, expr);
  if (isRange) {
    series.sort((a, b) => a.labels.compareTo(b.labels));
    return finish(session, request, 'matrix', series, '');
  }
  return finish(session, request, type === 'scalar' ? 'scalar' : 'vector', series, '');
}

function finish(
  session: QuerySession,
  request: QueryRequest,
  type: QueryResult['type'],
  series: readonly ResultSeries[],
  text: string,
): QueryResult {
  const query = request.query ?? '';
  return {
    type,
    series,
    text,
    warnings: [...session.storageWarnings, ...session.annotations.warnings(query)],
    infos: session.annotations.infos(query),
    stats: { samples: session.tally, samplesPeak: session.samplesPeak },
  };
}

async function evaluateSteps(
  session: QuerySession,
  request: QueryRequest,
  expr: Expr,
): Promise<ResultSeries[]> {
  const grid = makeGrid(request.startMs, request.endMs, request.stepMs, session.tally);
  if (grid.steps === 0) return [];
  const opened = await new TreeEvaluator(session).vector(expr, grid);
  const operand = session.delayedNames
    ? await mergeSameLabels(session, withNamesDropped(opened), grid)
    : opened;
  const column = new StepColumn(grid.steps);
  const out = new ResultBuffers();
  const result: ResultSeries[] = [];
  let times: Float64Array<ArrayBuffer> | undefined;
  for (const { labels } of operand.series) {
    if (session.isSliceOver()) await session.pause();
    operand.next(column);
    const count = countPresent(column.kinds, 0, grid.steps);
    if (count === 0) continue;
    if (count === grid.steps && !column.mayHaveHistograms) {
      // By far the most: the times are the grid's, one column for all of them.
      times ??= gridTimes(grid);
      const values = out.takeValues(count);
      values.set(column.values);
      result.push({ labels, timestampsMs: times, values, count });
    } else {
      result.push(presentSteps(labels, column, grid, count, out));
    }
  }
  return result;
}

/** Drops the names that were marked for it. */
function withNamesDropped(operand: VectorOperand): VectorOperand {
  if (!operand.series.some(({ dropName }) => dropName)) return operand;
  const series: SeriesMeta[] = operand.series.map((meta) =>
    meta.dropName ? { labels: withoutMetadata(meta.labels), dropName: false } : meta,
  );
  return { series, next: (into) => operand.next(into) };
}

async function evaluateMatrix(session: QuerySession, expr: Expr): Promise<ResultSeries[]> {
  if (expr.kind !== 'matrix-selector' && expr.kind !== 'subquery') return [];
  const { startMs } = session.request;
  const grid = makeGrid(startMs, startMs, 0, onlyStepTally(session.tally));
  const source = await openMatrix(new TreeEvaluator(session), expr, grid);
  const out = new ResultBuffers();
  const result: ResultSeries[] = [];
  for (const { labels, dropName } of source.series) {
    if (session.isSliceOver()) await session.pause();
    const columns = source.next();
    const from = firstAfter(columns.timestampsMs, columns.count, source.ends.firstMs - source.rangeMs);
    const count = columns.count - from;
    if (count <= 0) continue;
    session.holdSamples(count);
    if (source.isStored) {
      const samples = weightOf(columns, from);
      session.tally.add(0, samples, samples);
    }
    const timestampsMs = out.takeValues(count);
    const values = out.takeValues(count);
    timestampsMs.set(columns.timestampsMs.subarray(from, columns.count));
    values.set(columns.values.subarray(from, columns.count));
    const histograms = columns.histograms?.slice(from, columns.count);
    result.push({
      labels: dropName ? withoutMetadata(labels) : labels,
      timestampsMs,
      values,
      count,
      histograms,
    });
  }
  return result.sort((a, b) => a.labels.compareTo(b.labels));
}

function firstAfter(timestampsMs: Float64Array, count: number, timeMs: number): number {
  let at = 0;
  while (at < count && timestampsMs[at]! <= timeMs) at++;
  return at;
}

// The engine's front: takes a parsed query, evaluates it over a Queryable, and hands out the result as columns.
import { AppError, throwIfAborted } from '../../core/errors.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import type { Labels } from '../../model/labels.ts';
import type { Expr } from '../ast.ts';
import { TreeEvaluator } from './evaluate.ts';
import { typeOf, unwrap } from './expressions.ts';
import { type Grid, makeGrid } from './grid.ts';
import { openMatrix } from './matrix-source.ts';
import { mergeSameLabels, withoutMetadata } from './names.ts';
import {
  ABSENT,
  countPresent,
  HISTOGRAM,
  type SeriesMeta,
  StepColumn,
  type VectorOperand,
} from './operand.ts';
import type { Engine, EngineOptions, QueryRequest, QueryResult, ResultSeries } from './query.ts';
import { QuerySession } from './session.ts';

/** Samples per result buffer: results of many small series share one. */
const RESULT_BUFFER_SAMPLES = 8192;

/** Makes an engine. It keeps nothing between queries; any number may run at once. */
export function createEngine(options: EngineOptions): Engine {
  return {
    execute: async (request, queryable, context) => {
      throwIfAborted(context.signal);
      const session = new QuerySession(options, request, queryable, context);
      try {
        return await evaluate(session, request);
      } finally {
        session.close();
      }
    },
  };
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
    stats: { samplesRead: session.samplesRead, samplesPeak: session.samplesPeak },
  };
}

async function evaluateSteps(
  session: QuerySession,
  request: QueryRequest,
  expr: Expr,
): Promise<ResultSeries[]> {
  const grid = makeGrid(request.startMs, request.endMs, request.stepMs);
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

function gridTimes(grid: Grid): Float64Array<ArrayBuffer> {
  const times = new Float64Array(grid.steps);
  for (let k = 0; k < grid.steps; k++) times[k] = grid.startMs + k * grid.stepMs;
  return times;
}

/** The steps of a column that have a value. */
function presentSteps(
  labels: Labels,
  column: StepColumn,
  grid: Grid,
  count: number,
  out: ResultBuffers,
): ResultSeries {
  const timestampsMs = out.takeValues(count);
  const values = out.takeValues(count);
  const histograms: (FloatHistogram | undefined)[] = [];
  let at = 0;
  for (let k = 0; k < grid.steps; k++) {
    if (column.kinds[k] === ABSENT) continue;
    timestampsMs[at] = grid.startMs + k * grid.stepMs;
    if (column.kinds[k] === HISTOGRAM) histograms[at] = column.histograms[k];
    values[at++] = column.values[k]!;
  }
  const hasHistograms = histograms.length > 0;
  return { labels, timestampsMs, values, count, histograms: hasHistograms ? histograms : undefined };
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
  const source = await openMatrix(new TreeEvaluator(session), expr, makeGrid(startMs, startMs, 0));
  const out = new ResultBuffers();
  const result: ResultSeries[] = [];
  for (const { labels, dropName } of source.series) {
    if (session.isSliceOver()) await session.pause();
    const columns = source.next();
    const from = firstAfter(columns.timestampsMs, columns.count, source.ends.firstMs - source.rangeMs);
    const count = columns.count - from;
    if (count <= 0) continue;
    session.holdSamples(count);
    session.samplesRead += count;
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

/** Cuts the columns of result series from shared buffers. */
class ResultBuffers {
  #buffer = new Float64Array(0);
  #used = 0;

  takeValues(count: number): Float64Array<ArrayBuffer> {
    if (this.#used + count > this.#buffer.length) {
      const size = Math.max(count, Math.min(RESULT_BUFFER_SAMPLES, Math.max(64, 4 * this.#buffer.length)));
      this.#buffer = new Float64Array(size);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += count;
    return this.#buffer.subarray(from, this.#used);
  }
}

// How long the evaluation of a query will take, as far as its expression and what nodes sent for it tell. A guess within a factor of two
// or so: it decides who evaluates.
import { CHUNK_COLUMNS, type ChunkSink } from '../../lib/model/chunk-sink.ts';
import type { SeriesRun } from '../../lib/model/series-run.ts';
import type { Call, Expr, MatrixSelector, Subquery } from '../../lib/promql/ast.ts';
import { evaluateDuration } from '../../lib/promql/engine/durations.ts';
import { visitExpr } from '../../lib/promql/engine/expressions.ts';
import { matrixArgument } from '../../lib/promql/engine/range/range-function.ts';
import { chunkSampleCount } from '../../lib/tsdb/chunk/decode-chunk.ts';
import type { EvaluationOrder } from './evaluation-messages.ts';

/** Uniting a series, its labels, its group and its row. */
const SERIES_NS = 1500;
/** Decoding a sample and passing over it. */
const SAMPLE_NS = 8;
/** A step of a series in a node of the expression. */
const STEP_NS = 5;
/** What functions that look at their whole window at each step take for each of its samples. */
const WINDOW_NS: ReadonlyMap<string, number> = new Map([
  ['changes', 1],
  ['resets', 1],
  ['sum_over_time', 2],
  ['avg_over_time', 2],
  ['stddev_over_time', 6],
  ['stdvar_over_time', 6],
  ['deriv', 6],
  ['predict_linear', 6],
  ['double_exponential_smoothing', 6],
  ['holt_winters', 6],
  ['quantile_over_time', 30],
  ['mad_over_time', 60],
]);

/** Nodes of the expression, each at all steps, that evaluation over nothing may walk: a millisecond. */
const STEPS_MAX = 200_000;
/** Samples of one series times steps: what a function that looks at its whole window anew walks without a pause, 5 ms. */
const WINDOWS_MAX = 500_000;

/** What an expression does with each of its series. */
export interface QueryShape {
  /** Most steps at which some part of the expression is evaluated. */
  readonly steps: number;
  /** For each series, at all steps of all nodes together. */
  readonly seriesNs: number;
  /** For each sample, in functions that look at whole windows: steps, times the share of samples that is in one, times what that takes. */
  readonly sampleNs: number;
}

/** Where a part of an expression is evaluated: the query's steps, or those of a subquery. */
interface StepScope {
  readonly spanMs: number;
  readonly steps: number;
}

/**
 * The shape of an expression; undefined when it has too many steps to walk.
 *
 * @throws AppError as evaluateDuration().
 */
export function shapeOf(expr: Expr, order: EvaluationOrder): QueryShape | undefined {
  const { request, engine } = order;
  let nodes = 0;
  let steps = 0;
  let seriesNs = 0;
  let sampleNs = 0;
  const rangeOf = ({ range }: MatrixSelector | Subquery) => evaluateDuration({ request }, range, false);
  const subqueryStepMs = ({ step }: Subquery) =>
    step === undefined ? engine.noStepSubqueryIntervalMs : evaluateDuration({ request }, step, false);
  const addCall = (call: Call, scope: StepScope): void => {
    const matrix = matrixArgument(call);
    const windowNs = WINDOW_NS.get(call.func);
    if (matrix === undefined || windowNs === undefined) return;
    const rangeMs = rangeOf(matrix);
    if (matrix.kind === 'subquery') seriesNs += (scope.steps * windowNs * rangeMs) / subqueryStepMs(matrix);
    else sampleNs += (scope.steps * windowNs * rangeMs) / (rangeMs + scope.spanMs);
  };
  const addAll = (top: Expr, scope: StepScope): void => {
    steps = Math.max(steps, scope.steps);
    visitExpr(top, (node) => {
      nodes++;
      if (node.kind !== 'number' && node.kind !== 'string') seriesNs += scope.steps * STEP_NS;
      if (node.kind === 'call') addCall(node, scope);
      if (node.kind !== 'subquery') return undefined;
      addAll(node.expr, scopeOf(scope.spanMs + rangeOf(node), subqueryStepMs(node)));
      return 'skip';
    });
  };
  const stepMs = request.stepMs > 0 ? request.stepMs : Number.POSITIVE_INFINITY;
  addAll(expr, scopeOf(request.endMs - request.startMs, stepMs));
  return steps * nodes <= STEPS_MAX ? { steps, seriesNs, sampleNs } : undefined;
}

function scopeOf(spanMs: number, stepMs: number): StepScope {
  return { spanMs, steps: Math.floor(spanMs / stepMs) + 2 };
}

/** Samples of a chunk that a run refers to, or has: most have as many, or are still filled. */
const RUN_CHUNK_SAMPLES = 120;

/** Counts what nodes sent. */
export class FrameWeight implements ChunkSink {
  series = 0;
  samples = 0;
  /** Samples of the longest series of a frame, or of the mean one of a run. */
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

  /** Counts a run as if each of its series had as many chunks as they have on average: how many those are shows when they are read. */
  addRun({ seriesCount, minTimeMs, maxTimeMs, openTimesMs, ranges }: SeriesRun): void {
    const [, newestMs = Number.POSITIVE_INFINITY] = openTimesMs;
    let chunks = openTimesMs.length > 0 ? 1 : 0;
    for (const { startMs, endMs, chunksPerSeries } of ranges) {
      const filledMs = Math.min(endMs, newestMs) - startMs;
      const askedMs = Math.min(endMs, maxTimeMs) - Math.max(startMs, minTimeMs);
      const share = Math.min(1, Math.max(0, askedMs) / Math.max(1, filledMs));
      chunks += Math.min(chunksPerSeries, chunksPerSeries * share + 1);
    }
    const samples = Math.ceil(chunks * RUN_CHUNK_SAMPLES);
    this.series += seriesCount;
    this.samples += seriesCount * samples;
    this.longest = Math.max(this.longest, samples);
  }
}

/** Milliseconds that evaluation takes; infinite where a series would hold its thread on its own, and where floats are not all. */
export function estimateMs(
  { series, samples, longest, isStrange }: FrameWeight,
  { steps, seriesNs, sampleNs }: QueryShape,
): number {
  if (isStrange || longest * steps > WINDOWS_MAX) return Number.POSITIVE_INFINITY;
  return (series * (SERIES_NS + seriesNs) + samples * (SAMPLE_NS + sampleNs)) / 1e6;
}

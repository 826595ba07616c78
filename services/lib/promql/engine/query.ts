// What goes into an evaluation and what comes out: the public types of the engine. Results are columns, never an
// object per sample.
import type { FloatHistogram } from '../../model/float-histogram.ts';
import type { Labels } from '../../model/labels.ts';
import type { Queryable, QueryContext } from '../../model/queryable.ts';
import type { Expr } from '../ast.ts';
import type { PromqlFeatures } from '../features.ts';
import type { Plan } from '../plan/plan.ts';
import type { PartialResult } from './parts/partial.ts';
import type { SampleTotals } from './select/sample-tally.ts';

export interface EngineOptions {
  /** `--query.lookback-delta`, milliseconds. */
  readonly lookbackMs: number;
  /** `--query.max-samples`: how many samples a query may hold at once, counted as Prometheus counts them. */
  readonly samplesMax: number;
  readonly features: PromqlFeatures;
  /** Step of a subquery that names none, milliseconds: the global evaluation interval. */
  readonly noStepSubqueryIntervalMs: number;
  /** How long evaluation may hold the event loop before it lets others run, milliseconds. Default 15. */
  readonly sliceMs?: number;
  /** Monotonic time, milliseconds; for tests. Default performance.now. */
  readonly nowMs?: () => number;
}

export interface QueryRequest {
  readonly expr: Expr;
  /** The query's text: annotations then carry `(line:column)`. Without it they carry no position. */
  readonly query?: string;
  /** First step, Unix milliseconds; for an instant query the evaluation time. */
  readonly startMs: number;
  /** Last step, inclusive; equal to startMs for an instant query. */
  readonly endMs: number;
  /** Distance of steps; 0 for an instant query. */
  readonly stepMs: number;
  /** Overrides the engine's lookback, milliseconds. */
  readonly lookbackMs?: number;
  /** Statistics of each step are wanted. */
  readonly isPerStepWanted?: boolean;
}

/** One series of a result. The columns are views into shared buffers: read only, valid as long as anybody holds them. */
export interface ResultSeries {
  readonly labels: Labels;
  /** Unix milliseconds, ascending, in [0, count). */
  readonly timestampsMs: Float64Array<ArrayBuffer>;
  readonly values: Float64Array<ArrayBuffer>;
  readonly count: number;
  /** Native histograms: where entry i is set, sample i is that histogram. Undefined in a series of floats. */
  readonly histograms?: readonly (FloatHistogram | undefined)[] | undefined;
}

export interface QueryStats {
  /** Samples of storage that took part. */
  readonly samples: SampleTotals;
  /** Most samples held at once, as counted against samplesMax. */
  readonly samplesPeak: number;
}

export interface QueryResult {
  /**
   * `scalar`: one series without labels and with one sample. `vector`: one sample per series, all at the evaluation
   * time. `matrix`: several. `string`: no series, see `text`.
   */
  readonly type: 'scalar' | 'string' | 'vector' | 'matrix';
  /** In Prometheus' order: by labels for range queries, as computed for instant ones (topk, sort). */
  readonly series: readonly ResultSeries[];
  /** Value of a string result, else empty. */
  readonly text: string;
  /** Annotations in Prometheus' words, without duplicates, and what storage reported to be missing. */
  readonly warnings: readonly string[];
  readonly infos: readonly string[];
  readonly stats: QueryStats;
}

/** A query that was cut: the same fields, with the plan in the expression's place. */
export interface CutRequest extends Omit<QueryRequest, 'expr'> {
  readonly plan: Plan;
}

export interface PartRequest extends CutRequest {
  /** Index of the part in the plan. */
  readonly part: number;
}

export interface Engine {
  /**
   * Evaluates an expression.
   *
   * @throws AppError `execution` in Prometheus' words, also over the sample limit; `bad_data` for a malformed regular
   *         expression; the signal's reason when it aborts; whatever the queryable throws.
   *
   * Yields to the event loop at least every `sliceMs`. All memory charged to the context is given back at the end,
   * the result's own excepted.
   */
  execute(request: QueryRequest, queryable: Queryable, context: QueryContext): Promise<QueryResult>;

  /**
   * Evaluates one part of a cut query over one set of series: `queryable` holds series that no other set has, each with all
   * of its samples (replicas united).
   *
   * @throws as execute(); what a part throws is the query's error.
   */
  executePart(request: PartRequest, queryable: Queryable, context: QueryContext): Promise<PartialResult>;

  /**
   * Evaluates the rest of a cut query.
   *
   * @param partials   Results of all sets of series, in any order: for each part of the plan, one of each set. Read only; the
   *                   memory that they take is the caller's to charge.
   * @param queryable  All series, for what no part reads.
   * @returns          What execute() answers; undefined when that could not be made from the parts (a part declined): the
   *                   caller then evaluates the query uncut.
   * @throws as execute(), and `bad_data` for rows that are not those of the part.
   */
  executeMerge(
    request: CutRequest,
    partials: readonly PartialResult[],
    queryable: Queryable,
    context: QueryContext,
  ): Promise<QueryResult | undefined>;
}

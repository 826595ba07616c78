// One running query: its limits, what it has read, its annotations, and when it must let others run.
import { assert } from '../../core/assert.ts';
import { AppError, throwIfAborted } from '../../core/errors.ts';
import type { Matcher } from '../../model/matcher.ts';
import type { Queryable, QueryContext, SelectRequest, SeriesSet } from '../../model/queryable.ts';
import type { Expr, VectorSelector } from '../ast.ts';
import { Annotations } from './annotations.ts';
import { findCountedSelectors } from './expressions.ts';
import { type Grid, makeGrid } from './grid.ts';
import type { VectorOperand } from './operand.ts';
import type { EngineOptions, QueryRequest } from './query.ts';
import { QueryTally } from './select/sample-tally.ts';

const TOO_MANY_SAMPLES = 'query processing would load too many samples into memory in query execution';

/** Samples that a kernel looks at between two looks at the query's end: 1 to 20 ms. */
const SAMPLES_PER_LOOK = 1 << 18;

/** Evaluates expressions; what operators use to open their operands. */
export interface Evaluator {
  readonly session: QuerySession;
  /** Opens an instant-vector (or scalar, as one series without labels) expression. */
  vector(expr: Expr, grid: Grid): Promise<VectorOperand>;
  /** A scalar expression's value at every step. */
  scalar(expr: Expr, grid: Grid): Promise<Float64Array<ArrayBuffer>>;
}

/** Takes the place of a part's evaluation: opens what its results were merged to. */
export interface MergedParts {
  /** Undefined when the expression is not the root of a part. */
  open(expr: Expr, grid: Grid): Promise<VectorOperand> | undefined;
}

/** Everything that belongs to one execution. */
export class QuerySession {
  readonly request: QueryRequest;
  readonly options: EngineOptions;
  readonly lookbackMs: number;
  readonly annotations = new Annotations();
  readonly storageWarnings = new Set<string>();
  /** Selectors whose histograms only count: resets are then noted while samples are read, as Prometheus does. */
  readonly countedSelectors: ReadonlySet<VectorSelector>;
  /** Samples held now, as Prometheus would count them. */
  samplesCurrent = 0;
  samplesPeak = 0;
  /** Samples of storage that took part. */
  readonly tally: QueryTally;
  /** Root of the part that is evaluated, if it is a part. */
  partRoot: Expr | undefined;
  /** Results of parts, in the evaluation that merges them. */
  merged: MergedParts | undefined;
  readonly #queryable: Queryable;
  readonly #context: QueryContext;
  readonly #selects = new Map<string, Promise<SeriesSet>>();
  readonly #sets: SeriesSet[] = [];
  readonly #sliceMs: number;
  readonly #nowMs: () => number;
  #sliceStartMs: number;
  #chargedBytes = 0;
  #spentSamples = 0;

  constructor(options: EngineOptions, request: QueryRequest, queryable: Queryable, context: QueryContext) {
    this.options = options;
    this.request = request;
    this.countedSelectors = findCountedSelectors(request.expr);
    const { startMs, endMs, stepMs } = request;
    const isPerStep = request.isPerStepWanted === true;
    this.tally = new QueryTally(isPerStep ? makeGrid(startMs, endMs, stepMs).steps : undefined);
    this.lookbackMs = request.lookbackMs ?? options.lookbackMs;
    this.#queryable = queryable;
    this.#context = context;
    this.#sliceMs = options.sliceMs ?? 15;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#sliceStartMs = this.#nowMs();
  }

  /** Names are dropped when the query is done, not by each operator. */
  get delayedNames(): boolean {
    return this.options.features.delayedNameRemoval;
  }

  get isRange(): boolean {
    return this.request.stepMs > 0;
  }

  /** True when the event loop has been held for long enough: then await pause(). Cheap enough to ask per series. */
  isSliceOver(): boolean {
    return this.#nowMs() - this.#sliceStartMs >= this.#sliceMs;
  }

  /**
   * Lets other work of the process run.
   *
   * @throws the signal's reason when the query was cancelled meanwhile.
   */
  async pause(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    throwIfAborted(this.#context.signal);
    this.#sliceStartMs = this.#nowMs();
  }

  /**
   * Counts samples that a loop is about to look at, and looks now and then whether the query is over: one series may be
   * long, and its windows as long as it is.
   *
   * @throws AppError when it is.
   */
  spend(samples: number): void {
    this.#spentSamples += samples;
    if (this.#spentSamples < SAMPLES_PER_LOOK) return;
    this.#spentSamples = 0;
    this.#context.throwIfOver?.();
  }

  /** Charges bytes to the query; all are given back by close(). */
  charge(bytes: number): void {
    this.#context.chargeBytes(bytes);
    this.#chargedBytes += bytes;
  }

  /** No expression is evaluated at more steps than a query may hold samples: its columns alone would be as long. */
  checkSteps(steps: number): void {
    if (steps > this.options.samplesMax) throw new AppError('execution', TOO_MANY_SAMPLES);
  }

  /** Counts samples that are now held; `transient` more are held for a moment. */
  holdSamples(count: number, transient = 0): void {
    this.samplesCurrent += count;
    const peak = this.samplesCurrent + transient;
    if (peak > this.samplesPeak) this.samplesPeak = peak;
    if (peak > this.options.samplesMax) throw new AppError('execution', TOO_MANY_SAMPLES);
  }

  /** After an operator consumed its operands: only its own result, of `count` samples, is held on top of `before`. */
  settleSamples(before: number, count: number): void {
    this.samplesCurrent = before;
    this.holdSamples(count);
  }

  /**
   * Series of a selector; the same request is sent once per query.
   *
   * @param alignMs  See SelectRequest; 0: samples are needed.
   */
  select(
    matchers: readonly Matcher[],
    minTimeMs: number,
    maxTimeMs: number,
    alignMs: number,
  ): Promise<SeriesSet> {
    throwIfAborted(this.#context.signal);
    const parts = matchers.map(
      ({ name, operator, value }) => `${name.length}:${name}${operator}${value.length}:${value}`,
    );
    const key = `${minTimeMs};${maxTimeMs};${alignMs};${parts.join(';')}`;
    const known = this.#selects.get(key);
    if (known !== undefined) return known;
    const pending = this.#fetch({ matchers, minTimeMs, maxTimeMs, ...(alignMs > 0 ? { alignMs } : {}) });
    this.#selects.set(key, pending);
    return pending;
  }

  /** Series of the one selector of a part; undefined when it was not read. */
  get onlySet(): SeriesSet | undefined {
    assert(this.#sets.length <= 1, 'a part has one selector');
    return this.#sets[0];
  }

  /** Gives back series and memory. */
  close(): void {
    for (const set of this.#sets) set.release();
    this.#sets.length = 0;
    if (this.#chargedBytes > 0) this.#context.chargeBytes(-this.#chargedBytes);
    this.#chargedBytes = 0;
  }

  async #fetch(request: SelectRequest): Promise<SeriesSet> {
    const set = await this.#queryable.select(request, this.#context);
    this.#sets.push(set);
    for (const warning of set.warnings) this.storageWarnings.add(warning);
    this.#sliceStartMs = this.#nowMs();
    throwIfAborted(this.#context.signal);
    return set;
  }
}

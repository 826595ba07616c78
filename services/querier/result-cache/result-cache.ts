// The result cache: answers range queries from pieces of earlier answers that are proven to hold still, and evaluates the rest. README.md has
// the rule that makes it right.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import {
  type AnswerCoverage,
  type QueryHeader,
  type QueryRequest,
  type QueryResponse,
  type QueryTrailer,
  ResultType,
} from '../../lib/wire/contracts.ts';
import type { Deadline } from '../evaluation/deadline.ts';
import { MemoryBudget } from '../evaluation/memory-budget.ts';
import { type QueryRunnerDeps, runQuery } from '../evaluation/query-runner.ts';
import type { QuerierOptions } from '../options.ts';
import { uniteCoverage } from '../selection/answer-coverage.ts';
import type { NodeLatencies } from '../selection/hedge.ts';
import { type Obstacle, obstacleOf } from './cacheable.ts';
import {
  PIECE_STEPS,
  type PieceSpan,
  phaseOf,
  type StepRun,
  settledPieces,
  stepsOutside,
} from './piece-grid.ts';
import type { Piece, PieceEvaluation, PieceStore } from './piece-store.ts';
import { type Reach, reachOf } from './query-reach.ts';
import { type Evaluated, Runs, trailerOf } from './query-runs.ts';
import type { ResultCacheMetrics } from './result-cache-metrics.ts';
import { askVersions, changeBetween, type PieceVersion, RANGES_MAX } from './source-versions.ts';
import { type Pause, type Segment, type StitchedRows, slice, stitch } from './stitch.ts';

/** Longer queries are not looked at by the main thread. */
const QUERY_LENGTH_MAX = 2000;
/** Expressions of which it is remembered whether they can be cut, and how far they read. */
const QUERIES_MAX = 4096;
/** Evaluations for one answer. */
const RUNS_MAX = 3;
/** Part of the cache that one evaluation may fill. */
const FILL_SHARE = 1 / 4;
/** How long putting together and cutting may hold the main thread, which also ingests, at one time. */
const SLICE_MS = 4;

export interface ResultCacheOptions {
  /** Newer steps are not kept, milliseconds. */
  readonly settledMs: number;
}

export interface ResultCacheDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly latencies: NodeLatencies;
  readonly store: PieceStore;
  readonly metrics: ResultCacheMetrics;
}

/** What is known of a query, by text, step, phase and whatever else its values depend on. */
interface KnownQuery {
  /** Names its pieces in the store; never given again. Pieces of a query that is forgotten go when room is needed. */
  readonly key: string;
  readonly reach: Reach | Obstacle | undefined;
}

/** One that can be cut by time. */
interface CuttableQuery extends KnownQuery {
  readonly reach: Reach;
}

/** A piece of the query at hand, and what is known of it. */
interface AskedPiece {
  readonly span: PieceSpan;
  readonly kept: Piece | undefined;
  /** Samples that it reads, Unix ms, inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

/** A piece with the versions that its samples have now. */
interface VersionedPiece extends AskedPiece {
  readonly version: PieceVersion;
}

/** One that is kept, and holds. */
interface UsedPiece extends VersionedPiece {
  readonly kept: Piece;
}

export class ResultCache {
  readonly #settledMs: number;
  readonly #deps: ResultCacheDeps;
  readonly #queries = new Map<string, KnownQuery>();
  #queryCount = 0;
  /** Answers that are being cut into pieces. */
  readonly #fills = new Set<Promise<void>>();

  constructor(options: ResultCacheOptions, deps: ResultCacheDeps) {
    this.#settledMs = options.settledMs;
    this.#deps = deps;
  }

  /** Whether a query is worth a look: enough of its steps are over. All others pay no more than this. */
  mayServe({ startMs, endMs, stepMs, noCache, perStepStats, query }: QueryRequest): boolean {
    if (stepMs <= 0 || noCache === true || perStepStats === true) return false;
    const settledMs = Math.min(endMs, this.#deps.clock.nowMs() - this.#settledMs);
    return (
      settledMs - startMs >= PIECE_STEPS * stepMs &&
      query.length <= QUERY_LENGTH_MAX &&
      [startMs, endMs, stepMs].every(Number.isSafeInteger)
    );
  }

  /** Resolves when nothing is being put into the cache. */
  async settled(): Promise<void> {
    while (this.#fills.size > 0) await Promise.allSettled(this.#fills);
  }

  /**
   * As runQuery(), for a query that mayServe() is true of: the same answer, from the cache as far as that is proven to hold.
   *
   * @throws AppError as runQuery().
   */
  async *run(
    request: QueryRequest,
    options: QuerierOptions,
    deadline: Deadline,
    deps: QueryRunnerDeps,
  ): AsyncGenerator<QueryResponse> {
    const { metrics } = this.#deps;
    const known = await this.#lookAt(request, options, deadline.signal, deps);
    if (typeof known.reach !== 'object') {
      metrics.queries.inc({ outcome: known.reach ?? 'constant' });
      yield* runQuery(request, options, deadline, deps);
      return;
    }
    const cuttable = { key: known.key, reach: known.reach };
    const pieces = await this.#piecesOf(request, cuttable, deadline.signal);
    if (pieces === undefined) {
      metrics.queries.inc({ outcome: 'unproven' });
      yield* runQuery(request, options, deadline, deps);
      return;
    }
    const valid = this.#validPieces(request.tenant, known.key, pieces);
    const runs = new Runs(request, options, deadline, deps);
    if (valid.length > 0) {
      const budget = new MemoryBudget(deps.pool, options.memoryBytesMax);
      try {
        const answer = await this.#assemble(request, cuttable, pieces, valid, runs, budget);
        if (answer !== undefined) {
          yield* answer;
          return;
        }
      } finally {
        budget.release();
      }
    }
    metrics.queries.inc({ outcome: 'miss' });
    yield* this.#fillFrom(request, cuttable, pieces, runs);
  }

  /** What is known of a query, found out if need be. */
  async #lookAt(
    request: QueryRequest,
    options: QuerierOptions,
    signal: AbortSignal,
    { limits, parsed }: QueryRunnerDeps,
  ): Promise<KnownQuery> {
    const { noStepSubqueryIntervalMs: interval, features, lookbackMs, samplesMax } = options;
    const noStepSubqueryIntervalMs = typeof interval === 'number' ? interval : interval();
    const text = JSON.stringify([
      request.query,
      ...[request.stepMs, phaseOf(request), request.lookbackMs, noStepSubqueryIntervalMs],
      ...[request.keepReplicas === true, limits.expectsReplicas === true],
    ]);
    let known = this.#queries.get(text);
    if (known === undefined) {
      const engine = { features, lookbackMs, samplesMax, noStepSubqueryIntervalMs };
      const reach = await this.#reachOf(request, engine, signal, { limits, parsed });
      known = { key: `${++this.#queryCount}`, reach };
      if (this.#queries.size >= QUERIES_MAX) this.#queries.delete(this.#queries.keys().next().value!);
    } else this.#queries.delete(text);
    this.#queries.set(text, known);
    return known;
  }

  async #reachOf(
    request: QueryRequest,
    engine: Parameters<typeof reachOf>[2],
    signal: AbortSignal,
    { limits, parsed }: Pick<QueryRunnerDeps, 'limits' | 'parsed'>,
  ): Promise<Reach | Obstacle | undefined> {
    try {
      const expr = parsed.parse(request.query, engine.features, limits.replicaLabels ?? []);
      return obstacleOf(expr, engine.features) ?? (await reachOf(request, expr, engine, limits, signal));
    } catch (caught) {
      // Evaluation says it in Prometheus' words.
      if (caught instanceof AppError) return undefined;
      throw caught;
    }
  }

  /** The pieces of a query with their versions from before anything is read; undefined when these cannot be had. */
  async #piecesOf(
    request: QueryRequest,
    { key, reach: { backMs, aheadMs } }: CuttableQuery,
    signal: AbortSignal,
  ): Promise<VersionedPiece[] | undefined> {
    const { clock, store } = this.#deps;
    const settledMs = clock.nowMs() - this.#settledMs - Math.max(0, aheadMs);
    const spans = settledPieces(request, settledMs);
    if (spans.length === 0 || spans.length > RANGES_MAX) return undefined;
    const asked = spans.map((span): AskedPiece => {
      const piece = store.get(request.tenant, key, span.index);
      const isWhole = piece !== undefined && piece.startMs <= span.startMs && piece.endMs >= span.endMs;
      const { minTimeMs, maxTimeMs } = isWhole
        ? piece
        : { minTimeMs: span.startMs - backMs, maxTimeMs: span.endMs + aheadMs };
      return { span, kept: isWhole ? piece : undefined, minTimeMs, maxTimeMs };
    });
    const versions = await askVersions(
      this.#deps,
      {
        tenant: request.tenant,
        minTimesMs: asked.map(({ minTimeMs }) => minTimeMs),
        maxTimesMs: asked.map(({ maxTimeMs }) => maxTimeMs),
      },
      signal,
    );
    return versions && asked.map((piece, i) => ({ ...piece, version: versions[i]! }));
  }

  /** Those that are kept and still hold; others are dropped. */
  #validPieces(tenant: string, key: string, pieces: readonly VersionedPiece[]): UsedPiece[] {
    const { metrics, store } = this.#deps;
    const valid: UsedPiece[] = [];
    for (const piece of pieces) {
      const { kept, span, version } = piece;
      if (kept === undefined) continue;
      const change = changeBetween(kept.version, version);
      if (change === undefined) {
        valid.push({ ...piece, kept });
        continue;
      }
      metrics.invalidated.inc({ reason: change });
      store.delete(tenant, key, span.index);
    }
    return valid;
  }

  /** Evaluates what no piece has and puts all together; undefined when the query has to be evaluated whole. */
  async #assemble(
    request: QueryRequest,
    known: CuttableQuery,
    pieces: readonly VersionedPiece[],
    valid: readonly UsedPiece[],
    runs: Runs,
    budget: MemoryBudget,
  ): Promise<AsyncGenerator<QueryResponse> | undefined> {
    const { metrics } = this.#deps;
    const spans = valid.map(({ span }) => span);
    const open = stepsOutside(request, spans, RUNS_MAX);
    const used = valid.filter(({ span }) => !open.some((run) => overlaps(run, span)));
    if (used.length === 0) return undefined;
    const evaluated = await runs.evaluateAll(open, budget);
    if (evaluated === undefined || !isWithinSamples(used, evaluated, runs.samplesMax)) return undefined;
    for (const run of evaluated) this.#keepLater(request.tenant, known, pieces, run);
    const segments: Segment[] = [
      ...evaluated,
      ...used.map(({ span, kept }) => ({ ...span, frames: kept.frames })),
    ];
    segments.sort((a, b) => a.startMs - b.startMs);
    const pause = this.#pause();
    const rows = await tryStitch(request, segments, budget, pause);
    if (rows === undefined) return undefined;
    const steps = (runsOf: readonly StepRun[]) =>
      runsOf.reduce((sum, { startMs, endMs }) => sum + (endMs - startMs) / request.stepMs + 1, 0);
    const cachedSteps = steps(used.map(({ span }) => span));
    metrics.queries.inc({ outcome: used.length === pieces.length ? 'hit' : 'partial' });
    metrics.steps.inc({ source: 'cache' }, cachedSteps);
    metrics.steps.inc({ source: 'evaluation' }, steps(evaluated));
    const header = {
      resultType: ResultType.RESULT_TYPE_MATRIX,
      stringValue: '',
      ...coverageOf(used, evaluated, known.reach),
    };
    const limit = request.limit > 0 ? request.limit : rows.size;
    const trailer = trailerOf(evaluated, cachedSteps, rows.size > limit);
    return (async function* (): AsyncGenerator<QueryResponse> {
      yield { part: { $case: 'header', value: header } };
      for await (const frame of rows.frames(limit, pause)) yield { part: { $case: 'frame', value: frame } };
      yield { part: { $case: 'trailer', value: trailer } };
    })();
  }

  /** Evaluates the whole query, and keeps pieces of its answer. */
  async *#fillFrom(
    request: QueryRequest,
    known: CuttableQuery,
    pieces: readonly VersionedPiece[],
    runs: Runs,
  ): AsyncGenerator<QueryResponse> {
    const bytesMax = this.#deps.store.bytesMax * FILL_SHARE;
    const frames: Uint8Array[] = [];
    let bytes = 0;
    let header: QueryHeader | undefined;
    let trailer: QueryTrailer | undefined;
    for await (const response of runs.whole()) {
      const { part } = response;
      if (part?.$case === 'header') header = part.value;
      else if (part?.$case === 'trailer') trailer = part.value;
      else if (part?.$case === 'frame') {
        bytes += part.value.length;
        if (bytes <= bytesMax) frames.push(part.value);
        else frames.length = 0;
      }
      yield response;
    }
    if (header === undefined || trailer === undefined) return;
    if (bytes > bytesMax) this.#deps.metrics.notKept.inc({ reason: 'size' });
    else if (request.limit === 0)
      this.#keepLater(request.tenant, known, pieces, { ...request, frames, header, trailer });
  }

  /** Cuts an answer into pieces and keeps them, beside whatever else there is to do. */
  #keepLater(
    tenant: string,
    known: CuttableQuery,
    pieces: readonly VersionedPiece[],
    evaluated: Evaluated,
  ): void {
    const { metrics } = this.#deps;
    const own = pieces.filter(
      ({ span }) => evaluated.startMs <= span.startMs && evaluated.endMs >= span.endMs,
    );
    if (own.length === 0) return;
    const reason = whyNotKept(evaluated, known.reach);
    if (reason !== undefined) {
      metrics.notKept.inc({ reason });
      return;
    }
    const fill: Promise<void> = this.#keep(tenant, known.key, own, evaluated)
      .catch(() => metrics.notKept.inc({ reason: 'error' }))
      .finally(() => this.#fills.delete(fill));
    this.#fills.add(fill);
  }

  async #keep(
    tenant: string,
    key: string,
    pieces: readonly VersionedPiece[],
    { frames, header, trailer }: Evaluated,
  ): Promise<void> {
    const sliced = await slice(
      frames,
      pieces.map(({ span }) => span),
      this.#pause(),
    );
    const evaluation = { samplesPeak: trailer.samplesPeak, coverage: header.coverage! };
    const bytesMax = this.#deps.store.bytesMax * FILL_SHARE;
    const bytes = sliced.flat().reduce((sum, { length }) => sum + length, 0);
    if (bytes > bytesMax) {
      this.#deps.metrics.notKept.inc({ reason: 'size' });
      return;
    }
    for (const [i, { span, minTimeMs, maxTimeMs, version }] of pieces.entries()) {
      const { startMs, endMs } = span;
      this.#deps.store.set(tenant, key, span.index, {
        ...{ startMs, endMs, minTimeMs, maxTimeMs, version, evaluation },
        frames: sliced[i]!,
      });
    }
  }

  #pause(): Pause {
    const { clock } = this.#deps;
    let sinceMs = clock.monotonicMs();
    return () => {
      if (clock.monotonicMs() - sinceMs < SLICE_MS) return undefined;
      return new Promise<void>((resolve) => {
        setImmediate(() => {
          sinceMs = clock.monotonicMs();
          resolve();
        });
      });
    };
  }
}

/** Columns are as long as the query, also of series that have few values: undefined where evaluation needs less memory. */
async function tryStitch(
  request: QueryRequest,
  segments: readonly Segment[],
  budget: MemoryBudget,
  pause: Pause,
): Promise<StitchedRows | undefined> {
  try {
    return await stitch(request, segments, (bytes) => budget.charge(bytes), pause);
  } catch (caught) {
    if (caught instanceof AppError && caught.code === 'execution') return undefined;
    throw caught;
  }
}

function overlaps(a: StepRun, b: StepRun): boolean {
  return a.startMs <= b.endMs && a.endMs >= b.startMs;
}

/** Whether evaluation of the whole cannot have held more samples than a query may: else it is left to find out. */
function isWithinSamples(
  used: readonly UsedPiece[],
  evaluated: readonly Evaluated[],
  samplesMax: number,
): boolean {
  const evaluations = new Set([
    ...used.map(({ kept }) => kept.evaluation),
    ...evaluated.map(({ trailer }) => trailer),
  ]);
  let held = 0;
  for (const { samplesPeak } of evaluations) held += samplesPeak;
  return held <= samplesMax;
}

/** Why nothing of an answer may be kept; undefined when it may. */
function whyNotKept(
  { startMs, endMs, header, trailer }: Evaluated,
  { backMs, aheadMs }: Reach,
): 'annotations' | 'incomplete' | 'range' | undefined {
  const { coverage } = header;
  // Which of the steps they are about is not known.
  if (trailer.warnings.length + trailer.infos.length > 0) return 'annotations';
  if (coverage?.complete !== true || coverage.missing.length > 0) return 'incomplete';
  // More than the versions are of was read: an order of evaluation that nobody thought of, or replicas that nobody knew of.
  const isWithin = coverage.minTimeMs >= startMs - backMs && coverage.maxTimeMs <= endMs + aheadMs;
  return isWithin ? undefined : 'range';
}

function coverageOf(
  used: readonly UsedPiece[],
  evaluated: readonly Evaluated[],
  { backMs, aheadMs, slackMs }: Reach,
): { readonly coverage?: AnswerCoverage } {
  const known = new Map<PieceEvaluation, AnswerCoverage>();
  for (const { span, kept } of used) {
    const { evaluation } = kept;
    const minTimeMs = Math.max(kept.minTimeMs, span.startMs - backMs + slackMs);
    const maxTimeMs = Math.min(kept.maxTimeMs, span.endMs + aheadMs - slackMs);
    const before = known.get(evaluation);
    known.set(evaluation, {
      ...evaluation.coverage,
      minTimeMs: Math.min(minTimeMs, before?.minTimeMs ?? minTimeMs),
      maxTimeMs: Math.max(maxTimeMs, before?.maxTimeMs ?? maxTimeMs),
    });
  }
  const live = evaluated.flatMap(({ header }) => (header.coverage === undefined ? [] : [header.coverage]));
  const coverage = uniteCoverage([...known.values(), ...live]);
  return coverage === undefined ? {} : { coverage };
}

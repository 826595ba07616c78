// The querier: evaluates PromQL over all ingesters and stores, and answers lookups of series and labels. Holds no state
// but what running queries need.
import { randomInt } from 'node:crypto';
import type { Registry } from 'prom-client';
import type { Clock } from '../lib/core/clock.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import { ParsedQueries } from '../lib/query/parsed-queries.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { Service } from '../lib/runtime/service.ts';
import { WorkerPool } from '../lib/runtime/worker-pool.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import { NewerPlacement } from '../lib/transport/members/newer-placement.ts';
import type { CallContext, Handlers } from '../lib/transport/rpc.ts';
import type { QuerierDefinition, QueryRequest, QueryResponse } from '../lib/wire/contracts.ts';
import { ActiveQueries } from './evaluation/active-queries.ts';
import { Deadline } from './evaluation/deadline.ts';
import { MainThread } from './evaluation/main-thread.ts';
import { MemoryBudget, MemoryPool } from './evaluation/memory-budget.ts';
import { QueryGate } from './evaluation/query-gate.ts';
import { runQuery } from './evaluation/query-runner.ts';
import { createQuerierMetrics, type QuerierMetrics } from './metrics.ts';
import { DEFAULT_QUERIER_OPTIONS, type QuerierOptions } from './options.ts';
import { PushDown } from './push-down/push-down.ts';
import { PieceStore } from './result-cache/piece-store.ts';
import { ResultCache } from './result-cache/result-cache.ts';
import { createResultCacheMetrics } from './result-cache/result-cache-metrics.ts';
import { ClusterSelect } from './selection/cluster-select.ts';
import { findExemplars } from './selection/exemplars.ts';
import type { Source } from './selection/fan-out.ts';
import { NodeLatencies } from './selection/hedge.ts';
import {
  findLabels,
  findMetadata,
  findSeries,
  type LookupScope,
  sumHeadStatistics,
} from './selection/lookups.ts';
import { readSamples } from './selection/read-samples.ts';
import type { UnionLimits } from './selection/series-union.ts';

export interface QuerierDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Threads that others use, too, and whose owner stops them. Default: threads of its own, which the querier starts and stops. */
  readonly threads?: WorkerPool;
}

export type QuerierHandlers = Handlers<typeof QuerierDefinition>;

/** Threads that evaluate queries; any number of queriers may use them. */
export function createQueryThreads(
  options: Pick<QuerierOptions, 'threads' | 'memoryTotalBytesMax'>,
  logger: Logger,
): WorkerPool {
  return new WorkerPool(
    {
      name: 'query',
      module: new URL('./evaluation/query-worker.ts', import.meta.url),
      threads: options.threads,
      // All queries may be on one thread. Most of what they hold is outside of the heap.
      heapBytesMax: Math.max(THREAD_HEAP_BYTES_MIN, options.memoryTotalBytesMax),
    },
    logger,
  );
}

/** Makes a querier; what `options` leaves out has its default (options.ts). */
export function createQuerier(
  options: Partial<QuerierOptions>,
  deps: QuerierDeps,
): Service & { readonly handlers: QuerierHandlers } {
  return new Querier({ ...DEFAULT_QUERIER_OPTIONS, ...options }, deps);
}

/** The engine's code and its garbage take this even where queries may hold next to nothing. */
const THREAD_HEAP_BYTES_MIN = 256 * 2 ** 20;

/** Tenants that are remembered; beyond it everything is learned anew. */
const TENANTS_MAX = 10_000;

class Querier implements Service {
  readonly name = 'querier';
  readonly handlers: QuerierHandlers;
  readonly #options: QuerierOptions;
  readonly #deps: QuerierDeps;
  readonly #threads: WorkerPool;
  readonly #gate: QueryGate;
  /** Lookups have turns of their own: heavy queries do not hold up the label lists of an editor. */
  readonly #lookupGate: QueryGate;
  readonly #pool: MemoryPool;
  readonly #mainThread: MainThread;
  readonly #metrics: QuerierMetrics;
  readonly #limits: UnionLimits;
  readonly #latencies = new NodeLatencies();
  readonly #parsed = new ParsedQueries();
  /** Tenants whose series have replica labels, as far as queries found out. */
  readonly #replicated = new Set<string>();
  readonly #stopping = new AbortController();
  readonly #pushDown: PushDown;
  readonly #newerPlacement: NewerPlacement;
  /** Undefined where it is off. */
  readonly #resultCache: ResultCache | undefined;
  readonly #active: ActiveQueries;
  readonly #running = new Set<Promise<void>>();
  #isDraining = false;
  #isReady = false;

  constructor(options: QuerierOptions, deps: QuerierDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#threads = deps.threads ?? createQueryThreads(options, deps.logger);
    this.#gate = new QueryGate(options.concurrencyMax, options.queueMax);
    this.#lookupGate = new QueryGate(options.concurrencyMax, options.queueMax);
    this.#pool = new MemoryPool(options.memoryTotalBytesMax);
    this.#mainThread = new MainThread(options.mainThreadMsMax);
    this.#metrics = createQuerierMetrics(deps.registry, {
      gate: this.#gate,
      pool: this.#pool,
      threads: this.#threads,
      concurrencyMax: options.concurrencyMax,
    });
    this.#limits = {
      seriesMax: options.seriesMax,
      hashSeed: options.hashSeed ?? randomInt(2 ** 32),
      replicaLabels: options.replicaLabels,
    };
    this.#newerPlacement = new NewerPlacement(deps.cluster, deps.clock);
    this.#pushDown = new PushDown({
      ...{ cluster: deps.cluster, clock: deps.clock, latencies: this.#latencies },
      onRefused: (instance, partitions, reason) => {
        this.#metrics.partitionsRefused.inc(partitions);
        deps.logger.debug({ instance, partitions, reason }, 'partitions of a part are read by chunks');
      },
      onPushed: (partitions) => this.#metrics.partitionsPushed.inc(partitions),
      onPushedToStores: (partitions) => this.#metrics.partitionsPushedToStores.inc(partitions),
    });
    this.#resultCache = this.#createResultCache();
    this.#active = new ActiveQueries(deps.clock);
    this.handlers = this.#makeHandlers();
  }

  async start(): Promise<void> {
    await this.#threads.start();
    this.#isReady = true;
  }

  isReady(): boolean {
    return this.#isReady && !this.#isDraining;
  }

  async drain(): Promise<void> {
    this.#isDraining = true;
    await Promise.allSettled(this.#running);
  }

  async stop(): Promise<void> {
    this.#isDraining = true;
    this.#stopping.abort(new AppError('unavailable', 'the querier is shutting down; try again'));
    await Promise.allSettled(this.#running);
    await this.#resultCache?.settled();
    if (this.#deps.threads === undefined) await this.#threads.stop();
  }

  #createResultCache(): ResultCache | undefined {
    const { cluster, clock, registry } = this.#deps;
    if (this.#options.resultCacheBytes <= 0) return undefined;
    const store = new PieceStore(this.#options.resultCacheBytes);
    const metrics = createResultCacheMetrics(registry, store);
    const options = { settledMs: this.#options.resultCacheSettledMs };
    return new ResultCache(options, { cluster, clock, latencies: this.#latencies, store, metrics });
  }

  #makeHandlers(): QuerierHandlers {
    return {
      query: (request, context) => this.#query(request, context),
      series: (request, context) =>
        this.#lookup('series', context, request.allowPartial, (scope) => {
          const cluster = this.#select(request.tenant, request.allowPartial === true);
          return findSeries(request, cluster, this.#limitsOf(request), scope);
        }),
      exemplars: (request, context) =>
        this.#lookup('exemplars', context, request.allowPartial, (scope) =>
          findExemplars(request, this.#select(request.tenant, request.allowPartial === true), {
            ...scope,
            replicaLabels: this.#limitsOf(request).replicaLabels ?? [],
          }),
        ),
      samples: (request, context) =>
        this.#lookup('samples', context, false, (scope) =>
          readSamples(request, this.#select(request.tenant, false), this.#limits, scope),
        ),
      labels: (request, context) =>
        this.#single('labels', context, request.allowPartial, (scope) => findLabels(request, scope)),
      metadata: (request, context) =>
        this.#single('metadata', context, false, (scope) => findMetadata(request, this.#deps.cluster, scope)),
      headStatistics: (request, context) =>
        this.#single('head_statistics', context, false, (scope) =>
          sumHeadStatistics(request, this.#deps.cluster, scope),
        ),
      activeQueries: async ({ tenant }) => ({ queries: this.#active.list(tenant) }),
      killQuery: async ({ id }) => ({ found: this.#active.kill(id) }),
    };
  }

  async *#query(request: QueryRequest, context: CallContext): AsyncGenerator<QueryResponse> {
    const { clock } = this.#deps;
    const startedMs = clock.monotonicMs();
    const wantedMs = request.timeoutMs > 0 ? request.timeoutMs : this.#options.timeoutMs;
    const timeoutMs = Math.min(wantedMs, this.#options.timeoutMs);
    let outcome = 'canceled';
    const listed = this.#active.add(request);
    const ends = [context.signal, listed.killed];
    const cache = this.#resultCache;
    const run = cache?.mayServe(request) === true ? cache.run.bind(cache) : runQuery;
    let end: (() => void) | undefined;
    try {
      const tracked = this.#track(timeoutMs, ends);
      end = tracked.end;
      yield* run(request, this.#options, tracked.deadline, {
        threads: this.#threads,
        gate: this.#gate,
        pool: this.#pool,
        clock,
        cluster: this.#select(request.tenant, request.allowPartial),
        limits: this.#limitsOf(request),
        parsed: this.#parsed,
        mainThread: this.#mainThread,
        onMainThread: () => this.#metrics.mainThreadQueries.inc(),
        ...(this.#options.pushesDown ? { pushDown: this.#pushDown } : {}),
        onReplicas: () => {
          if (this.#replicated.size >= TENANTS_MAX) this.#replicated.clear();
          this.#replicated.add(request.tenant);
        },
        listed,
        onEnd: ({ samplesRead, peakBytes }) => {
          this.#metrics.samplesRead.inc(samplesRead);
          this.#metrics.peakBytes.inc(peakBytes);
        },
      });
      outcome = 'ok';
    } catch (caught) {
      outcome = toAppError(caught).code;
      if (outcome === 'internal')
        this.#deps.logger.error({ err: caught, query: request.query }, 'query failed');
      throw caught;
    } finally {
      end?.();
      this.#active.remove(listed);
      this.#metrics.queries.inc({ outcome });
      this.#metrics.querySeconds.observe({ outcome }, (clock.monotonicMs() - startedMs) / 1000);
    }
  }

  /** Runs a lookup in its turn and counts how it ends. */
  async *#lookup<T>(
    lookup: string,
    context: CallContext,
    isPartialAllowed: boolean | undefined,
    answer: (scope: LookupScope) => AsyncIterable<T>,
  ): AsyncGenerator<T> {
    let outcome = 'canceled';
    const budget = new MemoryBudget(this.#pool, this.#options.memoryBytesMax);
    const gate = this.#lookupGate;
    const fanOut = this.#fanOut(isPartialAllowed === true);
    let end: (() => void) | undefined;
    try {
      const tracked = this.#track(this.#options.timeoutMs, [context.signal]);
      end = tracked.end;
      const { signal } = tracked.deadline;
      const leave = await gate.enter(signal);
      try {
        yield* answer({ fanOut: { ...fanOut, signal }, budget });
      } finally {
        leave();
        budget.release();
      }
      outcome = 'ok';
    } catch (caught) {
      outcome = toAppError(caught).code;
      throw caught;
    } finally {
      end?.();
      this.#metrics.lookups.inc({ lookup, outcome });
    }
  }

  async #single<T>(
    lookup: string,
    context: CallContext,
    isPartialAllowed: boolean | undefined,
    answer: (scope: LookupScope) => Promise<T>,
  ): Promise<T> {
    const answers = this.#lookup(lookup, context, isPartialAllowed, async function* (scope) {
      yield await answer(scope);
    });
    let result: T | undefined;
    for await (const value of answers) result = value;
    return result!;
  }

  /**
   * Begins something under a deadline, and keeps `drain` waiting for it until `end` is called.
   *
   * @throws AppError `unavailable` when the querier takes nothing more.
   */
  #track(
    timeoutMs: number,
    ends: readonly AbortSignal[],
  ): { readonly deadline: Deadline; readonly end: () => void } {
    if (this.#isDraining) throw new AppError('unavailable', 'the querier is shutting down; try again');
    const deadline = new Deadline(timeoutMs, this.#deps.clock, [...ends, this.#stopping.signal]);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#running.add(promise);
    const end = (): void => {
      deadline.close();
      this.#running.delete(promise);
      resolve();
    };
    return { deadline, end };
  }

  #limitsOf({ tenant, keepReplicas }: Pick<QueryRequest, 'tenant' | 'keepReplicas'>): UnionLimits {
    if (keepReplicas === true) return { ...this.#limits, replicaLabels: [] };
    return this.#replicated.has(tenant) ? { ...this.#limits, expectsReplicas: true } : this.#limits;
  }

  #select(tenant: string, isPartialAllowed: boolean): ClusterSelect {
    const { seriesMax } = this.#limits;
    return new ClusterSelect({ ...this.#fanOut(isPartialAllowed), tenant, seriesMax });
  }

  #fanOut(isPartialAllowed: boolean) {
    const { cluster, clock, logger } = this.#deps;
    return {
      cluster,
      isPartialAllowed,
      newerPlacement: () => this.#newerPlacement.find(),
      hedge: {
        clock,
        latencies: this.#latencies,
        onLate: ({ kind, instance }: Source) => {
          this.#metrics.sourcesLate.inc({ kind });
          logger.debug({ kind, instance }, 'done without a node that is late');
        },
      },
      onFailure: (source: Source, error: AppError) => {
        this.#metrics.sourceFailures.inc({ kind: source.kind });
        logger.warn({ kind: source.kind, instance: source.instance, err: error }, 'node did not answer');
      },
    };
  }
}

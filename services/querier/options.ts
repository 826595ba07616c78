// What a querier can be told, with the defaults and their reasons.
import { availableParallelism } from 'node:os';
import { DEFAULT_FEATURES, type PromqlFeatures } from '../lib/promql/features.ts';

export interface QuerierOptions {
  /** Longest time that a query may take, its wait in the queue included: `--query.timeout`, milliseconds. */
  readonly timeoutMs: number;
  /** Samples that a query may hold at once, as Prometheus counts them: `--query.max-samples`. */
  readonly samplesMax: number;
  /** Queries evaluated at one time: `--query.max-concurrency`. */
  readonly concurrencyMax: number;
  /** Worker threads that evaluate queries: `--query.threads`, at least 1. */
  readonly threads: number;
  /**
   * Chunks that a selector finds, for each thread that evaluates it; steps of series count as the samples of a chunk. With fewer,
   * the threads' coming together costs more than it saves: some 3 ms, in which 8,000 chunks are half read.
   */
  readonly chunksPerThread: number;
  /**
   * Milliseconds that evaluating a query will take, as far as can be told (query-work.ts): with no more it is evaluated on the main thread. Waking
   * a thread up, and being woken up by it, costs up to a millisecond, and what it reads is in this one's caches: with 7 instead of 2 a subquery
   * over 200 series took 5.6 ms and 4.6 ms of CPU in all (6.4, 5.7), topk over 400 9.0 and 7.2 (9.2, 8.3), a join of two over 200 each 9.6 and
   * 8.6 (10.0, 9.1). The thread is held for 4 ms on end at most.
   * While other queries are under way it takes less (main-thread.ts). 0: never.
   */
  readonly mainThreadMsMax: number;
  /** Queries that may wait for their turn; one more is refused. */
  readonly queueMax: number;
  /** How far back an instant selector looks: `--query.lookback-delta`, milliseconds. */
  readonly lookbackMs: number;
  /**
   * Step of subqueries that name none, milliseconds: the global evaluation interval. A function is asked as queries need it,
   * so that they follow a reload.
   */
  readonly noStepSubqueryIntervalMs: number | (() => number);
  /** Bytes that one query may hold: fetched chunks, labels, columns, results. */
  readonly memoryBytesMax: number;
  /** Bytes that all queries of the process may hold together. */
  readonly memoryTotalBytesMax: number;
  /** Series that one selector may find. */
  readonly seriesMax: number;
  /**
   * Labels that tell the servers of a highly available pair apart, `--query.replica-labels`: series that differ in nothing else are
   * merged when they are read. None: they stay apart.
   */
  readonly replicaLabels: readonly string[];
  /** Bytes of earlier answers that are kept for range queries, `--query.result-cache-size`; 0: none. */
  readonly resultCacheBytes: number;
  /** Steps newer than this are evaluated each time: scrapes, remote writes and rules still write there, and would outdate what is kept. */
  readonly resultCacheSettledMs: number;
  /** Parts of queries are evaluated by the ingesters that hold the samples, `--query.push-down`, where these are other processes. */
  readonly pushesDown: boolean;
  readonly features: PromqlFeatures;
  /** Seed of hash tables over label bytes, unsigned 32-bit; default: random per process. */
  readonly hashSeed?: number;
}

/** Prometheus' defaults where it has one; memory for a node of 4 GiB. */
export const DEFAULT_QUERIER_OPTIONS: QuerierOptions = {
  timeoutMs: 120_000,
  samplesMax: 50_000_000,
  concurrencyMax: 20,
  threads: availableParallelism(),
  chunksPerThread: 8000,
  mainThreadMsMax: 7,
  // A dashboard sends about 300 queries at once: two of them may queue up behind 20 that run.
  queueMax: 640,
  lookbackMs: 300_000,
  noStepSubqueryIntervalMs: 60_000,
  memoryBytesMax: 1 << 30,
  memoryTotalBytesMax: 2 ** 31,
  seriesMax: 1_000_000,
  // What the Prometheus operator and Mimir's users call them.
  replicaLabels: ['prometheus_replica', '__replica__'],
  resultCacheBytes: 128 << 20,
  resultCacheSettledMs: 5 * 60_000,
  pushesDown: true,
  features: DEFAULT_FEATURES,
};

/** Names in the text of a flag, by commas. */
export function labelNamesOf(text: string): string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

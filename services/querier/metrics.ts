// What a querier tells of itself.
import { Counter, Histogram, type Registry } from 'prom-client';
import { registerReadCounter, registerReadGauge } from '../lib/runtime/read-metrics.ts';
import type { WorkerPool } from '../lib/runtime/worker-pool.ts';
import type { MemoryPool } from './evaluation/memory-budget.ts';
import type { QueryGate } from './evaluation/query-gate.ts';

export interface QuerierMetrics {
  /** Ended queries by outcome: ok or an error code. */
  readonly queries: Counter<'outcome'>;
  /** Seconds from arrival to the end of the answer. */
  readonly querySeconds: Histogram<'outcome'>;
  readonly lookups: Counter<'lookup' | 'outcome'>;
  readonly samplesRead: Counter;
  /** Sum of the queries' peaks: over the number of queries it is what one needs. */
  readonly peakBytes: Counter;
  /** Queries that the main thread evaluated itself. */
  readonly mainThreadQueries: Counter;
  /** Nodes that did not answer a fan-out. */
  readonly sourceFailures: Counter<'kind'>;
  /** Partitions of parts of queries that ingesters evaluated, and that they did not: these are read by chunks. */
  readonly partitionsPushed: Counter;
  readonly partitionsPushedToStores: Counter;
  readonly partitionsRefused: Counter;
  /** Nodes that a fan-out went on without, because the others' answers were complete. */
  readonly sourcesLate: Counter<'kind'>;
}

/** What the gauges read. */
export interface QuerierState {
  readonly gate: QueryGate;
  readonly pool: MemoryPool;
  readonly threads: WorkerPool;
  readonly concurrencyMax: number;
}

/** Registers the metrics; gauges read the querier's state when scraped. */
export function createQuerierMetrics(
  registry: Registry,
  { gate, pool, threads, concurrencyMax }: QuerierState,
): QuerierMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    registerReadGauge(registry, name, help, read);
  gauge('tidemark_querier_queries_running', 'Queries being evaluated.', () => gate.running);
  gauge('tidemark_querier_queries_waiting', 'Queries waiting for their turn.', () => gate.waiting);
  gauge('tidemark_querier_queries_concurrent_max', 'Limit of queries being evaluated.', () => concurrencyMax);
  gauge('tidemark_querier_memory_bytes', 'Bytes that queries hold.', () => pool.usedBytes);
  gauge('tidemark_querier_memory_max_bytes', 'Limit of bytes that queries hold.', () => pool.bytesMax);
  gauge('tidemark_querier_threads', 'Worker threads that evaluate queries.', () => threads.size);
  gauge('tidemark_querier_threads_busy', 'Worker threads that have a query.', () => threads.busy);
  gauge(
    'tidemark_querier_thread_queries_queued',
    'Queries that take turns with another one on their thread.',
    () => threads.queued,
  );
  registerReadCounter(
    registry,
    'tidemark_querier_thread_tasks_total',
    'Tasks given to worker threads: queries, and parts of queries that several threads evaluate.',
    () => threads.opened,
  );
  registerReadCounter(
    registry,
    'tidemark_querier_thread_restarts_total',
    'Worker threads that died and were replaced; their queries failed.',
    () => threads.restarts,
  );
  return {
    queries: new Counter({
      name: 'tidemark_querier_queries_total',
      help: 'Ended queries by outcome: ok or an error code.',
      labelNames: ['outcome'],
      registers,
    }),
    querySeconds: new Histogram({
      name: 'tidemark_querier_query_duration_seconds',
      help: 'Time from the arrival of a query to the end of its answer.',
      labelNames: ['outcome'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120],
      registers,
    }),
    lookups: new Counter({
      name: 'tidemark_querier_lookups_total',
      help: 'Ended lookups of series, labels, metadata and statistics by outcome.',
      labelNames: ['lookup', 'outcome'],
      registers,
    }),
    samplesRead: new Counter({
      name: 'tidemark_querier_samples_read_total',
      help: 'Samples that queries read, counted once per step that used them.',
      registers,
    }),
    peakBytes: new Counter({
      name: 'tidemark_querier_memory_peak_bytes_total',
      help: 'Sum over all queries of the most bytes each of them held.',
      registers,
    }),
    mainThreadQueries: new Counter({
      name: 'tidemark_querier_main_thread_queries_total',
      help: 'Queries so small that no worker thread was woken up for them.',
      registers,
    }),
    partitionsPushed: new Counter({
      name: 'tidemark_querier_partitions_pushed_total',
      help: 'Partitions of parts of queries that ingesters evaluated: partial results came instead of chunks.',
      registers,
    }),
    partitionsPushedToStores: new Counter({
      name: 'tidemark_querier_partitions_pushed_to_stores_total',
      help: 'Partitions of parts of queries that stores evaluated over their blocks: partial results came instead of chunks.',
      registers,
    }),
    partitionsRefused: new Counter({
      name: 'tidemark_querier_partitions_refused_total',
      help: 'Partitions of parts of queries that an ingester or store refused to evaluate, failed to or was late with: they were read by chunks.',
      registers,
    }),
    sourcesLate: new Counter({
      name: 'tidemark_querier_sources_late_total',
      help: "Ingesters and stores that a fan-out went on without: late, and the others' answers were complete.",
      labelNames: ['kind'],
      registers,
    }),
    sourceFailures: new Counter({
      name: 'tidemark_querier_source_failures_total',
      help: 'Ingesters and stores that did not answer when asked.',
      labelNames: ['kind'],
      registers,
    }),
  };
}

// What the result cache tells of itself.
import { Counter, type Registry } from 'prom-client';
import { registerReadCounter, registerReadGauge } from '../../lib/runtime/read-metrics.ts';
import type { PieceStore } from './piece-store.ts';

export interface ResultCacheMetrics {
  /** Range queries over old times: hit (all but the newest steps came from the cache), partial, miss, or why the cache was not asked. */
  readonly queries: Counter<'outcome'>;
  /** Steps of those that were hits, partly or wholly. */
  readonly steps: Counter<'source'>;
  readonly invalidated: Counter<'reason'>;
  /** Answers that were not kept. */
  readonly notKept: Counter<'reason'>;
}

export function createResultCacheMetrics(registry: Registry, store: PieceStore): ResultCacheMetrics {
  const registers = [registry];
  const name = (rest: string) => `tidemark_querier_result_cache_${rest}`;
  const gauge = (rest: string, help: string, read: () => number) =>
    registerReadGauge(registry, name(rest), help, read);
  gauge('bytes', 'Bytes of cached pieces of answers.', () => store.bytes);
  gauge('max_bytes', 'Limit of bytes of cached pieces of answers.', () => store.bytesMax);
  gauge('pieces', 'Cached pieces of answers.', () => store.count);
  registerReadCounter(
    registry,
    name('evictions_total'),
    'Pieces that were dropped to make room.',
    () => store.evictions,
  );
  return {
    queries: new Counter({
      name: name('queries_total'),
      help: 'Range queries over times that are over, by what the cache had: hit, partial, miss, or why it was not asked.',
      labelNames: ['outcome'],
      registers,
    }),
    steps: new Counter({
      name: name('steps_total'),
      help: 'Steps of queries that the cache had a part of, by where they came from: cache or evaluation.',
      labelNames: ['source'],
      registers,
    }),
    invalidated: new Counter({
      name: name('invalidated_total'),
      help: "Pieces that were found to be outdated: write (samples came or a head's were deleted), blocks (sealed, compacted, deleted, expired), nodes (one restarted, joined or left, or partitions moved).",
      labelNames: ['reason'],
      registers,
    }),
    notKept: new Counter({
      name: name('not_kept_total'),
      help: 'Evaluations of which nothing was kept, by reason: annotations, incomplete, range, size, error.',
      labelNames: ['reason'],
      registers,
    }),
  };
}

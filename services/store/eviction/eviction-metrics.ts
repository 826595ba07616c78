// Metrics of the local disk as a cache of object storage.
import { Counter, Histogram, type Registry } from 'prom-client';
import { registerReadGauge } from '../../lib/runtime/read-metrics.ts';

export interface EvictionMetrics {
  /** By `kind`: block (its whole chunks), segment (a part that was fetched). */
  readonly evictions: Counter<'kind'>;
  readonly evictedBytes: Counter<'kind'>;
  /** Blocks that were to leave and are not in object storage as they should be. */
  readonly refused: Counter;
  readonly hits: Counter;
  readonly misses: Counter;
  readonly fetchedBytes: Counter;
  readonly fetchSeconds: Histogram;
  readonly fetchFailures: Counter;
  /** Parts on this disk, or as they came, whose checksum was wrong: they were fetched again. */
  readonly distrusted: Counter;
}

export function createEvictionMetrics(
  registry: Registry,
  gauges: {
    readonly evictedBlocks: () => number;
    readonly evictedBytes: () => number;
    readonly cacheBytes: () => number;
    readonly cacheBytesMax: () => number;
  },
): EvictionMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    registerReadGauge(registry, name, help, read);
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  gauge(
    'tidemark_store_evicted_blocks',
    'Blocks held whose chunks are in object storage only.',
    gauges.evictedBlocks,
  );
  gauge('tidemark_store_evicted_bytes', 'Bytes of the chunks of these blocks.', gauges.evictedBytes);
  gauge(
    'tidemark_store_chunk_cache_bytes',
    'Bytes on this disk of chunks that are in object storage as well and past objstore.local-age.',
    gauges.cacheBytes,
  );
  gauge('tidemark_store_chunk_cache_limit_bytes', 'objstore.cache-size.', gauges.cacheBytesMax);
  return {
    evictions: new Counter({
      name: 'tidemark_store_evictions_total',
      help: 'What left the disk and is read from object storage now, by kind: chunks of a block, a fetched segment.',
      labelNames: ['kind'],
      registers,
    }),
    evictedBytes: new Counter({
      name: 'tidemark_store_evictions_bytes_total',
      help: 'Bytes of it.',
      labelNames: ['kind'],
      registers,
    }),
    refused: counter(
      'tidemark_store_evictions_refused_total',
      'Blocks that stayed on the disk because object storage does not have them as it should.',
    ),
    hits: counter(
      'tidemark_store_chunk_cache_hits_total',
      'Segments of evicted blocks that were on this disk.',
    ),
    misses: counter(
      'tidemark_store_chunk_cache_misses_total',
      'Segments of evicted blocks that were fetched.',
    ),
    fetchedBytes: counter(
      'tidemark_store_chunk_fetched_bytes_total',
      'Bytes of chunks of evicted blocks fetched from object storage.',
    ),
    fetchSeconds: new Histogram({
      name: 'tidemark_store_chunk_fetch_duration_seconds',
      help: 'Time that a fetch of chunks of an evicted block took, with its retries.',
      buckets: [0.005, 0.025, 0.1, 0.5, 2, 10, 30],
      registers,
    }),
    fetchFailures: counter(
      'tidemark_store_chunk_fetch_failures_total',
      'Fetches of chunks of evicted blocks that were given up; answers said that they lack them.',
    ),
    distrusted: counter(
      'tidemark_store_chunk_cache_corrupt_total',
      'Segments of evicted blocks whose checksum was wrong and that were fetched again.',
    ),
  };
}

// The store's own metrics.
import { Counter, type Registry } from 'prom-client';
import { registerReadCounter, registerReadGauge } from '../lib/runtime/read-metrics.ts';

/** Values that are read when metrics are asked for. */
export interface StoreGauges {
  readonly blockCount: () => number;
  readonly blockBytes: () => number;
  readonly quarantinedCount: () => number;
  readonly cacheBytes: () => number;
  readonly cacheHits: () => number;
  readonly cacheMisses: () => number;
}

export interface StoreMetrics {
  /** By `result`: stored, existed, failed. */
  readonly puts: Counter<'result'>;
  /** By `reason`: time, size. */
  readonly deleted: Counter<'reason'>;
  readonly corrupt: Counter;
  readonly selectedSeries: Counter;
  readonly selectedBytes: Counter;
  readonly limitHits: Counter;
}

export function createStoreMetrics(registry: Registry, gauges: StoreGauges): StoreMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    registerReadGauge(registry, name, help, read);
  gauge('tidemark_store_blocks', 'Blocks held.', gauges.blockCount);
  gauge('tidemark_store_block_bytes', 'Bytes of the blocks held, all files.', gauges.blockBytes);
  gauge(
    'tidemark_store_quarantined_blocks',
    'Corrupt blocks set aside; queries over their range are reported as incomplete.',
    gauges.quarantinedCount,
  );
  gauge('tidemark_store_index_cache_bytes', 'Expanded index pages in memory.', gauges.cacheBytes);
  registerReadCounter(
    registry,
    'tidemark_store_index_cache_hits_total',
    'Index pages found in memory.',
    gauges.cacheHits,
  );
  registerReadCounter(
    registry,
    'tidemark_store_index_cache_misses_total',
    'Index pages read from disk.',
    gauges.cacheMisses,
  );
  return {
    puts: new Counter({
      name: 'tidemark_store_block_puts_total',
      help: 'Blocks sent to this store, by result.',
      labelNames: ['result'],
      registers,
    }),
    deleted: new Counter({
      name: 'tidemark_store_blocks_deleted_total',
      help: 'Blocks deleted by retention, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    corrupt: new Counter({
      name: 'tidemark_store_corrupt_blocks_total',
      help: 'Blocks found corrupt and set aside.',
      registers,
    }),
    selectedSeries: new Counter({
      name: 'tidemark_store_selected_series_total',
      help: 'Series handed over by selects, counted per block.',
      registers,
    }),
    selectedBytes: new Counter({
      name: 'tidemark_store_selected_bytes_total',
      help: 'Bytes of series frames sent.',
      registers,
    }),
    limitHits: new Counter({
      name: 'tidemark_store_series_limit_hits_total',
      help: 'Selects ended by the limit on series.',
      registers,
    }),
  };
}

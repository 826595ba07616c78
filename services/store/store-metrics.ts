// The store's own metrics.
import { Counter, Histogram, type Registry } from 'prom-client';
import { registerReadCounter, registerReadGauge } from '../lib/runtime/read-metrics.ts';

/** Values that are read when metrics are asked for. */
export interface StoreGauges {
  readonly blockCount: () => number;
  readonly blockBytes: () => number;
  readonly quarantinedCount: () => number;
  readonly cacheBytes: () => number;
  readonly cacheHits: () => number;
  readonly cacheMisses: () => number;
  readonly chunkCache: () => { readonly bytesHeld: number; readonly hits: number; readonly misses: number };
  readonly pendingDeletes: () => number;
  readonly compactionRunning: () => number;
  readonly compactionSeries: () => number;
}

/** What compaction counts. */
export interface CompactionMetrics {
  /** By `reason` (merge, delete) and `result` (done, void, failed). */
  readonly runs: Counter<'reason' | 'result'>;
  readonly seconds: Histogram;
  readonly inputBytes: Counter;
  readonly outputBytes: Counter;
  readonly droppedSamples: Counter;
}

/** What downsampling counts, by `resolution` in seconds. */
export interface DownsamplingMetrics {
  /** By `result`: done, void, failed. */
  readonly runs: Counter<'resolution' | 'result'>;
  readonly inputBytes: Counter<'resolution'>;
  readonly outputBytes: Counter<'resolution'>;
}

export interface StoreMetrics {
  /** By `result`: stored, existed, failed. */
  readonly puts: Counter<'result'>;
  /** By `reason`: time, size, rule, replaced, outdated. */
  readonly deleted: Counter<'reason'>;
  readonly corrupt: Counter;
  readonly selectedSeries: Counter;
  readonly selectedBytes: Counter;
  readonly limitHits: Counter;
  readonly compaction: CompactionMetrics;
  readonly downsampling: DownsamplingMetrics;
  /** Series that retention rules took out of blocks. */
  readonly expiredSeries: Counter;
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
  const { chunkCache } = gauges;
  gauge('tidemark_store_page_cache_bytes', 'Expanded chunk pages in memory.', () => chunkCache().bytesHeld);
  registerReadCounter(
    registry,
    'tidemark_store_page_cache_hits_total',
    'Chunk pages that selects found in memory.',
    () => chunkCache().hits,
  );
  registerReadCounter(
    registry,
    'tidemark_store_page_cache_misses_total',
    'Chunk pages that selects read.',
    () => chunkCache().misses,
  );
  gauge(
    'tidemark_store_pending_deletes',
    'Deletes that hide samples which are still on the disk.',
    gauges.pendingDeletes,
  );
  gauge('tidemark_store_compaction_running', '1 while blocks are compacted.', gauges.compactionRunning);
  gauge(
    'tidemark_store_compaction_series_written',
    'Series of the block that compaction is writing now.',
    gauges.compactionSeries,
  );
  return {
    compaction: createCompactionMetrics(registry),
    downsampling: createDownsamplingMetrics(registry),
    expiredSeries: new Counter({
      name: 'tidemark_store_retention_series_removed_total',
      help: 'Series that blocks were rewritten without, because a retention rule of the configuration file matches them.',
      registers,
    }),
    puts: new Counter({
      name: 'tidemark_store_block_puts_total',
      help: 'Blocks sent to this store, by result.',
      labelNames: ['result'],
      registers,
    }),
    deleted: new Counter({
      name: 'tidemark_store_blocks_deleted_total',
      help: 'Blocks deleted, by reason: retention by time or size; rule, all of whose series retention rules match; replaced by a merged one that a crash left beside its sources; outdated, aggregates of samples that were deleted since.',
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

function createDownsamplingMetrics(registry: Registry): DownsamplingMetrics {
  const registers = [registry];
  return {
    runs: new Counter({
      name: 'tidemark_store_downsamplings_total',
      help: 'Blocks aggregated, by resolution in seconds and how it ended; void means that there was nothing to do, or the block changed meanwhile.',
      labelNames: ['resolution', 'result'],
      registers,
    }),
    inputBytes: new Counter({
      name: 'tidemark_store_downsampling_input_bytes_total',
      help: 'Bytes of blocks that were aggregated.',
      labelNames: ['resolution'],
      registers,
    }),
    outputBytes: new Counter({
      name: 'tidemark_store_downsampling_output_bytes_total',
      help: 'Bytes of their aggregates.',
      labelNames: ['resolution'],
      registers,
    }),
  };
}

function createCompactionMetrics(registry: Registry): CompactionMetrics {
  const registers = [registry];
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  return {
    runs: new Counter({
      name: 'tidemark_store_compactions_total',
      help: 'Compactions, by what they were for and how they ended; void means that blocks changed meanwhile.',
      labelNames: ['reason', 'result'],
      registers,
    }),
    seconds: new Histogram({
      name: 'tidemark_store_compaction_duration_seconds',
      help: 'Time from the begin of a compaction to the new block in its place.',
      buckets: [0.1, 1, 10, 60, 300, 1800, 7200],
      registers,
    }),
    inputBytes: counter(
      'tidemark_store_compaction_input_bytes_total',
      'Bytes of blocks that were compacted.',
    ),
    outputBytes: counter(
      'tidemark_store_compaction_output_bytes_total',
      'Bytes of the blocks that took their place.',
    ),
    droppedSamples: counter(
      'tidemark_store_compaction_dropped_samples_total',
      'Samples that were there more than once, or were deleted, and are gone from the disk.',
    ),
  };
}

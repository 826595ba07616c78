// Metrics of a store's blocks in object storage.
import { Counter, Gauge, type Registry } from 'prom-client';
import { registerReadGauge } from '../../lib/runtime/read-metrics.ts';

export interface BucketMetrics {
  /** By `result`: done, failed. */
  readonly uploads: Counter<'result'>;
  /** By `reason`: superseded, retention, broken_off. */
  readonly removed: Counter<'reason'>;
  /** Rounds that broke off. */
  readonly failures: Counter;
  /** The bucket was listed. */
  readonly listed: () => void;
}

export function createBucketMetrics(
  registry: Registry,
  gauges: {
    readonly blocks: () => number;
    readonly pendingBlocks: () => number;
    readonly pendingBytes: () => number;
  },
): BucketMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    registerReadGauge(registry, name, help, read);
  gauge('tidemark_store_bucket_blocks', 'Blocks in object storage, of all stores.', gauges.blocks);
  gauge(
    'tidemark_store_bucket_pending_blocks',
    'Blocks that this store has yet to bring to object storage.',
    gauges.pendingBlocks,
  );
  gauge('tidemark_store_bucket_pending_bytes', 'Bytes of these blocks.', gauges.pendingBytes);
  const listed = new Gauge({
    name: 'tidemark_store_bucket_listed_timestamp_seconds',
    help: 'When object storage was last listed; 0 when it never was.',
    registers,
  });
  return {
    uploads: new Counter({
      name: 'tidemark_store_bucket_uploads_total',
      help: 'Blocks brought to object storage, by result.',
      labelNames: ['result'],
      registers,
    }),
    removed: new Counter({
      name: 'tidemark_store_bucket_removed_total',
      help: 'Blocks removed from object storage, by reason.',
      labelNames: ['reason'],
      registers,
    }),
    failures: new Counter({
      name: 'tidemark_store_bucket_failures_total',
      help: 'Rounds over the blocks of object storage that broke off; the log says why.',
      registers,
    }),
    listed: () => listed.setToCurrentTime(),
  };
}

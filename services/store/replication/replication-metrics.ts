// Metrics of copying, giving away and checking blocks.
import { Counter, type Registry } from 'prom-client';
import { registerReadGauge } from '../../lib/runtime/read-metrics.ts';

/** Values that are read when metrics are asked for. */
export interface ReplicationGauges {
  readonly missingBlocks: () => number;
  readonly missingBytes: () => number;
  readonly surplusBlocks: () => number;
  readonly movesRunning: () => number;
  /** Seconds. */
  readonly scrubAge: () => number;
}

export interface ReplicationMetrics {
  /** By `result`: done, failed. */
  readonly pulls: Counter<'result'>;
  readonly pulledBytes: Counter;
  readonly surplusDeleted: Counter;
  readonly scrubbedBytes: Counter;
  readonly scrubCorrupt: Counter;
}

export function createReplicationMetrics(registry: Registry, gauges: ReplicationGauges): ReplicationMetrics {
  const registers = [registry];
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  const gauge = (name: string, help: string, read: () => number) =>
    registerReadGauge(registry, name, help, read);
  gauge(
    'tidemark_store_missing_blocks',
    'Blocks that this store should have and does not.',
    gauges.missingBlocks,
  );
  gauge('tidemark_store_missing_bytes', 'Bytes of the blocks that are missing.', gauges.missingBytes);
  gauge(
    'tidemark_store_surplus_blocks',
    'Blocks that other stores should have in the place of this one.',
    gauges.surplusBlocks,
  );
  gauge('tidemark_store_block_copies_running', 'Blocks being copied to this store.', gauges.movesRunning);
  gauge(
    'tidemark_store_scrub_age_seconds',
    'Time since the block that was checked longest ago was checked; 0 with nothing to check.',
    gauges.scrubAge,
  );
  return {
    pulls: new Counter({
      name: 'tidemark_store_block_copies_total',
      help: 'Blocks copied from other stores, by result.',
      labelNames: ['result'],
      registers,
    }),
    pulledBytes: counter('tidemark_store_copied_bytes_total', 'Bytes of blocks copied from other stores.'),
    surplusDeleted: counter(
      'tidemark_store_surplus_deleted_total',
      'Blocks given away: the stores that should have them confirmed theirs.',
    ),
    scrubbedBytes: counter(
      'tidemark_store_scrubbed_bytes_total',
      'Bytes of blocks read and compared with their checksums.',
    ),
    scrubCorrupt: counter('tidemark_store_scrub_corrupt_total', 'Blocks that a scrub found corrupt.'),
  };
}

// What a store may be told. Everything but the first three has a default that fits.
import { availableParallelism } from 'node:os';
import { NO_STORAGE_POLICY, type StoragePolicy } from '../lib/runtime/config/storage-policy.ts';
import { memoryShare } from '../lib/runtime/memory-limit.ts';
import { COMPACTION_RANGES_MS } from '../lib/tsdb/compact/plan.ts';

export interface StoreOptions {
  /** `--data.dir`: blocks live in `<dataDir>/blocks`. */
  readonly dataDir: string;
  /** Blocks whose newest sample is older than this are deleted, milliseconds; 0 keeps them for ever. */
  readonly retentionMs: number;
  /** Most bytes of blocks; the oldest go first. 0 means no limit. */
  readonly retentionBytes: number;
  /** What the configuration file says of downsampling and retention at start. Default: nothing. */
  readonly storagePolicy?: StoragePolicy;
  /** How often retention is applied, milliseconds. Default: a minute. */
  readonly retentionCheckMs?: number;
  /** Memory for expanded index pages of all blocks, and for what selectors found there, bytes. Default: 64 MiB. */
  readonly indexCacheBytes?: number;
  /** Memory for expanded pages of chunks that selects read from this disk, bytes. Default: 64 MiB, a 32nd of the memory where that is less. */
  readonly chunkCacheBytes?: number;
  /** Blocks whose files are kept open while nobody reads them; each takes two descriptors. Default: 128. */
  readonly openBlocksMax?: number;
  /** Most series of one select that names no limit itself. Default: 5 million. */
  readonly seriesMax?: number;
  /** Largest block that is taken, bytes of all files. Default: 256 GiB. */
  readonly blockBytesMax?: number;
  /** Bytes of the disk that blocks being taken leave free. Default: 256 MiB. */
  readonly diskReserveBytes?: number;
  /** How often blocks that can be merged are looked for, milliseconds. Default: a minute. */
  readonly compactionCheckMs?: number;
  /** Aligned ranges of time whose blocks become one, milliseconds, ascending. Default: 2 h, 12 h, 2 d. None: no merging. */
  readonly compactionRangesMs?: readonly number[];
  /** How long a range is over before its blocks are merged, milliseconds. Default: half an hour. */
  readonly compactionSettleMs?: number;
  /** Share of the time that compaction works, above 0 up to 1; it sleeps for the rest. Default: 0.5. */
  readonly compactionShare?: number;
  /** Blocks are rewritten for a delete after this time, milliseconds; until then it can be undone. Default: a day. */
  readonly deleteDelayMs?: number;
  /** Most bytes per second that are copied from other stores, and as many to object storage; 0: no limit. Default: 64 MiB. */
  readonly moveBytesPerSecond?: number;
  /** Between two looks at what this store should hold, milliseconds. Default: 10 s. */
  readonly repairIntervalMs?: number;
  /** A store that is gone for longer has its blocks rebuilt on others, milliseconds. Default: 10 min. */
  readonly rebuildDelayMs?: number;
  /** How long the right owners hold a block before this store gives its copy away, milliseconds. Default: 5 min. */
  readonly surplusGraceMs?: number;
  /** Every block is read and compared with its checksums once in so long, milliseconds; 0: never. Default: 7 d. */
  readonly scrubPeriodMs?: number;
  /** `--cluster.name`: whose blocks object storage holds. Default: `tidemark`. */
  readonly clusterName?: string;
  /** Between two listings of object storage, milliseconds. Default: 5 min. */
  readonly bucketListIntervalMs?: number;
  /** How long a block stays in object storage after others took its place or its retention was over, milliseconds. Default: an hour. */
  readonly bucketDeleteGraceMs?: number;
  /** Blocks whose newest sample is older may leave this disk once object storage has them, milliseconds; 0: none does. Default: 0. */
  readonly localAgeMs?: number;
  /** Bytes on this disk of chunks that may leave it, and of what was fetched of those that did. Default: 10 GiB. */
  readonly cacheBytesMax?: number;
  /** Threads that evaluate parts of queries, started when they are needed. Default: as many as there are processors. */
  readonly partThreads?: number;
  /** Bytes that parts of queries may hold, all together; more are refused. Default: 1 GiB, an eighth of the memory where that is less. */
  readonly partMemoryBytesMax?: number;
}

/** Options with their defaults. */
export function withDefaults(options: StoreOptions): Required<StoreOptions> {
  return {
    storagePolicy: NO_STORAGE_POLICY,
    retentionCheckMs: 60_000,
    indexCacheBytes: 64 << 20,
    chunkCacheBytes: memoryShare(1 / 32, 64 << 20),
    openBlocksMax: 128,
    seriesMax: 5_000_000,
    blockBytesMax: 256 * 2 ** 30,
    diskReserveBytes: 256 << 20,
    compactionCheckMs: 60_000,
    compactionRangesMs: COMPACTION_RANGES_MS,
    compactionSettleMs: 30 * 60_000,
    compactionShare: 0.5,
    deleteDelayMs: 24 * 3_600_000,
    moveBytesPerSecond: 64 << 20,
    repairIntervalMs: 10_000,
    rebuildDelayMs: 600_000,
    surplusGraceMs: 300_000,
    scrubPeriodMs: 7 * 24 * 3_600_000,
    clusterName: 'tidemark',
    bucketListIntervalMs: 300_000,
    bucketDeleteGraceMs: 3_600_000,
    localAgeMs: 0,
    cacheBytesMax: 10 * 2 ** 30,
    partThreads: availableParallelism(),
    partMemoryBytesMax: memoryShare(1 / 8, 1 << 30),
    ...options,
  };
}

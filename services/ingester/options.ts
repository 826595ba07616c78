// What an ingester may be told. Everything but the first has a default that fits.
import { availableParallelism } from 'node:os';
import { mainMemoryShare, memoryShare } from '../lib/runtime/memory-limit.ts';

export interface IngesterOptions {
  /** `--data.dir`: the log lives in `<dataDir>/log`, blocks under construction in `<dataDir>/seal`. */
  readonly dataDir: string;
  /** This process in the placement. Undefined: it takes every partition, as the only ingester. */
  readonly instance?: string;
  /** Number of partitions of the cluster. Default 64. */
  readonly partitionCount?: number;
  /** Length of the aligned time ranges that become blocks, ms. Default 2 h. */
  readonly blockRangeMs?: number;
  /** A chunk is closed at about this many samples, with 64 or more of them. Default 120. */
  readonly chunkSamplesTarget?: number;
  /** Least time from one fdatasync to the next, ms. Default 10. */
  readonly groupCommitMs?: number;
  /** Bytes that wait are synced at once from this number on. Default 1 MiB. */
  readonly commitBytes?: number;
  /** Bytes appended and not yet durable, at most. Default 64 MiB. */
  readonly bytesInFlightMax?: number;
  /** Size of a log segment. Default 64 MiB. */
  readonly segmentBytesMax?: number;
  /** Appends are refused while the disk has less free. Default: 5 % of it, at most 256 MiB. */
  readonly diskFreeBytesMin?: number;
  /** Appends are refused while all heads together hold more. Default: half of the memory that this process may use. */
  readonly headBytesMax?: number;
  /** Requests of one stream that are not answered yet, at most. Default 1024. */
  readonly streamRequestsMax?: number;
  /** Most series of one select that names no limit itself. Default 5 million. */
  readonly seriesPerSelectMax?: number;
  /** Threads that evaluate parts of queries; they start when they are needed. Default: one per core. */
  readonly partThreads?: number;
  /** Bytes that all parts under way may hold. Default 1 GiB. */
  readonly partMemoryBytesMax?: number;
  /** Most series of one tenant in the cluster; this ingester admits its share by partitions. Default: no limit. */
  readonly seriesPerTenantMax?: number;
  /** Metrics with metadata per tenant, at most; further ones are not kept. Default 100,000. */
  readonly metadataMax?: number;
  /** How often closed ranges are looked for, ms. Default 30 s. */
  readonly sealCheckIntervalMs?: number;
  /** A range is cut this long after its end, ms. Default 5 min. */
  readonly sealDelayMs?: number;
  /** Late samples of a range that is sealed already gather this long before they become a further block, ms. Default 1 h. */
  readonly lateSealDelayMs?: number;
  /**
   * A sealed range stays readable this long, ms: a query that asked the stores before the block was there must still
   * find it here, so longer than any query. Default 150 s.
   */
  readonly sealGraceMs?: number;
  /**
   * Of the owners of a partition one seals a range. The others wait so long for its word that all is on the stores, then seal it
   * themselves, ms; 0: nobody waits. Default 10 min.
   */
  readonly sealWaitMs?: number;
  /** Stores that must have verified a block. Default 1. */
  readonly storeReplicas?: number;
  /**
   * A head image is written after so many bytes of log, or after a quarter of what the last image took where that is more:
   * about what a start has to replay. Default 64 MiB: 9 million samples, 3 s.
   */
  readonly imageLogBytes?: number;
  /** And after this long at the latest, where there is something new, ms. Default 10 min. */
  readonly imageIntervalMs?: number;
  /**
   * A head image is written in time for any start to take no longer, ms, with up to a million series, and so much again for each further
   * million: an estimate (log/image-rule.ts). Default 7 s, so that 10 s hold on a busier machine too.
   */
  readonly imageStartMs?: number;
  /** How often it is looked whether a head image is due, ms. Default 1 s, at most `sealCheckIntervalMs`. */
  readonly imageCheckIntervalMs?: number;
  /** Between two comparisons with other replicas when nothing seems to be missing, ms. Default 5 s. */
  readonly catchUpIntervalMs?: number;
  /** Writes of other replicas are taken no faster than this, bytes per second. Default 32 MiB: 1.7 million samples. */
  readonly catchUpBytesPerSecond?: number;
  /** A start waits at most so long until it has what others have, ms. Default 60 s. */
  readonly catchUpStartMs?: number;
  /** What was lost here and at all others is waited for so long, ms. Default 4 h: longer than any sample waits for its block. */
  readonly recoveryMs?: number;
  /** Images are written no faster than this, bytes per second. Default 64 MiB. */
  readonly imageBytesPerSecond?: number;
  /** An orderly stop takes so long at most for a last image, so that the next start replays nothing, ms. Default 0: none is written. */
  readonly imageAtStopMs?: number;
}

/** Options with their defaults. `diskFreeBytesMin` and `instance` stay open. */
export type ResolvedOptions = Required<Omit<IngesterOptions, 'instance' | 'diskFreeBytesMin'>> &
  Pick<IngesterOptions, 'instance' | 'diskFreeBytesMin'>;

export function withDefaults(options: IngesterOptions): ResolvedOptions {
  return {
    partitionCount: 64,
    blockRangeMs: 2 * 3_600_000,
    chunkSamplesTarget: 120,
    groupCommitMs: 10,
    commitBytes: 1 << 20,
    bytesInFlightMax: memoryShare(1 / 16, 64 << 20),
    segmentBytesMax: 64 << 20,
    headBytesMax: mainMemoryShare(),
    streamRequestsMax: 1024,
    seriesPerSelectMax: 5_000_000,
    partThreads: availableParallelism(),
    partMemoryBytesMax: memoryShare(1 / 8, 1 << 30),
    seriesPerTenantMax: Number.POSITIVE_INFINITY,
    metadataMax: 100_000,
    sealCheckIntervalMs: 30_000,
    sealDelayMs: 5 * 60_000,
    lateSealDelayMs: 3_600_000,
    sealGraceMs: 150_000,
    sealWaitMs: 10 * 60_000,
    storeReplicas: 1,
    imageLogBytes: 64 << 20,
    imageIntervalMs: 10 * 60_000,
    imageBytesPerSecond: 64 << 20,
    imageStartMs: 7000,
    imageCheckIntervalMs: Math.min(1000, options.sealCheckIntervalMs ?? 1000),
    imageAtStopMs: 0,
    catchUpIntervalMs: 5_000,
    catchUpBytesPerSecond: 32 << 20,
    catchUpStartMs: 60_000,
    recoveryMs: 4 * 3_600_000,
    ...options,
  };
}

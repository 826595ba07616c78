// Joins what a store needs for chunks that are in object storage only: the cache on this disk, fetching, metrics, and what is said of it all.
import path from 'node:path';
import type { Registry } from 'prom-client';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { toAppError } from '../../lib/core/errors.ts';
import { BlockBucket } from '../../lib/objstore/block-bucket.ts';
import type { ObjectStore } from '../../lib/objstore/object-store.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { ResidentBlock } from '../blocks/block-catalog.ts';
import { ChunkFetcher } from './chunk-fetcher.ts';
import { blockOf, EvictedChunks } from './evicted-chunks.ts';
import { createEvictionMetrics, type EvictionMetrics } from './eviction-metrics.ts';
import { SegmentCache } from './segment-cache.ts';

export interface EvictedStorageOptions {
  readonly dataDir: string;
  readonly localAgeMs: number;
  readonly cacheBytesMax: number;
  /** Bytes of the disk that the cache leaves free: they are for blocks that come. */
  readonly diskReserveBytes: number;
}

export interface EvictedStorageDeps {
  readonly objects: ObjectStore | undefined;
  /** All blocks held. */
  readonly residents: () => readonly ResidentBlock[];
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}

/** What this disk holds of object storage, for people. */
export interface EvictionStatus {
  readonly evictedBlocks: number;
  readonly evictedBytes: number;
  readonly cacheBytes: number;
  /** 0: nothing leaves the disk. */
  readonly cacheBytesMax: number;
}

export interface EvictedStorage {
  readonly chunks: EvictedChunks;
  readonly cache: SegmentCache;
  readonly metrics: EvictionMetrics;
  /** `<tenant>/<block id>` of blocks that were found damaged in object storage. */
  readonly damaged: Set<string>;
  /** Finds what is on the disk; after the blocks were loaded. */
  load(): Promise<void>;
  /** An evicted block left: with retention, for another in its place, or because it was damaged. */
  gone(meta: BlockMeta): void;
  status(): EvictionStatus;
  /** Resolves when nothing is written any more. */
  stop(): Promise<void>;
}

export function createEvictedStorage(
  options: EvictedStorageOptions,
  deps: EvictedStorageDeps,
): EvictedStorage {
  const { clock, logger, disk, residents } = deps;
  const { localAgeMs, cacheBytesMax } = options;
  const bucket = deps.objects === undefined ? undefined : new BlockBucket({ store: deps.objects });
  const status = (): EvictionStatus => {
    let [evictedBlocks, evictedBytes, wholeBytes] = [0, 0, 0];
    const agedBeforeMs = localAgeMs > 0 ? clock.nowMs() - localAgeMs : Number.NEGATIVE_INFINITY;
    for (const { meta, isEvicted } of residents()) {
      const bytes = meta.files.chunks.sizeBytes;
      if (!isEvicted && meta.maxTimeMs < agedBeforeMs) wholeBytes += bytes;
      if (!isEvicted) continue;
      evictedBlocks++;
      evictedBytes += bytes;
    }
    const limit = localAgeMs > 0 || evictedBlocks > 0 ? cacheBytesMax : 0;
    return { evictedBlocks, evictedBytes, cacheBytes: cache.bytes + wholeBytes, cacheBytesMax: limit };
  };
  const metrics = createEvictionMetrics(deps.registry, {
    evictedBlocks: () => status().evictedBlocks,
    evictedBytes: () => status().evictedBytes,
    cacheBytes: () => status().cacheBytes,
    cacheBytesMax: () => status().cacheBytesMax,
  });
  const folder = path.join(options.dataDir, 'blocks-cache');
  const cache = new SegmentCache(
    { folder, bytesMax: cacheBytesMax, keepFreeBytes: options.diskReserveBytes },
    { disk, clock, logger, metrics },
  );
  const fetcher = new ChunkFetcher({ bucket, clock, metrics });
  const chunks = new EvictedChunks({ cache, fetcher, metrics });
  let dropped: Promise<unknown> = Promise.resolve();
  return {
    ...{ chunks, cache, metrics, status, damaged: new Set<string>() },
    load: () =>
      cache.load(
        residents()
          .filter(({ isEvicted }) => isEvicted)
          .map(({ meta }) => blockOf(meta)),
      ),
    gone: (meta) => {
      dropped = dropped
        .then(() => cache.drop(meta))
        .catch((caught: unknown) =>
          logger.warn({ blockId: meta.blockId, err: toAppError(caught) }, 'fetched chunks stay on the disk'),
        );
    },
    stop: async () => {
      await chunks.idle();
      await dropped;
    },
  };
}

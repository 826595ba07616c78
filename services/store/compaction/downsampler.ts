// Makes aggregates of blocks of samples that are old enough, one block at a time. The new block is durable, read back and in its place
// before anything may be answered from it; a crash before leaves nothing, since samples stay until their own retention is over.
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { StoragePolicy } from '../../lib/runtime/config/storage-policy.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { blockFolder } from '../../lib/tsdb/block/block-name.ts';
import { BlockReader } from '../../lib/tsdb/block/block-reader.ts';
import { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import type { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { CorruptSourceError } from '../../lib/tsdb/compact/merge-blocks.ts';
import type { CandidateBlock } from '../../lib/tsdb/compact/plan.ts';
import { ThrottledPacer } from '../../lib/tsdb/compact/throttled-pacer.ts';
import { downsampleBlock } from '../../lib/tsdb/downsample/downsample-block.ts';
import {
  type Downsampling,
  isAwaited,
  planDownsampling,
} from '../../lib/tsdb/downsample/plan-downsampling.ts';
import { type BlockCatalog, type BlockLease, bytesOf, LONG_AGO_MS } from '../blocks/block-catalog.ts';
import type { BlockFolders } from '../blocks/block-folders.ts';
import type { BlockResolutions } from '../blocks/block-resolutions.ts';
import type { DiskBudget } from '../blocks/disk-budget.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import { ChunksUnreachableError } from '../eviction/chunk-fetcher.ts';
import type { DownsamplingMetrics } from '../store-metrics.ts';

export interface DownsamplerOptions {
  /** Of samples; 0: for ever. */
  readonly retentionMs: number;
  readonly compactionShare: number;
  readonly hashSeed: number;
}

export interface DownsamplerDeps {
  readonly catalog: BlockCatalog;
  readonly resolutions: BlockResolutions;
  readonly folders: BlockFolders;
  readonly tombstones: Tombstones;
  readonly budget: DiskBudget;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: DownsamplingMetrics;
  /** What the configuration file says now. */
  readonly policy: () => StoragePolicy;
}

/** A block is read once from front to back. */
const CACHE_BYTES = 256 * 1024;
/** After chunks could not be fetched, evicted blocks are left alone for so long. */
const UNREACHABLE_REST_MS = 60_000;

export class Downsampler {
  readonly #options: DownsamplerOptions;
  readonly #deps: DownsamplerDeps;
  /** `<block>/<resolution>` of blocks that hold nothing to aggregate. */
  readonly #empty = new Set<string>();
  /** Until when evicted blocks rest, monotonic. */
  #restUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: DownsamplerOptions, deps: DownsamplerDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Aggregates one block of any tenant.
   *
   * @returns False when there is none, or it came to nothing: ask again after a while.
   * @throws AppError `unavailable` without room on the disk, or the signal's reason; the error of the disk as it comes.
   */
  async runOnce(signal: AbortSignal): Promise<boolean> {
    for (const tenant of this.#deps.catalog.tenants()) {
      const next = this.#plan(tenant);
      try {
        if (next !== undefined && (await this.#downsample(next, signal))) return true;
      } catch (caught) {
        if (!(caught instanceof ChunksUnreachableError)) throw caught;
        this.#restUntilMs = this.#deps.clock.monotonicMs() + UNREACHABLE_REST_MS;
        this.#deps.logger.warn({ tenant, err: caught }, 'aggregation waits for object storage');
        return true;
      }
    }
    return false;
  }

  /** Whether samples have to stay although their retention is over: what is to stand for them is not made yet. */
  isWaitedFor(meta: BlockMeta): boolean {
    const { catalog, clock, policy } = this.#deps;
    if (meta.resolutionMs !== undefined) return false;
    const metas = catalog.list(meta.tenant);
    return policy().downsampling.some(
      (level) =>
        isAwaited(meta, level, clock.nowMs(), this.#options.retentionMs) &&
        !this.#isDone(metas, meta, level.resolutionMs),
    );
  }

  #isDone(metas: readonly BlockMeta[], block: BlockMeta, resolutionMs: number): boolean {
    return (
      this.#empty.has(`${block.blockId}/${resolutionMs}`) ||
      this.#deps.resolutions.hasAggregates(metas, block, resolutionMs)
    );
  }

  #plan(tenant: string): Downsampling | undefined {
    const { catalog, clock, policy, tombstones } = this.#deps;
    const { downsampling } = policy();
    if (downsampling.length === 0) return undefined;
    const metas = catalog.list(tenant);
    const isResting = clock.monotonicMs() < this.#restUntilMs;
    const isLeft = (meta: BlockMeta) => isResting && catalog.isEvicted(meta);
    const blocks = metas.map((meta): CandidateBlock => {
      const isDeleting = tombstones.of(tenant, meta.blockId).length > 0;
      return { meta, bytes: bytesOf(meta), arrivedMs: LONG_AGO_MS, deletes: isDeleting ? 'young' : 'none' };
    });
    const isDone = (block: BlockMeta, resolutionMs: number) =>
      isLeft(block) || this.#isDone(metas, block, resolutionMs);
    return planDownsampling(blocks, downsampling, clock.nowMs(), this.#options.retentionMs, isDone);
  }

  async #downsample({ block, resolutionMs }: Downsampling, signal: AbortSignal): Promise<boolean> {
    const { catalog, clock, logger, metrics, budget } = this.#deps;
    const { tenant, blockId } = block;
    const resolution = String(resolutionMs / 1000);
    const startedMs = clock.monotonicMs();
    const giveBack = await budget.reserve(bytesOf(block), `aggregates of block ${blockId}`);
    const lease = catalog.tryLease(tenant, blockId);
    try {
      if (lease === undefined) return false;
      const made = await this.#rewrite(lease, resolutionMs, signal);
      const elapsedMs = Math.round(clock.monotonicMs() - startedMs);
      const about = { tenant, source: blockId, resolutionMs, elapsedMs };
      metrics.runs.inc({ resolution, result: made === undefined ? 'void' : 'done' });
      if (made === undefined) {
        logger.info(about, 'nothing was aggregated');
        return this.#empty.has(`${blockId}/${resolutionMs}`);
      }
      metrics.inputBytes.inc({ resolution }, bytesOf(block));
      metrics.outputBytes.inc({ resolution }, bytesOf(made));
      logger.info({ ...about, blockId: made.blockId, bytes: bytesOf(made) }, 'block aggregated');
      return true;
    } catch (caught) {
      metrics.runs.inc({ resolution, result: 'failed' });
      if (!(caught instanceof CorruptSourceError)) throw caught;
      logger.error({ tenant, blockId, err: caught }, 'aggregation met a corrupt block');
      await lease?.examine(caught.damage);
      return false;
    } finally {
      giveBack();
      await lease?.release();
    }
  }

  /** Undefined when there is nothing to aggregate, or the block left or was deleted from meanwhile. */
  async #rewrite(
    lease: BlockLease,
    resolutionMs: number,
    signal: AbortSignal,
  ): Promise<BlockMeta | undefined> {
    const { folders, disk, clock } = this.#deps;
    const dir = folders.newTransit('downsample');
    const pacer = new ThrottledPacer(this.#options.compactionShare, clock, signal);
    try {
      await disk.makeFolder(dir);
      const meta = await this.#make(dir, lease, resolutionMs, pacer, signal);
      if (meta === undefined) {
        this.#empty.add(`${lease.meta.blockId}/${resolutionMs}`);
        return undefined;
      }
      await verify(dir, meta, pacer);
      await disk.syncFolder(dir);
      return (await this.#publish(dir, meta, lease.meta)) ? meta : undefined;
    } finally {
      await disk.remove(dir);
    }
  }

  async #make(
    dir: string,
    lease: BlockLease,
    resolutionMs: number,
    pacer: WorkPacer,
    signal: AbortSignal,
  ): Promise<BlockMeta | undefined> {
    const cache = new PageCache({ bytesMax: CACHE_BYTES });
    const reader = await lease.openAnew(cache, signal);
    try {
      const options = { dir, resolutionMs, hashSeed: this.#options.hashSeed };
      return await downsampleBlock(reader, options, { disk: this.#deps.disk, pacer });
    } finally {
      await reader.close();
    }
  }

  #publish(dir: string, meta: BlockMeta, source: BlockMeta): Promise<boolean> {
    const { catalog, folders, disk, tombstones } = this.#deps;
    const { tenant, blockId } = source;
    return folders.exclusively(async () => {
      if (!catalog.has(tenant, blockId) || tombstones.of(tenant, blockId).length > 0) return false;
      if (catalog.has(tenant, meta.blockId)) return true;
      const target = blockFolder(folders.blocks, tenant, meta.blockId);
      await disk.remove(target);
      await folders.move(dir, target);
      catalog.add(meta, LONG_AGO_MS);
      return true;
    });
  }
}

/** What the samples' retention will rely on is read back first. */
async function verify(dir: string, meta: BlockMeta, pacer: WorkPacer): Promise<void> {
  const reader = await BlockReader.open(dir, { cache: new PageCache({ bytesMax: CACHE_BYTES }) });
  try {
    if (reader.meta.blockId !== meta.blockId)
      throw new AppError('internal', `${dir} holds ${reader.meta.blockId}`);
    await reader.verifyId(pacer);
  } finally {
    await reader.close();
  }
}

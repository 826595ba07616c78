// Compaction on this store, one piece of work at a time: merges blocks, applies deletes. The new block is durable and in its
// place before its sources leave; after a crash at any point the next start finds sources or result, never half of it.
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { blockFolder } from '../../lib/tsdb/block/block-name.ts';
import { BlockReader } from '../../lib/tsdb/block/block-reader.ts';
import { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import type { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import {
  CorruptSourceError,
  leavesOf,
  type MergeResult,
  type MergeSource,
  mergeBlocks,
} from '../../lib/tsdb/compact/merge-blocks.ts';
import { type CandidateBlock, type Compaction, planCompaction } from '../../lib/tsdb/compact/plan.ts';
import { ThrottledPacer } from '../../lib/tsdb/compact/throttled-pacer.ts';
import type { SeriesMask } from '../../lib/tsdb/tombstones/deletion.ts';
import type { Tombstone } from '../../lib/tsdb/tombstones/tombstone-file.ts';
import { type BlockCatalog, type BlockLease, bytesOf } from '../blocks/block-catalog.ts';
import type { BlockFolders } from '../blocks/block-folders.ts';
import type { DiskBudget } from '../blocks/disk-budget.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import { ChunksUnreachableError } from '../eviction/chunk-fetcher.ts';
import type { CompactionMetrics } from '../store-metrics.ts';

export interface CompactorOptions {
  readonly compactionRangesMs: readonly number[];
  readonly compactionSettleMs: number;
  readonly compactionShare: number;
  readonly blockBytesMax: number;
  /** 0: no limit. Merged blocks stay well below, since retention by size takes whole ones away. */
  readonly retentionBytes: number;
  /** How long a delete can be undone before a block is rewritten for it. */
  readonly deleteDelayMs: number;
  readonly hashSeed: number;
  /** Blocks are merged within their group only. */
  readonly groupOf: (meta: BlockMeta) => string;
}

export interface CompactorDeps {
  readonly catalog: BlockCatalog;
  readonly folders: BlockFolders;
  readonly tombstones: Tombstones;
  readonly budget: DiskBudget;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: CompactionMetrics;
  /** Whether a block holds aggregates of samples that are all here. Default: none does. */
  readonly isDerived?: (meta: BlockMeta) => boolean;
}

/** Blocks are read once from front to back: a few pages of each index are enough. */
const CACHE_BYTES_PER_SOURCE = 256 * 1024;
/** Of the retention by size that a merged block may take. */
const RETENTION_SHARE = 8;
/** After chunks could not be fetched, ranges with evicted blocks are left alone for so long: others are not to wait for the bucket. */
const UNREACHABLE_REST_MS = 60_000;

export class Compactor {
  readonly #options: CompactorOptions;
  readonly #deps: CompactorDeps;
  #turn: Promise<unknown> = Promise.resolve();
  /** Until when groups with evicted blocks rest, monotonic. */
  #restUntilMs = Number.NEGATIVE_INFINITY;
  /** Of the merge under way, for the metric. */
  seriesWritten = 0;
  isRunning = false;

  constructor(options: CompactorOptions, deps: CompactorDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Does the most urgent piece of work of any tenant.
   *
   * @returns False when there is none, or it came to nothing: ask again after a while.
   * @throws AppError `unavailable` without room on the disk, or the signal's reason; the error of the disk as it comes.
   */
  runOnce(signal: AbortSignal): Promise<boolean> {
    return this.#exclusively(async () => {
      for (const tenant of this.#deps.catalog.tenants()) {
        const compaction = this.#plan(tenant);
        if (compaction === undefined) continue;
        try {
          if (await this.#compact(tenant, compaction, (tombstone) => this.#isDue(tombstone), signal))
            return true;
        } catch (caught) {
          if (!(caught instanceof ChunksUnreachableError)) throw caught;
          this.#restUntilMs = this.#deps.clock.monotonicMs() + UNREACHABLE_REST_MS;
          this.#deps.logger.warn({ tenant, err: caught }, 'compaction waits for object storage');
          return true;
        }
      }
      return false;
    });
  }

  /**
   * Rewrites all blocks that deletes concern, now.
   *
   * @returns How many blocks were rewritten.
   */
  clean(tenant: string, signal: AbortSignal): Promise<number> {
    return this.#exclusively(async () => {
      const { catalog, tombstones } = this.#deps;
      const concerned = new Set(tombstones.list(tenant).flatMap(({ blocks }) => blocks));
      let cleaned = 0;
      for (const { meta } of catalog.heldOf(tenant)) {
        if (!concerned.has(meta.blockId)) continue;
        const isDone = await this.#compact(tenant, { reason: 'delete', blocks: [meta] }, () => true, signal);
        if (isDone) cleaned++;
      }
      return cleaned;
    });
  }

  /**
   * Rewrites a block without what `mask` hides, beside no delete.
   *
   * @returns False when it came to nothing: the block left, or was deleted from meanwhile.
   */
  expire(meta: BlockMeta, mask: SeriesMask, signal: AbortSignal): Promise<boolean> {
    return this.#exclusively(() =>
      this.#compact(meta.tenant, { reason: 'retention', blocks: [meta] }, () => false, signal, mask),
    );
  }

  /** Resolves when no work is under way. */
  async idle(): Promise<void> {
    await this.#turn;
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(async () => {
      this.isRunning = true;
      try {
        return await work();
      } finally {
        this.isRunning = false;
        this.seriesWritten = 0;
      }
    });
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  #plan(tenant: string): Compaction | undefined {
    const { catalog, clock, tombstones } = this.#deps;
    const { compactionRangesMs, compactionSettleMs, blockBytesMax, retentionBytes } = this.#options;
    const bytesMax =
      retentionBytes > 0 ? Math.min(blockBytesMax, retentionBytes / RETENTION_SHARE) : blockBytesMax;
    const blocks = catalog.heldOf(tenant).map(({ meta, arrivedMs }): CandidateBlock => {
      const deletes = tombstones.of(tenant, meta.blockId);
      const isDue = deletes.some((tombstone) => this.#isDue(tombstone));
      const state = deletes.length === 0 ? 'none' : isDue ? 'due' : 'young';
      return { meta, arrivedMs, bytes: bytesOf(meta), deletes: state };
    });
    const policy = { rangesMs: compactionRangesMs, settleMs: compactionSettleMs, bytesMax };
    let merge: Compaction | undefined;
    const isResting = clock.monotonicMs() < this.#restUntilMs;
    for (const group of Map.groupBy(blocks, ({ meta }) => this.#options.groupOf(meta)).values()) {
      if (isResting && group.some(({ meta }) => catalog.isEvicted(meta))) continue;
      const compaction = planCompaction(group, clock.nowMs(), policy);
      if (compaction?.reason === 'delete') return compaction;
      merge ??= compaction;
    }
    return merge;
  }

  #isDue({ createdAtMs }: Tombstone): boolean {
    return createdAtMs + this.#options.deleteDelayMs <= this.#deps.clock.nowMs();
  }

  /** False when it came to nothing: a source left, was found corrupt, or a delete was undone meanwhile. */
  async #compact(
    tenant: string,
    { reason, blocks }: Compaction,
    isApplied: (tombstone: Tombstone) => boolean,
    signal: AbortSignal,
    mask?: SeriesMask,
  ): Promise<boolean> {
    const { clock, logger, metrics, budget } = this.#deps;
    if (reason === 'delete' && this.#deps.isDerived?.(blocks[0]!) === true) {
      // Aggregates are made anew of what the delete leaves of the samples.
      await this.#deps.catalog.delete(tenant, blocks[0]!.blockId);
      metrics.runs.inc({ reason, result: 'done' });
      return true;
    }
    const startedMs = clock.monotonicMs();
    const inputBytes = blocks.reduce((sum, meta) => sum + bytesOf(meta), 0);
    const about = { tenant, reason, sources: blocks.map(({ blockId }) => blockId), inputBytes };
    logger.info(about, 'compaction begins');
    const giveBack = await budget.reserve(inputBytes, `a compaction of ${blocks.length} blocks`);
    const leases: BlockLease[] = [];
    try {
      for (const { blockId } of blocks) {
        const lease = this.#deps.catalog.tryLease(tenant, blockId);
        if (lease === undefined) return false;
        leases.push(lease);
      }
      const outcome = await this.#rewrite(tenant, leases, isApplied, signal, mask);
      if (outcome === undefined) {
        metrics.runs.inc({ reason, result: 'void' });
        logger.info(about, 'compaction came to nothing: its blocks or deletes changed meanwhile');
        return false;
      }
      const { meta, samplesDropped } = outcome;
      const elapsedMs = Math.round(clock.monotonicMs() - startedMs);
      metrics.runs.inc({ reason, result: 'done' });
      metrics.seconds.observe(elapsedMs / 1000);
      metrics.inputBytes.inc(inputBytes);
      metrics.outputBytes.inc(meta === undefined ? 0 : bytesOf(meta));
      metrics.droppedSamples.inc(samplesDropped);
      logger.info({ ...about, ...describeResult(outcome), elapsedMs }, 'compaction done');
      return true;
    } catch (caught) {
      metrics.runs.inc({ reason, result: 'failed' });
      if (!(caught instanceof CorruptSourceError)) throw caught;
      logger.error({ ...about, err: caught }, 'compaction met a corrupt block');
      await leases.find(({ meta }) => meta.blockId === caught.blockId)?.examine(caught.damage);
      return false;
    } finally {
      giveBack();
      for (const lease of leases) await lease.release();
    }
  }

  /** Writes the new block and puts it in the place of the leased ones. */
  async #rewrite(
    tenant: string,
    leases: readonly BlockLease[],
    isApplied: (tombstone: Tombstone) => boolean,
    signal: AbortSignal,
    mask: SeriesMask | undefined,
  ): Promise<MergeResult | undefined> {
    const { folders, disk, tombstones, clock } = this.#deps;
    const applied = new Map<string, Tombstone>();
    const deletions = leases.map(({ meta }) => {
      const own = tombstones.of(tenant, meta.blockId).filter(isApplied);
      for (const tombstone of own) applied.set(tombstone.id, tombstone);
      return own;
    });
    const dir = folders.newTransit('compact');
    const pacer = new ThrottledPacer(this.#options.compactionShare, clock, signal);
    try {
      await disk.makeFolder(dir);
      const result = await this.#merge(dir, leases, deletions, pacer, signal, mask);
      if (result.meta !== undefined) {
        await this.#verify(dir, result.meta, pacer);
        await disk.syncFolder(dir);
      }
      const metas = leases.map(({ meta }) => meta);
      return (await this.#publish(dir, result.meta, metas, applied)) ? result : undefined;
    } finally {
      await disk.remove(dir);
    }
  }

  /** Sources are opened anew, with a cache of their own: a walk over all of them must not push out what queries use. */
  async #merge(
    dir: string,
    leases: readonly BlockLease[],
    deletions: readonly (readonly Tombstone[])[],
    pacer: WorkPacer,
    signal: AbortSignal,
    mask: SeriesMask | undefined,
  ): Promise<MergeResult> {
    const { disk } = this.#deps;
    const cache = new PageCache({ bytesMax: CACHE_BYTES_PER_SOURCE * leases.length });
    const sources: MergeSource[] = [];
    try {
      for (const [i, lease] of leases.entries()) {
        const reader = await lease.openAnew(cache, signal);
        sources.push({ reader, deletions: deletions[i]!, ...(mask === undefined ? {} : { mask }) });
      }
      const onProgress = (series: number) => {
        this.seriesWritten = series;
      };
      const options = { dir, hashSeed: this.#options.hashSeed };
      return await mergeBlocks(sources, options, { disk, pacer, onProgress });
    } finally {
      for (const { reader } of sources) await reader.close();
    }
  }

  /** Sources go for good: what takes their place is read back first. */
  async #verify(dir: string, meta: BlockMeta, pacer: WorkPacer): Promise<void> {
    const reader = await BlockReader.open(dir, {
      cache: new PageCache({ bytesMax: CACHE_BYTES_PER_SOURCE }),
    });
    try {
      if (reader.meta.blockId !== meta.blockId)
        throw new AppError('internal', `${dir} holds ${reader.meta.blockId}`);
      await reader.verifyId(pacer);
    } finally {
      await reader.close();
    }
  }

  async #publish(
    dir: string,
    meta: BlockMeta | undefined,
    sources: readonly BlockMeta[],
    applied: ReadonlyMap<string, Tombstone>,
  ): Promise<boolean> {
    const { catalog, folders, disk, tombstones } = this.#deps;
    const { tenant } = sources[0]!;
    const endSources = await folders.exclusively(async () => {
      const isStillThere = ({ blockId }: BlockMeta) => catalog.has(tenant, blockId);
      const pending = new Set(tombstones.list(tenant).map(({ id }) => id));
      if (!sources.every(isStillThere) || [...applied.keys()].some((id) => !pending.has(id)))
        return undefined;
      // A delete that came meanwhile concerns all sources or it would hide samples of others in the new block.
      const blockIds = sources.map(({ blockId }) => blockId);
      const isMixed = tombstones.list(tenant).some(({ id, blocks }) => {
        if (applied.has(id)) return false;
        const concerned = blockIds.filter((blockId) => blocks.includes(blockId)).length;
        return concerned > 0 && concerned < blockIds.length;
      });
      if (isMixed) return undefined;
      // The content may be that of a source, which then stays: others held nothing else, or a delete found nothing.
      const isKept = meta !== undefined && blockIds.includes(meta.blockId);
      if (meta !== undefined && !isKept && catalog.has(tenant, meta.blockId)) {
        // Another block holds just that, like one that a replica sealed after the delete: it stands for these sources as well from now on. What
        // hides samples of theirs does not hide that block's, whose samples were written afterwards, or are visible in it anyway.
        await catalog.adopt(tenant, meta.blockId, meta.sources);
        return catalog.replace(undefined, sources);
      }
      await tombstones.settle({
        tenant,
        sources: blockIds,
        // Also what a merged one was merged from: that is what other stores, and the bucket, may still have.
        erased: sources.flatMap((source) =>
          [...new Set([source.blockId, ...leavesOf(source)])].map((blockId) => ({
            ...{ blockId, maxTimeMs: source.maxTimeMs },
          })),
        ),
        resultId: meta?.blockId,
        applied: new Set(applied.keys()),
      });
      if (isKept) {
        const others = sources.filter(({ blockId }) => blockId !== meta.blockId);
        await catalog.adopt(tenant, meta.blockId, meta.sources);
        return catalog.replace(undefined, others);
      }
      if (meta !== undefined) {
        const target = blockFolder(folders.blocks, tenant, meta.blockId);
        await disk.remove(target);
        await folders.move(dir, target);
      }
      return catalog.replace(meta, sources);
    });
    if (endSources === undefined) return false;
    await endSources();
    return true;
  }
}

function describeResult({ meta, chunksPassed, chunksDecoded, samplesDropped }: MergeResult) {
  if (meta === undefined) return { samplesDropped, result: 'nothing is left' };
  const { blockId, level, seriesCount, sampleCount } = meta;
  return {
    blockId,
    level,
    series: seriesCount,
    samples: sampleCount,
    bytes: bytesOf(meta),
    chunksPassed,
    chunksDecoded,
    samplesDropped,
  };
}

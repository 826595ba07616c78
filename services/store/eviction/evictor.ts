// Makes this disk the cache of object storage: what is past the local age may leave it once it is verified there, and does, least recently used first,
// while blocks and fetched segments together take more than the cache may. Nothing is remembered but what is on the disk.
import type { Clock } from '../../lib/core/clock.ts';
import { toAppError } from '../../lib/core/errors.ts';
import type { BlockBucket } from '../../lib/objstore/block-bucket.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { leavesOf } from '../../lib/tsdb/compact/merge-blocks.ts';
import type { BlockCatalog, ResidentBlock } from '../blocks/block-catalog.ts';
import type { BucketContents } from '../bucket/bucket-contents.ts';
import { lookForever } from '../replication/look-forever.ts';
import type { EvictionMetrics } from './eviction-metrics.ts';
import type { SegmentCache } from './segment-cache.ts';

export interface EvictorOptions {
  /** Blocks whose newest sample is older may leave, milliseconds; 0: none does. */
  readonly localAgeMs: number;
  /** Bytes on this disk of chunks that may leave, and of what was fetched of those that did. */
  readonly cacheBytesMax: number;
  /** Between two looks. */
  readonly intervalMs: number;
}

export interface EvictorDeps {
  readonly catalog: BlockCatalog;
  readonly cache: SegmentCache;
  readonly bucket: BlockBucket;
  readonly contents: BucketContents;
  /** Why what is known of the bucket is not to be relied on; undefined when it is. */
  readonly obstacle: () => string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: EvictionMetrics;
}

/** Kept free for segments to come: else blocks that nobody reads would keep those out that somebody does. */
const HEADROOM_SHARE = 1 / 16;
const HEADROOM_BYTES_MIN = 1 << 20;
/** Of one look; then others have their turn. */
const EVICTIONS_PER_LOOK = 64;

export class Evictor {
  readonly #options: EvictorOptions;
  readonly #deps: EvictorDeps;
  #merged: MergedBlocks | undefined;

  constructor(options: EvictorOptions, deps: EvictorDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Whether a block is old enough to leave. */
  isAged({ maxTimeMs }: Pick<BlockMeta, 'maxTimeMs'>): boolean {
    const { localAgeMs } = this.#options;
    return localAgeMs > 0 && maxTimeMs < this.#deps.clock.nowMs() - localAgeMs;
  }

  /**
   * The form in which a block may be taken from the bucket without its chunks: it is old enough, verified there, and no block that takes its
   * place is there. Undefined when it is to be taken whole.
   */
  async takenWithoutChunks(
    key: { readonly tenant: string; readonly blockId: string; readonly maxTimeMs: number },
    signal: AbortSignal,
  ): Promise<BlockMeta | undefined> {
    const { bucket, catalog, contents } = this.#deps;
    // One that was damaged is looked at whole: it must not come back as it was.
    if (!this.isAged(key) || catalog.isQuarantined(key.tenant, key.blockId)) return undefined;
    const meta = contents.find(key);
    if (meta === undefined || this.#replacementOf(meta) !== undefined) return undefined;
    return (await bucket.faultOf(meta, signal)) === undefined ? meta : undefined;
  }

  /**
   * Blocks of the bucket that took the place there of evicted ones of this store, and that it does not have: to be taken before those go.
   */
  replacements(): BlockMeta[] {
    const { catalog } = this.#deps;
    const found = new Map<string, BlockMeta>();
    for (const { meta, isEvicted } of catalog.residents()) {
      if (!isEvicted) continue;
      const other = this.#replacementOf(meta);
      if (other !== undefined && !catalog.has(other.tenant, other.blockId)) found.set(other.blockId, other);
    }
    return [...found.values()];
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#deps;
    if (this.#options.localAgeMs <= 0) return;
    await lookForever(
      {
        look: (own) => this.runOnce(own),
        restMs: () => this.#options.intervalMs,
        onFailure: (error, isNews) => {
          if (isNews) logger.error({ err: error }, 'blocks could not leave this disk; it is tried again');
        },
      },
      clock,
      signal,
    );
  }

  /**
   * One look, and what has to go.
   *
   * @returns Whether more has to go.
   */
  async runOnce(signal: AbortSignal): Promise<boolean> {
    const { cache, catalog } = this.#deps;
    const { cacheBytesMax } = this.#options;
    const headroom = Math.max(HEADROOM_BYTES_MIN, cacheBytesMax * HEADROOM_SHARE);
    const target = Math.max(0, Math.floor(cacheBytesMax - headroom));
    const whole = catalog.residents().filter(({ meta, isEvicted }) => !isEvicted && this.isAged(meta));
    let wholeBytes = whole.reduce((sum, { meta }) => sum + chunksOf(meta), 0);
    // Bytes that cannot leave are not the cache's to give.
    const share = () => cache.limitTo(Math.max(0, cacheBytesMax - wholeBytes));
    share();
    whole.sort((a, b) => a.usedAtMs - b.usedAtMs || a.meta.maxTimeMs - b.meta.maxTimeMs);
    let evicted = 0;
    for (const block of whole) {
      if (evicted >= EVICTIONS_PER_LOOK) return true;
      if (wholeBytes + cache.bytes <= target || signal.aborted) return false;
      // What was fetched and used longer ago goes first.
      if (cache.oldestUseMs !== undefined && cache.oldestUseMs < block.usedAtMs) {
        await this.#shrinkCacheBefore(block.usedAtMs, Math.max(0, target - wholeBytes));
        if (wholeBytes + cache.bytes <= target) return false;
      }
      if (!(await this.#evict(block, signal))) continue;
      evicted++;
      wholeBytes -= chunksOf(block.meta);
      share();
    }
    await cache.shrinkTo(Math.max(0, cacheBytesMax - wholeBytes));
    return false;
  }

  async #shrinkCacheBefore(usedAtMs: number, bytes: number): Promise<void> {
    const { cache } = this.#deps;
    while (cache.bytes > bytes && cache.oldestUseMs !== undefined && cache.oldestUseMs < usedAtMs)
      await cache.shrinkTo(cache.bytes - 1);
  }

  /** False when it has to stay: it is read just now, or the bucket does not have it as it should. */
  async #evict({ meta }: ResidentBlock, signal: AbortSignal): Promise<boolean> {
    const { bucket, catalog, contents, logger, metrics, obstacle } = this.#deps;
    const { tenant, blockId } = meta;
    const there = contents.find(meta);
    if (obstacle() !== undefined || there === undefined || !hasSameFiles(meta, there)) return false;
    if (this.#replacementOf(meta) !== undefined) return false;
    let fault: string | undefined;
    try {
      fault = await bucket.faultOf(there, signal);
    } catch (caught) {
      fault = toAppError(caught).message;
    }
    if (fault !== undefined) {
      metrics.refused.inc();
      logger.warn(
        { tenant, blockId, fault },
        'block stays on this disk: object storage does not have it whole',
      );
      return false;
    }
    const bytes = chunksOf(meta);
    if (!(await catalog.evict(tenant, blockId, bucket.name))) return false;
    metrics.evictions.inc({ kind: 'block' });
    metrics.evictedBytes.inc({ kind: 'block' }, bytes);
    logger.info({ tenant, blockId, bytes }, 'chunks of the block left this disk: object storage has them');
    return true;
  }

  /** A block of the bucket that was merged or rewritten from all that is in `meta`: that one goes from there after a grace. */
  #replacementOf(meta: BlockMeta): BlockMeta | undefined {
    const leaves = leavesOf(meta);
    return this.#mergedBlocks()
      .get(`${meta.tenant}/${leaves[0]}`)
      ?.find(
        (other) =>
          other.blockId !== meta.blockId &&
          other.resolutionMs === meta.resolutionMs &&
          other.level > meta.level &&
          leaves.every((leaf) => other.sources.includes(leaf)),
      );
  }

  /** Built anew when what is known of the bucket has changed. */
  #mergedBlocks(): MergedBlocks['byLeaf'] {
    const { contents } = this.#deps;
    const { version } = contents;
    if (this.#merged?.version === version) return this.#merged.byLeaf;
    const byLeaf = new Map<string, BlockMeta[]>();
    for (const meta of contents.list()) {
      for (const source of meta.sources) {
        const leaf = `${meta.tenant}/${source}`;
        const known = byLeaf.get(leaf);
        if (known === undefined) byLeaf.set(leaf, [meta]);
        else known.push(meta);
      }
    }
    this.#merged = { version, byLeaf };
    return byLeaf;
  }
}

/** Blocks of the bucket that were merged or rewritten, by `<tenant>/<sealed block>` in them. */
interface MergedBlocks {
  readonly version: number;
  readonly byLeaf: ReadonlyMap<string, readonly BlockMeta[]>;
}

const chunksOf = ({ files }: BlockMeta): number => files.chunks.sizeBytes;

/** The same samples may stand in other bytes, by another version of zstd: what is here of the index must fit the chunks there. */
function hasSameFiles(meta: BlockMeta, there: BlockMeta): boolean {
  const digest = ({ files: { index, chunks } }: BlockMeta) =>
    [index.sizeBytes, index.crc32 >>> 0, chunks.sizeBytes, chunks.crc32 >>> 0].join();
  return digest(meta) === digest(there);
}

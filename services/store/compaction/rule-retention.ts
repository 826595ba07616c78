// Retention by matcher: takes series out of blocks that are older than the rule that matches them allows, samples and aggregates alike.
// A block is looked at when it outlives a rule's time, and rewritten, as a compaction of one block, only if such a series is in it.
import type { Clock } from '../../lib/core/clock.ts';
import type { StoragePolicy } from '../../lib/runtime/config/storage-policy.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { ThrottledPacer } from '../../lib/tsdb/compact/throttled-pacer.ts';
import type { BlockCatalog } from '../blocks/block-catalog.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import type { StoreMetrics } from '../store-metrics.ts';
import type { Compactor } from './compactor.ts';
import { RetentionMask, rulesOutlived } from './retention-mask.ts';

export interface RuleRetentionDeps {
  readonly catalog: BlockCatalog;
  readonly compactor: Compactor;
  readonly tombstones: Tombstones;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Pick<StoreMetrics, 'deleted' | 'expiredSeries'>;
  /** What the configuration file says now. */
  readonly policy: () => StoragePolicy;
  /** Told of a block before it goes. */
  readonly onExpired: (meta: BlockMeta) => void;
}

/** Series looked at in one unit of the pacer. */
const SERIES_PER_UNIT = 0.5;

export class RuleRetention {
  readonly #deps: RuleRetentionDeps;
  readonly #share: number;
  /** Rules that a block had outlived when it was looked at last, by `<tenant>/<id>`. Of other rules they mean nothing. */
  #looked = new Map<string, number>();
  #rules: StoragePolicy['retention'] = [];

  constructor(options: { readonly compactionShare: number }, deps: RuleRetentionDeps) {
    this.#deps = deps;
    this.#share = options.compactionShare;
  }

  /**
   * Looks at one block, and takes out of it what has to go.
   *
   * @returns False when there is none to look at: ask again after a while.
   * @throws The signal's reason; the error of the disk as it comes.
   */
  async runOnce(signal: AbortSignal): Promise<boolean> {
    const { catalog, clock, policy, tombstones } = this.#deps;
    const { retention } = policy();
    if (retention !== this.#rules) {
      this.#rules = retention;
      this.#looked.clear();
    }
    if (retention.length === 0) return false;
    const metas = catalog.list();
    this.#forget(metas);
    for (const meta of metas) {
      const outlived = rulesOutlived(retention, clock.nowMs() - meta.maxTimeMs);
      if (outlived <= (this.#looked.get(keyOf(meta)) ?? 0)) continue;
      // A delete that may be undone, or is about to be applied, comes first.
      if (tombstones.of(meta.tenant, meta.blockId).length > 0) continue;
      await this.#apply(meta, signal);
      this.#looked.set(keyOf(meta), outlived);
      return true;
    }
    return false;
  }

  async #apply(meta: BlockMeta, signal: AbortSignal): Promise<void> {
    const { catalog, clock, compactor, logger, metrics } = this.#deps;
    const mask = new RetentionMask(this.#rules, clock.nowMs() - meta.maxTimeMs);
    const over = await this.#count(meta, mask, signal);
    if (over === 0) return;
    const { tenant, blockId } = meta;
    if (over === meta.seriesCount) {
      this.#deps.onExpired(meta);
      await catalog.delete(tenant, blockId);
      metrics.deleted.inc({ reason: 'rule' });
    } else if (!(await compactor.expire(meta, mask, signal))) return;
    metrics.expiredSeries.inc(over);
    logger.info({ tenant, blockId, series: over, of: meta.seriesCount }, 'retention rules took series away');
  }

  /** Series of the block that have to go. */
  async #count(meta: BlockMeta, mask: RetentionMask, signal: AbortSignal): Promise<number> {
    const lease = this.#deps.catalog.tryLease(meta.tenant, meta.blockId);
    if (lease === undefined) return 0;
    const pacer = new ThrottledPacer(this.#share, this.#deps.clock, signal);
    try {
      const cursor = (await lease.reader()).openCursor();
      let over = 0;
      while (cursor.advance()) {
        if (mask.isOver(cursor.labelBytes, 0, cursor.labelLength)) over++;
        if (pacer.spend(SERIES_PER_UNIT)) await pacer.pause();
      }
      return over;
    } catch (caught) {
      throw await lease.examine(caught);
    } finally {
      await lease.release();
    }
  }

  #forget(metas: readonly BlockMeta[]): void {
    if (this.#looked.size <= metas.length) return;
    const here = new Set(metas.map(keyOf));
    for (const key of this.#looked.keys()) if (!here.has(key)) this.#looked.delete(key);
  }
}

function keyOf({ tenant, blockId }: BlockMeta): string {
  return `${tenant}/${blockId}`;
}

// Keeps the bucket what it should be: lists it now and then, uploads the blocks that this store is to keep there, and has what others took the place of
// removed (bucket-remover.ts). Nothing is remembered but what is in the bucket and on the disk.
import path from 'node:path';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { BlockBucket } from '../../lib/objstore/block-bucket.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { BLOCK_FILE_NAMES, type BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { corruptBlock } from '../../lib/tsdb/block/page-codec.ts';
import type { BlockMove, BlockName } from '../../lib/wire/contracts.ts';
import { type BlockCatalog, type BlockLease, bytesOf } from '../blocks/block-catalog.ts';
import { fileCrc } from '../blocks/file-crc.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import type { ByteRate } from '../replication/byte-rate.ts';
import type { HeldLeaves } from '../replication/held-leaves.ts';
import type { InventoryBlock } from '../replication/inventory-block.ts';
import { lookForever } from '../replication/look-forever.ts';
import type { StoreView } from '../replication/store-view.ts';
import type { BucketContents } from './bucket-contents.ts';
import type { BucketMetrics } from './bucket-metrics.ts';
import { type BucketPlan, planBucket } from './bucket-plan.ts';
import { BucketRemover, type BucketRemoverOptions } from './bucket-remover.ts';
import type { RemovalTurns } from './removal-turns.ts';

export interface BucketKeeperOptions extends BucketRemoverOptions {
  readonly instance: string;
  /** Name of the cluster: a bucket with another's blocks is left alone. */
  readonly cluster: string;
  /** Between two looks while there is nothing to do. */
  readonly intervalMs: number;
  /** Between two listings. */
  readonly listIntervalMs: number;
}

export interface BucketKeeperDeps {
  readonly bucket: BlockBucket;
  readonly contents: BucketContents;
  readonly catalog: BlockCatalog;
  readonly disk: Disk;
  readonly tombstones: Tombstones;
  readonly leaves: HeldLeaves;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: BucketMetrics;
  readonly uploadRate: ByteRate;
  readonly look: () => StoreView | undefined;
  /** When this store may remove. */
  readonly turns: RemovalTurns;
  readonly isExpired: (block: InventoryBlock) => boolean;
  readonly erased: () => readonly BlockName[];
  /** Of a block: another store said when it was last asked that it holds it. */
  readonly isHeldByAnother: (block: BlockName) => boolean;
  /** `<tenant>/<block id>` of blocks that were found damaged in the bucket; taken out of it once they were brought there anew. */
  readonly damaged: Set<string>;
}

/** Of one look; then it is looked anew, since blocks come and go. */
const UPLOADS_PER_LOOK = 16;
/** Small blocks wait for answers, large ones for the network; three parts of a large one are in memory at a time. */
const UPLOADS_AT_ONCE = 2;
/** Whose the bucket is, is read again before a listing after so long: of two clusters that began at once one finds the other's word then. */
const CLAIM_INTERVAL_MS = 60_000;

/** The object with deletes beside a block. */
interface KnownDeletes {
  readonly of: BlockName;
  /** As the last listing had it: another one is to be read. */
  readonly tag: string | undefined;
  readonly ids: string;
}

/** What the keeper last saw and does now. */
export interface BucketState {
  readonly name: string;
  readonly blocks: number;
  readonly pendingBlocks: number;
  readonly pendingBytes: number;
  /** The one that was begun first. */
  readonly upload: BlockMove | undefined;
  /** Empty: all is well. */
  readonly obstacle: string;
}

export class BucketKeeper {
  readonly #options: BucketKeeperOptions;
  readonly #deps: BucketKeeperDeps;
  readonly #remover: BucketRemover;
  /** What was last written or read beside a block, by name. */
  readonly #deletesKnown = new Map<string, KnownDeletes>();
  #uploads: readonly BlockMeta[] = [];
  readonly #moves = new Set<BlockMove>();
  #obstacle = 'not listed yet';
  /** When the bucket was last seen to be this cluster's, monotonic. */
  #claimedAtMs = Number.NEGATIVE_INFINITY;
  #isListFailed = false;

  constructor(options: BucketKeeperOptions, deps: BucketKeeperDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#remover = new BucketRemover(options, { ...deps, planAnew: (signal) => this.#planAnew(signal) });
  }

  get state(): BucketState {
    const { contents, damaged } = this.#deps;
    const isPending = (meta: BlockMeta) => contents.find(meta) === undefined || damaged.has(nameOf(meta));
    const pending = this.#uploads.filter(isPending);
    return {
      name: this.#deps.bucket.name,
      blocks: this.#deps.contents.size,
      pendingBlocks: pending.length,
      pendingBytes: pending.reduce((sum, meta) => sum + bytesOf(meta), 0),
      upload: this.#moves.values().next().value,
      obstacle: this.#obstacle,
    };
  }

  /** Why what is known of the bucket is not to be relied on; undefined when it is. */
  obstacleToReading(): string | undefined {
    return this.#isListFailed || this.#deps.contents.listedAtMs === undefined ? this.#obstacle : undefined;
  }

  /** Lists the bucket until that succeeds: for a store that has nothing else to know its blocks from. */
  async awaitListing(signal: AbortSignal): Promise<void> {
    const { clock, contents, logger } = this.#deps;
    let lastFailure = '';
    while (contents.listedAtMs === undefined && !signal.aborted) {
      const error = await this.#tryList(signal);
      if (error === undefined) return;
      if (error.message !== lastFailure)
        logger.warn(
          { err: error },
          'this disk is empty, and object storage cannot be listed: waiting for it',
        );
      lastFailure = error.message;
      await clock.sleep(this.#options.intervalMs, signal).catch(() => undefined);
    }
  }

  /** Runs until the signal aborts. */
  run(signal: AbortSignal): Promise<void> {
    const { clock, logger, metrics } = this.#deps;
    return lookForever(
      {
        look: (own) => this.runOnce(own),
        restMs: () => this.#options.intervalMs,
        onFailure: (error, isNews) => {
          this.#obstacle = error.message;
          metrics.failures.inc();
          if (isNews) logger.error({ err: error }, 'object storage: it is tried again');
        },
      },
      clock,
      signal,
    );
  }

  /**
   * One look, and what it calls for.
   *
   * @returns Whether more is to be done: look again at once.
   */
  async runOnce(signal: AbortSignal): Promise<boolean> {
    const { clock, contents, look } = this.#deps;
    const listedAtMs = contents.listedAtMs ?? Number.NEGATIVE_INFINITY;
    if (clock.monotonicMs() - listedAtMs >= this.#options.listIntervalMs || this.#isListFailed) {
      const error = await this.#tryList(signal);
      if (error !== undefined) throw error;
    }
    const view = look();
    if (view === undefined) return false;
    const plan = this.#plan(view);
    this.#uploads = plan.uploads;
    this.#obstacle = await this.#putAll(plan.uploads.slice(0, UPLOADS_PER_LOOK), signal);
    for (const meta of plan.outdated) await this.#putMeta(meta, signal);
    for (const meta of plan.shared) await this.#putDeletes(meta, signal);
    const keepsLeftovers = [...view.live].sort()[0] === this.#options.instance;
    await this.#remover.runOnce(plan, keepsLeftovers, signal);
    return plan.uploads.length > UPLOADS_PER_LOOK && this.#obstacle === '';
  }

  async #tryList(signal: AbortSignal): Promise<AppError | undefined> {
    const { bucket, clock, contents, metrics } = this.#deps;
    try {
      const nowMs = clock.monotonicMs();
      if (nowMs - this.#claimedAtMs >= CLAIM_INTERVAL_MS) {
        await bucket.claim(this.#options.cluster, signal);
        this.#claimedAtMs = nowMs;
      }
      await contents.refresh(clock.monotonicMs(), signal);
      this.#isListFailed = false;
      this.#obstacle = '';
      for (const [name, { of }] of this.#deletesKnown)
        if (contents.find(of) === undefined) this.#deletesKnown.delete(name);
      metrics.listed();
      return undefined;
    } catch (caught) {
      const error = toAppError(caught);
      this.#isListFailed = true;
      this.#obstacle = error.message;
      return error;
    }
  }

  /** By a listing of this moment, and who is there now. */
  async #planAnew(signal: AbortSignal): Promise<BucketPlan> {
    const error = await this.#tryList(signal);
    if (error !== undefined) throw error;
    const view = this.#deps.look();
    return view === undefined ? NOTHING : this.#plan(view);
  }

  #plan({ placement, live }: StoreView): BucketPlan {
    const { catalog, contents, erased, isExpired, isHeldByAnother, leaves } = this.#deps;
    return planBucket({
      instance: this.#options.instance,
      own: catalog.list(),
      inBucket: contents.list(),
      ...{ placement, live, isExpired, isHeldByAnother },
      isEvicted: (meta) => catalog.isEvicted(meta),
      isDamagedThere: (meta) => this.#deps.damaged.has(nameOf(meta)),
      holds: (leaf) => leaves.has(leaf),
      isSettled: (leaf) => leaves.isSettled(leaf),
      erased: new Set(erased().map(nameOf)),
    });
  }

  /** A block that cannot be brought there does not hold up the others; a bucket that cannot be reached does. Returns what stood in the way. */
  async #putAll(uploads: readonly BlockMeta[], signal: AbortSignal): Promise<string> {
    let obstacle = '';
    const queue = [...uploads];
    const work = async (): Promise<void> => {
      for (let meta = queue.shift(); meta !== undefined; meta = queue.shift()) {
        try {
          await this.#put(meta, signal);
        } catch (caught) {
          const error = toAppError(caught);
          if (signal.aborted || error.code !== 'internal') {
            queue.length = 0;
            throw error;
          }
          obstacle = error.message;
          const { tenant, blockId } = meta;
          this.#deps.logger.error(
            { tenant, blockId, err: error },
            'block could not be brought to object storage',
          );
        }
      }
    };
    const ended = await Promise.allSettled(Array.from({ length: UPLOADS_AT_ONCE }, work));
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw toAppError(failed.reason);
    return obstacle;
  }

  async #put(planned: BlockMeta, signal: AbortSignal): Promise<void> {
    const { bucket, catalog, clock, contents, logger, metrics, tombstones } = this.#deps;
    const { tenant, blockId } = planned;
    const lease = catalog.tryLease(tenant, blockId);
    // Merged or deleted meanwhile.
    if (lease === undefined) return;
    if (lease.isEvicted) {
      await lease.release();
      return;
    }
    const { meta, dir } = lease;
    const startedMs = clock.monotonicMs();
    const move: BlockMove = {
      tenant,
      blockId,
      from: this.#options.instance,
      doneBytes: 0,
      totalBytes: bytesOf(meta),
    };
    this.#moves.add(move);
    try {
      const deletes = tombstones.of(tenant, blockId);
      const onProgress = (done: number): Promise<void> => {
        const sent = Math.max(0, done - move.doneBytes);
        move.doneBytes = Math.max(done, move.doneBytes);
        return this.#deps.uploadRate.take(sent, signal);
      };
      await bucket.putBlock(meta, dir, deletes, onProgress, signal);
      contents.add(meta);
      this.#deps.damaged.delete(nameOf(meta));
      this.#deletesKnown.set(nameOf(meta), { of: meta, tag: contents.deletesTag(meta), ids: idsOf(deletes) });
      metrics.uploads.inc({ result: 'done' });
      const elapsedMs = Math.round(clock.monotonicMs() - startedMs);
      logger.info(
        { tenant, blockId, bytes: move.totalBytes, elapsedMs },
        'block is in object storage, verified',
      );
    } catch (caught) {
      if (!signal.aborted) metrics.uploads.inc({ result: 'failed' });
      const error = toAppError(caught);
      if (signal.aborted || error.code !== 'internal' || (await this.#isSetAside(lease))) throw caught;
      throw new AppError('unavailable', error.message, { cause: caught });
    } finally {
      this.#moves.delete(move);
      await lease.release();
    }
  }

  /** What arrived was not what the block says: where the copy on this disk is to blame, it is replaced from another store. */
  async #isSetAside(lease: BlockLease): Promise<boolean> {
    const { meta, dir } = lease;
    for (const name of BLOCK_FILE_NAMES) {
      const file = path.join(dir, name);
      if ((await fileCrc(file, this.#deps.disk)) === meta.files[name].crc32 >>> 0) continue;
      await lease.examine(corruptBlock(file, 'its CRC is not the one that it was written with'));
      return true;
    }
    return false;
  }

  async #putMeta(meta: BlockMeta, signal: AbortSignal): Promise<void> {
    const { bucket, contents } = this.#deps;
    const there = contents.find(meta);
    if (there === undefined) return;
    // The files there may be another store's, compressed otherwise.
    const { sources, level } = meta;
    const next = { ...there, sources, level };
    await bucket.putMeta(next, signal);
    contents.add(next);
  }

  /**
   * Makes the object with deletes say what is hidden here. One that another store wrote, however late, is read and replaced: nothing in a bucket keeps
   * a store that was stopped from writing what it meant to.
   */
  async #putDeletes(meta: BlockMeta, signal: AbortSignal): Promise<void> {
    const { bucket, catalog, contents, tombstones } = this.#deps;
    // Rewritten or merged meanwhile, and forgotten here is what hides samples of it. There it hides them until the block is removed.
    if (!catalog.has(meta.tenant, meta.blockId)) return;
    const deletes = tombstones.of(meta.tenant, meta.blockId);
    const [name, ids, tag] = [nameOf(meta), idsOf(deletes), contents.deletesTag(meta)];
    const known = this.#deletesKnown.get(name);
    if (known?.tag === tag && (known?.ids ?? '') === ids) return;
    const isAnother = known === undefined || known.tag !== tag;
    const there = isAnother ? idsOf(await bucket.readDeletes(meta, signal)) : known.ids;
    if (there !== ids) await bucket.putDeletes(meta, deletes, signal);
    this.#deletesKnown.set(name, { of: meta, tag, ids });
  }
}

const NOTHING: BucketPlan = { uploads: [], outdated: [], shared: [], expired: [], superseded: [] };

const idsOf = (deletes: readonly { readonly id: string }[]): string =>
  deletes
    .map(({ id }) => id)
    .sort()
    .join();

const nameOf = ({ tenant, blockId }: BlockName): string => `${tenant}/${blockId}`;

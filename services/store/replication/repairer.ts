// Keeps this store's blocks what they should be: looks again and again at who should hold what, copies what is missing here, and
// gives away what belongs elsewhere once it is there. Nothing is remembered but what is on the disk: a look finds it all again.
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { toAppError } from '../../lib/core/errors.ts';
import { withinTime } from '../../lib/core/time-limit.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { BlockMove, BlockName, PendingDelete } from '../../lib/wire/contracts.ts';
import type { BlockCatalog } from '../blocks/block-catalog.ts';
import type { BlockFolders } from '../blocks/block-folders.ts';
import { packIds } from '../blocks/block-ids.ts';
import type { BlocksInTransit } from './blocks-in-transit.ts';
import { type DeleteWitness, witnessOf } from './delete-witnesses.ts';
import type { HeldLeaves } from './held-leaves.ts';
import { fromMeta, type InventoryBlock, leafIdOf } from './inventory-block.ts';
import { lookForever } from './look-forever.ts';
import type { LostDisk } from './lost-disk.ts';
import { PeerInventories } from './peer-inventories.ts';
import type { Promises } from './promises.ts';
import { type PullBlockDeps, pullBlock } from './pull-block.ts';
import { planRepair, type RepairPlan, type SurplusBlock, type WantedBlock } from './repair-plan.ts';
import type { ReplicationMetrics } from './replication-metrics.ts';
import type { StoreView } from './store-view.ts';

export interface RepairerOptions {
  readonly instance: string;
  readonly blockBytesMax: number;
  /** Between two looks while there is nothing to do. */
  readonly intervalMs: number;
  /** How long the owners of a surplus block hold it before it goes: longer than any query that saw it only here. */
  readonly surplusGraceMs: number;
  /** A peer of the view that is no store: a bucket, which keeps copies and owns nothing. */
  readonly bucket?: string | undefined;
}

export interface RepairerDeps extends PullBlockDeps {
  readonly catalog: BlockCatalog;
  readonly folders: BlockFolders;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ReplicationMetrics;
  readonly leaves: HeldLeaves;
  readonly promises: Promises;
  readonly transit: BlocksInTransit;
  readonly look: () => StoreView | undefined;
  readonly isExpired: (block: InventoryBlock) => boolean;
  /** Whether no delete can have been missed here: else nothing is copied. */
  readonly isInOrder: () => boolean;
  /** What this store knows of the deletes of a block, which need not be here. */
  readonly deletesOf: (block: BlockName) => PendingDelete[];
  /** Blocks of which deletes left nothing here. */
  readonly erased: () => readonly BlockName[];
  /** Told when all is here that this store is to have. */
  readonly lostDisk?: Pick<LostDisk, 'reason' | 'restored'> | undefined;
  /** Object storage as the place of chunks; absent without one. */
  readonly eviction?:
    | {
        /** The form in which a block may be taken from there without its chunks; undefined: it is to be taken whole. */
        takenWithoutChunks(block: InventoryBlock, signal: AbortSignal): Promise<BlockMeta | undefined>;
        /** Blocks there that took the place of evicted ones here. */
        replacements(): readonly BlockMeta[];
      }
    | undefined;
  /** Called after a look at which all live stores answered: what to do about stores that are lost. */
  readonly onSettled: (view: StoreView, inventories: PeerInventories, signal: AbortSignal) => Promise<void>;
}

/** Copies at the same time: enough that one slow peer does not hold up the rest. */
const PULLS_AT_ONCE = 2;
/** Of one look; then others are looked at anew, since much may have changed. */
const PULLS_PER_LOOK = 64;
/** A block whose copy failed is left for so many intervals. */
const RETRY_INTERVALS = 3;
const CONFIRM_TIMEOUT_MS = 10_000;
/** Between two tries of the first look, which waits for the placement. */
const FIRST_LOOK_MS = 500;

/** What the repairer last saw and does now, for whoever asks. */
export interface RepairState {
  readonly missing: readonly InventoryBlock[];
  readonly surplus: readonly InventoryBlock[];
  readonly moves: readonly BlockMove[];
  readonly settledWithout: readonly string[];
  readonly obstacle: string;
  /** Of those missing: what no other live store has, only the bucket. Undefined before the first look. */
  readonly onlyInBucket: readonly InventoryBlock[] | undefined;
}

export class Repairer {
  readonly #options: RepairerOptions;
  readonly #deps: RepairerDeps;
  readonly #inventories: PeerInventories;
  readonly #moves = new Map<string, BlockMove>();
  /** Since when the owners of a surplus block hold it. */
  readonly #confirmedSinceMs = new Map<string, number>();
  readonly #failedAtMs = new Map<string, number>();
  /** Since when a block is known to be missing. */
  #missingSinceMs = new Map<string, number>();
  #missing: readonly InventoryBlock[] = [];
  #surplus: readonly InventoryBlock[] = [];
  #onlyInBucket: readonly InventoryBlock[] | undefined;
  #settledWithout: readonly string[] = [];
  #obstacle = 'not looked yet';

  constructor(options: RepairerOptions, deps: RepairerDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#inventories = new PeerInventories({ clock: deps.clock });
  }

  get state(): RepairState {
    return {
      missing: this.#missing.filter(this.#isMissing),
      surplus: this.#surplus,
      moves: [...this.#moves.values()],
      settledWithout: this.#settledWithout,
      obstacle: this.#obstacle,
      onlyInBucket: this.#onlyInBucket?.filter(this.#isMissing),
    };
  }

  /** Whether another store, not the bucket, said when it was last asked that it holds a block. */
  isHeldByAnother(block: BlockName): boolean {
    return this.#holdersOf(block).length > 0;
  }

  /** The stores that said when they were last asked that they hold a block, without the bucket. */
  #holdersOf({ tenant, blockId }: BlockName): string[] {
    const { bucket } = this.#options;
    return [...this.#inventories.entries()].flatMap(([instance, { blocks }]) =>
      instance !== bucket && blocks.has(`${tenant}/${blockId}`) ? [instance] : [],
    );
  }

  readonly #isMissing = ({ leaves }: InventoryBlock): boolean =>
    !leaves.every((leaf) => this.#deps.leaves.isSettled(leaf));

  /** Runs until the signal aborts. */
  run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#deps;
    const { intervalMs } = this.#options;
    return lookForever(
      {
        look: (own) => this.runOnce(own),
        // Before the first look is known what to answer for, after it what to copy.
        restMs: () => (this.#onlyInBucket === undefined ? Math.min(FIRST_LOOK_MS, intervalMs) : intervalMs),
        onFailure: (error, isNews) => {
          this.#obstacle = error.message;
          if (isNews) logger.error({ err: error }, 'repair failed; it is tried again');
        },
      },
      clock,
      signal,
    );
  }

  /**
   * One look, and what it calls for.
   *
   * @returns Whether something was copied or given away: look again at once.
   */
  async runOnce(signal: AbortSignal): Promise<boolean> {
    const view = this.#deps.look();
    if (view === undefined) {
      this.#obstacle = 'this store is not in the placement yet';
      return false;
    }
    const before = this.#deps.catalog.quarantined();
    const { bucket } = this.#options;
    const sources = [
      ...view.known.map(({ instance }) => instance),
      ...(bucket === undefined ? [] : [bucket]),
    ];
    this.#inventories.keepOnly(new Set(sources));
    const failures = await this.#inventories.refresh(view.peers, signal);
    const plan = this.#plan(view);
    this.#missing = plan.wanted.map(({ block }) => block);
    this.#surplus = plan.surplus.map(({ block }) => block);
    const isOnlyThere = ({ from }: WantedBlock) => from.every((instance) => instance === bucket);
    this.#onlyInBucket = plan.wanted.filter(isOnlyThere).map(({ block }) => block);
    const silent = sources.filter(
      (instance) => (instance === bucket || view.live.has(instance)) && !this.#isKnown(instance),
    );
    this.#obstacle = [...failures].map(([instance, why]) => `store ${instance}: ${why}`).join('; ');
    const given = await this.#giveAway(plan.surplus, view, signal);
    await this.#takeReplacements(view, signal);
    if (plan.wanted.length === 0 && silent.length === 0) {
      this.#settledWithout = view.uncounted;
      if (this.#deps.lostDisk?.reason !== undefined && this.#hasAll(view))
        await this.#deps.lostDisk.restored();
      await this.#tidy(before, view);
      await this.#deps.onSettled(view, this.#inventories, signal);
      return given;
    }
    this.#settledWithout = [];
    const pulled = await this.#pullAll(plan.wanted, view, signal);
    return given || pulled;
  }

  #isKnown(instance: string): boolean {
    return instance === this.#options.instance || this.#inventories.of(instance)?.isFresh === true;
  }

  /** Whether all that stores ever said they hold, and this one is to have, is here, and each of them did say. */
  #hasAll(view: StoreView): boolean {
    const others = view.known.filter(({ instance }) => instance !== this.#options.instance);
    const isHeard = others.every(({ instance }) => this.#inventories.of(instance) !== undefined);
    return isHeard && this.#plan(view, others).wanted.length === 0;
  }

  #plan(view: StoreView, sources: readonly { readonly instance: string }[] = view.peers): RepairPlan {
    const { catalog, leaves, isExpired, erased } = this.#deps;
    const peers = new Map(
      sources.flatMap(({ instance }) => {
        const inventory = this.#inventories.of(instance);
        return inventory === undefined ? [] : [[instance, inventory] as const];
      }),
    );
    return planRepair({
      instance: this.#options.instance,
      own: catalog.list().map(fromMeta),
      isSettled: (leaf) => leaves.isSettled(leaf),
      erased: new Set(erased().map(({ tenant, blockId }) => `${tenant}/${blockId}`)),
      ...{ peers, bucket: this.#options.bucket },
      placement: view.placement,
      isExpired,
    });
  }

  /** All that is to be here is here. */
  async #tidy(before: ReturnType<BlockCatalog['quarantined']>, view: StoreView): Promise<void> {
    const { catalog, disk, folders } = this.#deps;
    if ((await disk.list(folders.partial)).length > 0) await disk.remove(folders.partial);
    // Where all copies could be looked at, nothing that a block of unknown content held is missing any more.
    if (view.known.every(({ instance }) => view.live.has(instance)) && view.known.length > 1)
      for (const block of before) if (block.meta === undefined) catalog.settleQuarantined(block);
  }

  async #pullAll(wanted: readonly WantedBlock[], view: StoreView, signal: AbortSignal): Promise<boolean> {
    const { clock } = this.#deps;
    const { bucket, intervalMs } = this.#options;
    const nowMs = clock.monotonicMs();
    const seen = this.#missingSinceMs;
    this.#missingSinceMs = new Map(
      wanted.map(({ block: { blockId } }) => [blockId, seen.get(blockId) ?? nowMs]),
    );
    const isRested = ({ block: { blockId }, from, waits }: WantedBlock) => {
      if (waits) return false;
      const failedAtMs = this.#failedAtMs.get(blockId) ?? Number.NEGATIVE_INFINITY;
      // What is new may be on its way from its ingester; what no store has is not.
      const isSettled =
        from.every((instance) => instance === bucket) ||
        nowMs - this.#missingSinceMs.get(blockId)! >= intervalMs;
      return isSettled && nowMs - failedAtMs >= RETRY_INTERVALS * intervalMs;
    };
    const queue = wanted.filter(isRested).slice(0, PULLS_PER_LOOK);
    let pulled = false;
    const work = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        if (signal.aborted || this.#deps.look()?.placement !== view.placement) return;
        if (await this.#pull(next, view, signal)) pulled = true;
      }
    };
    await Promise.all(Array.from({ length: PULLS_AT_ONCE }, work));
    return pulled;
  }

  /** What took the place of evicted blocks in the bucket is taken before these are gone there. They go here as sources of a merge do. */
  async #takeReplacements(view: StoreView, signal: AbortSignal): Promise<void> {
    const { bucket, instance } = this.#options;
    if (bucket === undefined) return;
    for (const meta of this.#deps.eviction?.replacements() ?? []) {
      const block = fromMeta(meta);
      const failedAtMs = this.#failedAtMs.get(block.blockId) ?? Number.NEGATIVE_INFINITY;
      const isRested =
        this.#deps.clock.monotonicMs() - failedAtMs >= RETRY_INTERVALS * this.#options.intervalMs;
      if (!isRested || !view.placement.ownersOf(block.group).includes(instance)) continue;
      // Those who hold it, too: they may know of deletes that are not beside it in the bucket yet.
      const from = [bucket, ...this.#holdersOf(block)];
      await this.#pull({ block, from, copies: 1, waits: false }, view, signal, true);
    }
  }

  /** Copies a block from the first store that can give it, unless it is here and only stands for less. */
  async #pull(
    { block, from, copies }: WantedBlock,
    view: StoreView,
    signal: AbortSignal,
    isReplacement = false,
  ): Promise<boolean> {
    const { catalog, clock, eviction, folders, leaves, logger, metrics, transit } = this.#deps;
    if (!this.#deps.isInOrder()) return false;
    if (!isReplacement && block.leaves.every((leaf) => leaves.isSettled(leaf))) return false;
    const { tenant, blockId } = block;
    if (catalog.has(tenant, blockId)) {
      await folders.exclusively(() => catalog.adopt(tenant, blockId, block.leaves.map(leafIdOf)));
      return true;
    }
    const startedMs = clock.monotonicMs();
    // Different blocks from different stores, as far as may be.
    const busy = new Set(Array.from(this.#moves.values(), (move) => move.from));
    const { bucket } = this.#options;
    // Stores are nearer than a bucket, and know of a delete first.
    const costOf = (instance: string) => (instance === bucket ? 2 : Number(busy.has(instance)));
    const bare =
      bucket !== undefined && from.includes(bucket)
        ? await eviction?.takenWithoutChunks(block, signal).catch(() => undefined)
        : undefined;
    const withoutChunks = bare === undefined ? undefined : { meta: bare, isReplacement };
    // What may leave this disk at once need not come here.
    const order =
      withoutChunks === undefined ? from.toSorted((a, b) => costOf(a) - costOf(b)) : [bucket ?? ''];
    if (isReplacement && withoutChunks === undefined) return false;
    for (const instance of order) {
      const peer = view.peers.find((each) => each.instance === instance);
      if (peer === undefined) continue;
      const move: BlockMove = { tenant, blockId, from: instance, doneBytes: 0, totalBytes: block.bytes };
      this.#moves.set(blockId, move);
      const end = transit.enter(block);
      try {
        const options = {
          withoutChunks,
          witnesses: instance === bucket ? this.#witnessesOf(from, view) : [],
          blockBytesMax: this.#options.blockBytesMax,
          onProgress: (done: number) => {
            move.doneBytes = Math.min(done, block.bytes);
          },
        };
        const bytes = await pullBlock(block, peer, options, this.#deps, signal);
        metrics.pulledBytes.inc(bytes);
        metrics.pulls.inc({ result: 'done' });
        const elapsedMs = Math.round(clock.monotonicMs() - startedMs);
        logger.info(
          { tenant, blockId, from: instance, bytes, copies, elapsedMs },
          withoutChunks === undefined
            ? 'block copied from another store'
            : 'block taken without its chunks, which object storage has',
        );
        this.#failedAtMs.delete(blockId);
        return true;
      } catch (caught) {
        if (signal.aborted) return false;
        const error = toAppError(caught);
        metrics.pulls.inc({ result: 'failed' });
        this.#obstacle = `block ${blockId} from ${instance}: ${error.message}`;
        // What was merged meanwhile stands under another name in the next look.
        if (error.code !== 'not_found')
          logger.warn({ tenant, blockId, from: instance, err: error }, 'block could not be copied');
      } finally {
        end();
        this.#moves.delete(blockId);
      }
    }
    if (this.#failedAtMs.size > 10_000) this.#failedAtMs.clear();
    this.#failedAtMs.set(blockId, clock.monotonicMs());
    return false;
  }

  /** This store, and all others that are there. */
  #witnessesOf(holders: readonly string[], { peers }: StoreView): DeleteWitness[] {
    const { clock, deletesOf } = this.#deps;
    const others = peers.filter(({ instance }) => instance !== this.#options.bucket);
    return [
      (block) => Promise.resolve({ deletes: deletesOf(block) }),
      ...others.map((peer) => witnessOf(peer, holders.includes(peer.instance), clock)),
    ];
  }

  /** Surplus blocks go once their owners have held them for the grace, and promise now to keep them. */
  async #giveAway(surplus: readonly SurplusBlock[], view: StoreView, signal: AbortSignal): Promise<boolean> {
    const { clock, catalog, logger, metrics, promises } = this.#deps;
    const nowMs = clock.monotonicMs();
    const held = surplus.filter(
      ({ isHeldByOwners, owners }) => isHeldByOwners && owners.length >= view.copies,
    );
    const names = new Set(held.map(({ block }) => block.blockId));
    for (const blockId of this.#confirmedSinceMs.keys())
      if (!names.has(blockId)) this.#confirmedSinceMs.delete(blockId);
    let given = false;
    for (const { block, owners } of held) {
      const since = this.#confirmedSinceMs.get(block.blockId) ?? nowMs;
      this.#confirmedSinceMs.set(block.blockId, since);
      if (nowMs - since < this.#options.surplusGraceMs || promises.isPromised(block.leaves)) continue;
      const askedMs = clock.monotonicMs();
      if (!(await this.#isConfirmed(block, owners, view, signal))) continue;
      if (!promises.isFresh(askedMs) || promises.isPromised(block.leaves)) continue;
      const { tenant, blockId } = block;
      await catalog.delete(tenant, blockId);
      metrics.surplusDeleted.inc();
      logger.info({ tenant, blockId, owners, bytes: block.bytes }, 'block given away: its owners hold it');
      given = true;
    }
    return given;
  }

  async #isConfirmed(
    block: InventoryBlock,
    owners: readonly string[],
    view: StoreView,
    signal: AbortSignal,
  ): Promise<boolean> {
    const request = {
      tenant: block.tenant,
      blockIds: packIds(block.leaves.map(leafIdOf)),
      ...(block.resolutionMs === 0 ? {} : { resolutionMs: block.resolutionMs }),
    };
    const ask = (own: AbortSignal) =>
      Promise.all(
        owners.map((owner) => {
          const peer = view.peers.find(({ instance }) => instance === owner);
          return peer?.client.confirmBlocks(request, { signal: own }) ?? Promise.resolve({ holdsAll: false });
        }),
      );
    try {
      const limit = { ms: CONFIRM_TIMEOUT_MS, what: 'confirmation' };
      const answers = await withinTime(this.#deps.clock, limit, signal, ask);
      return answers.every(({ holdsAll }) => holdsAll);
    } catch {
      return false;
    }
  }
}

// Joins what keeps a store's blocks complete and sound: the repairer, the scrubber, and the calls that other stores make.
import type { Registry } from 'prom-client';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import type { ObjectStore } from '../../lib/objstore/object-store.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { ControlPlane } from '../../lib/transport/control-plane.ts';
import { MissedDeletes } from '../../lib/transport/members/missed-deletes.ts';
import type { CallContext, Handlers } from '../../lib/transport/rpc.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import type { DoneDelete } from '../../lib/tsdb/tombstones/done-deletes.ts';
import type {
  BlockName,
  BucketStatus,
  ConfirmBlocksRequest,
  PendingDelete,
  ReplicationStatusResponse,
  StoreReplicationDefinition,
} from '../../lib/wire/contracts.ts';
import { TOLD_MAX } from '../../lib/wire/told-deletes.ts';
import type { BlockCatalog } from '../blocks/block-catalog.ts';
import type { BlockFolders } from '../blocks/block-folders.ts';
import { unpackIds } from '../blocks/block-ids.ts';
import type { Lacking } from '../blocks/coverage.ts';
import type { DiskBudget } from '../blocks/disk-budget.ts';
import { fetchBlock } from '../blocks/fetch-block.ts';
import type { BucketState } from '../bucket/bucket-keeper.ts';
import { createBucketKeeping } from '../bucket/bucket-keeping.ts';
import { everyTurn, LeasedTurns } from '../bucket/removal-turns.ts';
import { type DeleteDeps, doneDeletes, makeMissed, toPendingDeletes } from '../deletes/delete-series.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import type { EvictedStorage, EvictionStatus } from '../eviction/evicted-storage.ts';
import { Evictor } from '../eviction/evictor.ts';
import type { StoreOptions } from '../options.ts';
import type { BlocksInTransit } from './blocks-in-transit.ts';
import { ByteRate } from './byte-rate.ts';
import type { HeldLeaves } from './held-leaves.ts';
import { type InventoryBlock, leafKeyOf, leafKeysOf } from './inventory-block.ts';
import { LostDisk } from './lost-disk.ts';
import { LostStores } from './lost-stores.ts';
import { OwnInventory } from './own-inventory.ts';
import { Promises } from './promises.ts';
import { Repairer } from './repairer.ts';
import { createReplicationMetrics } from './replication-metrics.ts';
import { Scrubber } from './scrubber.ts';
import { ALONE, aloneOf, StoreViews, type Surroundings } from './store-view.ts';

/** The cluster that a store is part of; without one it has no others to copy from. */
export interface ReplicationPeers {
  readonly instance: string;
  readonly cluster: Pick<Cluster, 'storeReplication'>;
  readonly control: ControlPlane;
}

export interface ReplicationDeps {
  readonly catalog: BlockCatalog;
  readonly folders: BlockFolders;
  readonly disk: Disk;
  readonly budget: DiskBudget;
  readonly cache: PageCache;
  readonly tombstones: Tombstones;
  readonly leaves: HeldLeaves;
  readonly transit: BlocksInTransit;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly peers: ReplicationPeers | undefined;
  /** How long blocks of a resolution are kept now, milliseconds; 0 for ever. Resolution 0: samples. */
  readonly retentionMsOf: (resolutionMs: number) => number;
  /** Object storage that gets a copy of every block. */
  readonly objects?: ObjectStore | undefined;
  /** Chunks of evicted blocks, and what was fetched of them. */
  readonly evicted: EvictedStorage;
  readonly deleting: DeleteDeps;
}

export interface Replication {
  readonly handlers: Handlers<typeof StoreReplicationDefinition>;
  /** To be called for every block that comes or goes, after the leaves know of it. */
  changed(meta: BlockMeta): void;
  /** Resolves when this store may answer: once it has done the deletes that it missed, and with an empty disk and a bucket could list that. */
  begin(signal: AbortSignal): Promise<void>;
  /** Resolves when no delete can have been missed meanwhile. */
  inOrder(): Promise<void>;
  /** Repairs and scrubs until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** What this store should have of a tenant, and has not. */
  readonly lacking: (tenant: string) => Lacking;
}

export function createReplication(options: Required<StoreOptions>, deps: ReplicationDeps): Replication {
  const { catalog, clock, disk, folders, leaves, logger, peers, tombstones } = deps;
  const erased = (): BlockName[] => tombstones.erased();
  const inventory = new OwnInventory({
    list: () => catalog.list(),
    find: (tenant, blockId) => catalog.find(tenant, blockId),
    erased,
  });
  let beganEmpty = false;
  const rate = new ByteRate(options.moveBytesPerSecond, { clock });
  const promiseMs = Math.min(PROMISE_MS_MAX, PROMISE_GRACES * options.surplusGraceMs);
  const promises = new Promises({ promiseMs }, { clock });
  const bytes = (blocks: readonly InventoryBlock[]) => blocks.reduce((sum, block) => sum + block.bytes, 0);
  const metrics = createReplicationMetrics(deps.registry, {
    missingBlocks: () => repairer?.state.missing.length ?? 0,
    missingBytes: () => bytes(repairer?.state.missing ?? []),
    surplusBlocks: () => repairer?.state.surplus.length ?? 0,
    movesRunning: () => repairer?.state.moves.length ?? 0,
    scrubAge: () => Math.max(0, (clock.nowMs() - scrubber.checkedSinceMs()) / 1000),
  });
  const scrubber = new Scrubber(
    { dataDir: options.dataDir, periodMs: options.scrubPeriodMs },
    { catalog, folders, disk, clock, logger, metrics },
  );
  const isExpired = ({ maxTimeMs, resolutionMs }: InventoryBlock): boolean => {
    const retentionMs = deps.retentionMsOf(resolutionMs);
    return retentionMs > 0 && maxTimeMs < clock.nowMs() - retentionMs;
  };
  const missed = peers === undefined ? undefined : missedAmong(peers);
  const lostDisk =
    peers === undefined
      ? undefined
      : new LostDisk(
          { dataDir: options.dataDir, instance: peers.instance },
          { disk, control: peers.control, logger },
        );
  // What comes before a missed delete is done would be taken for what was here before it, and what hides samples there for what is left over.
  const isInOrder = (): boolean => missed === undefined || missed.isInOrder();
  const { look, onSettled } = peers === undefined ? aloneOf() : among(peers);
  const instance = peers?.instance ?? ALONE;
  const bucket =
    deps.objects === undefined
      ? undefined
      : createBucketKeeping(
          {
            instance,
            cluster: options.clusterName,
            intervalMs: options.repairIntervalMs,
            listIntervalMs: options.bucketListIntervalMs,
            deleteGraceMs: options.bucketDeleteGraceMs,
          },
          {
            ...{ ...deps, objects: deps.objects, isExpired, erased, damaged: deps.evicted.damaged },
            look: () => (isInOrder() ? look() : undefined),
            uploadRate: new ByteRate(options.moveBytesPerSecond, { clock }),
            isHeldByAnother: (block) => repairer?.isHeldByAnother(block) === true,
            later: deps.deleting.later,
            turns: peers === undefined ? everyTurn() : new LeasedTurns({ control: peers.control, clock }),
          },
        );
  const evictor =
    bucket === undefined
      ? undefined
      : new Evictor(
          {
            localAgeMs: options.localAgeMs,
            cacheBytesMax: options.cacheBytesMax,
            intervalMs: options.repairIntervalMs,
          },
          {
            ...{ catalog, clock, logger, cache: deps.evicted.cache, metrics: deps.evicted.metrics },
            bucket: bucket.bucket,
            contents: bucket.contents,
            obstacle: () => bucket.keeper.obstacleToReading(),
          },
        );
  /** What is known of the deletes of a block, which need not be here. */
  const deletesOf = (block: BlockName): PendingDelete[] => {
    const { tenant, blockId } = block;
    const known = toPendingDeletes(tombstones.of(tenant, blockId));
    if (bucket === undefined || catalog.has(tenant, blockId)) return known;
    const isUndone = ({ id }: DoneDelete) =>
      tombstones.undone().some((one) => one.tenant === tenant && one.id === id);
    const later = bucket.contents.laterDeletes(block).filter((one) => !isUndone(one));
    return [...known, ...toPendingDeletes(later.map((one) => ({ ...one, blocks: [blockId] })))];
  };

  // Alone and without a bucket there is nobody to copy from.
  const repairer: Repairer | undefined =
    peers === undefined && bucket === undefined ? undefined : createRepairer();

  function createRepairer(): Repairer {
    const extra = bucket === undefined ? [] : [bucket.peer];
    return new Repairer(
      {
        instance,
        blockBytesMax: options.blockBytesMax,
        intervalMs: options.repairIntervalMs,
        surplusGraceMs: options.surplusGraceMs,
        bucket: bucket?.peer.instance,
      },
      {
        ...deps,
        ...{ metrics, rate, promises, erased, isExpired, isInOrder, onSettled, lostDisk, eviction: evictor },
        deletesOf,
        chunksOf: (meta) => deps.evicted.chunks.open(meta),
        look: () => {
          const view = look();
          return view === undefined ? undefined : { ...view, peers: [...view.peers, ...extra] };
        },
        isSettled: (block) => block.leaves.every((leaf) => leaves.isSettled(leaf)),
      },
    );
  }

  function missedAmong({ instance: name, cluster, control }: ReplicationPeers): MissedDeletes {
    return new MissedDeletes(
      { absenceMs: options.rebuildDelayMs, toldMax: TOLD_MAX },
      {
        ...{ control, clock, logger, done: deps.deleting.done },
        listing: () => {
          const placement = control.placement();
          const stores = placement?.stores.map((store) => store.instance) ?? [];
          if (placement === undefined || !stores.includes(name)) return undefined;
          return { epoch: placement.epoch, stores: stores.filter((store) => store !== name) };
        },
        stores: () => (cluster.storeReplication?.() ?? []).filter((peer) => peer.instance !== name),
        make: (told, how, signal) => makeMissed(told, { ...how, instance: name }, deps.deleting, signal),
      },
    );
  }

  function among({ instance: name, cluster, control }: ReplicationPeers): Surroundings {
    const views = new StoreViews(
      { instance: name, rebuildDelayMs: options.rebuildDelayMs },
      { cluster, control, clock },
    );
    const lost = new LostStores({ instance: name }, { control, clock, logger });
    return {
      look: () => views.look(),
      onSettled: (view, inventories, signal) => lost.settle(view, inventories, signal),
    };
  }

  const confirm = ({ tenant, blockIds, resolutionMs = 0 }: ConfirmBlocksRequest): boolean => {
    const ids = unpackIds(blockIds);
    const keys = ids.map((id) => leafKeyOf(tenant, resolutionMs, id));
    const holdsAll = keys.every((key, i) => leaves.has(key) || tombstones.isErased(tenant, ids[i]!));
    if (holdsAll) promises.make(keys);
    return holdsAll;
  };

  const status = async (): Promise<ReplicationStatusResponse> => {
    const { missing, surplus, moves, settledWithout, obstacle } = repairer?.state ?? IDLE;
    const space = await disk.space(folders.blocks);
    return {
      missingBlocks: missing.length,
      missingBytes: bytes(missing),
      surplusBlocks: surplus.length,
      surplusBytes: bytes(surplus),
      moves: moves.map((move) => ({ ...move })),
      bytesPerSecond: rate.measure(),
      heldBlocks: catalog.size,
      heldBytes: catalog.bytes,
      settledWithout: [...settledWithout],
      quarantinedBlocks: catalog.quarantinedCount,
      scrubbedSinceMs: scrubber.checkedSinceMs(),
      scrubCorruptBlocks: scrubber.corrupt,
      obstacle,
      diskFreeBytes: space.freeBytes,
      diskTotalBytes: space.totalBytes,
      nowMs: clock.nowMs(),
      ...(bucket === undefined
        ? {}
        : { bucket: { ...statusOf(bucket.keeper.state), ...deps.evicted.status() } }),
    };
  };

  /** Blocks that this store should have, and that are nowhere but in the bucket. */
  const awaitedOf = (tenant: string): readonly BlockMeta[] => {
    if (bucket === undefined) return [];
    const only = repairer?.state.onlyInBucket;
    if (only !== undefined)
      return only.flatMap((block) => (block.tenant === tenant ? bucket.find(block) : []));
    // Nothing is known yet but the bucket: another store may have it all, or wait for the bucket as this one did.
    if (!beganEmpty) return [];
    return bucket.list(tenant).filter((meta) => !leafKeysOf(meta).every((leaf) => leaves.isSettled(leaf)));
  };

  return {
    changed: (meta) => inventory.changed(meta),
    inOrder: async () => missed?.inOrder(),
    begin: async (signal) => {
      const isNew =
        catalog.size === 0 && catalog.quarantinedCount === 0 && deps.deleting.done.heardEpoch === 0;
      await missed?.begin(signal);
      await lostDisk?.begin(isNew, signal);
      if (catalog.size > 0 || bucket === undefined) return;
      beganEmpty = true;
      await bucket.keeper.awaitListing(signal);
    },
    lacking: (tenant) => ({ awaited: awaitedOf(tenant), unknown: lostDisk?.reason }),
    run: async (signal) => {
      await Promise.all([
        ...[missed?.run(signal), repairer?.run(signal), bucket?.keeper.run(signal)],
        ...[evictor?.run(signal), scrubber.run(signal)],
      ]);
      await lostDisk?.idle();
    },
    handlers: {
      async *inventory(request) {
        yield* inventory.answer(request);
      },
      pullBlock: (request, { signal }: CallContext) =>
        fetchBlock(request, catalog, signal, request.skipBytes),
      blockDeletes: (block) => Promise.resolve({ deletes: deletesOf(block) }),
      async *doneDeletes({ epoch }) {
        yield* doneDeletes({ epoch, isComplete: missed?.isComplete() !== false }, deps.deleting);
      },
      confirmBlocks: (request) => Promise.resolve({ holdsAll: confirm(request) }),
      replicationStatus: () => status(),
    },
  };
}

const statusOf = ({ upload, ...state }: BucketState): Omit<BucketStatus, keyof EvictionStatus> => ({
  ...state,
  ...(upload === undefined ? {} : { upload: { ...upload } }),
});

/** A confirmation binds for so many graces of surplus blocks, which all stores have alike, and a minute at most. */
const PROMISE_GRACES = 10;
const PROMISE_MS_MAX = 60_000;
const IDLE = { missing: [], surplus: [], moves: [], settledWithout: [], obstacle: '' } as const;

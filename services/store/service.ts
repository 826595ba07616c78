// The store: takes whole blocks, keeps them as long as retention says, and answers selects and label queries over them.
// This file joins the parts; each call's work is in the file named after it.
import { randomInt } from 'node:crypto';
import type { Registry } from 'prom-client';
import type { Clock } from '../lib/core/clock.ts';
import { type Disk, systemDisk } from '../lib/core/disk.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import type { ObjectStore } from '../lib/objstore/object-store.ts';
import { groupOf, rowOf } from '../lib/placement/block-groups.ts';
import { PartEvaluator } from '../lib/query/part-evaluator.ts';
import type { Configurable } from '../lib/runtime/config-holder.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { Service } from '../lib/runtime/service.ts';
import type { Handlers } from '../lib/transport/rpc.ts';
import type { BlockMeta } from '../lib/tsdb/block/block-meta.ts';
import { PageCache } from '../lib/tsdb/block/page-cache.ts';
import { replacedBlocks } from '../lib/tsdb/compact/replaced.ts';
import { DoneDeletes } from '../lib/tsdb/tombstones/done-deletes.ts';
import type {
  BlockHorizonDefinition,
  BlockSummary,
  PutBlockRequest,
  PutBlockResponse,
  RangeVersionsDefinition,
  StoreDefinition,
  StoreReplicationDefinition,
} from '../lib/wire/contracts.ts';
import { BlockCatalog, bytesOf } from './blocks/block-catalog.ts';
import { BlockFolders } from './blocks/block-folders.ts';
import { labelsOfBlocks } from './blocks/block-labels.ts';
import { BlockResolutions } from './blocks/block-resolutions.ts';
import { DiskBudget } from './blocks/disk-budget.ts';
import { evaluateShares } from './blocks/evaluate-shares.ts';
import { fetchBlock } from './blocks/fetch-block.ts';
import { newestSample } from './blocks/newest-sample.ts';
import { PublishFence } from './blocks/publish-fence.ts';
import { putBlock } from './blocks/put-block.ts';
import { rangeVersions } from './blocks/range-versions.ts';
import { selectBlocks } from './blocks/select-blocks.ts';
import { takeSnapshot } from './blocks/snapshot.ts';
import { heldLeaves } from './blocks/window-leaves.ts';
import { CallGate } from './call-gate.ts';
import { Compactor } from './compaction/compactor.ts';
import { Downsampler } from './compaction/downsampler.ts';
import { expiredBlocks, retentionOf } from './compaction/retention.ts';
import { RuleRetention } from './compaction/rule-retention.ts';
import { cleanTombstones, deleteSeries, listDeletes, undoDelete } from './deletes/delete-series.ts';
import { LaterDeletes } from './deletes/later-deletes.ts';
import { Tombstones } from './deletes/tombstones.ts';
import { ChunksUnreachableError } from './eviction/chunk-fetcher.ts';
import { createEvictedStorage } from './eviction/evicted-storage.ts';
import { type StoreOptions, withDefaults } from './options.ts';
import { BlocksInTransit } from './replication/blocks-in-transit.ts';
import { HeldLeaves } from './replication/held-leaves.ts';
import { leafKeysOf } from './replication/inventory-block.ts';
import { createReplication, type ReplicationPeers } from './replication/replication.ts';
import { createStoreMetrics } from './store-metrics.ts';

/** How long `stop` waits for cancelled calls: a caller that does not come back for its answer cannot hold it up. */
const STOP_WAIT_MS = 5000;
/** Parts of queries that are evaluated at one time: as many as a querier has queries. */
const PARTS_MAX = 20;

export interface StoreDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Where blocks are written. Default: the machine's own. (Reading goes to the machine's files in any case.) */
  readonly disk?: Disk;
  /** Object storage that gets a copy of every block. */
  readonly objects?: ObjectStore | undefined;
  /** The other stores; absent in one process, which has none. */
  readonly peers?: ReplicationPeers;
}

/** A running store and the calls that it answers. */
export interface Store extends Service, Configurable {
  readonly handlers: Handlers<typeof StoreDefinition>;
  /** What queriers ask before they have parts evaluated by ingesters or here, and have evaluated here. */
  readonly horizonHandlers: Handlers<typeof BlockHorizonDefinition>;
  /** What queriers ask before they use their result caches. */
  readonly versionHandlers: Handlers<typeof RangeVersionsDefinition>;
  /** What other stores ask. */
  readonly replicationHandlers: Handlers<typeof StoreReplicationDefinition>;
}

export function createStore(storeOptions: StoreOptions, deps: StoreDeps): Store {
  const options = withDefaults(storeOptions);
  const { clock, registry } = deps;
  const logger = deps.logger.child({ service: 'store' });
  const disk = deps.disk ?? systemDisk;
  const folders = new BlockFolders(options.dataDir, disk);
  const cache = new PageCache({ bytesMax: options.indexCacheBytes });
  const budget = new DiskBudget(
    { folder: folders.transit, keepFreeBytes: options.diskReserveBytes },
    { disk },
  );
  const leaves = new HeldLeaves();
  const evicted = createEvictedStorage(options, {
    ...{ objects: deps.objects, disk, clock, logger, registry },
    residents: () => catalog.residents(),
  });
  const transit = new BlocksInTransit();
  const catalog = new BlockCatalog(options, {
    folders,
    disk,
    cache,
    logger,
    onCorrupt: () => metrics.corrupt.inc(),
    holdsAll: (meta) => leafKeysOf(meta).every((leaf) => leaves.has(leaf)),
    onChange: (meta, isHeld) => {
      if (isHeld) leaves.add(meta);
      else leaves.remove(meta);
      replication.changed(meta);
    },
    evicted: evicted.chunks,
    monotonicMs: () => clock.monotonicMs(),
    onEvictedGone: (meta) => evicted.gone(meta),
    onEvictedCorrupt: ({ tenant, blockId }) => evicted.damaged.add(`${tenant}/${blockId}`),
  });
  const resolutions = new BlockResolutions();
  let policy = options.storagePolicy;
  const tombstones = new Tombstones({ folder: folders.tombstones }, { disk, clock, logger });
  const metrics = createStoreMetrics(registry, {
    blockCount: () => catalog.size,
    blockBytes: () => catalog.bytes,
    quarantinedCount: () => catalog.quarantinedCount,
    cacheBytes: () => cache.bytesHeld,
    cacheHits: () => cache.hits,
    cacheMisses: () => cache.misses,
    chunkCache: () => catalog.chunkCache,
    pendingDeletes: () => tombstones.count,
    compactionRunning: () => Number(compactor.isRunning),
    compactionSeries: () => compactor.seriesWritten,
  });
  const hashSeed = randomInt(0xffffffff);
  const compactor = new Compactor(
    // In one process there is nobody to share partitions with.
    { ...options, hashSeed, groupOf: deps.peers === undefined ? rowOf : groupOf },
    {
      ...{ catalog, folders, tombstones, budget, disk, clock, logger, metrics: metrics.compaction },
      isDerived: (meta) =>
        meta.resolutionMs !== undefined && resolutions.isBacked(catalog.list(meta.tenant), meta),
    },
  );
  const downsampler = new Downsampler(
    { ...options, hashSeed },
    {
      ...{ catalog, resolutions, folders, tombstones, budget, disk, clock, logger },
      metrics: metrics.downsampling,
      policy: () => policy,
    },
  );
  const ruleRetention = new RuleRetention(options, {
    ...{ catalog, compactor, tombstones, clock, logger, metrics },
    policy: () => policy,
    onExpired: (meta) => leaves.retire(meta),
  });
  const done = new DoneDeletes({ folder: options.dataDir }, { disk, clock });
  const askers = { newestEpoch: 0 };
  const later = new LaterDeletes();
  const deleteDeps = { catalog, folders, tombstones, compactor, transit, done, askers, later };
  const replication = createReplication(options, {
    ...{
      catalog,
      folders,
      disk,
      budget,
      cache,
      tombstones,
      leaves,
      transit,
      clock,
      logger,
      registry,
      evicted,
    },
    deleting: deleteDeps,
    peers: deps.peers,
    objects: deps.objects,
    retentionMsOf: (resolutionMs) =>
      retentionOf({ resolutionMs }, { ...options, downsampling: policy.downsampling }),
  });
  const peerCalls = replication.handlers;
  const fence = new PublishFence(() => deps.peers?.control.placement()?.epoch ?? 0);
  const versionDeps = {
    ...{ catalog, tombstones, lacking: replication.lacking },
    epoch: () => deps.peers?.control.placement()?.epoch ?? 0,
  };
  const parts = new PartEvaluator(
    {
      threads: options.partThreads,
      concurrencyMax: PARTS_MAX,
      memoryBytesMax: options.partMemoryBytesMax,
    },
    logger,
  );
  const gate = new CallGate();
  const stopping = new AbortController();
  let reconfigured = new AbortController();
  let ready = false;
  /** What deletes were done is known. */
  let isLoaded = false;
  let retention: Promise<void> = Promise.resolve();
  let compaction: Promise<void> = Promise.resolve();
  let upkeep: Promise<void> = Promise.resolve();

  const applyRetention = async (): Promise<void> => {
    if (options.retentionMs > 0) {
      const old = await catalog.deleteQuarantined(clock.nowMs() - options.retentionMs);
      metrics.deleted.inc({ reason: 'time' }, old);
    }
    for (const { meta, reason } of expiredBlocks(catalog.list(), clock.nowMs(), {
      ...options,
      downsampling: policy.downsampling,
      isWaitedFor: (block) => downsampler.isWaitedFor(block),
    })) {
      leaves.retire(meta);
      await catalog.delete(meta.tenant, meta.blockId);
      metrics.deleted.inc({ reason });
      logger.info(
        { tenant: meta.tenant, blockId: meta.blockId, reason, bytes: bytesOf(meta) },
        'block deleted',
      );
    }
  };

  const keepRetention = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await applyRetention();
      } catch (caught) {
        logger.error({ err: toAppError(caught) }, 'retention failed; it is tried again');
      }
      await clock.sleep(options.retentionCheckMs, stopping.signal).catch(() => undefined);
    }
  };

  /** Deletes whose blocks are all gone are over. */
  const forgetDeletes = async (): Promise<void> => {
    const beforeMs = options.retentionMs > 0 ? clock.nowMs() - options.retentionMs : Number.NEGATIVE_INFINITY;
    for (const tenant of tombstones.tenants()) {
      const exists = (blockId: string) =>
        catalog.has(tenant, blockId) ||
        catalog.isQuarantined(tenant, blockId) ||
        transit.has(tenant, blockId);
      await folders.exclusively(() => tombstones.forget(tenant, exists, beforeMs));
    }
  };

  /**
   * What a crash left, or a merged block of another store made needless: sources beside the block that holds them, blocks of
   * which deletes left nothing.
   */
  const removeLeftovers = async (): Promise<void> => {
    for (const tenant of catalog.tenants()) {
      const metas = catalog.list(tenant);
      const replaced = replacedBlocks(metas);
      for (const { blockId } of metas) {
        if (!replaced.has(blockId) && !tombstones.isErased(tenant, blockId)) continue;
        await catalog.delete(tenant, blockId);
        metrics.deleted.inc({ reason: 'replaced' });
        logger.info({ tenant, blockId }, 'block deleted that compaction had replaced');
      }
    }
  };

  /** The most urgent work on blocks; false when there is none. What waits for evicted chunks does not hold up the rest. */
  const worksOnce = async (signal: AbortSignal): Promise<boolean> => {
    if (await compactor.runOnce(signal)) return true;
    let unreachable: ChunksUnreachableError | undefined;
    try {
      if (await ruleRetention.runOnce(signal)) return true;
    } catch (caught) {
      if (!(caught instanceof ChunksUnreachableError)) throw caught;
      unreachable = caught;
    }
    if (await downsampler.runOnce(signal)) return true;
    if (unreachable !== undefined) throw unreachable;
    return false;
  };

  const keepCompacting = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await removeLeftovers();
        while (await worksOnce(stopping.signal));
        await forgetDeletes();
      } catch (caught) {
        const error = toAppError(caught);
        if (!stopping.signal.aborted) logger.error({ err: error }, 'compaction failed; it is tried again');
      }
      const either = AbortSignal.any([stopping.signal, reconfigured.signal]);
      await clock.sleep(options.compactionCheckMs, either).catch(() => undefined);
    }
  };

  const put = async (
    stream: AsyncIterable<PutBlockRequest>,
    signal: AbortSignal,
  ): Promise<PutBlockResponse> => {
    try {
      const parts = { catalog, folders, disk, budget, cache, tombstones, clock, fence };
      const existed = await putBlock(stream, options, parts, signal);
      metrics.puts.inc({ result: existed ? 'existed' : 'stored' });
      return { existed };
    } catch (caught) {
      metrics.puts.inc({ result: 'failed' });
      throw caught;
    }
  };

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    ready = false;
    gate.close();
    stopping.abort(new AppError('unavailable', 'the store is stopping'));
    await waitAtMost(gate.idle(), STOP_WAIT_MS, clock);
    await retention;
    await compaction;
    await upkeep;
    await compactor.idle();
    await parts.stop();
    await evicted.stop();
    await catalog.close();
  };

  /** A call that counts as running, with a signal that also aborts when the store stops. */
  const signalOf = (signal: AbortSignal) => AbortSignal.any([signal, stopping.signal]);
  const call = async <T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    gate.enter();
    try {
      await replication.inOrder();
      return await work(signalOf(signal));
    } finally {
      gate.leave();
    }
  };
  async function* stream<T>(signal: AbortSignal, work: (signal: AbortSignal) => AsyncIterable<T>) {
    gate.enter();
    try {
      await replication.inOrder();
      yield* work(signalOf(signal));
    } finally {
      gate.leave();
    }
  }

  return {
    name: 'store',
    replicationHandlers: {
      inventory: (request, { signal }) =>
        stream(signal, (own) => peerCalls.inventory(request, { signal: own })),
      pullBlock: (request, { signal }) =>
        stream(signal, (own) => peerCalls.pullBlock(request, { signal: own })),
      blockDeletes: (request, { signal }) =>
        call(signal, (own) => peerCalls.blockDeletes(request, { signal: own })),
      // Not through the gate: two stores may wait for each other's.
      async *doneDeletes(request, context) {
        if (!isLoaded) throw new AppError('unavailable', 'the store is still reading its deletes');
        yield* peerCalls.doneDeletes(request, context);
      },
      confirmBlocks: (request, { signal }) =>
        call(signal, (own) => peerCalls.confirmBlocks(request, { signal: own })),
      replicationStatus: (request, { signal }) =>
        call(signal, (own) => peerCalls.replicationStatus(request, { signal: own })),
    },
    horizonHandlers: {
      newestSample: (request, { signal }) =>
        call(signal, () => Promise.resolve(newestSample(request, catalog))),
      heldLeaves: (request, { signal }) =>
        call(signal, async () => heldLeaves(request, { catalog, tombstones, lacking: replication.lacking })),
      evaluateShares: (request, { signal }) =>
        stream(signal, (own) =>
          evaluateShares(
            request,
            {
              ...{ catalog, tombstones, clock, metrics, hashSeed },
              evaluator: parts,
              seriesMax: options.seriesMax,
            },
            own,
          ),
        ),
    },
    versionHandlers: {
      versions: (request, { signal }) =>
        call(signal, () => Promise.resolve(rangeVersions(request, versionDeps))),
    },
    handlers: {
      putBlock: (request, { signal }) => call(signal, (own) => put(request, own)),
      fetchBlock: (request, { signal }) => stream(signal, (own) => fetchBlock(request, catalog, own)),
      listBlocks: (request, { signal }) =>
        call(signal, () => Promise.resolve({ blocks: catalog.list(request.tenant).map(summaryOf) })),
      select: (request, { signal }) =>
        stream(signal, (own) =>
          selectBlocks(
            request,
            options.seriesMax,
            { catalog, resolutions, tombstones, clock, metrics, hashSeed, lacking: replication.lacking },
            own,
          ),
        ),
      deleteSeries: (request, { signal }) =>
        call(signal, async (own) => ({ concerned: await deleteSeries(request, deleteDeps, own) })),
      undoDelete: (request, { signal }) =>
        call(signal, async () => ({ undone: await undoDelete(request, deleteDeps) })),
      listDeletes: ({ tenant }, { signal }) =>
        call(signal, () => Promise.resolve(listDeletes(tenant, deleteDeps))),
      cleanTombstones: ({ tenant, actor }, { signal }) =>
        call(signal, async (own) => {
          const blocks = await cleanTombstones(tenant, actor, deleteDeps, own);
          await forgetDeletes();
          return { blocks };
        }),
      snapshot: ({ name }, { signal }) =>
        call(signal, async (own) => ({ blocks: await takeSnapshot(name, { catalog, folders, disk }, own) })),
      labels: (request, { signal }) =>
        call(signal, (own) =>
          labelsOfBlocks(request, { catalog, resolutions, tombstones, lacking: replication.lacking }, own),
        ),
    },
    async start() {
      await folders.prepare();
      await tombstones.load();
      await done.load();
      isLoaded = true;
      await catalog.load();
      await evicted.load();
      await removeLeftovers();
      await forgetDeletes();
      logger.info({ blocks: catalog.size, bytes: catalog.bytes }, 'blocks loaded');
      await replication.begin(stopping.signal);
      // Told to stop while it waited.
      if (stopping.signal.aborted) return;
      gate.open();
      retention = keepRetention();
      compaction = keepCompacting();
      upkeep = replication.run(stopping.signal);
      ready = true;
    },
    applyConfig: ({ storage }) => {
      for (const { match, retentionMs } of storage.retention) {
        if (options.retentionMs > 0 && (retentionMs === 0 || retentionMs > options.retentionMs))
          logger.warn(
            { match, retentionMs },
            'a retention rule is longer than --storage.tsdb.retention.time, which samples go by',
          );
      }
      policy = storage;
      // There may be work now that there was not before.
      reconfigured.abort();
      reconfigured = new AbortController();
      return Promise.resolve();
    },
    isReady: () => ready,
    async drain() {
      ready = false;
      gate.close();
      await gate.idle();
    },
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}

async function waitAtMost(work: Promise<void>, ms: number, clock: Clock): Promise<void> {
  const over = new AbortController();
  const limit = clock.sleep(ms, over.signal).catch(() => undefined);
  await Promise.race([work, limit]);
  over.abort(new AppError('canceled', 'no longer waited for'));
  await limit;
}

function summaryOf(meta: BlockMeta): BlockSummary {
  return {
    tenant: meta.tenant,
    blockId: meta.blockId,
    minTimeMs: meta.minTimeMs,
    maxTimeMs: meta.maxTimeMs,
    series: meta.seriesCount,
    samples: meta.sampleCount,
    chunks: meta.chunkCount,
    sizeBytes: bytesOf(meta),
    partitions: [...meta.partitions],
  };
}

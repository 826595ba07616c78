// `node services/store/main.ts`: a store as a process of a cluster.
import { openObjectStore } from '../lib/objstore/objstore-flags.ts';
import { NO_STORAGE_POLICY } from '../lib/runtime/config/storage-policy.ts';
import { ConfigHolder } from '../lib/runtime/config-holder.ts';
import { lockDataDirectory } from '../lib/runtime/data-directory.ts';
import { runServiceProcess } from '../lib/transport/service-process.ts';
import {
  BlockHorizonDefinition,
  RangeVersionsDefinition,
  StoreDefinition,
  StoreReplicationDefinition,
} from '../lib/wire/contracts.ts';
import { STORE_FLAGS } from './flags.ts';
import { createStore } from './service.ts';

runServiceProcess({
  service: 'store',
  usage: 'Tidemark store: holds copies of sealed blocks and answers from them.',
  flags: STORE_FLAGS,
  remembersPlacement: true,
  build: async ({ flags, common, clock, logger, registry, instance, cluster, control }) => {
    const objects = openObjectStore(flags, common['cluster.name'], process.env, { clock, logger, registry });
    const dataDir = flags['storage.tsdb.path'];
    process.on('exit', lockDataDirectory(dataDir));
    const file = flags['config.file'];
    const config = file === '' ? undefined : await ConfigHolder.open(file, { clock, logger, registry });
    const store = createStore(
      {
        dataDir,
        retentionMs: flags['storage.tsdb.retention.time'],
        retentionBytes: flags['storage.tsdb.retention.size'],
        deleteDelayMs: flags['store.delete-delay'],
        storagePolicy: config?.config.storage ?? NO_STORAGE_POLICY,
        moveBytesPerSecond: flags['store.move-rate'],
        rebuildDelayMs: flags['store.rebuild-delay'],
        repairIntervalMs: flags['store.repair-interval'],
        surplusGraceMs: flags['store.surplus-grace'],
        scrubPeriodMs: flags['store.scrub-period'],
        clusterName: common['cluster.name'],
        bucketListIntervalMs: flags['objstore.list-interval'],
        bucketDeleteGraceMs: flags['objstore.delete-grace'],
        localAgeMs: flags['objstore.local-age'],
        cacheBytesMax: flags['objstore.cache-size'],
      },
      { clock, logger, registry, objects, peers: { instance, cluster, control } },
    );
    return {
      services: [store],
      ...(config === undefined ? {} : { reload: () => config.reload([store]) }),
      weight: flags['store.weight'],
      serve: (server) => {
        server.add(StoreDefinition, store.handlers);
        server.add(BlockHorizonDefinition, store.horizonHandlers);
        server.add(RangeVersionsDefinition, store.versionHandlers);
        server.add(StoreReplicationDefinition, store.replicationHandlers);
      },
    };
  },
});

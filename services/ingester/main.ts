// `node services/ingester/main.ts`: an ingester as a process of a cluster. It also keeps the placement: the ingesters elect
// one of them that does (transport/members/placement-keeper.ts).
import { checkClusterIdentity, lockDataDirectory } from '../lib/runtime/data-directory.ts';
import { memoryShare } from '../lib/runtime/memory-limit.ts';
import type { Service } from '../lib/runtime/service.ts';
import type { ReplicaRecord } from '../lib/transport/control-plane.ts';
import { FOUNDING_DELAY_MS, PlacementKeeper } from '../lib/transport/members/placement-keeper.ts';
import { runServiceProcess } from '../lib/transport/service-process.ts';
import {
  IngesterDefinition,
  IngesterReplicationDefinition,
  PartEvaluationDefinition,
  RangeVersionsDefinition,
} from '../lib/wire/contracts.ts';
import { INGESTER_FLAGS } from './flags.ts';
import { leaveCluster } from './replication/leave.ts';
import { createIngester } from './service.ts';

const KEEPER_INTERVAL_MS = 500;
/** A block range, the wait for late samples and some failed attempts to seal: after that all samples are on stores. */
const FORMER_OWNERS_MS = 4 * 3_600_000;
/** A query that asked the stores before a block was there must still find its samples here: so much longer than any may take. */
const SEAL_GRACE_MARGIN_MS = 30_000;
/** Beside 18 s of draining it leaves room in the 28 s that a stop may take; a disk writes 2 GB meanwhile, more than four million series. */
const IMAGE_AT_STOP_MS = 6_000;

runServiceProcess({
  service: 'ingester',
  usage: 'Tidemark ingester: makes samples durable, answers for recent ones, turns them into blocks.',
  flags: INGESTER_FLAGS,
  remembersPlacement: true,
  build: (context) => {
    const { flags, common, instance, startedAtMs } = context;
    const { clock, logger, registry, cluster, control, shutdown, announceAgain } = context;
    const dataDir = flags['storage.tsdb.path'];
    const partitionCount = flags['cluster.partitions'];
    process.on('exit', lockDataDirectory(dataDir));
    checkClusterIdentity(dataDir, { clusterName: common['cluster.name'], partitionCount });
    control.onChange(() => {
      const found = control.placement()?.partitionCount ?? partitionCount;
      if (found === partitionCount) return;
      logger.fatal({ found, flag: partitionCount }, 'the cluster was made with another --cluster.partitions');
      shutdown('wrong number of partitions');
    });
    const storeReplicationFactor = flags['store.replication-factor'];
    let replica: ReplicaRecord | undefined;
    const isInformed = () =>
      control
        .members()
        .some(
          (member) =>
            member.service === 'ingester' &&
            member.instance === instance &&
            member.startedAtMs === startedAtMs,
        );
    const ingester = createIngester(
      {
        ...{ dataDir, partitionCount, storeReplicas: storeReplicationFactor },
        sealGraceMs: flags['query.timeout'] + SEAL_GRACE_MARGIN_MS,
        sealWaitMs: flags['cluster.seal-wait'],
        ...(flags['query.threads'] > 0 ? { partThreads: flags['query.threads'] } : {}),
        partMemoryBytesMax: memoryShare(1 / 4, flags['query.max-memory-total']),
        seriesPerTenantMax: flags['ingest.max-series'],
        imageAtStopMs: IMAGE_AT_STOP_MS,
      },
      {
        ...{ cluster, clock, logger, registry },
        leaseToken: (name) => control.leaseView(name)?.token,
        replication: {
          instance,
          peers: () => cluster.ingesterReplication?.() ?? [],
          isInformed,
          membership: { control, absenceMs: flags['cluster.absence'] },
          onStatus: (status) => {
            replica = status;
            announceAgain();
          },
        },
      },
    );
    const keeper = new PlacementKeeper(
      {
        partitionCount,
        replicationFactor: flags['cluster.replication-factor'],
        intervalMs: KEEPER_INTERVAL_MS,
        absenceMs: flags['cluster.absence'],
        formerMs: FORMER_OWNERS_MS,
        storeReplicationFactor,
        foundingDelayMs: FOUNDING_DELAY_MS,
      },
      { control, clock, logger },
    );
    const keeping: Service = {
      name: 'placement-keeper',
      start: async () => keeper.start(),
      isReady: () => true,
      drain: () => keeper.stop(),
      stop: () => keeper.stop(),
    };
    return {
      services: [ingester, keeping],
      serve: (server) => {
        server.add(IngesterDefinition, ingester.handlers);
        server.add(PartEvaluationDefinition, ingester.partHandlers);
        server.add(RangeVersionsDefinition, ingester.versionHandlers);
        if (ingester.replicationHandlers !== undefined)
          server.add(IngesterReplicationDefinition, ingester.replicationHandlers);
      },
      weight: flags['cluster.weight'],
      member: () => (replica === undefined ? {} : { replica }),
      beforeStop: async () => {
        if (flags['cluster.leave'])
          await leaveCluster(ingester, flags['cluster.leave-timeout'], { clock, logger });
      },
    };
  },
});

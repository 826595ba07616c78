// All services in one process: makes each one, joins them through the embedded cluster, and carries configuration to those
// that have some. Nothing here knows how a service works inside.
import { hostname } from 'node:os';
import path from 'node:path';
import type { Registry } from 'prom-client';
import { createAlertEvaluator } from '../alert-evaluator/service.ts';
import { createHost } from '../gateway/process-host.ts';
import { createGateway } from '../gateway/service.ts';
import { createIngester } from '../ingester/service.ts';
import type { Clock } from '../lib/core/clock.ts';
import { createDiscoverySources } from '../lib/discovery/discovery-sources.ts';
import { createDistributor, seriesLimitOptions } from '../lib/distributor/distributor.ts';
import { openObjectStore } from '../lib/objstore/objstore-flags.ts';
import { featuresOf } from '../lib/promql/feature-names.ts';
import { ConfigHolder } from '../lib/runtime/config-holder.ts';
import type { FlagValues } from '../lib/runtime/flags.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import { memoryShare } from '../lib/runtime/memory-limit.ts';
import type { Service } from '../lib/runtime/service.ts';
import { DEFAULT_QUERIER_OPTIONS, labelNamesOf } from '../querier/options.ts';
import { rehearsedThreads } from '../querier/rehearsal/rehearsed-queries.ts';
import { createQuerier, createQueryThreads } from '../querier/service.ts';
import { SPOOL_FOLDER } from '../scraper/options.ts';
import { createScraper } from '../scraper/service.ts';
import { createStore } from '../store/service.ts';
import { EmbeddedCluster } from './embedded-cluster.ts';
import type { ALL_IN_ONE_FLAGS } from './flags.ts';
import { rehearse } from './rehearsal.ts';

export type AllInOneFlags = FlagValues<typeof ALL_IN_ONE_FLAGS>;

export interface AllInOneDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly version: string;
  /** Begins an orderly stop of the process. */
  readonly shutdown: (reason: string) => void;
}

export interface AllInOne {
  /** The process as one service: the gateway listens first, answering 503 until the rest is ready, and drains first. */
  readonly service: Service;
  /**
   * Reads the configuration file again.
   *
   * @throws AppError `bad_data` with file, line and reason; the old configuration stays in force.
   */
  reload(): Promise<void>;
}

/**
 * Reads the configuration file and makes all services; nothing runs yet.
 *
 * @throws AppError `bad_data` when the configuration file or a flag is wrong.
 */
export async function createAllInOne(flags: AllInOneFlags, deps: AllInOneDeps): Promise<AllInOne> {
  const startedAtMs = deps.clock.nowMs();
  const config = await ConfigHolder.open(flags['config.file'], deps);
  const inner = createServices(flags, deps, config);
  const configurable = [inner.store, inner.scraper, inner.alertEvaluator];
  const reload = () => config.reload(configurable);
  const gateway = createGateway(gatewayOptionsOf(flags, deps.logger), {
    ...deps,
    cluster: inner.cluster,
    distributor: inner.distributor,
    host: createHost(
      {
        version: deps.version,
        flags,
        retentionMs: flags['storage.tsdb.retention.time'],
        retentionBytes: flags['storage.tsdb.retention.size'],
      },
      {
        startedAtMs,
        config,
        reload,
        isReady: () => inner.services.every((service) => service.isReady()),
        shutdown: deps.shutdown,
      },
    ),
  });
  return { service: joinServices(gateway, inner.services, reload), reload };
}

/**
 * A query that asked the store before a sealed block was there must still find the range in the ingester: the range stays
 * readable for the longest query and a margin. The wait in the queue counts into the timeout already.
 */
const SEAL_GRACE_MARGIN_MS = 30_000;
/** As the ingester has it. */
const IMAGE_AT_STOP_MS = 6_000;
/** As the ingester's own default, which fits the default timeout. */
const SEAL_GRACE_MS_MIN = 150_000;

/** There are no other stores to look at, only a bucket; what is in it is known, and only listed now and then. */
const BUCKET_LOOK_MS = 2_000;

function createServices(flags: AllInOneFlags, deps: AllInOneDeps, config: ConfigHolder) {
  const cluster = new EmbeddedCluster({
    instance: flags['cluster.instance'],
    partitionCount: flags['cluster.partitions'],
  });
  const dataDir = flags['storage.tsdb.path'];
  const retentionMs = flags['storage.tsdb.retention.time'];
  const store = createStore(
    {
      dataDir,
      retentionMs,
      retentionBytes: flags['storage.tsdb.retention.size'],
      deleteDelayMs: flags['store.delete-delay'],
      scrubPeriodMs: flags['store.scrub-period'],
      repairIntervalMs: BUCKET_LOOK_MS,
      bucketListIntervalMs: flags['objstore.list-interval'],
      bucketDeleteGraceMs: flags['objstore.delete-grace'],
      localAgeMs: flags['objstore.local-age'],
      cacheBytesMax: flags['objstore.cache-size'],
      storagePolicy: config.config.storage,
    },
    { ...deps, objects: openObjectStore(flags, flags['cluster.name'], process.env, deps) },
  );
  cluster.joinStore(store.handlers);
  cluster.joinVersions('store', store.versionHandlers);
  const ingester = createIngester(
    {
      dataDir,
      partitionCount: flags['cluster.partitions'],
      seriesPerTenantMax: flags['ingest.max-series'],
      sealGraceMs: Math.max(SEAL_GRACE_MS_MIN, flags['query.timeout'] + SEAL_GRACE_MARGIN_MS),
      imageAtStopMs: IMAGE_AT_STOP_MS,
    },
    { ...deps, cluster },
  );
  cluster.joinIngester(ingester.handlers);
  cluster.joinVersions('ingester', ingester.versionHandlers);
  const distributor = createDistributor(
    {
      outOfOrderWindowMs: flags['ingest.out-of-order-window'] || retentionMs,
      ...seriesLimitOptions(flags['ingest.max-series']),
    },
    { ...deps, cluster },
  );
  const querierOptions = querierOptionsOf(flags, deps.logger, config);
  const threads = createQueryThreads(querierOptions, deps.logger);
  const querier = createQuerier(querierOptions, { ...deps, cluster, threads });
  cluster.joinQuerier(querier.handlers);
  const discovery = createDiscoverySources(deps);
  const scraper = createScraper(
    {
      version: deps.version,
      spoolFolder: path.join(dataDir, SPOOL_FOLDER),
      spoolBytesMax: flags['scrape.spool-size'],
    },
    { ...deps, distributor, discovery },
  );
  cluster.joinScraper(scraper.handlers);
  const alertEvaluator = createAlertEvaluator(alertEvaluatorOptionsOf(flags, deps.logger), {
    ...deps,
    cluster,
    distributor,
    discovery,
  });
  cluster.joinAlertEvaluator(alertEvaluator.handlers);
  const writing: Service = {
    name: 'distributor',
    start: () => Promise.resolve(),
    isReady: () => true,
    drain: () => distributor.stop(),
    stop: () => distributor.stop(),
  };
  const querying = rehearsedThreads(
    threads,
    flags['query.rehearsal'] ? (signal) => rehearse(querierOptions, { ...deps, threads, signal }) : undefined,
  );
  const services = [store, querying, ingester, querier, writing, scraper, alertEvaluator];
  return { cluster, distributor, store, scraper, alertEvaluator, services };
}

/** The gateway listens first, so that probes are answered while the log is replayed, and takes no more work first. */
function joinServices(gateway: Service, inner: readonly Service[], reload: () => Promise<void>): Service {
  const reversed = inner.toReversed();
  return {
    name: 'all-in-one',
    start: async () => {
      await gateway.start();
      for (const service of inner) await service.start();
      await reload();
    },
    isReady: () => gateway.isReady() && inner.every((service) => service.isReady()),
    drain: async () => {
      await gateway.drain();
      for (const service of reversed) await service.drain();
    },
    stop: async () => {
      await gateway.stop();
      for (const service of reversed) await service.stop();
    },
  };
}

function gatewayOptionsOf(flags: AllInOneFlags, logger: Logger) {
  return {
    listenAddress: flags['web.listen-address'],
    externalUrl: flags['web.external-url'],
    lifecycleEnabled: flags['web.enable-lifecycle'],
    adminApiEnabled: flags['web.enable-admin-api'],
    corsOrigin: flags['web.cors.origin'],
    queryTimeoutMs: flags['query.timeout'],
    features: featuresOf(flags['enable-feature'], logger),
  };
}

function querierOptionsOf(flags: AllInOneFlags, logger: Logger, config: ConfigHolder) {
  return {
    ...DEFAULT_QUERIER_OPTIONS,
    timeoutMs: flags['query.timeout'],
    samplesMax: flags['query.max-samples'],
    seriesMax: flags['query.max-series'],
    memoryBytesMax: memoryShare(1 / 8, flags['query.max-memory']),
    memoryTotalBytesMax: memoryShare(1 / 8, flags['query.max-memory-total']),
    resultCacheBytes: memoryShare(1 / 32, flags['query.result-cache-size']),
    threads: flags['query.threads'] || DEFAULT_QUERIER_OPTIONS.threads,
    concurrencyMax: flags['query.max-concurrency'],
    lookbackMs: flags['query.lookback-delta'],
    noStepSubqueryIntervalMs: () => config.config.global.evaluationIntervalMs,
    replicaLabels: labelNamesOf(flags['query.replica-labels']),
    features: featuresOf(flags['enable-feature'], logger),
  };
}

function alertEvaluatorOptionsOf(flags: AllInOneFlags, logger: Logger) {
  return {
    externalUrl: flags['web.external-url'] || `http://${hostname()}:${portOf(flags['web.listen-address'])}`,
    resendDelayMs: flags['rules.alert.resend-delay'],
    outageToleranceMs: flags['rules.alert.for-outage-tolerance'],
    gracePeriodMs: flags['rules.alert.for-grace-period'],
    queueCapacity: flags['alertmanager.notification-queue-capacity'],
    features: featuresOf(flags['enable-feature'], logger),
  };
}

/** `9090` of `0.0.0.0:9090`. */
function portOf(address: string): string {
  return address.slice(address.lastIndexOf(':') + 1);
}

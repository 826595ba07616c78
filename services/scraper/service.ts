// The scraper: one pool per scrape job, one spool for what they scraped, and the Targets call.
import type { Registry } from 'prom-client';
import type { Clock } from '../lib/core/clock.ts';
import { type Disk, systemDisk } from '../lib/core/disk.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import type { DiscoverySources } from '../lib/discovery/discovery.ts';
import { createDiscoverySources } from '../lib/discovery/discovery-sources.ts';
import type { Distributor } from '../lib/distributor/appender.ts';
import { ProtobufParser } from '../lib/exposition/protobuf-parser.ts';
import { formatDuration } from '../lib/model/duration.ts';
import type { Labels } from '../lib/model/labels.ts';
import { StartTimeMemory } from '../lib/model/start-time-memory.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import type { PrometheusConfig } from '../lib/runtime/config/prometheus-config.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { Service } from '../lib/runtime/service.ts';
import type { Handlers } from '../lib/transport/rpc.ts';
import {
  type ActiveTarget,
  type DroppedTarget,
  type ScraperDefinition,
  TargetState,
  type TargetsRequest,
  type TargetsResponse,
} from '../lib/wire/contracts.ts';
import { Monitors } from './discovery/monitors.ts';
import { SharedDiscovery, type SharingDeps } from './discovery/shared-discovery.ts';
import { SharedTexts } from './expositions/shared-texts.ts';
import { FailureLogs } from './failure-log.ts';
import { ScrapeFetcher } from './fetching/scrape-fetcher.ts';
import { createMetrics } from './metrics.ts';
import {
  DEFAULT_BODY_BYTES_MAX,
  DEFAULT_DROPPED_TARGETS_MAX,
  DEFAULT_SPOOL_BYTES_MAX,
  DEFAULT_SPOOL_SAMPLES_MAX,
  DEFAULT_WRITE_GATHER_MS,
  DEFAULT_WRITES_IN_FLIGHT_MAX,
  type ScraperOptions,
} from './options.ts';
import type { ScrapeLoop } from './scrape-loop.ts';
import { HAND_OVER_MS, type PoolDeps, type PoolOptions, ScrapePool } from './scrape-pool.ts';
import { BUCKETS, bucketOf, costOf } from './sharding/share-record.ts';
import type { TargetShares } from './sharding/target-shares.ts';
import { DiskSpool } from './spool/disk-spool.ts';
import { WriteSpool } from './spool/write-spool.ts';
import { globalUrl } from './targets/target.ts';
import { listTargetMetadata } from './targets/target-metadata.ts';
import { WriteBatches } from './write-batch.ts';

/** Longest that a drain waits for samples to be written. */
const FLUSH_TIMEOUT_MS = 10_000;

/** How long a scraper that leaves goes on: the others take half a second to believe it, and then as long as for any other target. */
const DRAIN_OVERLAP_MS = 500 + HAND_OVER_MS;

export interface ScraperDeps {
  readonly distributor: Distributor;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Whether this scraper scrapes the target of that key; absent: all of them. Call `rebalance` when it answers otherwise. */
  readonly owns?: (targetKey: string) => boolean;
  /** Of the spool. Default: the machine's. */
  readonly disk?: Disk;
  /** Shared with others of this process; one of its own by default. */
  readonly discovery?: DiscoverySources;
  /** Whether other scrapers take the targets over when this one drains: it goes on for a moment then. Default: none do. */
  readonly hasOthers?: () => boolean;
  /** Shared with others of this process, who stop it; one of its own by default. */
  readonly fetcher?: ScrapeFetcher;
  /** How scrapers of a cluster share their targets out by cost; it says what `owns` answers. */
  readonly shares?: Pick<TargetShares, 'start' | 'stop' | 'balance'>;
  /** How scrapers of a cluster discover once for all; absent: this one discovers by itself. */
  readonly sharing?: SharingDeps;
}

export interface Scraper extends Service {
  readonly handlers: Handlers<typeof ScraperDefinition>;
  /**
   * Takes a configuration over: the first one starts the loops. Jobs, targets and loops that stay the same are not
   * interrupted.
   */
  applyConfig(config: PrometheusConfig): Promise<void>;
  /** Takes on and gives up targets as `owns` says now. The series of targets that are given up do not end. */
  rebalance(): Promise<void>;
}

/** A scraper that scrapes nothing until it has a configuration. */
export function createScraper(options: ScraperOptions, deps: ScraperDeps): Scraper {
  const pools = new Map<string, ScrapePool>();
  const logger = deps.logger.child({ service: 'scraper' });
  const sum = (read: (pool: ScrapePool) => number): number => {
    let total = 0;
    for (const pool of pools.values()) total += read(pool);
    return total;
  };
  const inFlightMax = options.writesInFlightMax ?? DEFAULT_WRITES_IN_FLIGHT_MAX;
  const batches = new WriteBatches(inFlightMax * 2);
  const metrics = createMetrics(deps.registry, {
    activeTargets: () => sum((pool) => pool.activeCount),
    droppedTargets: () => sum((pool) => pool.droppedCount),
    cachedSeries: () => sum(cachedSeries),
    spooledSamples: () => spool.waitingSamples,
    spoolBytes: () => diskSpool?.bytes ?? 0,
  });
  const appender = deps.distributor.appender(options.tenant ?? DEFAULT_TENANT);
  const spool: WriteSpool = new WriteSpool(
    {
      samplesMax: options.spoolSamplesMax ?? DEFAULT_SPOOL_SAMPLES_MAX,
      inFlightMax,
      gatherMs: options.writeGatherMs ?? DEFAULT_WRITE_GATHER_MS,
    },
    { appender, batches, clock: deps.clock, logger, metrics },
  );
  const poolOptions: PoolOptions = {
    version: options.version,
    bodyBytesMax: options.bodyBytesMax ?? DEFAULT_BODY_BYTES_MAX,
    droppedTargetsMax: options.droppedTargetsMax ?? DEFAULT_DROPPED_TARGETS_MAX,
  };
  const sources = deps.discovery ?? createDiscoverySources(deps);
  const shared =
    deps.sharing === undefined
      ? undefined
      : new SharedDiscovery({ ...deps.sharing, clock: deps.clock, logger, registry: deps.registry });
  const discovery = shared === undefined ? sources : { ...sources, share: shared.share };
  const fetcher = deps.fetcher ?? new ScrapeFetcher({ clock: deps.clock, logger });
  const failureLogs = new FailureLogs({ clock: deps.clock, logger, metrics });
  const poolDeps: PoolDeps = {
    appender,
    spool,
    batches,
    fetcher,
    texts: new SharedTexts(),
    failureLogs,
    protobuf: new ProtobufParser(),
    startTimes: new StartTimeMemory(),
    discovery,
    clock: deps.clock,
    logger,
    metrics,
    owns: deps.owns,
  };
  let diskSpool: DiskSpool | undefined;
  let running = false;
  let draining = false;
  let changing: Promise<void> = Promise.resolve();

  const change = async (config: PrometheusConfig): Promise<void> => {
    if (draining) return;
    await monitors.follow(config);
    const wanted = new Map(
      [...monitors.scrapeConfigs(), ...config.scrapeConfigs].map((each) => [each.jobName, each]),
    );
    const gone = [...pools].filter(([jobName]) => !wanted.has(jobName));
    for (const [jobName] of gone) pools.delete(jobName);
    await Promise.all(gone.map(([, pool]) => pool.remove()));
    await Promise.all(
      [...wanted].map(async ([jobName, each]) => {
        const known = pools.get(jobName);
        if (known !== undefined) return known.applyConfig(each);
        const pool = new ScrapePool(each, poolOptions, poolDeps);
        pools.set(jobName, pool);
        return pool.start();
      }),
    );
  };

  const apply = (config: PrometheusConfig): Promise<void> => {
    applied = config;
    changing = changing.catch(() => {}).then(() => change(config));
    return changing;
  };

  let applied: PrometheusConfig | undefined;
  const monitors = new Monitors(discovery.hub, {
    clock: deps.clock,
    logger,
    onChange: () => {
      if (applied === undefined || draining) return;
      apply(applied).catch((caught: unknown) => {
        logger.error({ err: toAppError(caught) }, 'the jobs of monitors were not taken over');
      });
    },
    onError: () => metrics.discoveryErrors.inc(),
  });

  const drain = async (): Promise<void> => {
    draining = true;
    await changing.catch(() => {});
    await monitors.stop();
    // The others begin when they have seen for a moment that this one leaves; until then targets would be nobody's.
    if (deps.hasOthers?.() === true) await deps.clock.sleep(DRAIN_OVERLAP_MS);
    await Promise.all([...pools.values()].map((pool) => pool.stop()));
    await Promise.all([shared?.stop(), deps.shares?.stop()]);
    await failureLogs.flush();
    await spool.flush(FLUSH_TIMEOUT_MS);
  };

  return {
    name: 'scraper',
    start: async () => {
      const { spoolFolder, spoolBytesMax = DEFAULT_SPOOL_BYTES_MAX } = options;
      if (spoolFolder !== undefined && spoolBytesMax > 0 && diskSpool === undefined) {
        const disk = deps.disk ?? systemDisk;
        diskSpool = await DiskSpool.open(
          { folder: spoolFolder, bytesMax: spoolBytesMax },
          { disk, clock: deps.clock, logger },
        );
        spool.useDisk(diskSpool);
      }
      shared?.start();
      deps.shares?.start(() => targetCosts(pools.values()));
      running = true;
    },
    isReady: () => running && !draining,
    applyConfig: apply,
    rebalance: async () => {
      if (draining) return;
      await Promise.all([...pools.values()].map((pool) => pool.rebalance()));
    },
    drain,
    stop: async () => {
      if (!draining) await drain();
      if (deps.fetcher === undefined) await fetcher.stop();
      await spool.stop();
      await discovery.hub.stop();
      pools.clear();
      running = false;
    },
    handlers: {
      relabelSteps: async ({ scrapePool, labels }) => {
        const pool = pools.get(scrapePool);
        if (pool === undefined)
          throw new AppError('not_found', `scrape pool ${JSON.stringify(scrapePool)} not found`);
        return pool.relabelSteps(labels);
      },
      balance: (request) => {
        if (deps.shares !== undefined) return deps.shares.balance(request);
        throw new AppError('failed_precondition', 'this scraper has all targets for itself');
      },
      discover: (request, context) => {
        if (shared !== undefined) return shared.discover(request, context);
        throw new AppError('failed_precondition', 'this scraper shares no discovery');
      },
      targetMetadata: async (request) => {
        const loops = [...pools.keys()].toSorted().flatMap((jobName) => [...pools.get(jobName)!.loops]);
        return listTargetMetadata(request, loops);
      },
      targets: (request) => Promise.resolve(listTargets(request, pools, monitors, options.externalHost)),
    },
  };
}

/** What the targets of these pools cost, by bucket. */
function targetCosts(pools: Iterable<ScrapePool>): Float64Array {
  const costs = new Float64Array(BUCKETS);
  for (const pool of pools)
    for (const { target, report } of pool.loops)
      costs[bucketOf(target.key)]! += costOf(report.lastSamplesScraped, target.scrapeIntervalMs);
  return costs;
}

function cachedSeries(pool: ScrapePool): number {
  let entries = 0;
  for (const loop of pool.loops) entries += loop.state.cache.entries;
  return entries;
}

function listTargets(
  request: TargetsRequest,
  pools: ReadonlyMap<string, ScrapePool>,
  monitors: Monitors,
  externalHost: string | undefined,
): TargetsResponse {
  const wantsActive = request.state !== TargetState.TARGET_STATE_DROPPED;
  const wantsDropped = request.state !== TargetState.TARGET_STATE_ACTIVE;
  const response: TargetsResponse = { active: [], dropped: [], droppedCounts: {}, discoveryProblems: [] };
  for (const problem of monitors.problems())
    response.discoveryProblems.push({ scrapePool: 'kubernetes_monitors', problem });
  for (const jobName of [...pools.keys()].toSorted()) {
    if (request.scrapePool !== '' && request.scrapePool !== jobName) continue;
    const pool = pools.get(jobName)!;
    for (const problem of pool.discoveryProblems)
      response.discoveryProblems.push({ scrapePool: jobName, problem });
    if (wantsActive) {
      for (const loop of pool.loops) response.active.push(describeActive(loop, jobName, externalHost));
    }
    if (!wantsDropped) continue;
    response.droppedCounts[jobName] = pool.droppedCount;
    for (const labels of pool.dropped) response.dropped.push(describeDropped(labels, jobName));
  }
  return response;
}

function describeActive(loop: ScrapeLoop, jobName: string, externalHost: string | undefined): ActiveTarget {
  const { target, report } = loop;
  return {
    discoveredLabels: toRecord(target.discoveredLabels),
    labels: toRecord(target.labels),
    scrapePool: jobName,
    scrapeUrl: target.scrapeUrl,
    globalUrl: globalUrl(target, externalHost),
    lastError: report.lastError,
    lastScrapeMs: report.lastScrapeMs,
    lastScrapeDurationSeconds: report.lastScrapeDurationSeconds,
    health: report.health,
    scrapeInterval: formatDuration(target.scrapeIntervalMs),
    scrapeTimeout: formatDuration(target.scrapeTimeoutMs),
    lastSamplesScraped: report.lastSamplesScraped,
  };
}

function describeDropped(labels: Labels, jobName: string): DroppedTarget {
  return { discoveredLabels: toRecord(labels), scrapePool: jobName };
}

function toRecord(labels: Labels): { [key: string]: string } {
  return Object.fromEntries(labels.entries());
}

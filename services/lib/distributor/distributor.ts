// The distributor: admits samples without state, splits them by partition, sends each replica its part over a long-lived
// stream and answers when a quorum of replicas has every section. Used by gateway, scraper and alert evaluator. This file
// joins the parts; tenant-appender.ts is the door, write-path.ts the way.
import { randomBytes } from 'node:crypto';
import type { Registry } from 'prom-client';
import type { Clock } from '../core/clock.ts';
import { partitionOfMetric } from '../placement/placement.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Cluster } from '../transport/cluster.ts';
import type { Distributor } from './appender.ts';
import { IngesterStream } from './ingester-stream.ts';
import { DEFAULT_LABEL_LIMITS, type LabelLimits } from './label-rules.ts';
import { createDistributorMetrics, type DistributorMetrics } from './metrics.ts';
import { RouteTable } from './routes.ts';
import { WITHHELD_MAX } from './series-admission.ts';
import { SeriesTable } from './series-table.ts';
import { TenantAppender } from './tenant-appender.ts';
import { WritePath } from './write-path.ts';

export interface DistributorOptions {
  /** Oldest sample accepted, counted back from now, milliseconds: the retention, unless the operator wants less. */
  readonly outOfOrderWindowMs: number;
  /** Newest sample accepted, counted forward from now. Default 10 minutes, as Prometheus. */
  readonly futureToleranceMs?: number;
  /** Most series of a tenant that this process remembers. Default 10 million. */
  readonly seriesPerTenantMax?: number;
  /** Whether ingesters are asked for room before samples of a new series go to them (series-admission.ts). Default false. */
  readonly asksForSeries?: boolean;
  /** Most samples a second and tenant, over ten seconds. Default 0: no limit. */
  readonly samplesPerSecondMax?: number;
  readonly labelLimits?: LabelLimits;
  /** A series that nothing was written to for this long is forgotten (appender.ts). Default 3 hours. */
  readonly referenceIdleMs?: number;
  /** A write without its quorum after this long fails as `unavailable`. Default 10 seconds. */
  readonly writeTimeoutMs?: number;
  /** An ingester knew a newer placement: longest wait until it is here, too, and the write goes on. Default 2 seconds. */
  readonly epochWaitMs?: number;
  /** Most requests in flight to one ingester. Default 256. */
  readonly windowRequestsMax?: number;
  /** Most bytes in flight to one ingester. Default 32 MiB. */
  readonly windowBytesMax?: number;
  /** Wait before a failed stream is opened again, the first time. Default 100 ms. */
  readonly backoffMinMs?: number;
  /** The longest such wait. Default 5 s. */
  readonly backoffMaxMs?: number;
}

export interface DistributorDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  /** Unsigned 32-bit random numbers: hash seed, writer ids, jitter. Default: the system's. */
  readonly randomUint32?: () => number;
}

const DEFAULTS = {
  futureToleranceMs: 10 * 60_000,
  seriesPerTenantMax: 10_000_000,
  asksForSeries: false,
  samplesPerSecondMax: 0,
  labelLimits: DEFAULT_LABEL_LIMITS,
  referenceIdleMs: 3 * 3_600_000,
  writeTimeoutMs: 10_000,
  epochWaitMs: 2_000,
  windowRequestsMax: 256,
  windowBytesMax: 32 * 1024 * 1024,
  backoffMinMs: 100,
  backoffMaxMs: 5000,
} as const;

/** Unit of the time of use that the series table notes. */
const TICK_MS = 10_000;
const SWEEP_INTERVAL_MS = 1000;
/** A series that its tenant has no room for is forgotten when nothing was written to it for this long: twice a slow scrape interval. */
const WITHHELD_IDLE_MS = 4 * 60_000;
/** A round over the whole series table takes about this many sweeps, ten minutes under load. */
const SWEEPS_PER_ROUND = 600;
/** How often `stop` looks whether the writes in flight are through. */
const STOP_POLL_MS = 10;

/**
 * What `--ingest.max-series` means to a distributor: ingesters decide, and beside the series that they have in memory it remembers those
 * that were not written for long, and those that were refused.
 */
export function seriesLimitOptions(seriesMax: number) {
  return { asksForSeries: true, seriesPerTenantMax: 2 * seriesMax + WITHHELD_MAX } as const;
}

/** Makes the distributor. `stop` refuses new writes, lets those in flight finish, and closes the streams; safe to call twice. */
export function createDistributor(
  options: DistributorOptions,
  deps: DistributorDeps,
): Distributor & { stop(): Promise<void> } {
  return new ClusterDistributor({ ...DEFAULTS, ...options }, deps);
}

class ClusterDistributor implements Distributor {
  readonly #options: Required<DistributorOptions>;
  readonly #deps: DistributorDeps;
  readonly #table: SeriesTable;
  readonly #metrics: DistributorMetrics;
  readonly #routes: RouteTable;
  readonly #path: WritePath;
  readonly #appenders = new Map<string, TenantAppender>();
  readonly #startedMs: number;
  #stopping = false;
  #sweptAtMs: number;
  #sweepPage = 0;

  constructor(options: Required<DistributorOptions>, deps: DistributorDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#startedMs = deps.clock.monotonicMs();
    this.#sweptAtMs = this.#startedMs;
    const randomUint32 = deps.randomUint32 ?? (() => randomBytes(4).readUInt32LE(0));
    this.#table = new SeriesTable(randomUint32());
    this.#routes = this.#createRoutes(randomUint32);
    this.#metrics = createDistributorMetrics(deps.registry, {
      series: () => this.#table.live,
      seriesBytes: () => this.#table.memoryBytes,
      inFlight: () =>
        Array.from(this.#routes.streams, (stream) => ({
          instance: stream.instance,
          requests: stream.requestsInFlight,
          bytes: stream.bytesInFlight,
        })),
    });
    this.#path = new WritePath(options.writeTimeoutMs, {
      clock: deps.clock,
      table: this.#table,
      routes: this.#routes,
      metrics: this.#metrics,
      replicationFactor: () => deps.cluster.replicationFactor,
      partitionOfMetric,
      origin: hexOf(randomUint32, 2),
      epochWaitMs: options.epochWaitMs,
    });
  }

  appender(tenant: string): TenantAppender {
    let appender = this.#appenders.get(tenant);
    if (appender === undefined) {
      appender = new TenantAppender(tenant, this.#options, {
        clock: this.#deps.clock,
        table: this.#table,
        routes: this.#routes,
        path: this.#path,
        metrics: this.#metrics,
        replicationFactor: () => this.#deps.cluster.replicationFactor,
        tick: () => this.#tick(),
        closedReason: () => (this.#stopping ? 'this process is shutting down' : undefined),
        onWrite: () => this.#sweep(),
      });
      this.#appenders.set(tenant, appender);
    }
    return appender;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    while (this.#path.pending > 0) await this.#deps.clock.sleep(STOP_POLL_MS);
    for (const stream of this.#routes.streams) stream.retire();
  }

  #createRoutes(randomUint32: () => number): RouteTable {
    const { clock, cluster, logger } = this.#deps;
    const streamOptions = { ...this.#options, answerTimeoutMs: this.#options.writeTimeoutMs };
    const newWriterId = (): string => hexOf(randomUint32, 4);
    return new RouteTable(
      cluster,
      ({ instance, client, isRemote = false }) =>
        new IngesterStream(
          instance,
          client,
          { ...streamOptions, packs: isRemote },
          {
            clock,
            table: this.#table,
            random: () => randomUint32() / 0x100000000,
            newWriterId,
            onSessionFailure: (error, retryInMs) => {
              this.#metrics.sessionFailures.inc({ ingester: instance });
              logger.warn({ ingester: instance, err: error, retryInMs }, 'append stream failed');
            },
          },
        ),
    );
  }

  /** From 1 upwards, in units of TICK_MS. */
  #tick(): number {
    return 1 + Math.floor((this.#deps.clock.monotonicMs() - this.#startedMs) / TICK_MS);
  }

  /** Forgets idle series, a few pages at a time. */
  #sweep(): void {
    const nowMs = this.#deps.clock.monotonicMs();
    if (nowMs - this.#sweptAtMs < SWEEP_INTERVAL_MS) return;
    this.#sweptAtMs = nowMs;
    const oldestTick = this.#tick() - Math.ceil(this.#options.referenceIdleMs / TICK_MS);
    const oldestWithheldTick = this.#tick() - WITHHELD_IDLE_MS / TICK_MS;
    const pages = this.#table.pages.length;
    if (Math.max(oldestTick, oldestWithheldTick) <= 0 || pages === 0) return;
    let forgotten = 0;
    for (let i = Math.ceil(pages / SWEEPS_PER_ROUND); i > 0; i--) {
      this.#sweepPage = this.#sweepPage + 1 < pages ? this.#sweepPage + 1 : 0;
      forgotten += this.#table.forgetIdle(this.#sweepPage, oldestTick, oldestWithheldTick);
    }
    if (forgotten > 0) this.#metrics.seriesForgotten.inc(forgotten);
  }
}

/** Random words as hexadecimal digits, eight each. */
function hexOf(randomUint32: () => number, words: number): string {
  return Array.from({ length: words }, () => randomUint32().toString(16).padStart(8, '0')).join('');
}

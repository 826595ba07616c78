// One scrape job: its discovery, its targets, a loop for each. Reloads keep the loops whose target and settings stayed, and
// hand the known series over where something changed. A target that is gone gets its staleness markers once it is certain
// that it does not come back, which the next scrape time decides.
import type { Clock } from '../lib/core/clock.ts';
import { createDiscovery, type Discovery, type DiscoverySources } from '../lib/discovery/discovery.ts';
import type { Appender } from '../lib/distributor/appender.ts';
import type { ProtobufParser } from '../lib/exposition/protobuf-parser.ts';
import type { Labels } from '../lib/model/labels.ts';
import type { StartTimeMemory } from '../lib/model/start-time-memory.ts';
import { compileRelabeler, LEGACY_NAMES, type Relabeler, UTF8_NAMES } from '../lib/relabel/relabel.ts';
import { configPrint } from '../lib/runtime/config/config-print.ts';
import type { TargetGroup } from '../lib/runtime/config/discovery-config.ts';
import type { ScrapeConfig } from '../lib/runtime/config/prometheus-config.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { RelabelStepsResponse } from '../lib/wire/contracts.ts';
import { FamilyMetadata } from './expositions/family-metadata.ts';
import { schemaOfFactor } from './expositions/histogram-limits.ts';
import type { SharedTexts } from './expositions/shared-texts.ts';
import type { FailureLogs } from './failure-log.ts';
import type { FetchClient, ScrapeFetcher } from './fetching/scrape-fetcher.ts';
import type { ScraperMetrics } from './metrics.ts';
import { type LoopSettings, type LoopState, newLoopState, ScrapeLoop } from './scrape-loop.ts';
import type { WriteSpool } from './spool/write-spool.ts';
import { relabelSteps } from './targets/relabel-steps.ts';
import { buildTargets, type Target, type TargetOutcome } from './targets/target.ts';
import type { WriteBatches } from './write-batch.ts';

/** Part of the interval that a target is given to come back after its next scrape was due. */
const RETURN_GRACE = 0.1;
/** All metadata of a job is sent again after this long: an ingester that lost it has it back soon. */
const METADATA_RESEND_MS = 5 * 60_000;

export interface PoolOptions {
  readonly version: string;
  readonly bodyBytesMax: number;
  readonly droppedTargetsMax: number;
}

export interface PoolDeps {
  readonly appender: Appender;
  readonly spool: WriteSpool;
  readonly batches: WriteBatches;
  readonly fetcher: ScrapeFetcher;
  readonly texts: SharedTexts;
  readonly failureLogs: FailureLogs;
  readonly protobuf: ProtobufParser;
  readonly startTimes: StartTimeMemory;
  readonly discovery: DiscoverySources;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ScraperMetrics;
  /** Whether this scraper scrapes the target of that key; absent: all of them. */
  readonly owns?: ((targetKey: string) => boolean) | undefined;
}

/**
 * How long a target that another scraper has now is scraped here too: longer than members take to know of each other. Both take their
 * samples at the same times, so that twice is once.
 */
export const HAND_OVER_MS = 2_000;
/** Longest that a scrape under way holds up an orderly end. */
const LAST_SCRAPE_GRACE_MS = 10_000;

/** A loop that was stopped and whose series have not ended yet. */
interface Departed {
  readonly loop: ScrapeLoop;
  readonly cancel: AbortController;
}

export class ScrapePool {
  readonly #options: PoolOptions;
  readonly #deps: PoolDeps;
  readonly #families = new FamilyMetadata();
  readonly #loops = new Map<string, ScrapeLoop>();
  /** By the labels of the series. */
  readonly #departed = new Map<string, Departed>();
  /** Loops of targets that another scraper has now, by target, for a moment longer. */
  readonly #handedOver = new Map<string, Departed>();
  readonly #stopping = new AbortController();
  #config: ScrapeConfig;
  #discovery: Discovery;
  #client: FetchClient;
  #settings: LoopSettings;
  #relabel: Relabeler;
  /** What became of a group; groups never change, so that only new ones are relabelled. */
  #outcomes = new WeakMap<TargetGroup, readonly TargetOutcome[]>();
  #dropped: Labels[] = [];
  #droppedCount = 0;
  #failures = new Map<string, string>();
  #syncing: Promise<void> = Promise.resolve();
  #started = false;

  constructor(config: ScrapeConfig, options: PoolOptions, deps: PoolDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#config = config;
    this.#discovery = this.#createDiscovery(config);
    this.#client = this.#openClient(config);
    this.#relabel = compileRelabeler(config.relabelConfigs, namesOf(config));
    this.#settings = this.#createSettings(config, undefined);
  }

  get jobName(): string {
    return this.#config.jobName;
  }

  get loops(): Iterable<ScrapeLoop> {
    return this.#loops.values();
  }

  get activeCount(): number {
    return this.#loops.size;
  }

  /** Labels before relabelling of dropped targets, as many as are kept. */
  get dropped(): readonly Labels[] {
    return this.#dropped;
  }

  /** What relabelling makes of labels, step by step. */
  relabelSteps(labels: Readonly<Record<string, string>>): RelabelStepsResponse {
    return relabelSteps(this.#config.relabelConfigs, namesOf(this.#config), labels);
  }

  /** What does not work in finding targets. */
  get discoveryProblems(): readonly string[] {
    return this.#discovery.problems();
  }

  get droppedCount(): number {
    return this.#droppedCount;
  }

  async start(): Promise<void> {
    await Promise.all([this.#discovery.start(), this.#deps.fetcher.ready()]);
    this.#started = true;
    await this.#sync();
    void this.#resendMetadata();
  }

  /** Changes the configuration of the same job. */
  async applyConfig(config: ScrapeConfig): Promise<void> {
    const before = this.#config;
    if (configPrint(before) === configPrint(config)) return;
    this.#config = config;
    this.#relabel = compileRelabeler(config.relabelConfigs, namesOf(config));
    this.#outcomes = new WeakMap();
    if (configPrint(loopPart(before)) !== configPrint(loopPart(config))) {
      const old = this.#client;
      this.#client = this.#openClient(config);
      this.#settings = this.#createSettings(config, this.#settings.refusal);
      await this.#restartLoops();
      old.close();
    }
    if (configPrint(before.discovery) !== configPrint(config.discovery)) {
      const old = this.#discovery;
      this.#discovery = this.#createDiscovery(config);
      await old.stop();
      await this.#discovery.start();
    }
    await this.#sync();
  }

  /** Asks `owns` anew for every target. */
  rebalance(): Promise<void> {
    return this.#started ? this.#sync() : Promise.resolve();
  }

  /** Stops scraping. Series are not marked stale: whoever scrapes the targets next goes on with them. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#discovery.stop();
    await this.#syncing;
    const handedOver = this.#takeHandedOver();
    await Promise.all(
      [...this.#loops.values(), ...handedOver].map((loop) => loop.finish(LAST_SCRAPE_GRACE_MS)),
    );
    for (const { cancel } of this.#departed.values()) cancel.abort();
    this.#client.close();
  }

  /** Stops scraping for good, the job is gone from the configuration: all its series end. */
  async remove(): Promise<void> {
    this.#stopping.abort();
    await this.#discovery.stop();
    await this.#syncing;
    await Promise.all([...this.#loops.values(), ...this.#takeHandedOver()].map((loop) => loop.stop()));
    for (const { cancel } of this.#departed.values()) cancel.abort();
    for (const { loop } of this.#departed.values()) loop.endSeries(endTimeOf(loop));
    for (const loop of this.#loops.values()) loop.endSeries(endTimeOf(loop));
    this.#loops.clear();
    this.#departed.clear();
    this.#client.close();
  }

  #openClient({ http, enableCompression, scrapeProtocols, nameEscaping }: ScrapeConfig): FetchClient {
    const { version } = this.#options;
    return this.#deps.fetcher.open({ http, enableCompression, scrapeProtocols, nameEscaping, version });
  }

  #createDiscovery(config: ScrapeConfig): Discovery {
    const { clock, logger, metrics, discovery } = this.#deps;
    return createDiscovery(config.discovery, {
      sources: discovery,
      clock,
      logger: logger.child({ job: config.jobName }),
      onChange: () => {
        if (this.#started) void this.#sync();
      },
      onError: () => metrics.discoveryErrors.inc(),
    });
  }

  #createSettings(config: ScrapeConfig, refusal: string | undefined): LoopSettings {
    return {
      config,
      rules: {
        honorLabels: config.honorLabels,
        honorTimestamps: config.honorTimestamps,
        trackTimestampsStaleness: config.trackTimestampsStaleness,
        sampleLimit: config.sampleLimit,
        relabel: compileRelabeler(config.metricRelabelConfigs, namesOf(config)),
        limits: config,
        histogramLimits: {
          bucketLimit: config.histograms.bucketLimit,
          schemaMax: schemaOfFactor(config.histograms.minBucketFactor),
        },
      },
      bodyBytesMax:
        config.bodySizeLimitBytes === 0
          ? this.#options.bodyBytesMax
          : Math.min(config.bodySizeLimitBytes, Number.MAX_SAFE_INTEGER),
      refusal,
    };
  }

  /** Brings the loops in line with the targets that discovery finds; one at a time. */
  #sync(): Promise<void> {
    this.#syncing = this.#syncing.then(() => this.#syncOnce());
    return this.#syncing;
  }

  async #syncOnce(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    const targets = this.#findTargets();
    const owns = this.#deps.owns ?? (() => true);
    const gone = [...this.#loops.values()].filter(({ target }) => !targets.has(target.key));
    await Promise.all(gone.map((loop) => loop.stop()));
    for (const loop of gone) {
      this.#loops.delete(loop.target.key);
      this.#depart(loop);
    }
    for (const loop of [...this.#loops.values()]) if (!owns(loop.target.key)) this.#handOver(loop);
    await this.#applyTargetLimit(targets.size);
    for (const target of targets.values()) {
      if (this.#loops.has(target.key) || !owns(target.key)) continue;
      if (!this.#takeBack(target)) this.#startLoop(target, this.#takeDeparted(target));
    }
  }

  /** Another scraper has the target now. Its series go on, and so does the loop, until the other one is sure to have begun. */
  #handOver(loop: ScrapeLoop): void {
    const { key } = loop.target;
    const departed = { loop, cancel: new AbortController() };
    this.#loops.delete(key);
    this.#handedOver.set(key, departed);
    this.#deps.clock
      .sleep(HAND_OVER_MS, departed.cancel.signal)
      .then(async () => {
        if (this.#handedOver.get(key) === departed) this.#handedOver.delete(key);
        await loop.finish(LAST_SCRAPE_GRACE_MS);
      })
      .catch(() => undefined);
  }

  /** True when the target was handed over a moment ago and its loop still runs, with the settings of now. */
  #takeBack(target: Target): boolean {
    const departed = this.#handedOver.get(target.key);
    if (departed === undefined) return false;
    this.#handedOver.delete(target.key);
    departed.cancel.abort();
    this.#loops.set(target.key, departed.loop);
    return true;
  }

  #takeHandedOver(): ScrapeLoop[] {
    const taken = [...this.#handedOver.values()];
    this.#handedOver.clear();
    for (const { cancel } of taken) cancel.abort();
    return taken.map(({ loop }) => loop);
  }

  #findTargets(): ReadonlyMap<string, Target> {
    const targets = new Map<string, Target>();
    const failures = new Map<string, string>();
    const keptMax = Math.min(
      this.#config.keepDroppedTargets || Number.POSITIVE_INFINITY,
      this.#options.droppedTargetsMax,
    );
    this.#dropped = [];
    this.#droppedCount = 0;
    for (const group of this.#discovery.groups()) {
      for (const outcome of this.#outcomesOf(group)) {
        if (outcome.kind === 'active') {
          if (!targets.has(outcome.target.key)) targets.set(outcome.target.key, outcome.target);
        } else if (outcome.kind === 'dropped') {
          this.#droppedCount++;
          if (this.#dropped.length < keptMax) this.#dropped.push(outcome.discoveredLabels);
        } else {
          failures.set(outcome.discoveredLabels.toString(), outcome.reason);
        }
      }
    }
    this.#logFailures(failures);
    return targets;
  }

  #outcomesOf(group: TargetGroup): readonly TargetOutcome[] {
    let outcomes = this.#outcomes.get(group);
    if (outcomes === undefined) {
      outcomes = buildTargets(this.#config, group, this.#relabel);
      this.#outcomes.set(group, outcomes);
    }
    return outcomes;
  }

  #logFailures(failures: Map<string, string>): void {
    for (const [labels, reason] of failures) {
      if (this.#failures.get(labels) === reason) continue;
      this.#deps.logger.error({ job: this.jobName, target: labels, reason }, 'a target cannot be scraped');
    }
    this.#failures = failures;
  }

  /** Over the limit no target is scraped, and each says why. */
  async #applyTargetLimit(count: number): Promise<void> {
    const { targetLimit } = this.#config;
    const over = targetLimit > 0 && count > targetLimit;
    const refusal = over
      ? `target_limit exceeded (number of targets: ${count}, limit: ${targetLimit})`
      : undefined;
    if (refusal === this.#settings.refusal) return;
    this.#settings = { ...this.#settings, refusal };
    await this.#restartLoops();
  }

  /** Replaces every loop by one with the settings as they are now; its series go on. */
  async #restartLoops(): Promise<void> {
    for (const loop of this.#takeHandedOver()) void loop.finish(LAST_SCRAPE_GRACE_MS);
    await Promise.all(
      [...this.#loops.values()].map(async (loop) => {
        await loop.finish();
        loop.state.cache.forgetTexts();
        this.#startLoop(loop.target, loop);
      }),
    );
  }

  #startLoop(target: Target, before: ScrapeLoop | undefined): void {
    const state: LoopState = before?.state ?? newLoopState(this.#deps.texts);
    const loop = new ScrapeLoop(target, state, this.#settings, {
      ...this.#deps,
      client: this.#client,
      families: this.#families,
    });
    if (before !== undefined) loop.adoptReport(before.report);
    this.#loops.set(target.key, loop);
    loop.start();
  }

  /** A loop of the same series that stopped a moment ago: the target came back, or moved. */
  #takeDeparted(target: Target): ScrapeLoop | undefined {
    const key = target.labels.key;
    const departed = this.#departed.get(key);
    if (departed === undefined) return undefined;
    departed.cancel.abort();
    this.#departed.delete(key);
    departed.loop.state.cache.forgetTexts();
    return departed.loop;
  }

  #depart(loop: ScrapeLoop): void {
    const key = loop.target.labels.key;
    const cancel = new AbortController();
    const before = this.#departed.get(key);
    if (before !== undefined) {
      before.cancel.abort();
      before.loop.endSeries(endTimeOf(before.loop));
    }
    const departed = { loop, cancel };
    this.#departed.set(key, departed);
    void this.#endLater(key, departed);
  }

  /** Staleness markers at the time of the scrape that does not happen, once that is certain. */
  async #endLater(key: string, departed: Departed): Promise<void> {
    const { clock } = this.#deps;
    const { loop, cancel } = departed;
    const waitMs = endTimeOf(loop) + loop.target.scrapeIntervalMs * RETURN_GRACE - clock.nowMs();
    try {
      await clock.sleep(Math.min(Math.max(waitMs, 0), 2 * loop.target.scrapeIntervalMs), cancel.signal);
    } catch {
      return;
    }
    if (this.#departed.get(key) !== departed) return;
    this.#departed.delete(key);
    loop.endSeries(endTimeOf(loop));
  }

  async #resendMetadata(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#deps.clock.sleep(METADATA_RESEND_MS, signal).catch(() => {});
      this.#families.touchAll();
    }
  }
}

/** When the series of a stopped loop end: at its first scrape time without a scrape. */
function endTimeOf(loop: ScrapeLoop): number {
  return loop.state.lastScrapeMs + loop.target.scrapeIntervalMs;
}

function namesOf(config: ScrapeConfig): (name: string) => boolean {
  return config.nameValidation === 'legacy' ? LEGACY_NAMES : UTF8_NAMES;
}

/** What a loop is made with; the rest only decides which targets there are. */
function loopPart(config: ScrapeConfig): unknown {
  return { ...config, discovery: [], relabelConfigs: [], keepDroppedTargets: 0, targetLimit: 0 };
}

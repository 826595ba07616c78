// One target, scraped at its times: order (the fetch thread keeps the time), parse, relabel, report `up` and the `scrape_*` series, mark
// what ended as stale.
import type { Clock } from '../lib/core/clock.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import type { Appender, SeriesReference } from '../lib/distributor/appender.ts';
import { ClassicToCustom } from '../lib/exposition/classic-to-custom.ts';
import { parseOpenMetrics } from '../lib/exposition/openmetrics-parser.ts';
import type { ProtobufParser } from '../lib/exposition/protobuf-parser.ts';
import { parseText } from '../lib/exposition/text-parser.ts';
import { METRIC_NAME } from '../lib/model/labels.ts';
import type { StartTimeMemory } from '../lib/model/start-time-memory.ts';
import type { ScrapeConfig } from '../lib/runtime/config/prometheus-config.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { MetricMetadata } from '../lib/wire/contracts.ts';
import {
  type AppendRules,
  ExpositionAppender,
  type ScrapeCounts,
} from './expositions/exposition-appender.ts';
import { type FamilyMetadata, MetadataLines } from './expositions/family-metadata.ts';
import { type ExpositionFormat, expositionFormat } from './expositions/media-type.ts';
import { SeriesCache } from './expositions/series-cache.ts';
import type { SharedTexts } from './expositions/shared-texts.ts';
import type { FailureLogs } from './failure-log.ts';
import { BodyTooLargeError } from './fetching/scrape-client.ts';
import {
  type FetchClient,
  type Fetched,
  failedFetch,
  type PendingScrape,
} from './fetching/scrape-fetcher.ts';
import type { ScraperMetrics } from './metrics.ts';
import type { WriteSpool } from './spool/write-spool.ts';
import { nextScrapeMs, type Target } from './targets/target.ts';
import type { WriteBatch, WriteBatches } from './write-batch.ts';

const REPORT_NAMES = [
  'up',
  'scrape_duration_seconds',
  'scrape_samples_scraped',
  'scrape_samples_post_metric_relabeling',
  'scrape_series_added',
];
const EXTRA_REPORT_NAMES = ['scrape_timeout_seconds', 'scrape_sample_limit', 'scrape_body_size_bytes'];

/** How long a reload waits for a scrape under way before it is given up. */
const FINISH_GRACE_MS = 1000;

/** How long a body may wait for others to be parsed with: waking the main thread up costs as much as parsing a hundred samples. */
const HAND_OVER_PATIENCE_MS = 50;

/** What the loops of a job share. */
export interface LoopSettings {
  readonly config: ScrapeConfig;
  readonly rules: Omit<AppendRules, 'targetLabels'>;
  readonly bodyBytesMax: number;
  /** Every scrape fails with this: the job has more targets than its target_limit. */
  readonly refusal: string | undefined;
}

export interface LoopDeps {
  readonly appender: Appender;
  readonly client: FetchClient;
  readonly spool: WriteSpool;
  readonly batches: WriteBatches;
  readonly families: FamilyMetadata;
  readonly failureLogs: FailureLogs;
  readonly protobuf: ProtobufParser;
  readonly startTimes: StartTimeMemory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ScraperMetrics;
}

/** How the last scrape went, for the API. */
export interface ScrapeReport {
  readonly health: 'unknown' | 'up' | 'down';
  readonly lastError: string;
  /** Unix milliseconds; 0 before the first scrape. */
  readonly lastScrapeMs: number;
  readonly lastScrapeDurationSeconds: number;
  readonly lastSamplesScraped: number;
}

/** What outlives a loop: which series its target has. The next loop of the same series takes it over. */
export interface LoopState {
  readonly cache: SeriesCache;
  /** Report series were written, so they have to end some time. */
  reported: boolean;
  lastScrapeMs: number;
}

export function newLoopState(texts: SharedTexts): LoopState {
  return { cache: new SeriesCache(texts), reported: false, lastScrapeMs: 0 };
}

/** What a scrape brought, before it is reported. */
interface Outcome {
  readonly error: AppError | undefined;
  readonly counts: ScrapeCounts;
  /** Bytes of the body; -1 when it was too large, 0 when there was none. */
  readonly bodyBytes: number;
}

const NO_COUNTS: ScrapeCounts = {
  scraped: 0,
  added: 0,
  seriesAdded: 0,
  duplicates: 0,
  refused: 0,
  firstRefusal: undefined,
};

export class ScrapeLoop {
  readonly target: Target;
  readonly state: LoopState;
  readonly #settings: LoopSettings;
  readonly #deps: LoopDeps;
  readonly #exposition: ExpositionAppender;
  readonly #metadata: MetadataLines;
  /** Where classic histograms of text formats become native ones. */
  readonly #converter: ClassicToCustom | undefined;
  /** Aborted when there is to be no further scrape. */
  readonly #ending = new AbortController();
  /** What is under way does not count any more, either. */
  #isStopped = false;
  /** Ordered and not here yet. */
  #pending: PendingScrape | undefined;
  #reportReferences: SeriesReference[] | undefined;
  /** Forgotten reference → the one in its place. Empty unless the distributor forgot some. */
  #moved: ReadonlyMap<SeriesReference, SeriesReference> = new Map();
  #running: Promise<void> | undefined;
  #report: ScrapeReport = {
    health: 'unknown',
    lastError: '',
    lastScrapeMs: 0,
    lastScrapeDurationSeconds: 0,
    lastSamplesScraped: 0,
  };

  constructor(target: Target, state: LoopState, settings: LoopSettings, deps: LoopDeps) {
    this.target = target;
    this.state = state;
    this.#settings = settings;
    this.#deps = deps;
    this.#metadata = new MetadataLines(deps.families);
    this.#exposition = new ExpositionAppender(
      state.cache,
      this.#metadata,
      deps.appender,
      { ...settings.rules, targetLabels: target.labels },
      deps.startTimes,
    );
    const { customBuckets, classicToo } = target.histograms;
    this.#converter = customBuckets
      ? new ClassicToCustom(this.#exposition, { keepsClassic: classicToo })
      : undefined;
  }

  get report(): ScrapeReport {
    return this.#report;
  }

  /** HELP, TYPE and UNIT of the metrics that the target described. */
  get families(): readonly MetricMetadata[] {
    return this.#metadata.families();
  }

  /** Carries the report over from the loop that this one replaces. */
  adoptReport(report: ScrapeReport): void {
    this.#report = report;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends the loop, a scrape under way included. Nothing is marked stale: see `endSeries`. */
  async stop(): Promise<void> {
    this.#ending.abort();
    this.#isStopped = true;
    this.#pending?.cancel(false);
    await this.#running;
  }

  /** Ends the loop, but lets a scrape under way finish, for `graceMs` at most: another loop goes on with the target. */
  async finish(graceMs = FINISH_GRACE_MS): Promise<void> {
    this.#ending.abort();
    this.#pending?.cancel(true);
    const grace = new AbortController();
    await Promise.race([this.#running, this.#deps.clock.sleep(graceMs, grace.signal).catch(() => {})]);
    grace.abort();
    await this.stop();
  }

  async #run(): Promise<void> {
    const { clock, metrics } = this.#deps;
    const { signal } = this.#ending;
    let dueMs = nextScrapeMs(this.target, clock.nowMs());
    while (!signal.aborted) {
      const fetched = await (this.#settings.refusal === undefined ? this.#fetch(dueMs) : this.#refuse(dueMs));
      if (fetched === undefined) return;
      // Timers may fire a moment early; the time of the samples is the grid's in any case.
      metrics.lateSeconds.observe(Math.max(0, fetched.startedMs - dueMs) / 1000);
      this.#take(fetched, dueMs);
      const nowMs = clock.nowMs();
      // A wall clock that was set back must not silence the target until it has caught up.
      const setBack = nowMs < dueMs - this.target.scrapeIntervalMs;
      const nextMs = nextScrapeMs(this.target, setBack ? nowMs : Math.max(nowMs, dueMs + 1));
      if (!setBack) metrics.ticksSkipped.inc(Math.round((nextMs - dueMs) / this.target.scrapeIntervalMs) - 1);
      dueMs = nextMs;
    }
  }

  /** What the target answers at that time; undefined when the loop ends before. */
  async #fetch(dueMs: number): Promise<Fetched | undefined> {
    const { url, scrapeTimeoutMs, scrapeIntervalMs } = this.target;
    this.#pending = this.#deps.client.order({
      dueMs,
      url: url.href,
      timeoutMs: scrapeTimeoutMs,
      bodyBytesMax: this.#settings.bodyBytesMax,
      patienceMs: Math.min(HAND_OVER_PATIENCE_MS, scrapeIntervalMs / 20),
    });
    const fetched = await this.#pending.fetched;
    this.#pending = undefined;
    return fetched;
  }

  /** A scrape that fails without being tried, at its time. */
  async #refuse(dueMs: number): Promise<Fetched | undefined> {
    const { clock } = this.#deps;
    try {
      await clock.sleep(Math.max(0, dueMs - clock.nowMs()), this.#ending.signal);
    } catch {
      return undefined;
    }
    return failedFetch(dueMs, new AppError('resource_exhausted', this.#settings.refusal!));
  }

  #take(fetched: Fetched, timeMs: number): void {
    if (this.#isStopped) {
      fetched.release();
      return;
    }
    const { clock, batches, metrics, spool, families } = this.#deps;
    const startedMs = clock.monotonicMs();
    const batch = batches.acquire();
    const outcome = this.#append(fetched, batch, timeMs);
    const seconds = (fetched.tookMs + clock.monotonicMs() - startedMs) / 1000;
    this.#endScrape(batch, timeMs, outcome, seconds);
    metrics.scrapeSeconds.observe(seconds);
    metrics.scrapes.inc({ outcome: outcomeName(outcome) });
    metrics.samplesScraped.inc(outcome.counts.scraped);
    if (outcome.bodyBytes > 0) metrics.bodyBytes.inc(outcome.bodyBytes);
    batch.metadata = families.takeChanged();
    spool.submit({
      batch,
      job: this.#settings.config.jobName,
      resolveAgain: (spooled) => this.#resolveAgain(spooled),
    });
  }

  #append(fetched: Fetched, batch: WriteBatch, timeMs: number): Outcome {
    const bodyBytes = fetched.length;
    try {
      if (fetched.error !== undefined) throw fetched.error;
      this.#exposition.begin(batch, timeMs);
      const format = expositionFormat(fetched.contentType, this.#settings.config.fallbackScrapeProtocol);
      this.#parse(format, fetched.bytes, bodyBytes);
      this.#checkSampleLimit();
      return { error: undefined, counts: this.#exposition.counts, bodyBytes };
    } catch (caught) {
      const error = toAppError(caught);
      if (error.code === 'internal')
        this.#deps.logger.error({ err: error, url: this.target.scrapeUrl }, 'scrape failed inside');
      const counts = bodyBytes > 0 ? { ...this.#exposition.counts, seriesAdded: 0 } : NO_COUNTS;
      return { error, counts, bodyBytes: error instanceof BodyTooLargeError ? -1 : bodyBytes };
    } finally {
      fetched.release();
    }
  }

  #parse(format: ExpositionFormat, bytes: Uint8Array, length: number): void {
    const { histograms } = this.target;
    if (format === 'protobuf') this.#deps.protobuf.parse(bytes, length, histograms, this.#exposition);
    else {
      const converter = this.#converter;
      converter?.begin();
      (format === 'openmetrics' ? parseOpenMetrics : parseText)(bytes, length, converter ?? this.#exposition);
      converter?.finish(bytes);
    }
  }

  #checkSampleLimit(): void {
    const { sampleLimit } = this.#settings.rules;
    const { added } = this.#exposition.counts;
    if (sampleLimit === 0 || added <= sampleLimit) return;
    throw new AppError(
      'resource_exhausted',
      `sample limit exceeded: ${added} samples after relabelling, the limit is ${sampleLimit} (sample_limit)`,
    );
  }

  /** Staleness markers, report series, the report for the API. */
  #endScrape(batch: WriteBatch, timeMs: number, outcome: Outcome, seconds: number): void {
    const { state } = this;
    const { error, counts } = outcome;
    if (error !== undefined) {
      this.#exposition.forgetExtras();
      batch.clear();
    }
    state.cache.end(error === undefined, (reference) => batch.addStale(reference, timeMs));
    state.lastScrapeMs = timeMs;
    state.reported = true;
    this.#addReport(batch, timeMs, [
      error === undefined ? 1 : 0,
      seconds,
      counts.scraped,
      counts.added,
      counts.seriesAdded,
      this.target.scrapeTimeoutMs / 1000,
      this.#settings.rules.sampleLimit,
      outcome.bodyBytes,
    ]);
    this.#report = {
      health: error === undefined ? 'up' : 'down',
      lastError: error?.message ?? '',
      lastScrapeMs: timeMs,
      lastScrapeDurationSeconds: seconds,
      lastSamplesScraped: counts.scraped,
    };
    this.#logTrouble(outcome);
  }

  #logTrouble({ error, counts }: Outcome): void {
    const { logger, metrics } = this.#deps;
    const url = this.target.scrapeUrl;
    if (error !== undefined) {
      const { failureLogFile, jobName } = this.#settings.config;
      logger.debug({ url, reason: error.message }, 'scrape failed');
      if (failureLogFile !== undefined)
        this.#deps.failureLogs.add(failureLogFile, jobName, url, error.message);
    }
    if (counts.duplicates > 0)
      logger.debug(
        { url, samples: counts.duplicates },
        'series occur twice in one exposition; the first stays',
      );
    if (counts.refused === 0) return;
    metrics.samplesDropped.inc({ reason: 'series_refused' }, counts.refused);
    logger.warn(
      { url, samples: counts.refused, reason: counts.firstRefusal },
      'series of a target are refused',
    );
  }

  #addReport(batch: WriteBatch, timeMs: number, values: readonly number[]): void {
    const references = this.#references();
    for (let i = 0; i < references.length; i++) batch.add(references[i]!, timeMs, values[i]!);
  }

  /** References of the report series; none while the distributor refuses them. */
  #references(): readonly SeriesReference[] {
    if (this.#reportReferences !== undefined) return this.#reportReferences;
    const names = this.#settings.config.extraScrapeMetrics
      ? [...REPORT_NAMES, ...EXTRA_REPORT_NAMES]
      : REPORT_NAMES;
    try {
      this.#reportReferences = names.map((name) =>
        this.#deps.appender.resolve(this.target.labels.with(METRIC_NAME, name)),
      );
      return this.#reportReferences;
    } catch (caught) {
      this.#deps.logger.warn(
        { url: this.target.scrapeUrl, reason: toAppError(caught).message },
        'up and scrape_* of a target are refused',
      );
      return [];
    }
  }

  /** Replaces references that the distributor forgot; false when none of the batch could be. */
  #resolveAgain(batch: WriteBatch): boolean {
    // Batches that waited together all carry the old references: the first one resolves, the others are translated.
    if (replaceReferences(batch, this.#moved)) return true;
    const moved = this.state.cache.resolveAgain((bytes, start, end, family) =>
      this.#exposition.resolveText(bytes, start, end, family),
    );
    const before = this.#reportReferences ?? [];
    this.#reportReferences = undefined;
    const after = this.#references();
    before.forEach((reference, i) => {
      if (after[i] !== undefined) moved.set(reference, after[i]);
    });
    for (const [old, middle] of this.#moved) moved.set(old, moved.get(middle) ?? middle);
    this.#moved = moved;
    return replaceReferences(batch, moved);
  }

  /** Marks all series of the target as ended at `timeMs`, the report series included. Call after `stop`. */
  endSeries(timeMs: number): void {
    const batch = this.#deps.batches.acquire();
    this.state.cache.end(false, (reference) => batch.addStale(reference, timeMs));
    if (this.state.reported) for (const reference of this.#references()) batch.addStale(reference, timeMs);
    this.#deps.spool.submit({
      batch,
      job: this.#settings.config.jobName,
      resolveAgain: (spooled) => this.#resolveAgain(spooled),
    });
  }
}

function outcomeName({ error, bodyBytes }: Outcome): string {
  if (error === undefined) return 'success';
  return bodyBytes > 0 ? 'not_understood' : 'not_fetched';
}

/** True when something changed. */
function replaceReferences(batch: WriteBatch, moved: ReadonlyMap<SeriesReference, SeriesReference>): boolean {
  if (moved.size === 0) return false;
  const { extras } = batch;
  const inFloats = replaceIn(batch.references, batch.count, moved);
  return (extras !== undefined && replaceIn(extras.references, extras.count, moved)) || inFloats;
}

function replaceIn(
  references: Uint32Array,
  count: number,
  moved: ReadonlyMap<SeriesReference, SeriesReference>,
): boolean {
  let changed = false;
  for (let i = 0; i < count; i++) {
    const reference = moved.get(references[i]!);
    if (reference === undefined || reference === references[i]) continue;
    references[i] = reference;
    changed = true;
  }
  return changed;
}

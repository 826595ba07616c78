// Sends alerts to every Alertmanager: each has its own bounded queue and its own sender, so that a slow one delays nobody.
// What cannot be delivered is given up; the rule sends a live alert again after the resend delay.
import { encodeUtf8 } from '../lib/core/bytes.ts';
import type { Clock } from '../lib/core/clock.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import { createDiscovery, type Discovery, type DiscoverySources } from '../lib/discovery/discovery.ts';
import { Labels } from '../lib/model/labels.ts';
import { compileRelabeler, type Relabeler } from '../lib/relabel/relabel.ts';
import type { AlertingConfig, AlertmanagerConfig } from '../lib/runtime/config/prometheus-config.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import { AlertmanagerClient } from './alertmanager-client.ts';
import { alertmanagerTargets } from './alertmanager-targets.ts';
import type { EvaluatorMetrics } from './evaluator-metrics.ts';
import type { GroupFence } from './rule-leases.ts';

/** Alerts of one request, as Prometheus batches them. */
export const BATCH_ALERTS = 256;
/** How long stop() waits for alerts under way, milliseconds. */
const DRAIN_MS = 5000;

/** An alert on its way. Times are Unix milliseconds. */
export interface OutgoingAlert {
  readonly labels: Labels;
  readonly annotations: readonly (readonly [string, string])[];
  readonly startsAtMs: number;
  readonly endsAtMs: number;
  readonly generatorUrl: string;
  /** The lease of its group; absent where nobody else could send it. */
  readonly fence?: Pick<GroupFence, 'confirm' | 'validForMs'> | undefined;
}

export interface NotifierOptions {
  /** `--alertmanager.notification-queue-capacity`: per Alertmanager. */
  readonly queueCapacity: number;
}

export interface NotifierDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: EvaluatorMetrics;
  /** Of the process. */
  readonly discovery: DiscoverySources;
}

/** One section of `alerting.alertmanagers` with the queues of its Alertmanagers. */
interface Section {
  readonly config: AlertmanagerConfig;
  readonly client: AlertmanagerClient;
  readonly relabel: Relabeler;
  readonly queues: Map<string, AlertQueue>;
  dropped: readonly string[];
  readonly discovery: Discovery;
}

export class Notifier {
  readonly #options: NotifierOptions;
  readonly #deps: NotifierDeps;
  #sections: Section[] = [];
  #externalLabels = Labels.empty;
  #relabel: Relabeler = (labels) => labels;

  constructor(options: NotifierOptions, deps: NotifierDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * Takes over a new configuration once the first targets of all its sections are known. What waits for an Alertmanager
   * that stays goes on to its new queue.
   */
  async applyConfig(alerting: AlertingConfig, externalLabels: Labels): Promise<void> {
    const relabel = compileRelabeler(alerting.alertRelabelConfigs);
    const sections = alerting.alertmanagers.map((config) => this.#open(config));
    await Promise.all(sections.map(({ discovery }) => discovery.start()));
    const former = this.#sections;
    this.#relabel = relabel;
    this.#externalLabels = externalLabels;
    this.#sections = sections;
    const waiting = new Map<string, readonly OutgoingAlert[]>();
    for (const section of former) {
      for (const [href, queue] of section.queues) waiting.set(href, queue.close());
    }
    for (const section of sections) {
      this.#update(section);
      for (const [href, queue] of section.queues) queue.push(waiting.get(href) ?? []);
    }
    this.#deps.metrics.alertmanagers.set(this.active().length);
    await Promise.all(former.map((section) => this.#close(section)));
  }

  #open(config: AlertmanagerConfig): Section {
    const { clock, logger, metrics } = this.#deps;
    const section: Section = {
      config,
      client: new AlertmanagerClient(config.http, this.#deps),
      relabel: compileRelabeler(config.alertRelabelConfigs),
      queues: new Map(),
      dropped: [],
      discovery: createDiscovery(config.discovery, {
        clock,
        logger,
        sources: this.#deps.discovery,
        onChange: () => {
          if (this.#sections.includes(section)) this.#update(section);
        },
        onError: () => metrics.discoveryErrors.inc(),
      }),
    };
    return section;
  }

  /** Opens and closes queues as discovery has it now. */
  #update(section: Section): void {
    const { active, dropped } = alertmanagerTargets(section.config, section.discovery.groups());
    section.dropped = dropped;
    const wanted = new Set(active.map(({ href }) => href));
    for (const [href, queue] of section.queues) {
      if (wanted.has(href)) continue;
      queue.close();
      section.queues.delete(href);
    }
    for (const url of active) {
      if (section.queues.has(url.href)) continue;
      const { timeoutMs } = section.config;
      section.queues.set(url.href, new AlertQueue(url, timeoutMs, section.client, this.#options, this.#deps));
    }
    this.#deps.metrics.alertmanagers.set(this.active().length);
  }

  /** URLs that alerts are posted to. */
  active(): string[] {
    return this.#sections.flatMap((section) => [...section.queues.keys()]);
  }

  /** URLs that relabelling dropped. */
  dropped(): string[] {
    return this.#sections.flatMap((section) => section.dropped);
  }

  /** Queues alerts for all Alertmanagers. Never waits, never throws. */
  send(alerts: readonly OutgoingAlert[]): void {
    if (alerts.length === 0) return;
    const ready: OutgoingAlert[] = [];
    for (const alert of alerts) {
      const labels = this.#relabel(this.#withExternalLabels(alert.labels));
      if (labels !== undefined && labels.size > 0) ready.push({ ...alert, labels });
    }
    let receivers = 0;
    for (const section of this.#sections) {
      receivers += section.queues.size;
      if (section.queues.size === 0) continue;
      const own: OutgoingAlert[] = [];
      for (const alert of ready) {
        const labels = section.relabel(alert.labels);
        if (labels !== undefined && labels.size > 0) own.push({ ...alert, labels });
      }
      for (const queue of section.queues.values()) queue.push(own);
    }
    if (receivers === 0) this.#deps.metrics.notificationsDropped.inc(ready.length);
  }

  /** An alert's own label wins over the external one. */
  #withExternalLabels(labels: Labels): Labels {
    return Labels.from([...this.#externalLabels.entries(), ...labels.entries()]);
  }

  /** Sends what is queued, for at most a few seconds. */
  async drain(): Promise<void> {
    const queues = this.#sections.flatMap((section) => [...section.queues.values()]);
    const limit = new AbortController();
    const idle = Promise.all(queues.map((queue) => queue.idle())).then(() => limit.abort());
    const timeout = this.#deps.clock.sleep(DRAIN_MS, limit.signal).catch(() => undefined);
    await Promise.race([idle, timeout]);
    limit.abort();
  }

  /** Gives up what is queued and closes all connections. */
  async stop(): Promise<void> {
    const sections = this.#sections;
    this.#sections = [];
    await Promise.all(sections.map((section) => this.#close(section)));
  }

  async #close(section: Section): Promise<void> {
    for (const queue of section.queues.values()) queue.close();
    section.queues.clear();
    section.client.close();
    await section.discovery.stop();
  }
}

/** Alerts that wait for one Alertmanager, and the loop that sends them. */
class AlertQueue {
  readonly #url: URL;
  readonly #timeoutMs: number;
  readonly #client: AlertmanagerClient;
  readonly #capacity: number;
  readonly #deps: NotifierDeps;
  readonly #closed = new AbortController();
  #waiting: OutgoingAlert[] = [];
  /** The batch under way. */
  #current: readonly OutgoingAlert[] = [];
  #sending: Promise<void> | undefined;

  constructor(
    url: URL,
    timeoutMs: number,
    client: AlertmanagerClient,
    options: NotifierOptions,
    deps: NotifierDeps,
  ) {
    this.#url = url;
    this.#timeoutMs = timeoutMs;
    this.#client = client;
    this.#capacity = options.queueCapacity;
    this.#deps = deps;
  }

  /** Adds alerts; the oldest go when there are too many. */
  push(alerts: readonly OutgoingAlert[]): void {
    if (alerts.length === 0 || this.#closed.signal.aborted) return;
    const { metrics, logger } = this.#deps;
    const over = Math.max(this.#waiting.length + alerts.length - this.#capacity, 0);
    this.#waiting = [...this.#waiting, ...alerts].slice(-this.#capacity);
    if (over > 0) {
      metrics.notificationsDropped.inc(over);
      logger.warn(
        { alertmanager: this.#url.href, dropped: over, capacity: this.#capacity },
        'notification queue is full, the oldest alerts were dropped',
      );
    }
    this.#showLength();
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Resolves when nothing waits and nothing is under way. */
  async idle(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending;
  }

  /** Stops sending. Answers what was not delivered, the request under way included. */
  close(): readonly OutgoingAlert[] {
    if (this.#closed.signal.aborted) return [];
    const left = [...this.#current, ...this.#waiting];
    this.#closed.abort(new AppError('canceled', 'the Alertmanager is no longer configured'));
    this.#waiting = [];
    this.#deps.metrics.notificationQueueLength.remove({ alertmanager: this.#url.href });
    this.#deps.metrics.notificationsFailing.remove({ alertmanager: this.#url.href });
    return left;
  }

  #showLength(): void {
    this.#deps.metrics.notificationQueueLength.set({ alertmanager: this.#url.href }, this.#waiting.length);
  }

  async #send(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#closed.signal.aborted) {
      const batch = this.#waiting.splice(0, BATCH_ALERTS);
      this.#showLength();
      this.#current = batch;
      const allowed = await this.#allowed(batch);
      if (allowed.length > 0 && !this.#closed.signal.aborted) await this.#post(allowed);
      this.#current = [];
    }
  }

  /** Those of a batch whose groups are this evaluator's. An Alertmanager compares no tokens, so this is asked right before. */
  async #allowed(batch: readonly OutgoingAlert[]): Promise<readonly OutgoingAlert[]> {
    const fences = new Set(batch.map(({ fence }) => fence));
    await Promise.all(Array.from(fences, async (fence) => fence?.confirm()));
    const allowed = batch.filter(({ fence }) => validForMs(fence) > 0);
    if (allowed.length < batch.length) this.#countFenced(batch.length - allowed.length);
    return allowed;
  }

  #countFenced(alerts: number): void {
    const { logger, metrics } = this.#deps;
    metrics.notificationsFenced.inc(alerts);
    logger.warn(
      { alertmanager: this.#url.href, alerts },
      'alerts were not sent: another evaluator has their groups, or too few ingesters could say that none has',
    );
  }

  async #post(batch: readonly OutgoingAlert[]): Promise<void> {
    const { clock, logger, metrics } = this.#deps;
    const alertmanager = this.#url.href;
    const startedMs = clock.monotonicMs();
    const leftMs = (): number => Math.min(...batch.map(({ fence }) => validForMs(fence)));
    // Never under way for longer than nobody else can have the groups.
    const timeoutMs = Math.max(1, Math.floor(Math.min(this.#timeoutMs, leftMs())));
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(timeoutMs)]);
    try {
      await this.#client.post(this.#url, encodeAlerts(batch), signal, () => leftMs() > 0);
      metrics.notificationsSent.inc({ alertmanager }, batch.length);
      metrics.notificationsFailing.set({ alertmanager }, 0);
    } catch (caught) {
      if (this.#closed.signal.aborted) return;
      const error = toAppError(caught);
      if (error.code === 'failed_precondition') {
        this.#countFenced(batch.length);
        return;
      }
      metrics.notificationErrors.inc({ alertmanager }, batch.length);
      metrics.notificationsFailing.set({ alertmanager }, 1);
      metrics.notificationsDropped.inc(batch.length);
      logger.error({ alertmanager, alerts: batch.length, err: error }, 'sending alerts failed');
    } finally {
      metrics.notificationLatency.observe({ alertmanager }, (clock.monotonicMs() - startedMs) / 1000);
    }
  }
}

function validForMs(fence: OutgoingAlert['fence']): number {
  return fence === undefined ? Number.POSITIVE_INFINITY : fence.validForMs();
}

/** The body of `POST /api/v2/alerts`. */
export function encodeAlerts(alerts: readonly OutgoingAlert[]): Uint8Array {
  return encodeUtf8(
    JSON.stringify(
      alerts.map((alert) => ({
        labels: Object.fromEntries(alert.labels.entries()),
        annotations: Object.fromEntries(alert.annotations),
        startsAt: new Date(alert.startsAtMs).toISOString(),
        endsAt: new Date(alert.endsAtMs).toISOString(),
        generatorURL: alert.generatorUrl,
      })),
    ),
  );
}

// Drives one rule group: waits for its slots, evaluates, counts what was missed, restores the clocks of `for` once. A group
// that is taken over, or resumed after a restart, begins with the slots that nobody may have come to.
import type { Clock } from '../lib/core/clock.ts';
import { toAppError } from '../lib/core/errors.ts';
import type { AlertInstance } from '../lib/rules/alerting-state.ts';
import type { RuleGroup, RuleIo, RuleSettings, RuleState } from '../lib/rules/rule-group.ts';
import { groupOffsetMs, slotAfter, slotBefore } from '../lib/rules/schedule.ts';
import type { Logger } from '../lib/runtime/logger.ts';
import type { EvaluatorMetrics } from './evaluator-metrics.ts';

/** Evaluations before the restoration: what alerts depend on has been scraped and recorded again. */
const EVALUATIONS_BEFORE_RESTORE = 2;

export interface GroupRunnerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: EvaluatorMetrics;
  readonly settings: () => RuleSettings;
  /** The group's world, bound to the runner's signal. */
  readonly createIo: (group: RuleGroup, signal: AbortSignal) => RuleIo;
}

/** `FILE;GROUP`: the group's name in metrics. */
export function groupKey(file: string, name: string): string {
  return `${file};${name}`;
}

/**
 * What was before: nobody ran the group (`new`), another evaluator did until moments ago (`taken-over`), or this one may have, in a
 * former life that ended moments ago, or long ago, or never was (`resumed`).
 */
export type GroupOrigin = 'new' | 'taken-over' | 'resumed';

/** A group and the loop that evaluates it. */
export class GroupRunner {
  readonly group: RuleGroup;
  readonly #deps: GroupRunnerDeps;
  readonly #stop = new AbortController();
  readonly #labels: { rule_group: string };
  #loop: Promise<void> | undefined;
  readonly #origin: GroupOrigin;
  /** Slots after this time are made up for. */
  readonly #fromMs: number;
  /** Evaluations at their time. */
  #evaluations = 0;

  /** @param fromMs  Unix ms since when nobody may have evaluated a group that is taken over or resumed. */
  constructor(group: RuleGroup, deps: GroupRunnerDeps, origin: GroupOrigin, fromMs: number) {
    this.group = group;
    this.#deps = deps;
    this.#origin = origin;
    this.#fromMs = fromMs;
    this.#labels = { rule_group: groupKey(group.spec.file, group.spec.name) };
  }

  /** Begins to evaluate at the next slot. */
  start(): void {
    this.#loop ??= this.#run().catch((caught: unknown) => {
      if (!this.#stop.signal.aborted) {
        this.#deps.logger.error({ ...this.#labels, err: toAppError(caught) }, 'rule group stopped');
      }
    });
  }

  /** Stops after the rule that is being evaluated; its query is cancelled. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { clock, metrics } = this.#deps;
    const { intervalMs, spec } = this.group;
    metrics.interval.set(this.#labels, intervalMs / 1000);
    metrics.rules.set(this.#labels, spec.rules.length);
    metrics.iterationsMissed.inc(this.#labels, 0);
    const offsetMs = groupOffsetMs(spec.file, spec.name, intervalMs);
    const io = this.#deps.createIo(this.group, this.#stop.signal);
    const isNew = this.#origin === 'new';
    let slotMs = slotBefore(isNew ? clock.nowMs() : this.#fromMs, intervalMs, offsetMs) + intervalMs;
    if (!isNew) slotMs = await this.#makeUp(slotMs, io);
    while (!this.#stop.signal.aborted) {
      slotMs = await this.#sleepUntil(slotMs, offsetMs);
      this.#evaluations++;
      await this.#evaluate(slotMs, io, () => clock.nowMs());
      const next = slotAfter(slotMs, clock.nowMs(), intervalMs);
      metrics.iterations.inc(this.#labels, 1 + next.missed);
      if (next.missed > 0) metrics.iterationsMissed.inc(this.#labels, next.missed);
      slotMs = next.timeMs;
    }
  }

  /** Evaluates slots that have passed, so that recorded series have no hole. Returns the first that has not. */
  async #makeUp(firstMs: number, io: RuleIo): Promise<number> {
    const { clock, metrics } = this.#deps;
    const untilMs = clock.nowMs();
    const notices = new LastNotices();
    const quietIo: RuleIo = { ...io, notify: (rule, alerts) => notices.add(rule, alerts) };
    let slotMs = firstMs;
    for (; slotMs <= untilMs && !this.#stop.signal.aborted; slotMs += this.group.intervalMs) {
      // Clocks as they were then: an alert of that time may have ended since, and who ended it may have been killed before it told of it.
      await this.#evaluate(slotMs, quietIo, () => slotMs);
      metrics.iterations.inc(this.#labels);
      metrics.iterationsMadeUp.inc(this.#labels);
    }
    if (!this.#stop.signal.aborted) notices.tell(io);
    return slotMs;
  }

  /** @param restoreAtMs  Time as of which clocks are restored after it, Unix milliseconds. */
  async #evaluate(slotMs: number, io: RuleIo, restoreAtMs: () => number): Promise<void> {
    const { logger, metrics } = this.#deps;
    const settings = this.#deps.settings();
    await this.group.evaluate(slotMs, settings, io, this.#stop.signal);
    metrics.lastDuration.set(this.#labels, this.group.evaluationSeconds);
    metrics.lastEvaluation.set(this.#labels, this.group.lastEvaluationMs / 1000);
    if (!this.group.needsRestore) return;
    const isSettled = this.#origin === 'taken-over' || this.#evaluations >= EVALUATIONS_BEFORE_RESTORE;
    // Where there was no outage, nothing has to come back first.
    if (!isSettled && this.#origin === 'new') return;
    const restored = await this.group.restore(restoreAtMs(), settings, io, isSettled ? 'all' : 'recent');
    metrics.restored.inc(restored);
    if (restored > 0)
      logger.info({ ...this.#labels, alerts: restored }, "restored the 'for' clocks of alerts");
  }

  /**
   * Sleeps in pieces of at most an interval: the wall clock may be set while it sleeps. Returns the slot that has come: the clock's
   * own next one where it was set back, so that the group is not silent until the clock has caught up.
   */
  async #sleepUntil(slotMs: number, offsetMs: number): Promise<number> {
    const { clock } = this.#deps;
    const { intervalMs } = this.group;
    let dueMs = slotMs;
    for (;;) {
      const nowMs = clock.nowMs();
      if (dueMs <= nowMs) return dueMs;
      if (dueMs - nowMs > 2 * intervalMs) dueMs = slotBefore(nowMs, intervalMs, offsetMs) + intervalMs;
      await clock.sleep(Math.min(dueMs - nowMs, intervalMs), this.#stop.signal);
    }
  }
}

/**
 * The last that is to be told of each alert of slots that are made up for. That one which has ended was firing before is not told: an
 * Alertmanager that has told of its end would tell of it anew.
 */
class LastNotices {
  /** By rule, then by label set and beginning. */
  readonly #byRule = new Map<RuleState, Map<string, AlertInstance>>();

  add(rule: RuleState, alerts: readonly AlertInstance[]): void {
    let last = this.#byRule.get(rule);
    if (last === undefined) {
      last = new Map();
      this.#byRule.set(rule, last);
    }
    for (const alert of alerts) {
      const key = `${alert.firedAtMs} ${alert.labels.key}`;
      // In the order in which they were told last.
      last.delete(key);
      last.set(key, alert);
    }
  }

  tell(io: RuleIo): void {
    for (const [rule, last] of this.#byRule) io.notify(rule, [...last.values()]);
  }
}

// Drives one rule group: waits for its slots, evaluates, counts what was missed, restores the clocks of `for` once. A group
// that is taken over begins with the slots that its former evaluator may not have come to.
import type { Clock } from '../lib/core/clock.ts';
import { toAppError } from '../lib/core/errors.ts';
import type { RuleGroup, RuleIo, RuleSettings } from '../lib/rules/rule-group.ts';
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

/** A group and the loop that evaluates it. */
export class GroupRunner {
  readonly group: RuleGroup;
  readonly #deps: GroupRunnerDeps;
  readonly #stop = new AbortController();
  readonly #labels: { rule_group: string };
  #loop: Promise<void> | undefined;
  #evaluations = 0;
  /** Slots after this time are made up for. */
  readonly #resumeFromMs: number | undefined;

  /** @param resumeFromMs  Unix ms since when nobody may have evaluated a group that is taken over. */
  constructor(group: RuleGroup, deps: GroupRunnerDeps, resumeFromMs?: number) {
    this.group = group;
    this.#deps = deps;
    this.#resumeFromMs = resumeFromMs;
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
    let slotMs = slotBefore(this.#resumeFromMs ?? clock.nowMs(), intervalMs, offsetMs) + intervalMs;
    if (this.#resumeFromMs !== undefined) slotMs = await this.#makeUp(slotMs, io);
    while (!this.#stop.signal.aborted) {
      await this.#sleepUntil(slotMs);
      await this.#evaluate(slotMs, io);
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
    let slotMs = firstMs;
    for (; slotMs <= untilMs && !this.#stop.signal.aborted; slotMs += this.group.intervalMs) {
      await this.#evaluate(slotMs, io);
      metrics.iterations.inc(this.#labels);
      metrics.iterationsMadeUp.inc(this.#labels);
    }
    return slotMs;
  }

  async #evaluate(slotMs: number, io: RuleIo): Promise<void> {
    const { clock, logger, metrics } = this.#deps;
    const settings = this.#deps.settings();
    await this.group.evaluate(slotMs, settings, io, this.#stop.signal);
    this.#evaluations++;
    metrics.lastDuration.set(this.#labels, this.group.evaluationSeconds);
    metrics.lastEvaluation.set(this.#labels, this.group.lastEvaluationMs / 1000);
    // Where there was no outage, nothing has to come back first.
    const before = this.#resumeFromMs === undefined ? EVALUATIONS_BEFORE_RESTORE : 1;
    if (this.#evaluations < before || !this.group.needsRestore) return;
    const restored = await this.group.restore(clock.nowMs(), settings, io);
    metrics.restored.inc(restored);
    if (restored > 0)
      logger.info({ ...this.#labels, alerts: restored }, "restored the 'for' clocks of alerts");
  }

  /** Sleeps in pieces of at most an interval: the wall clock may be set while it sleeps. */
  async #sleepUntil(timeMs: number): Promise<void> {
    const { clock } = this.#deps;
    for (;;) {
      const restMs = timeMs - clock.nowMs();
      if (restMs <= 0) return;
      await clock.sleep(Math.min(restMs, this.group.intervalMs), this.#stop.signal);
    }
  }
}

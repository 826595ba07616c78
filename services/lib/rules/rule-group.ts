// One rule group as it runs: its rules with their state, evaluated one after another at a given time through an `RuleIo`.
// No clock, no timers: the evaluator service and the unit-test runner both drive it.
import { type AppError, toAppError } from '../core/errors.ts';
import { type Labels, METRIC_NAME, quoteLabel } from '../model/labels.ts';
import { printExpr } from '../promql/parse/printer.ts';
import {
  ALERT_NAME_LABEL,
  ALERTS_FOR_STATE_METRIC,
  type AlertCandidate,
  type AlertInstance,
  AlertingState,
} from './alerting-state.ts';
import { recordVector } from './recording.ts';
import { type ForStateSample, isHandedOver, restoreAlerts, samplesOf } from './restore.ts';
import type { AlertingRuleSpec, RuleGroupSpec, RuleSpec, TemplatedText } from './rule-file.ts';
import { type QueryVector, RuleSamples } from './rule-samples.ts';
import { alertRoot, expandOrExplain, type TemplateContext, TemplateQueries } from './template/expand.ts';
import type { Value } from './template/values.ts';

/** What a group needs from its surroundings. */
export interface RuleIo {
  /**
   * Evaluates an instant query.
   *
   * @param lookbackMs  0: the default.
   * @throws AppError when the query fails; the rule is unhealthy with its message.
   */
  query(expr: string, timeMs: number, lookbackMs: number): Promise<QueryVector>;
  /** Writes samples. @throws AppError when they are not durable, or some were refused. */
  write(samples: RuleSamples): Promise<void>;
  /** Takes alerts that are due to be sent. Must not throw. */
  notify(rule: RuleState, alerts: readonly AlertInstance[]): void;
  /** Wall clock, Unix milliseconds: when an evaluation took place. */
  nowMs(): number;
  /** Milliseconds since some fixed point, for durations. */
  monotonicMs(): number;
  /** A rule was evaluated; for metrics and logs. */
  evaluated(group: RuleGroup, rule: RuleState, error: AppError | undefined): void;
  /** A template did not expand; the alert carries the error in its place. */
  templateFailed(rule: RuleState, error: AppError): void;
  /** The clocks of a rule's alerts could not be read back. */
  restoreFailed(rule: RuleState, error: AppError): void;
}

/** What is the same for all groups. */
export interface RuleSettings {
  readonly externalLabels: Labels;
  readonly externalUrl: string;
  /** `--rules.alert.resend-delay`. */
  readonly resendDelayMs: number;
  /** `--rules.alert.for-outage-tolerance`. */
  readonly outageToleranceMs: number;
  /** `--rules.alert.for-grace-period`. */
  readonly gracePeriodMs: number;
}

export type RuleHealth = 'unknown' | 'ok' | 'err';

/** One rule with its state. */
export interface RuleState {
  readonly spec: RuleSpec;
  /** The expression as Prometheus prints it. */
  readonly query: string;
  readonly alerting: AlertingState;
  /** Alerting rules write no series before their clocks were restored. */
  restored: boolean;
  health: RuleHealth;
  lastError: string;
  /** Unix milliseconds; 0 before the first evaluation. */
  lastEvaluationMs: number;
  evaluationSeconds: number;
  /** Slots of the first evaluation that found out what is on, and of the last one, Unix milliseconds; 0 before. */
  firstSlotMs: number;
  lastSlotMs: number;
  /** Series of the last evaluation by key: those that vanish get a staleness marker. */
  previous: ReadonlyMap<string, Labels>;
}

export interface RuleGroupOptions {
  readonly spec: RuleGroupSpec;
  readonly intervalMs: number;
  readonly queryOffsetMs: number;
  /** True when there is nothing to restore `for` from: a reload, a test. */
  readonly restored: boolean;
  /**
   * Milliseconds, for a group that another evaluator ran until moments ago: alerts whose series were written within go on
   * with their clocks as they were, whatever their `for`. 0: the group ran nowhere.
   */
  readonly handOverMs?: number;
}

/** A rule group and its state. Evaluations must not overlap. */
export class RuleGroup {
  readonly spec: RuleGroupSpec;
  readonly intervalMs: number;
  readonly queryOffsetMs: number;
  readonly rules: readonly RuleState[];
  /** Unix milliseconds; 0 before the first evaluation. */
  lastEvaluationMs = 0;
  evaluationSeconds = 0;
  readonly #handOverMs: number;
  /** Series of rules that are gone; they get a staleness marker at the next evaluation. */
  #orphans = new Map<string, Labels>();

  constructor(options: RuleGroupOptions) {
    this.spec = options.spec;
    this.intervalMs = options.intervalMs;
    this.queryOffsetMs = options.queryOffsetMs;
    this.#handOverMs = options.handOverMs ?? 0;
    this.rules = options.spec.rules.map((spec) => createRuleState(spec, options.restored));
  }

  /** Something is left to be restored. */
  get needsRestore(): boolean {
    return this.rules.some((rule) => !rule.restored);
  }

  /**
   * Evaluates all rules in order.
   *
   * @param timeMs  The slot, Unix milliseconds. Queries and samples are at this time less the query offset.
   */
  async evaluate(timeMs: number, settings: RuleSettings, io: RuleIo, signal: AbortSignal): Promise<void> {
    const startedMs = io.monotonicMs();
    const beganAtMs = io.nowMs();
    for (const rule of this.rules) {
      if (signal.aborted) return;
      if (rule.spec.kind === 'alerting' && !this.#isWorthRestoring(rule.spec, settings)) rule.restored = true;
      const ruleStartedMs = io.monotonicMs();
      const ruleBeganAtMs = io.nowMs();
      const error = await this.#evaluateRule(rule, timeMs, settings, io);
      if (signal.aborted) return;
      rule.health = error === undefined ? 'ok' : 'err';
      rule.lastError = error?.message ?? '';
      rule.lastEvaluationMs = ruleBeganAtMs;
      rule.evaluationSeconds = (io.monotonicMs() - ruleStartedMs) / 1000;
      io.evaluated(this, rule, error);
    }
    await this.#writeOrphans(timeMs - this.queryOffsetMs, io);
    this.lastEvaluationMs = beganAtMs;
    this.evaluationSeconds = (io.monotonicMs() - startedMs) / 1000;
  }

  /** After an outage a clock that is shorter than the grace period would only be made longer. */
  #isWorthRestoring({ forMs }: AlertingRuleSpec, { gracePeriodMs }: RuleSettings): boolean {
    return this.#handOverMs > 0 ? forMs > 0 : forMs >= gracePeriodMs;
  }

  async #evaluateRule(
    rule: RuleState,
    timeMs: number,
    settings: RuleSettings,
    io: RuleIo,
  ): Promise<AppError | undefined> {
    const sampleTimeMs = timeMs - this.queryOffsetMs;
    const samples = new RuleSamples();
    try {
      const vector = await io.query(rule.query, sampleTimeMs, 0);
      if (rule.spec.kind === 'recording') {
        recordVector(rule.spec, vector, sampleTimeMs, this.spec.limit, samples);
      } else {
        const candidates = await expandAlerts(
          rule,
          rule.spec,
          vector,
          timeMs,
          this.queryOffsetMs,
          settings,
          io,
        );
        rule.alerting.step(timeMs, candidates, rule.spec, this.spec.limit);
        if (rule.firstSlotMs === 0) rule.firstSlotMs = timeMs;
        rule.lastSlotMs = timeMs;
        io.notify(rule, rule.alerting.takeDue(timeMs, io.nowMs(), settings.resendDelayMs, this.intervalMs));
        if (rule.restored) rule.alerting.writeSamples(sampleTimeMs, samples);
      }
    } catch (caught) {
      return toAppError(caught);
    }
    return this.#write(rule, sampleTimeMs, samples, io);
  }

  /** Writes a rule's samples, and markers for series that it wrote before and not now. */
  async #write(
    rule: RuleState,
    timeMs: number,
    samples: RuleSamples,
    io: RuleIo,
  ): Promise<AppError | undefined> {
    const current = new Map<string, Labels>();
    for (const labels of samples.labels) current.set(labels.key, labels);
    for (const [key, labels] of rule.previous) if (!current.has(key)) samples.addStale(labels, timeMs);
    try {
      if (samples.count > 0) await io.write(samples);
      rule.previous = current;
      return undefined;
    } catch (caught) {
      // What was written is not known: all of them stay candidates for a marker.
      rule.previous = new Map([...rule.previous, ...current]);
      return toAppError(caught);
    }
  }

  async #writeOrphans(timeMs: number, io: RuleIo): Promise<void> {
    if (this.#orphans.size === 0) return;
    const written = new Set<string>();
    for (const rule of this.rules) for (const key of rule.previous.keys()) written.add(key);
    const samples = new RuleSamples();
    for (const [key, labels] of this.#orphans) if (!written.has(key)) samples.addStale(labels, timeMs);
    try {
      if (samples.count > 0) await io.write(samples);
      this.#orphans.clear();
    } catch {
      // Tried again at the next evaluation.
    }
  }

  /** Series that the group wrote at its last evaluation, orphans included. */
  *writtenSeries(): Generator<[string, Labels]> {
    for (const rule of this.rules) yield* rule.previous;
    yield* this.#orphans;
  }

  /**
   * Takes over the state of the group's former version. Rules are matched by name and labels, duplicates in order; series
   * of rules without a match become orphans.
   */
  copyStateFrom(old: RuleGroup): void {
    this.lastEvaluationMs = old.lastEvaluationMs;
    this.evaluationSeconds = old.evaluationSeconds;
    const byIdentity = new Map<string, RuleState[]>();
    for (const rule of old.rules) {
      const key = identityOf(rule.spec);
      byIdentity.set(key, [...(byIdentity.get(key) ?? []), rule]);
    }
    for (const rule of this.rules) {
      const former = byIdentity.get(identityOf(rule.spec))?.shift();
      if (former === undefined) continue;
      rule.previous = former.previous;
      rule.firstSlotMs = former.firstSlotMs;
      rule.lastSlotMs = former.lastSlotMs;
      rule.restored = rule.restored && former.restored;
      for (const [key, alert] of former.alerting.alerts) rule.alerting.alerts.set(key, alert);
    }
    this.#orphans = new Map(old.#orphans);
    for (const unmatched of byIdentity.values()) {
      for (const rule of unmatched) for (const [key, labels] of rule.previous) this.#orphans.set(key, labels);
    }
  }

  /**
   * Restores the clocks of `for`. Called after the second evaluation, when what alerts depend on is there again, until
   * nothing is left to restore. A rule whose series cannot be read for good starts anew.
   *
   * @param nowMs  Unix milliseconds; of a slot that was made up for, the slot's: later series are not looked at.
   * @param which  `recent`: only rules whose alerts were written within `handOverMs`, for which there was no outage; may be called before
   *               the second evaluation.
   * @returns      Alerts that got their old time back.
   */
  async restore(
    nowMs: number,
    settings: RuleSettings,
    io: RuleIo,
    which: 'all' | 'recent' = 'all',
  ): Promise<number> {
    let restored = 0;
    for (const rule of this.rules) {
      if (rule.restored || rule.spec.kind !== 'alerting') continue;
      try {
        restored += await this.#restoreRule(rule, rule.spec, nowMs, settings, io, which);
      } catch (caught) {
        const error = toAppError(caught);
        // Tried again after the next evaluation, unless that cannot help.
        rule.restored = error.code !== 'unavailable' && error.code !== 'timeout';
        io.restoreFailed(rule, error);
      }
      if (rule.restored) await this.#writeRestored(rule, io);
    }
    return restored;
  }

  async #restoreRule(
    rule: RuleState,
    { name, forMs }: AlertingRuleSpec,
    nowMs: number,
    { outageToleranceMs, gracePeriodMs }: RuleSettings,
    io: RuleIo,
    which: 'all' | 'recent',
  ): Promise<number> {
    // What is not found now, and was not written within `handOverMs`, is not restored later either.
    const isLast = which === 'all' || forMs < gracePeriodMs;
    const alerts = rule.alerting.active();
    if (alerts.length === 0) {
      rule.restored = isLast;
      return 0;
    }
    const samples = samplesOf(alerts, await forStateSamples(name, nowMs, outageToleranceMs, io));
    const { intervalMs } = this;
    const handOverMs = this.#handOverMs;
    const times = { nowMs, gracePeriodMs, forMs, handOverMs, intervalMs, firstMs: rule.firstSlotMs };
    const isRecent = samples.values().some((sample) => isHandedOver(sample, times));
    if (!isRecent && !isLast) return 0;
    rule.restored = true;
    return restoreAlerts(samples, times);
  }

  /** Writes what the evaluation before the restoration did not: an alert that has ended at the next one has series to end. */
  async #writeRestored(rule: RuleState, io: RuleIo): Promise<void> {
    const timeMs = rule.lastSlotMs - this.queryOffsetMs;
    const samples = new RuleSamples();
    rule.alerting.writeSamples(timeMs, samples);
    const error = await this.#write(rule, timeMs, samples, io);
    if (error === undefined) return;
    rule.health = 'err';
    rule.lastError = error.message;
  }
}

function createRuleState(spec: RuleSpec, restored: boolean): RuleState {
  return {
    spec,
    query: printExpr(spec.expr),
    alerting: new AlertingState(),
    restored: restored || spec.kind === 'recording',
    health: 'unknown',
    lastError: '',
    lastEvaluationMs: 0,
    evaluationSeconds: 0,
    firstSlotMs: 0,
    lastSlotMs: 0,
    previous: new Map(),
  };
}

/** What makes a rule the same rule after a reload. */
function identityOf(spec: RuleSpec): string {
  return JSON.stringify([spec.kind, spec.name, spec.labels.map(({ name, text }) => [name, text])]);
}

/** Two specifications that evaluate the same way: the running group can go on. */
export function isSameGroup(a: RuleGroupSpec, b: RuleGroupSpec): boolean {
  return fingerprint(a) === fingerprint(b);
}

function fingerprint(spec: RuleGroupSpec): string {
  const rules = spec.rules.map((rule) => [
    rule.kind,
    rule.name,
    rule.query,
    rule.labels.map(({ name, text }) => [name, text]),
    ...(rule.kind === 'alerting'
      ? [rule.forMs, rule.keepFiringForMs, rule.annotations.map(({ name, text }) => [name, text])]
      : []),
  ]);
  return JSON.stringify([spec.name, spec.file, spec.intervalMs, spec.queryOffsetMs, spec.limit, rules]);
}

/** The elements of an alerting rule's result with their templates expanded. */
async function expandAlerts(
  rule: RuleState,
  spec: AlertingRuleSpec,
  vector: QueryVector,
  timeMs: number,
  queryOffsetMs: number,
  settings: RuleSettings,
  io: RuleIo,
): Promise<AlertCandidate[]> {
  const ask = async (query: string) => {
    const found = await io.query(query, timeMs - queryOffsetMs, 0);
    return found.labels.map((labels, i) => ({ labels: [...labels.entries()], value: found.values[i]! }));
  };
  const context: TemplateContext = {
    nowMs: timeMs,
    externalUrl: settings.externalUrl,
    queries: new TemplateQueries(ask),
  };
  const expandAll = async (texts: readonly TemplatedText[], root: Value) => {
    const expanded: [string, string][] = [];
    for (const { name, text, template } of texts) {
      if (template === undefined || template.literal !== undefined) {
        expanded.push([name, text]);
        continue;
      }
      const outcome = await expandOrExplain(template, root, context);
      if (outcome.error !== undefined) io.templateFailed(rule, outcome.error);
      expanded.push([name, outcome.text]);
    }
    return expanded;
  };
  const candidates: AlertCandidate[] = [];
  for (let i = 0; i < vector.labels.length; i++) {
    const element = vector.labels[i]!;
    const value = vector.values[i]!;
    const root = alertRoot({
      labels: element.entries(),
      externalLabels: settings.externalLabels.entries(),
      externalUrl: settings.externalUrl,
      value,
    });
    let labels = element.without(METRIC_NAME);
    for (const [name, text] of await expandAll(spec.labels, root)) labels = labels.with(name, text);
    labels = labels.with(ALERT_NAME_LABEL, spec.name);
    candidates.push({ labels, annotations: await expandAll(spec.annotations, root), value });
  }
  return candidates;
}

/**
 * The last ALERTS_FOR_STATE sample of each alert of a name, where the series has not ended: a lookback as long as the
 * tolerated outage finds it, and a staleness marker hides it.
 */
async function forStateSamples(
  alertName: string,
  nowMs: number,
  toleranceMs: number,
  io: RuleIo,
): Promise<ForStateSample[]> {
  const selector = `${ALERTS_FOR_STATE_METRIC}{${ALERT_NAME_LABEL}=${quoteLabel(alertName)}}`;
  const values = await io.query(selector, nowMs, toleranceMs);
  const times = await io.query(`timestamp(${selector})`, nowMs, toleranceMs);
  const timeByKey = new Map<string, number>();
  times.labels.forEach((labels, i) => {
    timeByKey.set(labels.key, Math.round(times.values[i]! * 1000));
  });
  const samples: ForStateSample[] = [];
  values.labels.forEach((labels, i) => {
    const bare = labels.without(METRIC_NAME);
    const timeMs = timeByKey.get(bare.key);
    if (timeMs !== undefined) samples.push({ labels: bare, timeMs, activeAtSeconds: values.values[i]! });
  });
  return samples;
}

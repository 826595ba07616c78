// The life of a rule's alerts: pending, firing, resolved. Pure: each step gets the time and what the expression found.
import { AppError } from '../core/errors.ts';
import { type Labels, METRIC_NAME } from '../model/labels.ts';
import type { RuleSamples } from './rule-samples.ts';

export type AlertState = 'inactive' | 'pending' | 'firing';

/** How long a resolved alert is kept and sent again, milliseconds. */
export const RESOLVED_RETENTION_MS = 15 * 60_000;

export const ALERTS_METRIC = 'ALERTS';
export const ALERTS_FOR_STATE_METRIC = 'ALERTS_FOR_STATE';
export const ALERT_NAME_LABEL = 'alertname';
const ALERT_STATE_LABEL = 'alertstate';

/** One element of the expression's result, templates expanded. */
export interface AlertCandidate {
  /** Identity: the element's labels without the metric name, the rule's labels, `alertname`. */
  readonly labels: Labels;
  readonly annotations: readonly (readonly [string, string])[];
  readonly value: number;
}

/** One alert. Times are Unix milliseconds, 0 when they have not come. */
export interface AlertInstance {
  readonly labels: Labels;
  annotations: readonly (readonly [string, string])[];
  state: AlertState;
  value: number;
  activeAtMs: number;
  firedAtMs: number;
  /** Since when the condition no longer holds while `keep_firing_for` keeps the alert. */
  keepFiringSinceMs: number;
  /** Invariant: 0 exactly while state is pending or firing. */
  resolvedAtMs: number;
  /** -Infinity before the first time. */
  lastSentAtMs: number;
  /** Alertmanager may resolve the alert by itself from here on. */
  validUntilMs: number;
}

export interface AlertingTimes {
  readonly forMs: number;
  readonly keepFiringForMs: number;
}

/** The alerts of one alerting rule. */
export class AlertingState {
  /** By label set (Labels.key), in order of appearance. Resolved ones stay for RESOLVED_RETENTION_MS. */
  readonly alerts = new Map<string, AlertInstance>();

  /**
   * Takes the result of one evaluation.
   *
   * @param limit  Most pending and firing alerts; 0 means no limit.
   * @throws AppError `execution` when two elements have the same labels (nothing changes), or over the limit (all alerts
   *         of the rule are dropped, as in Prometheus).
   */
  step(timeMs: number, candidates: readonly AlertCandidate[], times: AlertingTimes, limit: number): void {
    const found = new Map<string, AlertCandidate>();
    for (const candidate of candidates) {
      const { key } = candidate.labels;
      if (found.has(key)) {
        throw new AppError(
          'execution',
          `vector contains metrics with the same labelset after applying alert labels: ${candidate.labels.toString()}`,
        );
      }
      found.set(key, candidate);
    }
    for (const [key, candidate] of found) this.#take(timeMs, key, candidate);
    let active = 0;
    for (const [key, alert] of this.alerts)
      if (this.#advance(timeMs, key, alert, found.has(key), times)) active++;
    if (limit > 0 && active > limit) {
      this.alerts.clear();
      throw new AppError('execution', `exceeded limit of ${limit} with ${active} alerts`);
    }
  }

  #take(timeMs: number, key: string, candidate: AlertCandidate): void {
    const known = this.alerts.get(key);
    if (known !== undefined && known.state !== 'inactive') {
      known.value = candidate.value;
      known.annotations = candidate.annotations;
      return;
    }
    this.alerts.set(key, {
      ...candidate,
      state: 'pending',
      activeAtMs: timeMs,
      firedAtMs: 0,
      keepFiringSinceMs: 0,
      resolvedAtMs: 0,
      lastSentAtMs: Number.NEGATIVE_INFINITY,
      validUntilMs: 0,
    });
  }

  /** Moves one alert on; true when it is pending or firing afterwards. */
  #advance(
    timeMs: number,
    key: string,
    alert: AlertInstance,
    holds: boolean,
    { forMs, keepFiringForMs }: AlertingTimes,
  ): boolean {
    if (!holds) {
      if (alert.state === 'firing' && keepFiringForMs > 0) {
        if (alert.keepFiringSinceMs === 0) alert.keepFiringSinceMs = timeMs;
        if (timeMs - alert.keepFiringSinceMs < keepFiringForMs) return true;
      }
      const expired = alert.resolvedAtMs !== 0 && timeMs - alert.resolvedAtMs > RESOLVED_RETENTION_MS;
      if (alert.state === 'pending' || expired) this.alerts.delete(key);
      if (alert.state !== 'inactive') {
        alert.state = 'inactive';
        alert.resolvedAtMs = timeMs;
      }
      return false;
    }
    alert.keepFiringSinceMs = 0;
    if (alert.state === 'pending' && timeMs - alert.activeAtMs >= forMs) {
      alert.state = 'firing';
      alert.firedAtMs = timeMs;
    }
    return true;
  }

  /** The rule's state: that of its most serious alert. */
  get state(): AlertState {
    let state: AlertState = 'inactive';
    for (const alert of this.alerts.values()) {
      if (alert.state === 'firing') return 'firing';
      if (alert.state === 'pending') state = 'pending';
    }
    return state;
  }

  /** Pending and firing alerts. */
  active(): AlertInstance[] {
    return [...this.alerts.values()].filter((alert) => alert.resolvedAtMs === 0);
  }

  /** Adds ALERTS and ALERTS_FOR_STATE of each active alert. */
  writeSamples(timeMs: number, into: RuleSamples): void {
    for (const alert of this.alerts.values()) {
      if (alert.resolvedAtMs !== 0) continue;
      const named = alert.labels.with(METRIC_NAME, ALERTS_METRIC).with(ALERT_STATE_LABEL, alert.state);
      into.add(named, timeMs, 1);
      const forState = alert.labels.with(METRIC_NAME, ALERTS_FOR_STATE_METRIC);
      into.add(forState, timeMs, Math.floor(alert.activeAtMs / 1000));
    }
  }

  /**
   * The alerts that are due to be sent, marked as sent at `timeMs`: firing ones every `resendDelayMs`, resolved ones at
   * once and then again as often until they are forgotten.
   *
   * @param sentAtMs  When they will be sent; later than `timeMs` for a slot that is made up for.
   */
  takeDue(timeMs: number, sentAtMs: number, resendDelayMs: number, intervalMs: number): AlertInstance[] {
    const due: AlertInstance[] = [];
    for (const alert of this.alerts.values()) {
      if (alert.state === 'pending') continue;
      const justResolved = alert.resolvedAtMs > alert.lastSentAtMs;
      if (!justResolved && alert.lastSentAtMs + resendDelayMs >= timeMs) continue;
      alert.lastSentAtMs = timeMs;
      // Four rounds, so that two lost evaluations or sends do not resolve an alert that still fires.
      alert.validUntilMs = Math.max(timeMs, sentAtMs) + 4 * Math.max(resendDelayMs, intervalMs);
      due.push({ ...alert });
    }
    return due;
  }
}

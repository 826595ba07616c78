// Restoring the clocks of `for` after a restart, from the ALERTS_FOR_STATE series that the evaluator wrote before.
import type { Labels } from '../model/labels.ts';
import { METRIC_NAME } from '../model/labels.ts';
import type { AlertInstance } from './alerting-state.ts';

export interface RestoreTimes {
  /** Unix milliseconds of the restoration. */
  readonly nowMs: number;
  /** `--rules.alert.for-grace-period`: a restored alert fires this much later at the earliest. */
  readonly gracePeriodMs: number;
  readonly forMs: number;
  /** A sample that is no older was written by an evaluator that handed the group over: no outage lies between. */
  readonly handOverMs: number;
  /** Between two evaluations of the group. */
  readonly intervalMs: number;
  /** Slot of the first evaluation of the rule here, Unix milliseconds: an alert that was found later is none that was handed over. */
  readonly firstMs: number;
}

/** The last ALERTS_FOR_STATE sample of an alert that was active when the evaluator went down. */
export interface ForStateSample {
  readonly labels: Labels;
  /** When the sample was written, Unix milliseconds. */
  readonly timeMs: number;
  /** Its value: when the alert became active, Unix seconds. */
  readonly activeAtSeconds: number;
}

/** Whether a sample was written by an evaluator that handed the group over, moments before the restoration. */
export function isHandedOver(
  { timeMs }: Pick<ForStateSample, 'timeMs'>,
  { nowMs, handOverMs }: Pick<RestoreTimes, 'nowMs' | 'handOverMs'>,
): boolean {
  return nowMs - timeMs <= handOverMs;
}

/** The samples of a rule's own alerts, by their labels: rules of one name share the series' name and that label. */
export function samplesOf(
  alerts: readonly AlertInstance[],
  samples: readonly ForStateSample[],
): ReadonlyMap<AlertInstance, ForStateSample> {
  const byLabels = new Map<string, ForStateSample>();
  for (const sample of samples) byLabels.set(sample.labels.without(METRIC_NAME).key, sample);
  const own = new Map<AlertInstance, ForStateSample>();
  for (const alert of alerts) {
    const sample = byLabels.get(alert.labels.key);
    if (sample !== undefined) own.set(alert, sample);
  }
  return own;
}

/**
 * Gives alerts their old `activeAt`, moved by the time in which nobody evaluated. Where there was no outage, one that fired goes on firing
 * since when it did: it may be over at the next evaluation, and whoever was told of it has to be told of its end.
 *
 * @returns  Alerts that got it.
 */
export function restoreAlerts(
  samples: ReadonlyMap<AlertInstance, ForStateSample>,
  times: RestoreTimes,
): number {
  let restored = 0;
  for (const [alert, sample] of samples) {
    const foundMs = alert.activeAtMs;
    const isContinued = isHandedOver(sample, times);
    if (isContinued ? foundMs > times.firstMs : times.forMs < times.gracePeriodMs) continue;
    alert.activeAtMs = restoredActiveAt(sample, times);
    if (isContinued) goOn(alert, foundMs, sample, times);
    restored++;
  }
  return restored;
}

/** @param foundMs  The evaluation that found the alert active here first. */
function goOn(
  alert: AlertInstance,
  foundMs: number,
  { timeMs }: ForStateSample,
  { forMs, intervalMs }: RestoreTimes,
): void {
  // The sample has whole seconds; the evaluation that began it was at a slot, as the one that found it here.
  const slotsBack = Math.ceil((foundMs - (alert.activeAtMs + 999)) / intervalMs);
  const slotMs = foundMs - Math.max(slotsBack, 0) * intervalMs;
  if (slotMs >= alert.activeAtMs) alert.activeAtMs = slotMs;
  const isContinued = foundMs - timeMs <= intervalMs;
  if (alert.state !== 'pending' || !isContinued || timeMs - alert.activeAtMs < forMs) return;
  alert.state = 'firing';
  alert.firedAtMs = alert.activeAtMs + Math.ceil(forMs / intervalMs) * intervalMs;
}

/** When a restored alert counts as active since, Unix milliseconds. */
export function restoredActiveAt(
  sample: Pick<ForStateSample, 'timeMs' | 'activeAtSeconds'>,
  { nowMs, gracePeriodMs, forMs, handOverMs }: Omit<RestoreTimes, 'firstMs'>,
): number {
  const downAtMs = Math.floor(sample.timeMs / 1000) * 1000;
  const activeAtMs = Math.trunc(sample.activeAtSeconds) * 1000;
  if (isHandedOver(sample, { nowMs, handOverMs })) return activeAtMs;
  const remainingMs = forMs - (downAtMs - activeAtMs);
  // It fired when the evaluator went down, and fires again at the next evaluation.
  if (remainingMs <= 0) return activeAtMs;
  // It would fire at once: give what it depends on the grace period to come back.
  if (remainingMs < gracePeriodMs) return nowMs + gracePeriodMs - forMs;
  return activeAtMs + (nowMs - downAtMs);
}

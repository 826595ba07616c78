import { describe, expect, test } from 'vitest';
import { Labels } from '../model/labels.ts';
import { AlertingState } from './alerting-state.ts';
import { restoreAlerts, restoredActiveAt, samplesOf } from './restore.ts';

const MINUTE = 60_000;
const times = (nowMs: number, forMs: number, handOverMs = 0, firstMs = nowMs) => ({
  nowMs,
  firstMs,
  forMs,
  gracePeriodMs: 10 * MINUTE,
  handOverMs,
  intervalMs: MINUTE,
});

describe('the time since when a restored alert is active', () => {
  test.each([
    // for: 30 m, active since 0, down at 40 m: it fired, its own time stays.
    ['had fired', 30, 40, 50, 0],
    // Pending for exactly `for`: fired at that moment.
    ['had just fired', 30, 30, 50, 0],
    // Down at 25 m, 5 m were left, less than the grace period: it fires 10 m after the restart at 50 m, at 60 m.
    ['was about to fire', 30, 25, 50, 30],
    // Down at 10 m, 20 m were left: the outage from 10 m to 50 m does not count, it fires at 70 m.
    ['was pending', 30, 10, 50, 40],
    // 10 m left, the grace period itself: the outage of 30 m is added.
    ['had the grace period left', 30, 20, 50, 30],
  ])('%s', (_name, forMinutes, downMinutes, nowMinutes, expectedMinutes) => {
    const sample = { timeMs: downMinutes * MINUTE, activeAtSeconds: 0 };
    const activeAtMs = restoredActiveAt(sample, times(nowMinutes * MINUTE, forMinutes * MINUTE));
    expect(activeAtMs / MINUTE).toBe(expectedMinutes);
  });

  test.each([
    ['its own time stays', 1, 0],
    ['an outage that is longer than a hand-over counts', 0.9, 10],
  ])('a group that is handed over: %s', (_name, handOverMinutes, expectedMinutes) => {
    const sample = { timeMs: 4 * MINUTE, activeAtSeconds: 0 };
    const given = times(5 * MINUTE, 5 * MINUTE, handOverMinutes * MINUTE);
    // A minute of five was left, which the grace period would make ten.
    expect(restoredActiveAt(sample, given) / MINUTE).toBe(expectedMinutes);
  });

  test('milliseconds of the sample do not count', () => {
    expect(restoredActiveAt({ timeMs: 600_999, activeAtSeconds: 0 }, times(3_000_000, 30 * MINUTE))).toBe(
      3_000_000 - 600_000,
    );
  });
});

test('alerts are found by their labels, others stay', () => {
  const state = new AlertingState();
  const known = Labels.from([
    ['alertname', 'A'],
    ['instance', '1'],
  ]);
  const fresh = Labels.from([
    ['alertname', 'A'],
    ['instance', '2'],
  ]);
  const candidates = [known, fresh].map((labels) => ({ labels, annotations: [], value: 1 }));
  state.step(3_000_000, candidates, { forMs: 30 * MINUTE, keepFiringForMs: 0 }, 0);
  const sample = {
    labels: known.with('__name__', 'ALERTS_FOR_STATE'),
    timeMs: 600_000,
    activeAtSeconds: 0,
  };
  expect(restoreAlerts(samplesOf(state.active(), [sample]), times(3_000_000, 30 * MINUTE))).toBe(1);
  expect(state.active().map(({ activeAtMs }) => activeAtMs)).toEqual([2_400_000, 3_000_000]);
});

// Slots are 7.3 s past the minute. Active since 1 m 7.3 s, of which the series has whole seconds; `for` is 90 s: fired at 3 m 7.3 s.
test.each([
  ['fired before the hand-over: it goes on firing', 4, 4, { state: 'firing', firedAtMs: 3 * MINUTE + 7_300 }],
  ['fired in the last evaluation', 3, 3, { state: 'firing', firedAtMs: 3 * MINUTE + 7_300 }],
  ['seen by the former evaluator one slot before', 3, 4, { state: 'firing', firedAtMs: 3 * MINUTE + 7_300 }],
  ['was pending: it stays so', 2, 3, { state: 'pending', firedAtMs: 0 }],
  ['was gone for a slot in between: nobody knows', 3, 5, { state: 'pending', firedAtMs: 0 }],
])('an alert that is handed over, which %s', (_name, lastMinute, foundMinute, expected) => {
  const state = new AlertingState();
  const labels = Labels.from([['alertname', 'A']]);
  const slot = (minute: number): number => minute * MINUTE + 7_300;
  const rule = { forMs: 1.5 * MINUTE, keepFiringForMs: 0 };
  const candidates = [{ labels, annotations: [], value: 1 }];
  state.step(slot(foundMinute), candidates, rule, 0);
  const sample = { labels, timeMs: slot(lastMinute), activeAtSeconds: 67 };
  restoreAlerts(samplesOf(state.active(), [sample]), times(slot(foundMinute) + 500, rule.forMs, 5 * MINUTE));
  expect(state.active()).toMatchObject([{ activeAtMs: slot(1), ...expected }]);
  if (expected.state === 'pending') return;
  // It is over: whoever was told of it hears of that.
  state.step(slot(foundMinute + 1), [], rule, 0);
  expect(state.takeDue(slot(foundMinute + 1), 0, MINUTE, MINUTE)).toMatchObject([
    { firedAtMs: expected.firedAtMs, resolvedAtMs: slot(foundMinute + 1) },
  ]);
});

test.each([
  ['that was not there at an earlier evaluation here', 3, 4],
  ['whose `for` is shorter than the grace period, written too long ago', 9, 9],
])('an alert %s begins anew', (_name, firstMinute, foundMinute) => {
  const state = new AlertingState();
  const labels = Labels.from([['alertname', 'A']]);
  const rule = { forMs: MINUTE, keepFiringForMs: 0 };
  state.step(foundMinute * MINUTE, [{ labels, annotations: [], value: 1 }], rule, 0);
  // Nobody ended the series of one that is over.
  const samples = samplesOf(state.active(), [{ labels, timeMs: 2 * MINUTE, activeAtSeconds: 0 }]);
  const given = times(foundMinute * MINUTE, rule.forMs, 5 * MINUTE, firstMinute * MINUTE);
  expect(restoreAlerts(samples, given)).toBe(0);
  expect(state.active()).toMatchObject([{ activeAtMs: foundMinute * MINUTE, state: 'pending' }]);
});

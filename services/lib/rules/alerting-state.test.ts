import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import {
  type AlertCandidate,
  AlertingState,
  type AlertingTimes,
  RESOLVED_RETENTION_MS,
} from './alerting-state.ts';
import { RuleSamples } from './rule-samples.ts';

const MINUTE = 60_000;

function candidate(instance: string, value = 1): AlertCandidate {
  const labels = Labels.from([
    ['alertname', 'A'],
    ['instance', instance],
  ]);
  return { labels, annotations: [['summary', `value ${value}`]], value };
}

/** Steps a fresh state through minutes: what is found at each. Answers the state of instance `a` after each step. */
function walk(minutes: readonly (readonly string[])[], times: AlertingTimes): string[] {
  const state = new AlertingState();
  return minutes.map((instances, minute) => {
    state.step(
      (minute + 1) * MINUTE,
      instances.map((name) => candidate(name)),
      times,
      0,
    );
    return [...state.alerts.values()].find(({ labels }) => labels.get('instance') === 'a')?.state ?? 'gone';
  });
}

describe('states', () => {
  test.each([
    ['fires at once without for', ['a', 'a'], { forMs: 0, keepFiringForMs: 0 }, ['firing', 'firing']],
    [
      'is pending for as long as for',
      ['a', 'a', 'a', 'a'],
      { forMs: 2 * MINUTE, keepFiringForMs: 0 },
      ['pending', 'pending', 'firing', 'firing'],
    ],
    [
      'a pending alert that vanishes is forgotten and begins anew',
      ['a', '', 'a', 'a'],
      { forMs: MINUTE, keepFiringForMs: 0 },
      ['pending', 'gone', 'pending', 'firing'],
    ],
    [
      'a firing alert that vanishes is resolved; when it comes back it begins anew',
      ['a', 'a', '', 'a', 'a'],
      { forMs: MINUTE, keepFiringForMs: 0 },
      ['pending', 'firing', 'inactive', 'pending', 'firing'],
    ],
    [
      'keep_firing_for holds it until that time has passed',
      ['a', '', '', '', ''],
      { forMs: 0, keepFiringForMs: 2 * MINUTE },
      ['firing', 'firing', 'firing', 'inactive', 'inactive'],
    ],
    [
      'the condition in between starts keep_firing_for again',
      ['a', '', 'a', '', '', ''],
      { forMs: 0, keepFiringForMs: 2 * MINUTE },
      ['firing', 'firing', 'firing', 'firing', 'firing', 'inactive'],
    ],
    [
      'keep_firing_for does nothing for a pending alert',
      ['a', '', 'a'],
      { forMs: 5 * MINUTE, keepFiringForMs: 10 * MINUTE },
      ['pending', 'gone', 'pending'],
    ],
  ])('%s', (_name, found, times, expected) => {
    expect(
      walk(
        found.map((name) => (name === '' ? [] : [name])),
        times,
      ),
    ).toEqual(expected);
  });

  test('a resolved alert is kept for 15 minutes', () => {
    const state = new AlertingState();
    const times = { forMs: 0, keepFiringForMs: 0 };
    state.step(0 + MINUTE, [candidate('a')], times, 0);
    state.step(2 * MINUTE, [], times, 0);
    state.step(2 * MINUTE + RESOLVED_RETENTION_MS, [], times, 0);
    expect(state.alerts.size).toBe(1);
    expect(state.active()).toEqual([]);
    state.step(2 * MINUTE + RESOLVED_RETENTION_MS + 1, [], times, 0);
    expect(state.alerts.size).toBe(0);
  });

  test('value and annotations follow the expression, the time of activity stays', () => {
    const state = new AlertingState();
    const times = { forMs: 5 * MINUTE, keepFiringForMs: 0 };
    state.step(MINUTE, [candidate('a', 1)], times, 0);
    state.step(2 * MINUTE, [candidate('a', 7)], times, 0);
    expect(state.active()[0]).toMatchObject({
      value: 7,
      annotations: [['summary', 'value 7']],
      activeAtMs: MINUTE,
    });
  });
});

describe('limits and duplicates', () => {
  const times = { forMs: 0, keepFiringForMs: 0 };

  test('two elements with the same labels are an error and change nothing', () => {
    const state = new AlertingState();
    state.step(MINUTE, [candidate('a')], times, 0);
    expect(() => state.step(2 * MINUTE, [candidate('b'), candidate('b')], times, 0)).toThrow(
      'vector contains metrics with the same labelset after applying alert labels: {alertname="A", instance="b"}',
    );
    expect([...state.alerts.values()].map(({ labels }) => labels.get('instance'))).toEqual(['a']);
  });

  test('more alerts than the limit are an error and none remains', () => {
    const state = new AlertingState();
    state.step(MINUTE, [candidate('a'), candidate('b')], times, 2);
    expect(() => state.step(2 * MINUTE, [candidate('a'), candidate('b'), candidate('c')], times, 2)).toThrow(
      new AppError('execution', 'exceeded limit of 2 with 3 alerts'),
    );
    expect(state.alerts.size).toBe(0);
  });

  test('resolved alerts do not count', () => {
    const state = new AlertingState();
    state.step(MINUTE, [candidate('a'), candidate('b')], times, 2);
    state.step(2 * MINUTE, [candidate('c'), candidate('d')], times, 2);
    expect(state.alerts.size).toBe(4);
  });
});

test('ALERTS and ALERTS_FOR_STATE of pending and firing alerts', () => {
  const state = new AlertingState();
  const times = { forMs: MINUTE, keepFiringForMs: 0 };
  state.step(61_500, [candidate('a'), candidate('gone')], times, 0);
  state.step(121_500, [candidate('a'), candidate('gone')], times, 0);
  state.step(181_500, [candidate('a'), candidate('b')], times, 0);
  const samples = new RuleSamples();
  state.writeSamples(181_500, samples);
  const lines = samples.labels.map(
    (labels, i) => `${labels.toString()} ${samples.values[i]} @${samples.timestampsMs[i]}`,
  );
  expect(lines).toEqual([
    'ALERTS{alertname="A", alertstate="firing", instance="a"} 1 @181500',
    'ALERTS_FOR_STATE{alertname="A", instance="a"} 61 @181500',
    'ALERTS{alertname="A", alertstate="pending", instance="b"} 1 @181500',
    'ALERTS_FOR_STATE{alertname="A", instance="b"} 181 @181500',
  ]);
});

describe('what is due to be sent', () => {
  const RESEND = MINUTE;
  const INTERVAL = 15_000;

  test('a firing alert at once, then after the resend delay; never a pending one', () => {
    const state = new AlertingState();
    const times = { forMs: 30_000, keepFiringForMs: 0 };
    const sent: number[] = [];
    for (let timeMs = INTERVAL; timeMs <= 12 * INTERVAL; timeMs += INTERVAL) {
      state.step(timeMs, [candidate('a')], times, 0);
      for (const alert of state.takeDue(timeMs, timeMs, RESEND, INTERVAL)) {
        expect(alert.validUntilMs).toBe(timeMs + 4 * RESEND);
        sent.push(timeMs / INTERVAL);
      }
    }
    // Fires at the third slot. Due again once more than the delay (four slots) has passed.
    expect(sent).toEqual([3, 8]);
  });

  test('a resolved alert at once, and again until it is forgotten', () => {
    const state = new AlertingState();
    const times = { forMs: 0, keepFiringForMs: 0 };
    state.step(MINUTE, [candidate('a')], times, 0);
    expect(state.takeDue(MINUTE, MINUTE, RESEND, 2 * MINUTE)[0]).toMatchObject({ validUntilMs: 9 * MINUTE });
    const sent: number[] = [];
    for (let minute = 2; minute <= 30; minute++) {
      state.step(minute * MINUTE, [], times, 0);
      for (const alert of state.takeDue(minute * MINUTE, minute * MINUTE, RESEND, MINUTE)) {
        expect(alert.resolvedAtMs).toBe(2 * MINUTE);
        sent.push(minute);
      }
    }
    expect(sent).toEqual([2, 4, 6, 8, 10, 12, 14, 16]);
  });

  test('what was taken does not change with the state', () => {
    const state = new AlertingState();
    state.step(MINUTE, [candidate('a')], { forMs: 0, keepFiringForMs: 0 }, 0);
    const [taken] = state.takeDue(MINUTE, MINUTE, RESEND, INTERVAL);
    state.step(2 * MINUTE, [], { forMs: 0, keepFiringForMs: 0 }, 0);
    expect(taken).toMatchObject({ state: 'firing', resolvedAtMs: 0 });
  });
});

/**
 * The dumb model: an instance's whole history decides its state, recomputed from the start each time.
 * Presence is a list of booleans, one per minute.
 */
function modelState(presence: readonly boolean[], { forMs, keepFiringForMs }: AlertingTimes): string {
  let state = 'gone';
  let since = 0;
  let lostAt = -1;
  let resolvedAt = -1;
  presence.forEach((present, minute) => {
    const now = minute * MINUTE;
    if (present) {
      if (state === 'gone' || state === 'inactive') {
        state = 'pending';
        since = now;
      }
      lostAt = -1;
      if (state === 'pending' && now - since >= forMs) state = 'firing';
      return;
    }
    if (state === 'pending') state = 'gone';
    else if (state === 'firing') {
      if (lostAt < 0) lostAt = now;
      if (keepFiringForMs === 0 || now - lostAt >= keepFiringForMs) {
        state = 'inactive';
        resolvedAt = now;
      }
    } else if (state === 'inactive' && now - resolvedAt > RESOLVED_RETENTION_MS) state = 'gone';
  });
  return state;
}

test('any history gives the states of the model', () => {
  const history = fc.array(fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()), { maxLength: 60 });
  fc.assert(
    fc.property(
      history,
      fc.integer({ min: 0, max: 6 }),
      fc.integer({ min: 0, max: 6 }),
      (rounds, hold, keep) => {
        const times = { forMs: hold * MINUTE, keepFiringForMs: keep * MINUTE };
        const state = new AlertingState();
        const names = ['a', 'b', 'c'];
        for (let round = 0; round < rounds.length; round++) {
          const found = names.filter((_, i) => rounds[round]![i]);
          // Minute 0 would be the epoch, where 0 stands for "never": start an hour later.
          state.step(
            3_600_000 + round * MINUTE,
            found.map((name) => candidate(name)),
            times,
            0,
          );
          names.forEach((name, i) => {
            const presence = rounds.slice(0, round + 1).map((flags) => flags[i]!);
            expect(state.alerts.get(candidate(name).labels.key)?.state ?? 'gone').toBe(
              modelState(presence, times),
            );
          });
        }
      },
    ),
    { numRuns: 150 },
  );
});

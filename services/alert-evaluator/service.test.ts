import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Answer, createRuleWorld, ruleConfig } from '../../test/support/rule-world.ts';
import type { Clock } from '../lib/core/clock.ts';
import { AppError } from '../lib/core/errors.ts';
import { DEFAULT_FEATURES } from '../lib/promql/features.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { createAlertEvaluator } from './service.ts';

const INTERVAL_MS = 60_000;
const CONTEXT = { signal: new AbortController().signal };

/** Time that passes when the test says so; whoever sleeps until then goes on. */
class TestClock implements Clock {
  #nowMs = 1_700_000_000_000;
  #stepMs = 0;
  #sleepers = new Set<{ readonly untilMs: number; readonly wake: () => void }>();

  nowMs(): number {
    return this.#nowMs + this.#stepMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = { untilMs: this.#nowMs + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      const leave = () => {
        this.#sleepers.delete(sleeper);
        reject(signal?.reason);
      };
      if (signal?.aborted) leave();
      else signal?.addEventListener('abort', leave, { once: true });
    });
  }

  /** Moves on second by second and lets everything that is due run. */
  async advance(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 1000) {
      this.#nowMs += 1000;
      await this.settle();
    }
  }

  /** Sets the wall clock; timers go on as they were. */
  step(ms: number): void {
    this.#stepMs += ms;
  }

  /** Jumps at once: nobody runs in between. */
  async jump(ms: number): Promise<void> {
    this.#nowMs += ms;
    await this.settle();
  }

  async settle(): Promise<void> {
    for (const sleeper of this.#sleepers) {
      if (sleeper.untilMs > this.#nowMs) continue;
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  }
}

interface Sharing {
  /** Which groups are ours; the others are a live other evaluator's, unless `othersOwn` says otherwise. */
  readonly owns: (groupKey: string) => boolean;
  readonly othersOwn?: (groupKey: string) => boolean;
  readonly handOverMs: number;
}

async function startEvaluator(sharing?: Sharing) {
  const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));
  const world = createRuleWorld();
  const clock = new TestClock();
  const registry = new Registry();
  const evaluator = createAlertEvaluator(
    {
      externalUrl: 'http://x/',
      features: DEFAULT_FEATURES,
      ...(sharing !== undefined && { handOverMs: sharing.handOverMs }),
    },
    {
      cluster: world.cluster,
      distributor: world.distributor,
      clock,
      logger: createSilentLogger(),
      registry,
      ...(sharing !== undefined && { othersOwn: (key) => !sharing.owns(key), ...sharing }),
    },
  );
  onTestFinished(async () => {
    await evaluator.drain();
    await evaluator.stop();
  });
  await evaluator.start();
  const file = (name: string) => path.join(folder, name);
  return {
    world,
    clock,
    evaluator,
    file,
    write: (name: string, text: string) => writeFileSync(file(name), text),
    apply: () => evaluator.applyConfig(ruleConfig({ ruleFiles: [file('*.yml')], intervalMs: INTERVAL_MS })),
    groups: async () => (await evaluator.handlers.ruleGroups({}, CONTEXT)).groups,
    metric: async (name: string) => {
      const metric = await registry.getSingleMetric(name)?.get();
      return (metric?.values ?? []).reduce((sum, each) => sum + each.value, 0);
    },
  };
}

const group = (name: string, ...rules: readonly string[]) =>
  `  - name: ${name}\n    rules:\n${rules.map((rule) => `      - { ${rule} }\n`).join('')}`;

describe('evaluation', () => {
  test('groups run at their own slot of the interval, at equal distances', async () => {
    const { world, clock, write, apply, groups } = await startEvaluator();
    write('a.yml', `groups:\n${group('g', 'record: r, expr: up')}`);
    world.answer = () => [[{ job: 'a' }, 3]];
    await apply();
    expect((await groups())[0]!.rules[0]).toMatchObject({ health: 'unknown', lastEvaluationMs: 0 });
    await clock.advance(5 * INTERVAL_MS);
    const times = world.asked.map(({ startMs }) => startMs);
    expect(times).toHaveLength(5);
    expect(new Set(times.slice(1).map((timeMs, i) => timeMs - times[i]!))).toEqual(new Set([INTERVAL_MS]));
    expect(world.asked[0]).toMatchObject({
      query: 'up',
      stepMs: 0,
      tenant: 'anonymous',
      allowPartial: false,
    });
    expect(world.written).toEqual(times.map((timeMs) => ({ series: 'r{job="a"}', timeMs, value: 3 })));
    expect((await groups())[0]).toMatchObject({ name: 'g', intervalSeconds: 60, rules: [{ health: 'ok' }] });
  });

  test('what is missed is counted and not made up for', async () => {
    const { world, clock, write, apply, metric } = await startEvaluator();
    write('a.yml', `groups:\n${group('g', 'record: r, expr: up')}`);
    await apply();
    await clock.advance(INTERVAL_MS);
    expect(world.asked).toHaveLength(1);
    await clock.jump(10 * INTERVAL_MS);
    await clock.settle();
    expect(await metric('tidemark_rule_group_iterations_missed_total')).toBeGreaterThanOrEqual(8);
    expect(world.asked.length).toBeLessThanOrEqual(3);
    expect(await metric('tidemark_rule_evaluations_total')).toBe(world.asked.length);
  });

  test('R22: a wall clock that is set back, or ahead and back again, silences no group', async () => {
    const { world, clock, write, apply } = await startEvaluator();
    write('a.yml', `groups:\n${group('g', 'record: r, expr: up')}`);
    await apply();
    const askedIn = async (intervals: number): Promise<number[]> => {
      const before = world.asked.length;
      await clock.advance(intervals * INTERVAL_MS);
      return world.asked.slice(before).map(({ startMs }) => Math.abs(clock.nowMs() - startMs));
    };
    expect(await askedIn(3)).toHaveLength(3);
    for (const stepMs of [-2 * 3_600_000, 3_600_000, -3_600_000, 2 * 3_600_000]) {
      clock.step(stepMs);
      const ages = await askedIn(4);
      expect([stepMs, ages.length]).toEqual([stepMs, expect.toSatisfy((count) => count >= 3 && count <= 5)]);
      // The latest at a slot of the clock as it is now.
      expect([stepMs, ages.at(-1)]).toEqual([stepMs, expect.toSatisfy((ms) => ms < INTERVAL_MS)]);
    }
  });

  test('refused samples and failing writes make the rule unhealthy', async () => {
    const { world, clock, write, apply, groups, metric } = await startEvaluator();
    write('a.yml', `groups:\n${group('g', 'record: r, expr: up')}`);
    world.answer = () => [[{ job: 'a' }, 3]];
    world.rejection = 'too old';
    await apply();
    await clock.advance(INTERVAL_MS);
    expect((await groups())[0]!.rules[0]).toMatchObject({
      health: 'err',
      lastError: '1 of 1 samples were refused; the first: too old',
    });
    world.writeError = new AppError('unavailable', 'no quorum');
    await clock.advance(INTERVAL_MS);
    expect((await groups())[0]!.rules[0]!.lastError).toBe('no quorum');
    expect(await metric('tidemark_rule_evaluation_failures_total')).toBe(2);
  });

  test('alerts as the contract carries them', async () => {
    const { world, clock, write, apply, groups } = await startEvaluator();
    write(
      'a.yml',
      `groups:\n${group('g', "alert: A, expr: 'up  ==  0', for: 1m, keep_firing_for: 5m, labels: { l: x }, annotations: { s: '{{ $value }}' }")}`,
    );
    world.answer = () => [[{ __name__: 'up', job: 'a' }, 0]];
    await apply();
    expect((await groups())[0]!.rules[0]!.alerting!.state).toBe('unknown');
    await clock.advance(2 * INTERVAL_MS);
    world.answer = () => [];
    await clock.advance(INTERVAL_MS);
    const [activeAtMs, , lostAtMs] = world.asked.map(({ startMs }) => startMs);
    expect((await groups())[0]!.rules[0]).toMatchObject({
      name: 'A',
      query: 'up == 0',
      labels: { l: 'x' },
      alerting: {
        forSeconds: 60,
        keepFiringForSeconds: 300,
        annotations: { s: '{{ $value }}' },
        state: 'firing',
        alerts: [
          {
            labels: { alertname: 'A', job: 'a', l: 'x' },
            annotations: { s: '0' },
            state: 'firing',
            activeAtMs,
            keepFiringSinceMs: lostAtMs,
            value: 0,
          },
        ],
      },
    });
  });
});

describe('a new configuration', () => {
  test('leaves unchanged groups alone and gives changed ones the state', async () => {
    const { world, clock, write, apply, groups } = await startEvaluator();
    write(
      'a.yml',
      `groups:\n${group('same', 'alert: A, expr: up, for: 3m')}${group('other', 'alert: B, expr: up, for: 3m')}`,
    );
    world.answer = () => [[{}, 1]];
    await apply();
    await clock.advance(2 * INTERVAL_MS);
    const before = await groups();
    write(
      'a.yml',
      `groups:\n${group('same', 'alert: A, expr: up, for: 3m')}${group('other', 'alert: B, expr: up, for: 2m')}`,
    );
    await apply();
    const after = await groups();
    const activeAt = (list: typeof before) =>
      list.map(({ rules }) => rules[0]!.alerting!.alerts[0]!.activeAtMs);
    expect(activeAt(after)).toEqual(activeAt(before));
    expect(after[0]!.lastEvaluationMs).toBe(before[0]!.lastEvaluationMs);
    await clock.advance(INTERVAL_MS);
    expect((await groups()).map(({ rules }) => rules[0]!.alerting!.state)).toEqual(['pending', 'firing']);
  });

  test('that is bad keeps the old rules and says where and why', async () => {
    const { world, clock, write, apply, file, groups, metric } = await startEvaluator();
    write('a.yml', `groups:\n${group('g', 'record: r, expr: up')}`);
    await apply();
    write('b.yml', `groups:\n${group('h', 'record: r, expr: up +')}`);
    await expect(apply()).rejects.toThrow(
      `loading rule files failed:\n${file('b.yml')}: 4:28: group "h", rule 1, "r": could not parse expression: 1:5: parse error: unexpected end of input`,
    );
    expect((await groups()).map(({ name }) => name)).toEqual(['g']);
    expect(await metric('tidemark_rule_load_failures_total')).toBe(1);
    await clock.advance(INTERVAL_MS);
    expect(world.asked).toHaveLength(1);
  });

  test('without a group ends its series, unless another group goes on with them', async () => {
    const { world, clock, write, apply } = await startEvaluator();
    write('a.yml', `groups:\n${group('g', 'record: gone, expr: up', 'record: moved, expr: up')}`);
    world.answer = () => [[{}, 1]];
    await apply();
    await clock.advance(INTERVAL_MS);
    write('a.yml', `groups:\n${group('h', 'record: moved, expr: up')}`);
    await apply();
    const removedMs = clock.nowMs();
    await clock.advance(INTERVAL_MS);
    expect(world.written.filter(({ value }) => value === 'stale')).toEqual([]);
    await clock.advance(2 * INTERVAL_MS);
    expect(world.written.filter(({ value }) => value === 'stale')).toEqual([
      { series: 'gone', timeMs: removedMs, value: 'stale' },
    ]);
  });

  test('groups are sorted by file; a pattern that matches nothing is no error', async () => {
    const { evaluator, file, write, groups } = await startEvaluator();
    write('b.yml', `groups:\n${group('two', 'record: r, expr: up')}${group('one', 'record: r, expr: up')}`);
    write('a.yml', `groups:\n${group('three', 'record: r, expr: up')}`);
    const ruleFiles = [file('b*'), file('*.yml'), file('none-*')];
    await evaluator.applyConfig(ruleConfig({ ruleFiles, intervalMs: INTERVAL_MS }));
    expect((await groups()).map(({ file: from, name }) => [path.basename(from), name])).toEqual([
      ['a.yml', 'three'],
      ['b.yml', 'two'],
      ['b.yml', 'one'],
    ]);
  });
});

test('after a restart alerts get their clock back', async () => {
  const { world, clock, write, apply, groups, metric } = await startEvaluator();
  write('a.yml', `groups:\n${group('g', 'alert: A, expr: up, for: 30m')}`);
  const downMs = clock.nowMs() - 600_000;
  world.answer = ({ query }) => {
    if (query.startsWith('timestamp(')) return [[{ alertname: 'A' }, downMs / 1000]];
    if (query.startsWith('ALERTS_FOR_STATE')) {
      return [[{ __name__: 'ALERTS_FOR_STATE', alertname: 'A' }, downMs / 1000 - 900]];
    }
    return [[{}, 1]];
  };
  await apply();
  await clock.advance(INTERVAL_MS);
  expect(world.written).toEqual([]);
  await clock.advance(INTERVAL_MS);
  expect(await metric('tidemark_alerts_restored_total')).toBe(1);
  const restoreMs = clock.nowMs();
  const alert = (await groups())[0]!.rules[0]!.alerting!.alerts[0]!;
  // 15 of 30 minutes had passed; the outage does not count.
  expect(Math.abs(restoreMs - alert.activeAtMs - 900_000)).toBeLessThanOrEqual(INTERVAL_MS);
  const series = ['ALERTS{alertname="A", alertstate="pending"}', 'ALERTS_FOR_STATE{alertname="A"}'];
  expect(world.written.map((written) => written.series)).toEqual(series);
  await clock.advance(INTERVAL_MS);
  expect(world.written.map((written) => written.series)).toEqual([...series, ...series]);
});

describe('a group that is taken over from another evaluator', () => {
  const HAND_OVER_MS = 3 * INTERVAL_MS;

  async function takeOver(rule: string, answer?: (query: string, timeMs: number) => Answer) {
    let isOurs = false;
    const started = await startEvaluator({ owns: () => isOurs, handOverMs: HAND_OVER_MS });
    const { world, clock, write, apply, evaluator } = started;
    write('a.yml', `groups:\n${group('g', rule)}`);
    world.answer = ({ query, startMs }) => answer?.(query, startMs) ?? [[{}, 1]];
    await apply();
    await clock.advance(5 * INTERVAL_MS);
    expect(world.asked).toEqual([]);
    isOurs = true;
    const takenOverMs = clock.nowMs();
    await evaluator.rebalance();
    await clock.settle();
    return { ...started, takenOverMs };
  }

  test('has no hole, as far back as its former evaluator may have stopped', async () => {
    const { world, clock, takenOverMs, metric } = await takeOver('record: r, expr: up');
    const madeUp = world.written.map(({ timeMs }) => timeMs);
    expect(madeUp).toHaveLength(5);
    // The last evaluation there was may not have written all that it should have: the one before it did.
    expect(takenOverMs - madeUp[1]!).toBeGreaterThanOrEqual(HAND_OVER_MS);
    await clock.advance(2 * INTERVAL_MS);
    const times = world.written.map(({ timeMs }) => timeMs);
    expect(times).toHaveLength(7);
    expect(new Set(times.slice(1).map((timeMs, i) => timeMs - times[i]!))).toEqual(new Set([INTERVAL_MS]));
    expect(await metric('tidemark_rule_group_iterations_made_up_total')).toBe(5);
    expect(await metric('tidemark_rule_group_iterations_missed_total')).toBe(0);
  });

  test('has none either when we look while it has changed hands, and the next one may not begin yet', async () => {
    let [isOurs, isTheirs] = [false, true];
    const sharing = { owns: () => isOurs, othersOwn: () => isTheirs, handOverMs: HAND_OVER_MS };
    const { world, clock, write, apply, evaluator } = await startEvaluator(sharing);
    write('a.yml', `groups:\n${group('g', 'record: r, expr: up')}`);
    world.answer = () => [[{}, 1]];
    await apply();
    isTheirs = false;
    await evaluator.rebalance();
    await clock.advance(INTERVAL_MS);
    isOurs = true;
    await evaluator.rebalance();
    await clock.settle();
    expect(world.written).toHaveLength(5);
  });

  test('keeps the clock of an alert, though its `for` is shorter than the grace period', async () => {
    // Active for 520 s when it is taken over, last seen by its former evaluator a minute ago.
    const START_MS = 1_700_000_000_000 + 5 * INTERVAL_MS;
    const { groups, clock } = await takeOver('alert: A, expr: up, for: 9m', (query) => {
      if (query.startsWith('timestamp(')) return [[{ alertname: 'A' }, START_MS / 1000 - 60]];
      if (query.startsWith('ALERTS_FOR_STATE')) {
        return [[{ __name__: 'ALERTS_FOR_STATE', alertname: 'A' }, START_MS / 1000 - 520]];
      }
      return [[{}, 1]];
    });
    const alert = async () => (await groups())[0]!.rules[0]!.alerting!.alerts[0]!;
    expect(Math.floor(((await alert()).activeAtMs - (START_MS - 520_000)) / 1000)).toBe(0);
    await clock.advance(2 * INTERVAL_MS);
    expect((await alert()).state).toBe('firing');
  });

  test('goes on with an alert that ended before its former evaluator did', async () => {
    const START_MS = 1_700_000_000_000 + 5 * INTERVAL_MS;
    // Of the four slots that are made up for the former evaluator found it on at two, and ended its series at the third.
    const endMs = START_MS - 2 * INTERVAL_MS;
    const activeMs = START_MS - 10 * INTERVAL_MS;
    const { world } = await takeOver(`alert: A, expr: up, for: ${5 * INTERVAL_MS}ms`, (query, timeMs) => {
      if (timeMs >= endMs) return [];
      if (query.startsWith('timestamp(')) return [[{ alertname: 'A' }, timeMs / 1000]];
      if (query.startsWith('ALERTS_FOR_STATE')) return [[{ alertname: 'A' }, activeMs / 1000]];
      return [[{}, 1]];
    });
    const states = world.written.map(({ series }) => series).filter((series) => series.startsWith('ALERTS{'));
    expect(states.length).toBeGreaterThan(0);
    expect(new Set(states)).toEqual(new Set(['ALERTS{alertname="A", alertstate="firing"}']));
  });

  test('starts anew after a reload', async () => {
    const { world, clock, write, apply } = await startEvaluator({
      owns: () => true,
      handOverMs: HAND_OVER_MS,
    });
    await apply();
    write('a.yml', `groups:\n${group('g', 'record: r, expr: up')}`);
    await apply();
    await clock.settle();
    expect(world.asked).toEqual([]);
  });
});

describe('an evaluator that starts, and may have been there moments ago under its name', () => {
  const HAND_OVER_MS = 3 * INTERVAL_MS;
  const FOR_MS = 15 * INTERVAL_MS;

  /** An alert that was active for 10 intervals when it was written for the last time, `agoMs` before the start. */
  async function start(rule: string, agoMs: number) {
    const started = await startEvaluator({ owns: () => true, handOverMs: HAND_OVER_MS });
    const { world, clock, write, apply } = started;
    const startMs = clock.nowMs();
    const writtenMs = startMs - agoMs;
    const activeAtMs = writtenMs - 10 * INTERVAL_MS;
    world.answer = ({ query }) => {
      if (query.startsWith('timestamp(')) return [[{ alertname: 'A' }, writtenMs / 1000]];
      if (query.startsWith('ALERTS_FOR_STATE')) return [[{ alertname: 'A' }, activeAtMs / 1000]];
      return [[{}, 1]];
    };
    write('a.yml', `groups:\n${group('g', rule)}`);
    await apply();
    await clock.settle();
    const alert = async () => (await started.groups())[0]!.rules[0]!.alerting!.alerts[0]!;
    return { ...started, startMs, activeAtMs, alert };
  }

  test('makes up for the slots that it missed', async () => {
    const { world, clock, startMs, metric } = await start('record: r, expr: up', 0);
    expect(world.written).toHaveLength(5);
    expect(startMs - world.written[1]!.timeMs).toBeGreaterThanOrEqual(HAND_OVER_MS);
    await clock.advance(2 * INTERVAL_MS);
    const times = world.written.map(({ timeMs }) => timeMs);
    expect(new Set(times.slice(1).map((timeMs, i) => timeMs - times[i]!))).toEqual(new Set([INTERVAL_MS]));
    expect(await metric('tidemark_rule_group_iterations_made_up_total')).toBe(5);
  });

  test('goes on with the clocks of alerts at once, when it was away for a moment', async () => {
    const { alert, activeAtMs, world } = await start(`alert: A, expr: up, for: ${FOR_MS}ms`, INTERVAL_MS);
    // To the second: a slot of the group within it is when it began.
    expect(Math.floor(((await alert()).activeAtMs - activeAtMs) / 1000)).toBe(0);
    expect(world.written.length).toBeGreaterThan(0);
  });

  test('restores them after the second evaluation, when it was away for long', async () => {
    const agoMs = 10 * INTERVAL_MS;
    const { alert, activeAtMs, startMs, world, clock } = await start('alert: A, expr: up, for: 1h', agoMs);
    expect((await alert()).activeAtMs).toBeGreaterThan(startMs - HAND_OVER_MS - 2 * INTERVAL_MS);
    await clock.advance(INTERVAL_MS);
    expect(world.written).toEqual([]);
    await clock.advance(INTERVAL_MS);
    const awayMs = clock.nowMs() - startMs + agoMs;
    expect(Math.abs((await alert()).activeAtMs - activeAtMs - awayMs)).toBeLessThanOrEqual(INTERVAL_MS);
  });

  test('does not make a clock longer that is shorter than the grace period', async () => {
    const { alert, startMs, clock } = await start('alert: A, expr: up, for: 9m', 10 * INTERVAL_MS);
    await clock.advance(3 * INTERVAL_MS);
    expect((await alert()).activeAtMs).toBeLessThanOrEqual(startMs);
  });
});

test('draining stops evaluation and readiness', async () => {
  const { world, clock, write, apply, evaluator } = await startEvaluator();
  write('a.yml', `groups:\n${group('g', 'record: r, expr: up')}`);
  await apply();
  expect(evaluator.isReady()).toBe(true);
  await evaluator.drain();
  expect(evaluator.isReady()).toBe(false);
  await clock.advance(2 * INTERVAL_MS);
  expect(world.asked).toEqual([]);
  await evaluator.stop();
  await evaluator.stop();
});

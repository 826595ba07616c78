import { describe, expect, test } from 'vitest';
import { AppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import { isStaleAt, wordsOf } from '../model/sample-columns.ts';
import { DEFAULT_FEATURES } from '../promql/features.ts';
import type { AlertInstance } from './alerting-state.ts';
import { parseRuleFile } from './rule-file.ts';
import { isSameGroup, RuleGroup, type RuleIo, type RuleSettings } from './rule-group.ts';

const MINUTE = 60_000;
const SETTINGS: RuleSettings = {
  externalLabels: Labels.from([['region', 'eu']]),
  externalUrl: 'http://x',
  resendDelayMs: MINUTE,
  outageToleranceMs: 60 * MINUTE,
  gracePeriodMs: 10 * MINUTE,
};

type Found = readonly (readonly [Readonly<Record<string, string>>, number])[];

/** A world of one group: queries find what `found` says; writes and notifications are kept as text. */
function createWorld() {
  const world = {
    found: (_query: string, _timeMs: number, _lookbackMs: number): Found => [],
    writeError: undefined as AppError | undefined,
    written: [] as string[],
    notified: [] as AlertInstance[],
    failed: [] as string[],
    signal: new AbortController().signal,
    /** What was written since the last call, sorted. */
    take: () => world.written.splice(0).sort(),
  };
  const io: RuleIo = {
    query: async (query, timeMs, lookbackMs) => {
      const found = world.found(query, timeMs, lookbackMs);
      return {
        labels: found.map(([labels]) => Labels.from(Object.entries(labels))),
        values: Float64Array.from(found, ([, value]) => value),
      };
    },
    write: async (samples) => {
      if (world.writeError !== undefined) throw world.writeError;
      const words = wordsOf(samples.values);
      samples.labels.forEach((labels, i) => {
        const value = isStaleAt(words, i) ? 'stale' : samples.values[i];
        world.written.push(`${labels.toString()} ${value} @${samples.timestampsMs[i]}`);
      });
    },
    notify: (_rule, alerts) => void world.notified.push(...alerts),
    nowMs: () => 42,
    monotonicMs: () => 0,
    evaluated: () => undefined,
    templateFailed: (rule, error) => void world.failed.push(`${rule.spec.name}: ${error.message}`),
    restoreFailed: (rule, error) => void world.failed.push(`${rule.spec.name}: ${error.message}`),
  };
  return { world, io };
}

function createGroup(
  rules: string,
  options: { restored?: boolean; queryOffsetMs?: number; head?: string; handOverMs?: number } = {},
): RuleGroup {
  const text = `groups:\n  - name: g\n${options.head ?? ''}    rules:\n${rules}`;
  const [spec] = parseRuleFile(text, { file: 'r.yml', features: DEFAULT_FEATURES, nameValidation: 'utf8' });
  return new RuleGroup({
    spec: spec!,
    intervalMs: MINUTE,
    queryOffsetMs: options.queryOffsetMs ?? 0,
    restored: options.restored ?? true,
    handOverMs: options.handOverMs ?? 0,
  });
}

const evaluate = (group: RuleGroup, minute: number, { world, io }: ReturnType<typeof createWorld>) =>
  group.evaluate(minute * MINUTE, SETTINGS, io, world.signal);

describe('recording rules', () => {
  const RULE = '      - { record: "job:up", expr: up, labels: { tier: "1", drop: "" } }\n';

  test('labels are applied, series that vanish are ended once', async () => {
    const setting = createWorld();
    const group = createGroup(RULE);
    setting.world.found = () => [
      [{ __name__: 'up', job: 'a', drop: 'x', tier: '9' }, 1],
      [{ __name__: 'up', job: 'b' }, Number.NaN],
    ];
    await evaluate(group, 1, setting);
    expect(setting.world.take()).toEqual([
      'job:up{job="a", tier="1"} 1 @60000',
      'job:up{job="b", tier="1"} NaN @60000',
    ]);
    setting.world.found = () => [[{ __name__: 'up', job: 'a' }, 2]];
    await evaluate(group, 2, setting);
    expect(setting.world.take()).toEqual([
      'job:up{job="a", tier="1"} 2 @120000',
      'job:up{job="b", tier="1"} stale @120000',
    ]);
    await evaluate(group, 3, setting);
    expect(setting.world.take()).toEqual(['job:up{job="a", tier="1"} 2 @180000']);
    expect(group.rules[0]).toMatchObject({ health: 'ok', lastError: '', lastEvaluationMs: 42 });
  });

  test('the query offset moves queries and samples', async () => {
    const setting = createWorld();
    const group = createGroup(RULE, { queryOffsetMs: 30_000 });
    const asked: number[] = [];
    setting.world.found = (_query, timeMs) => {
      asked.push(timeMs);
      return [[{ job: 'a' }, 1]];
    };
    await evaluate(group, 1, setting);
    expect(asked).toEqual([30_000]);
    expect(setting.world.take()).toEqual(['job:up{job="a", tier="1"} 1 @30000']);
  });

  test('equal labels after the rule', async () => {
    const setting = createWorld();
    const group = createGroup('      - { record: r, expr: up, labels: { job: "" } }\n');
    setting.world.found = () => [
      [{ job: 'a' }, 1],
      [{ job: 'b' }, 1],
    ];
    await evaluate(group, 1, setting);
    expect(group.rules[0]).toMatchObject({
      health: 'err',
      lastError: 'vector contains metrics with the same labelset after applying rule labels: r',
    });
    expect(setting.world.take()).toEqual([]);
  });

  test('more series than the limit', async () => {
    const setting = createWorld();
    const group = createGroup(RULE, { head: '    limit: 1\n' });
    setting.world.found = () => [
      [{ job: 'a' }, 1],
      [{ job: 'b' }, 1],
    ];
    await evaluate(group, 1, setting);
    expect(group.rules[0]!.lastError).toBe('exceeded limit of 1 with 2 series');
    expect(setting.world.take()).toEqual([]);
  });

  test('a failing query ends no series; a failed write is an error and loses no marker', async () => {
    const setting = createWorld();
    const group = createGroup(RULE);
    setting.world.found = () => [[{ job: 'a' }, 1]];
    await evaluate(group, 1, setting);
    setting.world.take();
    setting.world.found = () => {
      throw new AppError('execution', 'no such thing');
    };
    await evaluate(group, 2, setting);
    expect(group.rules[0]).toMatchObject({ health: 'err', lastError: 'no such thing' });
    expect(setting.world.take()).toEqual([]);
    setting.world.found = () => [[{ job: 'b' }, 1]];
    setting.world.writeError = new AppError('unavailable', 'no quorum');
    await evaluate(group, 3, setting);
    expect(group.rules[0]).toMatchObject({ health: 'err', lastError: 'no quorum' });
    setting.world.writeError = undefined;
    setting.world.found = () => [];
    await evaluate(group, 4, setting);
    expect(setting.world.take()).toEqual([
      'job:up{job="a", tier="1"} stale @240000',
      'job:up{job="b", tier="1"} stale @240000',
    ]);
    expect(group.rules[0]!.health).toBe('ok');
  });

  test('rules see what those before them wrote', async () => {
    const setting = createWorld();
    const group = createGroup('      - { record: one, expr: up }\n      - { record: two, expr: one }\n');
    setting.world.found = (query) =>
      query === 'up' || setting.world.written.some((line) => line.startsWith('one')) ? [[{}, 1]] : [];
    await evaluate(group, 1, setting);
    expect(setting.world.take()).toEqual(['one 1 @60000', 'two 1 @60000']);
  });
});

describe('alerting rules', () => {
  const RULE = `      - alert: Down
        expr: up == 0
        for: 1m
        labels: { severity: '{{ if eq $labels.job "a" }}page{{ end }}', group: '{{ $externalLabels.region }}' }
        annotations: { summary: '{{ $labels.job }} {{ $value }} {{ query "x" | first | value }}', bad: '{{ first (query "none") }}' }
`;

  test('labels and annotations are expanded, states written, series ended', async () => {
    const setting = createWorld();
    const group = createGroup(RULE);
    setting.world.found = (query) => {
      if (query === 'x') return [[{}, 7]];
      return query === 'none' ? [] : [[{ __name__: 'up', job: 'a' }, 0]];
    };
    await evaluate(group, 1, setting);
    expect(setting.world.take()).toEqual([
      'ALERTS_FOR_STATE{alertname="Down", group="eu", job="a", severity="page"} 60 @60000',
      'ALERTS{alertname="Down", alertstate="pending", group="eu", job="a", severity="page"} 1 @60000',
    ]);
    expect(setting.world.notified).toEqual([]);
    await evaluate(group, 2, setting);
    expect(setting.world.take()).toEqual([
      'ALERTS_FOR_STATE{alertname="Down", group="eu", job="a", severity="page"} 60 @120000',
      'ALERTS{alertname="Down", alertstate="firing", group="eu", job="a", severity="page"} 1 @120000',
      'ALERTS{alertname="Down", alertstate="pending", group="eu", job="a", severity="page"} stale @120000',
    ]);
    const [alert] = setting.world.notified;
    expect(alert).toMatchObject({ state: 'firing', firedAtMs: 2 * MINUTE, validUntilMs: 6 * MINUTE });
    expect(alert!.annotations).toEqual([
      [
        'bad',
        '<error expanding template: error executing template __alert_Down: template: __alert_Down:1:115: executing "__alert_Down" at <first (query "none")>: error calling first: first() called on vector with no elements>',
      ],
      ['summary', 'a 0 7'],
    ]);
    expect(setting.world.failed).toHaveLength(2);
    setting.world.found = () => [];
    await evaluate(group, 3, setting);
    expect(setting.world.take()).toEqual([
      'ALERTS_FOR_STATE{alertname="Down", group="eu", job="a", severity="page"} stale @180000',
      'ALERTS{alertname="Down", alertstate="firing", group="eu", job="a", severity="page"} stale @180000',
    ]);
    expect(setting.world.notified.at(-1)).toMatchObject({ state: 'inactive', resolvedAtMs: 3 * MINUTE });
  });
});

describe('restoring for', () => {
  const RULE =
    '      - { alert: Slow, expr: up == 0, for: 30m }\n      - { alert: Fast, expr: up == 0, for: 1m }\n';

  /** ALERTS_FOR_STATE says: active since 0 s, written last at 600 s. */
  const found = (query: string): Found => {
    if (query.startsWith('timestamp(')) return [[{ alertname: 'Slow', job: 'a' }, 600]];
    if (query.startsWith('ALERTS_FOR_STATE')) {
      return [[{ __name__: 'ALERTS_FOR_STATE', alertname: 'Slow', job: 'a' }, 0]];
    }
    return [[{ job: 'a' }, 0]];
  };

  test('nothing is written before; the outage does not count', async () => {
    const setting = createWorld();
    const group = createGroup(RULE, { restored: false });
    const lookbacks: number[] = [];
    setting.world.found = (query, _timeMs, lookbackMs) => {
      if (query.includes('ALERTS_FOR_STATE')) lookbacks.push(lookbackMs);
      return found(query);
    };
    await evaluate(group, 50, setting);
    // Shorter than the grace period: not to be restored, written at once.
    expect(setting.world.take().every((line) => line.includes('alertname="Fast"'))).toBe(true);
    expect(group.needsRestore).toBe(true);
    expect(await group.restore(50 * MINUTE, SETTINGS, setting.io)).toBe(1);
    expect(lookbacks).toEqual([3_600_000, 3_600_000]);
    expect(group.needsRestore).toBe(false);
    await evaluate(group, 51, setting);
    // Active since minute 0, down at minute 10 with 20 minutes left: counts as active since minute 40.
    expect(setting.world.take()).toContain('ALERTS_FOR_STATE{alertname="Slow", job="a"} 2400 @3060000');
  });

  test('is tried again when the series cannot be read now', async () => {
    const setting = createWorld();
    const group = createGroup(RULE, { restored: false });
    setting.world.found = found;
    await evaluate(group, 50, setting);
    setting.world.found = () => {
      throw new AppError('unavailable', 'no ingester');
    };
    expect(await group.restore(50 * MINUTE, SETTINGS, setting.io)).toBe(0);
    expect(setting.world.failed).toEqual(['Slow: no ingester']);
    expect(group.needsRestore).toBe(true);
    setting.world.found = found;
    expect(await group.restore(51 * MINUTE, SETTINGS, setting.io)).toBe(1);
  });
});

describe('a group that is handed over', () => {
  const RULE = '      - { alert: A, expr: up == 0, for: 1m }\n';

  /** ALERTS_FOR_STATE of the alert of job `a`: active since minute 5, written last at minute 9. Job `b`'s is of another group. */
  const forState = (query: string, lastOfB: number): Found | undefined => {
    const isTimestamp = query.startsWith('timestamp(');
    if (!isTimestamp && !query.startsWith('ALERTS_FOR_STATE')) return undefined;
    return [
      [{ alertname: 'A', job: 'a' }, 60 * (isTimestamp ? 9 : 5)],
      [{ alertname: 'A', job: 'b' }, 60 * (isTimestamp ? lastOfB : 5)],
    ];
  };

  test('ends the series of an alert that is over right after its restoration', async () => {
    const setting = createWorld();
    const group = createGroup(RULE, { restored: false, handOverMs: 3 * MINUTE });
    setting.world.found = (query) => forState(query, 9) ?? [[{ job: 'a' }, 0]];
    await evaluate(group, 10, setting);
    expect(setting.world.take()).toEqual([]);
    expect(await group.restore(10 * MINUTE, SETTINGS, setting.io)).toBe(1);
    expect(setting.world.take()).toEqual([
      'ALERTS_FOR_STATE{alertname="A", job="a"} 300 @600000',
      'ALERTS{alertname="A", alertstate="firing", job="a"} 1 @600000',
    ]);
    setting.world.found = () => [];
    await evaluate(group, 11, setting);
    expect(setting.world.take()).toEqual([
      'ALERTS_FOR_STATE{alertname="A", job="a"} stale @660000',
      'ALERTS{alertname="A", alertstate="firing", job="a"} stale @660000',
    ]);
    expect(setting.world.notified).toMatchObject([{ firedAtMs: 6 * MINUTE, resolvedAtMs: 11 * MINUTE }]);
  });

  test("does not take another group's alert of that name for its own", async () => {
    const setting = createWorld();
    const group = createGroup(RULE, { restored: false, handOverMs: 3 * MINUTE });
    setting.world.found = (query) => forState(query, 20) ?? [[{ job: 'a' }, 0]];
    await evaluate(group, 20, setting);
    expect(await group.restore(20 * MINUTE, SETTINGS, setting.io, 'recent')).toBe(0);
    await evaluate(group, 21, setting);
    expect(group.rules[0]!.alerting.active()).toMatchObject([
      { activeAtMs: 20 * MINUTE, firedAtMs: 21 * MINUTE },
    ]);
  });

  test('says so when what was restored cannot be written, and tries again', async () => {
    const setting = createWorld();
    const group = createGroup(RULE, { restored: false, handOverMs: 3 * MINUTE });
    setting.world.found = (query) => forState(query, 9) ?? [[{ job: 'a' }, 0]];
    await evaluate(group, 10, setting);
    setting.world.writeError = new AppError('unavailable', 'no ingester');
    expect(await group.restore(10 * MINUTE, SETTINGS, setting.io)).toBe(1);
    expect(group.rules[0]).toMatchObject({ health: 'err', lastError: 'no ingester' });
    setting.world.writeError = undefined;
    setting.world.found = () => [];
    await evaluate(group, 11, setting);
    expect(setting.world.take()).toContain('ALERTS_FOR_STATE{alertname="A", job="a"} stale @660000');
  });
});

describe('a changed group', () => {
  test('takes over alerts and series; what is gone is ended', async () => {
    const setting = createWorld();
    const before = createGroup(
      '      - { record: a, expr: up }\n      - { record: b, expr: up }\n      - { alert: A, expr: up, for: 5m }\n',
    );
    const after = createGroup('      - { alert: A, expr: up, for: 2m }\n      - { record: b, expr: up }\n');
    setting.world.found = () => [[{}, 1]];
    await evaluate(before, 1, setting);
    setting.world.take();
    after.copyStateFrom(before);
    await evaluate(after, 3, setting);
    expect(setting.world.take()).toEqual([
      'ALERTS_FOR_STATE{alertname="A"} 60 @180000',
      'ALERTS{alertname="A", alertstate="firing"} 1 @180000',
      'ALERTS{alertname="A", alertstate="pending"} stale @180000',
      'a stale @180000',
      'b 1 @180000',
    ]);
    await evaluate(after, 4, setting);
    expect(setting.world.take()).not.toContain('a stale @240000');
  });

  test('is told from an unchanged one', () => {
    const rules = '      - { alert: A, expr: up, for: 5m, annotations: { a: b } }\n';
    const spec = (text: string, head = '') => createGroup(text, { head }).spec;
    expect(isSameGroup(spec(rules), spec(rules))).toBe(true);
    for (const changed of ['expr: down', 'for: 6m', 'a: c', 'alert: B']) {
      const [key] = changed.split(' ');
      const text = rules.replace(new RegExp(`\\b${key} \\w+`), changed);
      expect(isSameGroup(spec(rules), spec(text)), changed).toBe(false);
    }
    expect(isSameGroup(spec(rules), spec(rules, '    limit: 1\n'))).toBe(false);
  });
});

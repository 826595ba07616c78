import { Counter, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { putDefinition, visitDefinitions } from '../../lib/wire/append/append-batch.ts';
import { withDefaults } from '../options.ts';
import { Tenants } from '../tenants.ts';
import { admitSeries } from './admit-series.ts';
import { GRANT_SHARE, SeriesGrants } from './series-grants.ts';

function questionOf(tenant: string, names: readonly string[]) {
  const definitions = new ByteWriter();
  for (const [i, name] of names.entries()) {
    const labels = new ByteWriter();
    encodeLabels(Labels.from([['__name__', name]]), labels);
    putDefinition(definitions, i, 0, labels.bytes, 0, labels.length);
  }
  return { tenant, definitions: Buffer.from(definitions.take()), count: names.length, taken: 0 };
}

function create(seriesMax: number, ownedShare = 1) {
  const tenants = new Tenants(withDefaults({ dataDir: '/nowhere' }), 1);
  const seriesRefused = new Counter({ name: 'refused_total', help: '.', registers: [new Registry()] });
  const warnings: unknown[] = [];
  const onRefusal = (...warning: unknown[]): void => void warnings.push(warning);
  const deps = {
    ...{ seriesMax, ownedShare, tenants, metrics: { seriesRefused }, onRefusal },
    ...{ grants: new SeriesGrants(), nowMs: 0 },
  };
  const admit = (tenant: string, ...names: readonly string[]) => admitSeries(questionOf(tenant, names), deps);
  return { admit, deps, tenants, warnings, seriesRefused };
}

test('what is known and what has room is admitted; each tenant has a room of its own', async () => {
  const { admit, tenants, warnings, seriesRefused } = create(3);
  expect(admit('a', 'm1', 'm2')).toEqual({ refused: [], series: 2, limit: 3 });
  expect(admit('a', 'm3', 'm4', 'm1', 'm5')).toEqual({ refused: [1, 3], series: 3, limit: 3 });
  expect(admit('b', 'm4', 'm5')).toEqual({ refused: [], series: 2, limit: 3 });
  expect(tenants.get('a')!.head.seriesCount).toBe(3);
  expect(warnings).toEqual([['a', 2, 3]]);
  expect((await seriesRefused.get()).values[0]!.value).toBe(2);
});

test('room is left for what a writer took without asking', () => {
  const { deps } = create(5);
  const question = { ...questionOf('a', ['m1', 'm2', 'm3', 'm4']), taken: 2 };
  expect(admitSeries(question, deps)).toEqual({ refused: [3], series: 3, limit: 5 });
});

test('the limit is shared out by partitions, rounded up', () => {
  const { admit } = create(10, 1 / 4);
  expect(admit('a', 'm1', 'm2', 'm3', 'm4')).toEqual({ refused: [3], series: 3, limit: 3 });
});

test('without a limit nothing is kept: the first samples bring the series', () => {
  const { admit, tenants } = create(Number.POSITIVE_INFINITY);
  expect(admit('a', 'm1')).toEqual({ refused: [], series: 0, limit: 0 });
  expect(tenants.get('a')!.head.seriesCount).toBe(0);
});

test('what is admitted and never written leaves with the next collection', () => {
  const { admit, tenants } = create(2);
  admit('a', 'm1', 'm2');
  const { head } = tenants.get('a')!;
  const steps = head.collectSeries(1);
  while (!steps.next().done);
  expect(head.seriesCount).toBe(0);
  expect(admit('a', 'm3')).toMatchObject({ refused: [], series: 1 });
});

test('malformed questions are refused', () => {
  const { admit, tenants } = create(2);
  admit('a', 'm1');
  const deps = {
    seriesMax: 2,
    ownedShare: 1,
    tenants,
    ...{ grants: new SeriesGrants(), nowMs: 0 },
    metrics: { seriesRefused: { inc: () => undefined } as never },
    onRefusal: () => undefined,
  };
  expect(() =>
    admitSeries({ tenant: 'a', definitions: Buffer.alloc(3), count: 1, taken: 0 }, deps),
  ).toThrow();
  expect(() =>
    admitSeries({ tenant: 'a', definitions: Buffer.alloc(0), count: 1e6, taken: 0 }, deps),
  ).toThrow(/65536/);
});

const namesOf = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

test('what was granted is kept free, until it is brought or a minute and a half have passed', () => {
  const { admit, deps, tenants } = create(80);
  // An eighth of 79, and of what is free for the next two: a quarter of the limit is granted at most.
  expect(admit('a', 'm0')).toMatchObject({ series: 1, limit: 80 });
  expect(admit('a', 'm1')).toMatchObject({ series: 2 });
  expect(admit('a', 'm2')).toMatchObject({ series: 40 });
  const { head } = tenants.get('a')!;
  expect(admit('a', ...namesOf('x', 100)).refused).toHaveLength(100 - (80 - 3 - 9 - 9));
  // The first writer brings what it was granted.
  expect(head.seriesCount).toBe(62);
  for (const name of namesOf('granted', 9)) {
    const { definitions } = questionOf('a', [name]);
    visitDefinitions(definitions, 0, 1, (_, partition, bytes, start, end) => {
      head.define(bytes, start, end, partition);
    });
  }
  expect(admit('a', 'y').refused).toEqual([0]);
  deps.nowMs = 90_000;
  expect(admit('a', ...namesOf('z', 20)).refused).toHaveLength(11);
  expect(head.seriesCount).toBe(80);
});

test.each([4, 20, 100])(
  '%i writers at once, each with what it may take without asking, stay within the limit',
  (writers) => {
    const { deps, tenants } = create(10_000);
    const grants = Array.from({ length: writers }, () => 0);
    const next = Array.from({ length: writers }, () => 0);
    for (let round = 0; round < 60; round++) {
      deps.nowMs += 1_000;
      for (let writer = 0; writer < writers; writer++) {
        const name = `w${writer}-${next[writer]!++}`;
        const question = questionOf('a', [name]);
        const { series, limit, refused } = admitSeries(question, deps);
        if (refused.length > 0) continue;
        // As the distributor computes it (lib/distributor/series-admission.ts).
        grants[writer] = Math.floor((series < limit / 2 ? limit - series : 0) * GRANT_SHARE);
      }
      // Some bring all, some a part, at the end of the round and out of turn.
      for (let writer = writers - 1; writer >= 0; writer--) {
        const brought = Math.floor((grants[writer]! * (1 + ((writer + round) % 4))) / 4);
        grants[writer] = 0;
        for (let i = 0; i < brought; i++) {
          const { definitions } = questionOf('a', [`w${writer}-${next[writer]!++}`]);
          visitDefinitions(definitions, 0, 1, (_, partition, bytes, start, end) => {
            tenants.get('a')!.head.define(bytes, start, end, partition);
          });
        }
      }
      expect(tenants.get('a')!.head.seriesCount).toBeLessThanOrEqual(10_000);
    }
    expect(tenants.get('a')!.head.seriesCount).toBeGreaterThan(50 * writers);
  },
);

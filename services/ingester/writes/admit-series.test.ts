import { Counter, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { putDefinition } from '../../lib/wire/append/append-batch.ts';
import { withDefaults } from '../options.ts';
import { Tenants } from '../tenants.ts';
import { admitSeries } from './admit-series.ts';

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
  const deps = { seriesMax, ownedShare, tenants, metrics: { seriesRefused }, onRefusal };
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

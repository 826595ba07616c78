import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { registerReadCounter, registerReadGauge } from './read-metrics.ts';

test('values are those of the moment of each scrape', async () => {
  const registry = new Registry();
  let held = 3;
  registerReadGauge(registry, 'held', 'Held now.', () => held);
  registerReadCounter(registry, 'seen_total', 'Seen so far.', () => held * 10);
  const lines = async () => (await registry.metrics()).split('\n').filter((line) => line !== '');
  expect(await lines()).toEqual([
    '# HELP held Held now.',
    '# TYPE held gauge',
    'held 3',
    '# HELP seen_total Seen so far.',
    '# TYPE seen_total counter',
    'seen_total 30',
  ]);
  held = 1;
  expect(await lines()).toEqual(expect.arrayContaining(['held 1', 'seen_total 10']));
});

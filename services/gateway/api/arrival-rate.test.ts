import { Counter, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import type { Clock } from '../../lib/core/clock.ts';
import { ArrivalRate } from './arrival-rate.ts';

test('the rate is what the counter grew by, per second, over two minutes', async () => {
  let nowMs = 0;
  const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, sleep: async () => undefined };
  const registry = new Registry();
  const arrivals = new ArrivalRate('samples_total', { registry, clock });
  await arrivals.sample();
  expect(arrivals.describe()).toEqual({ samplesTotal: 0, intervalSeconds: 1, samplesPerSecond: [] });
  const counter = new Counter({
    name: 'samples_total',
    help: 'x',
    labelNames: ['from'],
    registers: [registry],
  });
  counter.inc({ from: 'a' }, 300);
  counter.inc({ from: 'b' }, 100);
  nowMs = 2000;
  await arrivals.sample();
  expect(arrivals.describe()).toMatchObject({ samplesTotal: 400, samplesPerSecond: [200] });
  for (let i = 0; i < 200; i++) {
    nowMs += 1000;
    counter.inc({ from: 'a' }, i);
    await arrivals.sample();
  }
  const { samplesPerSecond } = arrivals.describe();
  expect(samplesPerSecond).toEqual(Array.from({ length: 120 }, (_, i) => i + 80));
});

import { expect, test } from 'vitest';
import { AppError } from '../../lib/core/errors.ts';
import { QueryGate } from './query-gate.ts';

const signal = new AbortController().signal;

test('admits in order of arrival, as many as are allowed', async () => {
  const gate = new QueryGate(2, 10);
  const order: number[] = [];
  const leaves: (() => void)[] = [];
  const entries = [0, 1, 2, 3].map(async (i) => {
    leaves.push(await gate.enter(signal));
    order.push(i);
  });
  await Promise.resolve();
  await Promise.resolve();
  expect([gate.running, gate.waiting]).toEqual([2, 2]);
  leaves[0]!();
  leaves[0]!();
  await entries[2];
  expect([gate.running, gate.waiting]).toEqual([2, 1]);
  leaves[1]!();
  await Promise.all(entries);
  expect(order).toEqual([0, 1, 2, 3]);
  for (const leave of leaves) leave();
  expect([gate.running, gate.waiting]).toEqual([0, 0]);
});

test('refuses when too many wait', async () => {
  const gate = new QueryGate(1, 1);
  const leave = await gate.enter(signal);
  const second = gate.enter(signal);
  await expect(gate.enter(signal)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('1 queries run and 1 wait'),
  });
  leave();
  (await second)();
  expect(gate.running).toBe(0);
});

test('who gives up leaves the queue', async () => {
  const gate = new QueryGate(1, 1);
  const leave = await gate.enter(signal);
  const controller = new AbortController();
  const waiting = gate.enter(controller.signal);
  controller.abort(new AppError('timeout', 'query timed out in query queue'));
  await expect(waiting).rejects.toMatchObject({ code: 'timeout' });
  await expect(gate.enter(controller.signal)).rejects.toMatchObject({ code: 'timeout' });
  leave();
  expect([gate.running, gate.waiting]).toEqual([0, 0]);
});

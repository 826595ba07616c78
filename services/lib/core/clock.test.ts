import { expect, test } from 'vitest';
import { type Clock, startTimer, systemClock } from './clock.ts';

/** Only sleeps, as clocks of tests do. */
const sleeping: Clock = {
  nowMs: () => systemClock.nowMs(),
  monotonicMs: () => systemClock.monotonicMs(),
  sleep: (ms, signal) => systemClock.sleep(ms, signal),
};

test.each([
  ['of its own', systemClock],
  ['made of sleeps', sleeping],
])('a timer %s ends once, and not when it was stopped', async (_, clock) => {
  const ended: string[] = [];
  const stop = startTimer(clock, 1, () => ended.push('stopped'));
  stop();
  stop();
  const late = startTimer(clock, 1, () => ended.push('late'));
  await systemClock.sleep(20);
  late();
  expect(ended).toEqual(['late']);
});

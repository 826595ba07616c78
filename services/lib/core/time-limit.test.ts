import { expect, test } from 'vitest';
import { systemClock } from './clock.ts';
import { withinTime } from './time-limit.ts';

const never = new AbortController().signal;
const untilAborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

test('answers what came in time, and throws what was thrown', async () => {
  const limit = { ms: 60_000, what: 'answer' };
  expect(await withinTime(systemClock, limit, never, () => Promise.resolve(7))).toBe(7);
  await expect(
    withinTime(systemClock, limit, never, () => Promise.reject(new Error('refused'))),
  ).rejects.toThrow('refused');
});

test('what takes longer is ended, and says what did not come', async () => {
  await expect(
    withinTime(systemClock, { ms: 5, what: 'inventory' }, never, untilAborted),
  ).rejects.toMatchObject({ code: 'timeout', message: 'no inventory within 5 ms' });
});

test("the caller's signal ends it with its own reason", async () => {
  const caller = new AbortController();
  const running = withinTime(systemClock, { ms: 60_000, what: 'answer' }, caller.signal, untilAborted);
  caller.abort(new Error('stopped'));
  await expect(running).rejects.toThrow('stopped');
});

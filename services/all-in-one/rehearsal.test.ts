import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Clock, systemClock } from '../lib/core/clock.ts';
import { createSilentLogger, type Logger } from '../lib/runtime/logger.ts';
import { DEFAULT_QUERIER_OPTIONS } from '../querier/options.ts';
import { createQueryThreads } from '../querier/service.ts';
import { rehearse } from './rehearsal.ts';

const OPTIONS = { ...DEFAULT_QUERIER_OPTIONS, threads: 1 };
const threads = createQueryThreads(OPTIONS, createSilentLogger());
beforeAll(() => threads.start());
afterAll(() => threads.stop());

/** However slow this machine is, the time limit does not end it. */
const patient: Clock = {
  nowMs: () => systemClock.nowMs(),
  monotonicMs: () => systemClock.monotonicMs(),
  sleep: (ms, signal) => systemClock.sleep(100 * ms, signal),
};

/** A logger that keeps what is said with `warn` and above, and the fields of `debug`. */
function listen(): { logger: Logger; complaints: unknown[]; notes: { answers: number }[] } {
  const complaints: unknown[] = [];
  const notes: { answers: number }[] = [];
  const logger = Object.assign(createSilentLogger(), {
    warn: (fields: unknown) => complaints.push(fields),
    error: (fields: unknown) => complaints.push(fields),
    debug: (fields: { answers: number }) => notes.push(fields),
  });
  return { logger, complaints, notes };
}

test('every query is answered, by the given threads, and leaves nothing open', async () => {
  const { logger, complaints, notes } = listen();
  const openedBefore = threads.opened;
  await rehearse(OPTIONS, { threads, clock: patient, logger }, 1);
  expect(complaints).toEqual([]);
  const { answers } = notes.at(-1)!;
  expect(answers).toBe(11);
  expect(threads.opened - openedBefore).toBeGreaterThanOrEqual(answers);
  expect(threads.busy).toBe(0);
});

test('a start goes on without it', async () => {
  const { logger, complaints } = listen();
  const stopped = createQueryThreads(OPTIONS, createSilentLogger());
  await stopped.stop();
  await rehearse(OPTIONS, { threads: stopped, clock: systemClock, logger }, 1);
  expect(complaints).toHaveLength(1);
});

import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Clock, systemClock } from '../../lib/core/clock.ts';
import { createSilentLogger, type Logger } from '../../lib/runtime/logger.ts';
import { DEFAULT_QUERIER_OPTIONS } from '../options.ts';
import { createQueryThreads } from '../service.ts';
import { rehearse } from './rehearsal.ts';
import { rehearsedThreads, rehearseOn } from './rehearsed-queries.ts';

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
  const keep = (fields: unknown) => complaints.push(fields);
  const debug = (fields: { answers: number }) => notes.push(fields);
  return {
    logger: Object.assign(createSilentLogger(), { warn: keep, error: keep, debug }),
    complaints,
    notes,
  };
}

test('every query has a complete answer, of the given threads, and leaves nothing open', async () => {
  const { logger, complaints, notes } = listen();
  const openedBefore = threads.opened;
  await rehearse(OPTIONS, { threads, clock: patient, logger }, 1);
  expect(complaints).toEqual([]);
  const { answers } = notes.at(-1)!;
  expect(answers).toBe(11);
  expect(threads.opened - openedBefore).toBeGreaterThanOrEqual(answers);
  expect(threads.busy).toBe(0);
});

test('told to stop, it ends, and says nothing', async () => {
  const { logger, complaints, notes } = listen();
  await rehearse(OPTIONS, { threads, clock: systemClock, logger, signal: AbortSignal.abort() });
  expect(complaints).toEqual([]);
  expect(notes.at(-1)).toMatchObject({ answers: 0 });
});

test('a query that takes too long is given up, and the start goes on', async () => {
  const { logger, complaints, notes } = listen();
  const closed = vi.fn();
  const stage = {
    ask: () => new Promise<void>(() => undefined),
    close: async () => closed(),
  };
  const clock = { ...patient, sleep: () => Promise.resolve() };
  await rehearseOn(() => stage, OPTIONS, { threads, clock, logger });
  expect(complaints).toEqual([]);
  expect(notes.at(-1)).toMatchObject({ answers: 0 });
  expect(closed).toHaveBeenCalledTimes(2);
});

test('a start ends the rehearsal when the process is drained meanwhile', async () => {
  const began = Promise.withResolvers<void>();
  const service = rehearsedThreads(threads, async (signal) => {
    const aborted = new Promise((resolve) => {
      signal.addEventListener('abort', resolve);
    });
    began.resolve();
    await aborted;
  });
  const started = service.start();
  await began.promise;
  await service.drain();
  await started;
});

test('a start goes on without it', async () => {
  const { logger, complaints } = listen();
  const stopped = createQueryThreads(OPTIONS, createSilentLogger());
  await stopped.stop();
  await rehearse(OPTIONS, { threads: stopped, clock: systemClock, logger }, 1);
  expect(complaints).toHaveLength(1);
});

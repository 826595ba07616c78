import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { listenToRehearsal, patientClock } from '../../../test/support/rehearsal-listener.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { DEFAULT_QUERIER_OPTIONS } from '../options.ts';
import { createQueryThreads } from '../service.ts';
import { rehearse } from './rehearsal.ts';
import { rehearsedThreads, rehearseOn } from './rehearsed-queries.ts';

const OPTIONS = { ...DEFAULT_QUERIER_OPTIONS, threads: 1 };
const threads = createQueryThreads(OPTIONS, createSilentLogger());
beforeAll(() => threads.start());
afterAll(() => threads.stop());

test('every query has a complete answer, of the given threads, and leaves nothing open', async () => {
  const { logger, complaints, notes } = listenToRehearsal();
  const openedBefore = threads.opened;
  await rehearse(OPTIONS, { threads, clock: patientClock, logger }, 1);
  expect(complaints).toEqual([]);
  const { answers } = notes.at(-1)!;
  expect(answers).toBe(11);
  expect(threads.opened - openedBefore).toBeGreaterThanOrEqual(answers);
  expect(threads.busy).toBe(0);
});

test('told to stop, it ends, and says nothing', async () => {
  const { logger, complaints, notes } = listenToRehearsal();
  await rehearse(OPTIONS, { threads, clock: systemClock, logger, signal: AbortSignal.abort() });
  expect(complaints).toEqual([]);
  expect(notes.at(-1)).toMatchObject({ answers: 0 });
});

test('a query that takes too long is given up, and the start goes on', async () => {
  const { logger, complaints, notes } = listenToRehearsal();
  const closed = vi.fn();
  const stage = {
    ask: () => new Promise<void>(() => undefined),
    close: async () => closed(),
  };
  const clock = { ...patientClock, sleep: () => Promise.resolve() };
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
  const { logger, complaints } = listenToRehearsal();
  const stopped = createQueryThreads(OPTIONS, createSilentLogger());
  await stopped.stop();
  await rehearse(OPTIONS, { threads: stopped, clock: systemClock, logger }, 1);
  expect(complaints).toHaveLength(1);
});

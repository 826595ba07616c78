import { afterAll, beforeAll, expect, test } from 'vitest';
import { listenToRehearsal, patientClock } from '../../test/support/rehearsal-listener.ts';
import { systemClock } from '../lib/core/clock.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { DEFAULT_QUERIER_OPTIONS } from '../querier/options.ts';
import { createQueryThreads } from '../querier/service.ts';
import { rehearse } from './rehearsal.ts';

const OPTIONS = { ...DEFAULT_QUERIER_OPTIONS, threads: 1 };
const threads = createQueryThreads(OPTIONS, createSilentLogger());
beforeAll(() => threads.start());
afterAll(() => threads.stop());

test('every query is answered, by the given threads, and leaves nothing open', async () => {
  const { logger, complaints, notes } = listenToRehearsal();
  const openedBefore = threads.opened;
  await rehearse(OPTIONS, { threads, clock: patientClock, logger }, 1);
  expect(complaints).toEqual([]);
  const { answers } = notes.at(-1)!;
  expect(answers).toBe(11);
  expect(threads.opened - openedBefore).toBeGreaterThanOrEqual(answers);
  expect(threads.busy).toBe(0);
});

test('a start goes on without it', async () => {
  const { logger, complaints } = listenToRehearsal();
  const stopped = createQueryThreads(OPTIONS, createSilentLogger());
  await stopped.stop();
  await rehearse(OPTIONS, { threads: stopped, clock: systemClock, logger }, 1);
  expect(complaints).toHaveLength(1);
});

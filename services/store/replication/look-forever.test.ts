import { expect, test } from 'vitest';
import { AppError } from '../../lib/core/errors.ts';
import { lookForever } from './look-forever.ts';

/** Looks that go as listed, then an end. */
async function play(looks: readonly (boolean | string)[]) {
  const over = new AbortController();
  const rests: number[] = [];
  const failures: [string, boolean][] = [];
  let at = 0;
  const clock = {
    nowMs: () => 0,
    monotonicMs: () => 0,
    sleep: (ms: number) => {
      rests.push(ms);
      return Promise.resolve();
    },
  };
  const look = (): Promise<boolean> => {
    const next = looks[at++];
    if (at === looks.length) over.abort();
    return typeof next === 'string'
      ? Promise.reject(new AppError('unavailable', next))
      : Promise.resolve(next!);
  };
  const onFailure = (error: AppError, isNews: boolean) => failures.push([error.message, isNews]);
  await lookForever({ look, restMs: () => at, onFailure }, clock, over.signal);
  return { rests, failures, looked: at };
}

test('it rests where nothing is left to do, and goes on at once where more is', async () => {
  expect(await play([true, true, false, true, true])).toEqual({ rests: [3], failures: [], looked: 5 });
});

test('a failure is news until it is another, or something went well in between', async () => {
  const { failures, rests } = await play(['away', 'away', 'refused', 'refused', false, 'refused', true]);
  expect(failures).toEqual([
    ['away', true],
    ['away', false],
    ['refused', true],
    ['refused', false],
    ['refused', true],
  ]);
  expect(rests).toEqual([1, 2, 3, 4, 5, 6]);
});

test('what fails because it was ended is no failure', async () => {
  expect(await play([true, 'ended'])).toEqual({ rests: [], failures: [], looked: 2 });
});

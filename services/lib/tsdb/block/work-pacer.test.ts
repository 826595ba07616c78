import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { sortPaced, WorkPacer } from './work-pacer.ts';

test('sorts as Array.sort does, stable, whatever the length', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 30_000 }),
      fc.integer({ min: 1, max: 50_000 }),
      async (count, keys) => {
        const keyOf = Uint32Array.from({ length: count }, (_, i) => Math.imul(i, 2_654_435_761) % keys);
        const ids = Uint32Array.from({ length: count }, (_, i) => i);
        await sortPaced(ids, (a, b) => keyOf[a]! - keyOf[b]!, new WorkPacer());
        const expected = Array.from({ length: count }, (_, i) => i).sort((a, b) => keyOf[a]! - keyOf[b]!);
        expect(Array.from(ids)).toEqual(expected);
      },
    ),
    { numRuns: 30 },
  );
});

test('the event loop gets turns while a large sort runs', async () => {
  const ids = Uint32Array.from({ length: 200_000 }, (_, i) => 200_000 - i);
  let turns = 0;
  let done = false;
  const count = () => {
    turns++;
    if (!done) setImmediate(count);
  };
  setImmediate(count);
  await sortPaced(ids, (a, b) => a - b, new WorkPacer());
  done = true;
  expect(turns).toBeGreaterThan(50);
});

test('a pause ends with the signal’s reason', async () => {
  const controller = new AbortController();
  const pacer = new WorkPacer(controller.signal, 10);
  expect(pacer.spend(9)).toBe(false);
  expect(pacer.spend(1)).toBe(true);
  await pacer.pause();
  expect(pacer.spend(9)).toBe(false);
  controller.abort(new AppError('timeout', 'too long'));
  await expect(pacer.pause()).rejects.toMatchObject({ code: 'timeout' });
});

import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Turns } from './turns.ts';

it('gives the event loop a turn once a slice of work is over, and not before', async () => {
  let nowMs = 0;
  let otherWork = 0;
  const turns = new Turns({ monotonicMs: () => nowMs });
  const other = async (): Promise<void> => {
    for (;;) {
      await nextTurn();
      if (++otherWork >= 100) return;
    }
  };
  void other();

  for (let i = 0; i < 50; i++) await turns.pause();
  expect(otherWork).toBe(0);

  nowMs = 2;
  await turns.pause();
  expect(otherWork).toBe(1);
  nowMs = 3.5;
  await turns.pause();
  expect(otherWork).toBe(1);
});

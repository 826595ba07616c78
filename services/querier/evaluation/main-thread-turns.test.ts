import { expect, test } from 'vitest';
import { MainThread } from './main-thread.ts';

test('one query at a time', () => {
  const mainThread = new MainThread(1000);
  const leave = mainThread.tryEnter()!;
  expect(mainThread.tryEnter()).toBeUndefined();
  leave();
  const leaveNext = mainThread.tryEnter()!;
  // Who has left does not end another one's turn.
  leave();
  expect(mainThread.tryEnter()).toBeUndefined();
  leaveNext();
  expect(mainThread.tryEnter()).toBeDefined();
});

test('a query that was large is taken for large a hundred times', () => {
  const mainThread = new MainThread(1000);
  expect(mainThread.isKnownLarge('a', true)).toBe(false);
  mainThread.noteLarge('a', true);
  for (let i = 0; i < 100; i++) expect(mainThread.isKnownLarge('a', true)).toBe(true);
  expect(mainThread.isKnownLarge('a', true)).toBe(false);
});

test('of large queries the last 512 are remembered', () => {
  const mainThread = new MainThread(1000);
  for (let i = 0; i < 513; i++) mainThread.noteLarge(String(i), true);
  expect([
    mainThread.isKnownLarge('0', true),
    mainThread.isKnownLarge('1', true),
    mainThread.isKnownLarge('512', true),
  ]).toEqual([false, true, true]);
});

test('where nothing is evaluated on the main thread, all is large', () => {
  expect(new MainThread(0).isKnownLarge('a', true)).toBe(true);
});

test('while others are under way less is taken, and what is large only then is not when it is alone', () => {
  const mainThread = new MainThread(7);
  expect(mainThread.limits(true)).toEqual({ msMax: 7, takesRuns: true });
  expect(mainThread.limits(false)).toEqual({ msMax: 2, takesRuns: false });
  expect(new MainThread(1).limits(false).msMax).toBe(1);
  mainThread.noteLarge('a', false);
  expect([mainThread.isKnownLarge('a', false), mainThread.isKnownLarge('a', true)]).toEqual([true, false]);
  mainThread.noteLarge('a', true);
  expect([mainThread.isKnownLarge('a', false), mainThread.isKnownLarge('a', true)]).toEqual([true, true]);
});

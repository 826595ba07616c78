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
  expect(mainThread.isKnownLarge('a')).toBe(false);
  mainThread.noteLarge('a');
  for (let i = 0; i < 100; i++) expect(mainThread.isKnownLarge('a')).toBe(true);
  expect(mainThread.isKnownLarge('a')).toBe(false);
});

test('of large queries the last 512 are remembered', () => {
  const mainThread = new MainThread(1000);
  for (let i = 0; i < 513; i++) mainThread.noteLarge(String(i));
  expect([
    mainThread.isKnownLarge('0'),
    mainThread.isKnownLarge('1'),
    mainThread.isKnownLarge('512'),
  ]).toEqual([false, true, true]);
});

test('where nothing is evaluated on the main thread, all is large', () => {
  expect(new MainThread(0).isKnownLarge('a')).toBe(true);
});

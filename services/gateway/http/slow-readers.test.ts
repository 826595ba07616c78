import { expect, test } from 'vitest';
import { SlowReaders } from './slow-readers.ts';

test('over the limit those that have waited longest are cut off, and only as many as it takes', () => {
  const cut: string[] = [];
  let told = 0;
  const readers = new SlowReaders({ bytesMax: 100 }, () => told++);
  const ends = ['a', 'b', 'c'].map((name) => readers.wait(30, () => cut.push(name)));
  expect([cut, readers.bytes]).toEqual([[], 90]);
  ends[1]!();
  ends[1]!();
  expect(readers.bytes).toBe(60);
  readers.wait(90, () => cut.push('d'));
  expect([cut, readers.bytes, told]).toEqual([['a', 'c'], 90, 2]);
  // It was cut off already.
  ends[0]!();
  expect(readers.bytes).toBe(90);
});

test('one that is larger than the limit goes on while it is alone', () => {
  const cut: string[] = [];
  const readers = new SlowReaders({ bytesMax: 100 });
  readers.wait(500, () => cut.push('large'));
  expect(cut).toEqual([]);
  readers.wait(1, () => cut.push('small'));
  expect([cut, readers.bytes]).toEqual([['large'], 1]);
});

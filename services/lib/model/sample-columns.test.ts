import { expect, test } from 'vitest';
import { isStaleAt, putStale, SampleColumns, wordsOf } from './sample-columns.ts';

test('growing keeps the bits of signalling NaNs', () => {
  const columns = new SampleColumns(1);
  putStale(wordsOf(columns.values), 0);
  columns.count = 1;
  columns.reserve(1000);
  const words = wordsOf(columns.values);
  expect([words[0], words[1]]).toEqual([2, 0x7ff00000]);
  expect(isStaleAt(words, 0)).toBe(true);
});

test('ordinary NaN and numbers are not stale; a quietened marker is', () => {
  const values = new Float64Array([Number.NaN, 2, 0]);
  const words = wordsOf(values);
  words[4] = 2;
  words[5] = 0x7ff80000;
  expect([isStaleAt(words, 0), isStaleAt(words, 1), isStaleAt(words, 2)]).toEqual([false, false, true]);
});

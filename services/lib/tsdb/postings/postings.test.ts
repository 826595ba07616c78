import fc from 'fast-check';
import { expect, test } from 'vitest';
import { intersectPostings, subtractPostings, unionPostings } from './postings.ts';

const ids = (max: number, maxLength: number) =>
  fc
    .uniqueArray(fc.integer({ min: 0, max }), { maxLength })
    .map((list) => Uint32Array.from(list.sort((a, b) => a - b)));

// Short and dense, long and sparse, and ids up to 2^32 - 1: each path of every operation is taken.
const postings = fc.oneof(ids(40, 30), ids(20_000, 400), ids(0xffffffff, 60), ids(100_000, 3));

test('intersection, difference and union are those of sets', () => {
  fc.assert(
    fc.property(postings, postings, postings, (a, b, c) => {
      const inB = new Set(b);
      const before = Array.from(a);
      expect(Array.from(intersectPostings(a, b))).toEqual(before.filter((id) => inB.has(id)));
      expect(Array.from(subtractPostings(a, b))).toEqual(before.filter((id) => !inB.has(id)));
      const all = [...new Set([...a, ...b, ...c])].sort((x, y) => x - y);
      expect(Array.from(unionPostings([a, b, c]))).toEqual(all);
      expect(Array.from(a)).toEqual(before);
    }),
    { numRuns: 500 },
  );
});

test('a short list against a long one', () => {
  const long = Uint32Array.from({ length: 10_000 }, (_, i) => i * 3);
  const short = Uint32Array.of(0, 1, 2, 3, 299, 300, 29_996, 29_997, 29_998, 4_000_000_000);
  expect(Array.from(intersectPostings(short, long))).toEqual([0, 3, 300, 29_997]);
  expect(Array.from(intersectPostings(long, short))).toEqual([0, 3, 300, 29_997]);
  expect(Array.from(subtractPostings(short, long))).toEqual([1, 2, 299, 29_996, 29_998, 4_000_000_000]);
});

test('the union of nothing is empty', () => {
  expect(unionPostings([])).toHaveLength(0);
  expect(unionPostings([new Uint32Array(0), new Uint32Array(0)])).toHaveLength(0);
});

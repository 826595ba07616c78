// Quantiles by selection against quantiles by sorting all values.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { quantileOf } from './quantile.ts';

function bySorting(phi: number, values: Float64Array): number {
  const sorted = values.slice().sort();
  const count = sorted.length;
  const nans = [...sorted].filter(Number.isNaN).length;
  const rank = phi * (count - 1);
  const at = (index: number) => (index < nans ? Number.NaN : sorted[index - nans]!);
  const lower = Math.floor(rank);
  const weight = rank - lower;
  return at(lower) * (1 - weight) + at(Math.min(count - 1, lower + 1)) * weight;
}

const value = fc.oneof(
  fc.integer({ min: -3, max: 3 }).map(Number),
  fc.double(),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0),
);
const values = fc.oneof(
  fc.array(value, { minLength: 1, maxLength: 200 }),
  fc.integer({ min: 1, max: 400 }).map((count) => Array.from({ length: count }, (_, i) => i)),
  fc.integer({ min: 1, max: 400 }).map((count) => Array.from({ length: count }, (_, i) => (i % 2 ? i : -i))),
  fc.integer({ min: 1, max: 400 }).map((count) => Array.from({ length: count }, () => 7)),
);

test('the values at a rank are those of sorting', () => {
  fc.assert(
    fc.property(
      values,
      fc.oneof(fc.constantFrom(0, 0.5, 0.99, 1), fc.double({ min: 0, max: 1, noNaN: true })),
      (list, phi) => {
        expect(quantileOf(phi, Float64Array.from(list))).toBe(bySorting(phi, Float64Array.from(list)));
      },
    ),
    { numRuns: 3000 },
  );
});

test.each([
  [Number.NaN, Number.NaN],
  [-0.1, Number.NEGATIVE_INFINITY],
  [1.1, Number.POSITIVE_INFINITY],
])('φ %d gives %d', (phi, expected) => {
  expect(quantileOf(phi, Float64Array.of(1, 2))).toBe(expected);
  expect(quantileOf(phi, new Float64Array(0))).toBe(Number.NaN);
});

test('a run of values is the same as the values alone, and what is around it stays', () => {
  const own = fc.array(fc.oneof(fc.double(), fc.integer({ min: -3, max: 3 })), { maxLength: 60 });
  fc.assert(
    fc.property(own, own, own, fc.double({ min: 0, max: 1, noNaN: true }), (before, values, after, phi) => {
      const all = Float64Array.from([...before, ...values, ...after]);
      const alone = quantileOf(phi, Float64Array.from(values));
      expect(quantileOf(phi, all, before.length, before.length + values.length)).toBe(alone);
      expect([...all.subarray(0, before.length)]).toEqual(before);
      expect([...all.subarray(before.length + values.length)]).toEqual(after);
    }),
  );
});

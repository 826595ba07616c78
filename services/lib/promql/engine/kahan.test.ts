// Sums to the bit: what adds without a branch against what asks at each step.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { valueWords } from '../../../../test/support/sample-blocks.ts';
import { compensatedSum, errorOfSum, KahanSum } from './kahan.ts';

/** Any doubles, in all magnitudes, and often those at the edges of what there is. */
const value = fc.oneof(
  fc.double(),
  fc.integer({ min: -100, max: 100 }).map((number) => number / 8),
  fc.constantFrom(Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE, 2 ** 970, -(2 ** 970), -0, 0),
  valueWords.map(([low, high]) => new Float64Array(Uint32Array.of(low, high).buffer)[0]!),
);

function sumStepByStep(values: Float64Array): number {
  const kahan = new KahanSum();
  for (const each of values) kahan.add(each);
  return Math.abs(kahan.sum) === Number.POSITIVE_INFINITY ? kahan.sum : kahan.total;
}

test('a sum is that of the steps, to the bit, also beside infinities, NaN and what is nearly too large', () => {
  fc.assert(
    fc.property(fc.array(value, { maxLength: 40 }), (numbers) => {
      const values = Float64Array.from([1, ...numbers, 1]);
      expect(compensatedSum(values, 1, values.length - 1)).toBe(sumStepByStep(values.subarray(1, -1)));
    }),
    { numRuns: 5_000 },
  );
});

test('the error of a sum is what rounding took', () => {
  expect(errorOfSum(2 ** 53, 1, 2 ** 53 + 1)).toBe(1);
  expect(errorOfSum(1, 2 ** 53, 1 + 2 ** 53)).toBe(1);
  expect(errorOfSum(0.1, 0.2, 0.1 + 0.2)).toBe(-(2 ** -55));
  expect(errorOfSum(1, 2, 3)).toBe(0);
});

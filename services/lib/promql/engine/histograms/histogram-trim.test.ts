// `</` and `>/` where counting is odd: negated histograms, nothing to take out, zero buckets without width. Ordinary trimming is
// the test scripts' matter. Each case was asked of Prometheus 3.14, which answers the numbers that are worked out here.
import { expect, test } from 'vitest';
import { type BucketList, CUSTOM_BUCKETS_SCHEMA, FloatHistogram } from '../../../model/float-histogram.ts';
import { trimHistogram } from './histogram-trim.ts';

type Counts = readonly (readonly [index: number, count: number])[];

function make({
  positive = [],
  negative = [],
  ...rest
}: Partial<
  Pick<FloatHistogram, 'schema' | 'count' | 'sum' | 'zeroCount' | 'zeroThreshold' | 'customBounds'>
> & { readonly positive?: Counts; readonly negative?: Counts }): FloatHistogram {
  return Object.assign(new FloatHistogram(), rest, {
    positive: listOf(positive),
    negative: listOf(negative),
  });
}

function listOf(counts: Counts): BucketList {
  return { indexes: counts.map(([index]) => index), counts: counts.map(([, count]) => count) };
}

/** Buckets (1, 2] and (2, 4], two observations about zero; negated. */
function negated(): FloatHistogram {
  const positive = [
    [1, 4],
    [2, 2],
  ] as const;
  return make({ zeroThreshold: 0.5, zeroCount: 2, count: 8, sum: 10, positive }).scale(-1);
}

test('a negated histogram has its sum estimated too', () => {
  const trimmed = trimHistogram(negated(), 2, true);
  expect(trimmed.positive).toEqual({ indexes: [1], counts: [-4] });
  // The zero bucket has less than no observations: it stays as it is, and does not count.
  expect(trimmed).toMatchObject({ zeroCount: -2, count: -4, sum: -4 * Math.sqrt(2) });
});

test('a negated histogram that nothing is taken out of keeps its count', () => {
  expect(trimHistogram(negated(), 100, true)).toEqual(negated());
});

test.each([
  // All of an infinite bucket stays, wherever in it the bound is.
  [{ customBounds: [1, 2], count: 4, sum: 99, positive: [[2, 4]] }, 3, false],
  [{ customBounds: [-2, -1], count: 4, sum: -99, positive: [[0, 4]] }, -3, true],
] as const)('an infinite bucket that stays leaves the sum: %j', (shape, bound, keepBelow) => {
  const before = make({ schema: CUSTOM_BUCKETS_SCHEMA, ...shape });
  expect(trimHistogram(before.copy(), bound, keepBelow)).toEqual(before);
});

test('observations in no bucket stay in the count until something is taken out', () => {
  const before = make({ count: 9, sum: Number.NaN, positive: [[1, 2]] });
  expect(trimHistogram(before.copy(), 2, true)).toEqual(before);
  expect(trimHistogram(before.copy(), 1, true)).toMatchObject({ count: 0, sum: 0 });
});

test('a zero bucket without width is above zero', () => {
  const before = make({ zeroCount: 3, count: 5, sum: -7, negative: [[1, 2]] });
  // Negative buckets reach from -2 to -1: their middle is -√2.
  expect(trimHistogram(before.copy(), 0, true)).toMatchObject({
    zeroCount: 0,
    count: 2,
    sum: -2 * Math.sqrt(2),
  });
  expect(trimHistogram(before.copy(), 0, false)).toMatchObject({ zeroCount: 3, count: 3, sum: 0 });
});

test('buckets without observations do not give the zero bucket a second half', () => {
  const before = make({ zeroThreshold: 0.5, zeroCount: 4, count: 6, sum: 7, negative: [[1, 2]] });
  before.positive.indexes.push(1);
  before.positive.counts.push(0);
  // From -0.5 to 0: half of it is above -0.25, on average at -0.125.
  expect(trimHistogram(before, -0.25, false)).toMatchObject({ zeroCount: 2, count: 2, sum: -0.25 });
});

// Expectations are worked out by hand from the definition of the buckets.
import { describe, expect, test } from 'vitest';
import { CUSTOM_BUCKETS_SCHEMA, FloatHistogram } from './float-histogram.ts';

interface Shape {
  readonly schema?: number;
  readonly zero?: readonly [threshold: number, count: number];
  readonly positive?: Readonly<Record<number, number>>;
  readonly negative?: Readonly<Record<number, number>>;
  readonly bounds?: readonly number[];
  readonly sum?: number;
}

function make({
  schema = 0,
  zero = [0, 0],
  positive = {},
  negative = {},
  bounds,
  sum = 0,
}: Shape): FloatHistogram {
  const histogram = new FloatHistogram();
  histogram.schema = bounds === undefined ? schema : CUSTOM_BUCKETS_SCHEMA;
  histogram.customBounds = bounds ?? [];
  [histogram.zeroThreshold, histogram.zeroCount] = zero;
  histogram.sum = sum;
  histogram.count = zero[1];
  for (const [list, counts] of [
    [histogram.positive, positive],
    [histogram.negative, negative],
  ] as const) {
    for (const [index, count] of Object.entries(counts)) {
      list.indexes.push(Number(index));
      list.counts.push(count);
      histogram.count += count;
    }
  }
  return histogram;
}

function positiveOf(histogram: FloatHistogram): Record<number, number> {
  const { indexes, counts } = histogram.compact().positive;
  return Object.fromEntries(indexes.map((index, i) => [index, counts[i]!]));
}

describe('buckets', () => {
  test('double from bound to bound in schema 0, and come from the smallest upwards', () => {
    const histogram = make({ zero: [0.5, 3], positive: { 0: 1, 2: 4 }, negative: { 1: 2 } });
    expect(histogram.buckets()).toEqual([
      { lower: -2, upper: -1, count: 2 },
      { lower: -0.5, upper: 0.5, count: 3 },
      { lower: 0.5, upper: 1, count: 1 },
      { lower: 2, upper: 4, count: 4 },
    ]);
  });

  test('have the bounds that were given in custom histograms', () => {
    const histogram = make({ bounds: [1, 5], positive: { 0: 1, 2: 2 } });
    expect(histogram.buckets()).toEqual([
      { lower: Number.NEGATIVE_INFINITY, upper: 1, count: 1 },
      { lower: 5, upper: Number.POSITIVE_INFINITY, count: 2 },
    ]);
  });
});

describe('add', () => {
  test('takes the lower resolution: two buckets of schema 1 are one of schema 0', () => {
    const sum = make({ schema: 1, positive: { 1: 1, 2: 2, 3: 4 } });
    expect(sum.add(make({ schema: 0, positive: { 1: 8 } })).incompatible).toBe(false);
    expect(sum.schema).toBe(0);
    expect(positiveOf(sum)).toEqual({ 1: 11, 2: 4 });
    expect(sum.count).toBe(15);
  });

  test('takes the wider zero bucket, and the buckets within it', () => {
    const sum = make({ zero: [1, 2], positive: { 2: 1 } });
    sum.add(make({ zero: [0, 0], positive: { 0: 5, 2: 1 } }));
    expect([sum.zeroThreshold, sum.zeroCount]).toEqual([1, 7]);
    expect(positiveOf(sum)).toEqual({ 2: 2 });
  });

  test('widens the zero bucket to the end of a populated bucket that its bound falls into', () => {
    const sum = make({ zero: [1.5, 2] });
    sum.add(make({ positive: { 1: 3 } }));
    expect([sum.zeroThreshold, sum.zeroCount]).toEqual([2, 5]);
  });

  test('reduces custom bounds to the shared ones and says so', () => {
    const sum = make({ bounds: [1, 2, 3], positive: { 0: 1, 1: 2, 2: 4, 3: 8 } });
    expect(sum.add(make({ bounds: [2, 4], positive: { 0: 1, 1: 1, 2: 1 } })).boundsReconciled).toBe(true);
    expect(sum.customBounds).toEqual([2]);
    expect(positiveOf(sum)).toEqual({ 0: 4, 1: 14 });
  });

  test('leaves histograms with different kinds of buckets alone', () => {
    const sum = make({ positive: { 1: 1 } });
    expect(sum.add(make({ bounds: [1], positive: { 0: 1 } })).incompatible).toBe(true);
    expect(sum.count).toBe(1);
  });

  test('reports conflicting hints', () => {
    const a = make({ positive: { 1: 1 } });
    const b = make({ positive: { 1: 1 } });
    a.hint = 'reset';
    b.hint = 'not_reset';
    expect(a.add(b).hintCollision).toBe(true);
    expect(a.hint).toBe('unknown');
  });

  test('with compensation keeps what plain addition loses', () => {
    const sum = make({ positive: { 1: 1 }, sum: 1 });
    const compensation = new FloatHistogram();
    for (const count of [1e100, 1, -1e100]) {
      sum.addCompensated(make({ positive: { 1: count }, sum: count }), compensation);
    }
    sum.add(compensation);
    expect([sum.count, sum.sum, positiveOf(sum)]).toEqual([2, 2, { 1: 2 }]);
  });
});

describe('isResetFrom', () => {
  const previous = make({ zero: [0.25, 1], positive: { 1: 2, 3: 4 } });

  test.each([
    ['the same', make({ zero: [0.25, 1], positive: { 1: 2, 3: 4 } }), false],
    ['more in every bucket', make({ zero: [0.25, 2], positive: { 1: 3, 3: 5 } }), false],
    ['less in one bucket, more in all', make({ zero: [0.25, 9], positive: { 1: 1, 3: 9 } }), true],
    ['a bucket gone', make({ zero: [0.25, 9], positive: { 3: 9 } }), true],
    ['a lower resolution', make({ schema: -1, zero: [0.25, 1], positive: { 1: 2, 2: 4 } }), false],
    ['a higher resolution', make({ schema: 1, zero: [0.25, 1], positive: { 1: 2, 6: 4 } }), true],
    ['a narrower zero bucket', make({ zero: [0.1, 9], positive: { 1: 2, 3: 4 } }), true],
    ['a wider zero bucket around a whole bucket', make({ zero: [2, 3], positive: { 3: 4 } }), false],
    ['custom buckets', make({ bounds: [1], positive: { 0: 99 } }), true],
  ])('%s', (_name, current, expected) => {
    expect(current.isResetFrom(previous)).toBe(expected);
  });

  test('believes the hint', () => {
    const current = make({ positive: { 1: 0 } });
    current.hint = 'not_reset';
    expect(current.isResetFrom(previous)).toBe(false);
    current.hint = 'reset';
    expect(current.isResetFrom(current)).toBe(true);
  });
});

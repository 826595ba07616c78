import { describe, expect, test } from 'vitest';
import { CUSTOM_BUCKETS_SCHEMA } from './float-histogram.ts';
import { HISTOGRAM_BUCKETS_MAX } from './histogram-codec.ts';
import { HistogramParts } from './histogram-parts.ts';

/** Schema 1: buckets 2, 3 and 6 with 1, 2 and 4 observations; bucket -1 of the negative side with 3; 5 around zero. */
function usual(): HistogramParts {
  const parts = new HistogramParts();
  parts.schema = 1;
  parts.zeroThreshold = 0.001;
  parts.zeroCount = 5;
  parts.count = 15;
  parts.sum = 12.5;
  parts.positive.addSpan(2, 2);
  parts.positive.addSpan(2, 1);
  for (const delta of [1, 1, 2]) parts.positive.addDelta(delta);
  parts.negative.addSpan(-1, 1);
  parts.negative.addDelta(3);
  return parts;
}

function custom(): HistogramParts {
  const parts = new HistogramParts();
  parts.schema = CUSTOM_BUCKETS_SCHEMA;
  parts.count = 6;
  parts.sum = 1;
  for (const bound of [0.5, 1, 2]) parts.customBounds.push(bound);
  parts.positive.addSpan(1, 3);
  for (const delta of [1, 1, 1]) parts.positive.addDelta(delta);
  return parts;
}

describe('histograms from parts', () => {
  test('spans and deltas become indexes and counts', () => {
    const histogram = usual().toHistogram();
    expect(histogram.positive).toEqual({ indexes: [2, 3, 6], counts: [1, 2, 4] });
    expect(histogram.negative).toEqual({ indexes: [-1], counts: [3] });
    expect(histogram).toMatchObject({ schema: 1, zeroThreshold: 0.001, zeroCount: 5, count: 15, sum: 12.5 });
  });

  test('custom buckets: the last one needs no bound', () => {
    const histogram = custom().toHistogram();
    expect(histogram.positive).toEqual({ indexes: [1, 2, 3], counts: [1, 2, 3] });
    expect(histogram.customBounds).toEqual([0.5, 1, 2]);
  });

  test('empty buckets are left out, parts are used again', () => {
    const parts = usual();
    parts.toHistogram();
    parts.clear();
    parts.count = 2;
    parts.positive.addSpan(0, 3);
    for (const count of [1, 0, 1]) parts.positive.counts.push(count);
    const histogram = parts.toHistogram();
    expect(histogram.positive).toEqual({ indexes: [0, 2], counts: [1, 1] });
    expect(histogram.negative.indexes).toEqual([]);
    expect(histogram.zeroCount).toBe(0);
  });

  test('a resolution beyond 8 is reduced: bucket i of schema 10 lies in bucket ceil(i / 4) of schema 8', () => {
    const parts = new HistogramParts();
    parts.schema = 10;
    parts.count = 10;
    parts.positive.addSpan(-3, 5);
    for (const count of [1, 2, 3, 1, 3]) parts.positive.counts.push(count);
    const histogram = parts.toHistogram();
    expect(histogram.schema).toBe(8);
    // -3 … 0 lie in 0, 1 in 1.
    expect(histogram.positive).toEqual({ indexes: [0, 1], counts: [7, 3] });
  });

  test('observations of NaN are counted and in no bucket', () => {
    const parts = usual();
    parts.sum = Number.NaN;
    parts.count = 17;
    expect(parts.toHistogram().count).toBe(17);
  });

  test('float counts need not add up', () => {
    const parts = usual();
    parts.isFloat = true;
    parts.count = 15.000001;
    expect(parts.toHistogram().count).toBe(15.000001);
  });

  const refused: [string, () => HistogramParts, (parts: HistogramParts) => void, RegExp][] = [
    ['an unknown schema', usual, (parts) => (parts.schema = -5), /schema is -5/],
    ['a schema beyond all', usual, (parts) => (parts.schema = 53), /schema is 53/],
    ['spans for more buckets', usual, (parts) => parts.positive.addSpan(1, 1), /need 4 buckets, there are 3/],
    [
      'a gigantic span',
      usual,
      (parts) => parts.positive.addSpan(1, 2 ** 32 - 1),
      /need 4294967298 buckets, there are 3/,
    ],
    [
      'a later negative offset',
      usual,
      (parts) => {
        parts.positive.addSpan(-1, 1);
        parts.positive.addDelta(0);
      },
      /positive span 3 has the negative offset -1/,
    ],
    [
      'a negative count',
      usual,
      (parts) => {
        parts.negative.addSpan(0, 1);
        parts.negative.addDelta(-4);
      },
      /negative bucket 2 has the negative count -1/,
    ],
    [
      'a count that is too small',
      usual,
      (parts) => (parts.count = 14),
      /hold 15 observations, its count is 14/,
    ],
    [
      'a count that is too large',
      usual,
      (parts) => (parts.count = 16),
      /hold 15 observations, its count is 16/,
    ],
    ['a negative zero bucket', usual, (parts) => (parts.zeroCount = -1), /negative count -1/],
    ['custom bounds of an exponential schema', usual, (parts) => parts.customBounds.push(1), /custom bounds/],
    ['bounds out of order', custom, (parts) => parts.customBounds.push(2), /does not follow/],
    ['a bound that is no number', custom, (parts) => parts.customBounds.push(Number.NaN), /does not follow/],
    ['an infinite bound', custom, (parts) => parts.customBounds.push(Number.POSITIVE_INFINITY), /Inf/],
    ['too few bounds', custom, (parts) => (parts.customBounds.count = 2), /2 custom bounds do not cover 4/],
    ['a zero bucket beside custom ones', custom, (parts) => (parts.zeroThreshold = 1), /zero bucket/],
    ['negative custom buckets', custom, (parts) => parts.negative.addSpan(0, 0), /negative ones/],
    [
      'custom buckets before the first',
      custom,
      (parts) => {
        parts.positive.clear();
        parts.positive.addSpan(-1, 1);
        parts.positive.addDelta(6);
      },
      /positive span 1 has the negative offset -1/,
    ],
    [
      'an index beyond 32 bits',
      usual,
      (parts) => {
        parts.positive.addSpan(2 ** 31 - 1, 1);
        parts.positive.addDelta(0);
      },
      /beyond 32 bits/,
    ],
  ];
  test.each(refused)('%s is refused', (_, make, spoil, message) => {
    const parts = make();
    spoil(parts);
    expect(() => parts.toHistogram()).toThrow(message);
  });

  test('more buckets than the limit are refused before there is room for them', () => {
    const parts = new HistogramParts();
    for (let i = 0; i < HISTOGRAM_BUCKETS_MAX; i++) parts.positive.addDelta(0);
    expect(() => parts.positive.addDelta(0)).toThrow(/more than 16384/);
    expect(parts.positive.counts.values.length).toBe(HISTOGRAM_BUCKETS_MAX);
  });
});

// Quantiles of histograms where counting is odd. Values without NaN, and what is noted, are as Prometheus 3.14 answered.
import { expect, test } from 'vitest';
import { FloatHistogram } from '../../../model/float-histogram.ts';
import { histogramQuantile } from './histogram-quantile.ts';

/** Two observations from -2 to -1, three about zero; empty buckets up to 4. */
function made(count: number, sum: number): FloatHistogram {
  return Object.assign(new FloatHistogram(), {
    zeroThreshold: 0.5,
    zeroCount: 3,
    count,
    sum,
    negative: { indexes: [1], counts: [2] },
    positive: { indexes: [1, 2], counts: [0, 0] },
  });
}

test('where no bucket reaches the rank, the upper bound of the last one is the quantile', () => {
  const negated = made(5, 7).scale(-1);
  expect(histogramQuantile(0.1, negated)).toEqual({ value: 4, note: 'none' });
  expect(histogramQuantile(0.9, negated)).toEqual({ value: -1, note: 'none' });
});

test('a sum of NaN skews the quantile only where buckets hold less than all observations', () => {
  expect(histogramQuantile(0.5, made(5, Number.NaN))).toMatchObject({ note: 'none' });
  expect(histogramQuantile(0.5, made(6, Number.NaN))).toMatchObject({ note: 'nan-skew' });
});

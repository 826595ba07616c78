import { expect, test } from 'vitest';
import { DEFAULT_FEATURES } from '../../lib/promql/features.ts';
import { parseExpr } from '../../lib/promql/parse/parser.ts';
import type { EvaluationOrder } from './evaluation-messages.ts';
import { shapeOf } from './query-work.ts';

/** An hour, every minute. */
function shape(query: string, stepMs = 60_000) {
  const request = { query, startMs: 0, endMs: stepMs === 0 ? 0 : 3_600_000, stepMs };
  const order = { request, engine: { noStepSubqueryIntervalMs: 60_000 } } as unknown as EvaluationOrder;
  return shapeOf(parseExpr(query, DEFAULT_FEATURES), order);
}

test('nodes are counted, each at its own steps', () => {
  expect(shape('x')).toEqual({ steps: 62, seriesNs: 8 * 62, sampleNs: 0 });
  expect(shape('x', 0)).toEqual({ steps: 2, seriesNs: 8 * 2, sampleNs: 0 });
  // Aggregation, binary and two selectors; the number costs nothing.
  expect(shape('quantile(0.9, x / y)')).toEqual({ steps: 62, seriesNs: 32 * 62, sampleNs: 0 });
  // Within the subquery there is one node only.
  expect(shape('max_over_time(x[1h:30s])')).toEqual({ steps: 242, seriesNs: 16 * 62 + 8 * 242, sampleNs: 0 });
  // What has fewer steps than the query around it is not taken for more than it is.
  expect(shape('max_over_time(x[1h:10m])')).toEqual({ steps: 62, seriesNs: 16 * 62 + 8 * 14, sampleNs: 0 });
});

test('functions that walk whole windows take longer, the longer these are', () => {
  expect(shape('rate(x[1h])')).toEqual({ steps: 62, seriesNs: 24 * 62, sampleNs: 0 });
  // Half of the two hours that are read are in each window.
  expect(shape('sum_over_time(x[1h])')).toEqual({ steps: 62, seriesNs: 24 * 62, sampleNs: 62 });
  expect(shape('quantile_over_time(0.5, x[20m])')?.sampleNs).toBeCloseTo((62 * 30) / 4);
  expect(shape('sum_over_time(x[1h:1m])')).toEqual({
    steps: 122,
    seriesNs: (16 + 2 * 60) * 62 + 8 * 122,
    sampleNs: 0,
  });
});

test('too many steps to walk', () => {
  expect(shape('sum_over_time(vector(1)[1d:1s])')).toBeUndefined();
});

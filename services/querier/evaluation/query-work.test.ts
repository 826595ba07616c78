import { expect, test } from 'vitest';
import type { SeriesRun } from '../../lib/model/series-run.ts';
import { DEFAULT_FEATURES } from '../../lib/promql/features.ts';
import { parseExpr } from '../../lib/promql/parse/parser.ts';
import type { EvaluationOrder } from './evaluation-messages.ts';
import { FrameWeight, shapeOf } from './query-work.ts';

/** An hour, every minute. */
function shape(query: string, stepMs = 60_000) {
  const request = { query, startMs: 0, endMs: stepMs === 0 ? 0 : 3_600_000, stepMs };
  const order = { request, engine: { noStepSubqueryIntervalMs: 60_000 } } as unknown as EvaluationOrder;
  return shapeOf(parseExpr(query, DEFAULT_FEATURES), order);
}

test('nodes are counted, each at its own steps', () => {
  expect(shape('x')).toEqual({ steps: 62, seriesNs: 5 * 62, sampleNs: 0 });
  expect(shape('x', 0)).toEqual({ steps: 2, seriesNs: 5 * 2, sampleNs: 0 });
  // Aggregation, binary and two selectors; the number costs nothing.
  expect(shape('quantile(0.9, x / y)')).toEqual({ steps: 62, seriesNs: 20 * 62, sampleNs: 0 });
  // Within the subquery there is one node only.
  expect(shape('max_over_time(x[1h:30s])')).toEqual({ steps: 242, seriesNs: 10 * 62 + 5 * 242, sampleNs: 0 });
  // What has fewer steps than the query around it is not taken for more than it is.
  expect(shape('max_over_time(x[1h:10m])')).toEqual({ steps: 62, seriesNs: 10 * 62 + 5 * 14, sampleNs: 0 });
});

test('functions that walk whole windows take longer, the longer these are', () => {
  expect(shape('rate(x[1h])')).toEqual({ steps: 62, seriesNs: 15 * 62, sampleNs: 0 });
  // Half of the two hours that are read are in each window.
  expect(shape('sum_over_time(x[1h])')).toEqual({ steps: 62, seriesNs: 15 * 62, sampleNs: 62 });
  expect(shape('quantile_over_time(0.5, x[20m])')?.sampleNs).toBeCloseTo((62 * 30) / 4);
  expect(shape('sum_over_time(x[1h:1m])')).toEqual({
    steps: 122,
    seriesNs: (10 + 2 * 60) * 62 + 5 * 122,
    sampleNs: 0,
  });
});

test('too many steps to walk', () => {
  expect(shape('sum_over_time(vector(1)[1d:1s])')).toBeUndefined();
});

test('a run counts as the mean of its ranges, by how much of them is asked for', () => {
  const range = { startMs: 0, endMs: 7_200_000, chunksPerSeries: 4, range: 0 };
  const run = (minTimeMs: number, maxTimeMs: number, open: readonly number[] = [7_000_000, 7_200_000]) =>
    ({
      ...{ seriesCount: 10, minTimeMs, maxTimeMs, ranges: [range] },
      openTimesMs: Float64Array.from(open),
    }) as unknown as SeriesRun;
  const samplesOf = (...runs: readonly SeriesRun[]) => {
    const weight = new FrameWeight();
    for (const each of runs) weight.addRun(each);
    return weight;
  };
  // All four chunks of each, and the open one.
  expect(samplesOf(run(0, 7_200_000))).toMatchObject({ series: 10, samples: 6000, longest: 600 });
  // A quarter of them and one that is cut, and the open one.
  expect(samplesOf(run(5_400_000, 7_200_000)).samples).toBe(3600);
  // The range is filled to its quarter: all of it is asked for.
  expect(samplesOf(run(0, 7_200_000, [1_700_000, 1_800_000])).samples).toBe(6000);
  expect(samplesOf(run(0, 7_200_000, [])).samples).toBe(4800);
  expect(samplesOf(run(0, 7_200_000), run(0, 7_200_000)).samples).toBe(12_000);
});

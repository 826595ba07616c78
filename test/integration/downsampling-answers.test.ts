// The law of downsampling: over windows whose bounds are multiples of the resolution, aggregates answer what the samples answer. Series
// of all kinds are given to the engine twice, as samples and as what compaction makes of them, through the querier's own reading.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import { encodeLabels, Labels } from '../../services/lib/model/labels.ts';
import type { QueryContext } from '../../services/lib/model/queryable.ts';
import { putStale, wordsOf } from '../../services/lib/model/sample-columns.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import type { QueryResult } from '../../services/lib/promql/engine/query.ts';
import { DEFAULT_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { SeriesChunker, SeriesSamples } from '../../services/lib/tsdb/chunk/series-samples.ts';
import { downsampleSeries } from '../../services/lib/tsdb/downsample/downsample-series.ts';
import { SeriesFrameWriter } from '../../services/lib/wire/frames/series-frame.ts';
import { UnitingQueryable } from '../../services/querier/selection/uniting-queryable.ts';
import { bitsOf, describeHistogram } from '../support/histograms.ts';

const RESOLUTION_MS = 300_000;
const STEPS = 8;

/** A value, a staleness marker, or a histogram. */
type Entry = number | 'stale' | FloatHistogram;
type Samples = readonly (readonly [timeMs: number, entry: Entry])[];

function collect(samples: Samples): SeriesSamples {
  const series = new SeriesSamples();
  const { floats } = series;
  for (const [timeMs, entry] of samples) {
    if (typeof entry === 'object') {
      series.histograms.add(timeMs, entry, 'float');
      continue;
    }
    floats.reserve(floats.count + 1);
    floats.timestampsMs[floats.count] = timeMs;
    if (entry === 'stale') putStale(wordsOf(floats.values), floats.count);
    else floats.values[floats.count] = entry;
    floats.count++;
  }
  series.settle();
  return series;
}

function framesOf(series: SeriesSamples): Uint8Array[] {
  const writer = new SeriesFrameWriter();
  const encoded = new ByteWriter();
  encodeLabels(Labels.from([['__name__', 'x_total']]), encoded);
  const labels = encoded.take();
  writer.beginSeries(labels, 0, labels.length);
  const chunks: [number, number, number, Uint8Array][] = [];
  new SeriesChunker(40).emit(series, (encoding, minTimeMs, maxTimeMs, _, bytes, start, end) => {
    chunks.push([encoding, minTimeMs, maxTimeMs, bytes.slice(start, end)]);
  });
  chunks.sort((a, b) => a[1] - b[1]);
  for (const [encoding, minTimeMs, maxTimeMs, bytes] of chunks)
    writer.chunk(encoding, minTimeMs, maxTimeMs, bytes, 0, bytes.length);
  return [...writer.finish()];
}

function downsample(samples: Samples): SeriesSamples {
  const result = new SeriesSamples();
  downsampleSeries(collect(samples), RESOLUTION_MS, result);
  return result;
}

const FEATURES = { ...DEFAULT_FEATURES, experimentalFunctions: true };
const engine = createEngine({
  lookbackMs: 300_000,
  samplesMax: 1e9,
  features: FEATURES,
  noStepSubqueryIntervalMs: 60_000,
});
const context: QueryContext = { signal: new AbortController().signal, chargeBytes: () => undefined };

interface Grid {
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

/** What nodes send is made anew for each select, told whether aggregates will do. */
async function evaluate(
  query: string,
  grid: Grid,
  nodes: (aligned: boolean) => readonly SeriesSamples[],
): Promise<QueryResult> {
  const queryable = new UnitingQueryable({ seriesMax: 10, hashSeed: 1 }, (request, sink) => {
    const isAligned = request.alignMs !== undefined && request.alignMs % RESOLUTION_MS === 0;
    for (const [i, series] of nodes(isAligned).entries()) {
      if (series.cells.count + series.floats.count + series.histograms.count === 0) continue;
      for (const frame of framesOf(series)) sink.addFrame(frame, `node ${i}`);
    }
    return Promise.resolve([]);
  });
  return engine.execute({ expr: parseExpr(query, FEATURES), query, ...grid }, queryable, context);
}

function describeResult({ series, infos, warnings }: QueryResult) {
  return {
    series: series.map((one) => ({
      labels: one.labels.toString(),
      times: [...one.timestampsMs.subarray(0, one.count)],
      values: Array.from({ length: one.count }, (_, i) => {
        const histogram = one.histograms?.[i];
        // What is known of resets depends on what stands before in storage; no answer shows it.
        return histogram === undefined
          ? bitsOf(one.values[i]!)
          : describeHistogram(histogram.withHint('unknown'));
      }),
    })),
    infos,
    warnings,
  };
}

const GRID: Grid = {
  startMs: 12 * RESOLUTION_MS,
  endMs: (12 + 3 * (STEPS - 1)) * RESOLUTION_MS,
  stepMs: 3 * RESOLUTION_MS,
};
const END_MS = GRID.endMs + RESOLUTION_MS;

/** Samples at whole seconds with gaps, over the whole grid and before it. */
function samplesOf(values: fc.Arbitrary<Entry>): fc.Arbitrary<Samples> {
  return fc
    .array(
      fc.tuple(
        fc.oneof(
          { weight: 20, arbitrary: fc.constantFrom(15_000, 30_000) },
          { weight: 2, arbitrary: fc.integer({ min: 1, max: 900 }).map((seconds) => seconds * 1000) },
          { weight: 1, arbitrary: fc.constant(RESOLUTION_MS) },
        ),
        values,
      ),
      { minLength: 1, maxLength: 500, size: 'max' },
    )
    .map((steps) => {
      let timeMs = 0;
      return steps.map(([gapMs, value]) => [(timeMs += gapMs), value] as const);
    })
    .map((samples) => samples.filter(([timeMs]) => timeMs <= END_MS));
}

/** A counter that is reset now and then, goes away and comes back. */
const counters = samplesOf(
  fc.oneof(
    { weight: 40, arbitrary: fc.integer({ min: 0, max: 50 }) },
    { weight: 1, arbitrary: fc.constant(-1) },
    { weight: 1, arbitrary: fc.constant('stale' as const) },
  ),
).map((samples) => {
  let total = 0;
  return samples.map(([timeMs, step]) => {
    if (step === 'stale') return [timeMs, step] as const;
    total = step === -1 ? 0 : total + (step as number);
    return [timeMs, total] as const;
  });
});

const integers = samplesOf(
  fc.oneof(
    { weight: 20, arbitrary: fc.integer({ min: -1000, max: 1000 }) },
    { weight: 1, arbitrary: fc.constantFrom<Entry>('stale', -0, 0) },
  ),
);

const doubles = samplesOf(
  fc.oneof(
    { weight: 20, arbitrary: fc.double({ min: -1e6, max: 1e6, noNaN: true }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<Entry>('stale', Number.NaN, Number.POSITIVE_INFINITY, 1e308, -1e308),
    },
  ),
);

const EXACT_OF_ALL = [
  'count_over_time(x_total[15m])',
  'min_over_time(x_total[1h])',
  'max_over_time(x_total[1h])',
  'first_over_time(x_total[10m])',
  'last_over_time(x_total[10m])',
  'present_over_time(x_total[5m])',
  'absent_over_time(x_total[5m])',
  'ts_of_last_over_time(x_total[30m])',
  'delta(x_total[30m])',
  'x_total',
  'x_total offset 15m',
  'timestamp(x_total)',
  'max_over_time(x_total[1h] @ 5400)',
];
const EXACT_OF_WHOLE_NUMBERS = [
  'rate(x_total[15m])',
  'rate(x_total[1h])',
  'increase(x_total[5m])',
  'sum_over_time(x_total[30m])',
  'avg_over_time(x_total[30m])',
];

async function expectSame(query: string, samples: Samples): Promise<void> {
  const asSamples = await evaluate(query, GRID, () => [collect(samples)]);
  const asAggregates = await evaluate(query, GRID, (isAligned) => {
    expect(isAligned).toBe(true);
    return [downsample(samples)];
  });
  expect(describeResult(asAggregates), query).toEqual(describeResult(asSamples));
}

describe('over aligned windows, aggregates answer to the last bit', () => {
  test.each([
    ['counters', counters, [...EXACT_OF_ALL, ...EXACT_OF_WHOLE_NUMBERS]],
    ['whole numbers', integers, [...EXACT_OF_ALL, ...EXACT_OF_WHOLE_NUMBERS]],
    ['any doubles', doubles, EXACT_OF_ALL],
  ] as const)('%s', async (_name, kind, queries) => {
    await fc.assert(
      fc.asyncProperty(kind, async (samples) => {
        for (const query of queries) await expectSame(query, samples);
      }),
      { numRuns: 40, interruptAfterTimeLimit: 10_000 },
    );
  });
});

test.each([
  ['no reset', [0, 5, 7, -0, -0]],
  ['a reset from zero', [0, -703, -80, -0]],
  ['a reset from what is hardly zero', [0, -0, -3, -0]],
  ['resets that add up to zero', [0, 5, -5, -7, -0]],
])('an increase of nothing keeps its sign: %s', async (_what, values) => {
  const samples = values.map((value, i) => [3_310_000 + i * 15_000, value] as const);
  for (const query of ['increase(x_total[5m])', 'rate(x_total[15m])']) await expectSame(query, samples);
});

describe('native histograms', () => {
  const histogramSeries = samplesOf(
    fc.oneof(
      { weight: 30, arbitrary: fc.integer({ min: 0, max: 20 }) },
      { weight: 1, arbitrary: fc.constantFrom<Entry>(-1, 'stale') },
    ),
  ).map((samples) => {
    let counts = [0, 0, 0];
    let schema = 0;
    return samples.map(([timeMs, step], i) => {
      if (step === 'stale') return [timeMs, step] as const;
      if (step === -1) {
        counts = [0, 0, 0];
        schema = i % 2;
      } else counts = counts.map((count, bucket) => count + (((step as number) * (bucket + 3)) % 7));
      const histogram = new FloatHistogram();
      histogram.schema = schema;
      histogram.positive = { indexes: [1, 2, 5], counts };
      histogram.count = counts.reduce((a, b) => a + b, 0);
      histogram.sum = histogram.count * 2;
      return [timeMs, histogram] as const;
    });
  });

  test('rates, quantiles of them, counts and newest ones are those of all histograms', async () => {
    await fc.assert(
      fc.asyncProperty(histogramSeries, async (samples) => {
        for (const query of [
          'histogram_quantile(0.9, rate(x_total[30m]))',
          'rate(x_total[15m])',
          'increase(x_total[1h])',
          'histogram_count(increase(x_total[10m]))',
          'count_over_time(x_total[30m])',
          'last_over_time(x_total[10m])',
          'histogram_quantile(0.5, x_total)',
        ])
          await expectSame(query, samples);
      }),
      { numRuns: 40, interruptAfterTimeLimit: 10_000 },
    );
  });
});

describe('sums of what is not whole', () => {
  test('are off by no more than the order of adding makes', async () => {
    const finite = samplesOf(fc.double({ min: -1e6, max: 1e6, noNaN: true }));
    await fc.assert(
      fc.asyncProperty(finite, async (samples) => {
        const magnitude = Math.max(...samples.map(([, value]) => Math.abs(value as number)));
        for (const [query, bound] of [
          ['sum_over_time(x_total[30m])', 120 * magnitude],
          ['avg_over_time(x_total[30m])', magnitude],
          ['increase(x_total[30m])', 240 * magnitude],
        ] as const) {
          const exact = await evaluate(query, GRID, () => [collect(samples)]);
          const found = await evaluate(query, GRID, () => [downsample(samples)]);
          expect(found.series.length).toBe(exact.series.length);
          for (const [i, series] of exact.series.entries()) {
            expect(found.series[i]!.count).toBe(series.count);
            for (let k = 0; k < series.count; k++)
              expect(Math.abs(found.series[i]!.values[k]! - series.values[k]!)).toBeLessThanOrEqual(
                bound * 1e-13,
              );
          }
        }
      }),
      { numRuns: 40, interruptAfterTimeLimit: 10_000 },
    );
  });
});

describe('where windows are not aligned', () => {
  const samples: Samples = Array.from({ length: 1000 }, (_, i) => [i * 15_000, i * 30]);
  const odd: Grid = { startMs: 3_610_000, endMs: 7_210_000, stepMs: 600_000 };

  test('samples are asked for', async () => {
    for (const query of ['rate(x_total[10m])', 'x_total', 'stddev_over_time(x_total[1h])']) {
      await evaluate(query, query.startsWith('stddev') ? GRID : odd, (isAligned) => {
        expect(isAligned, query).toBe(false);
        return [collect(samples)];
      });
    }
    await evaluate('rate(x_total[4m])', GRID, (isAligned) => {
      expect(isAligned, 'a window smaller than the resolution').toBe(false);
      return [collect(samples)];
    });
  });

  test('and aggregates, where there is nothing else, say so', async () => {
    const only = () => [downsample(samples)];
    const rate = await evaluate('rate(x_total[10m])', odd, only);
    expect(rate.infos).toEqual([
      'PromQL info: samples of metric name "x_total" are only kept at a resolution of 5m in a part of the range; times and windows are taken as if they were multiples of it (1:6)',
    ]);
    for (const value of rate.series[0]!.values.subarray(0, rate.series[0]!.count))
      expect(value).toBeCloseTo(2, 9);
    // A window within a cell: the cell's rate, and its share of the increase.
    const increase = await evaluate('increase(x_total[1m])', odd, only);
    expect(increase.series[0]!.count).toBe(7);
    for (const value of increase.series[0]!.values.subarray(0, 7)) expect(value).toBeCloseTo(120, 6);
    const newest = await evaluate('x_total', odd, only);
    expect(newest.series[0]!.count).toBe(7);
    // The cell's first sample, 10 s before: never one from behind the step.
    expect(newest.series[0]!.values[0]).toBe(240 * 30);
    expect(newest.infos.length).toBe(1);
    const deviation = await evaluate('stddev_over_time(x_total[1h])', GRID, only);
    expect(deviation.warnings[0]).toContain('which stddev_over_time cannot be computed from');
  });
});

describe('aggregates of one node and samples of another', () => {
  const all: Samples = Array.from({ length: 1000 }, (_, i) => [i * 15_000, i]);

  test('late samples that are on no store yet are seen: all samples are asked for', async () => {
    const late: Samples = [[4_000_001, 5_000]];
    let selects = 0;
    const found = await evaluate('max_over_time(x_total[30m])', GRID, (isAligned) => {
      selects++;
      return [isAligned ? downsample(all) : collect(all), collect(late)];
    });
    expect(selects).toBe(2);
    expect(Math.max(...found.series[0]!.values.subarray(0, found.series[0]!.count))).toBe(5_000);
  });

  test('recent samples beside old aggregates are one series, in one select', async () => {
    const old = all.filter(([timeMs]) => timeMs < 6_000_000);
    const recent = all.filter(([timeMs]) => timeMs >= 6_000_000);
    let selects = 0;
    for (const query of [...EXACT_OF_ALL, ...EXACT_OF_WHOLE_NUMBERS]) {
      const found = await evaluate(query, GRID, () => {
        selects++;
        return [downsample(old), collect(recent)];
      });
      expect(describeResult(found), query).toEqual(
        describeResult(await evaluate(query, GRID, () => [collect(all)])),
      );
    }
    expect(selects).toBe(EXACT_OF_ALL.length + EXACT_OF_WHOLE_NUMBERS.length);
  });

  test('where only aggregates are left of one store, those of more samples count', async () => {
    const some = all.filter(([timeMs]) => timeMs % 45_000 === 0);
    const found = await evaluate('count_over_time(x_total[30m])', GRID, () => [
      downsample(some),
      downsample(all),
    ]);
    expect(describeResult(found)).toEqual(
      describeResult(await evaluate('count_over_time(x_total[30m])', GRID, () => [collect(all)])),
    );
  });
});

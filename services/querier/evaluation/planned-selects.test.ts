// What is known of a query before it is evaluated: nodes are asked once for each selector, wherever it is evaluated, and the answer is
// the same in the main thread and in another.
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createFakeCluster, type FakeSeries, regularSamples } from '../../../test/support/fake-cluster.ts';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { CHUNK_HISTOGRAMS, CHUNK_XOR } from '../../lib/model/chunk-sink.ts';
import { decodeLabels, encodeLabels, Labels } from '../../lib/model/labels.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import { encodeXorChunk } from '../../lib/tsdb/chunk/xor-encoder.ts';
import { QuerierDefinition, type QueryRequest } from '../../lib/wire/contracts.ts';
import { readResultFrame } from '../../lib/wire/frames/result-frame.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { DEFAULT_QUERIER_OPTIONS, type QuerierOptions } from '../options.ts';
import { createQuerier, createQueryThreads } from '../service.ts';
import { isSmall } from './planned-selects.ts';

const SERIES: FakeSeries[] = Array.from({ length: 40 }, (_, i) => ({
  labels: Labels.from([
    ['__name__', i % 2 === 0 ? 'requests_total' : 'errors_total'],
    ['instance', `host-${i >> 1}`],
  ]),
  samples: regularSamples(0, 15_000, 241, (s) => s * (i + 1)),
}));
const threads = createQueryThreads({ ...DEFAULT_QUERIER_OPTIONS, threads: 1 }, createSilentLogger());
beforeAll(() => threads.start());
afterAll(() => threads.stop());

const REQUEST: QueryRequest = {
  tenant: 'anonymous',
  query: '',
  startMs: 600_000,
  endMs: 3_600_000,
  stepMs: 60_000,
  timeoutMs: 0,
  lookbackMs: 0,
  limit: 0,
  allowPartial: false,
};

/** The answer of a query, how often the node was asked for it, and whether a thread was. */
async function ask(query: string, options: Partial<QuerierOptions>, times: Partial<QueryRequest> = {}) {
  const registry = new Registry();
  const cluster = createFakeCluster({ ingesters: [{ instance: 'i', series: SERIES }] });
  const deps = { cluster, clock: systemClock, logger: createSilentLogger(), registry, threads };
  const client = createInProcessClient(QuerierDefinition, createQuerier(options, deps).handlers);
  const tasksBefore = threads.opened;
  const rows: unknown[] = [];
  let ending: unknown;
  const { signal } = new AbortController();
  for await (const { part } of client.query({ ...REQUEST, query, ...times }, { signal })) {
    if (part?.$case === 'trailer')
      ending = { ...part.value, planMs: 0, fetchMs: 0, evaluateMs: 0, queueMs: 0 };
    if (part?.$case !== 'frame') continue;
    readResultFrame(part.value, (bytes, start, end, timestampsMs, values, count) => {
      rows.push([
        decodeLabels(bytes, start, end).toString(),
        timestampsMs.slice(0, count),
        values.slice(0, count),
      ]);
    });
  }
  const selects = cluster.calls.filter((call) => call.endsWith(' select')).length;
  const held = await registry.getSingleMetric('tidemark_querier_memory_bytes')!.get();
  expect(held.values[0]!.value).toBe(0);
  return { answer: { rows, ending }, selects, tasks: threads.opened - tasksBefore };
}

/** Queries, and how many selectors are different. */
const QUERIES: readonly (readonly [string, number])[] = [
  ['vector(1)', 0],
  ['requests_total', 1],
  ['sum by (instance) (rate(requests_total[5m]))', 1],
  ['requests_total / on (instance) errors_total', 2],
  ['requests_total - requests_total offset 5m', 2],
  ['topk(2, requests_total) or errors_total', 2],
  ['max_over_time(sum(rate(requests_total[1m]))[10m:1m])', 1],
  ['quantile(0.9, requests_total @ end())', 1],
  ['absent(nothing_at_all)', 1],
  ['requests_total > on (instance) (errors_total > requests_total)', 2],
];

describe.each(QUERIES)('%s', (query, selects) => {
  test('is the same here and there, and nodes are asked once', async () => {
    const here = await ask(query, {});
    expect(here).toMatchObject({ selects, tasks: 0 });
    // Planned and too large, and not planned.
    for (const mainThreadMsMax of [1e-6, 0]) {
      const there = await ask(query, { mainThreadMsMax });
      // Without series there is nothing that could be too large.
      const readsNothing = query.startsWith('vector') || query.startsWith('absent');
      expect(there).toMatchObject({ selects, tasks: readsNothing && mainThreadMsMax > 0 ? 0 : 1 });
      expect(there.answer).toEqual(here.answer);
    }
    const instant = { startMs: 3_000_000, endMs: 3_000_000, stepMs: 0 };
    expect((await ask(query, {}, instant)).answer).toEqual(
      (await ask(query, { mainThreadMsMax: 0 }, instant)).answer,
    );
  });
});

test.each([
  ['more samples than may be', 'requests_total', { mainThreadMsMax: 0.01 }],
  ['a subquery of many steps', 'sum_over_time(vector(1)[1d:1s])', {}],
  ['long windows at many steps', 'stddev_over_time(requests_total[1h])', { stepMs: 500 }],
])(
  '%s: another thread',
  async (_what, query, { stepMs = 60_000, ...options }: { stepMs?: number } & Partial<QuerierOptions>) => {
    expect((await ask(query, options, { stepMs })).tasks).toBe(1);
  },
);

test('errors are those of evaluation', async () => {
  for (const mainThreadMsMax of [0, DEFAULT_QUERIER_OPTIONS.mainThreadMsMax]) {
    await expect(ask('sum(', { mainThreadMsMax })).rejects.toMatchObject({ code: 'bad_data' });
    await expect(ask('requests_total{instance=~"("}', { mainThreadMsMax })).rejects.toThrow(AppError);
    await expect(
      ask('label_replace(requests_total, "instance", "x", "", "")', { mainThreadMsMax }),
    ).rejects.toMatchObject({
      code: 'execution',
    });
    await expect(ask('requests_total', { mainThreadMsMax, samplesMax: 10 })).rejects.toMatchObject({
      code: 'execution',
    });
  }
});

/** Frames of series of one chunk each. */
function framesOf(series: number, samples: number, encoding = CHUNK_XOR) {
  const times = Float64Array.from({ length: samples }, (_, i) => i * 1000);
  const chunk = new ByteWriter();
  encodeXorChunk(times, times, 0, samples, chunk);
  const labels = new ByteWriter();
  const writer = new SeriesFrameWriter();
  for (let s = 0; s < series; s++) {
    labels.reset();
    encodeLabels(Labels.from([['a', String(s)]]), labels);
    writer.beginSeries(labels.bytes, 0, labels.length);
    writer.chunk(encoding, 0, times.at(-1)!, chunk.bytes, 0, chunk.length);
  }
  return writer.finish().map((frame) => ({ from: 'n', frame }));
}

test('what is small', () => {
  const limits = (msMax: number) => ({ msMax, takesRuns: true });
  const shape = { steps: 50, seriesNs: 800, sampleNs: 0 };
  // 10 series of 1.5 µs and 50 steps each, and 1,000 samples of 8 ns.
  expect(isSmall(framesOf(10, 100), shape, limits(0.0311))).toBe(true);
  expect(isSmall(framesOf(10, 100), shape, limits(0.0309))).toBe(false);
  // Windows of 1,000 samples at 50 steps.
  expect(isSmall(framesOf(10, 100), { ...shape, sampleNs: 20 }, limits(0.0511))).toBe(true);
  expect(isSmall(framesOf(10, 100), { ...shape, sampleNs: 20 }, limits(0.0509))).toBe(false);
  // One series whose windows take long.
  expect(isSmall(framesOf(1, 1000), { ...shape, steps: 500 }, limits(10))).toBe(true);
  expect(isSmall(framesOf(1, 1000), { ...shape, steps: 501 }, limits(10))).toBe(false);
  expect(isSmall(framesOf(1, 100, CHUNK_HISTOGRAMS), { ...shape, steps: 1 }, limits(10))).toBe(false);
  const [whole] = framesOf(1, 100);
  expect(isSmall([{ from: 'n', frame: whole!.frame.subarray(0, 20) }], shape, limits(10))).toBe(false);
});

import { Registry } from 'prom-client';
import { afterAll, describe, expect, test } from 'vitest';
import {
  createFakeCluster,
  type FakeClusterOptions,
  type FakeNode,
  type FakeSeries,
  regularSamples,
} from '../../test/support/fake-cluster.ts';
import { systemClock } from '../lib/core/clock.ts';
import { AppError } from '../lib/core/errors.ts';
import { decodeLabels, Labels } from '../lib/model/labels.ts';
import { computePlacement } from '../lib/placement/placement.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import {
  QuerierDefinition,
  type QueryHeader,
  type QueryRequest,
  type QueryTrailer,
  ResultType,
} from '../lib/wire/contracts.ts';
import { readResultFrame } from '../lib/wire/frames/result-frame.ts';
import { readSeriesFrame } from '../lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../lib/wire/matchers.ts';
import type { QuerierOptions } from './options.ts';
import { DEFAULT_QUERIER_OPTIONS } from './options.ts';
import { createQuerier, createQueryThreads } from './service.ts';

function metric(name: string, samples: FakeSeries['samples'], ...pairs: [string, string][]): FakeSeries {
  return { labels: Labels.from([['__name__', name], ...pairs]), samples };
}

const SERIES = [
  metric(
    'requests_total',
    regularSamples(0, 15_000, 241, (i) => i * 30),
    ['job', 'a'],
  ),
  metric(
    'requests_total',
    regularSamples(0, 15_000, 241, (i) => i * 60),
    ['job', 'b'],
  ),
  metric(
    'up',
    regularSamples(0, 15_000, 241, () => 1),
    ['job', 'a'],
  ),
];
const NODE: FakeNode = { instance: 'i', series: SERIES };
/** A store that answers, and says what it lost. */
const LOSER: FakeNode = {
  instance: 's',
  series: SERIES,
  coverage: { partitions: [], missing: '1 block is in quarantine' },
};

const threads = createQueryThreads({ ...DEFAULT_QUERIER_OPTIONS, threads: 2 }, createSilentLogger());
afterAll(() => threads.stop());

function setUp(cluster: Partial<FakeClusterOptions> = {}, options: Partial<QuerierOptions> = {}) {
  const registry = new Registry();
  const fake = createFakeCluster({ ingesters: [NODE], ...cluster });
  const querier = createQuerier(options, {
    cluster: fake,
    clock: systemClock,
    logger: createSilentLogger(),
    registry,
    threads,
  });
  return { querier, registry, fake, client: createInProcessClient(QuerierDefinition, querier.handlers) };
}

const REQUEST: QueryRequest = {
  tenant: 'anonymous',
  query: 'up',
  startMs: 3_600_000,
  endMs: 3_600_000,
  stepMs: 0,
  timeoutMs: 0,
  lookbackMs: 0,
  limit: 0,
  allowPartial: false,
};

type Setup = ReturnType<typeof setUp>;

async function usedBytes({ registry }: Setup): Promise<number> {
  return (await registry.getSingleMetric('tidemark_querier_memory_bytes')!.get()).values[0]!.value;
}

/** A series with values that no replica has, then less than the frame announces. */
async function malformedFrame(): Promise<Uint8Array> {
  const series = [{ ...SERIES[2]!, samples: regularSamples(0, 15_000, 241, () => 9e9) }];
  const { client } = createFakeCluster({ ingesters: [{ instance: 'i', series }] }).ingesters()[0]!;
  const request = {
    tenant: '',
    matchers: toWireMatchers([{ name: '__name__', operator: '=', value: 'up' }]),
    minTimeMs: 0,
    maxTimeMs: 3_600_000,
    labelsOnly: false,
    partitions: [],
    seriesMax: 10,
  };
  for await (const { frame } of client.select(request, { signal: new AbortController().signal })) {
    // The number of series stands behind the version.
    new DataView(frame.buffer, frame.byteOffset).setUint32(4, 2, true);
    return frame;
  }
  throw new Error('no frame');
}

async function run({ client }: Setup, request: Partial<QueryRequest>, signal = new AbortController().signal) {
  let header: QueryHeader | undefined;
  let trailer: QueryTrailer | undefined;
  const series: [string, [number, number][]][] = [];
  for await (const { part } of client.query({ ...REQUEST, ...request }, { signal })) {
    if (part?.$case === 'header') header = part.value;
    if (part?.$case === 'trailer') trailer = part.value;
    if (part?.$case !== 'frame') continue;
    expect(header).toBeDefined();
    readResultFrame(part.value, (bytes, start, end, timestampsMs, values, count) => {
      const samples = Array.from({ length: count }, (_, i): [number, number] => [
        timestampsMs[i]!,
        values[i]!,
      ]);
      series.push([decodeLabels(bytes, start, end).toString(), samples]);
    });
  }
  return { header: header!, trailer: trailer!, series };
}

describe('query', () => {
  test('an instant vector', async () => {
    const { header, series, trailer } = await run(setUp(), { query: 'irate(requests_total[5m])' });
    expect(header.resultType).toBe(ResultType.RESULT_TYPE_VECTOR);
    expect(series).toEqual([
      ['{job="a"}', [[3_600_000, 2]]],
      ['{job="b"}', [[3_600_000, 4]]],
    ]);
    expect(trailer.samplesRead).toBeGreaterThan(0);
    expect(trailer.evaluateMs).toBeGreaterThanOrEqual(0);
  });

  test('a range', async () => {
    const request = { query: 'sum(requests_total)', startMs: 0, endMs: 30_000, stepMs: 15_000 };
    const { header, series } = await run(setUp(), request);
    expect(header.resultType).toBe(ResultType.RESULT_TYPE_MATRIX);
    expect(series).toEqual([
      [
        '{}',
        [
          [0, 0],
          [15_000, 90],
          [30_000, 180],
        ],
      ],
    ]);
  });

  test('a scalar and a string', async () => {
    const scalar = await run(setUp(), { query: '1 + 1' });
    expect(scalar.header.resultType).toBe(ResultType.RESULT_TYPE_SCALAR);
    expect(scalar.series).toEqual([['{}', [[3_600_000, 2]]]]);
    const text = await run(setUp(), { query: '"a"' });
    expect(text.header).toEqual({ resultType: ResultType.RESULT_TYPE_STRING, stringValue: 'a' });
  });

  test('lookback of the request', async () => {
    expect((await run(setUp(), { startMs: 3_900_000, endMs: 3_900_000 })).series).toHaveLength(0);
    const request = { startMs: 3_900_000, endMs: 3_900_000, lookbackMs: 600_000 };
    expect((await run(setUp(), request)).series).toHaveLength(1);
  });

  test('the step of a subquery that names none is asked for each query', async () => {
    let stepMs = 60_000;
    const setup = setUp({}, { noStepSubqueryIntervalMs: () => stepMs });
    const count = async () => (await run(setup, { query: 'count_over_time(up[10m:])' })).series;
    expect(await count()).toEqual([['{job="a"}', [[3_600_000, 10]]]]);
    stepMs = 30_000;
    expect(await count()).toEqual([['{job="a"}', [[3_600_000, 20]]]]);
  });

  test('overlapping replicas answer as one does', async () => {
    const request = { query: '{job="a"}', startMs: 0, endMs: 3_600_000, stepMs: 60_000 };
    const one = await run(setUp(), request);
    const cluster = {
      ingesters: [NODE, { ...NODE, instance: 'j', chunkSamples: 31 }],
      stores: [{ ...NODE, instance: 's', chunkSamples: 77 }],
    };
    const many = await run(setUp(cluster), request);
    expect(many.series).toEqual(one.series);
    expect(one.series).toHaveLength(2);
  });

  test('a node whose frame is malformed did not answer; replicas make up for it', async () => {
    const request = { startMs: 0, endMs: 3_600_000, stepMs: 60_000 };
    const one = await run(setUp(), request);
    const instances = ['i', 'j', 'k'];
    const members = instances.map((instance) => ({ instance, zone: '' }));
    const placement = computePlacement(members, { epoch: 1, partitionCount: 4, replicationFactor: 3 });
    const rawFrame = await malformedFrame();
    const clusterOf = (...malformed: string[]) => ({
      placement,
      replicationFactor: 3,
      ingesters: instances.map((instance) =>
        malformed.includes(instance) ? { instance, series: [], rawFrame } : { ...NODE, instance },
      ),
    });
    const setup = setUp(clusterOf('j'));
    // Nor is anything used of what the frame says before it breaks off.
    expect((await run(setup, request)).series).toEqual(one.series);
    const failures = await setup.registry.getSingleMetric('tidemark_querier_source_failures_total')!.get();
    expect(failures.values).toMatchObject([{ labels: { kind: 'ingester' }, value: 1 }]);

    const two = setUp(clusterOf('i', 'j'));
    await expect(run(two, request)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/4 of 4 partitions.*ingester i did not answer: malformed answer/),
    });
    const partial = await run(two, { ...request, allowPartial: true });
    expect(partial.series).toEqual(one.series);
    expect(partial.trailer.warnings).toEqual([expect.stringContaining('malformed answer from ingester j')]);
    expect(await usedBytes(two)).toBe(0);
  });

  test('a limit cuts the series, with a warning', async () => {
    const { series, trailer } = await run(setUp(), { query: 'requests_total', limit: 1 });
    expect(series).toHaveLength(1);
    expect(trailer.warnings).toEqual(['results truncated due to limit']);
  });

  test('a partial answer comes with a warning, where allowed', async () => {
    const stores = [{ ...NODE, instance: 's', failure: new AppError('unavailable', 'no route') }];
    await expect(run(setUp({ stores }), {})).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        /^the answer would be incomplete from \S+ to \S+: store s did not answer: no route$/,
      ),
    });
    const { header, series, trailer } = await run(setUp({ stores }), { allowPartial: true });
    expect(series).toHaveLength(1);
    expect(trailer.warnings).toEqual(['store s did not answer: no route']);
    expect(header.coverage).toMatchObject({ complete: false, blockCopiesRead: 0, missing: trailer.warnings });
  });

  test('a store that lost a block makes the answer incomplete, though it answered', async () => {
    await expect(run(setUp({ stores: [LOSER] }), {})).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        /^the answer would be incomplete from \S+ to \S+: store s lacks samples: 1 block is in quarantine$/,
      ),
    });
    const { series, trailer } = await run(setUp({ stores: [LOSER] }), { allowPartial: true });
    expect(series).toHaveLength(1);
    expect(trailer.warnings).toEqual(['store s lacks samples: 1 block is in quarantine']);
  });

  test.each<[string, Partial<QueryRequest>, Partial<QuerierOptions>, string, string]>([
    ['syntax', { query: 'up +' }, {}, 'bad_data', '1:5: parse error: unexpected end of input'],
    [
      'type',
      { query: 'up[5m]', stepMs: 1000 },
      {},
      'bad_data',
      'invalid expression type "range vector" for range query, must be Scalar or instant Vector',
    ],
    ['steps', { startMs: 5, endMs: 4 }, {}, 'bad_data', 'no steps from 5 to 4'],
    [
      'samples',
      { query: 'requests_total[1h]' },
      { samplesMax: 100 },
      'execution',
      'query processing would load too many samples into memory in query execution',
    ],
    ['memory', {}, { memoryBytesMax: 500 }, 'execution', 'query needs more than 500 bytes of memory'],
    ['series', { query: '{job=~".+"}' }, { seriesMax: 2 }, 'execution', 'matches more than 2 series'],
  ])('error: %s', async (_, request, options, code, message) => {
    const setup = setUp({}, options);
    await expect(run(setup, request)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
    expect(await gauge(setup, 'tidemark_querier_memory_bytes')).toBe(0);
    expect(await gauge(setup, 'tidemark_querier_queries_running')).toBe(0);
  });
});

async function gauge({ registry }: Setup, name: string): Promise<number> {
  const found = await registry.getSingleMetric(name)!.get();
  return found.values.reduce((sum, { value }) => sum + value, 0);
}

describe('the end of a query', () => {
  const hanging = { ingesters: [{ ...NODE, hangs: true }] };

  test('its time is up, by its own or the querier limit', async () => {
    for (const [request, options] of [
      [{ timeoutMs: 30 }, {}],
      [{ timeoutMs: 60_000 }, { timeoutMs: 30 }],
    ] as const) {
      const setup = setUp(hanging, options);
      await expect(run(setup, request)).rejects.toMatchObject({
        code: 'timeout',
        message: 'query timed out in expression evaluation',
      });
      expect(await gauge(setup, 'tidemark_querier_queries_running')).toBe(0);
    }
  });

  test('waiting counts', async () => {
    const setup = setUp(hanging, { concurrencyMax: 1, queueMax: 1 });
    const controller = new AbortController();
    const first = run(setup, {}, controller.signal);
    await expect(run(setup, { timeoutMs: 30 })).rejects.toMatchObject({
      code: 'timeout',
      message: 'query timed out in query queue',
    });
    controller.abort(new AppError('canceled', 'gone'));
    await expect(first).rejects.toMatchObject({ code: 'canceled' });
  });

  test('its caller leaves', async () => {
    const setup = setUp(hanging);
    const controller = new AbortController();
    const query = run(setup, {}, controller.signal);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(await gauge(setup, 'tidemark_querier_queries_running')).toBe(1);
    controller.abort(new AppError('canceled', 'gone'));
    await expect(query).rejects.toMatchObject({
      code: 'canceled',
      message: 'query was canceled in expression evaluation',
    });
    expect(await gauge(setup, 'tidemark_querier_queries_running')).toBe(0);
    expect(await gauge(setup, 'tidemark_querier_memory_bytes')).toBe(0);
  });

  test('its caller stops reading', async () => {
    const setup = setUp();
    const { signal } = new AbortController();
    for await (const { part } of setup.client.query(REQUEST, { signal })) {
      expect(part?.$case).toBe('header');
      break;
    }
    expect(await gauge(setup, 'tidemark_querier_queries_running')).toBe(0);
    const text = await setup.registry.metrics();
    expect(text).toContain('tidemark_querier_queries_total{outcome="canceled"} 1');
  });

  test('the service stops', async () => {
    const setup = setUp(hanging);
    await setup.querier.start();
    expect(setup.querier.isReady()).toBe(true);
    const query = run(setup, {});
    query.catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 10));
    await setup.querier.stop();
    expect(setup.querier.isReady()).toBe(false);
    await expect(query).rejects.toMatchObject({ code: 'unavailable' });
    await expect(run(setup, {})).rejects.toMatchObject({
      code: 'unavailable',
      message: 'the querier is shutting down; try again',
    });
  });

  test('draining waits for what runs', async () => {
    const setup = setUp();
    const query = run(setup, {});
    await setup.querier.drain();
    expect((await query).series).toHaveLength(1);
  });
});

describe('lookups', () => {
  const sets = [{ matchers: toWireMatchers([{ name: 'job', operator: '=', value: 'a' }]) }];
  const range = { tenant: 'anonymous', minTimeMs: 0, maxTimeMs: 1e9 };
  const other = metric('other', [[1, 1]], ['job', 'c']);
  const cluster = { ingesters: [NODE], stores: [{ instance: 's', series: [other, ...SERIES] }] };
  const context = { signal: new AbortController().signal };

  async function seriesOf(setup: Setup, limit: number, selectors = sets) {
    const found: string[] = [];
    let truncated = false;
    for await (const message of setup.client.series({ ...range, sets: selectors, limit }, context)) {
      truncated = message.truncated;
      readSeriesFrame(message.frame, {
        beginSeries: (bytes, start, end) => found.push(decodeLabels(bytes, start, end).toString()),
        chunk: () => expect.unreachable('series are asked for without chunks'),
      });
    }
    return { found, truncated };
  }

  test('series of several selectors', async () => {
    const third = { matchers: toWireMatchers([{ name: '__name__', operator: '=', value: 'other' }]) };
    expect(await seriesOf(setUp(cluster), 0, [...sets, third])).toEqual({
      found: ['other{job="c"}', 'requests_total{job="a"}', 'up{job="a"}'],
      truncated: false,
    });
    expect(await seriesOf(setUp(cluster), 1)).toEqual({
      found: ['requests_total{job="a"}'],
      truncated: true,
    });
    await expect(seriesOf(setUp(cluster), 0, [])).rejects.toMatchObject({ code: 'bad_data' });
  });

  test('labels', async () => {
    const { client } = setUp(cluster);
    const names = await client.labels({ ...range, sets: [], labelName: '', limit: 0 }, context);
    expect(names).toMatchObject({ values: ['__name__', 'job'], truncated: false, warnings: [] });
    expect(names.coverage).toMatchObject({ complete: true, missing: [] });
    const values = await client.labels({ ...range, sets: [], labelName: 'job', limit: 2 }, context);
    expect(values).toMatchObject({ values: ['a', 'b'], truncated: true, warnings: [] });
    const some = await client.labels({ ...range, sets, labelName: '__name__', limit: 0 }, context);
    expect(some.values).toEqual(['requests_total', 'up']);
  });

  test('a node that fails fails them', async () => {
    const failure = new AppError('unavailable', 'no route');
    const setup = setUp({ stores: [{ ...NODE, instance: 's', failure }] });
    const request = { ...range, sets: [], labelName: 'job', limit: 0 };
    await expect(setup.client.labels(request, context)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(seriesOf(setup, 0)).rejects.toMatchObject({ code: 'unavailable' });
    const metadata = setUp({ ingesters: [{ ...NODE, failure }] });
    await expect(
      metadata.client.metadata({ tenant: 'anonymous', metric: '', limit: 0 }, context),
    ).rejects.toMatchObject({ code: 'unavailable', message: 'ingester i did not answer: no route' });
  });

  test('a store that lost a block fails them', async () => {
    const setup = setUp({ stores: [LOSER] });
    const incomplete = {
      code: 'unavailable',
      message: expect.stringMatching(
        /^the answer would be incomplete from \S+ to \S+: store s lacks samples: 1 block is in quarantine$/,
      ),
    };
    const request = { ...range, sets: [], labelName: 'job', limit: 0 };
    await expect(setup.client.labels(request, context)).rejects.toMatchObject(incomplete);
    await expect(setup.client.labels({ ...request, labelName: '' }, context)).rejects.toMatchObject(
      incomplete,
    );
    await expect(seriesOf(setup, 0)).rejects.toMatchObject(incomplete);

    const gap = 'store s lacks samples: 1 block is in quarantine';
    const partial = await setup.client.labels({ ...request, allowPartial: true }, context);
    expect(partial).toMatchObject({ warnings: [gap], coverage: { complete: false, blockCopiesRead: 0 } });
    const told: unknown[] = [];
    for await (const { coverage } of setup.client.series(
      { ...range, sets, limit: 0, allowPartial: true },
      context,
    )) {
      if (coverage !== undefined) told.push(coverage.missing);
    }
    expect(told).toEqual([[gap]]);
  });

  test('metadata', async () => {
    const up = { metric: 'up', type: 'gauge', help: 'h', unit: '' };
    const alsoUp = { ...up, help: 'other help' };
    const requests = { metric: 'requests_total', type: 'counter', help: '', unit: '' };
    const { client } = setUp({
      ingesters: [
        { ...NODE, metadata: [up, requests] },
        { ...NODE, instance: 'j', metadata: [up, alsoUp] },
      ],
    });
    const all = await client.metadata({ tenant: 'anonymous', metric: '', limit: 0 }, context);
    expect(all.metadata).toEqual([requests, up, alsoUp]);
    const first = await client.metadata({ tenant: 'anonymous', metric: '', limit: 1 }, context);
    expect(first.metadata).toEqual([requests]);
  });

  test('head statistics', async () => {
    const head = {
      series: 10,
      labelPairs: 4,
      chunks: 20,
      minTimeMs: 100,
      maxTimeMs: 200,
      seriesCountByMetricName: [
        { name: 'a', value: 6 },
        { name: 'b', value: 4 },
      ],
      labelValueCountByLabelName: [{ name: 'job', value: 3 }],
      memoryInBytesByLabelName: [{ name: 'job', value: 30 }],
      seriesCountByLabelValuePair: [{ name: 'job=x', value: 5 }],
    };
    const second = {
      ...head,
      minTimeMs: 50,
      seriesCountByMetricName: [{ name: 'b', value: 8 }],
      labelValueCountByLabelName: [{ name: 'job', value: 5 }],
    };
    const { client } = setUp({
      ingesters: [
        { ...NODE, head },
        { ...NODE, instance: 'j', head: second },
      ],
    });
    const request = { tenant: 'anonymous', limit: 1 };
    expect(await client.headStatistics(request, context)).toEqual({
      series: 20,
      labelPairs: 8,
      chunks: 40,
      minTimeMs: 50,
      maxTimeMs: 200,
      seriesCountByMetricName: [{ name: 'b', value: 12 }],
      labelValueCountByLabelName: [{ name: 'job', value: 5 }],
      memoryInBytesByLabelName: [{ name: 'job', value: 30 }],
      seriesCountByLabelValuePair: [{ name: 'job=x', value: 10 }],
    });
    await expect(client.headStatistics({ ...request, limit: 0 }, context)).rejects.toMatchObject({
      code: 'bad_data',
    });
  });
});

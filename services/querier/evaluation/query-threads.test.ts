// What is special about evaluating in threads: cancelling in the middle of a loop, limits over all threads, a thread that
// dies, a consumer that is slow.
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createFakeCluster, type FakeSeries, regularSamples } from '../../../test/support/fake-cluster.ts';
import { loadFactor } from '../../../test/support/programs.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { decodeLabels, Labels } from '../../lib/model/labels.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import { QuerierDefinition, type QueryRequest, type QueryTrailer } from '../../lib/wire/contracts.ts';
import { readResultFrame } from '../../lib/wire/frames/result-frame.ts';
import { DEFAULT_QUERIER_OPTIONS, type QuerierOptions } from '../options.ts';
import { createQuerier, createQueryThreads } from '../service.ts';

const SERIES: FakeSeries[] = Array.from({ length: 300 }, (_, i) => ({
  labels: Labels.from([
    ['__name__', 'requests_total'],
    ['instance', `host-${i}`],
    ['parity', i % 2 === 0 ? 'even' : 'odd'],
  ]),
  samples: regularSamples(0, 15_000, 241, (s) => s * (i + 1)),
}));
const threads = createQueryThreads({ ...DEFAULT_QUERIER_OPTIONS, threads: 2 }, createSilentLogger());
beforeAll(() => threads.start());
afterAll(() => threads.stop());

const REQUEST: QueryRequest = {
  tenant: 'anonymous',
  query: 'requests_total',
  startMs: 3_600_000,
  endMs: 3_600_000,
  stepMs: 0,
  timeoutMs: 0,
  lookbackMs: 0,
  limit: 0,
  allowPartial: false,
};

const NEVER = { signal: new AbortController().signal };

function setUp(options: Partial<QuerierOptions> = {}, pool = threads, series = SERIES) {
  const registry = new Registry();
  // What is small would not come to a thread otherwise.
  const querier = createQuerier(
    { mainThreadMsMax: 0, ...options },
    {
      cluster: createFakeCluster({ ingesters: [{ instance: 'i', series }] }),
      clock: systemClock,
      logger: createSilentLogger(),
      registry,
      threads: pool,
    },
  );
  const gauge = async (name: string) => (await registry.getSingleMetric(name)!.get()).values[0]!.value;
  return { client: createInProcessClient(QuerierDefinition, querier.handlers), gauge };
}

type Setup = ReturnType<typeof setUp>;

async function run(
  { client }: Setup,
  request: Partial<QueryRequest>,
  signal = new AbortController().signal,
  onFrame: () => Promise<void> = async () => undefined,
) {
  let trailer: QueryTrailer | undefined;
  let series = 0;
  for await (const { part } of client.query({ ...REQUEST, ...request }, { signal })) {
    if (part?.$case === 'trailer') trailer = part.value;
    if (part?.$case !== 'frame') continue;
    readResultFrame(part.value, () => series++);
    await onFrame();
  }
  return { trailer: trailer!, series };
}

/** Takes seconds, some milliseconds of them per series, in which no message gets through. */
const LONG = 'quantile_over_time(0.9, requests_total[1h])';
const CANCEL_ROUNDS = 5;
const LONG_RANGE = { startMs: 3_600_000, endMs: 7_200_000, stepMs: 1000 };

test.each([1, 60, 300])('cancelled after %d ms, all is free within 100 ms', async (afterMs) => {
  const setup = setUp();
  const tookMs: number[] = [];
  for (let round = 0; round < CANCEL_ROUNDS; round++) {
    const controller = new AbortController();
    const query = run(setup, { query: LONG, ...LONG_RANGE }, controller.signal);
    query.catch(() => undefined);
    await systemClock.sleep(afterMs);
    expect(await setup.gauge('tidemark_querier_queries_running')).toBe(1);
    const canceledMs = performance.now();
    controller.abort(new AppError('canceled', 'gone'));
    await expect(query).rejects.toMatchObject({
      code: 'canceled',
      message: 'query was canceled in expression evaluation',
    });
    tookMs.push(performance.now() - canceledMs);
    expect(await setup.gauge('tidemark_querier_queries_running')).toBe(0);
    expect(await setup.gauge('tidemark_querier_memory_bytes')).toBe(0);
    expect(threads.busy).toBe(0);
  }
  // The median: one of them may meet a pause of the machine.
  tookMs.sort((a, b) => a - b);
  expect(tookMs[Math.floor(CANCEL_ROUNDS / 2)]).toBeLessThan(100 * loadFactor());
});

test('cancelled within a kernel over one long series, all is free within 100 ms', async () => {
  const series: FakeSeries[] = [
    {
      labels: Labels.from([['__name__', 'long']]),
      samples: regularSamples(0, 10, 60_000, (s) => (s * 7919) % 1009),
    },
  ];
  const setup = setUp({}, threads, series);
  // Seconds, all of them in one call: 11,000 windows of all 60,000 samples.
  const times = { startMs: 600_000, endMs: 611_000, stepMs: 1 };
  const tookMs: number[] = [];
  for (let round = 0; round < 3; round++) {
    const controller = new AbortController();
    const query = run(setup, { query: 'stddev_over_time(long[10m])', ...times }, controller.signal);
    query.catch(() => undefined);
    await systemClock.sleep(300);
    const canceledMs = performance.now();
    controller.abort(new AppError('canceled', 'gone'));
    await expect(query).rejects.toMatchObject({ code: 'canceled' });
    tookMs.push(performance.now() - canceledMs);
    expect(threads.busy).toBe(0);
    expect(await setup.gauge('tidemark_querier_memory_bytes')).toBe(0);
  }
  tookMs.sort((a, b) => a - b);
  expect(tookMs[1]).toBeLessThan(100 * loadFactor());
});

test('a time-out ends a loop', async () => {
  const setup = setUp({ timeoutMs: 150 });
  const startedMs = performance.now();
  await expect(run(setup, { query: LONG, ...LONG_RANGE })).rejects.toMatchObject({
    code: 'timeout',
    message: 'query timed out in expression evaluation',
  });
  expect(performance.now() - startedMs).toBeLessThan(2_000);
  expect(await setup.gauge('tidemark_querier_memory_bytes')).toBe(0);
});

test('the common account holds over threads', async () => {
  const one = { query: 'requests_total', startMs: 0, endMs: 3_600_000, stepMs: 1000 };
  // Room for one of them and not for two: the result alone takes 17 MiB.
  const setup = setUp({ memoryTotalBytesMax: 30 * 2 ** 20 });
  let frames = 0;
  const release = Promise.withResolvers<void>();
  const first = run(setup, one, undefined, () => {
    frames++;
    return release.promise;
  });
  while (frames === 0) await systemClock.sleep(5);
  await expect(run(setup, one)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/^all queries together hold .*--query\.max-memory-total/),
  });
  release.resolve();
  expect((await first).series).toBe(300);
  expect((await run(setup, one)).series).toBe(300);
  expect(await setup.gauge('tidemark_querier_memory_bytes')).toBe(0);
});

test('what is evaluated in the thread is charged, not just what is fetched', async () => {
  const setup = setUp({ memoryBytesMax: 2 * 2 ** 20 });
  expect((await run(setup, {})).series).toBe(300);
  for (const query of ['requests_total', 'topk(300, requests_total)']) {
    const range = { query, startMs: 0, endMs: 3_600_000, stepMs: 1000 };
    await expect(run(setup, range)).rejects.toMatchObject({
      code: 'execution',
      message: expect.stringContaining('--query.max-memory'),
    });
  }
});

test('a slow consumer holds the thread back, and others go on', async () => {
  const setup = setUp();
  const range = { startMs: 0, endMs: 3_600_000, stepMs: 500 };
  let frames = 0;
  const release = Promise.withResolvers<void>();
  const slow = run(setup, { ...range, query: 'requests_total' }, undefined, async () => {
    frames++;
    await release.promise;
  });
  while (frames === 0) await systemClock.sleep(5);
  const others = await Promise.all([
    run(setup, {}),
    run(setup, {}),
    run(setup, { query: 'sum(requests_total)' }),
  ]);
  expect(others.map(({ series }) => series)).toEqual([300, 300, 1]);
  expect(threads.busy).toBe(1);
  release.resolve();
  expect((await slow).series).toBe(300);
  // 300 series of 7,201 points: several times what is sent ahead.
  expect(frames).toBeGreaterThan(12);
  expect(await setup.gauge('tidemark_querier_memory_bytes')).toBe(0);
});

test('several queries at one time give what each gives alone', async () => {
  const setup = setUp();
  const queries = ['sum(requests_total)', 'rate(requests_total[5m])', 'topk(3, requests_total)', '1 + 1'];
  const alone: number[] = [];
  for (const query of queries) alone.push((await run(setup, { query })).series);
  const together = await Promise.all(queries.map((query) => run(setup, { query })));
  expect(together.map(({ series }) => series)).toEqual(alone);
  expect(alone).toEqual([1, 300, 3, 1]);
});

test('the list of queries says how far each is, and one is killed by its id', async () => {
  const setup = setUp({ concurrencyMax: 1 });
  const context = { signal: new AbortController().signal };
  const list = async () => (await setup.client.activeQueries({ tenant: '' }, context)).queries;
  const query = run(setup, { query: LONG, ...LONG_RANGE });
  query.catch(() => undefined);
  while (((await list())[0]?.samples ?? 0) === 0) await systemClock.sleep(5);
  // Only now: a long query asks the nodes for versions before it takes its turn, a short one does not.
  const waiting = run(setup, {});
  await vi.waitFor(async () => expect(await list()).toHaveLength(2));
  const listed = await list();
  expect(listed.map(({ phase }) => phase)).toEqual(['evaluating', 'queued']);
  expect(listed[0]).toMatchObject({ query: LONG, tenant: 'anonymous', stepMs: 1000 });
  expect(listed[0]!.id).toMatch(/^[0-9a-f]{16}$/);
  expect(listed[0]!.series).toBeGreaterThan(0);
  expect(listed[0]!.memoryBytes).toBeGreaterThan(0);
  expect(listed[0]!.durationMs).toBeGreaterThan(0);
  expect((await setup.client.activeQueries({ tenant: 'other' }, context)).queries).toEqual([]);
  expect(await setup.client.killQuery({ id: 'none' }, context)).toEqual({ found: false });
  expect(await setup.client.killQuery({ id: listed[0]!.id }, context)).toEqual({ found: true });
  await expect(query).rejects.toMatchObject({ code: 'canceled' });
  expect((await waiting).series).toBe(300);
  expect(await list()).toEqual([]);
});

describe('several threads for one query', () => {
  const many = createQueryThreads({ ...DEFAULT_QUERIER_OPTIONS, threads: 3 }, createSilentLogger());
  beforeAll(async () => {
    await many.start();
    while (many.idle < 3) {
      many.grow();
      await systemClock.sleep(20);
    }
  });
  afterAll(() => many.stop());

  const range = { startMs: 0, endMs: 3_600_000, stepMs: 60_000 };
  const answerOf = async (chunksPerThread: number, query: string) => {
    const rows: unknown[] = [];
    const { client } = setUp({ chunksPerThread }, many);
    let ending: unknown;
    for await (const { part } of client.query({ ...REQUEST, ...range, query }, NEVER)) {
      if (part?.$case === 'trailer') {
        ending = { ...part.value, planMs: 0, fetchMs: 0, evaluateMs: 0, queueMs: 0, samplesPeak: 0 };
      }
      if (part?.$case !== 'frame') continue;
      readResultFrame(part.value, (bytes, start, end, timestampsMs, values, count) => {
        const samples = [timestampsMs.slice(0, count), values.slice(0, count)];
        rows.push([decodeLabels(bytes, start, end).toString(), samples]);
      });
    }
    return { rows, ending };
  };

  test.each([
    'requests_total',
    'sum(rate(requests_total[5m]))',
    'avg by (parity) (requests_total)',
    'topk(3, requests_total)',
    'rate(requests_total[5m]) * 2 > 1',
    'requests_total / on (instance) requests_total',
    'sum(requests_total) + on () count(requests_total offset 5m)',
    'max_over_time(sum(requests_total)[10m:1m])',
    'quantile(0.9, requests_total)',
    'count_values("v", requests_total % 3)',
    'sum(up_not_there)',
    'quantile_over_time(7, requests_total[5m])',
  ])('%s is what one thread makes of it', async (query) => {
    const one = await answerOf(Number.POSITIVE_INFINITY, query);
    const tasksBefore = many.opened;
    expect(await answerOf(1, query)).toEqual(one);
    const isCut = !query.includes('not_there');
    expect(many.opened - tasksBefore).toBeGreaterThanOrEqual(isCut ? 3 : 1);
    // Two threads' worth of chunks, of three.
    expect(await answerOf(400, query)).toEqual(one);
  });

  test('an error of a part is the error of the query', async () => {
    const query = 'sum(label_replace(requests_total, "instance", "x", "", ""))';
    const alone = await answerOf(Number.POSITIVE_INFINITY, query).catch((caught: AppError) => caught.message);
    expect(alone).toBe('vector cannot contain metrics with the same labelset');
    await expect(answerOf(1, query)).rejects.toMatchObject({ code: 'execution', message: alone });
  });

  test('cancelling ends all of them', async () => {
    const setup = setUp({ chunksPerThread: 1 }, many);
    const controller = new AbortController();
    const query = run(setup, { query: LONG, ...LONG_RANGE }, controller.signal);
    query.catch(() => undefined);
    while (many.busy < 3) await systemClock.sleep(1);
    controller.abort(new AppError('canceled', 'gone'));
    await expect(query).rejects.toMatchObject({ code: 'canceled' });
    expect(many.busy).toBe(0);
    expect(await setup.gauge('tidemark_querier_memory_bytes')).toBe(0);
  });
});

// The cache within a querier over nodes in memory: when it has a part in a query, what it counts, and its bounds. That answers are the same is shown by
// test/conformance/result-cache.test.ts and test/integration/result-cache.test.ts.
import { Registry } from 'prom-client';
import { afterAll, expect, test } from 'vitest';
import { createFakeCluster, regularSamples } from '../../../test/support/fake-cluster.ts';
import { HandClock } from '../../../test/support/store-rig.ts';
import { Labels } from '../../lib/model/labels.ts';
import { computePlacement } from '../../lib/placement/placement.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import {
  QuerierDefinition,
  type QueryRequest,
  type QueryTrailer,
  RangeVersionsDefinition,
} from '../../lib/wire/contracts.ts';
import { DEFAULT_QUERIER_OPTIONS, type QuerierOptions } from '../options.ts';
import { createQuerier, createQueryThreads } from '../service.ts';

const threads = createQueryThreads({ ...DEFAULT_QUERIER_OPTIONS, threads: 1 }, createSilentLogger());
afterAll(() => threads.stop());

const STEP_MS = 15_000;
const HOUR_MS = 3_600_000;
/** Of each of so many series only one sample. */
const SPARSE = 200;

const SERIES = [
  { labels: Labels.from([['__name__', 'up']]), samples: regularSamples(0, STEP_MS, 1000, (i) => i) },
  ...Array.from({ length: SPARSE }, (_, i) => ({
    labels: Labels.from([
      ['__name__', 'rare'],
      ['n', `${i}`],
    ]),
    samples: [[i * STEP_MS, i]] as [number, number][],
  })),
];

function setUp(options: Partial<QuerierOptions> = {}) {
  const placement = computePlacement([{ instance: 'i', zone: '' }], {
    ...{ epoch: 1, partitionCount: 1, replicationFactor: 1 },
  });
  const asked: number[] = [];
  let version = 1;
  const client = createInProcessClient(RangeVersionsDefinition, {
    versions: async ({ minTimesMs }) => {
      asked.push(minTimesMs.length);
      return { origin: 'o', versions: minTimesMs.map(() => version), epoch: 1 };
    },
  });
  const fake = createFakeCluster({ ingesters: [{ instance: 'i', series: SERIES }], placement });
  const cluster: Cluster = { ...fake, rangeVersions: () => [{ kind: 'ingester', instance: 'i', client }] };
  const registry = new Registry();
  const querier = createQuerier(options, {
    ...{ cluster, registry, threads, clock: new HandClock(10 * HOUR_MS), logger: createSilentLogger() },
  });
  const ask = async (request: Partial<QueryRequest> = {}): Promise<QueryTrailer> => {
    let trailer: QueryTrailer | undefined;
    const whole = {
      ...{ tenant: 't', query: 'up', startMs: 0, endMs: 3 * HOUR_MS, stepMs: STEP_MS, timeoutMs: 0 },
      ...{ lookbackMs: 0, limit: 0, allowPartial: false, ...request },
    };
    const answers = createInProcessClient(QuerierDefinition, querier.handlers);
    for await (const { part } of answers.query(whole, { signal: new AbortController().signal }))
      if (part?.$case === 'trailer') trailer = part.value;
    // What was answered is kept in the turns after it.
    await new Promise((resolve) => setTimeout(resolve, 5));
    return trailer!;
  };
  const count = async (name: string, label: string): Promise<number> => {
    const metric = registry.getSingleMetric(`tidemark_querier_result_cache_${name}`)!;
    const { values } = (await metric.get()) as {
      values: { value: number; labels: Record<string, string> }[];
    };
    return values.find(({ labels }) => Object.values(labels).includes(label))?.value ?? 0;
  };
  const change = () => {
    version++;
  };
  return { ask, asked, count, change, registry };
}

test('the first answer fills it, the second is taken from it, and a change empties it', async () => {
  const { ask, asked, count, change } = setUp();
  expect((await ask()).cachedSteps).toBeUndefined();
  // 721 steps: six pieces, and one step of a seventh.
  expect((await ask()).cachedSteps).toBe(721);
  expect(asked).toEqual([7, 7]);
  change();
  expect((await ask()).cachedSteps).toBeUndefined();
  expect((await ask()).cachedSteps).toBe(721);
  expect([await count('queries_total', 'miss'), await count('queries_total', 'hit')]).toEqual([2, 2]);
  expect(await count('invalidated_total', 'write')).toBe(7);
});

test('a window that moves has all but its newest steps', async () => {
  const { ask } = setUp();
  const newMs = 10 * HOUR_MS;
  await ask({ startMs: newMs - 3 * HOUR_MS, endMs: newMs });
  const { cachedSteps } = await ask({ startMs: newMs - 3 * HOUR_MS + STEP_MS, endMs: newMs + STEP_MS });
  // Five pieces that are over by five minutes; the sixth is not.
  expect(cachedSteps).toBe(5 * 120 - 1);
});

test.each<[string, Partial<QueryRequest>]>([
  ['instant queries', { stepMs: 0, startMs: HOUR_MS, endMs: HOUR_MS }],
  ['short ranges', { endMs: 100 * STEP_MS }],
  ['what is still being written', { startMs: 10 * HOUR_MS - 120 * STEP_MS, endMs: 10 * HOUR_MS }],
  ['whoever does not want it', { noCache: true }],
  ['statistics of each step', { perStepStats: true }],
  ['long texts', { query: `up${' '.repeat(2000)}` }],
])('nobody is asked for versions by %s', async (_what, request) => {
  const { ask, asked } = setUp();
  await ask(request);
  expect(asked).toEqual([]);
});

test('an answer with annotations is not kept', async () => {
  const { ask, count } = setUp();
  const query = { query: 'rate(up[5m])' };
  expect((await ask(query)).infos).toHaveLength(1);
  const again = await ask(query);
  expect([again.infos.length, again.cachedSteps]).toEqual([1, undefined]);
  expect(await count('not_kept_total', 'annotations')).toBe(2);
});

test('where pieces together need more memory than a query has, evaluation answers', async () => {
  const { ask, registry } = setUp({ memoryBytesMax: 700_000 });
  const query = { query: 'rare', lookbackMs: STEP_MS };
  const first = await ask(query);
  const second = await ask(query);
  expect([first.cachedSteps, second.cachedSteps]).toEqual([undefined, undefined]);
  const { values } = await registry.getSingleMetric('tidemark_querier_result_cache_pieces')!.get();
  expect(values[0]!.value).toBe(7);
});

test('where they may have held more samples than a query may, evaluation finds out', async () => {
  const { ask } = setUp({ samplesMax: 1000 });
  await ask({ endMs: 2 * HOUR_MS });
  expect((await ask({ endMs: 2 * HOUR_MS })).cachedSteps).toBe(481);
  await expect(ask({ endMs: 5 * HOUR_MS })).rejects.toThrow(/too many samples/);
});

test('without room there is no cache', async () => {
  const { ask, asked, registry } = setUp({ resultCacheBytes: 0 });
  await ask();
  expect(asked).toEqual([]);
  expect(registry.getSingleMetric('tidemark_querier_result_cache_bytes')).toBeUndefined();
});

// Answers from the result cache against evaluation of the whole: generated queries over floats and native histograms, asked cold, warm, and
// over windows that moved, are the same text to the last digit, annotations and errors included. TIDEMARK_DIFFERENTIAL sets how many
// queries, TIDEMARK_DIFFERENTIAL_SEED chooses others.
import { beforeAll, expect, test } from 'vitest';
import { randomOf } from '../support/random.ts';
import {
  encodeWriteRequest,
  postWrite,
  snappyLiterals,
  type WrittenSeries,
} from '../support/remote-write-body.ts';
import { startTidemark, type Tidemark } from '../support/tidemark.ts';
import { generateUpstreamQuery } from './upstream-queries.ts';
import { FIRST_MS, generateData } from './upstream-series.ts';

const QUERIES = Number(process.env.TIDEMARK_DIFFERENTIAL ?? 30);
const SEED = Number(process.env.TIDEMARK_DIFFERENTIAL_SEED ?? 1);
const FEATURES = [
  'promql-experimental-functions',
  'promql-binop-fill-modifiers',
  'promql-extended-range-selectors',
];
/** 120 steps are a piece: the data has six of them. */
const STEP_SECONDS = 5;

/** What dashboards ask, of which all has to come from the cache. */
const ASKED = [
  'requests_total',
  'rate(requests_total[5m])',
  'sum by (job) (rate(requests_total[5m]))',
  'sum(rate(requests_total[5m])) / sum(rate(errors_total[5m] offset 1m))',
  'histogram_quantile(0.9, sum by (le, job) (rate(classic_bucket[5m])))',
  'max by (instance) (memory_bytes) > 100',
  'topk(2, memory_bytes)',
  'limitk(2, memory_bytes)',
  'memory_bytes * on (job) group_left (owner) job_info',
  'sum by (job) (requests_total * on (job) group_left () job_info)',
  'sum by (job) (requests_total / errors_total)',
  'quantile by (job) (0.5, odd)',
  'sum(odd)',
  'count_values("v", rare)',
  'absent(rare)',
  'max_over_time(rate(requests_total[2m])[10m:1m])',
  'sum_over_time(memory_bytes[7m] offset -3m)',
  'avg_over_time(vector(time())[5m:]) - on () avg(single)',
  'rate(requests_total[step() * 24])',
  'memory_bytes unless on (instance) (single > 60)',
  'latency',
  'rate(latency[5m])',
  'sum by (job) (rate(latency[5m]))',
  'histogram_quantile(0.5, sum(rate(latency[5m])))',
  'vector(1) + on () group_right () single',
  'timestamp(single)',
  '{job="api"}',
  'sum by (__name__) ({job="api", __name__=~"req.*|err.*"})',
];

let tidemark: Tidemark;

beforeAll(async () => {
  tidemark = await startTidemark({
    flags: ['--storage.tsdb.retention.time=100y', '--query.threads=1', `--enable-feature=${FEATURES.join()}`],
  });
  const { status, text } = await postWrite(tidemark.url, generateData().request);
  expect(status, text).toBe(204);
  return () => tidemark.end('SIGKILL');
}, 60_000);

interface Window {
  readonly startSeconds: number;
  readonly endSeconds: number;
}

interface Told {
  readonly text: string;
  readonly coverage: string | null;
}

async function ask(
  query: string,
  window: Window,
  more: Readonly<Record<string, string>> = {},
): Promise<Told> {
  const response = await fetch(`${tidemark.url}/api/v1/query_range`, {
    method: 'POST',
    body: new URLSearchParams({
      query,
      start: String(window.startSeconds),
      end: String(window.endSeconds),
      step: String(STEP_SECONDS),
      ...more,
    }),
  });
  return { text: await response.text(), coverage: response.headers.get('x-tidemark-coverage') };
}

/** Steps that came from the cache; undefined where the query was evaluated as a whole. */
async function cachedSteps(query: string, window: Window): Promise<number | undefined> {
  const { text } = await ask(query, window, { stats: 'true' });
  const answer = JSON.parse(text) as { data?: { stats?: { resultCache?: { cachedSteps: number } } } };
  return answer.data?.stats?.resultCache?.cachedSteps;
}

const FIRST_SECONDS = FIRST_MS / 1000;
const WINDOWS: readonly Window[] = [
  { startSeconds: FIRST_SECONDS - 60, endSeconds: FIRST_SECONDS + 2700 },
  { startSeconds: FIRST_SECONDS - 60, endSeconds: FIRST_SECONDS + 2700 },
  { startSeconds: FIRST_SECONDS - 25, endSeconds: FIRST_SECONDS + 2735 },
  { startSeconds: FIRST_SECONDS + 910, endSeconds: FIRST_SECONDS + 3700 },
  { startSeconds: FIRST_SECONDS - 700, endSeconds: FIRST_SECONDS + 4200 },
  { startSeconds: FIRST_SECONDS + 1500, endSeconds: FIRST_SECONDS + 3001 },
];

/** Asks for all windows, from the cache and not, and compares. */
async function compare(query: string): Promise<void> {
  for (const [i, window] of WINDOWS.entries()) {
    const cached = await ask(query, window);
    const whole = await ask(query, window, { nocache: '1' });
    expect(cached.text, `${query}, window ${i}`).toEqual(whole.text);
    // Steps of subqueries are where they are: how far back a piece reads is known to one of these.
    if (!query.includes(':')) expect(cached.coverage, `${query}, window ${i}`).toEqual(whole.coverage);
    // What an answer leaves behind is kept beside the next.
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test.each(ASKED)('%s', async (query) => {
  await compare(query);
  const window = WINDOWS[2]!;
  const steps = (window.endSeconds - window.startSeconds) / STEP_SECONDS;
  expect(await cachedSteps(query, window)).toBeGreaterThan(steps * 0.9);
});

test(
  'generated queries',
  async () => {
    const random = randomOf(SEED);
    for (let i = 0; i < QUERIES; i++) await compare(generateUpstreamQuery(random));
    const metrics = await (await fetch(`${tidemark.url}/metrics`)).text();
    const hits = /result_cache_queries_total\{outcome="hit"\} (\d+)/.exec(metrics)?.[1];
    // One in ten is of a kind that is cut by time and says nothing on the way.
    expect(Number(hits)).toBeGreaterThan(QUERIES / 10);
  },
  60_000 + QUERIES * 500,
);

/** Two servers of a pair, each with scrapes that it missed: where the other one's stand in is decided over some minutes around. */
function pair(): WrittenSeries[] {
  const random = randomOf(7);
  return ['a', 'b'].flatMap((server, at) =>
    ['x', 'y'].map((name): WrittenSeries => {
      const samples: [number, number][] = [];
      let misses = 0;
      for (let i = 0; i < 240; i++) {
        if (misses === 0 && random() < 0.03) misses = Math.floor(random() * 20);
        if (misses > 0) misses--;
        else samples.push([FIRST_MS + i * 15_000 + at * 4_000, i * 10 + at]);
      }
      return { labels: { __name__: 'paired_total', name, prometheus_replica: server }, samples };
    }),
  );
}

test('highly available pairs are merged alike', async () => {
  const { status, text } = await postWrite(tidemark.url, snappyLiterals(encodeWriteRequest(pair())));
  expect(status, text).toBe(204);
  for (const query of ['paired_total', 'rate(paired_total[2m])', 'sum(increase(paired_total[3m]))']) {
    // The first time the querier does not know yet that there are pairs, and reads more than it thought.
    await ask(query, WINDOWS[0]!);
    await compare(query);
    expect(await cachedSteps(query, WINDOWS[2]!)).toBeGreaterThan(400);
    const apart = { dedup: 'false' };
    for (const window of [WINDOWS[0]!, ...WINDOWS]) {
      const [cached, whole] = [
        await ask(query, window, apart),
        await ask(query, window, { ...apart, nocache: '1' }),
      ];
      expect(cached, query).toEqual(whole);
    }
  }
});

test('a limit cuts what came from the cache as it cuts the whole', async () => {
  for (const limit of ['1', '2', '100']) {
    const [cached, whole] = [
      await ask('requests_total', WINDOWS[2]!, { limit }),
      await ask('requests_total', WINDOWS[2]!, { limit, nocache: '1' }),
    ];
    expect(cached).toEqual(whole);
  }
});

test('nothing is taken from the cache for whoever says so', async () => {
  await ask('requests_total', WINDOWS[0]!);
  expect(await cachedSteps('requests_total', WINDOWS[0]!)).toBeGreaterThan(0);
  const window = WINDOWS[0]!;
  const target = `${tidemark.url}/api/v1/query_range?${new URLSearchParams({
    ...{ query: 'requests_total', stats: 'true', step: String(STEP_SECONDS) },
    ...{ start: String(window.startSeconds), end: String(window.endSeconds) },
  }).toString()}`;
  for (const [more, headers] of [
    ['&nocache=1', {}],
    ['', { 'cache-control': 'no-store' }],
  ] as const) {
    const text = await (await fetch(target + more, { headers })).text();
    expect(text).toContain('"totalQueryableSamples"');
    expect(text).not.toContain('resultCache');
  }
  expect((await fetch(`${target}&nocache=perhaps`)).status).toBe(400);
});

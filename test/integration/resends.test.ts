// R17: a request that is sent again changes no answer. One server gets every request once, in order; the other gets each one to five times
// in an order that a seed chooses, seals in between, and is killed and started again. Every answer is the same, byte for byte.
import { expect, onTestFinished, test } from 'vitest';
import { STALE_NAN_HIGH, STALE_NAN_LOW } from '../../services/lib/model/sample-columns.ts';
import { type Random, randomOf } from '../support/random.ts';
import { postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { type HistogramFields, requestV2, type SeriesV2 } from '../support/remote-write-encoder.ts';
import { startTidemark } from '../support/tidemark.ts';

const SEED = Number(process.env.TIDEMARK_RESEND_SEED ?? 17);
const REQUESTS = 60;
const SERIES = 6;
const STEP_MS = 60_000;
/** A whole hour, so that the samples lie in two ranges of blocks. */
const startMs = (Math.floor(Date.now() / 7_200_000) - 1) * 7_200_000 - (REQUESTS / 2) * STEP_MS;
const endMs = startMs + REQUESTS * STEP_MS;
const STALE = { high: STALE_NAN_HIGH, low: STALE_NAN_LOW };
const V2 = {
  'content-type': 'application/x-protobuf;proto=io.prometheus.write.v2.Request',
  'x-prometheus-remote-write-version': '2.0.0',
};

/** A latency histogram that starts over now and then. */
function histogramAt(timestampMs: number, sequence: number): HistogramFields {
  const n = 1 + (sequence % 20);
  return {
    ...{ timestampMs, count: 4 * n, sum: 6 * n, zeroThreshold: 2 ** -128 },
    positive: { spans: [[0, 3]], deltas: [n, n, -n] },
    startMs: timestampMs - n * STEP_MS,
  };
}

/** What is scraped in one minute; every tenth request says otherwise of a minute that another one spoke of. */
function requestAt(sequence: number, random: Random): Buffer {
  const isContrary = sequence % 10 === 9;
  const timeMs = startMs + (isContrary ? sequence - 5 : sequence) * STEP_MS;
  const series: SeriesV2[] = [];
  for (let i = 0; i < SERIES; i++) {
    const labels = [
      ['__name__', 'resent_total'],
      ['series', String(i)],
    ] as const;
    const value = random() < 0.05 ? STALE : random() < 0.1 ? 0 : sequence * (i + 1) + random();
    const exemplar = { labels: [['trace', `t${sequence}`]] as const, value: sequence, timestampMs: timeMs };
    series.push({
      labels,
      samples: [[value, timeMs, timeMs - 3_600_000]],
      metadata: { type: 1, help: 'Sent more than once.', unit: '' },
      exemplars: i === 0 && !isContrary ? [exemplar] : [],
    });
  }
  if (!isContrary) {
    series.push({ labels: [['__name__', 'resent_seconds']], histograms: [histogramAt(timeMs, sequence)] });
  }
  return snappyLiterals(requestV2(series));
}

async function send(url: string, body: Buffer): Promise<void> {
  const { status, text } = await postWrite(url, body, V2);
  expect(status, text).toBe(204);
}

async function seal(url: string): Promise<void> {
  const response = await fetch(`${url}/api/v1/admin/tsdb/seal`, { method: 'POST' });
  expect(response.status, await response.text()).toBe(200);
}

const RANGE = { start: String(startMs / 1000), end: String(endMs / 1000), step: '60' };
const QUESTIONS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ...[
    'resent_total',
    'rate(resent_total[5m])',
    'changes(resent_total[10m])',
    'sum(increase(resent_total[10m]))',
    'resent_seconds',
    'rate(resent_seconds[5m])',
    'histogram_quantile(0.9, rate(resent_seconds[10m]))',
    'resets(resent_seconds[20m])',
    'count({__name__=~"resent_.*"})',
  ].map((query) => ['query_range', { query, ...RANGE }] as const),
  ['query', { query: 'resent_total[2h]', time: RANGE.end }],
  ['query', { query: 'resent_seconds[2h]', time: RANGE.end }],
  ['series', { 'match[]': '{__name__=~"resent_.*"}', ...RANGE }],
  ['labels', RANGE],
  ['label/series/values', RANGE],
  ['query_exemplars', { query: 'resent_total', ...RANGE }],
  ['metadata', { metric: 'resent_total' }],
];

/** Bodies by question, as they came. */
async function answersOf(url: string): Promise<ReadonlyMap<string, string>> {
  const answers = new Map<string, string>();
  for (const [endpoint, parameters] of QUESTIONS) {
    const response = await fetch(`${url}/api/v1/${endpoint}?${new URLSearchParams(parameters).toString()}`);
    const body = await response.text();
    expect(response.status, body).toBe(200);
    expect(body, `${endpoint} ${parameters.query}`).not.toMatch(/"(?:result|data)":(?:\[\]|\{\})/);
    answers.set(`${endpoint} ${parameters.query ?? ''}`, body);
  }
  return answers;
}

function shuffledWithRepeats(requests: readonly Buffer[], random: Random): Buffer[] {
  return requests
    .flatMap((body) => Array.from({ length: 1 + Math.floor(random() * 5) }, () => body))
    .map((body) => ({ body, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ body }) => body);
}

test(`R17: ${REQUESTS} requests, each up to five times in any order: the same answers, seed ${SEED}`, {
  timeout: 120_000,
}, async () => {
  const random = randomOf(SEED);
  const requests = Array.from({ length: REQUESTS }, (_, i) => requestAt(i, random));
  const storm = shuffledWithRepeats(requests, random);
  const flags = ['--web.enable-admin-api'];
  const calm = await startTidemark({ flags });
  onTestFinished(() => calm.end('SIGKILL'));
  for (const body of requests) await send(calm.url, body);
  const expected = await answersOf(calm.url);

  let stormy = await startTidemark({ flags });
  onTestFinished(() => stormy.end('SIGKILL'));
  for (const [i, body] of storm.entries()) {
    if (i === Math.floor(storm.length / 3)) await seal(stormy.url);
    if (i === Math.floor(storm.length / 2)) {
      await stormy.end('SIGKILL');
      stormy = await startTidemark({ flags, dataDir: stormy.dataDir });
    }
    await send(stormy.url, body);
  }
  expect(await answersOf(stormy.url)).toEqual(expected);
  await seal(stormy.url);
  expect(await answersOf(stormy.url)).toEqual(expected);
  await seal(calm.url);
  expect(await answersOf(calm.url)).toEqual(expected);
});

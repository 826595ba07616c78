// A real Prometheus scrapes native histograms and exemplars as protobuf and remote-writes them to Tidemark, which scrapes the
// same target itself too; then both servers answer the same queries alike. Evaluation times lie between sample times, so
// that Prometheus 2's left-closed and our left-open ranges see the same samples.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { exposition, PROTOBUF_TYPE } from '../support/exposition-encoder.ts';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import { type Answer, startScrapeTarget } from '../support/scrape-target.ts';
import { callApi, freshFolder, startTidemark } from '../support/tidemark.ts';

const PROGRAM = 'prometheus';
const SCRAPES = 6;
const RELATIVE_MAX = 1e-9;

// Every bucket grows by one a scrape from a large count: rates are not extrapolated below zero, where Prometheus 3 differs, and
// the quantiles lie on bounds of buckets, within which Prometheus 3 interpolates otherwise, and below the median, from which on it
// counts from the top.
const QUERIES = [
  'latency_seconds',
  'histogram_count(latency_seconds)',
  'histogram_sum(latency_seconds)',
  'rate(latency_seconds[4s])',
  'histogram_count(rate(latency_seconds[4s]))',
  'histogram_sum(increase(latency_seconds[4s]))',
  'histogram_quantile(1, rate(latency_seconds[4s]))',
  'histogram_quantile(0.25, latency_seconds)',
  'histogram_fraction(0.5, 4, latency_seconds)',
  'sum(latency_seconds)',
  'count_over_time(latency_seconds[6s])',
  'depth',
  'rate(requests_total[4s])',
];

function body(scrape: number): Buffer {
  const count = 100 + scrape;
  const exemplar = (value: number) => ({
    labels: [['trace_id', `t${scrape}`]] as const,
    value,
    timestampMs: Date.now(),
  });
  return exposition([
    {
      name: 'latency_seconds',
      help: 'How long.',
      type: 'histogram',
      unit: 'seconds',
      metrics: ['/a', '/b'].map((route) => ({
        labels: [['route', route]] as const,
        histogram: {
          count: 4 * count,
          sum: 1.5 * count,
          schema: 0,
          zeroThreshold: 2 ** -10,
          positive: {
            spans: [
              [-1, 2],
              [1, 2],
            ] as const,
            deltas: [count, 0, 0, 0],
          },
          buckets: [
            [1, 2 * count],
            [8, 4 * count, exemplar(3)],
          ] as const,
        },
      })),
    },
    {
      name: 'depth',
      type: 'gaugehistogram',
      metrics: [
        {
          histogram: {
            count: scrape + 5,
            sum: -2.25,
            schema: 3,
            zeroThreshold: 0.125,
            zeroCount: 4,
            negative: { spans: [[2, 1]] as const, deltas: [scrape + 1] },
          },
        },
      ],
    },
    { name: 'requests_total', type: 'counter', metrics: [{ value: 1000 + scrape, exemplar: exemplar(1) }] },
  ]);
}

interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: readonly [number, string];
  readonly histogram?: readonly [number, { count: string; sum: string; buckets?: (number | string)[][] }];
}

async function ask(base: string, query: string, timeSeconds: number): Promise<Series[]> {
  const { body: answer } = await callApi(base, 'query', { query, time: String(timeSeconds) });
  if (answer.status !== 'success') throw new Error(`${query} at ${base}: ${answer.error}`);
  const { result } = answer.data as { result: Series[] };
  return result.toSorted((a, b) => (JSON.stringify(a.metric) < JSON.stringify(b.metric) ? -1 : 1));
}

/** Numbers in an answer that are written as text become numbers, to be compared within rounding. */
function numbersOf(series: readonly Series[]): { readonly shape: string; readonly numbers: number[] } {
  const numbers: number[] = [];
  const shape = JSON.stringify(series, (key, value: unknown) => {
    if (key === 'metric' || typeof value !== 'string' || Number.isNaN(Number(value))) return value;
    numbers.push(Number(value));
    return 'number';
  });
  return { shape, numbers };
}

function expectAlike(ours: readonly Series[], theirs: readonly Series[], query: string): void {
  const mine = numbersOf(ours);
  const peers = numbersOf(theirs);
  expect(mine.shape, query).toBe(peers.shape);
  for (const [i, number] of mine.numbers.entries()) {
    const other = peers.numbers[i]!;
    const isClose = Math.abs(number - other) <= RELATIVE_MAX * Math.max(Math.abs(number), Math.abs(other));
    expect(isClose, `${query}: ${number} is not ${other}`).toBe(true);
  }
}

test.skipIf(!hasPrograms(PROGRAM))(
  'native histograms and exemplars: the answers of the Prometheus that remote-writes',
  { timeout: 120_000 },
  async () => {
    const target = await startScrapeTarget('');
    let scrapes = 0;
    const headers = { 'content-type': PROTOBUF_TYPE };
    const growing: Answer = {
      headers,
      get body() {
        return body(scrapes++);
      },
    };
    target.answer = growing;
    const job = (name: string, more: string): string =>
      `  - {job_name: ${name}, scrape_interval: 1s, scrape_timeout: 1s${more}, static_configs: [{targets: ['${target.address}']}]}`;
    const tidemark = await startTidemark({
      config: `scrape_configs:\n${job('direct', ', scrape_native_histograms: true')}\n`,
    });
    const port = await freePort();
    const folder = freshFolder();
    writeFileSync(
      path.join(folder, 'prometheus.yml'),
      `scrape_configs:\n${job('sent', '')}\nremote_write:\n  - {url: '${tidemark.url}/api/v1/write', send_exemplars: true, ` +
        `send_native_histograms: true, queue_config: {batch_send_deadline: 300ms}}\n`,
    );
    const prometheus = startProcess(findProgram(PROGRAM)!, [
      `--config.file=${path.join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=native-histograms,exemplar-storage',
    ]);
    const peer = `http://127.0.0.1:${port}`;
    const describeAll = (): string => `${prometheus.output()}\n${tidemark.output()}`;
    await waitFor('Prometheus ready', () => answers(`${peer}/-/ready`), { describe: describeAll });

    const sampleCount = async (base: string, job: string): Promise<number> => {
      const query = `count_over_time(latency_seconds{job="${job}",route="/a"}[1m])`;
      const [found] = await ask(base, query, Date.now() / 1000 + 1);
      return Number(found?.value?.[1] ?? 0);
    };
    const enough = async (base: string, name: string): Promise<boolean> =>
      (await sampleCount(base, name)) >= SCRAPES;
    const wait = { describe: describeAll, timeoutMs: 60_000 };
    await waitFor('Prometheus has scraped', () => enough(peer, 'sent'), wait);
    await waitFor('Tidemark has scraped', () => enough(tidemark.url, 'direct'), wait);

    // The last sample that both have, and a moment after it.
    const newest = await waitFor(
      'samples sent',
      async () => {
        const [sent] = await ask(
          tidemark.url,
          'timestamp(latency_seconds{job="sent",route="/a"})',
          Date.now() / 1000,
        );
        return sent === undefined ? undefined : Number(sent.value![1]);
      },
      wait,
    );
    const at = newest + 0.137;
    for (const query of QUERIES) {
      const own = query.replace(/(latency_seconds|depth|requests_total)/, '$1{job="sent"}');
      const theirs = await ask(peer, own, at);
      expect(theirs, own).not.toHaveLength(0);
      expectAlike(await ask(tidemark.url, own, at), theirs, own);
    }
    await expectExemplarsAlike(tidemark.url, peer, newest);
    await expectDirectScrape(tidemark.url);

    // The target goes: the sender's staleness markers end the histograms here too.
    target.answer = { status: 503 };
    const ended = async (base: string): Promise<boolean> =>
      (await ask(base, 'latency_seconds', Date.now() / 1000)).length === 0;
    await waitFor('the series end at the sender', () => ended(peer), wait);
    await waitFor('the series end', () => ended(tidemark.url), wait);
  },
);

interface ExemplarSeries {
  readonly seriesLabels: Readonly<Record<string, string>>;
  readonly exemplars: readonly { readonly timestamp: number }[];
}

async function exemplarsOf(base: string, query: string, end: number): Promise<ExemplarSeries[]> {
  const { body: answer } = await callApi(base, 'query_exemplars', {
    query,
    start: String(end - 60),
    end: String(end),
  });
  if (answer.status !== 'success') throw new Error(`${query} at ${base}: ${answer.error}`);
  return answer.data as ExemplarSeries[];
}

/** Up to the newest sample that was sent: its exemplars were sent before it. */
async function expectExemplarsAlike(own: string, peer: string, newest: number): Promise<void> {
  const queries = [
    'histogram_quantile(0.9, rate(latency_seconds{job="sent"}[1m]))',
    'requests_total{job="sent"}',
  ];
  for (const query of queries) {
    await waitFor(`the exemplars of ${query}`, async () => {
      const theirs = await exemplarsOf(peer, query, newest - 1);
      expect(theirs.length).toBeGreaterThan(0);
      expect(await exemplarsOf(own, query, newest - 1)).toEqual(theirs);
      return true;
    });
  }
  for (const parameters of [
    { query: 'up{' },
    { query: 'up', start: '5', end: '4' },
    { query: 'up', start: 'x' },
  ]) {
    const [ours, theirs] = [
      await callApi(own, 'query_exemplars', parameters),
      await callApi(peer, 'query_exemplars', parameters),
    ];
    expect(ours.httpStatus, parameters.query).toBe(theirs.httpStatus);
    expect(ours.body.errorType).toBe(theirs.body.errorType);
  }
}

async function expectDirectScrape(own: string): Promise<void> {
  const now = Date.now() / 1000;
  const [histogram] = await ask(own, 'latency_seconds{job="direct",route="/b"}', now);
  const { count, buckets } = histogram!.histogram![1];
  expect(buckets).toEqual([
    [0, '0.25', '0.5', String(Number(count) / 4)],
    [0, '0.5', '1', String(Number(count) / 4)],
    [0, '2', '4', String(Number(count) / 4)],
    [0, '4', '8', String(Number(count) / 4)],
  ]);
  const found = await exemplarsOf(own, 'latency_seconds{job="direct"}', now);
  expect(found.map(({ seriesLabels }) => seriesLabels.route)).toEqual(['/a', '/b']);
  expect(found[0]!.exemplars.length).toBeGreaterThanOrEqual(SCRAPES - 1);
}

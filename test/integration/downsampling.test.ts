// Downsampling on the running process: the configuration file asks for it, a reload begins it, and Prometheus' API answers the same
// before and after, from less; once samples are gone it still answers, and says what from.
import { writeFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { callApi, startTidemark, type Tidemark } from '../support/tidemark.ts';

const HOUR_S = 3600;
/** A whole hour, long enough ago for everything to be sealed. */
const endS = Math.floor(Date.now() / 1000 / HOUR_S) * HOUR_S - 4 * HOUR_S;
const startS = endS - 12 * HOUR_S;

async function write(url: string): Promise<void> {
  const times = Array.from({ length: (endS - startS) / 15 }, (_, i) => startS + (i + 1) * 15);
  for (let from = 0; from < times.length; from += 500) {
    const own = times.slice(from, from + 500);
    const counter = (job: string, factor: number) => ({
      labels: { __name__: 'requests_total', job },
      // A reset every two hours.
      samples: own.map((t) => [t * 1000, ((t - startS) % 7245) * factor] as const),
    });
    const gauge = {
      labels: { __name__: 'temperature', job: 'a' },
      samples: own.map((t) => [t * 1000, Math.round(Math.sin(t / 500) * 100)] as const),
    };
    expect(
      await sendWrite(url, snappyLiterals(encodeWriteRequest([counter('a', 2), counter('b', 3), gauge]))),
    ).toBe(204);
  }
}

const QUERIES = [
  'sum by (job) (rate(requests_total[1h]))',
  'increase(requests_total[30m])',
  'avg_over_time(temperature[1h])',
  'max_over_time(temperature[15m]) - min_over_time(temperature[15m])',
  'count_over_time(requests_total[1h])',
  'requests_total',
  'last_over_time(temperature[5m] offset 30m)',
];

async function answers(url: string): Promise<unknown[]> {
  const found: unknown[] = [];
  for (const query of QUERIES) {
    const range = { query, start: String(startS + HOUR_S), end: String(endS), step: '1800' };
    const body = await callApi(url, 'query_range', range);
    expect(body.body).toMatchObject({ status: 'success' });
    found.push((body.body as { data: { result: unknown } }).data.result);
  }
  return found;
}

async function samplesRead(url: string, query: string): Promise<number> {
  const range = { query, start: String(startS + HOUR_S), end: String(endS), step: '1800', stats: 'all' };
  const { body } = await callApi(url, 'query_range', range);
  return (body as { data: { stats: { samples: { totalQueryableSamples: number } } } }).data.stats.samples
    .totalQueryableSamples;
}

async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(name));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

async function reload(tidemark: Tidemark, config: string): Promise<void> {
  writeFileSync(tidemark.configFile, config);
  const response = await fetch(`${tidemark.url}/-/reload`, { method: 'POST' });
  expect(await response.text()).toBe('');
  expect(response.status).toBe(200);
}

test('aggregates answer what samples answered, and for them once they are gone', async () => {
  const flags = ['--web.enable-admin-api', '--web.enable-lifecycle', '--storage.tsdb.retention.time=30d'];
  const first = await startTidemark({ flags });
  onTestFinished(() => first.end());
  await write(first.url);
  expect((await fetch(`${first.url}/api/v1/admin/tsdb/seal`, { method: 'POST' })).status).toBe(200);
  const before = await answers(first.url);
  const readBefore = await samplesRead(first.url, QUERIES[0]!);

  const config = 'tidemark:\n  downsampling:\n    - {resolution: 5m, after: 1h, retention: 1y}\n';
  await reload(first, config);
  const blocks = await metric(first.url, 'tidemark_store_blocks ');
  await expect
    .poll(() => metric(first.url, 'tidemark_store_downsamplings_total'), { timeout: 60_000, interval: 200 })
    .toBeGreaterThanOrEqual(blocks);
  // A select that the ingester still answered with sealed samples would take these.
  await first.end();
  const second = await startTidemark({ dataDir: first.dataDir, flags, config });
  onTestFinished(() => second.end());
  expect(await answers(second.url)).toEqual(before);
  expect(await samplesRead(second.url, QUERIES[0]!)).toBeLessThan(readBefore / 10);
  await second.end();

  // A shorter retention of samples takes them; aggregates stay.
  const short = ['--web.enable-lifecycle', '--storage.tsdb.retention.time=2h'];
  const third = await startTidemark({ dataDir: first.dataDir, flags: short, config });
  onTestFinished(() => third.end());
  await expect
    .poll(() => metric(third.url, 'tidemark_store_blocks_deleted_total{reason="time"}'), { timeout: 30_000 })
    .toBeGreaterThan(0);
  expect(await answers(third.url)).toEqual(before);
  const odd = { query: 'rate(requests_total[7m])', time: String(endS - 3_333) };
  const answer = (await callApi(third.url, 'query', odd)).body as unknown as {
    infos: string[];
    data: { result: { value: [number, string] }[] };
  };
  expect(answer.infos[0]).toContain('only kept at a resolution of 5m');
  expect(answer.data.result.map(({ value }) => Math.round(Number(value[1])))).toEqual([2, 3]);

  writeFileSync(
    third.configFile,
    'tidemark:\n  downsampling:\n    - {resolution: 7m, after: 1h, retention: 1y}\n',
  );
  const refused = await fetch(`${third.url}/-/reload`, { method: 'POST' });
  expect(refused.status).toBe(500);
  expect(await refused.text()).toMatch(/3:20.*tidemark\.downsampling\[0\]\.resolution.*divide a day/);
}, 180_000);

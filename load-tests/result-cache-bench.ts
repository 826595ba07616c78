// What a dashboard's refresh costs with the result cache and without: milliseconds and the server's CPU, medians of refreshes that each move by a step, asked
// in turn with and without, on one all-in-one. And what the cache costs a query that it has nothing of, and queries that it has no part in.
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../test/support/remote-write-body.ts';
import { startTidemark } from '../test/support/tidemark.ts';
import { positive, readFlags } from './command-line.ts';
import { usageOf } from './process-usage.ts';

const USAGE = `Refreshes of dashboards over 24 hours and 7 days with the result cache and without.

usage: node load-tests/result-cache-bench.ts [flags]

  --series N     series of one metric                       400
  --refreshes N  a dashboard is asked for so often          15
  --seal         what is old is in blocks before it begins
`;

const options = readFlags(USAGE, {
  series: { type: 'string', default: '400' },
  refreshes: { type: 'string', default: '15' },
  seal: { type: 'boolean', default: false },
});
const seriesCount = positive('series', options.series);
const refreshes = positive('refreshes', options.refreshes);

const HOUR_MS = 3_600_000;
const SCRAPE_MS = 60_000;
const DAYS = 7;
const SERIES_PER_REQUEST = 20;
const nowMs = Math.floor(Date.now() / SCRAPE_MS) * SCRAPE_MS;

const QUERIES = ['sum by (job) (rate(x_total[5m]))', 'x_total{job="job-1"}', 'max(rate(x_total[5m]))'];
const WINDOWS = [
  { name: '24 h, 15 s', spanMs: 24 * HOUR_MS, stepMs: 15_000 },
  { name: '24 h, 60 s', spanMs: 24 * HOUR_MS, stepMs: 60_000 },
  { name: '7 d, 60 s', spanMs: DAYS * 24 * HOUR_MS, stepMs: 60_000 },
];

const tidemark = await startTidemark({ flags: ['--web.enable-admin-api', '--query.rehearsal=true'] });

async function load(): Promise<void> {
  const samples = (DAYS * 24 * HOUR_MS) / SCRAPE_MS;
  for (let from = 0; from < seriesCount; from += SERIES_PER_REQUEST) {
    const series = Array.from({ length: Math.min(SERIES_PER_REQUEST, seriesCount - from) }, (_, i) => {
      const n = from + i;
      const labels = {
        __name__: 'x_total',
        job: `job-${n % 20}`,
        instance: `10.0.${n >> 8}.${n & 255}:9100`,
      };
      const own = Array.from({ length: samples }, (_each, at): [number, number] => [
        nowMs - (samples - 1 - at) * SCRAPE_MS,
        at * ((n % 97) + 1) + (n % 7),
      ]);
      return { labels, samples: own };
    });
    const status = await sendWrite(tidemark.url, snappyLiterals(encodeWriteRequest(series)), 60_000);
    if (status !== 204) throw new Error(`a write was answered with ${status}`);
  }
}

interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
  readonly bytes: number;
}

async function ask(path: string, parameters: Readonly<Record<string, string | number>>): Promise<Cost> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) query.set(name, String(value));
  const before = usageOf([tidemark.pid]).cpuSeconds;
  const startedMs = performance.now();
  const response = await fetch(`${tidemark.url}/api/v1/${path}?${query.toString()}`);
  const { byteLength } = await response.arrayBuffer();
  const ms = performance.now() - startedMs;
  if (!response.ok) throw new Error(`${path} was answered with ${response.status}`);
  return { ms, cpuMs: (usageOf([tidemark.pid]).cpuSeconds - before) * 1000, bytes: byteLength };
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
}

/** Ticks of the CPU clock are 10 ms long: of CPU the mean says more than the median. */
function show(costs: readonly Cost[]): string {
  const ms = median(costs.map((cost) => cost.ms)).toFixed(1);
  return `${ms.padStart(8)} ms ${mean(costs.map(({ cpuMs }) => cpuMs))
    .toFixed(1)
    .padStart(8)} ms CPU`;
}

async function refresh(query: string, { name, spanMs, stepMs }: (typeof WINDOWS)[number]): Promise<void> {
  const whole: Cost[] = [];
  const cached: Cost[] = [];
  let first: Cost | undefined;
  for (let i = 0; i <= refreshes; i++) {
    const endMs = nowMs - (refreshes - i) * stepMs;
    const times = { query, start: (endMs - spanMs) / 1000, end: endMs / 1000, step: stepMs / 1000 };
    const own = await ask('query_range', times);
    if (first === undefined) first = own;
    else cached.push(own);
    whole.push(await ask('query_range', { ...times, nocache: 1 }));
  }
  console.log(
    `${name.padEnd(11)} ${query.padEnd(34)} ${(first!.bytes / 1024).toFixed(0).padStart(6)} KiB  without ${show(whole)}  first ${show([first!])}  refreshed ${show(cached)}`,
  );
}

/** The same query with and without, in turn; what it asks for is never asked again, so that the cache has nothing of it. */
async function overhead(
  name: string,
  path: string,
  of: (i: number) => Readonly<Record<string, string | number>>,
): Promise<void> {
  const costs: [Cost[], Cost[]] = [[], []];
  for (let i = 0; i < 200; i++) {
    const which = (i & 1) as 0 | 1;
    costs[which].push(await ask(path, which === 0 ? of(i) : { ...of(i), nocache: 1 }));
  }
  console.log(`${name.padEnd(46)} with ${show(costs[0])}  without ${show(costs[1])}`);
}

try {
  await load();
  if (options.seal) await fetch(`${tidemark.url}/api/v1/admin/tsdb/seal`, { method: 'POST' });
  for (const window of WINDOWS) for (const query of QUERIES) await refresh(query, window);
  const end = nowMs / 1000;
  await overhead('instant query', 'query', () => ({ query: 'sum(x_total)', time: end }));
  await overhead('last 15 min, 15 s', 'query_range', () => ({
    ...{ query: 'sum(rate(x_total[5m]))', start: end - 900, end, step: 15 },
  }));
  await overhead('1 h, 15 s, never asked before', 'query_range', (i) => ({
    ...{ query: `sum(rate(x_total[5m])) + ${i}`, start: end - 3600, end, step: 15 },
  }));
  await overhead('6 h, 60 s, one series, never asked before', 'query_range', (i) => ({
    ...{ query: `x_total{instance="10.0.0.1:9100"} + ${i}`, start: end - 6 * 3600, end, step: 60 },
  }));
} finally {
  await tidemark.end('SIGKILL');
}
process.exit(0);

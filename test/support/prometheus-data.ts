// Data for tests beside a real Prometheus: series of every kind as remote write bodies, queries over them, and answers as text that
// can be compared digit by digit.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { startProcess } from './process.ts';
import { answers, findProgram, freePort, waitFor } from './programs.ts';
import { postWrite, snappyLiterals } from './remote-write-body.ts';
import { field, histogram, labelV1, type Pair, sample } from './remote-write-encoder.ts';
import { callApi, freshFolder } from './tidemark.ts';

const STALE = { high: 0x7ff00000, low: 2 };
export const MINUTE_MS = 60_000;
export const STEP_MS = 5000;
/** Between samples, so that no query's edge is a sample's time: 2.42 and 3.x differ there. */
export const JITTER_MS = 137;

export interface Loaded {
  readonly url: string;
  readonly dataDir: string;
  readonly end: (signal?: NodeJS.Signals) => Promise<void>;
}

export async function startPrometheus(
  options: {
    /** `prometheus` is Debian's 2.42. */
    readonly program?: 'prometheus' | 'prometheus-3.14';
    readonly config?: string;
    readonly features?: string;
    readonly flags?: readonly string[];
  } = {},
): Promise<Loaded> {
  const { program = 'prometheus', features = 'native-histograms,exemplar-storage' } = options;
  const folder = freshFolder();
  const config = path.join(folder, 'prometheus.yml');
  writeFileSync(config, options.config ?? 'global: {evaluation_interval: 1m}\n');
  const url = `http://127.0.0.1:${await freePort()}`;
  const dataDir = path.join(folder, 'data');
  const running = startProcess(findProgram(program)!, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${dataDir}`,
    `--web.listen-address=${url.slice('http://'.length)}`,
    '--web.enable-remote-write-receiver',
    '--web.enable-admin-api',
    '--storage.tsdb.wal-compression',
    `--enable-feature=${features}`,
    ...(options.flags ?? []),
  ]);
  await waitFor('prometheus ready', () => answers(`${url}/-/ready`), { describe: running.output });
  return { url, dataDir, end: running.end };
}

function series(labels: readonly Pair[], ...contents: readonly Buffer[]): Buffer {
  return field(1, Buffer.concat([...labels.map(labelV1), ...contents]));
}

/** Counters, gauges with odd values and gaps, classic and native histograms; `at` are indexes of steps from `baseMs`. */
export function body(baseMs: number, from: number, to: number): Buffer {
  const all: Buffer[] = [];
  const times = Array.from({ length: to - from }, (_, i) => from + i);
  const timeOf = (at: number): number => baseMs + at * STEP_MS + JITTER_MS;
  const floats = (labels: readonly Pair[], value: (at: number) => Parameters<typeof sample>[0]): void => {
    all.push(series(labels, ...times.map((at) => field(2, sample(value(at), timeOf(at))))));
  };
  for (const job of ['api', 'db']) {
    for (let i = 0; i < 3; i++) {
      const more: Pair[] = [
        ['instance', `host-${i}`],
        ['job', job],
      ];
      floats([['__name__', 'requests_total'], ...more], (at) => (at % 40) * (i + 1) + 0.25);
      floats([['__name__', 'temperature'], ...more], (at) => Math.sin(at + i) * 1e3);
      floats([['__name__', 'gauge_with_gaps'], ...more], (at) => (at % 17 < 4 ? STALE : at));
      floats([['__name__', 'big'], ...more], (at) => (at % 2 === 0 ? 1e300 / (at + 1) : 5e-324));
      for (const [n, le] of ['0.1', '1', '+Inf'].entries())
        floats(
          [
            ['__name__', 'latency_bucket'],
            ['instance', `host-${i}`],
            ['job', job],
            ['le', le],
          ],
          (at) => at * (n + 1),
        );
    }
    const native = times.map((at) =>
      field(
        4,
        histogram({
          timestampMs: timeOf(at),
          count: 12 + at,
          sum: 18.5 + at,
          schema: 1,
          zeroThreshold: 2 ** -128,
          zeroCount: 2,
          positive: {
            spans: [
              [0, 2],
              [1, 1],
            ],
            deltas: [3, 1, -3 + at],
          },
          negative: { spans: [[-1, 1]], deltas: [2] },
        }),
      ),
    );
    // The buckets hold 2 + 3 + 4 + (1 + at) + 2 observations.
    all.push(
      series(
        [
          ['__name__', 'native'],
          ['job', job],
        ],
        ...native,
      ),
    );
    const floating = times.map((at) =>
      field(
        4,
        histogram({
          ...{ timestampMs: timeOf(at), float: true, count: 2.5 + at, sum: at === to - 2 ? STALE : at / 3 },
          ...{ schema: 0, zeroThreshold: 0.001, zeroCount: 0.5 },
          positive: { spans: [[2, 2]], counts: [1.25 + at, 0.75] },
        }),
      ),
    );
    all.push(
      series(
        [
          ['__name__', 'floating'],
          ['job', job],
        ],
        ...floating,
      ),
    );
  }
  all.push(
    series(
      [
        ['__name__', 'odd'],
        ['text', 'a "quoted"\\ line\nänd more'],
      ],
      ...times.map((at) =>
        field(2, sample([Number.NaN, Number.POSITIVE_INFINITY, -0, 0.1 + 0.2][at % 4]!, timeOf(at))),
      ),
    ),
  );
  return Buffer.concat(all);
}

export async function load(url: string, request: Buffer): Promise<void> {
  const { status, text } = await postWrite(url, snappyLiterals(request));
  expect([status, text.trim()]).toEqual([204, '']);
}

export const SELECTORS = ['requests_total', 'temperature', 'gauge_with_gaps', 'big', 'latency_bucket', 'odd'];
export const FLOAT_QUERIES = [
  ...SELECTORS.flatMap((name) => [
    `${name}`,
    `${name}[10m]`,
    `count_over_time(${name}[10m])`,
    `max_over_time(${name}[10m])`,
    `last_over_time(${name}[7m])`,
    `timestamp(${name} offset 3m)`,
    `changes(${name}[10m])`,
  ]),
  'rate(requests_total[5m])',
  'sum by (job) (requests_total)',
  'histogram_quantile(0.9, rate(latency_bucket[5m]))',
  'topk(2, temperature)',
  'quantile(0.5, temperature)',
  'temperature > bool 0',
  'count({__name__=~".+"})',
];
/** Without histogram_quantile, which interpolates otherwise since 3.0. */
export const HISTOGRAM_QUERIES = [
  'native',
  'native[10m]',
  'floating',
  'floating[10m]',
  'histogram_count(native)',
  'histogram_sum(floating)',
  'sum(histogram_sum(native))',
  'histogram_count(rate(native[5m]))',
];

/** Answers as text: values digit by digit, series in order. */
export async function ask(
  url: string,
  queries: readonly string[],
  times: readonly number[],
): Promise<string[]> {
  const all: string[] = [];
  for (const query of queries) {
    for (const time of times) {
      const { httpStatus, body: answer } = await callApi(url, 'query', { query, time: String(time) });
      expect([query, httpStatus, answer.error]).toEqual([query, 200, undefined]);
      const { result } = answer.data as { result: unknown[] };
      all.push(
        `${query} @ ${time}: ${result
          .map((one) => JSON.stringify(one))
          .sort()
          .join('\n')}`,
      );
    }
  }
  return all;
}

// `tidemark import` and `tidemark export` against real processes: a data directory of Debian's Prometheus 2.42, with a block, a
// log and native histograms, gives the same answers here; what is exported gives them again elsewhere.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, repositoryRoot, waitFor } from '../support/programs.ts';
import { postWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { field, histogram, labelV1, type Pair, sample } from '../support/remote-write-encoder.ts';
import { callApi, freshFolder, startTidemark } from '../support/tidemark.ts';

const STALE = { high: 0x7ff00000, low: 2 };
const MINUTE_MS = 60_000;
const STEP_MS = 5000;
/** Between samples, so that no query's edge is a sample's time: 2.42 and 3.x differ there. */
const JITTER_MS = 137;

interface Loaded {
  readonly url: string;
  readonly dataDir: string;
  readonly end: (signal?: NodeJS.Signals) => Promise<void>;
}

async function startPrometheus(): Promise<Loaded> {
  const folder = freshFolder();
  const config = path.join(folder, 'prometheus.yml');
  writeFileSync(config, 'global: {evaluation_interval: 1m}\n');
  const url = `http://127.0.0.1:${await freePort()}`;
  const dataDir = path.join(folder, 'data');
  const running = startProcess(findProgram('prometheus')!, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${dataDir}`,
    `--web.listen-address=${url.slice('http://'.length)}`,
    '--web.enable-remote-write-receiver',
    '--web.enable-admin-api',
    '--storage.tsdb.wal-compression',
    '--enable-feature=native-histograms,exemplar-storage',
  ]);
  await waitFor('prometheus ready', () => answers(`${url}/-/ready`), { describe: running.output });
  return { url, dataDir, end: running.end };
}

function series(labels: readonly Pair[], ...contents: readonly Buffer[]): Buffer {
  return field(1, Buffer.concat([...labels.map(labelV1), ...contents]));
}

/** Counters, gauges with odd values and gaps, classic and native histograms; `at` are indexes of steps from `baseMs`. */
function body(baseMs: number, from: number, to: number): Buffer {
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

async function load(url: string, request: Buffer): Promise<void> {
  const { status, text } = await postWrite(url, snappyLiterals(request));
  expect([status, text.trim()]).toEqual([204, '']);
}

const SELECTORS = ['requests_total', 'temperature', 'gauge_with_gaps', 'big', 'latency_bucket', 'odd'];
const FLOAT_QUERIES = [
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
const HISTOGRAM_QUERIES = [
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
async function ask(url: string, queries: readonly string[], times: readonly number[]): Promise<string[]> {
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

async function tidemark(...args: readonly string[]): Promise<{ code: number | string; output: string }> {
  const running = startProcess(process.execPath, [
    path.join(repositoryRoot, 'services/gateway/tidemark.ts'),
    ...args,
  ]);
  const code = await waitFor('the command ends', async () => running.exited()?.toString(), {
    timeoutMs: 60_000,
    describe: running.output,
  });
  return { code: Number(code), output: running.output() };
}

/** An hour in a block (a snapshot makes one), ten minutes in the log only. */
async function makeDirectory(
  baseMs: number,
): Promise<{ url: string; dir: string; end: () => Promise<void> }> {
  const prometheus = await startPrometheus();
  await load(prometheus.url, body(baseMs, 0, 400));
  await load(prometheus.url, body(baseMs, 400, 720));
  const response = await fetch(`${prometheus.url}/api/v1/admin/tsdb/snapshot`, { method: 'POST' });
  const { data } = (await response.json()) as { data: { name: string } };
  await load(prometheus.url, body(baseMs, 720, 840));
  return {
    url: prometheus.url,
    dir: path.join(prometheus.dataDir, 'snapshots', data.name),
    end: () => prometheus.end(),
  };
}

test.skipIf(!hasPrograms('prometheus'))(
  'a snapshot, then a data directory of Prometheus: the same answers; again: nothing changes; exported and imported: still',
  { timeout: 180_000 },
  async () => {
    const baseMs = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 80 * MINUTE_MS;
    const made = await makeDirectory(baseMs);
    const dataDir = path.dirname(path.dirname(made.dir));
    const early = [baseMs / 1000 + 1800.5, baseMs / 1000 + 3300.5];
    const late = [...early, baseMs / 1000 + 4000.5];
    const queries = [...FLOAT_QUERIES, ...HISTOGRAM_QUERIES];
    expect(queries.length).toBeGreaterThanOrEqual(50);
    const theirsEarly = await ask(made.url, queries, early);
    const deleted = new URLSearchParams({
      ...{
        'match[]': 'big{job="db"}',
        // Within the windows that are asked for below, and before the instants: seen once, 2.42 answered timestamp() of an instant in
        // between with a sample that it had deleted.
        start: String(baseMs / 1000 + 3000),
        end: String(baseMs / 1000 + 3100),
      },
    });
    const deletion = await fetch(`${made.url}/api/v1/admin/tsdb/delete_series?${deleted.toString()}`, {
      method: 'POST',
    });
    expect(deletion.status).toBe(204);
    const theirs = await ask(made.url, queries, late);
    expect(theirs).not.toEqual(expect.arrayContaining(theirsEarly));
    await made.end();

    const first = await startTidemark();
    const fromBlocks = await tidemark('import', 'prometheus', made.dir, `--url=${first.url}`);
    expect(fromBlocks).toEqual({ code: 0, output: expect.anything() });
    expect(await ask(first.url, queries, early)).toEqual(theirsEarly);

    // The log has the whole history here, and the delete behind it.
    const whole = await startTidemark();
    const fromLog = await tidemark('import', 'prometheus', dataDir, `--url=${whole.url}`, '--concurrency=2');
    expect(fromLog).toEqual({ code: 0, output: expect.anything() });
    expect(await ask(whole.url, queries, late)).toEqual(theirs);

    const again = await tidemark('import', 'prometheus', dataDir, `--url=${whole.url}`);
    expect(again.output).toContain('everything was imported before');
    const anew = await tidemark('import', 'prometheus', dataDir, `--url=${whole.url}`, '--restart');
    expect(anew).toEqual({ code: 0, output: expect.anything() });
    expect(anew.output).not.toContain('refused');
    expect(await ask(whole.url, queries, late)).toEqual(theirs);

    // Staleness markers are no samples for PromQL: where they stood the lookback of instants reaches further.
    const exported = path.join(freshFolder(), 'all.om');
    const range = ['--match={__name__=~".+"}', `--start=${baseMs / 1000}`, `--end=${baseMs / 1000 + 4300}`];
    const lines = await exportTo(exported, '--format=openmetrics', `--url=${whole.url}`, ...range);
    expect(lines.at(-1)).toBe('# EOF');
    const second = await startTidemark();
    expect(await tidemark('import', 'openmetrics', exported, `--url=${second.url}`)).toMatchObject({
      code: 0,
    });
    const stored = SELECTORS.flatMap((name) => [
      `${name}[90m]`,
      `rate(${name}[5m])`,
      `sum_over_time(${name}[20m])`,
    ]);
    const end = [baseMs / 1000 + 4300.5];
    expect(await ask(second.url, stored, end)).toEqual(await ask(whole.url, stored, end));

    const jsonl = await exportTo(
      path.join(freshFolder(), 'all.jsonl'),
      '--format=jsonl',
      `--url=${whole.url}`,
      ...range,
    );
    const parsed = jsonl.map(
      (line) =>
        JSON.parse(line) as { metric: Record<string, string>; values: unknown[]; timestamps: number[] },
    );
    const odd = parsed.find(({ metric }) => metric.__name__ === 'odd')!;
    expect(odd.values.slice(0, 4)).toEqual([null, 'Infinity', -0, 0.1 + 0.2]);
    expect(odd.timestamps[1]).toBe(baseMs + STEP_MS + JITTER_MS);
  },
);

/** Runs the command with its output in a file, as a shell would. */
async function exportTo(file: string, ...args: readonly string[]): Promise<string[]> {
  const command = [
    process.execPath,
    path.join(repositoryRoot, 'services/gateway/tidemark.ts'),
    'export',
    ...args,
  ];
  const running = startProcess('/bin/sh', ['-c', `exec "$@" > "$OUT"`, 'sh', ...command], {
    env: { OUT: file },
  });
  await waitFor('the export ends', async () => running.exited() !== undefined, {
    describe: running.output,
    timeoutMs: 60_000,
  });
  // Native histograms have no place in either form: the command says so by its exit code.
  expect(running.output()).toMatch(/^\d+ samples\n\d+ native histograms left out/);
  expect(running.exited()).toBe(1);
  return readFileSync(file, 'utf8').trimEnd().split('\n');
}

const SERIES = 60;
const HOURS = 12;
const INTERVAL_S = 15;

/** Blocks of two hours, made by promtool. */
async function makeBlocks(): Promise<{ dir: string; endS: number; samples: number }> {
  const folder = freshFolder();
  const endS = Math.floor(Date.now() / 1000 / 3600) * 3600 - 3600;
  const lines: string[] = ['# TYPE busy counter'];
  const count = (HOURS * 3600) / INTERVAL_S;
  for (let i = 0; i < SERIES; i++) {
    for (let at = count; at > 0; at--)
      lines.push(`busy_total{cpu="${i}"} ${(count - at) * i + 0.5} ${endS - at * INTERVAL_S}`);
  }
  const file = path.join(folder, 'busy.om');
  writeFileSync(file, `${lines.join('\n')}\n# EOF\n`);
  const dir = path.join(folder, 'data');
  const made = startProcess(findProgram('promtool')!, [
    'tsdb',
    'create-blocks-from',
    'openmetrics',
    file,
    dir,
  ]);
  await waitFor('promtool ends', async () => made.exited() !== undefined, {
    describe: made.output,
    timeoutMs: 60_000,
  });
  expect([made.exited(), made.output()]).toEqual([0, expect.anything()]);
  return { dir, endS, samples: SERIES * count };
}

async function countAt(url: string, time: number): Promise<number> {
  const { body: answer } = await callApi(url, 'query', {
    query: `sum(count_over_time(busy_total[${HOURS + 1}h]))`,
    time: String(time),
  });
  const { result } = answer.data as { result: { value: [number, string] }[] };
  return Number(result[0]?.value[1] ?? 0);
}

test.skipIf(!hasPrograms('prometheus', 'promtool'))(
  'an import that is killed goes on where it was; a damaged chunk is told and skipped',
  { timeout: 120_000 },
  async () => {
    const { dir, endS, samples } = await makeBlocks();
    const server = await startTidemark();
    const state = path.join(freshFolder(), 'state.json');
    const args = ['import', 'prometheus', dir, `--url=${server.url}`, `--state=${state}`];
    const command = [path.join(repositoryRoot, 'services/gateway/tidemark.ts'), ...args];
    const killed = startProcess(process.execPath, [...command, '--concurrency=1']);
    await waitFor(
      'a block is done',
      async () => existsSync(state) && readFileSync(state, 'utf8').includes('"isDone":true'),
      {
        describe: killed.output,
      },
    );
    await killed.end('SIGKILL');

    const resumed = await tidemark(...args);
    expect(resumed).toEqual({ code: 0, output: expect.stringMatching(/were done before/) });
    expect(await countAt(server.url, endS)).toBe(samples);

    // The state of another source, or none: all is read again, and one chunk is not whole any more.
    const block = readdirSync(dir).find((name) => name.length === 26)!;
    const file = path.join(dir, block, 'chunks', '000001');
    const bytes = readFileSync(file);
    bytes[bytes.length - 10]! ^= 1;
    writeFileSync(file, bytes);
    const fresh = await startTidemark();
    const damaged = await tidemark('import', 'prometheus', dir, `--url=${fresh.url}`, `--state=${state}`);
    expect(damaged.code).toBe(1);
    expect(damaged.output).toMatch(
      /skipped: .*000001: checksum 0x[0-9a-f]{8} of \d+ bytes, 0x[0-9a-f]{8} is written \(at offset \d+\)/,
    );
    expect(damaged.output).toContain('1 damaged parts were skipped');
    const there = await countAt(fresh.url, endS);
    expect(there).toBeLessThan(samples);
    expect(there).toBeGreaterThan(samples - 1000);
  },
);

test('a command line that cannot be understood, a source that is not there', async () => {
  expect(await tidemark('import', 'graphite', 'x')).toMatchObject({ code: 2 });
  expect(await tidemark('import', 'prometheus')).toMatchObject({ code: 2 });
  expect(await tidemark('export')).toMatchObject({ code: 2 });
  const empty = await tidemark('import', 'prometheus', freshFolder());
  expect(empty).toEqual({ code: 1, output: expect.stringMatching(/has neither blocks nor a folder wal/) });
});

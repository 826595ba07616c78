// A real Prometheus scrapes a real node-exporter every second and remote-writes to Tidemark; then both answer the same
// range queries with the same numbers. Evaluation times lie between sample times, so that Prometheus 2's left-closed and
// our left-open ranges see the same samples.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { hasPrograms, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, waitFor } from '../support/programs.ts';
import {
  freshFolder,
  type MatrixSeries,
  queryInstant,
  queryRange,
  startTidemark,
} from '../support/tidemark.ts';

const PROGRAMS = ['prometheus', 'prometheus-node-exporter'] as const;
const WARM_UP_MS = Number(process.env.TIDEMARK_PARITY_MS ?? 30_000);
const RELATIVE_MAX = 1e-9;

const QUERIES: readonly (readonly [string, string])[] = [
  ['rate', 'rate(node_cpu_seconds_total[10s])'],
  ['sum by of rate', 'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[10s]))'],
  ['gauge', 'node_memory_MemAvailable_bytes'],
  ['ratio join', '100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)'],
  ['group_left join', 'node_filesystem_avail_bytes * on (instance) group_left (nodename) node_uname_info'],
  ['subquery', 'max_over_time(rate(node_context_switches_total[5s])[10s:1s])'],
  [
    'histogram_quantile',
    'histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[20s])))',
  ],
  ['topk', 'topk(3, rate(node_network_receive_bytes_total[10s]))'],
  ['label_replace', 'label_replace(node_load1, "host", "$1", "instance", "(.*):.*")'],
  ['quantile', 'quantile by (job) (0.75, rate(node_cpu_seconds_total[10s]))'],
  [
    'count_values and set operators',
    'count_values("v", up) or (node_load5 unless on (instance) node_load1 < 0)',
  ],
  [
    'delta, offset, @',
    'delta(node_memory_Cached_bytes[10s] offset 5s) + on (instance) node_time_seconds @ end()',
  ],
  [
    'regex, increase',
    'sum by (device) (increase(node_network_receive_bytes_total{device=~"l.|eth[0-9]+|[a-z]{2,}.*"}[10s]))',
  ],
  ['stddev, absent', 'stddev(node_cpu_seconds_total) + scalar(absent(nothing_of_this_name))'],
];

test.skipIf(!hasPrograms(...PROGRAMS))(
  'range queries give the numbers of the Prometheus that remote-writes',
  { timeout: WARM_UP_MS + 120_000 },
  async () => {
    const [nodePort, prometheusPort] = [await freePort(), await freePort()];
    const tidemark = await startTidemark();
    startProcess(findProgram(PROGRAMS[1])!, [`--web.listen-address=127.0.0.1:${nodePort}`]);
    const folder = freshFolder();
    const config = path.join(folder, 'prometheus.yml');
    writeFileSync(
      config,
      `global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: node
    static_configs: [{ targets: ['127.0.0.1:${nodePort}'] }]
  - job_name: prometheus
    static_configs: [{ targets: ['127.0.0.1:${prometheusPort}'] }]
remote_write:
  - url: ${tidemark.url}/api/v1/write
    queue_config: { batch_send_deadline: 500ms }
`,
    );
    const prometheus = startProcess(findProgram(PROGRAMS[0])!, [
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${prometheusPort}`,
    ]);
    const peer = `http://127.0.0.1:${prometheusPort}`;
    await waitFor('Prometheus ready', () => answers(`${peer}/-/ready`), { describe: prometheus.output });
    await waitFor(
      'first samples in Tidemark',
      async () => (await queryInstant(tidemark.url, 'node_load1')).length > 0,
      {
        describe: prometheus.output,
      },
    );
    const begin = Date.now() / 1000;
    await sleep(WARM_UP_MS);
    const offset = await betweenSamples(tidemark.url);
    const end = Math.floor(Date.now() / 1000) - 5 + offset;
    const start = Math.max(Math.ceil(begin), Math.ceil(end - WARM_UP_MS / 1000)) + offset;
    for (const [name, query] of QUERIES) {
      const [ours, theirs] = await Promise.all([
        queryRange(tidemark.url, query, start, end, 1),
        queryRange(peer, query, start, end, 1),
      ]);
      expect(theirs.length, `${name}: Prometheus has an answer`).toBeGreaterThan(0);
      expectSame(name, ours, theirs);
    }
    const status = await (await fetch(`${peer}/metrics`)).text();
    const failed = /^prometheus_remote_storage_samples_failed_total\{.*\} (\S+)$/m.exec(status);
    expect(failed?.[1], 'samples that the sender lost').toBe('0');
  },
);

/** A fraction of a second at which no target is scraped. */
async function betweenSamples(base: string): Promise<number> {
  const samples = await queryInstant(base, 'timestamp(up)');
  const fractions = samples.map(({ value }) => Number(value[1]) % 1).sort((a, b) => a - b);
  let best = { gap: -1, at: 0 };
  fractions.forEach((fraction, i) => {
    const next = i + 1 < fractions.length ? fractions[i + 1]! : fractions[0]! + 1;
    if (next - fraction > best.gap)
      best = { gap: next - fraction, at: (fraction + (next - fraction) / 2) % 1 };
  });
  return Math.round(best.at * 1000) / 1000;
}

function keyOf(series: MatrixSeries): string {
  return JSON.stringify(Object.entries(series.metric).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function expectSame(name: string, ours: readonly MatrixSeries[], theirs: readonly MatrixSeries[]): void {
  expect(ours.map(keyOf).sort(), `${name}: series`).toEqual(theirs.map(keyOf).sort());
  const wanted = new Map(theirs.map((series) => [keyOf(series), series.values]));
  for (const series of ours) {
    const expected = wanted.get(keyOf(series))!;
    expect(
      series.values.map(([at]) => at),
      `${name}: times of ${keyOf(series)}`,
    ).toEqual(expected.map(([at]) => at));
    series.values.forEach(([at, text], i) => {
      const [a, b] = [Number(text), Number(expected[i]![1])];
      const same =
        text === expected[i]![1] || Math.abs(a - b) <= RELATIVE_MAX * Math.max(Math.abs(a), Math.abs(b));
      if (!same)
        expect.fail(`${name}: ${keyOf(series)} at ${at}: ${text}, Prometheus has ${expected[i]![1]}`);
    });
  }
}

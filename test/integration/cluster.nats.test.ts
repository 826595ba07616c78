// The same system as separate processes on loopback: gRPC between them, a real nats-server, three ingesters with three copies
// of everything. It answers as an all-in-one process that was fed the same samples, also with a store and a querier gone.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { membersOf, type Node, startCluster } from '../support/cluster.ts';
import { hasPrograms, startProcess } from '../support/process.ts';
import { repositoryRoot, waitFor } from '../support/programs.ts';
import {
  encodeWriteRequest,
  sendWrite,
  snappyLiterals,
  type WrittenSeries,
} from '../support/remote-write-body.ts';
import { callApi, freshFolder, queryInstant, startTidemark } from '../support/tidemark.ts';

const present = hasPrograms('nats-server');

const STEP_MS = 15_000;
const SAMPLES = 120;
/** An hour ago, on the grid: nothing of it is sealed by itself while the test runs. */
const START_MS = Math.floor((Date.now() - 3_600_000) / STEP_MS) * STEP_MS;
const END_S = (START_MS + SAMPLES * STEP_MS) / 1000;

const QUERIES: readonly string[] = [
  'requests_total',
  'rate(requests_total[5m])',
  'sum by (path) (rate(requests_total{code!="500"}[5m]))',
  'sum without (instance, code) (increase(requests_total[10m]))',
  'temperature > 20',
  'topk(3, temperature)',
  'quantile by (room) (0.75, temperature)',
  'histogram_quantile(0.9, sum by (le) (rate(latency_bucket[5m])))',
  'max_over_time(temperature[10m:1m])',
  'temperature - temperature offset 5m',
  'temperature / on (room) group_left room_size',
  'label_replace(temperature, "short", "$1", "room", "(..).*")',
  'count_values("v", room_size) or absent(nothing)',
  'count({__name__=~".+"})',
];

function samplesOf(value: (i: number) => number): [number, number][] {
  return Array.from({ length: SAMPLES }, (_, i) => [START_MS + i * STEP_MS, value(i)]);
}

function someSeries(): WrittenSeries[] {
  const series: WrittenSeries[] = [];
  for (let n = 0; n < 24; n++) {
    const labels = { path: `/p${n % 4}`, code: n % 3 === 0 ? '500' : '200', instance: `host-${n}:80` };
    series.push({
      labels: { __name__: 'requests_total', ...labels },
      samples: samplesOf((i) => i * (n + 1)),
    });
  }
  for (const [n, room] of ['kitchen', 'cellar', 'attic', 'garden'].entries()) {
    series.push({ labels: { __name__: 'room_size', room }, samples: samplesOf(() => 10 + n) });
    for (const sensor of ['a', 'b']) {
      const value = (i: number): number => 15 + 10 * Math.sin(i / 9 + n) + (sensor === 'a' ? 0 : 0.125);
      series.push({ labels: { __name__: 'temperature', room, sensor }, samples: samplesOf(value) });
    }
  }
  for (const [n, le] of ['0.1', '0.5', '1', '+Inf'].entries()) {
    series.push({ labels: { __name__: 'latency_bucket', le }, samples: samplesOf((i) => i * (n + 1) * 3) });
  }
  return series;
}

async function resultsOf(url: string): Promise<Map<string, unknown>> {
  const results = new Map<string, unknown>();
  const range = { start: String(START_MS / 1000), end: String(END_S), step: '60' };
  for (const query of QUERIES) {
    for (const [endpoint, parameters] of [
      ['query_range', range],
      ['query', { time: String(END_S - 60) }],
    ] as const) {
      const { body } = await callApi(url, endpoint, { query, ...parameters });
      results.set(`${endpoint} ${query}`, body.status === 'success' ? sorted(body.data) : body);
    }
  }
  return results;
}

/** Series of an unsorted vector come in no particular order. */
function sorted(data: unknown): unknown {
  const { result } = data as { result: { metric: object }[] };
  return result.map((series) => JSON.stringify(series)).sort();
}

const kill = (node: Node | undefined): Promise<void> => node!.end('SIGKILL');

test.skipIf(!present)(
  'a cluster of processes answers as one process does',
  { timeout: 120_000 },
  async () => {
    const alone = await startTidemark({ flags: ['--web.enable-admin-api'] });
    const rules = path.join(freshFolder(), 'rules.yml');
    writeFileSync(rules, 'groups: [{ name: g, interval: 1s, rules: [{ record: doubled, expr: up * 2 }] }]\n');
    const cluster = await startCluster({
      counts: { ingester: 3, store: 2, querier: 2, gateway: 2, scraper: 1, 'alert-evaluator': 1 },
      config: `global: { scrape_interval: 1s, scrape_timeout: 1s }
rule_files: ['${rules}']
scrape_configs: [{ job_name: other, static_configs: [{ targets: ['127.0.0.1:${alone.port}'] }] }]\n`,
      flags: { gateway: ['--web.enable-admin-api'] },
    });
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const [writer, reader] = cluster.of('gateway').map(({ url }) => url) as [string, string];

    const members = await membersOf(reader);
    expect(members).toMatchObject({ controlPlane: 'reachable', partitions: 64, replicationFactor: 3 });
    expect(members.members).toHaveLength(11);
    for (const member of members.members) {
      expect(member).toMatchObject({
        state: 'ready',
        partitionsOwned: member.service === 'ingester' ? 64 : 0,
      });
    }

    const body = snappyLiterals(encodeWriteRequest(someSeries()));
    for (const url of [writer, alone.url]) expect(await sendWrite(url, body)).toBe(204);
    const expected = await resultsOf(alone.url);
    expect(expected.get('query count({__name__=~".+"})')).not.toEqual([]);
    expect(await resultsOf(reader)).toEqual(expected);

    await waitFor(
      'scraped and recorded',
      async () => (await queryInstant(reader, 'doubled == 2')).length === 1,
    );
    const targets = await callApi(reader, 'targets', {});
    expect((targets.body.data as { activeTargets: { health: string }[] }).activeTargets).toMatchObject([
      { health: 'up' },
    ]);

    const status = startProcess(process.execPath, [
      path.join(repositoryRoot, 'services/gateway/tidemark.ts'),
      'status',
      `--url=${reader}`,
    ]);
    await waitFor('tidemark status', () => Promise.resolve(status.exited() === 0), {
      describe: status.output,
    });
    expect(status.output()).toMatch(/ingester +ingester-2 +zone-2 +ready +64 /);

    const sealed = await fetch(`${writer}/api/v1/admin/tsdb/seal`, { method: 'POST' });
    expect([200, 204]).toContain(sealed.status);
    expect(await resultsOf(writer)).toEqual(expected);
    await kill(cluster.of('store')[0]);
    await kill(cluster.of('querier')[0]);
    for (const url of [writer, reader]) {
      await waitFor(
        'the querier that is left is asked',
        async () => (await queryInstant(url, 'up')).length > 0,
      );
      expect(await resultsOf(url)).toEqual(expected);
    }
  },
);

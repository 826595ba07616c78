// Issue by issue what a cluster of processes owes: two or three of each service on loopback, gRPC between them, a real nats-server;
// a real Prometheus remote-writes what it scrapes from a real node-exporter, and Tidemark's scrapers scrape it too. It answers as
// one process that was fed the same, and goes on doing so while one process after another is killed: no query changes its
// answer, no write is lost, no series ends, no alert is lost or resolved.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { type HeldAlert, heldAlerts, startAlertmanager } from '../support/alertmanager.ts';
import { benchQueries, makeBenchBodies } from '../support/bench-data.ts';
import {
  MEMBER_EXPIRY_MS,
  membersOf,
  type Node,
  type ServiceName,
  seesMembers,
  startCluster,
  type TestCluster,
} from '../support/cluster.ts';
import { ClusterLoad, type ConstantQuery, LOAD_SERIES, missingAt } from '../support/cluster-load.ts';
import { ask, instantQuestion, type Question, rangeQuestion } from '../support/cluster-questions.ts';
import { hasPrograms, type RunningProcess, startProcess } from '../support/process.ts';
import { answers, findProgram, freePort, loadFactor, repositoryRoot, waitFor } from '../support/programs.ts';
import {
  encodeWriteRequest,
  sendWrite,
  snappyLiterals,
  type WrittenSeries,
} from '../support/remote-write-body.ts';
import { startScrapeTarget } from '../support/scrape-target.ts';
import { hasShared } from '../support/shared.ts';
import { callApi, freshFolder, queryInstant, queryRange, startTidemark } from '../support/tidemark.ts';

const COUNTS: Readonly<Record<ServiceName, number>> = {
  ingester: 3,
  store: 2,
  querier: 2,
  gateway: 2,
  scraper: 2,
  'alert-evaluator': 2,
};
const PROCESSES = Object.values(COUNTS).reduce((sum, count) => sum + count, 0);
const PROGRAMS = ['nats-server', 'prometheus', 'prometheus-node-exporter', 'prometheus-alertmanager'];
const PAGES = 8;
const GROUPS = 6;
/**
 * Alertmanager ends an alert that it does not hear of for four of these: longer than two hand-overs of rule groups take in a row, on a slow
 * machine, too.
 */
const RESEND_S = 15;
/** Longer than a process needs to be missed, as everywhere: a target that moves misses one scrape at most. */
const PAGE_INTERVAL_S = 6;
const BENCH_TARGETS = 8;

const STEP_MS = 15_000;
const SAMPLES = 120;
/** An hour ago, on the grid: nothing of it is sealed by itself while the test runs. */
const START_MS = Math.floor((Date.now() - 3_600_000) / STEP_MS) * STEP_MS;
const END_S = (START_MS + SAMPLES * STEP_MS) / 1000;
const RANGE = { start: START_MS / 1000, end: END_S, step: 60 };

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

/** Of what Prometheus scraped from node-exporter. */
const NODE_QUERIES: readonly string[] = [
  'sum by (mode) (rate(node_cpu_seconds_total{job="prom"}[20s]))',
  '100 * (1 - node_memory_MemAvailable_bytes{job="prom"} / node_memory_MemTotal_bytes{job="prom"})',
  'node_filesystem_avail_bytes{job="prom"} * on (instance, job) group_left (nodename) node_uname_info',
  'topk(3, rate(node_network_receive_bytes_total{job="prom"}[20s]))',
  'max_over_time(rate(node_context_switches_total{job="prom"}[10s])[20s:2s])',
  'count by (job) ({job="prom"})',
];
/** Of what Tidemark's scrapers scraped. */
const SCRAPED_QUERIES: readonly string[] = [
  'sum by (mode) (rate(node_cpu_seconds_total{job="node"}[30s]))',
  'node_memory_MemTotal_bytes{job="node"}',
  'count({job="node"})',
  'quantile by (job) (0.9, node_scrape_collector_duration_seconds{job="node"})',
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

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

interface World {
  readonly alone: { readonly url: string };
  readonly cluster: TestCluster;
  readonly managerPort: number;
  readonly prometheus: RunningProcess;
  /** Of the first and the second gateway. */
  readonly writer: string;
  readonly reader: string;
}

function rulesFile(): string {
  const file = path.join(freshFolder(), 'rules.yml');
  const groups = range(GROUPS).map(
    (n) => `- name: g${n}
  interval: 1s
  rules:
    - { record: recorded, expr: vector(${n}), labels: { n: "${n}" } }
    - { alert: Always${n}, expr: vector(1), for: 2s }`,
  );
  writeFileSync(file, `groups:\n${groups.join('\n')}\n`);
  return file;
}

/** Everything at once: what waits for what finds out by itself. */
async function startWorld(): Promise<World> {
  const [nodePort, prometheusPort, managerPort] = [await freePort(), await freePort(), await freePort()];
  startProcess(findProgram('prometheus-node-exporter')!, [`--web.listen-address=127.0.0.1:${nodePort}`]);
  const page = await startScrapeTarget('page 1\n');
  const pages = range(PAGES).map((n) => `{ targets: ['${page.address}'], labels: { n: "${n}" } }`);
  const [alone, cluster] = await Promise.all([
    startTidemark({ timeoutMs: 120_000 }),
    startCluster({
      counts: COUNTS,
      config: `global: { scrape_interval: ${PAGE_INTERVAL_S}s, scrape_timeout: 2s }
rule_files: ['${rulesFile()}']
alerting: { alertmanagers: [{ static_configs: [{ targets: ['127.0.0.1:${managerPort}'] }] }] }
scrape_configs:
  - { job_name: pages, static_configs: [${pages.join(', ')}] }
  - { job_name: node, static_configs: [{ targets: ['127.0.0.1:${nodePort}'] }] }\n`,
      flags: {
        gateway: ['--web.enable-admin-api'],
        'alert-evaluator': [`--rules.alert.resend-delay=${RESEND_S}s`, '--rules.alert.for-grace-period=1s'],
      },
    }),
    startAlertmanager(freshFolder(), managerPort),
  ]);
  const [writer, reader] = cluster.of('gateway').map(({ url }) => url) as [string, string];
  const prometheus = await startPrometheus(prometheusPort, nodePort, [writer, alone.url]);
  return { alone, cluster, managerPort, prometheus, writer, reader };
}

/** A real one that scrapes node-exporter and sends it on to each of `urls`. */
async function startPrometheus(
  port: number,
  nodePort: number,
  urls: readonly string[],
): Promise<RunningProcess> {
  const folder = freshFolder();
  const config = path.join(folder, 'prometheus.yml');
  const writes = urls.map(
    (url, i) =>
      `  - { name: r${i}, url: '${url}/api/v1/write', queue_config: { batch_send_deadline: 500ms } }`,
  );
  writeFileSync(
    config,
    `global: { scrape_interval: 2s, scrape_timeout: 2s }
scrape_configs: [{ job_name: prom, static_configs: [{ targets: ['127.0.0.1:${nodePort}'] }] }]
remote_write:\n${writes.join('\n')}\n`,
  );
  const running = startProcess(findProgram('prometheus')!, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${path.join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  await waitFor('Prometheus ready', () => answers(`http://127.0.0.1:${port}/-/ready`), {
    describe: running.output,
  });
  return running;
}

/** Feeds both with what the questions are about; what one process answers. */
async function askAlone({ alone, cluster, reader }: World): Promise<ConstantQuery[]> {
  const bench = { targets: BENCH_TARGETS, scrapes: SAMPLES, stepMs: STEP_MS, startMs: START_MS };
  const bodies = [snappyLiterals(encodeWriteRequest(someSeries())), ...makeBenchBodies(bench)];
  for (const [i, body] of bodies.entries()) {
    const url = cluster.of('gateway')[i % 2]!.url;
    expect(await Promise.all([sendWrite(url, body), sendWrite(alone.url, body)])).toEqual([204, 204]);
  }
  const questions: Question[] = QUERIES.flatMap((query) => [
    rangeQuestion(query, RANGE),
    instantQuestion(query, END_S - 60),
  ]);
  for (const { query, step } of benchQueries()) {
    questions.push(
      step === 0 ? instantQuestion(query, END_S - 60) : rangeQuestion(query, { ...RANGE, step: 4 * step }),
    );
  }
  const expected = await ask(alone.url, questions);
  for (const { parameters, expected: data } of expected) {
    expect([parameters.query, (data as unknown[]).length]).toEqual([
      parameters.query,
      expect.toSatisfy((n) => n > 0),
    ]);
  }
  expect(await ask(reader, questions)).toEqual(expected);
  return expected;
}

/** What Prometheus sent to both, at a time that both have whole. */
async function compareNodeExporter({ alone, reader, prometheus }: World): Promise<void> {
  const first = await waitFor(
    'samples of the Prometheus',
    async () => (await queryInstant(reader, 'min_over_time(timestamp(node_load1{job="prom"})[1m:1s])'))[0],
    { timeoutMs: 60_000, describe: prometheus.output },
  );
  const end = Math.ceil(Number(first.value[1])) + 30;
  const questions = NODE_QUERIES.map((query) => rangeQuestion(query, { start: end - 10, end, step: 1 }));
  const isThere = async (url: string): Promise<boolean> =>
    (await queryInstant(url, `max(timestamp(node_load1{job="prom"})) > ${end + 2}`)).length > 0;
  for (const url of [alone.url, reader]) {
    await waitFor('what Prometheus sent', () => isThere(url), { timeoutMs: 90_000 });
  }
  // The sender has several connections: the last samples of some series come after those of others.
  await waitFor('the same answers', async () => {
    const [ours, theirs] = await Promise.all([ask(reader, questions), ask(alone.url, questions)]);
    expect(ours).toEqual(theirs);
    for (const { expected } of theirs) expect((expected as unknown[]).length).toBeGreaterThan(0);
    return true;
  });
}

/** What Tidemark scraped: the series that Prometheus finds; given to the one process it answers the same. */
async function compareScraped({ alone, reader }: World): Promise<void> {
  const names = async (url: string, job: string): Promise<string[]> => {
    const found = await queryInstant(url, `count by (__name__) ({job="${job}", __name__=~"node_.*"})`);
    return found.map(({ metric }) => metric.__name__!).sort();
  };
  await waitFor('the same metrics from both scrapes', async () => {
    const [ours, theirs] = [await names(reader, 'node'), await names(reader, 'prom')];
    expect(theirs.length).toBeGreaterThan(100);
    expect(ours).toEqual(theirs);
    return true;
  });
  const end = Math.floor(Date.now() / 1000);
  const { body } = await callApi(reader, 'query', { query: '{job="node"}[30s]', time: String(end) });
  const { result } = body.data as {
    result: { metric: Record<string, string>; values: [number, string][] }[];
  };
  const series = result.map(({ metric, values }): WrittenSeries => {
    const samples = values.map(([seconds, value]) => [Math.round(seconds * 1000), Number(value)] as const);
    return { labels: metric, samples };
  });
  expect(await sendWrite(alone.url, snappyLiterals(encodeWriteRequest(series)))).toBe(204);
  const questions = SCRAPED_QUERIES.map((query) => instantQuestion(query, end));
  const theirs = await ask(alone.url, questions);
  for (const { parameters, expected } of theirs) {
    expect([parameters.query, (expected as unknown[]).length > 0]).toEqual([parameters.query, true]);
  }
  expect(await ask(reader, questions)).toEqual(theirs);
}

/** `tidemark status` in a terminal, and that everybody is there. */
async function checkMembers({ reader }: World): Promise<void> {
  const members = await membersOf(reader);
  expect(members).toMatchObject({ controlPlane: 'reachable', partitions: 64, replicationFactor: 3 });
  for (const member of members.members) {
    const partitionsOwned = member.service === 'ingester' ? 64 : 0;
    expect(member).toMatchObject({ state: 'ready', partitionsOwned });
  }
  const tool = path.join(repositoryRoot, 'services/gateway/tidemark.ts');
  const status = startProcess(process.execPath, [tool, 'status', `--url=${reader}`]);
  await waitFor('tidemark status', () => Promise.resolve(status.exited() === 0), { describe: status.output });
  expect(status.output()).toMatch(/ingester +ingester-2 +zone-2 +ready +64 /);
}

/** Looks at Alertmanager all the time; what it holds must not change. */
function watchAlerts(port: number, expected: readonly HeldAlert[]): { stop(): Promise<string[]> } {
  const keyOf = (alerts: readonly HeldAlert[]): string =>
    alerts
      .map(({ labels, startsAt }) => `${labels.alertname} since ${startsAt}`)
      .sort()
      .join();
  const deviations: string[] = [];
  let isRunning = true;
  const loop = (async () => {
    while (isRunning) {
      const found = keyOf(await heldAlerts(port));
      if (found !== keyOf(expected)) deviations.push(found);
      await sleep(250);
    }
  })();
  return {
    stop: async () => {
      isRunning = false;
      await loop;
      return deviations;
    },
  };
}

/** Waits until others have noticed that the nodes are gone, and a while more; then starts them again. */
async function killForAWhile(load: ClusterLoad, nodes: readonly Node[]): Promise<void> {
  load.enter(nodes.map(({ instance }) => instance).join(' and '));
  await Promise.all(nodes.map((node) => node.end('SIGKILL')));
  await sleep(MEMBER_EXPIRY_MS + 2_000);
  await Promise.all(nodes.map((node) => node.start()));
  await Promise.all(nodes.map((node) => node.ready()));
}

/** No series ended between the times, and none of the pages missed more scrapes in a row than `missedMax`. */
async function checkSeries(url: string, fromS: number, toS: number, missedMax: number): Promise<void> {
  const counts = await queryRange(url, 'count(up{job="pages"}) + count(recorded)', fromS, toS, 1);
  const seen = counts.flatMap(({ values }) => values.map(([, value]) => value));
  expect([seen.length, new Set(seen)]).toEqual([
    Math.floor(toS - fromS) + 1,
    new Set([String(PAGES + GROUPS)]),
  ]);
  const { body } = await callApi(url, 'query', {
    query: `page[${Math.ceil(toS - fromS) + 2 * PAGE_INTERVAL_S}s]`,
    time: String(toS),
  });
  const { result } = body.data as { result: { metric: { n: string }; values: [number, string][] }[] };
  expect(result).toHaveLength(PAGES);
  for (const { metric, values } of result) {
    const holes = values.slice(1).map(([at], i) => Math.round((at - values[i]![0]) / PAGE_INTERVAL_S) - 1);
    expect([metric.n, Math.max(...holes)]).toEqual([
      metric.n,
      expect.toSatisfy((missed) => missed <= missedMax),
    ]);
  }
}

test.skipIf(!hasPrograms(...PROGRAMS) || !hasShared('bench', 'queries.json'))(
  'a cluster of processes answers as one process does, whichever of them is killed',
  { timeout: 600_000 },
  async () => {
    const world = await startWorld();
    const { cluster, writer, reader, managerPort } = world;
    onTestFinished(({ task }) => {
      if (task.result?.state === 'fail') console.log(cluster.describe());
    });
    const allThere = () => seesMembers(reader, PROCESSES);
    await waitFor('all members', allThere);
    await checkMembers(world);
    const constant = await askAlone(world);
    const questions: readonly Question[] = constant;
    const isWhole = async (): Promise<boolean> => {
      const up = await queryInstant(reader, 'count(up{job="pages"} == 1) + count(recorded)');
      return up[0]?.value[1] === String(PAGES + GROUPS);
    };
    await waitFor('all pages and recorded series', isWhole);
    const alerts = await waitFor('all alerts', async () => {
      const held = await heldAlerts(managerPort);
      return held.length === GROUPS && held;
    });

    const begunS = Math.ceil(Date.now() / 1000);
    const watch = watchAlerts(managerPort, alerts);
    const load = new ClusterLoad({ gateways: [writer, reader], constant });
    const [scrapers, stores] = [cluster.of('scraper'), cluster.of('store')];
    await killForAWhile(load, [cluster.of('ingester')[1]!]);
    await killForAWhile(load, [cluster.of('querier')[0]!]);
    await killForAWhile(load, [scrapers[0]!, stores[0]!]);
    await killForAWhile(load, [cluster.of('alert-evaluator')[0]!, cluster.of('gateway')[1]!]);
    const evaluatorsBackMs = Date.now();
    load.enter('all are there again');
    await waitFor('all members again', allThere);

    const sealed = await fetch(`${writer}/api/v1/admin/tsdb/seal`, { method: 'POST' });
    expect([200, 204]).toContain(sealed.status);
    await killForAWhile(load, [stores[1]!]);
    expect(await ask(reader, questions)).toEqual(constant);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(await missingAt(reader, load.acknowledged)).toEqual([]);
    await waitFor(
      'all alerts sent again',
      async () =>
        (await heldAlerts(managerPort)).every((alert) => Date.parse(alert.updatedAt) > evaluatorsBackMs),
      { timeoutMs: 4_000 * RESEND_S },
    );
    expect(await watch.stop()).toEqual([]);
    const missedMax = Math.ceil(loadFactor());
    await checkSeries(reader, begunS, Math.floor(Date.now() / 1000) - 2 * PAGE_INTERVAL_S, missedMax);
    await compareNodeExporter(world);
    await compareScraped(world);
    console.log(
      `cluster: ${constant.length} answers as of one process; ${load.acknowledged.length * LOAD_SERIES} samples acknowledged and there, ` +
        `${load.queries} queries while one process after another was killed; made again once: ${load.describeRetries()}`,
    );
  },
);

// What queries over many series cost in the process that holds them, and how much of it is the main thread's, which also ingests: with
// the head's chunks and labels read by the query threads where they are, and copied into frames for them. Both take turns in one process.
// Run: node load-tests/series-runs-bench.ts [series] [rounds]
import { Counter, Registry } from 'prom-client';
import { withDefaults } from '../services/ingester/options.ts';
import { Reads } from '../services/ingester/reads/reads.ts';
import { Tenants } from '../services/ingester/tenants.ts';
import { ByteWriter } from '../services/lib/core/bytes.ts';
import { systemClock } from '../services/lib/core/clock.ts';
import { encodeLabels, Labels } from '../services/lib/model/labels.ts';
import { createSilentLogger } from '../services/lib/runtime/logger.ts';
import type { Cluster } from '../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../services/lib/transport/in-process.ts';
import type { Handlers } from '../services/lib/transport/rpc.ts';
import type { Head } from '../services/lib/tsdb/head/head.ts';
import { IngesterDefinition, QuerierDefinition } from '../services/lib/wire/contracts.ts';
import { createQuerier } from '../services/querier/service.ts';

const seriesCount = Number(process.argv[2] ?? 55_000);
const rounds = Number(process.argv[3] ?? 9);
const TENANT = 'anonymous';
/** As a node-exporter has them. */
const SERIES_PER_TARGET = 550;
const METRICS = 220;
const STEP_MS = 15_000;
/** An hour. */
const SCRAPES = 240;
const START_MS = 1_767_225_600_000;
const END_MS = START_MS + (SCRAPES - 1) * STEP_MS;
/** Until V8 has compiled what is measured. */
const ROUNDS_BEFORE = 3;

function labelsOf(i: number): Labels {
  const target = Math.floor(i / SERIES_PER_TARGET);
  const within = i % SERIES_PER_TARGET;
  return Labels.from([
    ['__name__', `node_metric_${within % METRICS}_total`],
    ['cluster', `cluster-${target % 4}`],
    ['device', `sd${Math.floor(within / METRICS)}`],
    ['instance', `10.${target >> 8}.${target & 255}.17:9100`],
    ['job', 'node-exporter'],
    ['namespace', `team-${target % 50}`],
    ['pod', `node-exporter-${target.toString(36)}`],
  ]);
}

/** Constants, counters and noise. */
function sampleOf(i: number, scrape: number): number {
  if (i % 5 < 3) return i;
  return i % 5 === 3 ? scrape * (i % 97) : Math.round(1e4 * Math.sin(scrape * i)) / 100;
}

function fill(head: Head): void {
  const bytes = new ByteWriter();
  const ids = new Uint32Array(seriesCount);
  for (let i = 0; i < seriesCount; i++) {
    bytes.reset();
    encodeLabels(labelsOf(i), bytes);
    ids[i] = head.define(bytes.bytes, 0, bytes.length, 0);
  }
  const times = new Float64Array(seriesCount);
  const values = new Float64Array(seriesCount);
  for (let scrape = 0; scrape < SCRAPES; scrape++) {
    times.fill(START_MS + scrape * STEP_MS);
    for (let i = 0; i < seriesCount; i++) values[i] = sampleOf(i, scrape);
    head.appendSamples(ids, times, values, 0, seriesCount, 1);
  }
}

const tenants = new Tenants(withDefaults({ dataDir: '' }), 1);
fill(tenants.getOrMake(TENANT).head);
const counter = (name: string) => new Counter({ name, help: name, registers: [] });
const reads = new Reads({
  tenants,
  clock: systemClock,
  metrics: { selectedSeries: counter('series'), limitHits: counter('limits') },
  seriesPerSelectMax: 1e9,
  ownedPartitions: () => [0],
  completePartitions: async () => () => true,
});
let copies = false;
const handlers: Pick<Handlers<typeof IngesterDefinition>, 'select'> = {
  select: (request, context) => reads.select(request, copies ? { signal: context.signal } : context),
};
const ingester = createInProcessClient(IngesterDefinition, handlers as Handlers<typeof IngesterDefinition>);
const cluster: Cluster = {
  placement: () => undefined,
  replicationFactor: 1,
  ingesters: () => [{ instance: 'i', client: ingester }],
  stores: () => [],
  queriers: () => [],
  scrapers: () => [],
  alertEvaluators: () => [],
};
const querier = createQuerier(
  { threads: 2 },
  { cluster, clock: systemClock, logger: createSilentLogger(), registry: new Registry() },
);
await querier.start();
const client = createInProcessClient(QuerierDefinition, querier.handlers);
const { signal } = new AbortController();

/** CPU milliseconds of all threads and of this one. */
async function measure(query: string, stepMs: number): Promise<readonly [all: number, main: number]> {
  const [all, main] = [process.cpuUsage(), process.threadCpuUsage()];
  const times = { startMs: stepMs > 0 ? START_MS : END_MS, endMs: END_MS, stepMs, timeoutMs: 0 };
  const request = { tenant: TENANT, query, ...times, lookbackMs: 0, limit: 0, allowPartial: false };
  for await (const _ of client.query(request, { signal }));
  const [allUse, mainUse] = [process.cpuUsage(all), process.threadCpuUsage(main)];
  return [(allUse.user + allUse.system) / 1000, (mainUse.user + mainUse.system) / 1000];
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;
const QUERIES: readonly (readonly [query: string, stepMs: number])[] = [
  ['count({__name__=~".+"})', 0],
  ['sum by (instance) (last_over_time({__name__=~".+"}[5m]))', 60_000],
  ['sum(last_over_time({__name__=~"node_metric_1.*"}[5m]))', 15_000],
  ['topk(5, {__name__=~"node_metric_1.*"})', 0],
];
for (const [query, stepMs] of QUERIES) {
  const found = { frames: [[], []] as [number[], number[]], runs: [[], []] as [number[], number[]] };
  for (let round = -ROUNDS_BEFORE; round < rounds; round++) {
    for (const how of ['frames', 'runs'] as const) {
      copies = how === 'frames';
      const [all, main] = await measure(query, stepMs);
      if (round < 0) continue;
      found[how][0].push(all);
      found[how][1].push(main);
    }
  }
  const print = ([all, main]: [number[], number[]]) =>
    `${median(all).toFixed(0)} ms of CPU, ${median(main).toFixed(0)} of them the main thread's`;
  console.log(`${query}\n  copied: ${print(found.frames)}\n  shared: ${print(found.runs)}`);
}
await querier.stop();

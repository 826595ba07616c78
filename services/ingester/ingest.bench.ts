// CPU per sample and log bytes per sample of the ingester alone: batches as the distributor sends them, 2,000 samples of
// 20,000 series each, to durable acknowledgements on a real disk. Then the time of a start on that log.
// Run: node services/ingester/ingest.bench.ts [series] [scrapes]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { ByteWriter } from '../lib/core/bytes.ts';
import { systemClock } from '../lib/core/clock.ts';
import { encodeLabels, Labels } from '../lib/model/labels.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import { draftAppendBatch, putDefinition } from '../lib/wire/append/append-batch.ts';
import { AppendOutcome, type AppendRequest, IngesterDefinition } from '../lib/wire/contracts.ts';
import { createIngester, type Ingester } from './service.ts';

const seriesCount = Number(process.argv[2] ?? 20_000);
const scrapes = Number(process.argv[3] ?? 60);
const SAMPLES_PER_REQUEST = 2000;
const startMs = 1_700_000_000_000;
const dataDir = mkdtempSync(path.join(tmpdir(), 'tidemark-bench-'));
const cluster: Cluster = {
  placement: () => undefined,
  replicationFactor: 1,
  ingesters: () => [],
  stores: () => [],
  queriers: () => [],
  scrapers: () => [],
  alertEvaluators: () => [],
};

function open(registry: Registry): Ingester {
  return createIngester({ dataDir }, { cluster, clock: systemClock, logger: createSilentLogger(), registry });
}

function valueAt(series: number, scrape: number): number {
  if (series % 3 === 0) return series;
  if (series % 3 === 1) return scrape * (series % 97) + ((scrape * series) % 7);
  return Math.round((scrape * 14.97 + (series % 100)) * 100) / 100;
}

function requestOf(sequence: number, scrape: number, first: number): AppendRequest {
  const count = Math.min(SAMPLES_PER_REQUEST, seriesCount - first);
  const definitions = new ByteWriter();
  const labels = new ByteWriter();
  for (let i = first; scrape === 0 && i < first + count; i++) {
    labels.reset();
    encodeLabels(
      Labels.from([
        ['__name__', `node_metric_${i % 700}_total`],
        ['instance', `host-${Math.floor(i / 700)}.example:9100`],
        ['job', 'node'],
        ['device', `sd${i % 5}`],
      ]),
      labels,
    );
    putDefinition(definitions, i, 0, labels.bytes, 0, labels.length);
  }
  const defined = scrape === 0 ? count : 0;
  const draft = draftAppendBatch(
    [{ partition: 0, samples: count }],
    count,
    defined,
    definitions.bytes,
    definitions.length,
  );
  for (let i = 0; i < count; i++) {
    draft.references[i] = first + i;
    draft.timestampsMs[i] = startMs + scrape * 15_000;
    draft.values[i] = valueAt(first + i, scrape);
  }
  return { tenant: DEFAULT_TENANT, writerId: 'bench', sequence, epoch: 1, batch: draft.bytes, metadata: [] };
}

const requests: AppendRequest[] = [];
for (let scrape = 0; scrape < scrapes; scrape++) {
  for (let first = 0; first < seriesCount; first += SAMPLES_PER_REQUEST) {
    requests.push(requestOf(requests.length + 1, scrape, first));
  }
}

const registry = new Registry();
const ingester = open(registry);
await ingester.start();
const client = createInProcessClient(IngesterDefinition, ingester.handlers);
const { signal } = new AbortController();
const before = process.cpuUsage();
const startedMs = performance.now();
let durable = 0;
async function* all(): AsyncGenerator<AppendRequest> {
  yield* requests;
}
for await (const { outcome } of client.append(all(), { signal })) {
  if (outcome === AppendOutcome.APPEND_OUTCOME_DURABLE) durable++;
}
const used = process.cpuUsage(before);
const elapsedMs = performance.now() - startedMs;
const { value: logBytes } = (
  await registry.getSingleMetric('tidemark_ingester_log_written_bytes_total')!.get()
).values[0]!;
await ingester.stop();

const replayCpu = process.cpuUsage();
const second = open(new Registry());
const replayStartedMs = performance.now();
await second.start();
const replayUsed = process.cpuUsage(replayCpu);
const replayMs = performance.now() - replayStartedMs;
await second.stop();
rmSync(dataDir, { recursive: true });

const samples = seriesCount * scrapes;
if (durable !== requests.length) throw new Error(`${durable} of ${requests.length} requests are durable`);
console.log(
  JSON.stringify({
    samples,
    requests: requests.length,
    cpu_ns_per_sample: Math.round(((used.user + used.system) * 1000) / samples),
    elapsed_ms: Math.round(elapsedMs),
    log_bytes_per_sample: Number((Number(logBytes) / samples).toFixed(2)),
    replay_ms: Math.round(replayMs),
    replay_cpu_ns_per_sample: Math.round(((replayUsed.user + replayUsed.system) * 1000) / samples),
  }),
);

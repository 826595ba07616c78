// Memory of an ingester over simulated hours in which some of its series are replaced: a clock that the samples drive, a store
// that takes every block. Prints what it has after each hour; it should be the same from the fifth on, when series leave as they come.
// Without the two settings (deploy/docker/Dockerfile says why) the C library keeps what was freed, and memory grows until the eighth.
// Run: MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=1048576 node --expose-gc services/ingester/churn.bench.ts [series] [hours] [churn per hour] [seconds between samples]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { ByteWriter } from '../lib/core/bytes.ts';
import type { Clock } from '../lib/core/clock.ts';
import { encodeLabels, Labels } from '../lib/model/labels.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import type { Handlers } from '../lib/transport/rpc.ts';
import { draftAppendBatch, putDefinition } from '../lib/wire/append/append-batch.ts';
import {
  AppendOutcome,
  type AppendRequest,
  IngesterDefinition,
  StoreDefinition,
} from '../lib/wire/contracts.ts';
import { createIngester } from './service.ts';

const seriesCount = Number(process.argv[2] ?? 100_000);
const hours = Number(process.argv[3] ?? 6);
const churn = Number(process.argv[4] ?? 0.1);
const intervalMs = Number(process.argv[5] ?? 60) * 1000;
const SAMPLES_PER_REQUEST = 2000;
const HOUR_MS = 3_600_000;
const RANGE_MS = 2 * HOUR_MS;
/** By then a range is cut and its block is under way. */
const SEALED_AFTER_MS = 7 * 60_000;
/** As many segments per hour as a million series every 15 s fill of 64 MiB. */
const SEGMENT_BYTES = 1 << 20;
const START_MS = 1_699_999_200_000;
/** After so many tenths of a second in which nothing left, nothing is about to. */
const CALM_LOOKS = 10;

/** Time is what the samples say; sleeps of more than a second wait for it, shorter ones are real. */
class SampleClock implements Clock {
  #nowMs = START_MS;
  #sleepers: { readonly untilMs: number; readonly wake: () => void }[] = [];
  nowMs = () => this.#nowMs;
  // Real milliseconds count too: who works in slices measures them.
  monotonicMs = () => this.#nowMs + performance.now();

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (ms < 1000) setTimeout(resolve, ms);
      else this.#sleepers.push({ untilMs: this.#nowMs + ms, wake: resolve });
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
  }

  /** Never goes back. */
  advanceTo(timeMs: number): void {
    const nowMs = Math.max(timeMs, this.#nowMs);
    this.#nowMs = nowMs;
    const due = this.#sleepers.filter(({ untilMs }) => untilMs <= nowMs);
    this.#sleepers = this.#sleepers.filter(({ untilMs }) => untilMs > nowMs);
    for (const { wake } of due) wake();
  }
}

const clock = new SampleClock();
const dataDir = mkdtempSync(path.join(tmpdir(), 'tidemark-churn-'));
const store: Pick<Handlers<typeof StoreDefinition>, 'putBlock'> = {
  async putBlock(messages) {
    for await (const _ of messages);
    return { existed: false };
  },
};
const cluster: Cluster = {
  placement: () => undefined,
  replicationFactor: 1,
  ingesters: () => [],
  stores: () => [
    {
      instance: 's',
      client: createInProcessClient(StoreDefinition, store as Handlers<typeof StoreDefinition>),
    },
  ],
  queriers: () => [],
  scrapers: () => [],
  alertEvaluators: () => [],
};
const registry = new Registry();
const ingester = createIngester(
  { dataDir, segmentBytesMax: SEGMENT_BYTES },
  { cluster, clock, logger: createSilentLogger(), registry },
);
await ingester.start();

/** Reference of each place; a place's series is replaced by one with a new reference. */
const references = Uint32Array.from({ length: seriesCount }, (_, i) => i);
const isNew = new Uint8Array(seriesCount).fill(1);
let referenceNext = seriesCount;
let replaced = 0;

function replaceUpTo(total: number): void {
  for (; replaced < total; replaced++) {
    references[replaced % seriesCount] = referenceNext++;
    isNew[replaced % seriesCount] = 1;
  }
}

function requestOf(sequence: number, timeMs: number, first: number): AppendRequest {
  const count = Math.min(SAMPLES_PER_REQUEST, seriesCount - first);
  const definitions = new ByteWriter();
  const labels = new ByteWriter();
  let defined = 0;
  for (let i = first; i < first + count; i++) {
    if (isNew[i] === 0) continue;
    isNew[i] = 0;
    defined++;
    labels.reset();
    encodeLabels(
      Labels.from([
        ['__name__', `node_metric_${i % 700}_total`],
        ['instance', `host-${references[i]}.example:9100`],
        ['job', 'node'],
      ]),
      labels,
    );
    putDefinition(definitions, references[i]!, 0, labels.bytes, 0, labels.length);
  }
  const sections = [{ partition: 0, samples: count }];
  const draft = draftAppendBatch(sections, count, defined, definitions.bytes, definitions.length);
  draft.references.set(references.subarray(first, first + count));
  draft.timestampsMs.fill(timeMs);
  for (let i = 0; i < count; i++) draft.values[i] = (timeMs / 1000) * ((first + i) % 97);
  return { tenant: DEFAULT_TENANT, writerId: 'bench', sequence, epoch: 1, batch: draft.bytes, metadata: [] };
}

let answered = 0;
async function* requests(): AsyncGenerator<AppendRequest> {
  let sequence = 0;
  for (let timeMs = START_MS; timeMs < START_MS + hours * HOUR_MS; timeMs += intervalMs) {
    clock.advanceTo(timeMs);
    await waitForSeals(timeMs);
    replaceUpTo(Math.floor(((timeMs - START_MS) / HOUR_MS) * churn * seriesCount));
    for (let first = 0; first < seriesCount; first += SAMPLES_PER_REQUEST) {
      while (sequence - answered >= 32) await nextTurn();
      yield requestOf(++sequence, timeMs, first);
    }
    if ((timeMs + intervalMs - START_MS) % HOUR_MS === 0)
      await report((timeMs + intervalMs - START_MS) / HOUR_MS);
  }
}

/** Simulated hours pass faster than blocks are built: waits for those that should be there. */
async function waitForSeals(timeMs: number): Promise<void> {
  const ranges = Math.max(0, Math.floor((timeMs - START_MS - SEALED_AFTER_MS) / RANGE_MS));
  const expected = ranges * seriesCount * Math.floor(RANGE_MS / intervalMs);
  while ((await metric('sealed_samples_total')) < expected) {
    // The look for what is due waits for time to pass.
    clock.advanceTo(clock.nowMs() + 1000);
    await sleep(20);
  }
}

async function metric(name: string): Promise<number> {
  const { values } = await registry.getSingleMetric(`tidemark_ingester_${name}`)!.get();
  return Number(values[0]?.value ?? 0);
}

/** Series that are to leave have left, and what they leave behind is let go of. */
async function settle(): Promise<void> {
  let [left, logBytes] = [-1, -1];
  for (let calm = 0; calm < CALM_LOOKS; calm++) {
    const now = [await metric('series_left_total'), await metric('log_bytes')] as const;
    if (now[0] !== left || now[1] !== logBytes) calm = 0;
    [left, logBytes] = now;
    await sleep(100);
  }
  globalThis.gc?.();
  // Freed by another thread.
  await sleep(200);
}

async function report(hour: number): Promise<void> {
  await settle();
  const { rss, heapUsed, heapTotal, arrayBuffers } = process.memoryUsage();
  console.log(
    JSON.stringify({
      hour,
      seriesEver: referenceNext,
      series: await metric('series'),
      left: await metric('series_left_total'),
      sealedSamples: await metric('sealed_samples_total'),
      headBytes: await metric('head_bytes'),
      rssMiB: Math.round(rss / 2 ** 20),
      heapMiB: Math.round(heapUsed / 2 ** 20),
      heapTotalMiB: Math.round(heapTotal / 2 ** 20),
      buffersMiB: Math.round(arrayBuffers / 2 ** 20),
      logMiB: Math.round((await metric('log_bytes')) / 2 ** 20),
      imageMiB: Math.round((await metric('head_image_bytes')) / 2 ** 20),
    }),
  );
}

const client = createInProcessClient(IngesterDefinition, ingester.handlers);
for await (const { outcome } of client.append(requests(), { signal: new AbortController().signal })) {
  answered++;
  if (outcome !== AppendOutcome.APPEND_OUTCOME_DURABLE) throw new Error(`request ${answered} is not durable`);
}
await ingester.stop();
rmSync(dataDir, { recursive: true });

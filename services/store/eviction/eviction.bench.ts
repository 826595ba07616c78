// What a query over a block costs whose chunks are in object storage, beside one whose chunks are here: time, bytes fetched and requests, of a narrow
// selector, a metric of all instances and everything. The bucket is a real one; `--delay` makes each request take longer, as a far one does.
// usage: AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… node services/store/eviction/eviction.bench.ts --objstore.bucket=B --objstore.endpoint=URL [--delay=MS]
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Registry } from 'prom-client';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import type { Matcher } from '../../lib/model/matcher.ts';
import { SampleColumns } from '../../lib/model/sample-columns.ts';
import type { ObjectStore } from '../../lib/objstore/object-store.ts';
import { OBJSTORE_FLAGS, openObjectStore } from '../../lib/objstore/objstore-flags.ts';
import { parseFlags } from '../../lib/runtime/flags.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { BlockBuilder } from '../../lib/tsdb/block/block-writer.ts';
import { ChunkEncoder } from '../../lib/tsdb/chunk/chunk-encoder.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import { createStore, type Store } from '../service.ts';

const SERIES = 50_000;
const CHUNK_SAMPLES = 480;
const CHUNKS = 12;
const STEP_MS = 15_000;
const RUNS = 7;

/** A day at 15 s: 100 metrics of 500 instances, gauges of two decimals and counters. */
async function buildBlock(blocks: string, endMs: number): Promise<BlockMeta> {
  const dir = path.join(blocks, 'made');
  await mkdir(dir, { recursive: true });
  const builder = new BlockBuilder({ tenant: 'anonymous', dir });
  const columns = new SampleColumns(CHUNK_SAMPLES);
  const [labels, chunk] = [new ByteWriter(), new ByteWriter()];
  const encoder = new ChunkEncoder(CHUNK_SAMPLES);
  const startMs = endMs - CHUNKS * CHUNK_SAMPLES * STEP_MS;
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  for (let i = 0; i < SERIES; i++) {
    const metric = i % 100;
    labels.reset();
    encodeLabels(
      Labels.from([
        ['__name__', `node_metric_${metric}_total`],
        ['instance', `10.0.${Math.floor(i / 100) >> 8}.${Math.floor(i / 100) & 255}:9100`],
        ['job', 'node_exporter'],
      ]),
      labels,
    );
    builder.addSeries(labels.bytes, 0, labels.length, i % 64);
    let level = Math.floor(next() * 1e6);
    for (let c = 0; c < CHUNKS; c++) {
      const fromMs = startMs + c * CHUNK_SAMPLES * STEP_MS;
      for (let k = 0; k < CHUNK_SAMPLES; k++) {
        columns.timestampsMs[k] = fromMs + k * STEP_MS;
        // A third never changes, as on real nodes.
        if (metric % 3 === 1) level += Math.floor(next() * 50);
        columns.values[k] = metric % 3 === 2 ? Math.round(level + next() * 400) / 100 : level;
      }
      chunk.reset();
      const encoding = encoder.encode(columns.timestampsMs, columns.values, 0, CHUNK_SAMPLES, chunk);
      const toMs = fromMs + (CHUNK_SAMPLES - 1) * STEP_MS;
      builder.addChunk(encoding, fromMs, toMs, CHUNK_SAMPLES, chunk.bytes, 0, chunk.length);
    }
  }
  const { meta } = await builder.finish();
  await mkdir(path.join(blocks, 'anonymous'), { recursive: true });
  await rename(dir, path.join(blocks, 'anonymous', meta.blockId));
  return meta;
}

interface Bucket {
  readonly objects: ObjectStore;
  requests: number;
  fetchedBytes: number;
}

function countedBucket(objects: ObjectStore, delayMs: number): Bucket {
  const bucket: Bucket = {
    requests: 0,
    fetchedBytes: 0,
    objects: new Proxy(objects, {
      get: (target, name: keyof ObjectStore) => {
        const value = target[name];
        if (name !== 'getRange') return typeof value === 'function' ? value.bind(target) : value;
        return async (key: string, start: number, end: number, signal: AbortSignal) => {
          bucket.requests++;
          bucket.fetchedBytes += end - start;
          if (delayMs > 0) await systemClock.sleep(delayMs, signal);
          return target.getRange(key, start, end, signal);
        };
      },
    }),
  };
  return bucket;
}

async function startStore(
  dataDir: string,
  bucket: Bucket,
  localAgeMs: number,
  cacheBytesMax: number,
): Promise<Store> {
  await mkdir(path.join(dataDir, 'blocks-transit'), { recursive: true });
  const store = createStore(
    {
      ...{ dataDir, retentionMs: 0, retentionBytes: 0, compactionRangesMs: [], repairIntervalMs: 100 },
      ...{ localAgeMs, cacheBytesMax, scrubPeriodMs: 0 },
    },
    { clock: systemClock, logger: createSilentLogger(), registry: new Registry(), objects: bucket.objects },
  );
  await store.start();
  return store;
}

interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
  readonly bytes: number;
}

async function ask(
  store: Store,
  matchers: readonly Matcher[],
  meta: BlockMeta,
  hours: number,
): Promise<Cost> {
  const startedMs = performance.now();
  const before = process.cpuUsage();
  let bytes = 0;
  const request = {
    ...{
      tenant: 'anonymous',
      matchers: toWireMatchers(matchers),
      partitions: [],
      seriesMax: 0,
      labelsOnly: false,
    },
    ...{ minTimeMs: meta.maxTimeMs - hours * 3_600_000, maxTimeMs: meta.maxTimeMs },
  };
  for await (const { frame, coverage } of store.handlers.select(request, {
    signal: new AbortController().signal,
  })) {
    bytes += frame.length;
    if (coverage?.missing !== undefined) throw new Error(coverage.missing);
  }
  const { user, system } = process.cpuUsage(before);
  return { ms: performance.now() - startedMs, cpuMs: (user + system) / 1000, bytes };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

const [own, rest] = [
  process.argv.slice(2).find((flag) => flag.startsWith('--delay=')),
  process.argv.slice(2).filter((flag) => !flag.startsWith('--delay=')),
];
const delayMs = Number(own?.slice('--delay='.length) ?? 0);
const flags = parseFlags(OBJSTORE_FLAGS, rest, {}).values;
const opened = openObjectStore(flags, `bench-${process.pid}`, process.env, {
  ...{ clock: systemClock, logger: createSilentLogger(), registry: new Registry() },
});
if (opened === undefined) throw new Error('give --objstore.bucket and --objstore.endpoint');
const bucket = countedBucket(opened, delayMs);
const folder = await mkdtemp(path.join(tmpdir(), 'tidemark-bench-'));
try {
  const dataDir = path.join(folder, 'data');
  const meta = await buildBlock(
    path.join(dataDir, 'blocks'),
    Math.floor(Date.now() / 3_600_000) * 3_600_000 - 86_400_000,
  );
  const { index, chunks } = meta.files;
  console.log(
    `block: ${meta.seriesCount} series, ${meta.sampleCount} samples, chunks ${chunks.sizeBytes}, index ${index.sizeBytes} bytes (${((100 * index.sizeBytes) / chunks.sizeBytes).toFixed(1)} %)`,
  );
  const equal = (name: string, value: string): Matcher => ({ name, operator: '=', value });
  const queries: [string, readonly Matcher[], number][] = [
    ['one series, 1 h', [equal('__name__', 'node_metric_40_total'), equal('instance', '10.0.1.7:9100')], 1],
    ['one series, 24 h', [equal('__name__', 'node_metric_40_total'), equal('instance', '10.0.1.7:9100')], 24],
    ['one metric of 500 instances, 1 h', [equal('__name__', 'node_metric_41_total')], 1],
    ['one instance, 100 metrics, 1 h', [equal('instance', '10.0.1.7:9100')], 1],
    ['everything, 24 h', [equal('job', 'node_exporter')], 24],
  ];
  const here = await startStore(dataDir, bucket, 0, 0);
  const local = new Map<string, Cost>();
  for (const [name, matchers, hours] of queries) {
    const runs: Cost[] = [];
    for (let i = 0; i < RUNS; i++) runs.push(await ask(here, matchers, meta, hours));
    local.set(name, {
      ms: median(runs.map(({ ms }) => ms)),
      cpuMs: median(runs.map(({ cpuMs }) => cpuMs)),
      bytes: runs[0]!.bytes,
    });
  }
  await here.stop();
  const evicting = await startStore(dataDir, bucket, 3_600_000, 0);
  const evicted = async () =>
    (await evicting.replicationHandlers.replicationStatus({}, { signal: new AbortController().signal }))
      .bucket;
  while ((await evicted())?.evictedBlocks !== 1) await systemClock.sleep(100);
  await evicting.stop();
  for (const [name, matchers, hours] of queries) {
    const cold: Cost[] = [];
    const warm: Cost[] = [];
    let [requests, fetched] = [0, 0];
    for (let i = 0; i < RUNS; i++) {
      await rm(path.join(dataDir, 'blocks-cache'), { recursive: true, force: true });
      const store = await startStore(dataDir, bucket, 0, 2 ** 30);
      // The index is as warm as it was for the local one.
      await ask(store, [...matchers, equal('instance', 'none')], meta, hours);
      [bucket.requests, bucket.fetchedBytes] = [0, 0];
      cold.push(await ask(store, matchers, meta, hours));
      [requests, fetched] = [bucket.requests, bucket.fetchedBytes];
      warm.push(await ask(store, matchers, meta, hours));
      await store.stop();
    }
    const one = local.get(name)!;
    const ms = (costs: readonly Cost[]) => median(costs.map((cost) => cost.ms)).toFixed(1);
    console.log(
      `${name}: local ${one.ms.toFixed(1)} ms, evicted ${ms(cold)} ms (${requests} requests, ${(fetched / 1024).toFixed(0)} KiB fetched), cached ${ms(warm)} ms; answer ${(one.bytes / 1024).toFixed(0)} KiB`,
    );
  }
} finally {
  await rm(folder, { recursive: true });
}

// How long an ingester takes from kill -9 under load to ready, and what memory it has before and after: a process is fed,
// goes on being fed at the pace of scrapes, is killed while it writes head images, and another starts on its folder, which
// then counts the samples of each series. Then the same without the image.
// Run: node --expose-gc services/ingester/log/restart.bench.ts [series] [scrapes]
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Registry } from 'prom-client';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { SampleColumns } from '../../lib/model/sample-columns.ts';
import { DEFAULT_TENANT } from '../../lib/model/tenant.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import { decodeChunk } from '../../lib/tsdb/chunk/decode-chunk.ts';
import { draftAppendBatch, putDefinition } from '../../lib/wire/append/append-batch.ts';
import { AppendOutcome, type AppendRequest, IngesterDefinition } from '../../lib/wire/contracts.ts';
import { readSeriesFrame } from '../../lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import { createIngester, type Ingester } from '../service.ts';

const SAMPLES_PER_REQUEST = 2000;
const SCRAPE_MS = 15_000;
const IN_FLIGHT_MAX = 64;
/** Aligned to the two-hour ranges. */
const START_MS = 1_699_999_200_000;

function open(dataDir: string, registry: Registry): Ingester {
  const cluster: Cluster = {
    placement: () => undefined,
    replicationFactor: 1,
    ingesters: () => [],
    stores: () => [],
    queriers: () => [],
    scrapers: () => [],
    alertEvaluators: () => [],
  };
  // Nothing is sealed: all that was ever sent is to be there. The look for what is due comes more often than usual.
  const options = { dataDir, sealDelayMs: 1e15, sealCheckIntervalMs: 2000 };
  return createIngester(options, { cluster, clock: systemClock, logger: createSilentLogger(), registry });
}

async function metricOf(registry: Registry, name: string): Promise<number> {
  const { values } = await registry.getSingleMetric(name)!.get();
  return values.reduce((sum, { value }) => sum + Number(value), 0);
}

/** A third constant, a third counters of whole numbers, a third counters of hundredths. */
function valueAt(series: number, scrape: number): number {
  if (series % 3 === 0) return series;
  if (series % 3 === 1) return scrape * (series % 97) + ((scrape * series) % 7);
  return Math.round((scrape * 14.97 + (series % 100)) * 100) / 100;
}

function requestOf(sequence: number, scrape: number, first: number, count: number): AppendRequest {
  const definitions = new ByteWriter();
  const labels = new ByteWriter();
  for (let i = first; scrape === 0 && i < first + count; i++) {
    labels.reset();
    encodeLabels(
      Labels.from([
        ['__name__', `node_metric_${i % 700}_total`],
        ['device', `sd${i % 5}`],
        ['instance', `host-${Math.floor(i / 700)}.example:9100`],
        ['job', 'node'],
      ]),
      labels,
    );
    putDefinition(definitions, i, 0, labels.bytes, 0, labels.length);
  }
  const { bytes, length } = definitions;
  const draft = draftAppendBatch(
    [{ partition: 0, samples: count }],
    count,
    scrape === 0 ? count : 0,
    bytes,
    length,
  );
  for (let i = 0; i < count; i++) {
    draft.references[i] = first + i;
    draft.timestampsMs[i] = START_MS + scrape * SCRAPE_MS;
    draft.values[i] = valueAt(first + i, scrape);
  }
  return { tenant: DEFAULT_TENANT, writerId: 'bench', sequence, epoch: 1, batch: draft.bytes, metadata: [] };
}

/** Feeds until it is killed; says on standard output how many samples are acknowledged, and what it has. */
async function feed(dataDir: string, seriesCount: number, scrapes: number): Promise<void> {
  const registry = new Registry();
  const ingester = open(dataDir, registry);
  await ingester.start();
  let acknowledged = 0;
  let answered = 0;
  const sizes: number[] = [];
  async function* requests(): AsyncGenerator<AppendRequest> {
    let sequence = 0;
    for (let scrape = 0; ; scrape++) {
      const startedMs = performance.now();
      for (let first = 0; first < seriesCount; first += SAMPLES_PER_REQUEST) {
        while (sequence - answered >= IN_FLIGHT_MAX) await sleep(1);
        const count = Math.min(SAMPLES_PER_REQUEST, seriesCount - first);
        sizes[sequence++] = count;
        yield requestOf(sequence, scrape, first, count);
        if (scrape < scrapes) continue;
        const dueMs = startedMs + ((first + count) / seriesCount) * SCRAPE_MS;
        if (dueMs > performance.now()) await sleep(dueMs - performance.now());
      }
    }
  }
  // What a turn of the event loop may have to wait, while images are written too.
  let lastMs = performance.now();
  let stalls: number[] = [];
  setInterval(() => {
    const nowMs = performance.now();
    stalls.push(nowMs - lastMs - 5);
    lastMs = nowMs;
  }, 5);
  setInterval(() => {
    void (async () => {
      const [images, written, bytes, replay, head] = await Promise.all(
        ['images_total', 'image_written_bytes_total', 'image_bytes']
          .map((name) => metricOf(registry, `tidemark_ingester_head_${name}`))
          .concat([
            metricOf(registry, 'tidemark_ingester_replay_pending_bytes'),
            metricOf(registry, 'tidemark_ingester_head_bytes'),
          ]),
      );
      const stallMs = stalls.sort((a, b) => a - b);
      stalls = [];
      console.log(
        JSON.stringify({
          acknowledged,
          ...{ images, written, bytes, replay, head },
          stallMaxMs: Math.round(stallMs.at(-1) ?? 0),
        }),
      );
    })();
  }, 1000);
  const client = createInProcessClient(IngesterDefinition, ingester.handlers);
  const { signal } = new AbortController();
  for await (const { outcome } of client.append(requests(), { signal })) {
    const size = sizes[answered++]!;
    if (outcome === AppendOutcome.APPEND_OUTCOME_DURABLE) acknowledged += size;
  }
}

/** Starts on the folder and counts. */
async function restart(dataDir: string): Promise<void> {
  const registry = new Registry();
  const ingester = open(dataDir, registry);
  const before = process.cpuUsage();
  const startedMs = performance.now();
  await ingester.start();
  const readyMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(before);
  const { rss } = process.memoryUsage();
  globalThis.gc?.();
  await sleep(500);
  const settled = process.memoryUsage().rss;
  const head = await metricOf(registry, 'tidemark_ingester_head_bytes');
  const client = createInProcessClient(IngesterDefinition, ingester.handlers);
  const all = {
    ...{
      tenant: DEFAULT_TENANT,
      matchers: toWireMatchers([{ name: 'job', operator: '=', value: 'node' }]),
      minTimeMs: 0,
      maxTimeMs: 1e15,
    },
    ...{ labelsOnly: false, partitions: [], seriesMax: 0 },
  };
  let samples = 0;
  const columns = new SampleColumns(256);
  for await (const { frame } of client.select(all, { signal: new AbortController().signal })) {
    if (frame.length === 0) continue;
    readSeriesFrame(frame, {
      beginSeries: () => undefined,
      chunk: (encoding, _first, _last, bytes, start, end) => {
        columns.count = 0;
        decodeChunk(encoding, bytes, start, end, columns);
        samples += columns.count;
      },
    });
  }
  const cpuMs = Math.round((user + system) / 1000);
  console.log(JSON.stringify({ readyMs: Math.round(readyMs), cpuMs, rss, settled, head, samples }));
  process.exit(0);
}

interface FeedLine {
  readonly acknowledged: number;
  readonly images: number;
  readonly written: number;
  readonly bytes: number;
  readonly replay: number;
  readonly head: number;
  readonly stallMaxMs: number;
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

function bytesBelow(folder: string): number {
  if (!existsSync(folder)) return 0;
  return readdirSync(folder).reduce((sum, name) => sum + statSync(path.join(folder, name)).size, 0);
}

/** Lines of a child's standard output, until it ends. */
async function run(args: readonly string[], onLine: (line: string, pid: number) => boolean): Promise<void> {
  const self = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, ['--expose-gc', self, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let rest = '';
  for await (const text of child.stdout.setEncoding('utf8')) {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    for (const line of lines) if (!onLine(line, child.pid!)) child.kill('SIGKILL');
  }
}

async function main(seriesCount: number, scrapes: number): Promise<void> {
  const dataDir = mkdtempSync(path.join(tmpdir(), 'tidemark-restart-'));
  try {
    let last: FeedLine | undefined;
    let rssBefore = 0;
    let pacedSeconds = 0;
    let stallMaxMs = 0;
    await run(['feed', dataDir, `${seriesCount}`, `${scrapes}`], (line, pid) => {
      last = JSON.parse(line) as FeedLine;
      rssBefore = Math.max(rssBefore, residentBytes(pid));
      const isFed = last.acknowledged >= seriesCount * scrapes;
      if (isFed) stallMaxMs = Math.max(stallMaxMs, last.stallMaxMs);
      if (isFed) pacedSeconds++;
      // Half a minute at the pace of scrapes, with an image or two in it.
      return pacedSeconds < 30;
    });
    const images = bytesBelow(path.join(dataDir, 'head'));
    console.log(
      JSON.stringify({
        series: seriesCount,
        ...last,
        rssBefore,
        stallMaxMs,
        logBytes: bytesBelow(path.join(dataDir, 'log')),
        imageBytes: images,
      }),
    );
    for (const how of ['image', 'log']) {
      if (how === 'log') rmSync(path.join(dataDir, 'head'), { recursive: true, force: true });
      await run(['restart', dataDir], (line) => {
        const { samples, settled } = JSON.parse(line) as { samples: number; settled: number };
        console.log(how, line);
        if (samples < last!.acknowledged)
          throw new Error(`${samples} samples are there of ${last!.acknowledged} that were acknowledged`);
        console.log(how, 'bytes per series, whole process:', Math.round(settled / seriesCount));
        return true;
      });
    }
  } finally {
    rmSync(dataDir, { recursive: true });
  }
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === 'feed') await feed(rest[0]!, Number(rest[1]), Number(rest[2]));
else if (mode === 'restart') await restart(rest[0]!);
else await main(Number(mode ?? 100_000), Number(rest[0] ?? 60));

// How long an ingester takes from kill -9 under load to ready, and what memory it has before and after: a process is fed,
// goes on being fed at the pace of scrapes, is killed while it writes head images, and another starts on its folder, which
// then counts the samples of each series. Then the same without the image. With `kills` a process is killed time after time, at random
// moments of its load (as fast as it takes them at first, then at the pace of scrapes), the next goes on on its folder, and at the end
// every sample that was acknowledged is looked for, series by series, time by time, with its value.
// Run: node --expose-gc services/ingester/log/restart.bench.ts [series] [scrapes]
//  or: node --expose-gc services/ingester/log/restart.bench.ts kills [series] [kills] [seed] [scrapes before the pace]
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Registry } from 'prom-client';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { decodeLabels, encodeLabels, Labels } from '../../lib/model/labels.ts';
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
/** More than is sent between two lines of a feeding process. */
const SENT_MAX = 3_000_000;
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

function requestOf(
  sequence: number,
  scrape: number,
  first: number,
  count: number,
  isFirst: boolean,
): AppendRequest {
  const definitions = new ByteWriter();
  const labels = new ByteWriter();
  for (let i = first; isFirst && i < first + count; i++) {
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
    isFirst ? count : 0,
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

/**
 * Feeds until it is killed; says on standard output how many samples are acknowledged, in order, and what it has.
 *
 * @param fast   Scrapes that are sent as fast as they are taken.
 * @param first  Number of the first scrape.
 */
async function feed(dataDir: string, seriesCount: number, fast: number, first: number): Promise<void> {
  const registry = new Registry();
  const ingester = open(dataDir, registry);
  const startedMs = performance.now();
  const cpuBefore = process.cpuUsage();
  await ingester.start();
  const { user, system } = process.cpuUsage(cpuBefore);
  const ready = {
    readyMs: Math.round(performance.now() - startedMs),
    cpuMs: Math.round((user + system) / 1000),
    readyRss: process.memoryUsage().rss,
  };
  let acknowledged = 0;
  const sent: { readonly count: number; readonly atMs: number }[] = [];
  let answered = 0;
  async function* requests(): AsyncGenerator<AppendRequest> {
    for (let scrape = first; ; scrape++) {
      const scrapeMs = performance.now();
      for (let at = 0; at < seriesCount; at += SAMPLES_PER_REQUEST) {
        while (sent.length - answered >= IN_FLIGHT_MAX) await sleep(1);
        const count = Math.min(SAMPLES_PER_REQUEST, seriesCount - at);
        const request = requestOf(sent.length + 1, scrape, at, count, scrape === first);
        sent.push({ count, atMs: performance.now() });
        yield request;
        if (scrape < first + fast) continue;
        const dueMs = scrapeMs + ((at + count) / seriesCount) * SCRAPE_MS;
        if (dueMs > performance.now()) await sleep(dueMs - performance.now());
      }
    }
  }
  // What a turn of the event loop may have to wait, and an answer, while images are written too.
  let lastMs = performance.now();
  let stalls: number[] = [];
  let answers: number[] = [];
  setInterval(() => {
    const nowMs = performance.now();
    stalls.push(nowMs - lastMs - 5);
    lastMs = nowMs;
  }, 5);
  setInterval(() => {
    void (async () => {
      const known = acknowledged;
      const [images, written, bytes, replay, startSeconds, head] = await Promise.all(
        [
          'head_images_total',
          'head_image_written_bytes_total',
          'head_image_bytes',
          'replay_pending_bytes',
          'start_estimated_seconds',
          'head_bytes',
        ].map((name) => metricOf(registry, `tidemark_ingester_${name}`)),
      );
      const line = { ...ready, acknowledged: known, images, written, bytes, replay, startSeconds, head };
      const [stallMaxMs, ackP50Ms, ackP99Ms] = [at(stalls, 1), at(answers, 0.5), at(answers, 0.99)];
      stalls = [];
      answers = [];
      console.log(JSON.stringify({ ...line, stallMaxMs, ackP50Ms, ackP99Ms, userMs: userMs() }));
    })();
  }, 1000);
  const client = createInProcessClient(IngesterDefinition, ingester.handlers);
  const { signal } = new AbortController();
  for await (const { outcome } of client.append(requests(), { signal })) {
    const { count, atMs } = sent[answered++]!;
    answers.push(performance.now() - atMs);
    if (outcome !== AppendOutcome.APPEND_OUTCOME_DURABLE) throw new Error(`request ${answered}: ${outcome}`);
    acknowledged += count;
  }
}

function userMs(): number {
  return Math.round(process.cpuUsage().user / 1000);
}

/** The value at a share of all, whole milliseconds. */
function at(values: number[], share: number): number {
  const sorted = values.sort((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
}

/** What one process acknowledged: the first so many samples of all scrapes from `first` on. */
interface Round {
  readonly first: number;
  readonly acknowledged: number;
}

/** Starts on the folder and counts, and looks for each sample of the rounds. */
async function restart(dataDir: string, seriesCount: number, rounds: readonly Round[]): Promise<void> {
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
  let missing = 0;
  const columns = new SampleColumns(256);
  const there = new Map<number, number>();
  let series = -1;
  const conclude = (): void => {
    if (series >= 0) missing += missingOf(series, seriesCount, rounds, there);
    there.clear();
  };
  for await (const { frame } of client.select(all, { signal: new AbortController().signal })) {
    if (frame.length === 0) continue;
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => {
        conclude();
        if (rounds.length > 0) series = seriesOf(decodeLabels(bytes, start, end));
      },
      chunk: (encoding, _first, _last, bytes, start, end) => {
        columns.count = 0;
        decodeChunk(encoding, bytes, start, end, columns);
        samples += columns.count;
        if (rounds.length === 0) return;
        for (let i = 0; i < columns.count; i++) there.set(columns.timestampsMs[i]!, columns.values[i]!);
      },
    });
  }
  conclude();
  const cpuMs = Math.round((user + system) / 1000);
  console.log(JSON.stringify({ readyMs: Math.round(readyMs), cpuMs, rss, settled, head, samples, missing }));
  process.exit(0);
}

/** Number of a series, from its labels. */
function seriesOf(labels: Labels): number {
  const numberIn = (name: string) => Number(/\d+/.exec(labels.get(name)!)![0]);
  return numberIn('instance') * 700 + numberIn('__name__');
}

/** Samples of a series that were acknowledged, and are not there as they were sent. */
function missingOf(
  series: number,
  seriesCount: number,
  rounds: readonly Round[],
  there: ReadonlyMap<number, number>,
): number {
  let missing = 0;
  for (const { first, acknowledged } of rounds) {
    for (let scrape = first; (scrape - first) * seriesCount + series < acknowledged; scrape++) {
      if (there.get(START_MS + scrape * SCRAPE_MS) !== valueAt(series, scrape)) missing++;
    }
  }
  return missing;
}

interface FeedLine {
  readonly readyMs: number;
  readonly cpuMs: number;
  readonly readyRss: number;
  readonly startSeconds: number;
  readonly ackP99Ms: number;
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

/** Kills at random moments, goes on, and looks for every acknowledged sample at the end. */
async function kills(seriesCount: number, count: number, seed: number, fast: number): Promise<void> {
  const dataDir = mkdtempSync(path.join(tmpdir(), 'tidemark-kills-'));
  const random = randomFrom(seed);
  const rounds: Round[] = [];
  let first = 0;
  let rssMax = 0;
  let longestMs = 0;
  try {
    for (let round = 0; round < count; round++) {
      // Of two rounds one ends in the ramp-up, the other at the pace of scrapes, after up to 20 s of it.
      const isPaced = round % 2 === 1;
      const killAtAcknowledged = seriesCount * fast * (isPaced ? 1 : 0.1 + 0.9 * random());
      const delayMs = isPaced ? random() * 20_000 : random() * 1000;
      let killAtMs = Number.POSITIVE_INFINITY;
      let last: FeedLine | undefined;
      let ackP99Ms = 0;
      const rssBefore = rssMax;
      await run(['feed', dataDir, `${seriesCount}`, `${fast}`, `${first}`], (line, pid) => {
        last = JSON.parse(line) as FeedLine;
        rssMax = Math.max(rssMax, residentBytes(pid));
        if (last.acknowledged >= killAtAcknowledged && killAtMs === Number.POSITIVE_INFINITY) {
          killAtMs = performance.now() + delayMs;
          setTimeout(() => process.kill(pid, 'SIGKILL'), delayMs);
        } else if (isPaced && killAtMs < Number.POSITIVE_INFINITY) {
          ackP99Ms = Math.max(ackP99Ms, last.ackP99Ms);
        }
        return true;
      });
      const { readyMs, cpuMs, readyRss, acknowledged, startSeconds, images, replay } = last!;
      rounds.push({ first, acknowledged });
      // Behind all that was sent, acknowledged or not.
      first += Math.ceil((acknowledged + SENT_MAX) / seriesCount) + 1;
      if (round > 0) longestMs = Math.max(longestMs, readyMs);
      const memory = { readyRss, rssBefore };
      const atKill = { acknowledged, images, replay, startSeconds, ...(isPaced && { ackP99Ms }) };
      console.log(JSON.stringify({ round, readyMs, cpuMs, ...memory, atKill }));
    }
    await run(['restart', dataDir, `${seriesCount}`, JSON.stringify(rounds)], (line) => {
      console.log('at the end', line);
      const { missing, readyMs, rss } = JSON.parse(line) as { missing: number; readyMs: number; rss: number };
      longestMs = Math.max(longestMs, readyMs);
      if (missing > 0) throw new Error(`${missing} samples are not there that were acknowledged`);
      const acknowledged = rounds.reduce((sum, round) => sum + round.acknowledged, 0);
      const figures = { kills: count, seed, acknowledged, missing, longestMs, rss, rssMax };
      console.log(JSON.stringify({ ...figures, atMoment: new Date().toISOString(), load: loadavg() }));
      return true;
    });
  } finally {
    rmSync(dataDir, { recursive: true });
  }
}

/** 0 … 1, the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === 'feed') await feed(rest[0]!, Number(rest[1]), Number(rest[2]), Number(rest[3] ?? 0));
else if (mode === 'restart')
  await restart(rest[0]!, Number(rest[1] ?? 0), JSON.parse(rest[2] ?? '[]') as Round[]);
else if (mode === 'kills')
  await kills(
    ...(rest.map(Number).concat([100_000, 5, 1, 8].slice(rest.length)) as [number, number, number, number]),
  );
else await main(Number(mode ?? 100_000), Number(rest[0] ?? 60));

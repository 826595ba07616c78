// `npm run bench`: Tidemark beside Debian's prometheus and victoria-metrics in one run, on data made from real node-exporter
// scrapes: remote-write samples per server CPU-second, bytes per sample, memory, the twelve queries, single operations. With
// `--only latency`: how long a request of 2,000 samples takes at half of the rate that the system reached before.
// usage: npm run bench -- [--targets 100] [--scrapes 240] [--runs 7] [--warm-up 2] [--systems tidemark,victoria-metrics] [--only write|query|latency]
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { compareQuery, countSamples, describeFigures, OPERATIONS, warmUp } from './query-comparison.ts';
import { readQueries } from './query-load.ts';
import { makeReplay, type Replay, STEP_MS, sharedBench } from './replay-file.ts';
import {
  availableSystems,
  blocksFolderOf,
  bytesBelow,
  residentBytesOf,
  type System,
  type SystemName,
  startSystem,
} from './systems.ts';

/** What the driver prints of a replay. */
interface ReplayFigures {
  readonly requests: number;
  readonly wall_s: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
}

/** Sends a replay's requests, four at a time; at a rate, or as fast as they are answered. Returns the driver's line. */
function send(system: System, replay: Replay, requestsPerSecond = 0): string {
  const printed = execFileSync(
    process.execPath,
    [
      path.join(sharedBench, 'replay.mjs'),
      replay.file,
      `${system.url}/api/v1/write`,
      ...['--samples', String(replay.samples), '--pids', String(system.pid)],
      ...['--rate', String(requestsPerSecond)],
    ],
    { encoding: 'utf8', maxBuffer: 1 << 24 },
  );
  return printed.trim();
}

function write(system: System, replay: Replay): void {
  const idle = residentBytesOf(system.pid);
  const printed = send(system, replay);
  const perSeries = (residentBytesOf(system.pid) - idle) / replay.series;
  console.log(`${system.name.padEnd(17)} ${printed} memory_bytes_per_series=${Math.round(perSeries)}`);
}

/** Latency of requests at half of the peak, of series that are known: the first replay makes them, and shows the peak. */
function measureLatency(system: System, first: Replay, second: Replay): void {
  const peak = JSON.parse(send(system, first)) as ReplayFigures;
  const rate = peak.requests / peak.wall_s / 2;
  const half = JSON.parse(send(system, second, rate)) as ReplayFigures;
  console.log(
    `${system.name.padEnd(17)} ${rate.toFixed(1)} requests/s (half of the peak): p50 ${half.p50_ms} ms, p99 ${half.p99_ms} ms ` +
      `of ${half.requests}; at the peak p50 ${peak.p50_ms} ms, p99 ${peak.p99_ms} ms`,
  );
}

async function measureDisk(system: System, replay: Replay): Promise<void> {
  await system.settle();
  const bytes = bytesBelow(blocksFolderOf(system));
  const what = system.name === 'prometheus' ? 'log and head chunks' : 'blocks, index included';
  console.log(
    `${system.name.padEnd(17)} ${(bytes / replay.samples).toFixed(3)} bytes per sample on disk (${what})`,
  );
}

/** The twelve queries, of servers that were asked little and of warm ones, then single operations with their cost per sample. */
async function query(systems: readonly System[], replay: Replay, runs: number): Promise<void> {
  const window = {
    endSeconds: replay.endSeconds,
    spanSeconds: Math.max(60, replay.spanSeconds - 40),
  };
  const queries = readQueries(path.join(sharedBench, 'queries.json'));
  const compareAllQueries = async (): Promise<void> => {
    for (const each of queries)
      console.log(describeFigures(each.name, systems, await compareQuery(systems, each, window, runs)));
  };
  console.log('asked five times before:');
  await compareAllQueries();
  const secondsEach = Number(options['warm-up']);
  if (secondsEach > 0) {
    console.log(`\nasked each query for ${secondsEach} s before:`);
    await warmUp(systems, queries, window, secondsEach);
    await compareAllQueries();
  }
  console.log('\noperations, CPU per sample that is selected:');
  for (const each of OPERATIONS) {
    const samples = await countSamples(systems[0]!, each.selectors, window);
    const figures = await compareQuery(systems, each, window, runs);
    console.log(describeFigures(each.name, systems, figures, samples));
  }
}

const { values: options } = parseArgs({
  options: {
    targets: { type: 'string', default: '100' },
    scrapes: { type: 'string', default: '240' },
    runs: { type: 'string', default: '7' },
    'warm-up': { type: 'string', default: '2' },
    systems: { type: 'string', default: availableSystems().join(',') },
    only: { type: 'string', default: '' },
  },
});

const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-bench-'));
const systems: System[] = [];

/** For latency: a replay as long as the other one lies behind it. */
async function compareLatency(targets: number, scrapes: number): Promise<void> {
  const first = makeReplay(folder, targets, scrapes, Date.now() - scrapes * STEP_MS);
  const secondFolder = path.join(folder, 'second');
  mkdirSync(secondFolder);
  const second = makeReplay(secondFolder, targets, scrapes);
  for (const name of options.systems.split(',')) {
    const system = await startSystem(name as SystemName);
    systems.push(system);
    measureLatency(system, first, second);
  }
}

async function compareAll(): Promise<void> {
  console.log(`making ${options.targets} targets × ${options.scrapes} scrapes …`);
  const replay = makeReplay(folder, Number(options.targets), Number(options.scrapes));
  console.log(
    `${replay.series} series, ${replay.samples} samples\n\nremote write 1.0, server CPU from /proc:`,
  );
  for (const name of options.systems.split(',')) {
    const system = await startSystem(name as SystemName);
    systems.push(system);
    write(system, replay);
  }
  if (options.only !== 'write') {
    console.log(`\nqueries over ${replay.spanSeconds} s, medians of ${options.runs}, samples in memory;`);
    await query(systems, replay, Number(options.runs));
  }
  console.log('\non disk:');
  for (const system of systems) await measureDisk(system, replay);
  if (options.only !== 'write') {
    console.log('\nthe same queries, samples in blocks;');
    await query(systems, replay, Number(options.runs));
  }
}

try {
  if (options.only === 'latency') await compareLatency(Number(options.targets), Number(options.scrapes));
  else await compareAll();
} finally {
  for (const system of systems) await system.stop();
  rmSync(folder, { recursive: true, force: true });
}

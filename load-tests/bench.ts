// `npm run bench`: Tidemark beside Debian's prometheus and victoria-metrics in one run, on data made from real node-exporter
// scrapes: remote-write samples per server CPU-second, bytes per sample, memory, the twelve queries, single operations. With
// `--only latency`: how long a request of 2,000 samples takes at half of the rate that the system reached before, by itself and while
// the heaviest of the queries are asked one behind the other.
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { positive, readFlags } from './command-line.ts';
import {
  ask,
  compareQuery,
  countSamples,
  describeFigures,
  median,
  OPERATIONS,
  type QueryWindow,
  warmUp,
} from './query-comparison.ts';
import { type LoadQuery, readQueries } from './query-load.ts';
import { makeReplay, type Replay, STEP_MS, sharedBench } from './replay-file.ts';
import {
  availableSystems,
  blocksFolderOf,
  bytesBelow,
  residentBytesOf,
  type System,
  type SystemName,
  startSystem,
  untilOnDiskOnly,
} from './systems.ts';

/** What the driver prints of a replay. */
interface ReplayFigures {
  readonly requests: number;
  readonly wall_s: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
}

/** Sends a replay's requests, four at a time; at a rate, or as fast as they are answered. Returns the driver's line. */
async function send(system: System, replay: Replay, requestsPerSecond = 0): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    path.join(sharedBench, 'replay.mjs'),
    replay.file,
    `${system.url}/api/v1/write`,
    ...['--samples', String(replay.samples), '--pids', String(system.pid)],
    ...['--rate', String(requestsPerSecond)],
  ]);
  return stdout.trim();
}

async function write(system: System, replay: Replay): Promise<void> {
  const idle = residentBytesOf(system.pid);
  const printed = await send(system, replay);
  const perSeries = (residentBytesOf(system.pid) - idle) / replay.series;
  console.log(`${system.name.padEnd(17)} ${printed} memory_bytes_per_series=${Math.round(perSeries)}`);
}

/** Those that read most. */
const HEAVY_QUERIES = ['range_count_all', 'range_sum_rate_all'];

/** Latency of requests at half of the peak, of series that are known: the first replay makes them, and shows the peak. */
async function measureLatency(
  system: System,
  [first, second, third]: readonly [Replay, Replay, Replay],
): Promise<void> {
  const peak = JSON.parse(await send(system, first)) as ReplayFigures;
  const rate = peak.requests / peak.wall_s / 2;
  const half = JSON.parse(await send(system, second, rate)) as ReplayFigures;
  console.log(
    `${system.name.padEnd(17)} ${rate.toFixed(1)} requests/s (half of the peak): p50 ${half.p50_ms} ms, p99 ${half.p99_ms} ms ` +
      `of ${half.requests}; at the peak p50 ${peak.p50_ms} ms, p99 ${peak.p99_ms} ms`,
  );
  const queries = readQueries(path.join(sharedBench, 'queries.json')).filter(({ name }) =>
    HEAVY_QUERIES.includes(name),
  );
  const window = { endSeconds: second.endSeconds, spanSeconds: Math.max(60, second.spanSeconds - 40) };
  const { printed, latencies } = await askUntil(system, queries, window, send(system, third, rate));
  const beside = JSON.parse(printed) as ReplayFigures;
  console.log(
    `${' '.repeat(17)} the same beside ${latencies.length} heavy queries (median ${median(latencies).toFixed(0)} ms): ` +
      `p50 ${beside.p50_ms} ms, p99 ${beside.p99_ms} ms`,
  );
}

/** Asks queries one behind the other until the writer is done. Answers how long each took, ms, and what the writer printed. */
async function askUntil(
  system: System,
  queries: readonly LoadQuery[],
  window: QueryWindow,
  writer: Promise<string>,
): Promise<{ readonly printed: string; readonly latencies: number[] }> {
  let isOver = false;
  const done = writer.finally(() => {
    isOver = true;
  });
  const latencies: number[] = [];
  for (let i = 0; !isOver; i++) {
    const startMs = performance.now();
    await ask(system, queries[i % queries.length]!, window);
    latencies.push(performance.now() - startMs);
  }
  return { printed: await done, latencies };
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
async function query(systems: readonly System[], replay: Replay): Promise<void> {
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

const USAGE = `Tidemark beside Debian's prometheus and victoria-metrics: writes, the twelve queries, operations, bytes on disk.

usage: npm run bench -- [flags]

  --targets N      targets of 550 series                                       100
  --scrapes N      samples of each series, 15 s apart                          240
  --runs N         answers to each query, of which the median counts           7
  --warm-up S      seconds that each query is asked for before; 0: not at all  2
  --systems A,B    which of ${availableSystems().join(', ')}
  --only PART      write: no queries; latency: of writes at half of the peak, alone and beside heavy queries

Data are real scrapes of node-exporter, found under TIDEMARK_SHARED. All in all 12 minutes, on a machine that does nothing else.
`;

const options = readFlags(USAGE, {
  targets: { type: 'string', default: '100' },
  scrapes: { type: 'string', default: '240' },
  runs: { type: 'string', default: '7' },
  'warm-up': { type: 'string', default: '2' },
  systems: { type: 'string', default: availableSystems().join(',') },
  only: { type: 'string', default: '' },
});
const targets = positive('targets', options.targets);
const scrapes = positive('scrapes', options.scrapes);
const runs = positive('runs', options.runs);

const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-bench-'));
const systems: System[] = [];

/** For latency: replays as long as each other, one behind the other in time. */
async function compareLatency(): Promise<void> {
  const make = (name: string, behind: number): Replay => {
    const own = path.join(folder, name);
    mkdirSync(own);
    return makeReplay(own, targets, scrapes, Date.now() - behind * scrapes * STEP_MS);
  };
  const replays = [make('first', 2), make('second', 1), make('third', 0)] as const;
  for (const name of options.systems.split(',')) {
    const system = await startSystem(name as SystemName);
    systems.push(system);
    await measureLatency(system, replays);
  }
}

async function compareAll(): Promise<void> {
  console.log(`making ${targets} targets × ${scrapes} scrapes …`);
  const replay = makeReplay(folder, targets, scrapes);
  console.log(
    `${replay.series} series, ${replay.samples} samples\n\nremote write 1.0, server CPU from /proc:`,
  );
  for (const name of options.systems.split(',')) {
    const system = await startSystem(name as SystemName);
    systems.push(system);
    await write(system, replay);
  }
  if (options.only !== 'write') {
    console.log(`\nqueries over ${replay.spanSeconds} s, medians of ${options.runs}, samples in memory;`);
    await query(systems, replay);
  }
  console.log('\non disk:');
  for (const system of systems) await measureDisk(system, replay);
  if (options.only !== 'write') {
    for (const system of systems) await untilOnDiskOnly(system);
    console.log('\nthe same queries, samples in blocks;');
    await query(systems, replay);
  }
}

try {
  if (options.only === 'latency') await compareLatency();
  else await compareAll();
} finally {
  for (const system of systems) await system.stop();
  rmSync(folder, { recursive: true, force: true });
}

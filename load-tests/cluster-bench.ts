// What separate processes cost: all-in-one beside clusters of one gateway, three ingesters, one store and one querier, at each
// replication factor, on the same data in one run. CPU from /proc by process, bytes from the processes' own counters and, to
// check these, from the kernel's of the gateway's sockets, latencies of the twelve queries.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findProgram, waitFor } from '../test/support/programs.ts';
import { type BenchProcess, startBenchCluster } from './cluster-processes.ts';
import { positive, readFlags } from './command-line.ts';
import { usageOf } from './process-usage.ts';
import { makeReplay, type Replay, STEP_MS, sharedBench } from './replay-file.ts';
import { startSystem } from './systems.ts';

interface Contestant {
  readonly name: string;
  readonly url: string;
  readonly processes: readonly BenchProcess[];
  readonly replicationFactor: number;
  readonly stop: () => Promise<void>;
}

interface Measured {
  readonly cpuNsPerSample: ReadonlyMap<string, number>;
  readonly totalNsPerSample: number;
}

const APPEND = 'Ingester/Append';
const COUNTS = { ingester: 3, store: 1, querier: 1, gateway: 1 } as const;

async function startContestants(
  factors: readonly number[],
  basePort: number,
  nodeFlags: Readonly<Record<string, readonly string[]>>,
): Promise<Contestant[]> {
  const single = await startSystem('tidemark');
  const own = { name: 'all-in-one', service: 'all-in-one', pid: single.pid, url: single.url };
  const contestants: Contestant[] = [
    { ...single, name: 'all-in-one', processes: [own], replicationFactor: 1 },
  ];
  for (const [i, replicationFactor] of factors.entries()) {
    const options = { replicationFactor, counts: COUNTS, basePort: basePort + i * 100, nodeFlags };
    try {
      const cluster = await startBenchCluster(options);
      contestants.push({ ...cluster, name: `RF ${replicationFactor}`, replicationFactor });
    } catch (caught) {
      await Promise.all(contestants.map((each) => each.stop()));
      throw caught;
    }
  }
  return contestants;
}

async function write(contestant: Contestant, replay: Replay): Promise<Measured> {
  const { processes, url, name } = contestant;
  const cpuOf = (): number[] => processes.map(({ pid }) => usageOf([pid]).cpuSeconds);
  const before = { cpu: cpuOf(), counted: await appendTraffic(contestant), kernel: socketBytes(contestant) };
  const printed = execFileSync(
    process.execPath,
    [
      path.join(sharedBench, 'replay.mjs'),
      replay.file,
      `${url}/api/v1/write`,
      ...['--samples', String(replay.samples)],
    ],
    { encoding: 'utf8', maxBuffer: 1 << 24 },
  );
  const cpu = cpuOf().map((seconds, i) => ((seconds - before.cpu[i]!) * 1e9) / replay.samples);
  const { bad, p50_ms, p99_ms } = JSON.parse(printed) as {
    bad: Record<string, number>;
    p50_ms: number;
    p99_ms: number;
  };
  const cpuNsPerSample = new Map<string, number>();
  for (const [i, { service }] of processes.entries()) {
    cpuNsPerSample.set(service, (cpuNsPerSample.get(service) ?? 0) + cpu[i]!);
  }
  const totalNsPerSample = cpu.reduce((sum, each) => sum + each, 0);
  const parts = [...cpuNsPerSample].map(([service, ns]) => `${service} ${ns.toFixed(0)}`).join(', ');
  console.log(
    `${name.padEnd(11)} ${totalNsPerSample.toFixed(0)} ns/sample (${parts}); p50 ${p50_ms} ms, p99 ${p99_ms} ms` +
      (Object.keys(bad).length > 0 ? `; FAILED ${JSON.stringify(bad)}` : ''),
  );
  if (contestant.name !== 'all-in-one') {
    const copies = replay.samples * contestant.replicationFactor;
    const { counted, kernel } = before;
    const after = await appendTraffic(contestant);
    const kernelBytes = socketBytes(contestant);
    const kernelText =
      kernel === undefined || kernelBytes === undefined
        ? 'no ss here to check it'
        : `${((kernelBytes - kernel) / copies).toFixed(2)} on its sockets to ingesters by the kernel`;
    console.log(
      `${''.padEnd(11)} ${((after.sentBytes - counted.sentBytes) / copies).toFixed(2)} bytes per sample and copy sent, ` +
        `${((after.receivedBytes - counted.receivedBytes) / copies).toFixed(2)} received (messages), ${kernelText}`,
    );
  }
  return { cpuNsPerSample, totalNsPerSample };
}

/** Message bytes of appends: sent by the gateway, received by all ingesters. */
async function appendTraffic(contestant: Contestant): Promise<{ sentBytes: number; receivedBytes: number }> {
  let sentBytes = 0;
  let receivedBytes = 0;
  for (const { service, url } of contestant.processes) {
    if (service === 'gateway') sentBytes += await counterOf(url, 'tidemark_rpc_sent_bytes_total');
    if (service === 'ingester') receivedBytes += await counterOf(url, 'tidemark_rpc_received_bytes_total');
  }
  return { sentBytes, receivedBytes };
}

async function counterOf(url: string, name: string): Promise<number> {
  // Asked again: fetch may take a kept connection that the server is just closing.
  const text = await waitFor(`${url}/metrics`, async () => (await fetch(`${url}/metrics`)).text());
  const line = text.split('\n').find((each) => each.startsWith(`${name}{method="${APPEND}"}`));
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1));
}

/** What the kernel says that the gateway sent to the ingesters' gRPC ports; undefined without `ss`. */
function socketBytes(contestant: Contestant): number | undefined {
  if (findProgram('ss') === undefined) return undefined;
  const gateway = contestant.processes.find(({ service }) => service === 'gateway');
  if (gateway === undefined) return 0;
  const ports = contestant.processes
    .filter(({ service }) => service === 'ingester')
    .map(({ url }) => Number(new URL(url).port) + 1);
  let sum = 0;
  for (const port of ports) {
    const printed = execFileSync('ss', ['-tinpH', `dport = :${port}`], { encoding: 'utf8' });
    const lines = printed.split('\n');
    for (const [i, line] of lines.entries()) {
      if (!line.includes(`pid=${gateway.pid},`)) continue;
      sum += Number(/bytes_sent:(\d+)/.exec(lines[i + 1] ?? '')?.[1] ?? 0);
    }
  }
  return sum;
}

function query(contestants: readonly Contestant[], replay: Replay, runs: number): void {
  const named = contestants.map(({ name, url, processes }) =>
    [`${name.replace(' ', '')}=${url}`, ...processes.map(({ pid }) => pid)].join(','),
  );
  execFileSync(process.execPath, [path.join(sharedBench, 'qbench.mjs'), String(runs), ...named], {
    stdio: 'inherit',
    env: {
      ...process.env,
      END: String(replay.endSeconds),
      SPAN: String(Math.max(60, replay.spanSeconds - 40)),
    },
  });
}

const USAGE = `Separate processes beside all-in-one on the same data: CPU per sample by process, bytes on the wire, the twelve queries.

usage: node load-tests/cluster-bench.ts [flags]

  --targets N        targets of 550 series                                 100
  --scrapes N        samples of each series in a round                     60
  --factors A,B      replication factors, a cluster for each               1,3
  --rounds N         the first one makes the series: read the last         2
  --runs N           answers to each query, of which the median counts     5
  --only write       no queries
  --base-port N      clusters take ports from here on                      25000
  --profile-dir DIR  CPU profiles of gateways and ingesters

Needs nats-server on the PATH.
`;

const options = readFlags(USAGE, {
  targets: { type: 'string', default: '100' },
  scrapes: { type: 'string', default: '60' },
  factors: { type: 'string', default: '1,3' },
  rounds: { type: 'string', default: '2' },
  runs: { type: 'string', default: '5' },
  only: { type: 'string', default: '' },
  'base-port': { type: 'string', default: '25000' },
  'profile-dir': { type: 'string', default: '' },
});
const targets = positive('targets', options.targets);
const scrapes = positive('scrapes', options.scrapes);
const rounds = positive('rounds', options.rounds);

const folder = mkdtempSync(path.join(tmpdir(), 'tidemark-cluster-bench-'));
let contestants: Contestant[] = [];
try {
  const factors = options.factors.split(',').filter(Boolean).map(Number);
  const profile = ['--cpu-prof', `--cpu-prof-dir=${options['profile-dir']}`];
  const nodeFlags = options['profile-dir'] === '' ? {} : { gateway: profile, ingester: profile };
  contestants = await startContestants(factors, Number(options['base-port']), nodeFlags);
  const endMs = Date.now();
  for (let round = 1; round <= rounds; round++) {
    // Each round goes on where the last one ended: the first makes the series and warms the code up.
    const replay = makeReplay(folder, targets!, scrapes!, endMs - (rounds! - round) * scrapes! * STEP_MS);
    console.log(`round ${round}: ${replay.series} series, ${replay.samples} samples, CPU by process:`);
    const measured: Measured[] = [];
    for (const contestant of contestants) measured.push(await write(contestant, replay));
    const [single, ...clusters] = measured.map(({ totalNsPerSample }) => totalNsPerSample);
    const ratios = clusters.map((total, i) => `RF ${factors[i]}: ${(total / single!).toFixed(2)} ×`);
    console.log(`CPU beside all-in-one: ${ratios.join(', ')}`);
    if (options.only !== 'write' && round === rounds) {
      console.log(`queries over ${replay.spanSeconds} s, medians of ${options.runs}:`);
      query(contestants, replay, Number(options.runs));
    }
  }
} finally {
  await Promise.all(contestants.map((each) => each.stop()));
  rmSync(folder, { recursive: true, force: true });
}

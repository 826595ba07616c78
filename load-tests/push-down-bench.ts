// What it saves that ingesters, and stores of what is in blocks, evaluate parts of queries: bytes that a querier receives, its CPU and theirs, and
// the time of a query, on a cluster of processes with two queriers, one of which reads chunks.
import { connectGrpc } from '../services/lib/transport/grpc/grpc-client.ts';
import { createRpcTraffic } from '../services/lib/transport/rpc-traffic.ts';
import { QuerierDefinition, type QueryRequest } from '../services/lib/wire/contracts.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../test/support/remote-write-body.ts';
import { type BenchProcess, startBenchCluster } from './cluster-processes.ts';
import { positive, readFlags } from './command-line.ts';
import { usageOf } from './process-usage.ts';

const STEP_MS = 15_000;
const SERIES_PER_REQUEST = 2_000;
/** What the issue names, and what dashboards ask beside it. */
const QUERIES: readonly (readonly [string, number])[] = [
  ['sum by (job) (rate(x[5m]))', 0],
  ['count(x)', 0],
  ['topk(5, x)', 0],
  ['sum by (job) (rate(x[1m]))', 30_000],
];

const USAGE = `Two queriers of one cluster, one of which reads chunks: bytes received, CPU and time of the same queries.

usage: node load-tests/push-down-bench.ts [flags]

  --series N       series of one metric                               50000
  --jobs N         values of the label that is grouped by             20
  --samples N      samples of each series, 15 s apart                 24
  --factor N       replication factor                                 3
  --runs N         answers to each query, of which the median counts  9
  --history        samples of ten hours ago, sealed: stores have them
  --base-port N    the cluster takes ports from here on               22500

Needs nats-server on the PATH.
`;

const options = readFlags(USAGE, {
  series: { type: 'string', default: '50000' },
  jobs: { type: 'string', default: '20' },
  samples: { type: 'string', default: '24' },
  factor: { type: 'string', default: '3' },
  runs: { type: 'string', default: '9' },
  'base-port': { type: 'string', default: '22500' },
  history: { type: 'boolean', default: false },
});
const seriesCount = positive('series', options.series);
const jobs = positive('jobs', options.jobs);
const samples = positive('samples', options.samples);
const runs = positive('runs', options.runs);

async function write(url: string, endMs: number): Promise<void> {
  for (let from = 0; from < seriesCount; from += SERIES_PER_REQUEST) {
    const series = Array.from({ length: Math.min(SERIES_PER_REQUEST, seriesCount - from) }, (_, i) => {
      const n = from + i;
      const labels = { __name__: 'x', job: `job-${n % jobs}`, instance: `10.0.${n >> 8}.${n & 255}:9100` };
      const value = (at: number): number => at * ((n % 97) + 1) * 13 + (n % 7);
      const own = Array.from({ length: samples }, (_each, at): [number, number] => [
        endMs - (samples - 1 - at) * STEP_MS,
        value(at),
      ]);
      return { labels, samples: own };
    });
    const status = await sendWrite(url, snappyLiterals(encodeWriteRequest(series)), 60_000);
    if (status !== 204) throw new Error(`a write was answered with ${status}`);
  }
}

/** Message bytes that a process received, whatever the calls. */
async function receivedBytes(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith('tidemark_rpc_received_bytes_total{'));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

interface Measured {
  readonly bytes: number;
  readonly medianMs: number;
  readonly querierMs: number;
  readonly nodesMs: number;
  readonly answer: string;
}

async function measure(
  querier: BenchProcess,
  processes: readonly BenchProcess[],
  query: QueryRequest,
): Promise<Measured> {
  const address = `127.0.0.1:${Number(new URL(querier.url).port) + 1}`;
  const connection = connectGrpc(QuerierDefinition, { address, unaryTimeoutMs: 60_000 }, createRpcTraffic());
  const ask = async (): Promise<{ elapsedMs: number; answer: string }> => {
    const startedMs = performance.now();
    const frames: string[] = [];
    for await (const { part } of connection.client.query(query, { signal: AbortSignal.timeout(60_000) })) {
      if (part?.$case === 'frame') frames.push(Buffer.from(part.value).toString('base64'));
    }
    return { elapsedMs: performance.now() - startedMs, answer: frames.join() };
  };
  const evaluators = ['ingester', 'store'];
  const nodes = processes.filter(({ service }) => evaluators.includes(service)).map(({ pid }) => pid);
  try {
    // Code and threads are warm, and connections stand.
    for (let i = 0; i < 3; i++) await ask();
    const before = { own: cpuMs([querier.pid]), others: cpuMs(nodes) };
    const bytes: number[] = [];
    let received = await receivedBytes(querier.url);
    const times: number[] = [];
    let answer = '';
    for (let i = 0; i < runs; i++) {
      const asked = await ask();
      times.push(asked.elapsedMs);
      const now = await receivedBytes(querier.url);
      bytes.push(now - received);
      received = now;
      answer = asked.answer;
    }
    const after = { own: cpuMs([querier.pid]), others: cpuMs(nodes) };
    return {
      bytes: medianOf(bytes),
      medianMs: medianOf(times),
      querierMs: (after.own - before.own) / runs,
      nodesMs: (after.others - before.others) / runs,
      answer,
    };
  } finally {
    connection.close();
  }
}

function medianOf(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1]!;
}

function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + usageOf([pid]).cpuSeconds * 1000, 0);
}

const cluster = await startBenchCluster({
  replicationFactor: Number(options.factor),
  counts: { ingester: 3, store: options.history ? 2 : 1, querier: 2, gateway: 1 },
  basePort: Number(options['base-port']),
  flags: { 'querier-1': ['--query.push-down=false'], 'gateway-0': ['--web.enable-admin-api'] },
});
try {
  const ageMs = options.history ? 10 * 3_600_000 : 0;
  const endMs = Math.floor((Date.now() - ageMs) / STEP_MS) * STEP_MS;
  await write(cluster.url, endMs);
  if (options.history) {
    const sealed = await fetch(`${cluster.url}/api/v1/admin/tsdb/seal`, { method: 'POST' });
    if (!sealed.ok) throw new Error(`sealing was answered with ${sealed.status}`);
  }
  const where = options.history ? 'in blocks' : 'in ingesters';
  console.log(
    `${seriesCount} series in ${jobs} jobs, ${samples} samples each ${where}, RF ${options.factor}:`,
  );
  const queriers = cluster.processes.filter(({ service }) => service === 'querier');
  for (const [query, stepMs] of QUERIES) {
    const startMs = stepMs === 0 ? endMs : endMs - 10 * stepMs;
    const request: QueryRequest = {
      ...{ tenant: 'anonymous', query, startMs, endMs, stepMs, timeoutMs: 0, lookbackMs: 0, limit: 0 },
      allowPartial: false,
      noCache: true,
    };
    const [pushed, chunks] = [
      await measure(queriers[0]!, cluster.processes, request),
      await measure(queriers[1]!, cluster.processes, request),
    ];
    const print = ({ bytes, medianMs, querierMs, nodesMs }: Measured): string =>
      `${Math.round(bytes)} B, ${medianMs.toFixed(0)} ms, CPU querier ${querierMs.toFixed(0)} + ingesters and stores ${nodesMs.toFixed(0)} ms`;
    console.log(`${query}${stepMs > 0 ? `, ${(endMs - startMs) / stepMs + 1} steps` : ''}`);
    console.log(`  pushed down ${print(pushed)}\n  by chunks   ${print(chunks)}`);
    console.log(
      `  ${(chunks.bytes / pushed.bytes).toFixed(0)} × fewer bytes; answers ${pushed.answer === chunks.answer ? 'equal byte for byte' : 'differ in bytes'}`,
    );
  }
} finally {
  await cluster.stop();
}

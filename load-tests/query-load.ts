// Query load on a running system: the queries of a file in turn, by a number of clients that each wait for their answer (closed
// loop, as dashboards do). Prints a line a second, then latencies by query.
// usage: node load-tests/query-load.ts --url http://localhost:9090 [--queries FILE] [--concurrency 4] …; see --help
import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { positive, readFlags } from './command-line.ts';
import { call } from './http-call.ts';
import { parsePids, usageOf } from './process-usage.ts';
import { describeFailures, describeLatencies, RequestLog } from './request-log.ts';

export interface LoadQuery {
  readonly name: string;
  readonly expression: string;
  /** Seconds between steps; 0 for an instant query. */
  readonly stepSeconds: number;
}

export interface QueryLoadOptions {
  /** The server, without /api/v1. */
  readonly url: string;
  readonly queries: readonly LoadQuery[];
  /** Clients that ask at one time. */
  readonly concurrency: number;
  readonly durationSeconds: number;
  /** Range queries cover so many seconds up to now. */
  readonly spanSeconds: number;
  /** Server processes whose CPU and memory are told. */
  readonly pids: readonly number[];
}

/** The last line, as JSON. */
export interface QueryLoadSummary {
  readonly queries: number;
  readonly wallSeconds: number;
  readonly queriesPerSecond: number;
  readonly answeredBytes: number;
  /** Present with --pids. */
  readonly serverCpuSeconds?: number;
  readonly cpuMillisecondsPerQuery?: number;
  readonly residentBytes?: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly byQuery: readonly {
    readonly name: string;
    readonly count: number;
    readonly p50Ms: number;
    readonly p99Ms: number;
    readonly failures: number;
  }[];
}

const REQUEST_TIMEOUT_MS = 180_000;

/**
 * Reads `[[name, expression, step seconds], …]`.
 *
 * @throws Error naming the file and the item that is of another shape.
 */
export function readQueries(file: string): readonly LoadQuery[] {
  const items: unknown = JSON.parse(readFileSync(file, 'utf8'));
  if (!Array.isArray(items) || items.length === 0) throw new Error(`${file}: not a list of queries`);
  return items.map((item: unknown, i) => {
    const [name, expression, stepSeconds] = Array.isArray(item) ? (item as unknown[]) : [];
    if (typeof name !== 'string' || typeof expression !== 'string' || typeof stepSeconds !== 'number') {
      throw new Error(`${file}: item ${i} is not [name, expression, step seconds]`);
    }
    return { name, expression, stepSeconds };
  });
}

/** Runs the load to its end; `print` gets a line a second. */
export async function runQueryLoad(
  options: QueryLoadOptions,
  print: (line: string) => void,
): Promise<QueryLoadSummary> {
  print(
    `${options.queries.length} queries over ${options.spanSeconds} s, ${options.concurrency} clients, for ${options.durationSeconds} s`,
  );
  const load = new QueryLoad(options);
  const before = usageOf(options.pids);
  const startMs = performance.now();
  const ticker = setInterval(() => print(load.progress(startMs)), 1_000);
  await load.run(startMs);
  clearInterval(ticker);
  const wallSeconds = (performance.now() - startMs) / 1000;
  const after = usageOf(options.pids);
  const { log } = load;
  const cpu = after.cpuSeconds - before.cpuSeconds;
  return {
    queries: log.requests,
    wallSeconds,
    queriesPerSecond: log.requests / wallSeconds,
    answeredBytes: log.units,
    ...(options.pids.length === 0
      ? {}
      : {
          serverCpuSeconds: cpu,
          cpuMillisecondsPerQuery: (cpu * 1000) / Math.max(1, log.requests),
          residentBytes: after.residentBytes,
        }),
    p50Ms: log.percentile(0.5),
    p99Ms: log.percentile(0.99),
    maxMs: log.maxMs,
    failures: log.failures,
    byQuery: options.queries.map(({ name }, i) => {
      const own = load.byQuery[i]!;
      return {
        name,
        count: own.requests,
        p50Ms: own.percentile(0.5),
        p99Ms: own.percentile(0.99),
        failures: own.failureCount,
      };
    }),
  };
}

class QueryLoad {
  readonly log = new RequestLog();
  readonly byQuery: readonly RequestLog[];
  readonly #options: QueryLoadOptions;
  readonly #agent: Agent;
  #next = 0;
  #lastTick = { requests: 0, cpuSeconds: 0, atMs: 0 };

  constructor(options: QueryLoadOptions) {
    this.#options = options;
    this.byQuery = options.queries.map(() => new RequestLog());
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.concurrency });
  }

  async run(startMs: number): Promise<void> {
    this.#lastTick = { requests: 0, cpuSeconds: usageOf(this.#options.pids).cpuSeconds, atMs: startMs };
    const untilMs = startMs + this.#options.durationSeconds * 1000;
    const ask = async (): Promise<void> => {
      while (performance.now() < untilMs) await this.#ask(this.#next++ % this.#options.queries.length);
    };
    await Promise.all(Array.from({ length: this.#options.concurrency }, ask));
    this.#agent.destroy();
  }

  async #ask(index: number): Promise<void> {
    const { expression, stepSeconds } = this.#options.queries[index]!;
    const endSeconds = Math.floor(Date.now() / 1000);
    const isRange = stepSeconds > 0;
    const url = new URL(`/api/v1/${isRange ? 'query_range' : 'query'}`, this.#options.url);
    url.search = new URLSearchParams({
      query: expression,
      ...(isRange
        ? {
            start: String(endSeconds - this.#options.spanSeconds),
            end: String(endSeconds),
            step: String(stepSeconds),
          }
        : { time: String(endSeconds) }),
    }).toString();
    const startMs = performance.now();
    const answer = await call(url, { agent: this.#agent, method: 'GET', timeoutMs: REQUEST_TIMEOUT_MS });
    const latencyMs = performance.now() - startMs;
    for (const log of [this.log, this.byQuery[index]!]) {
      if (answer.ok) log.ok(latencyMs, answer.bodyBytes);
      else log.failed(latencyMs, answer.outcome);
    }
  }

  /** The line of this second. */
  progress(startMs: number): string {
    const { pids } = this.#options;
    const usage = usageOf(pids);
    const nowMs = performance.now();
    const seconds = (nowMs - this.#lastTick.atMs) / 1000;
    const asked = this.log.requests - this.#lastTick.requests;
    const cpu = usage.cpuSeconds - this.#lastTick.cpuSeconds;
    this.#lastTick = { requests: this.log.requests, cpuSeconds: usage.cpuSeconds, atMs: nowMs };
    const server =
      pids.length === 0
        ? ''
        : `  ${(cpu / seconds).toFixed(2)} cores  ${Math.round(usage.residentBytes / 2 ** 20)} MiB`;
    return (
      `${Math.round((nowMs - startMs) / 1000)} s  ${(asked / seconds).toFixed(1)} queries/s${server}  ` +
      `${describeLatencies(this.log)}  failed ${describeFailures(this.log)}`
    );
  }
}

/** The twelve benchmark queries, which lie beside the project. */
function defaultQueriesFile(): string {
  const root = fileURLToPath(new URL('../', import.meta.url));
  return path.resolve(root, process.env.TIDEMARK_SHARED ?? '../shared', 'bench', 'queries.json');
}

const USAGE = `Query load: the queries of a file in turn, by clients that each wait for their answer.

usage: node load-tests/query-load.ts [flags]

  --url URL          the server                                        http://localhost:9090
  --queries FILE     [[name, expression, step seconds], …]; step 0 is an instant query
                     default: bench/queries.json under TIDEMARK_SHARED
  --concurrency N    clients at one time                               4
  --duration S       seconds                                           60
  --span S           seconds that range queries cover, up to now       3600
  --pids P,P         server processes: their CPU and memory are told   none

The last line is a summary as JSON. The exit code is 1 when a query failed.
`;

async function main(): Promise<void> {
  const values = readFlags(USAGE, {
    url: { type: 'string', default: 'http://localhost:9090' },
    queries: { type: 'string', default: '' },
    concurrency: { type: 'string', default: '4' },
    duration: { type: 'string', default: '60' },
    span: { type: 'string', default: '3600' },
    pids: { type: 'string', default: '' },
  });
  const summary = await runQueryLoad(
    {
      url: values.url,
      queries: readQueries(values.queries === '' ? defaultQueriesFile() : values.queries),
      concurrency: positive('concurrency', values.concurrency),
      durationSeconds: positive('duration', values.duration),
      spanSeconds: positive('span', values.span),
      pids: parsePids(values.pids),
    },
    (line) => console.log(line),
  );
  for (const { name, count, p50Ms, p99Ms, failures } of summary.byQuery) {
    console.log(
      `${name.padEnd(24)} ${String(count).padStart(6)} times  p50 ${p50Ms.toFixed(1)}  p99 ${p99Ms.toFixed(1)} ms  failed ${failures}`,
    );
  }
  console.log(JSON.stringify(summary));
  if (Object.keys(summary.failures).length > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();

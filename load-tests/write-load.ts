// Remote-write load on a running system: series like node-exporter's, at a rate that does not wait for the server (open loop:
// a late answer makes the next requests late, and their latency counts from when they were due). Prints a line a second.
// usage: node load-tests/write-load.ts --url http://localhost:9090/api/v1/write [--series 100000] [--interval 15] …; see --help
import { Agent } from 'node:http';
import { fileURLToPath } from 'node:url';
import { positive, readFlags } from './command-line.ts';
import { call } from './http-call.ts';
import { parsePids, usageOf } from './process-usage.ts';
import { describeFailures, describeLatencies, RequestLog } from './request-log.ts';
import { WriteSource } from './write-source.ts';

export interface WriteLoadOptions {
  readonly url: string;
  readonly series: number;
  /** Seconds between two samples of one series; rate = series / interval. */
  readonly intervalSeconds: number;
  /** Fraction of targets replaced per hour. */
  readonly churnPerHour: number;
  /** Requests under way at most. */
  readonly concurrency: number;
  readonly durationSeconds: number;
  /** Series in one request. */
  readonly batch: number;
  readonly seed: number;
  /** Server processes whose CPU and memory are told. */
  readonly pids: readonly number[];
}

/** The last line, as JSON. */
export interface WriteLoadSummary {
  readonly requests: number;
  readonly samples: number;
  readonly wallSeconds: number;
  readonly samplesPerSecond: number;
  /** Present with --pids. */
  readonly serverCpuSeconds?: number;
  readonly samplesPerCpuSecond?: number;
  readonly residentBytes?: number;
  /** Compressed bytes that were sent, per sample. */
  readonly wireBytesPerSample: number;
  readonly seriesEver: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** How far the last request was behind its time. */
  readonly behindSeconds: number;
  readonly failures: Readonly<Record<string, number>>;
}

const REQUEST_TIMEOUT_MS = 60_000;
const HEADERS = {
  'content-type': 'application/x-protobuf',
  'content-encoding': 'snappy',
  'x-prometheus-remote-write-version': '0.1.0',
};

/** Runs the load to its end; `print` gets a line a second. */
export async function runWriteLoad(
  options: WriteLoadOptions,
  print: (line: string) => void,
): Promise<WriteLoadSummary> {
  const source = new WriteSource(options);
  print(
    `${options.series} series of ${source.targets} targets, ${Math.round(options.series / options.intervalSeconds)} samples/s ` +
      `in requests of ${options.batch}, ${options.concurrency} at a time, for ${options.durationSeconds} s`,
  );
  const load = new WriteLoad(options, source);
  const before = usageOf(options.pids);
  const startMs = performance.now();
  const ticker = setInterval(() => print(load.progress()), 1_000);
  await load.run(startMs);
  clearInterval(ticker);
  const wallSeconds = (performance.now() - startMs) / 1000;
  const after = usageOf(options.pids);
  const { log } = load;
  const cpu = after.cpuSeconds - before.cpuSeconds;
  return {
    requests: log.requests,
    samples: log.units,
    wallSeconds,
    samplesPerSecond: log.units / wallSeconds,
    ...(options.pids.length === 0
      ? {}
      : {
          serverCpuSeconds: cpu,
          samplesPerCpuSecond: cpu > 0 ? log.units / cpu : 0,
          residentBytes: after.residentBytes,
        }),
    wireBytesPerSample: load.wireBytes / Math.max(1, load.samplesSent),
    seriesEver: source.seriesEver,
    p50Ms: log.percentile(0.5),
    p99Ms: log.percentile(0.99),
    maxMs: log.maxMs,
    behindSeconds: load.behindMs / 1000,
    failures: log.failures,
  };
}

class WriteLoad {
  readonly log = new RequestLog();
  wireBytes = 0;
  samplesSent = 0;
  /** How far the request that was sent last was behind its time. */
  behindMs = 0;
  readonly #options: WriteLoadOptions;
  readonly #source: WriteSource;
  readonly #agent: Agent;
  readonly #url: URL;
  #startMs = 0;
  #next = 0;
  #lastTick = { units: 0, cpuSeconds: 0, atMs: 0 };

  constructor(options: WriteLoadOptions, source: WriteSource) {
    this.#options = options;
    this.#source = source;
    this.#url = new URL(options.url);
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.concurrency });
  }

  async run(startMs: number): Promise<void> {
    this.#startMs = startMs;
    this.#lastTick = { units: 0, cpuSeconds: usageOf(this.#options.pids).cpuSeconds, atMs: startMs };
    const senders = Array.from({ length: this.#options.concurrency }, () => this.#sendUntilOver());
    await Promise.all(senders);
    this.#agent.destroy();
  }

  /** One of `concurrency` senders: takes the next request in turn, waits until it is due, sends it. */
  async #sendUntilOver(): Promise<void> {
    const spacingMs = (this.#options.intervalSeconds * 1000) / this.#source.requestsPerRound;
    for (;;) {
      const turn = this.#next++;
      const afterMs = turn * spacingMs;
      if (afterMs >= this.#options.durationSeconds * 1000) return;
      const waitMs = this.#startMs + afterMs - performance.now();
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
      // A server that cannot keep up makes the load longer, at most twice as long.
      if (performance.now() - this.#startMs > this.#options.durationSeconds * 2000) return;
      await this.#send(turn % this.#source.requestsPerRound, this.#startMs + afterMs);
    }
  }

  async #send(request: number, dueMs: number): Promise<void> {
    this.behindMs = Math.max(0, performance.now() - dueMs);
    if (request === 0) this.#source.churn((dueMs - this.#startMs) / 1000);
    const { body, samples } = this.#source.next(request, Math.floor(performance.timeOrigin + dueMs));
    this.wireBytes += body.length;
    this.samplesSent += samples;
    const answer = await call(this.#url, {
      agent: this.#agent,
      method: 'POST',
      headers: HEADERS,
      body,
      timeoutMs: REQUEST_TIMEOUT_MS,
    });
    const latencyMs = performance.now() - dueMs;
    if (answer.ok) this.log.ok(latencyMs, samples);
    else this.log.failed(latencyMs, answer.outcome);
  }

  /** The line of this second. */
  progress(): string {
    const { pids } = this.#options;
    const usage = usageOf(pids);
    const nowMs = performance.now();
    const seconds = (nowMs - this.#lastTick.atMs) / 1000;
    const samples = this.log.units - this.#lastTick.units;
    const cpu = usage.cpuSeconds - this.#lastTick.cpuSeconds;
    this.#lastTick = { units: this.log.units, cpuSeconds: usage.cpuSeconds, atMs: nowMs };
    const server =
      pids.length === 0
        ? ''
        : `  ${(cpu / seconds).toFixed(2)} cores  ${cpu > 0 ? Math.round(samples / cpu) : 0} samples/cpu-s  ` +
          `${Math.round(usage.residentBytes / 2 ** 20)} MiB`;
    return (
      `${Math.round((nowMs - this.#startMs) / 1000)} s  ${Math.round(samples / seconds)} samples/s${server}  ` +
      `${describeLatencies(this.log)}  behind ${(this.behindMs / 1000).toFixed(1)} s  failed ${describeFailures(this.log)}`
    );
  }
}

const USAGE = `Remote-write load: series like node-exporter's, at a rate that does not wait for the server.

usage: node load-tests/write-load.ts [flags]

  --url URL          where to write                                    http://localhost:9090/api/v1/write
  --series N         series at one time                                100000
  --interval S       seconds between two samples of a series           15
  --churn F          fraction of targets replaced per hour             0
  --concurrency N    requests under way at most                        8
  --duration S       seconds                                           60
  --batch N          series in a request                               2000
  --seed N           the same seed, the same samples                   1
  --pids P,P         server processes: their CPU and memory are told   none

The last line is a summary as JSON. The exit code is 1 when a request failed.
`;

async function main(): Promise<void> {
  const values = readFlags(USAGE, {
    url: { type: 'string', default: 'http://localhost:9090/api/v1/write' },
    series: { type: 'string', default: '100000' },
    interval: { type: 'string', default: '15' },
    churn: { type: 'string', default: '0' },
    concurrency: { type: 'string', default: '8' },
    duration: { type: 'string', default: '60' },
    batch: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    pids: { type: 'string', default: '' },
  });
  const summary = await runWriteLoad(
    {
      url: values.url,
      series: positive('series', values.series),
      intervalSeconds: positive('interval', values.interval),
      churnPerHour: Math.max(0, Number(values.churn)),
      concurrency: positive('concurrency', values.concurrency),
      durationSeconds: positive('duration', values.duration),
      batch: positive('batch', values.batch),
      seed: Number(values.seed),
      pids: parsePids(values.pids),
    },
    (line) => console.log(line),
  );
  console.log(JSON.stringify(summary));
  if (Object.keys(summary.failures).length > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();

// Writes and queries without a pause while a test lets processes of the cluster die, and remembers what came of each.
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeWriteRequest, postWrite, snappyLiterals } from './remote-write-body.ts';
import { callApi, queryInstant } from './tidemark.ts';

/** Series of each write, one sample each. */
export const LOAD_SERIES = 10;
const WRITERS = 2;
const WRITE_PAUSE_MS = 20;
const QUERY_PAUSE_MS = 100;
/** Sequences are so far apart, milliseconds. */
const STEP_MS = 7;
/** A write that fails is sent again for this long, as every sender does, and to each gateway once at least. */
const RETRY_MS = 2_000;
const REQUEST_TIMEOUT_MS = 30_000;

export const valueAt = (sequence: number, series: number): number => sequence * 100 + series;

export interface AcknowledgedWrite {
  readonly timeMs: number;
  readonly sequence: number;
}

/** What one request came to. Times are of the test's monotonic clock. */
interface Attempt {
  readonly kind: 'write' | 'query';
  readonly phase: string;
  readonly startedMs: number;
  readonly tookMs: number;
  /** Undefined when it succeeded. */
  readonly failure: string | undefined;
}

/** A query whose answer must not change, whatever happens to the processes. */
export interface ConstantQuery {
  readonly endpoint: 'query' | 'query_range';
  readonly parameters: Readonly<Record<string, string>>;
  /** The answer's `data`, as `sortedData` has it. */
  readonly expected: unknown;
}

export interface LoadOptions {
  readonly gateways: readonly string[];
  /** Time of the first sample, Unix ms. Default: half an hour ago. */
  readonly startMs?: number;
  readonly constant?: readonly ConstantQuery[];
}

/** Series of a vector come in no particular order: the answer's series as sorted text. */
export function sortedData(data: unknown): unknown {
  const { result } = data as { result: unknown[] };
  return result.map((series) => JSON.stringify(series)).sort();
}

/** Runs from its construction until `stop`. */
export class ClusterLoad {
  readonly acknowledged: AcknowledgedWrite[] = [];
  /** What a client with retries noticed; must stay empty. */
  readonly failures: string[] = [];
  readonly attempts: Attempt[] = [];
  readonly #options: LoadOptions;
  readonly #startMs: number;
  readonly #loops: readonly Promise<void>[];
  #phase = '';
  #sequence = 0;
  #isRunning = true;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#startMs = options.startMs ?? Date.now() - 1_800_000;
    this.#loops = [...Array.from({ length: WRITERS }, () => this.#write()), this.#query()];
  }

  /** Named in failures. */
  enter(phase: string): void {
    this.#phase = phase;
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await Promise.all(this.#loops);
  }

  get retries(): number {
    return this.attempts.filter(({ failure }) => failure !== undefined).length;
  }

  /** Requests that were made again, by the phase that they began in: `store-0 2, …`. */
  describeRetries(): string {
    const failed = this.attempts.filter(({ failure }) => failure !== undefined);
    const phases = Map.groupBy(failed, ({ phase }) => phase);
    return Array.from(phases, ([phase, attempts]) => `${phase} ${attempts.length}`).join(', ') || 'none';
  }

  get queries(): number {
    return this.attempts.filter(({ kind }) => kind === 'query').length;
  }

  /** Requests that failed, of those begun in [sinceMs, untilMs): a client without any retry notices them. */
  failedAttempts(kind: Attempt['kind'], sinceMs: number, untilMs = Number.POSITIVE_INFINITY): string[] {
    return this.attempts
      .filter((attempt) => attempt.kind === kind && attempt.failure !== undefined)
      .filter(({ startedMs }) => startedMs >= sinceMs && startedMs < untilMs)
      .map(({ startedMs, failure }) => `${Math.round(startedMs - sinceMs)} ms: ${failure}`);
  }

  /** The longest time of a request begun in [sinceMs, untilMs). */
  slowestMs(kind: Attempt['kind'], sinceMs: number, untilMs = Number.POSITIVE_INFINITY): number {
    const times = this.attempts
      .filter(
        (attempt) => attempt.kind === kind && attempt.startedMs >= sinceMs && attempt.startedMs < untilMs,
      )
      .map(({ tookMs }) => tookMs);
    return Math.max(0, ...times);
  }

  #gateway(n: number): string {
    return this.#options.gateways[n % this.#options.gateways.length]!;
  }

  async #attempt(kind: Attempt['kind'], run: () => Promise<string | undefined>): Promise<string | undefined> {
    const startedMs = performance.now();
    const phase = this.#phase;
    const failure = await run().catch((error: unknown) => String(error));
    const tookMs = performance.now() - startedMs;
    if (this.#isRunning) this.attempts.push({ kind, phase, startedMs, tookMs, failure });
    return failure;
  }

  async #write(): Promise<void> {
    while (this.#isRunning) {
      const sequence = this.#sequence++;
      const timeMs = this.#startMs + sequence * STEP_MS;
      const series = Array.from({ length: LOAD_SERIES }, (_, i) => ({
        labels: { __name__: 'load', series: String(i) },
        samples: [[timeMs, valueAt(sequence, i)]] as const,
      }));
      await this.#send(snappyLiterals(encodeWriteRequest(series)), timeMs, sequence);
      await sleep(WRITE_PAUSE_MS);
    }
  }

  async #send(body: Buffer, timeMs: number, sequence: number): Promise<void> {
    const untilMs = performance.now() + RETRY_MS;
    for (let attempt = 0; ; attempt++) {
      const gateway = this.#gateway(sequence + attempt);
      const failure = await this.#attempt('write', async () => {
        const { status, text } = await postWrite(gateway, body);
        return status === 204 ? undefined : `${status} ${text}`;
      });
      if (failure === undefined) {
        this.acknowledged.push({ timeMs, sequence });
        return;
      }
      if (!this.#isRunning) return;
      if (performance.now() > untilMs && attempt + 1 >= this.#options.gateways.length) {
        this.failures.push(`${this.#phase}: write ${sequence}: ${failure}`);
        return;
      }
      await sleep(100);
    }
  }

  /** Each query is sent again once, to the next gateway. */
  async #query(): Promise<void> {
    const asks = [
      (gateway: string) => this.#count(gateway),
      ...(this.#options.constant ?? []).map((query) => (gateway: string) => askConstant(gateway, query)),
    ];
    for (let n = 0; this.#isRunning; n++) {
      const ask = asks[n % asks.length]!;
      const first = await this.#attempt('query', () => ask(this.#gateway(n)));
      if (first !== undefined && this.#isRunning) {
        const second = await this.#attempt('query', () => ask(this.#gateway(n + 1)));
        if (second !== undefined && this.#isRunning) {
          this.failures.push(`${this.#phase}: query: ${first}; again: ${second}`);
        }
      }
      await sleep(QUERY_PAUSE_MS);
    }
  }

  async #count(gateway: string): Promise<string | undefined> {
    const least = this.acknowledged.length * LOAD_SERIES;
    const answer = await queryInstant(gateway, 'sum(count_over_time(load[2h]))');
    const found = Number(answer[0]?.value[1] ?? 0);
    return found < least ? `${found} samples, ${least} were acknowledged before` : undefined;
  }
}

async function askConstant(gateway: string, query: ConstantQuery): Promise<string | undefined> {
  const { body } = await callApi(gateway, query.endpoint, query.parameters);
  if (body.status !== 'success') return `${query.parameters.query}: ${body.errorType}: ${body.error}`;
  const found = JSON.stringify(sortedData(body.data));
  return found === JSON.stringify(query.expected) ? undefined : `${query.parameters.query}: ${found}`;
}

/** Acknowledged samples that a gateway does not give back as they were. */
export async function missingAt(
  gateway: string,
  acknowledged: readonly AcknowledgedWrite[],
): Promise<string[]> {
  const url = `${gateway}/api/v1/query?query=${encodeURIComponent('load[2h]')}`;
  const response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  const body = (await response.json()) as {
    error?: string;
    data?: { result: { metric: { series: string }; values: [number, string][] }[] };
  };
  if (body.data === undefined) throw new Error(`load[2h]: ${response.status} ${body.error}`);
  const found = new Map<string, string>();
  for (const { metric, values } of body.data.result) {
    for (const [seconds, value] of values) found.set(`${metric.series} ${Math.round(seconds * 1000)}`, value);
  }
  const missing: string[] = [];
  for (const { timeMs, sequence } of acknowledged) {
    for (let i = 0; i < LOAD_SERIES; i++) {
      const value = found.get(`${i} ${timeMs}`);
      if (Number(value) !== valueAt(sequence, i)) missing.push(`series ${i} at ${timeMs}: ${value}`);
    }
  }
  return missing;
}

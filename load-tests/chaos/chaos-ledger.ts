// The load of a chaos run and its ledger: writers that send each request until it is answered with 204 and note that in a file,
// a question without a pause whose answer must never be short of what was acknowledged before it was asked, and the check of
// everything. A sample's value follows from its series and time.
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeWriteRequest, snappyLiterals } from '../../test/support/remote-write-body.ts';

export const METRIC = 'chaos';
const SERIES = 10;
const STEP_MS = 20;
const WRITERS = 2;
const WRITE_PAUSE_MS = 25;
const QUERY_PAUSE_MS = 150;
const RETRY_MS = 100;
const REQUEST_TIMEOUT_MS = 30_000;
/** A question is asked again for so long before it counts as failed. */
const QUERY_PATIENCE_MS = 15_000;
/** Sequences of one check at most: more would be a large answer. */
const CHECK_SEQUENCES_MAX = 10_000;

const valueAt = (sequence: number, series: number): number => sequence * 16 + series;

export interface Findings {
  readonly lost: string[];
  readonly wrong: string[];
}

/** What requests came to since it was begun. */
export interface Watch {
  /** Requests that failed once: how long after the beginning they were sent, and why. */
  readonly failures: {
    readonly kind: 'write' | 'query';
    readonly afterMs: number;
    readonly reason: string;
  }[];
  readonly sinceMs: number;
  /** Of any request, failed ones too, with when it was sent. */
  readonly tookMs: { readonly kind: 'write' | 'query'; readonly afterMs: number; readonly tookMs: number }[];
}

/** Failures and durations that a watch keeps. */
const WATCHED_MAX = 20_000;

export class ChaosLoad {
  /** Sequences that were answered with 204. */
  readonly acked = new Set<number>();
  readonly findings: Findings = { lost: [], wrong: [] };
  readonly failedQueries: string[] = [];
  /** What faults measured, for the report; printed and emptied after each round. */
  readonly notes: string[] = [];
  queries = 0;
  /** Requests and questions that had to be repeated. */
  retries = 0;
  /** Named in what is reported. */
  phase = 'start';
  /** Whether a question may remain without an answer now: more is gone than copies. */
  maySilence = false;
  readonly #gateways: readonly string[];
  readonly #startMs = Date.now() - 3_000_000;
  readonly #file: number;
  readonly #loops: readonly Promise<void>[];
  /** Sequences below are all acknowledged. */
  #contiguous = 0;
  #sent = 0;
  #isRunning = true;
  #watch: Watch = { failures: [], tookMs: [], sinceMs: 0 };

  /** Runs until `stop`. @param file  Of the ledger. */
  constructor(gateways: readonly string[], file: string) {
    this.#gateways = gateways;
    this.#file = openSync(file, 'w');
    this.#loops = [...Array.from({ length: WRITERS }, (_, i) => this.#write(i)), this.#ask()];
  }

  get ackedSamples(): number {
    return this.acked.size * SERIES;
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await Promise.all(this.#loops);
    closeSync(this.#file);
  }

  /** Compares sequences from `first` on with what a gateway answers; all acknowledged ones must be there, as they were sent. */
  async check(first: number): Promise<void> {
    const last = this.#sent;
    for (let from = first; from < last; from += CHECK_SEQUENCES_MAX) {
      await this.#checkRange(from, Math.min(last, from + CHECK_SEQUENCES_MAX));
    }
  }

  get sent(): number {
    return this.#sent;
  }

  /** Begins a watch; the one before ends. */
  watch(): Watch {
    this.#watch = { failures: [], tookMs: [], sinceMs: performance.now() };
    return this.#watch;
  }

  /** Samples of `acked` from the sequence `first` on that `samples` (`series time` → value) lacks or has otherwise. */
  missingIn(samples: ReadonlyMap<string, number>, first: number, acked: Iterable<number>): string[] {
    const missing: string[] = [];
    for (const sequence of acked) {
      if (sequence < first) continue;
      for (let series = 0; series < SERIES; series++) {
        const name = `${series} ${this.#startMs + sequence * STEP_MS}`;
        const value = samples.get(name);
        if (value !== valueAt(sequence, series)) missing.push(`series and time ${name}: ${value}`);
      }
    }
    return missing;
  }

  #note(kind: 'write' | 'query', startedMs: number, failure: string | undefined): void {
    const { failures, tookMs, sinceMs } = this.#watch;
    const afterMs = startedMs - sinceMs;
    if (afterMs < 0) return;
    if (tookMs.length < WATCHED_MAX) tookMs.push({ kind, afterMs, tookMs: performance.now() - startedMs });
    if (failure !== undefined && failures.length < WATCHED_MAX)
      failures.push({ kind, afterMs, reason: failure });
  }

  async #write(offset: number): Promise<void> {
    for (let attempt = offset; this.#isRunning; ) {
      const sequence = this.#sent++;
      const timeMs = this.#startMs + sequence * STEP_MS;
      const series = Array.from({ length: SERIES }, (_, i) => ({
        labels: { __name__: METRIC, series: String(i) },
        samples: [[timeMs, valueAt(sequence, i)]] as const,
      }));
      const body = snappyLiterals(encodeWriteRequest(series));
      while (this.#isRunning && !(await this.#post(this.#gateway(attempt++), sequence, body))) {
        this.retries++;
        await sleep(RETRY_MS);
      }
      if (!this.#isRunning) return;
      await sleep(WRITE_PAUSE_MS);
    }
  }

  /** Sends a request; when it is acknowledged, the ledger says so before anybody else hears of it. */
  async #post(gateway: string, sequence: number, body: Buffer): Promise<boolean> {
    const startedMs = performance.now();
    try {
      const response = await fetch(`${gateway}/api/v1/write`, {
        method: 'POST',
        body: new Uint8Array(body),
        headers: { 'content-type': 'application/x-protobuf', 'content-encoding': 'snappy' },
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      const text = await response.text();
      if (response.status >= 400 && response.status < 500) {
        this.findings.wrong.push(`${this.phase}: a write was refused for good: ${response.status} ${text}`);
      }
      this.#note('write', startedMs, response.status === 204 ? undefined : `${response.status} ${text}`);
      if (response.status !== 204) return false;
    } catch (caught) {
      this.#note('write', startedMs, String(caught));
      return false;
    }
    if (!this.acked.has(sequence)) {
      writeSync(this.#file, `${sequence}\n`);
      fsyncSync(this.#file);
      this.acked.add(sequence);
      while (this.acked.has(this.#contiguous)) this.#contiguous++;
    }
    return true;
  }

  #gateway(n: number): string {
    return this.#gateways[n % this.#gateways.length]!;
  }

  async #ask(): Promise<void> {
    for (let n = 0; this.#isRunning; n++) {
      this.queries++;
      const { phase } = this;
      const untilMs = performance.now() + QUERY_PATIENCE_MS;
      let isExcused = this.maySilence;
      for (let attempt = n; this.#isRunning; attempt++) {
        const startedMs = performance.now();
        const failure = await this.#count(this.#gateway(attempt));
        this.#note('query', startedMs, failure);
        isExcused ||= this.maySilence;
        if (failure === undefined) break;
        this.retries++;
        if (performance.now() > untilMs) {
          if (!isExcused) this.failedQueries.push(`${phase}: ${failure}`);
          break;
        }
        await sleep(RETRY_MS);
      }
      await sleep(QUERY_PAUSE_MS);
    }
  }

  /** How many samples there are must be no fewer than were acknowledged before; undefined when it was answered. */
  async #count(gateway: string): Promise<string | undefined> {
    const least = this.acked.size * SERIES;
    const { phase } = this;
    try {
      const result = await query(gateway, `sum(count_over_time(${METRIC}[7d]))`, Date.now());
      const found = Number((result[0] as { value: [number, string] } | undefined)?.value[1] ?? 0);
      if (found < least)
        this.findings.lost.push(`${phase}: ${found} samples answered, ${least} acknowledged before`);
      const most = this.#sent * SERIES;
      if (found > most) this.findings.wrong.push(`${phase}: ${found} samples answered, ${most} sent`);
      return undefined;
    } catch (caught) {
      return caught instanceof Error ? caught.message : String(caught);
    }
  }

  async #checkRange(from: number, to: number): Promise<void> {
    const acked = [...this.acked].filter((sequence) => sequence >= from && sequence < to);
    const found = await this.#fetch(from, to);
    for (let series = 0; series < SERIES; series++) {
      const samples = found.get(series) ?? new Map<number, string>();
      for (const sequence of acked) {
        const value = samples.get(sequence);
        const name = `${this.phase}: series ${series} sequence ${sequence}`;
        if (value === undefined) this.findings.lost.push(name);
        else if (Number(value) !== valueAt(sequence, series)) this.findings.wrong.push(`${name}: ${value}`);
      }
      for (const sequence of samples.keys()) {
        const isSent = Number.isInteger(sequence) && sequence >= 0 && sequence < this.#sent;
        if (!isSent) this.findings.wrong.push(`${this.phase}: series ${series}: ${sequence} was never sent`);
      }
    }
  }

  /** Series → sequence → value. Asked again until somebody answers. */
  async #fetch(from: number, to: number): Promise<Map<number, Map<number, string>>> {
    const endMs = this.#startMs + (to - 1) * STEP_MS;
    const untilMs = performance.now() + 6 * QUERY_PATIENCE_MS;
    for (let attempt = 0; ; attempt++) {
      try {
        const result = await query(this.#gateway(attempt), `${METRIC}[${(to - from) * STEP_MS}ms]`, endMs);
        const found = new Map<number, Map<number, string>>();
        for (const { metric, values } of result as {
          metric: { series: string };
          values: [number, string][];
        }[]) {
          const samples = values.map(([seconds, value]): [number, string] => [
            (Math.round(seconds * 1000) - this.#startMs) / STEP_MS,
            value,
          ]);
          found.set(Number(metric.series), new Map(samples));
        }
        return found;
      } catch (caught) {
        if (performance.now() > untilMs) throw caught;
        await sleep(RETRY_MS);
      }
    }
  }
}

async function query(gateway: string, expression: string, timeMs: number): Promise<unknown[]> {
  const parameters = new URLSearchParams({ query: expression, time: String(timeMs / 1000) });
  const response = await fetch(`${gateway}/api/v1/query?${parameters.toString()}`, {
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  const body = (await response.json()) as {
    error?: string;
    warnings?: string[];
    data?: { result: unknown[] };
  };
  if (body.data === undefined) throw new Error(`${response.status} ${body.error}`);
  if (body.warnings !== undefined)
    throw new Error(`warnings without having asked for them: ${body.warnings.join('; ')}`);
  return body.data.result;
}

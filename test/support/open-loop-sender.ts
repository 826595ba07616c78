// Remote writes at a rate that does not wait for the server, as of a fleet of senders: for tests of what happens above capacity.
import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { call } from '../../load-tests/http-call.ts';
import { compressSnappy } from '../../services/lib/wire/compression/snappy-compress.ts';
import { encodeWriteRequest } from './remote-write-body.ts';

/** Connections, the sender's own limit. */
const IN_FLIGHT_MAX = 2_000;
const CLOSED_LOOPS = 8;
const HEADERS = {
  'content-type': 'application/x-protobuf',
  'content-encoding': 'snappy',
  'x-prometheus-remote-write-version': '0.1.0',
};

/** Answers by status; network errors by their code. */
export type Outcomes = Record<string, number>;

/** One sample at `timeMs` of each of the series [from, from + count). */
export function bodyOf(metric: string, timeMs: number, from: number, count: number): Buffer {
  const series = Array.from({ length: count }, (_, i) => ({
    labels: { __name__: metric, job: 'load', instance: `host-${(from + i) % 50}:9100`, n: String(from + i) },
    samples: [[timeMs, i]] as const,
  }));
  return Buffer.from(compressSnappy(encodeWriteRequest(series)));
}

export const rssMib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) >> 10;

/** Sends the bodies one after the other, again and again. */
export class OpenLoopSender {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #url: URL;
  readonly #bodies: readonly Buffer[];
  readonly #timeoutMs: number;
  #next = 0;
  #inFlight = 0;

  constructor(server: string, bodies: readonly Buffer[], timeoutMs = 30_000) {
    this.#url = new URL(`${server}/api/v1/write`);
    this.#bodies = bodies;
    this.#timeoutMs = timeoutMs;
  }

  close(): void {
    this.#agent.destroy();
  }

  async send(outcomes: Outcomes): Promise<void> {
    this.#inFlight++;
    const body = this.#bodies[this.#next++ % this.#bodies.length]!;
    const { outcome } = await call(this.#url, {
      ...{ agent: this.#agent, method: 'POST', headers: HEADERS, body, timeoutMs: this.#timeoutMs },
    });
    this.#inFlight--;
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }

  /** As many as are answered, some at a time. */
  async closedLoop(forMs: number): Promise<Outcomes> {
    const outcomes: Outcomes = {};
    const untilMs = performance.now() + forMs;
    const loop = async (): Promise<void> => {
      while (performance.now() < untilMs) await this.send(outcomes);
    };
    await Promise.all(Array.from({ length: CLOSED_LOOPS }, loop));
    return outcomes;
  }

  /** Each at its time, whatever became of those before: what came back until the end, and what was not sent for want of connections. */
  async openLoop(perSecond: number, forMs: number): Promise<{ outcomes: Outcomes; unsent: number }> {
    const outcomes: Outcomes = {};
    let unsent = 0;
    const startMs = performance.now();
    for (let sent = 0; performance.now() - startMs < forMs; ) {
      const due = ((performance.now() - startMs) * perSecond) / 1000;
      for (; sent < due; sent++) {
        if (this.#inFlight < IN_FLIGHT_MAX) void this.send(outcomes);
        else unsent++;
      }
      await sleep(5);
    }
    return { outcomes: { ...outcomes }, unsent };
  }
}

// Samples arriving per second, over the last two minutes: the counter of acknowledged samples, read once a second.
import type { Registry } from 'prom-client';
import type { Clock } from '../../lib/core/clock.ts';

const INTERVAL_MS = 1000;
const WINDOW = 120;

/** What the page draws. */
export interface Arrivals {
  /** Samples acknowledged since the process started. */
  readonly samplesTotal: number;
  readonly intervalSeconds: number;
  /** Oldest first; the last one is of the second that just ended. */
  readonly samplesPerSecond: readonly number[];
}

export class ArrivalRate {
  readonly #registry: Registry;
  readonly #counterName: string;
  readonly #clock: Clock;
  readonly #rates: number[] = [];
  #total = 0;
  #atMs: number | undefined;
  #stop: AbortController | undefined;

  constructor(counterName: string, deps: { readonly registry: Registry; readonly clock: Clock }) {
    this.#counterName = counterName;
    this.#registry = deps.registry;
    this.#clock = deps.clock;
  }

  start(): void {
    this.#stop = new AbortController();
    void this.#run(this.#stop.signal);
  }

  stop(): void {
    this.#stop?.abort();
  }

  describe(): Arrivals {
    return {
      samplesTotal: this.#total,
      intervalSeconds: INTERVAL_MS / 1000,
      samplesPerSecond: [...this.#rates],
    };
  }

  async #run(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        await this.sample();
        await this.#clock.sleep(INTERVAL_MS, signal);
      }
    } catch {
      // Only the sleep fails, when it is stopped.
    }
  }

  /** Reads the counter once. */
  async sample(): Promise<void> {
    const total = await this.#read();
    const nowMs = this.#clock.monotonicMs();
    if (this.#atMs !== undefined && nowMs > this.#atMs) {
      const perSecond = Math.max(0, total - this.#total) / ((nowMs - this.#atMs) / 1000);
      this.#rates.push(Math.round(perSecond));
      if (this.#rates.length > WINDOW) this.#rates.shift();
    }
    this.#total = total;
    this.#atMs = nowMs;
  }

  async #read(): Promise<number> {
    const metric = this.#registry.getSingleMetric(this.#counterName);
    if (metric === undefined) return 0;
    const { values } = await metric.get();
    return values.reduce((sum, { value }) => sum + value, 0);
  }
}

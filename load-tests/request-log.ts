// What happened to the requests of a load test: latencies with their percentiles, failures by status. Bounded: latencies are kept
// in buckets that grow by 2 %, so that a percentile is right to 2 % and a day of load takes no more room than a second.

const BUCKET_GROWTH = 1.02;
/** Shortest latency that is told apart, milliseconds. */
const LEAST_MS = 0.05;
/** The last bucket begins at about ten minutes. */
const BUCKET_COUNT = 830;

export class RequestLog {
  readonly #buckets = new Uint32Array(BUCKET_COUNT);
  readonly #failures = new Map<string, number>();
  #maxMs = 0;
  requests = 0;
  /** Samples or series of the requests that succeeded. */
  units = 0;

  /** A request that succeeded. */
  ok(latencyMs: number, units: number): void {
    this.#count(latencyMs);
    this.units += units;
  }

  /** A request that did not: an HTTP status, or the code of a network error. */
  failed(latencyMs: number, reason: string): void {
    this.#count(latencyMs);
    this.#failures.set(reason, (this.#failures.get(reason) ?? 0) + 1);
  }

  /** Milliseconds, right to 2 %. NaN before the first request. */
  percentile(quantile: number): number {
    if (this.requests === 0) return Number.NaN;
    let left = Math.ceil(quantile * this.requests);
    for (let i = 0; i < BUCKET_COUNT; i++) {
      left -= this.#buckets[i]!;
      if (left <= 0) return Math.min(this.#maxMs, LEAST_MS * BUCKET_GROWTH ** i);
    }
    return this.#maxMs;
  }

  get maxMs(): number {
    return this.#maxMs;
  }

  get failures(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#failures].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  get failureCount(): number {
    return [...this.#failures.values()].reduce((sum, count) => sum + count, 0);
  }

  #count(latencyMs: number): void {
    this.requests++;
    this.#maxMs = Math.max(this.#maxMs, latencyMs);
    const bucket = Math.ceil(Math.log(Math.max(latencyMs, LEAST_MS) / LEAST_MS) / Math.log(BUCKET_GROWTH));
    this.#buckets[Math.min(bucket, BUCKET_COUNT - 1)]!++;
  }
}

/** `p50 3.1  p99 12  max 40 ms`, for a progress line. */
export function describeLatencies(log: RequestLog): string {
  const text = (ms: number): string => (ms < 10 ? ms.toFixed(1) : ms.toFixed(0));
  return `p50 ${text(log.percentile(0.5))}  p99 ${text(log.percentile(0.99))}  max ${text(log.maxMs)} ms`;
}

/** `503×2 ECONNREFUSED×1`, or `none`. */
export function describeFailures(log: RequestLog): string {
  const parts = Object.entries(log.failures).map(([reason, count]) => `${reason}×${count}`);
  return parts.length === 0 ? 'none' : parts.join(' ');
}

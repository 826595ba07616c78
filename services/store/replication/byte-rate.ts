// A limit on bytes per second, shared by everything that copies or reads in the background; and a measure of it.
import type { Clock } from '../../lib/core/clock.ts';

/** Bytes that may go at once after a rest, in seconds of the rate. */
const BURST_SECONDS = 0.25;
/** What the measure looks back over. */
const WINDOW_SECONDS = 60;

export class ByteRate {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  #allowance: number;
  #atMs: number;
  /** Bytes by second of the monotonic clock, the last minute. */
  readonly #bySecond = new Float64Array(WINDOW_SECONDS);
  #newestSecond = 0;
  readonly #startedSecond: number;

  /** @param bytesPerSecond  0: no limit. */
  constructor(bytesPerSecond: number, deps: { readonly clock: Clock }) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = deps.clock;
    this.#allowance = bytesPerSecond * BURST_SECONDS;
    this.#atMs = deps.clock.monotonicMs();
    this.#startedSecond = Math.floor(this.#atMs / 1000);
    this.#newestSecond = this.#startedSecond;
  }

  /** Resolves when `bytes` may go; rejects with the signal's reason. Callers share the rate in the order of their calls. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    this.#count(bytes, nowMs);
    if (this.#bytesPerSecond <= 0) return;
    const gained = ((nowMs - this.#atMs) / 1000) * this.#bytesPerSecond;
    this.#allowance = Math.min(this.#bytesPerSecond * BURST_SECONDS, this.#allowance + gained) - bytes;
    this.#atMs = nowMs;
    if (this.#allowance < 0)
      await this.#clock.sleep((-this.#allowance / this.#bytesPerSecond) * 1000, signal);
  }

  /** Bytes per second over the last minute, or since the start where that is less. */
  measure(): number {
    const nowMs = this.#clock.monotonicMs();
    this.#count(0, nowMs);
    const seconds = Math.min(WINDOW_SECONDS, Math.max(1, this.#newestSecond - this.#startedSecond));
    return this.#bySecond.reduce((sum, bytes) => sum + bytes, 0) / seconds;
  }

  #count(bytes: number, nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    for (let passed = Math.max(this.#newestSecond, second - WINDOW_SECONDS) + 1; passed <= second; passed++) {
      this.#bySecond[passed % WINDOW_SECONDS] = 0;
    }
    this.#newestSecond = Math.max(this.#newestSecond, second);
    this.#bySecond[this.#newestSecond % WINDOW_SECONDS]! += bytes;
  }
}

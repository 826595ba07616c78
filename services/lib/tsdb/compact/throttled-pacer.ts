// A pacer that leaves part of the time to others: after each turn of work it sleeps in proportion, so that compaction does
// not take a core away from queries.
import type { Clock } from '../../core/clock.ts';
import { WorkPacer } from '../block/work-pacer.ts';

export class ThrottledPacer extends WorkPacer {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #share: number;
  #startedMs: number;

  /** @param share  Of the time that is worked, above 0 up to 1. */
  constructor(share: number, clock: Clock, signal: AbortSignal) {
    super(signal);
    this.#share = share;
    this.#clock = clock;
    this.#signal = signal;
    this.#startedMs = clock.monotonicMs();
  }

  override async pause(): Promise<void> {
    const workedMs = this.#clock.monotonicMs() - this.#startedMs;
    const restMs = Math.min(1000, workedMs * (1 / this.#share - 1));
    if (restMs >= 1) await this.#clock.sleep(restMs, this.#signal);
    await super.pause();
    this.#startedMs = this.#clock.monotonicMs();
  }
}

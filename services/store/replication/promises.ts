// What this store has told others that it holds. Whoever gives a block away counts on the copies that others confirmed; a store that
// confirmed one does not give it away itself meanwhile, so that two can never give away the copies that they counted on.
import type { Clock } from '../../lib/core/clock.ts';

/** Whoever was told acts within this part of the time that a confirmation binds, so that the promise outlives the act by far. */
const ACT_WITHIN_SHARE = 1 / 3;

export class Promises {
  readonly #clock: Clock;
  readonly #promiseMs: number;
  /** Leaf key → until when, monotonic ms; in the order of their end. */
  readonly #untilMs = new Map<string, number>();

  /** @param options.promiseMs  How long a confirmation binds who gave it; the same on all stores. */
  constructor(options: { readonly promiseMs: number }, deps: { readonly clock: Clock }) {
    this.#promiseMs = options.promiseMs;
    this.#clock = deps.clock;
  }

  make(leaves: readonly string[]): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [leaf, untilMs] of this.#untilMs) {
      if (untilMs > nowMs) break;
      this.#untilMs.delete(leaf);
    }
    for (const leaf of leaves) {
      this.#untilMs.delete(leaf);
      this.#untilMs.set(leaf, nowMs + this.#promiseMs);
    }
  }

  /** Whether any of them is to be kept. */
  isPromised(leaves: readonly string[]): boolean {
    const nowMs = this.#clock.monotonicMs();
    return leaves.some((leaf) => (this.#untilMs.get(leaf) ?? 0) > nowMs);
  }

  /** Whether confirmations that were asked for at a time may still be acted on. */
  isFresh(askedMs: number): boolean {
    return this.#clock.monotonicMs() - askedMs < this.#promiseMs * ACT_WITHIN_SHARE;
  }
}

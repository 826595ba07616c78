// Counts running calls, so that a service can drain: no new ones, then wait for those that run.
import { AppError } from '../lib/core/errors.ts';

export class CallGate {
  #running = 0;
  #closed = false;
  #waiters: (() => void)[] = [];

  /** @throws AppError `unavailable` once closed. Pair with `leave`. */
  enter(): void {
    if (this.#closed)
      throw new AppError('unavailable', 'the store is shutting down; ask another one, or again later');
    this.#running++;
  }

  leave(): void {
    this.#running--;
    if (this.#running > 0) return;
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  close(): void {
    this.#closed = true;
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    if (this.#running === 0) return;
    await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
}

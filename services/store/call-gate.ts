// Lets calls in once the service knows what it has, and counts those that run, so that it can drain: no new ones, then wait for the rest.
import { AppError } from '../lib/core/errors.ts';

export class CallGate {
  #running = 0;
  #state: 'starting' | 'open' | 'closed' = 'starting';
  #waiters: (() => void)[] = [];

  /** @throws AppError `unavailable` before it is opened and once it is closed. Pair with `leave`. */
  enter(): void {
    if (this.#state === 'starting')
      throw new AppError(
        'unavailable',
        'the store is still looking through its blocks; ask another one, or again later',
      );
    if (this.#state === 'closed')
      throw new AppError('unavailable', 'the store is shutting down; ask another one, or again later');
    this.#running++;
  }

  leave(): void {
    this.#running--;
    if (this.#running > 0) return;
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  /** Lets calls in, unless it was closed already. */
  open(): void {
    if (this.#state === 'starting') this.#state = 'open';
  }

  close(): void {
    this.#state = 'closed';
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    if (this.#running === 0) return;
    await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }
}

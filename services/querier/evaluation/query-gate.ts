// How many queries run at one time. The others wait in order, a bounded number of them.
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';

export class QueryGate {
  readonly #runningMax: number;
  readonly #waitingMax: number;
  #running = 0;
  /** In order of arrival; a Set, so that whoever gives up leaves in constant time. */
  readonly #waiting = new Set<() => void>();

  constructor(runningMax: number, waitingMax: number) {
    this.#runningMax = runningMax;
    this.#waitingMax = waitingMax;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Waits for a turn.
   *
   * @returns What gives the turn back; safe to call twice.
   * @throws AppError `unavailable` when too many wait already, or the signal's reason.
   */
  async enter(signal: AbortSignal): Promise<() => void> {
    throwIfAborted(signal);
    if (this.#running < this.#runningMax) this.#running++;
    else await this.#wait(signal);
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      this.#leave();
    };
  }

  #wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.size >= this.#waitingMax) {
      throw new AppError(
        'unavailable',
        `${this.#running} queries run and ${this.#waiting.size} wait, the limits of this querier (--query.max-concurrency); try again later`,
      );
    }
    return new Promise((resolve, reject) => {
      const admit = () => {
        signal.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = () => {
        this.#waiting.delete(admit);
        reject(toAppError(signal.reason));
      };
      signal.addEventListener('abort', giveUp, { once: true });
      this.#waiting.add(admit);
    });
  }

  /** The turn passes to whoever waits longest, or ends. */
  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#running--;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}

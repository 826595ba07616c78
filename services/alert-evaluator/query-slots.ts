// How many rule queries run at one time: groups wait for a slot in the order in which they asked.
import { throwIfAborted, toAppError } from '../lib/core/errors.ts';

export class QuerySlots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /** @param count  Most at one time, at least 1. */
  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Runs `work` once a slot is free.
   *
   * @throws AppError `canceled` when the signal aborts before; whatever the work throws.
   */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    throwIfAborted(signal);
    if (this.#free > 0) this.#free--;
    else await this.#wait(signal);
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const take = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(take), 1);
        reject(toAppError(signal.reason));
      };
      this.#waiting.push(take);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}

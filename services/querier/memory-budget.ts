// Who holds how many bytes: one account for the process, one for each query. A query over its own limit fails for good,
// one that finds the common account empty may come again.
import { AppError } from '../lib/core/errors.ts';

/** The account that all queries of a process share. */
export class MemoryPool {
  readonly bytesMax: number;
  #usedBytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** @throws AppError `unavailable` when other queries hold the memory. */
  charge(bytes: number): void {
    if (this.#usedBytes + bytes > this.bytesMax && bytes > 0) {
      throw new AppError(
        'unavailable',
        `all queries together hold ${this.#usedBytes} bytes and ${bytes} more would pass the limit of ${this.bytesMax} (--query.max-memory-total); try again, or raise the limit`,
      );
    }
    this.#usedBytes += bytes;
  }
}

/** The account of one query. */
export class MemoryBudget {
  readonly #pool: MemoryPool;
  readonly #bytesMax: number;
  #usedBytes = 0;
  #peakBytes = 0;
  #isReleased = false;

  constructor(pool: MemoryPool, bytesMax: number) {
    this.#pool = pool;
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  get peakBytes(): number {
    return this.#peakBytes;
  }

  /**
   * Charges bytes; negative gives back.
   *
   * @throws AppError `execution` over the query's own limit, `unavailable` over the common one, `canceled` once released.
   *         Nothing is charged then.
   */
  charge(bytes: number): void {
    if (this.#isReleased) {
      if (bytes > 0) throw new AppError('canceled', 'query is over');
      return;
    }
    const usedBytes = this.#usedBytes + bytes;
    if (usedBytes > this.#bytesMax && bytes > 0) {
      throw new AppError(
        'execution',
        `query needs more than ${this.#bytesMax} bytes of memory, the limit of one query (--query.max-memory); select fewer series, a shorter time range or a longer step`,
      );
    }
    this.#pool.charge(bytes);
    this.#usedBytes = usedBytes;
    if (usedBytes > this.#peakBytes) this.#peakBytes = usedBytes;
  }

  /** Gives everything back; a straggler that charges afterwards fails. Safe to call twice. */
  release(): void {
    this.charge(-this.#usedBytes);
    this.#isReleased = true;
  }
}

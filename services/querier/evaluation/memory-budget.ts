// Who holds how many bytes: one account for the process, one for each query. A query over its own limit fails for good,
// one that finds the common account empty may come again. The figures are in shared memory, so that all threads of a query
// charge the same account.
import { AppError } from '../../lib/core/errors.ts';
import { memoryShare, QUERY_MEMORY_SHARE, ResidentMemory } from '../../lib/runtime/memory-limit.ts';

const COUNTER_BYTES = 8;
/** Cells of a query's account. */
const USED = 0;
const PEAK = 1;
/** Bytes of shared memory that a query's account takes. */
export const ACCOUNT_BYTES = 2 * COUNTER_BYTES;
/** What a thread takes at once: atomics per charge would cost more than what is charged for. */
const LEASE_BYTES = 128 * 1024;
const CHARGES_PER_LOOK = 8;
/** What all queries together may hold in any case: where memory is short, small ones go on. */
const SMALL_BYTES = memoryShare(1 / 32, 16 << 20);

/** The account that all queries of a process share. */
export class MemoryPool {
  readonly bytesMax: number;
  /** For another thread to make its MemoryPool of. */
  readonly shared: SharedArrayBuffer;
  readonly #cells: BigInt64Array;
  readonly #resident = new ResidentMemory(QUERY_MEMORY_SHARE, CHARGES_PER_LOOK);

  constructor(bytesMax: number, shared = new SharedArrayBuffer(COUNTER_BYTES)) {
    this.bytesMax = bytesMax;
    this.shared = shared;
    this.#cells = new BigInt64Array(shared);
  }

  get usedBytes(): number {
    return Number(Atomics.load(this.#cells, 0));
  }

  /** @throws AppError `unavailable` when other queries hold the memory, or the process has no more. */
  charge(bytes: number): void {
    const before = Number(Atomics.add(this.#cells, 0, BigInt(bytes)));
    if (bytes <= 0) return;
    if (before + bytes > SMALL_BYTES) this.#checkResident(bytes);
    if (before + bytes <= this.bytesMax) return;
    Atomics.sub(this.#cells, 0, BigInt(bytes));
    throw new AppError(
      'unavailable',
      `all queries together hold ${before} bytes and ${bytes} more would pass the limit of ${this.bytesMax} (--query.max-memory-total); try again, or raise the limit`,
    );
  }

  #checkResident(charged: number): void {
    try {
      this.#resident.check();
    } catch (caught) {
      Atomics.sub(this.#cells, 0, BigInt(charged));
      throw caught;
    }
  }
}

/** The account of one query. Whole bytes. */
export class MemoryBudget {
  readonly #pool: MemoryPool;
  readonly #bytesMax: number;
  readonly #cells: BigInt64Array<ArrayBufferLike>;
  #isReleased = false;

  /** @param cells  The account; given where several threads use it. */
  constructor(
    pool: MemoryPool,
    bytesMax: number,
    cells: BigInt64Array<ArrayBufferLike> = new BigInt64Array(2),
  ) {
    this.#pool = pool;
    this.#bytesMax = bytesMax;
    this.#cells = cells;
  }

  get usedBytes(): number {
    return Number(Atomics.load(this.#cells, USED));
  }

  get peakBytes(): number {
    return Number(Atomics.load(this.#cells, PEAK));
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
    const delta = BigInt(bytes);
    const usedBytes = Number(Atomics.add(this.#cells, USED, delta)) + bytes;
    if (bytes <= 0) {
      this.#pool.charge(bytes);
      return;
    }
    try {
      if (usedBytes > this.#bytesMax) throw this.#overLimit();
      this.#pool.charge(bytes);
    } catch (caught) {
      Atomics.sub(this.#cells, USED, delta);
      throw caught;
    }
    this.#notePeak(BigInt(usedBytes));
  }

  /** Gives everything back; a straggler that charges afterwards fails. Safe to call twice. */
  release(): void {
    this.charge(-this.usedBytes);
    this.#isReleased = true;
  }

  #notePeak(used: bigint): void {
    for (let peak = Atomics.load(this.#cells, PEAK); used > peak; ) {
      const found = Atomics.compareExchange(this.#cells, PEAK, peak, used);
      if (found === peak) return;
      peak = found;
    }
  }

  #overLimit(): AppError {
    return new AppError(
      'execution',
      `query needs more than ${this.#bytesMax} bytes of memory, the limit of one query (--query.max-memory); select fewer series, a shorter time range or a longer step`,
    );
  }
}

/**
 * What one thread charges to a query's account: taken in larger pieces, so that most charges are an addition. Whatever is
 * left in a lease counts as used; its owner ends with the query, whose account is released as a whole.
 */
export class MemoryLease {
  readonly #budget: MemoryBudget;
  /** Bytes taken from the account and not charged by anybody. */
  #spareBytes = 0;
  /** Bytes taken from the account, by this lease and not given back. */
  #takenBytes = 0;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  /** Takes over bytes that somebody else charged to the account: the next charges are paid from them. */
  adopt(bytes: number): void {
    this.#spareBytes += bytes;
  }

  /**
   * Charges bytes; negative gives back.
   *
   * @throws AppError as MemoryBudget.charge.
   */
  charge(bytes: number): void {
    const spareBytes = this.#spareBytes - bytes;
    if (spareBytes >= 0) this.#spareBytes = spareBytes;
    else this.#take(Math.ceil(-spareBytes));
    if (this.#spareBytes > 2 * LEASE_BYTES && bytes < 0) this.#giveBack();
  }

  /** Takes at least `missing` bytes beyond the spare ones, which are used up with them. */
  #take(missing: number): void {
    let taken = missing + LEASE_BYTES;
    try {
      this.#budget.charge(taken);
    } catch {
      // Near the limit to the byte: it is the limit that was promised.
      taken = missing;
      this.#budget.charge(taken);
    }
    this.#takenBytes += taken;
    this.#spareBytes = taken - missing;
  }

  #giveBack(): void {
    const bytes = Math.min(Math.floor(this.#spareBytes - LEASE_BYTES), this.#takenBytes);
    this.#budget.charge(-bytes);
    this.#spareBytes -= bytes;
    this.#takenBytes -= bytes;
  }
}

// The few numbers that all threads of a query share: whether it is over, how far it is, what it holds. Whoever works for
// the query looks here even in a loop that lets no message in.
import { AppError } from '../../lib/core/errors.ts';
import { ACCOUNT_BYTES } from './memory-budget.ts';

/** 32-bit cells. */
const CANCELED = 0;
const PHASE = 1;
/** 64-bit cells, behind the 32-bit ones. */
const SERIES = 1;
const SAMPLES = 2;
const ACCOUNT = 3;
const BYTES = ACCOUNT * 8 + ACCOUNT_BYTES;

/** What a query is at, in order. */
export const QUERY_PHASES = ['queued', 'planning', 'fetching', 'evaluating', 'sending'] as const;
export type QueryProgressPhase = (typeof QUERY_PHASES)[number];

export class QueryBlock {
  /** For another thread to make its QueryBlock of. */
  readonly shared: SharedArrayBuffer;
  /** Cells of the memory account. */
  readonly account: BigInt64Array;
  readonly #flags: Int32Array;
  readonly #counts: BigInt64Array;

  constructor(shared = new SharedArrayBuffer(BYTES)) {
    this.shared = shared;
    this.#flags = new Int32Array(shared, 0, 2);
    this.#counts = new BigInt64Array(shared, 0, ACCOUNT);
    this.account = new BigInt64Array(shared, ACCOUNT * 8);
  }

  /** Tells all threads that nobody waits for the query any more. */
  cancel(): void {
    Atomics.store(this.#flags, CANCELED, 1);
  }

  /** @throws AppError `canceled`; the reason is known to whoever called cancel(). Cost: an atomic load. */
  throwIfCanceled(): void {
    if (Atomics.load(this.#flags, CANCELED) !== 0) throw new AppError('canceled', 'query was canceled');
  }

  get phase(): QueryProgressPhase {
    return QUERY_PHASES[Atomics.load(this.#flags, PHASE)]!;
  }

  /** A query goes forward only. */
  enter(phase: QueryProgressPhase): void {
    const index = QUERY_PHASES.indexOf(phase);
    if (Atomics.load(this.#flags, PHASE) < index) Atomics.store(this.#flags, PHASE, index);
  }

  /** Series read so far, once for each selector that found them. */
  get series(): number {
    return Number(Atomics.load(this.#counts, SERIES));
  }

  /** Samples decoded so far. */
  get samples(): number {
    return Number(Atomics.load(this.#counts, SAMPLES));
  }

  /** Bytes that the query holds. */
  get heldBytes(): number {
    return Number(Atomics.load(this.account, 0));
  }

  addProgress(series: number, samples: number): void {
    Atomics.add(this.#counts, SERIES, BigInt(series));
    Atomics.add(this.#counts, SAMPLES, BigInt(samples));
  }
}

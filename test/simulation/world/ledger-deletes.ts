// What a writer's ledger knows of deletes: which of its samples must be gone, which may be there or not, and which are as if nothing had been deleted.

/** Of a sample under a delete. */
export type DeleteStatus = 'kept' | 'free' | 'gone';

/**
 * A delete of some series over a range of slots. What was acknowledged before it was asked for is gone once it is acknowledged. Free are samples that were
 * on their way meanwhile, are sent again afterwards, or may have an earlier attempt on its way still; and all of them once it is taken back, since what
 * was sealed meanwhile is sealed without them. What is sent first after it is kept.
 */
export class LedgerDelete {
  readonly series: ReadonlySet<number>;
  readonly minSlot: number;
  readonly maxSlot: number;
  #phase: 'asked' | 'done' | 'taken back' = 'asked';
  readonly #gone: Set<number>;
  readonly #free = new Set<number>();

  /** @param settled  Slots in the range that are acknowledged, with nothing of them on its way. */
  constructor(series: ReadonlySet<number>, minSlot: number, maxSlot: number, settled: Iterable<number>) {
    this.series = series;
    this.minSlot = minSlot;
    this.maxSlot = maxSlot;
    this.#gone = new Set(settled);
  }

  /** Slots that must be gone just now. */
  get gone(): ReadonlySet<number> {
    return this.#phase === 'done' ? this.#gone : NONE;
  }

  /** Whether it could ever concern the sample. */
  touches(slot: number, series: number): boolean {
    return slot >= this.minSlot && slot <= this.maxSlot && this.series.has(series);
  }

  statusOf(slot: number, series: number): DeleteStatus {
    if (!this.touches(slot, series)) return 'kept';
    if (this.#phase === 'asked') return 'free';
    if (this.#gone.has(slot)) return this.#phase === 'done' ? 'gone' : 'free';
    return this.#free.has(slot) ? 'free' : 'kept';
  }

  /** The slot is sent, for the first time or again. */
  sending(slot: number): void {
    if (this.#gone.delete(slot)) this.#free.add(slot);
  }

  /** @param sent  All slots that were ever sent. */
  acknowledge(sent: Iterable<number>): void {
    this.#phase = 'done';
    for (const slot of sent)
      if (slot >= this.minSlot && slot <= this.maxSlot && !this.#gone.has(slot)) this.#free.add(slot);
  }

  takeBack(): void {
    this.#phase = 'taken back';
  }
}

const NONE: ReadonlySet<number> = new Set();

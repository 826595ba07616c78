// Which start time was written last for a series, so that the same one is not written with every sample. Forgets under
// pressure: a start time that is written again does no harm (extra-columns.ts).

const SLOTS_MIN = 1 << 10;
/** 1.5 MiB. Writers of more series than that with start times write some of them again and again. */
const SLOTS_MAX = 1 << 17;
const NO_REFERENCE = 0xffffffff;

/** Start times by series reference, in a table of one entry per slot; made small, grown with what it holds. */
export class StartTimeMemory {
  #references = new Uint32Array(0);
  #startsMs = new Float64Array(0);
  #used = 0;

  /** True when this start time is news for the series; it counts as written from then. */
  isNews(reference: number, startMs: number): boolean {
    if (this.#used * 2 >= this.#references.length) this.#grow();
    const slot = slotOf(reference, this.#references.length);
    if (this.#references[slot] === reference && this.#startsMs[slot] === startMs) return false;
    if (this.#references[slot] === NO_REFERENCE) this.#used++;
    this.#references[slot] = reference;
    this.#startsMs[slot] = startMs;
    return true;
  }

  /** What was told of the series may have been lost: its start time is news again. */
  forget(reference: number): void {
    if (this.#references.length === 0) return;
    const slot = slotOf(reference, this.#references.length);
    if (this.#references[slot] === reference) this.#startsMs[slot] = Number.NaN;
  }

  clear(): void {
    this.#references.fill(NO_REFERENCE);
    this.#used = 0;
  }

  #grow(): void {
    const before = this.#references;
    const startsMs = this.#startsMs;
    const size = Math.max(SLOTS_MIN, before.length * 2);
    if (size > SLOTS_MAX) return;
    this.#references = new Uint32Array(size).fill(NO_REFERENCE);
    this.#startsMs = new Float64Array(size);
    this.#used = 0;
    for (let i = 0; i < before.length; i++) {
      if (before[i] !== NO_REFERENCE) this.isNews(before[i]!, startsMs[i]!);
    }
  }
}

/** References are dense: neighbours do not meet. */
function slotOf(reference: number, size: number): number {
  return reference & (size - 1);
}

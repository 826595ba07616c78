// Counts distinct series across blocks, so that a limit on series means the same for one block and for a hundred.
import { hash128 } from '../../lib/core/hash128.ts';

/** A set of 64-bit hashes of label bytes in one typed array; grows, 32 bytes a series at most. */
export class SeriesCounter {
  readonly #words = new Uint32Array(4);
  readonly #seed: number;
  /** Two words per slot; an empty slot is all zero. Invariant: at most half full. */
  #slots = new Uint32Array(2 * 1024);
  count = 0;

  /** @param seed  Random per process. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Notes a series; returns how many distinct ones were noted. */
  add(bytes: Uint8Array, start: number, end: number): number {
    hash128(bytes, start, end, this.#seed, this.#words);
    const high = this.#words[0]!;
    // All zero means empty.
    const low = this.#words[1]! | 1;
    if (!this.#insert(high, low >>> 0)) return this.count;
    this.count++;
    if (this.count * 4 > this.#slots.length) this.#grow();
    return this.count;
  }

  #insert(high: number, low: number): boolean {
    const slots = this.#slots;
    const mask = slots.length / 2 - 1;
    for (let slot = high & mask; ; slot = (slot + 1) & mask) {
      const ownLow = slots[2 * slot + 1]!;
      if (ownLow === 0) {
        slots[2 * slot] = high;
        slots[2 * slot + 1] = low;
        return true;
      }
      if (ownLow === low && slots[2 * slot] === high) return false;
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    for (let i = 0; i < old.length; i += 2) if (old[i + 1] !== 0) this.#insert(old[i]!, old[i + 1]!);
  }
}

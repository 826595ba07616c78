// Which sealed blocks' samples are held here, in whatever blocks they stand; and which were, and went with retention.
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { leafKeysOf } from './inventory-block.ts';

/** Of what retention took since the start. A store that forgets one copies its block once more, and retention takes it again. */
const RETIRED_MAX = 1_000_000;

export class HeldLeaves {
  /** Key → blocks that hold it. */
  readonly #counts = new Map<string, number>();
  readonly #retired = new Set<string>();

  add(meta: BlockMeta): void {
    for (const key of leafKeysOf(meta)) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  remove(meta: BlockMeta): void {
    for (const key of leafKeysOf(meta)) {
      const count = (this.#counts.get(key) ?? 0) - 1;
      if (count > 0) this.#counts.set(key, count);
      else this.#counts.delete(key);
    }
  }

  /** Notes that retention took the block: it is not to come back from another store whose turn is later. */
  retire(meta: BlockMeta): void {
    for (const key of leafKeysOf(meta)) {
      if (this.#retired.size >= RETIRED_MAX) this.#retired.clear();
      this.#retired.add(key);
    }
  }

  has(key: string): boolean {
    return this.#counts.has(key);
  }

  /** Held, or not to be held any more. */
  isSettled(key: string): boolean {
    return this.#counts.has(key) || this.#retired.has(key);
  }
}

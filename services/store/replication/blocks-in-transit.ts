// Blocks that are being copied to this store. A delete that comes meanwhile concerns them too: it may have reached the other store
// after it was asked for the block's deletes.
import type { BlockName } from '../../lib/wire/contracts.ts';

interface TransitBlock extends BlockName {
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

export class BlocksInTransit {
  readonly #blocks = new Set<TransitBlock>();

  /** Call what it returns when the block has come, or does not. */
  enter(block: TransitBlock): () => void {
    this.#blocks.add(block);
    return () => {
      this.#blocks.delete(block);
    };
  }

  has(tenant: string, blockId: string): boolean {
    for (const block of this.#blocks) if (block.tenant === tenant && block.blockId === blockId) return true;
    return false;
  }

  /** Ids of those that have samples of the range, perhaps. */
  overlapping(tenant: string, range: { readonly minTimeMs: number; readonly maxTimeMs: number }): string[] {
    const overlaps = (block: TransitBlock) =>
      block.tenant === tenant && block.minTimeMs <= range.maxTimeMs && block.maxTimeMs >= range.minTimeMs;
    return [...this.#blocks].filter(overlaps).map(({ blockId }) => blockId);
  }
}

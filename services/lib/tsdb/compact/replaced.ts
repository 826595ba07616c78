// Which blocks are superseded by others that are there as well. A merged block names the sealed blocks whose samples it
// holds; once it is in its place, whatever holds no others is a source that a crash left behind.
import type { BlockMeta } from '../block/block-meta.ts';
import { leavesOf } from './merge-blocks.ts';

/**
 * Ids of the blocks of one tenant all of whose sealed blocks are in another block of a higher level and the same resolution.
 *
 * Cost: one look-up per block and source.
 */
export function replacedBlocks(metas: readonly BlockMeta[]): Set<string> {
  const holders = new Map<string, BlockMeta[]>();
  for (const meta of metas) {
    for (const source of meta.sources) {
      const known = holders.get(source);
      if (known === undefined) holders.set(source, [meta]);
      else known.push(meta);
    }
  }
  const replaced = new Set<string>();
  for (const meta of metas) {
    const leaves = leavesOf(meta);
    const isHeldBy = (other: BlockMeta): boolean => {
      if (other === meta || other.level <= meta.level || other.resolutionMs !== meta.resolutionMs)
        return false;
      return leaves.every((leaf) => holders.get(leaf)?.includes(other));
    };
    if (holders.get(leaves[0]!)?.some(isHeldBy)) replaced.add(meta.blockId);
  }
  return replaced;
}

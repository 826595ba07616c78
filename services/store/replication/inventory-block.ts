// A block that some store holds, as planning sees it: its group, and what sealed blocks are in it.
import { groupOf } from '../../lib/placement/block-groups.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { leavesOf } from '../../lib/tsdb/compact/merge-blocks.ts';
import type { WireHeldBlock } from '../../lib/wire/contracts.ts';
import { bytesOf } from '../blocks/block-catalog.ts';
import { unpackIds } from '../blocks/block-ids.ts';

export interface InventoryBlock {
  readonly tenant: string;
  readonly blockId: string;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** 0: samples as they were written; else milliseconds between aggregates. */
  readonly resolutionMs: number;
  readonly bytes: number;
  /** Keys of the sealed blocks whose samples it holds (`leafKeyOf`). */
  readonly leaves: readonly string[];
  readonly group: string;
}

/** Names the samples of a sealed block at a resolution: what copies of blocks are compared by. */
export function leafKeyOf(tenant: string, resolutionMs: number, leaf: string): string {
  return `${tenant}/${resolutionMs}/${leaf}`;
}

/** The sealed block's id in a key of leafKeyOf. */
export function leafIdOf(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

export function leafKeysOf(meta: BlockMeta): string[] {
  return leavesOf(meta).map((leaf) => leafKeyOf(meta.tenant, meta.resolutionMs ?? 0, leaf));
}

export function fromMeta(meta: BlockMeta): InventoryBlock {
  return {
    tenant: meta.tenant,
    blockId: meta.blockId,
    minTimeMs: meta.minTimeMs,
    maxTimeMs: meta.maxTimeMs,
    resolutionMs: meta.resolutionMs ?? 0,
    bytes: bytesOf(meta),
    leaves: leafKeysOf(meta),
    group: groupOf(meta),
  };
}

export function fromWire(block: WireHeldBlock): InventoryBlock {
  const { tenant, blockId, minTimeMs, maxTimeMs, sizeBytes, resolutionMs = 0 } = block;
  const sources = unpackIds(block.sources);
  const ids = sources.length > 0 ? sources : [blockId];
  const leaves = ids.map((leaf) => leafKeyOf(tenant, resolutionMs, leaf));
  const group = groupOf(block);
  return { tenant, blockId, minTimeMs, maxTimeMs, resolutionMs, bytes: sizeBytes, leaves, group };
}

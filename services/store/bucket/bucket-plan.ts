// What this store has to do for the bucket. Pure: from what both hold and who should hold what. Of a group's live owners the first keeps the
// bucket: it makes it hold the blocks that it holds itself, and removes those whose samples stand in other blocks of both, or went for good.
import type { GroupPlacement } from '../../lib/placement/block-groups.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { fromMeta, type InventoryBlock, leafIdOf, leafKeysOf } from '../replication/inventory-block.ts';

export interface BucketPlanInput {
  readonly instance: string;
  readonly own: readonly BlockMeta[];
  readonly inBucket: readonly BlockMeta[];
  /** Of a block that is held here: its chunks are in the bucket only, so that there is nothing to bring. */
  readonly isEvicted: (meta: BlockMeta) => boolean;
  /** Of a block of the bucket: what was read of it was damaged. */
  readonly isDamagedThere: (meta: BlockMeta) => boolean;
  readonly placement: GroupPlacement;
  readonly live: ReadonlySet<string>;
  /** Of a sealed block's key: held here. */
  readonly holds: (leaf: string) => boolean;
  /** Of a sealed block's key: held here, or gone from here for good. */
  readonly isSettled: (leaf: string) => boolean;
  /** `<tenant>/<block id>` of blocks of which deletes left nothing here. */
  readonly erased: ReadonlySet<string>;
  /** Of a block: held by another store, whose chunks of it may be in the bucket only. */
  readonly isHeldByAnother: (meta: BlockMeta) => boolean;
  readonly isExpired: (block: InventoryBlock) => boolean;
}

export interface BucketPlan {
  /** Newest first: they have been on fewest disks for longest. */
  readonly uploads: readonly BlockMeta[];
  /** In the bucket, but they stand for fewer sealed blocks there than here. */
  readonly outdated: readonly BlockMeta[];
  /** Here and in the bucket: what deletes hide of them has to agree. */
  readonly shared: readonly BlockMeta[];
  /** Their retention is over. */
  readonly expired: readonly BlockMeta[];
  /** Their samples stand in other blocks of the bucket, or were deleted. */
  readonly superseded: readonly BlockMeta[];
}

export function planBucket(input: BucketPlanInput): BucketPlan {
  const isKeeper = keeperOf(input);
  const inBucket = new Map(input.inBucket.map((meta) => [nameOf(meta), meta]));
  const uploads: BlockMeta[] = [];
  const outdated: BlockMeta[] = [];
  const shared: BlockMeta[] = [];
  const covered = new Set<string>();
  const own = new Set(input.own.map(nameOf));
  for (const meta of input.own) {
    const block = fromMeta(meta);
    const there = inBucket.get(nameOf(meta));
    const isDamaged = there !== undefined && input.isDamagedThere(meta);
    if (there !== undefined && !isDamaged) for (const leaf of leafKeysOf(there)) covered.add(leaf);
    if (input.isExpired(block)) continue;
    if (isDamaged && !input.isEvicted(meta)) uploads.push(meta);
    if (!isKeeper(block.group)) continue;
    if (there === undefined && !input.isEvicted(meta)) uploads.push(meta);
    if (there !== undefined) shared.push(meta);
    if (there !== undefined && standsForMore(meta, there)) outdated.push(meta);
  }
  const expired: BlockMeta[] = [];
  const superseded: BlockMeta[] = [];
  for (const meta of input.inBucket) {
    const block = fromMeta(meta);
    if (!isKeeper(block.group)) continue;
    if (input.isExpired(block)) expired.push(meta);
    else if (
      !own.has(nameOf(meta)) &&
      block.leaves.every((leaf) => isCovered(leaf, block.tenant, covered, input)) &&
      // Another store reads it there until it holds what it was merged into, or has left out what is deleted here.
      !input.isHeldByAnother(meta)
    )
      superseded.push(meta);
  }
  uploads.sort((a, b) => b.maxTimeMs - a.maxTimeMs || (a.blockId < b.blockId ? -1 : 1));
  return { uploads, outdated, shared, expired, superseded };
}

/** Its samples are in another block that is here and in the bucket, or gone for good. */
function isCovered(
  leaf: string,
  tenant: string,
  covered: ReadonlySet<string>,
  input: BucketPlanInput,
): boolean {
  if (covered.has(leaf) || input.erased.has(`${tenant}/${leafIdOf(leaf)}`)) return true;
  return input.isSettled(leaf) && !input.holds(leaf);
}

/** Whether this store keeps a group's blocks in the bucket; asked for many blocks of few groups. */
function keeperOf({ instance, placement, live }: BucketPlanInput): (group: string) => boolean {
  const known = new Map<string, boolean>();
  return (group) => {
    let isKeeper = known.get(group);
    if (isKeeper === undefined) {
      isKeeper = placement.ownersOf(group).find((owner) => live.has(owner)) === instance;
      known.set(group, isKeeper);
    }
    return isKeeper;
  };
}

const nameOf = ({ tenant, blockId }: BlockMeta): string => `${tenant}/${blockId}`;

/** Whether a block stands for all that an equal one does, and for more. */
function standsForMore(meta: BlockMeta, than: BlockMeta): boolean {
  const leaves = new Set(leafKeysOf(meta));
  const others = leafKeysOf(than);
  return leaves.size > others.length && others.every((leaf) => leaves.has(leaf));
}

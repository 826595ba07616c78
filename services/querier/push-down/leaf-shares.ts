// Which store evaluates which partitions of a part: of each partition one that holds every sealed block that any store lists for it.
import type { LeafBlock } from '../../lib/wire/contracts.ts';

const ID_BYTES = 16;

/** What a store says of the blocks of a window. */
export interface ListedBlocks {
  readonly instance: string;
  readonly blocks: readonly LeafBlock[];
}

/** Partitions that one store is asked for, and the sealed blocks that it has to hold for them. */
export interface LeafShare {
  readonly instance: string;
  /** Ascending. */
  readonly partitions: readonly number[];
  /** 32 hexadecimal digits each. */
  readonly leaves: readonly string[];
}

export interface LeafShares {
  readonly shares: readonly LeafShare[];
  /** Partitions of which no store has anything. */
  readonly empty: readonly number[];
  /** Partitions that no store may evaluate alone. */
  readonly refused: readonly number[];
}

interface Block {
  readonly instance: string;
  readonly leaves: readonly string[];
  readonly deletes: string;
}

/**
 * Shares the partitions out. Each is in one share, or `empty`, or `refused`.
 *
 * @param stores   All that answered.
 * @param isLate   Whether another store is to be preferred.
 *
 * Cost: O(blocks × partitions + sealed blocks × sets of partitions that have the same blocks).
 */
export function shareOutLeaves(
  stores: readonly ListedBlocks[],
  partitionCount: number,
  isLate: (instance: string) => boolean = () => false,
): LeafShares {
  const blocks: Block[] = [];
  /** By partition, the numbers of its blocks. */
  const blocksOf: number[][] = Array.from({ length: partitionCount }, () => []);
  const all = Array.from({ length: partitionCount }, (_, partition) => partition);
  const held = new Map<string, Set<string>>();
  for (const { instance, blocks: listed } of stores) {
    const own = new Set<string>();
    held.set(instance, own);
    for (const { partitions, leaves, deletes } of listed) {
      const ids = idsOf(leaves);
      for (const leaf of ids) own.add(leaf);
      for (const partition of partitions) {
        // What it has would be read by chunks, and by no share.
        if (partition >= partitionCount) return { shares: [], empty: [], refused: all };
        blocksOf[partition]!.push(blocks.length);
      }
      blocks.push({ instance, leaves: ids, deletes: Buffer.from(deletes).toString('hex') });
    }
  }
  /** Partitions that have the same blocks need the same. */
  const alike = Map.groupBy(all, (partition) => blocksOf[partition]!.join());
  const shares = new Map<string, { instance: string; partitions: number[]; leaves: readonly string[] }>();
  const empty: number[] = [];
  const refused: number[] = [];
  for (const [key, partitions] of alike) {
    const own = blocksOf[partitions[0]!]!.map((block) => blocks[block]!);
    const needed = neededLeaves(own);
    const holders = needed === undefined ? [] : holdersOf(needed, held);
    const prompt = holders.filter((instance) => !isLate(instance));
    const candidates = prompt.length > 0 ? prompt : holders;
    for (const partition of partitions) {
      if (own.length === 0) empty.push(partition);
      else if (candidates.length === 0) refused.push(partition);
      else {
        // Copies share the work; partitions of a group are sixteen apart.
        const instance = candidates[(partition + Math.floor(partition / 16)) % candidates.length]!;
        const name = `${instance} ${key}`;
        const share = shares.get(name);
        if (share === undefined) shares.set(name, { instance, partitions: [partition], leaves: needed! });
        else share.partitions.push(partition);
      }
    }
  }
  empty.sort((a, b) => a - b);
  refused.sort((a, b) => a - b);
  return { shares: [...shares.values()], empty, refused };
}

function holdersOf(needed: readonly string[], held: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  return [...held]
    .filter(([, leaves]) => needed.every((leaf) => leaves.has(leaf)))
    .map(([instance]) => instance);
}

/** All sealed blocks in some blocks; undefined where stores do not agree what deletes hide of one. */
function neededLeaves(blocks: readonly Block[]): string[] | undefined {
  const deletesOf = new Map<string, string>();
  for (const { leaves, deletes } of blocks) {
    for (const leaf of leaves) {
      const known = deletesOf.get(leaf);
      if (known !== undefined && known !== deletes) return undefined;
      deletesOf.set(leaf, deletes);
    }
  }
  return [...deletesOf.keys()];
}

function idsOf(bytes: Uint8Array): string[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
  const count = Math.floor(bytes.length / ID_BYTES);
  return Array.from({ length: count }, (_, i) => text.slice(32 * i, 32 * i + 32));
}

/** As requests have them. */
export function packLeaves(leaves: readonly string[]): Buffer {
  return Buffer.from(leaves.join(''), 'hex');
}

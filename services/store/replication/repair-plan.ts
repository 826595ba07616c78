// What to copy and what to give away. Pure: from what this store and the others hold, and who should hold what. Blocks are
// compared by the sealed blocks in them, since stores merge on their own: two stores that hold the same sealed blocks, merged in
// whatever way, hold the same samples.
import type { GroupPlacement } from '../../lib/placement/block-groups.ts';
import type { InventoryBlock } from './inventory-block.ts';
import { leafIdOf } from './inventory-block.ts';
import type { PeerInventory } from './peer-inventories.ts';

export interface RepairInput {
  readonly instance: string;
  readonly own: readonly InventoryBlock[];
  /** Of a sealed block's key: held here, or gone from here for good. */
  readonly isSettled: (leaf: string) => boolean;
  /** `<tenant>/<block id>` of blocks of which deletes left nothing here. */
  readonly erased: ReadonlySet<string>;
  /** Of the live peers only; the others cannot be copied from. */
  readonly peers: ReadonlyMap<string, PeerInventory>;
  /** Object storage among the peers, by its name. */
  readonly bucket?: string | undefined;
  readonly placement: GroupPlacement;
  /** Retention would take it away again. */
  readonly isExpired: (block: InventoryBlock) => boolean;
}

/** A block to be copied. */
export interface WantedBlock {
  readonly block: InventoryBlock;
  /** Live stores that have this very block. */
  readonly from: readonly string[];
  /** Live stores that hold the rarest of its sealed blocks that are missing here. */
  readonly copies: number;
  /** Not to be copied yet: a store holds something of it in another block, which comes first. */
  readonly waits: boolean;
}

/** A block that others should hold in this store's place. */
export interface SurplusBlock {
  readonly block: InventoryBlock;
  readonly owners: readonly string[];
  /** All owners said that they hold everything in it. */
  readonly isHeldByOwners: boolean;
}

export interface RepairPlan {
  /** Those with the fewest copies first, then the newest. */
  readonly wanted: readonly WantedBlock[];
  readonly surplus: readonly SurplusBlock[];
}

interface Offer {
  readonly block: InventoryBlock;
  readonly from: string[];
}

export function planRepair(input: RepairInput): RepairPlan {
  const offers = collectOffers(input);
  const wanted: WantedBlock[] = [];
  for (const group of offers.values()) wanted.push(...chooseCover(group, input));
  wanted.sort(
    (a, b) =>
      a.copies - b.copies ||
      b.block.maxTimeMs - a.block.maxTimeMs ||
      (a.block.blockId < b.block.blockId ? -1 : 1),
  );
  return { wanted, surplus: findSurplus(input) };
}

/** Blocks of which deletes left nothing, here or at a live peer. */
class Erased {
  readonly #sets: readonly ReadonlySet<string>[];

  constructor({ erased, peers }: RepairInput) {
    this.#sets = [erased, ...Array.from(peers.values(), (peer) => peer.erased)].filter(
      ({ size }) => size > 0,
    );
  }

  has(tenant: string, blockId: string): boolean {
    return this.#sets.some((erased) => erased.has(`${tenant}/${blockId}`));
  }
}

/** Peers' blocks of groups that this store owns and that have something it lacks, by group. */
function collectOffers(input: RepairInput): Map<string, Map<string, Offer>> {
  const erased = new Erased(input);
  const byGroup = new Map<string, Map<string, Offer>>();
  const isOwner = new Map<string, boolean>();
  for (const [instance, { blocks }] of input.peers) {
    for (const [key, block] of blocks) {
      let owns = isOwner.get(block.group);
      if (owns === undefined) {
        owns = input.placement.ownersOf(block.group).includes(input.instance);
        isOwner.set(block.group, owns);
      }
      if (!owns || input.isExpired(block) || erased.has(block.tenant, block.blockId)) continue;
      const lacks = (leaf: string) => !input.isSettled(leaf) && !erased.has(block.tenant, leafIdOf(leaf));
      if (!block.leaves.some(lacks)) continue;
      let group = byGroup.get(block.group);
      if (group === undefined) {
        group = new Map<string, Offer>();
        byGroup.set(block.group, group);
      }
      const known = group.get(key);
      if (known === undefined) group.set(key, { block, from: [instance] });
      else known.from.push(instance);
    }
  }
  return byGroup;
}

/**
 * Blocks that together bring all that is missing. What only object storage has comes last where a store holds something of it in another block: of
 * a delete that concerned that one nothing is said beside the blocks that it was merged from (simulation, seed 1426 with deletes).
 */
function chooseCover(offers: ReadonlyMap<string, Offer>, input: RepairInput): WantedBlock[] {
  const copies = new Map<string, number>();
  const atStores = new Set<string>();
  const isAtStore = ({ from }: Offer) => from.some((instance) => instance !== input.bucket);
  for (const offer of offers.values()) {
    for (const leaf of offer.block.leaves) {
      if (input.isSettled(leaf)) continue;
      copies.set(leaf, (copies.get(leaf) ?? 0) + offer.from.length);
      if (isAtStore(offer)) atStores.add(leaf);
    }
  }
  const isLast = (offer: Offer) => !isAtStore(offer) && offer.block.leaves.some((leaf) => atStores.has(leaf));
  const all = [...offers.values()];
  const missing = new Set(copies.keys());
  const now = chooseGreedily(
    all.filter((offer) => !isLast(offer)),
    missing,
  );
  const later = chooseGreedily(all.filter(isLast), missing);
  return [...now, ...later].map(({ offer, brings }) => ({
    block: offer.block,
    from: offer.from.toSorted(),
    copies: Math.min(...brings.map((leaf) => copies.get(leaf)!)),
    waits: isLast(offer),
  }));
}

interface Choice {
  readonly offer: Offer;
  /** Keys of sealed blocks that it brings and those before it do not. */
  readonly brings: readonly string[];
}

/** Again and again the one with the most of what is missing, of equals the smallest. Takes what they bring out of `missing`. */
function chooseGreedily(offers: readonly Offer[], missing: Set<string>): Choice[] {
  const chosen: Choice[] = [];
  let rest = offers;
  while (missing.size > 0 && rest.length > 0) {
    const best = rest
      .map((offer) => ({ offer, brings: offer.block.leaves.filter((leaf) => missing.has(leaf)) }))
      .reduce((a, b) => (isBetter(b.brings.length, b.offer.block, a.brings.length, a.offer.block) ? b : a));
    if (best.brings.length === 0) break;
    chosen.push(best);
    for (const leaf of best.brings) missing.delete(leaf);
    rest = rest.filter((other) => other !== best.offer);
  }
  return chosen;
}

function isBetter(
  brings: number,
  block: InventoryBlock,
  otherBrings: number,
  other: InventoryBlock,
): boolean {
  if (brings !== otherBrings) return brings > otherBrings;
  if (block.bytes !== other.bytes) return block.bytes < other.bytes;
  return block.blockId < other.blockId;
}

function findSurplus(input: RepairInput): SurplusBlock[] {
  const { instance, own, placement } = input;
  const erased = new Erased(input);
  const heldBy = new Map<string, ReadonlySet<string>>();
  const leavesAt = (owner: string): ReadonlySet<string> => {
    let leaves = heldBy.get(owner);
    if (leaves === undefined) {
      const blocks = input.peers.get(owner)?.blocks.values() ?? [];
      leaves = new Set(Array.from(blocks, (block) => block.leaves).flat());
      heldBy.set(owner, leaves);
    }
    return leaves;
  };
  const surplus: SurplusBlock[] = [];
  for (const block of own) {
    const owners = placement.ownersOf(block.group);
    if (owners.includes(instance)) continue;
    const isAt = (owner: string) =>
      block.leaves.every((leaf) => leavesAt(owner).has(leaf) || erased.has(block.tenant, leafIdOf(leaf)));
    surplus.push({ block, owners, isHeldByOwners: owners.length > 0 && owners.every(isAt) });
  }
  return surplus;
}

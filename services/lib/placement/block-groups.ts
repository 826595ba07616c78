// Which stores should hold a block. Blocks are placed by group: a tenant, an aligned window of two days, a share of the partitions.
// Stores merge blocks of one group only, so the owners of a group come to hold the same sealed blocks, merged as each of them
// likes, and no merge ever ties blocks of different owners together. A group's owners are those of the slot that it falls into
// (store-slots.ts).
import { assert } from '../core/assert.ts';
import { hashOf, rankMembers } from './placement.ts';
import { type StoreMember, slotOwners } from './store-slots.ts';

/** The largest range that stores merge. Part of placement: with another value every block would move. */
export const GROUP_WINDOW_MS = 48 * 3_600_000;
/** Shares of the partitions. Enough that the stores of a cluster of usual size hold equal parts of each window. */
export const GROUP_SHARDS = 16;

/** What of a block decides its group. */
export interface PlacedBlock {
  readonly tenant: string;
  readonly minTimeMs: number;
  readonly partitions: readonly number[];
}

/** The part of a group's name that stands before its shard: `<tenant>/<window>`. */
export function rowOf({ tenant, minTimeMs }: PlacedBlock): string {
  return `${tenant}/${Math.floor(minTimeMs / GROUP_WINDOW_MS)}`;
}

/** `<tenant>/<window>/<shard>`; the shard is `mixed` where a block has partitions of several. */
export function groupOf(block: PlacedBlock): string {
  return `${rowOf(block)}/${shardOf(block.partitions) ?? 'mixed'}`;
}

/** Share that all of the partitions are in; undefined when there are several, or no partition at all. */
export function shardOf(partitions: readonly number[]): number | undefined {
  const first = partitions[0];
  if (first === undefined) return undefined;
  const shard = first % GROUP_SHARDS;
  return partitions.every((partition) => partition % GROUP_SHARDS === shard) ? shard : undefined;
}

/** Owners of groups among given stores. Pure: the same for all who know the same stores. */
export class GroupPlacement {
  readonly #stores: readonly StoreMember[];
  /** By slot. */
  readonly #owners: readonly (readonly string[])[];

  /**
   * @param stores  Those that can own blocks, in any order; leaving ones are left out.
   * @param copies  Stores that should hold each block.
   */
  constructor(stores: readonly StoreMember[], copies: number) {
    assert(copies > 0, `copies ${copies} > 0`);
    this.#stores = stores.filter(({ leaving }) => leaving !== true);
    this.#owners = slotOwners(stores, copies);
  }

  /** Stores that should hold the blocks of a group, best first: as many as there should be copies, fewer when there are fewer stores. */
  ownersOf(group: string): readonly string[] {
    return this.#owners[slotOf(group, this.#owners.length)]!;
  }

  /** All stores in the order in which copies go to them: the owners, then who takes the place of one that fails. */
  orderFor(group: string): string[] {
    const owners = this.ownersOf(group);
    const others = rankMembers(this.#stores, `blocks ${group}`).map(({ instance }) => instance);
    return [...owners, ...others.filter((instance) => !owners.includes(instance))];
  }
}

/** The groups of successive windows of a tenant are in successive slots, so that each slot has as many of them as any other. */
function slotOf(group: string, slots: number): number {
  const [tenant = '', window, shard] = group.split('/');
  if (shard === 'mixed') return hashOf('mixed blocks', group) % slots;
  const index = Number(window) * GROUP_SHARDS + Number(shard);
  return ((hashOf('blocks', tenant) % slots) + (index % slots) + slots) % slots;
}

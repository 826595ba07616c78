// Which slots of the cluster's table a store has. Groups of blocks fall into slots, and slots are shared out as partitions are, from
// who had them before: hashing alone cannot be even and move little with the few dozen groups that a store has of a tenant. What a
// store has stands with it in the placement record, so owners stay a pure function of the list of stores.
import { type AssignmentOptions, assignPartitions, type OwnerMember } from './assignment.ts';

/** Slots of a small cluster. A tenant's 15 days are eight windows of 16 groups: each slot once. Part of placement. */
export const SLOTS_MIN = 128;
/** Copies that a store has at least, on the average: one more or less is then less than a tenth. */
const COPIES_PER_STORE_MIN = 10;

/** A store that can own blocks. */
export interface StoreMember extends OwnerMember {
  /** It gives its blocks away and takes none. */
  readonly leaving?: boolean;
  /** Slots of the table that it had when the list was made; absent in lists of earlier versions. */
  readonly slots?: readonly number[];
}

/**
 * Owners of each slot among stores that do not leave, best first. Their number is a power of two.
 *
 * Law: from what the stores say they have as little moves as possible; nothing does while they are those of the list. Pure.
 */
export function slotOwners(stores: readonly StoreMember[], copies: number): string[][] {
  const owners = stores.filter(({ leaving }) => leaving !== true).map(ownerOf);
  const before = slotsBefore(stores);
  const partitionCount = slotCountOf(before.length, owners.length, copies);
  // A table of twice the size has everything twice: growing it moves nothing.
  const previous = Array.from({ length: before.length === 0 ? 0 : partitionCount }, (_, slot) => [
    ...before[slot % before.length]!,
  ]);
  const options: AssignmentOptions = { partitionCount, replicationFactor: copies };
  return assignPartitions(owners, previous, options);
}

/** The stores with the slots that they have among these; to be stored whenever the list changes. */
export function withSlots(stores: readonly StoreMember[], copies: number): StoreMember[] {
  const slots = new Map<string, number[]>(stores.map(({ instance }) => [instance, []]));
  for (const [slot, owners] of slotOwners(stores, copies).entries())
    for (const owner of owners) slots.get(owner)!.push(slot);
  return stores.map((store) => ({ ...store, slots: slots.get(store.instance)! }));
}

function ownerOf({ instance, zone, weight }: StoreMember): OwnerMember {
  return { instance, zone, weight: weight !== undefined && weight > 0 ? weight : 1 };
}

/** Who had each slot; empty when nobody had any. */
function slotsBefore(stores: readonly StoreMember[]): string[][] {
  const last = stores.reduce((most, { slots = [] }) => Math.max(most, ...slots), -1);
  if (last < 0) return [];
  const before: string[][] = Array.from({ length: slotCountOf(last + 1, 0, 1) }, () => []);
  for (const { instance, slots = [] } of stores) for (const slot of slots) before[slot]?.push(instance);
  return before;
}

/** The least power of two that is no less than `atLeast` and enough for so many stores. */
function slotCountOf(atLeast: number, stores: number, copies: number): number {
  let count = SLOTS_MIN;
  while (count < atLeast || count * Math.min(copies, stores) < stores * COPIES_PER_STORE_MIN) count *= 2;
  return count;
}

// Who may hold an acknowledged sample of a partition, and how many of them prove that nothing is missing. Pure; used by ingesters
// that compare what they hold (wire/docs/held-writes.md).
import type { Placement } from './placement.ts';

/** Owners of a partition now and, as long as they may have samples that are on no store, before. The first set is now's. */
export function ownerSetsOf(placement: Placement, partition: number): readonly (readonly string[])[] {
  const now = placement.replicas[partition] ?? [];
  const former = (placement.former ?? []).map((replicas) => replicas[partition] ?? []);
  return [now, ...former];
}

/** Partitions that an instance owns now. */
export function ownedBy(placement: Placement, instance: string): number[] {
  return placement.replicas.flatMap((owners, partition) => (owners.includes(instance) ? [partition] : []));
}

/** Whether the placement, now's or a former one that is not settled yet, counts on the instance for the partition. */
export function countsOn(placement: Placement, partition: number, instance: string): boolean {
  return ownerSetsOf(placement, partition).some((owners) => owners.includes(instance));
}

/** Members of a set of owners without one of which no quorum can be: so many have to be asked. */
export function witnessesOf(owners: readonly string[], quorum: number): number {
  // Of fewer owners than the quorum nothing was ever acknowledged.
  return owners.length < quorum ? 0 : owners.length - quorum + 1;
}

/** True when every quorum of every set has a member for whom `isAccounted` holds. */
export function coversQuorums(
  sets: readonly (readonly string[])[],
  quorum: number,
  isAccounted: (instance: string) => boolean,
): boolean {
  return sets.every((owners) => {
    let accounted = 0;
    for (const owner of owners) if (isAccounted(owner)) accounted++;
    return accounted >= witnessesOf(owners, quorum);
  });
}

/**
 * True when a quorum of every set is among those for whom `isTold` holds: whoever asks as many as `coversQuorums` wants meets one of them, by
 * whichever of the placements it goes.
 *
 * @param sets  As `ownerSetsOf` has them, now's first.
 */
export function holdsQuorums(
  sets: readonly (readonly string[])[],
  quorum: number,
  isTold: (instance: string) => boolean,
): boolean {
  return sets.every((owners, index) => {
    // Nothing was ever acknowledged by fewer; nothing can be while they are now's.
    if (index > 0 && owners.length < quorum) return true;
    let told = 0;
    for (const owner of owners) if (isTold(owner)) told++;
    return told >= quorum;
  });
}

/**
 * Few instances that are enough to ask for all these partitions together with `self`.
 *
 * @param reachable  In the order of preference.
 * @param counted    Whether `self` counts as one that holds what it acknowledged.
 */
export function chooseWitnesses(
  placement: Placement,
  partitions: readonly number[],
  quorum: number,
  reachable: readonly string[],
  self: { readonly instance: string; readonly counted: boolean },
): Set<string> {
  const chosen = new Set<string>();
  for (const partition of partitions) {
    for (const owners of ownerSetsOf(placement, partition)) {
      let missing = witnessesOf(owners, quorum);
      for (const owner of owners) {
        if (chosen.has(owner) || (owner === self.instance && self.counted)) missing--;
      }
      for (const instance of reachable) {
        if (missing <= 0) break;
        if (chosen.has(instance) || instance === self.instance || !owners.includes(instance)) continue;
        chosen.add(instance);
        missing--;
      }
    }
  }
  return chosen;
}

/**
 * By partition: the epoch since which its owners are those of now. Writes by an earlier placement could be acknowledged by owners
 * that no longer are, unseen by those who are.
 */
export function fencesOf(placement: Placement): Float64Array {
  const { former = [], formerEpochs = [], fence = 0 } = placement;
  const fences = new Float64Array(placement.partitionCount).fill(fence);
  for (let partition = 0; partition < placement.partitionCount; partition++) {
    const now = placement.replicas[partition]!;
    // Newest first: the first that differs was in force until the owners became those of now.
    const at = former.findIndex((replicas) => !isSameSet(replicas[partition]!, now));
    if (at >= 0) fences[partition] = Math.max(fence, (formerEpochs[at] ?? -1) + 1);
  }
  return fences;
}

function isSameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((instance) => b.includes(instance));
}

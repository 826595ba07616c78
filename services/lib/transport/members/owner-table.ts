// Owners of partitions as the placement record has them, and as names.
import { computePlacement } from '../../placement/placement.ts';
import type { FormerIngesters, OwnerTable, PlacementRecord } from '../control-plane.ts';

/** Names of the owners of each partition, best first. */
export function ownersOf(
  { ingesters, owners }: Pick<FormerIngesters, 'ingesters' | 'owners'>,
  record: Pick<PlacementRecord, 'epoch' | 'partitionCount' | 'replicationFactor'>,
): readonly (readonly string[])[] {
  if (owners === undefined) return computePlacement(ingesters, record).replicas;
  return owners.map((each) => each.flatMap((index) => ingesters[index]?.instance ?? []));
}

/** The inverse, for owners that are all among the ingesters. */
export function ownerTableOf(
  owners: readonly (readonly string[])[],
  ingesters: PlacementRecord['ingesters'],
): OwnerTable {
  const indexes = new Map(ingesters.map(({ instance }, index) => [instance, index]));
  return owners.map((each) => each.map((instance) => indexes.get(instance)!));
}

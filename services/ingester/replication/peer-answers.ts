// What other replicas say that they hold, compared with what is held here.
import { type AppError, toAppError } from '../../lib/core/errors.ts';
import type { WriteSet } from '../../lib/model/write-set.ts';
import { coversQuorums, ownerSetsOf } from '../../lib/placement/owner-sets.ts';
import { decodeHeldWrites } from '../../lib/wire/append/held-writes.ts';
import type { HeldTable } from '../writes/held-table.ts';
import type { ReplicaPeer, ReplicaView } from './replication-options.ts';

/** One replica's answer. */
export interface PeerAnswer {
  readonly peer: ReplicaPeer;
  /** Of the partitions that were asked about. */
  readonly held: WriteSet;
  /** Whether it proves anything: it knows the same placement and lost nothing. */
  readonly isWitness: boolean;
}

/** Asks at once; who does not answer in time is left out. */
export async function askPeers(
  peers: readonly ReplicaPeer[],
  view: ReplicaView,
  signal: AbortSignal,
  onFailure: (peer: ReplicaPeer, error: AppError) => void,
): Promise<PeerAnswer[]> {
  const partitions = [...view.owned];
  const answers = await Promise.all(
    peers.map(async (peer): Promise<PeerAnswer | undefined> => {
      try {
        const { epoch, held, untracked, recovering } = await peer.client.heldWrites(
          { partitions },
          { signal },
        );
        const isWitness = epoch === view.placement.epoch && !untracked && !recovering;
        return { peer, held: decodeHeldWrites(held), isWitness };
      } catch (caught) {
        onFailure(peer, toAppError(caught));
        return undefined;
      }
    }),
  );
  return answers.filter((answer) => answer !== undefined);
}

/** What a replica holds and this one does not. */
export function lackingOf({ held }: PeerAnswer, table: HeldTable): WriteSet {
  return held.without(table.held);
}

/**
 * Partitions of which every write is here that was acknowledged when the answers were given.
 *
 * @param selfCounts  Whether this ingester holds all that it acknowledged itself.
 */
export function completePartitions(
  view: ReplicaView,
  answers: readonly PeerAnswer[],
  table: HeldTable,
  selfCounts: boolean,
): Set<number> {
  const lacking = new Map<string, Set<number>>();
  for (const answer of answers) {
    if (!answer.isWitness) continue;
    const partitions = new Set<number>();
    lackingOf(answer, table).forEach((_, partition) => {
      partitions.add(partition);
    });
    lacking.set(answer.peer.instance, partitions);
  }
  const complete = new Set<number>();
  for (const partition of view.owned) {
    const isAccounted = (instance: string): boolean =>
      instance === view.instance ? selfCounts : lacking.get(instance)?.has(partition) === false;
    if (coversQuorums(ownerSetsOf(view.placement, partition), view.quorum, isAccounted))
      complete.add(partition);
  }
  return complete;
}

/** Writes in a set, by sections. */
export function countWrites(writes: WriteSet): number {
  let count = 0;
  writes.forEach((_origin, _partition, intervals) => {
    for (let i = 0; i < intervals.length; i += 2) count += intervals[i + 1]! - intervals[i]!;
  });
  return count;
}

// What the parts that keep replicas complete have in common.
import type { Placement } from '../../lib/placement/placement.ts';
import type { Peer } from '../../lib/transport/cluster.ts';
import type { Client } from '../../lib/transport/rpc.ts';
import type { IngesterReplicationDefinition } from '../../lib/wire/contracts.ts';

export type ReplicaPeer = Peer<Client<typeof IngesterReplicationDefinition>>;

/** The other ingesters, as one of them sees them. */
export interface ReplicationDeps {
  /** This process in the placement. */
  readonly instance: string;
  /** Live ingesters that can be asked; this one may be among them. */
  readonly peers: () => readonly ReplicaPeer[];
  /** True once the control plane told what it knows: a placement that is not known then is none. */
  readonly isInformed: () => boolean;
  /** Told whenever something of it changed. */
  readonly onStatus?: (status: ReplicationStatus) => void;
}

/** Where this ingester stands among the others; it travels with its heartbeats. */
export interface ReplicationStatus {
  /** Newest placement by which it holds everything of what it owns. */
  readonly settledEpoch: number;
  /** Partitions that it owns, and those of them that it was found complete for last. */
  readonly partitions: number;
  readonly complete: number;
  /** It lost what it held, and is not read before it has it back. */
  readonly recovering: boolean;
  /** It was told to hand everything over. */
  readonly leaving: boolean;
  /** Writes that it knows it lacks. */
  readonly lackingWrites: number;
  /** Samples got from others since the start, and how far the fetch under way is: 0 … 1. */
  readonly fetchedSamples: number;
  readonly progress: number;
  /** Estimate for what is left of it; 0 when nothing is being fetched. */
  readonly remainingSeconds: number;
}

/** What the placement says of this ingester at one moment. */
export interface ReplicaView {
  readonly placement: Placement;
  readonly instance: string;
  readonly quorum: number;
  readonly owned: readonly number[];
}

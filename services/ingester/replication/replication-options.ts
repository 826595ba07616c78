// What the parts that keep replicas complete have in common.
import type { Placement } from '../../lib/placement/placement.ts';
import type { Peer } from '../../lib/transport/cluster.ts';
import type { ReplicaRecord } from '../../lib/transport/control-plane.ts';
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
  readonly onStatus?: (status: ReplicaRecord) => void;
}

/** What the placement says of this ingester at one moment. */
export interface ReplicaView {
  readonly placement: Placement;
  readonly instance: string;
  readonly quorum: number;
  readonly owned: readonly number[];
}

// What the parts that keep replicas complete have in common.
import type { Placement } from '../../lib/placement/placement.ts';
import type { Peer } from '../../lib/transport/cluster.ts';
import type { ControlPlane, ReplicaRecord } from '../../lib/transport/control-plane.ts';
import type { Client } from '../../lib/transport/rpc.ts';
import type { IngesterReplicationDefinition } from '../../lib/wire/contracts.ts';

export type ReplicaPeer = Peer<Client<typeof IngesterReplicationDefinition>>;

/** Who gives ingesters up, and after how long. */
export interface Membership {
  readonly control: Pick<ControlPlane, 'isConnected' | 'onChange'>;
  /** An ingester that is gone for longer loses its partitions, milliseconds. */
  readonly absenceMs: number;
}

/** The other ingesters, as one of them sees them. */
export interface ReplicationDeps {
  /** This process in the placement. */
  readonly instance: string;
  /** Live ingesters that can be asked; this one may be among them. */
  readonly peers: () => readonly ReplicaPeer[];
  /** True once the control plane told what it knows: a placement that is not known then is none. */
  readonly isInformed: () => boolean;
  /** Absent: this ingester is never given up. */
  readonly membership?: Membership;
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

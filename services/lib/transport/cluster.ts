// The other services as one service sees them: who owns which partition, and a client for each live member. All-in-one
// has a fixed one; in a cluster it follows the membership.

import type { Placement } from '../placement/placement.ts';
import type { StoreMember } from '../placement/store-slots.ts';
import type {
  AlertEvaluatorDefinition,
  BlockHorizonDefinition,
  IngesterDefinition,
  IngesterReplicationDefinition,
  PartEvaluationDefinition,
  QuerierDefinition,
  RangeVersionsDefinition,
  ScraperDefinition,
  StoreDefinition,
  StoreReplicationDefinition,
} from '../wire/contracts.ts';
import type { Client } from './rpc.ts';

/** A member and how to call it. */
export interface Peer<C> {
  readonly instance: string;
  readonly client: C;
  /** Failure domain; absent or empty when unknown. */
  readonly zone?: string;
  /** Whether calls leave this process: what they carry is then worth packing. Absent means no. */
  readonly isRemote?: boolean;
}

/** A node that says which version of samples it has. */
export interface VersionedPeer extends Peer<Client<typeof RangeVersionsDefinition>> {
  readonly kind: 'ingester' | 'store';
}

/** The stores that may hold blocks, live or not. */
export interface StoreSet {
  readonly instances: readonly string[];
  /** Stores that have a copy of each block, at least. */
  readonly replicationFactor: number;
  /** The same stores with what placement needs to know of them. */
  readonly members?: readonly StoreMember[];
}

/** A view that changes under its reader: ask again for each request, keep nothing. */
export interface Cluster {
  /** Undefined until the first placement is known; writes then answer `unavailable`. */
  placement(): Placement | undefined;
  /** Whether the control plane was heard of lately: what is known of members and placement may be old otherwise. Absent: they never change. */
  isCurrent?(): boolean;
  /** Copies that a sample should have: `--cluster.replication-factor`. */
  readonly replicationFactor: number;
  ingesters(): readonly Peer<Client<typeof IngesterDefinition>>[];
  /** What the live ingesters say to one another; absent in one process, which has one. */
  ingesterReplication?(): readonly Peer<Client<typeof IngesterReplicationDefinition>>[];
  /** Undefined where the live ones are all: in one process, or before it is known. */
  storeSet?(): StoreSet | undefined;
  stores(): readonly Peer<Client<typeof StoreDefinition>>[];
  /** What the live stores say to one another; absent in one process, which has one store. */
  storeReplication?(): readonly Peer<Client<typeof StoreReplicationDefinition>>[];
  /** Ingesters in other processes that evaluate parts of queries; absent in one process, which has its samples at hand. */
  partEvaluators?(): readonly Peer<Client<typeof PartEvaluationDefinition>>[];
  /** What the stores say of the newest samples in blocks; absent likewise. */
  blockHorizons?(): readonly Peer<Client<typeof BlockHorizonDefinition>>[];
  /** Every live ingester and store, asked whether samples of old times have changed. Absent: nothing can be kept of answers. */
  rangeVersions?(): readonly VersionedPeer[];
  queriers(): readonly Peer<Client<typeof QuerierDefinition>>[];
  scrapers(): readonly Peer<Client<typeof ScraperDefinition>>[];
  alertEvaluators(): readonly Peer<Client<typeof AlertEvaluatorDefinition>>[];
}

// The control plane as services see it: who is there, who owns what, who holds a lease. NATS carries it in a cluster
// (nats-control-plane.ts). Everything in it can be rebuilt from the members, so losing it loses no sample.
import type { OwnerMember } from '../placement/assignment.ts';
import type { Member } from '../placement/placement.ts';
import type { StoreMember } from '../placement/store-slots.ts';

export type ServiceName = 'scraper' | 'ingester' | 'store' | 'querier' | 'alert-evaluator' | 'gateway';

/** `starting`: not yet able to do its job. `draining`: takes no new work. */
export type MemberState = 'starting' | 'ready' | 'draining';

/** What a process says of itself with every heartbeat. */
export interface MemberRecord extends Member {
  readonly service: ServiceName;
  readonly version: string;
  /** `host:port` of its gRPC server; empty when it has none. */
  readonly grpcAddress: string;
  /** `host:port` of its HTTP server. */
  readonly httpAddress: string;
  /** Unix milliseconds. */
  readonly startedAtMs: number;
  readonly state: MemberState;
  /** Of an ingester that has others beside it. */
  readonly replica?: ReplicaRecord;
  /** Of a store or an ingester: its share of blocks or partitions compared with others'; absent means 1. */
  readonly weight?: number;
  /** Its gRPC server takes TLS. Absent where it does not, and in earlier versions. */
  readonly tls?: boolean;
  /** Of an alert evaluator: it evaluates groups under leases. Absent in earlier versions. */
  readonly fences?: boolean;
}

/** Where an ingester stands among the replicas of its partitions. */
export interface ReplicaRecord {
  /** Newest placement by which it had every acknowledged write of its partitions; 0 when there was none. */
  readonly settledEpoch: number;
  /** Partitions that it owns, and those of them of which it had every write when it last compared itself. */
  readonly partitions: number;
  readonly complete: number;
  /** It lost what it held and is getting it back. */
  readonly recovering: boolean;
  /** It was told to hand everything over. */
  readonly leaving: boolean;
  /** Sections of writes that it knows it lacks. */
  readonly lackingWrites: number;
  /** Samples got from others since its start. */
  readonly fetchedSamples: number;
  /** Of what it is getting now, 0 … 1. */
  readonly progress: number;
  /** Estimate for the rest of that; 0 when it gets nothing. */
  readonly remainingSeconds: number;
}

/** A member as an observer sees it. */
export interface MemberView extends MemberRecord {
  /** Milliseconds since the observer last heard of it, by the observer's monotonic clock. */
  readonly heartbeatAgeMs: number;
}

/** What the placement is computed from (placement/placement.ts); the same on every node that has the same epoch. */
export interface PlacementRecord {
  /** Grows with every change; writes carry it. */
  readonly epoch: number;
  readonly partitionCount: number;
  readonly replicationFactor: number;
  readonly ingesters: readonly OwnerMember[];
  /**
   * Owners of each partition, as indexes into `ingesters`. Absent in clusters that an earlier version made: there they follow from a hash
   * of the ingesters' names, for all their life.
   */
  readonly owners?: OwnerTable;
  /**
   * Ingesters that owned partitions before and may still have samples that are on no store: an answer is complete only when
   * it would have been so for them, too. Newest first.
   */
  readonly former: readonly FormerIngesters[];
  /** Writes by placements before this epoch are refused: who owned partitions then handed them over. Absent means 0. */
  readonly fence?: number;
  /** A member wrote it after NATS was emptied, as it knew it: there may have been later ones. Absent in the next change. */
  readonly storedAgain?: boolean;
  /** Copies of a sealed block. */
  readonly storeReplicationFactor: number;
  /** Stores that may hold blocks. One that is gone stays in the list: what it held has fewer copies. */
  readonly stores: readonly StoreMember[];
}

/** By partition: indexes into a list of ingesters. */
export type OwnerTable = readonly (readonly number[])[];

/** Owners of an earlier epoch. */
export interface FormerIngesters {
  readonly ingesters: readonly OwnerMember[];
  readonly owners?: OwnerTable;
  /** The last epoch at which they were the owners; absent in records of earlier versions. */
  readonly epoch?: number;
  /** When they were replaced, Unix milliseconds by the clock of who replaced them. */
  readonly untilMs: number;
}

/** An exclusive right, held by one process at a time. */
export interface Lease {
  readonly name: string;
  /** Fencing token: greater than that of every earlier holder, as long as NATS was not emptied (see `raise`). */
  readonly token: number;
  /** False once another process holds it, or it could not be renewed in time. */
  isHeld(): boolean;
  /**
   * How long nobody else can take it, counted from now by the monotonic clock, milliseconds; 0 when it is not held. Another process takes it
   * no sooner than half of this time to live later: what is begun within, and is over soon, meets no other holder.
   */
  heldForMs(): number;
  /**
   * Makes the token greater than one that somebody has seen: after NATS was emptied revisions begin anew, and the sinks remember greater ones.
   *
   * @returns whether it did; false when the lease is another's meanwhile, or NATS does not answer.
   */
  raise(above: number): Promise<boolean>;
  release(): Promise<void>;
}

/** Who holds a lease, as an observer heard of it last. */
export interface LeaseView {
  /** `member.<service>.<instance>`. */
  readonly holder: string;
  readonly token: number;
  /** It is this process' own name. */
  readonly isOwn: boolean;
}

/** What carries the control plane. */
export interface ControlServerFacts {
  /** Of the server that we are connected to. */
  readonly version: string;
  /** Where it keeps the control data: `file`, or `memory`, which a restart loses. */
  readonly storage: string;
  /** Copies of it. */
  readonly replicas: number;
}

export interface ControlPlane {
  /** Connects and begins to watch. Resolves at once; what is known grows with time. */
  start(): Promise<void>;
  /** Leaves: other members see it at once. */
  stop(): Promise<void>;
  /** Sets what this process says of itself, and says it. */
  announce(record: MemberRecord): Promise<void>;
  /** Live members, sorted by service and instance. While the control plane is out of reach: the last known. */
  members(): readonly MemberView[];
  /** The last known placement. */
  placement(): PlacementRecord | undefined;
  /**
   * Replaces the placement when nobody did so since `placement()` was read.
   *
   * @returns whether it did.
   */
  replacePlacement(next: PlacementRecord): Promise<boolean>;
  /** The lease, when it is free or was not renewed for its time to live; undefined when another process holds it. */
  tryAcquire(name: string): Promise<Lease | undefined>;
  /** What was last heard of a lease; undefined when nobody has it, or nothing was heard since NATS came back. */
  leaseView(name: string): LeaseView | undefined;
  /** Whether the control plane answers right now. */
  isConnected(): boolean;
  /** The server that carries it, as last connected; undefined before, and where there is none. */
  serverFacts?(): ControlServerFacts | undefined;
  /** Calls back after members or placement changed; the answer ends it. */
  onChange(listener: () => void): () => void;
}

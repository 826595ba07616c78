// The cluster over gRPC: a connection per live member that the control plane knows, and the placement that its record gives.
import { type Placement, quorumOf } from '../../placement/placement.ts';
import {
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
} from '../../wire/contracts.ts';
import type { Cluster, Peer, StoreSet } from '../cluster.ts';
import type { ControlPlane, MemberView, PlacementRecord, ServiceName } from '../control-plane.ts';
import { withFailover } from '../failover.ts';
import { ownersOf } from '../members/owner-table.ts';
import type { Client, ServiceDefinition } from '../rpc.ts';
import { createRpcTraffic, type RpcTraffic } from '../rpc-traffic.ts';
import { type ClusterSecurity, PLAINTEXT } from '../tls/cluster-security.ts';
import { connectGrpc, type GrpcConnection } from './grpc-client.ts';

export interface GrpcClusterOptions {
  /** What holds until a placement is known, which says it for all. */
  readonly replicationFactor: number;
  /** Longest time of a unary call to a peer. */
  readonly unaryTimeoutMs: number;
}

export interface GrpcClusterDeps {
  readonly control: ControlPlane;
  readonly traffic?: RpcTraffic;
  /** Default: plaintext. */
  readonly security?: ClusterSecurity;
  /** How a member is reached. Default: gRPC. */
  readonly connect?: typeof connectGrpc;
}

interface OpenConnection<D extends ServiceDefinition> {
  readonly identity: string;
  readonly connection: GrpcConnection<D>;
  readonly peer: Peer<Client<D>>;
}

/** How connections are made. */
interface ConnectOptions {
  readonly unaryTimeoutMs: number;
  readonly traffic: RpcTraffic;
  readonly security: ClusterSecurity;
  readonly connect: typeof connectGrpc;
}

/** Connections to the members of one service; follows the membership. */
class PeerSet<D extends ServiceDefinition> {
  readonly #definition: D;
  readonly #service: ServiceName;
  readonly #unaryTimeoutMs: number;
  readonly #traffic: RpcTraffic;
  readonly #security: ClusterSecurity;
  readonly #connect: typeof connectGrpc;
  readonly #connections = new Map<string, OpenConnection<D>>();
  #peers: readonly Peer<Client<D>>[] = [];

  constructor(definition: D, service: ServiceName, how: ConnectOptions) {
    this.#definition = definition;
    this.#service = service;
    this.#unaryTimeoutMs = how.unaryTimeoutMs;
    this.#traffic = how.traffic;
    this.#security = how.security;
    this.#connect = how.connect;
  }

  get peers(): readonly Peer<Client<D>>[] {
    return this.#peers;
  }

  /** Whether the member is live and reached. */
  isConnected(instance: string): boolean {
    return this.#connections.get(instance)?.connection.isConnected() ?? false;
  }

  update(members: readonly MemberView[]): void {
    const wanted = new Map<string, MemberView>();
    for (const member of members) {
      const isReachable = member.grpcAddress !== '' && member.state !== 'starting';
      if (member.service === this.#service && isReachable) wanted.set(member.instance, member);
    }
    for (const [instance, { identity, connection }] of this.#connections) {
      const member = wanted.get(instance);
      if (member !== undefined && identityOf(member) === identity) continue;
      connection.close();
      this.#connections.delete(instance);
    }
    for (const [instance, member] of wanted) {
      if (this.#connections.has(instance)) continue;
      const connection = this.#connect(
        this.#definition,
        { address: member.grpcAddress, takesTls: member.tls === true, unaryTimeoutMs: this.#unaryTimeoutMs },
        this.#traffic,
        this.#security,
      );
      const peer = { instance, client: connection.client, zone: member.zone, isRemote: true };
      this.#connections.set(instance, { identity: identityOf(member), connection, peer });
    }
    this.#peers = this.#offered(wanted);
  }

  close(): void {
    this.update([]);
  }

  /** Who drains keeps its connection for what is under way. Only ingesters and stores are still asked: they hold data. */
  #offered(members: ReadonlyMap<string, MemberView>): Peer<Client<D>>[] {
    const holdsData = this.#service === 'ingester' || this.#service === 'store';
    const offered: Peer<Client<D>>[] = [];
    for (const [instance, { peer }] of this.#connections) {
      if (holdsData || members.get(instance)?.state === 'ready') offered.push(peer);
    }
    return this.#service === 'querier' ? [...withFailover(this.#definition, offered)] : offered;
  }
}

/** A process that came back under its name is another one: a new connection owes nothing to the old one's failures. */
function identityOf(member: MemberView): string {
  return `${member.grpcAddress} ${member.startedAtMs}`;
}

/** Follows a control plane until it is closed. */
export class GrpcCluster implements Cluster {
  readonly #control: ControlPlane;
  readonly #defaultReplicationFactor: number;
  readonly #unsubscribe: () => void;
  readonly #ingesters: PeerSet<typeof IngesterDefinition>;
  readonly #ingesterReplication: PeerSet<typeof IngesterReplicationDefinition>;
  readonly #stores: PeerSet<typeof StoreDefinition>;
  readonly #storeReplication: PeerSet<typeof StoreReplicationDefinition>;
  readonly #partEvaluators: PeerSet<typeof PartEvaluationDefinition>;
  readonly #blockHorizons: PeerSet<typeof BlockHorizonDefinition>;
  readonly #ingesterVersions: PeerSet<typeof RangeVersionsDefinition>;
  readonly #storeVersions: PeerSet<typeof RangeVersionsDefinition>;
  readonly #queriers: PeerSet<typeof QuerierDefinition>;
  readonly #scrapers: PeerSet<typeof ScraperDefinition>;
  readonly #alertEvaluators: PeerSet<typeof AlertEvaluatorDefinition>;
  #computed: { readonly record: PlacementRecord; readonly placement: Placement } | undefined;

  constructor(options: GrpcClusterOptions, deps: GrpcClusterDeps) {
    this.#defaultReplicationFactor = options.replicationFactor;
    this.#control = deps.control;
    const how: ConnectOptions = {
      unaryTimeoutMs: options.unaryTimeoutMs,
      traffic: deps.traffic ?? createRpcTraffic(),
      security: deps.security ?? PLAINTEXT,
      connect: deps.connect ?? connectGrpc,
    };
    this.#ingesters = new PeerSet(IngesterDefinition, 'ingester', how);
    this.#ingesterReplication = new PeerSet(IngesterReplicationDefinition, 'ingester', how);
    this.#stores = new PeerSet(StoreDefinition, 'store', how);
    this.#storeReplication = new PeerSet(StoreReplicationDefinition, 'store', how);
    this.#partEvaluators = new PeerSet(PartEvaluationDefinition, 'ingester', how);
    this.#blockHorizons = new PeerSet(BlockHorizonDefinition, 'store', how);
    this.#ingesterVersions = new PeerSet(RangeVersionsDefinition, 'ingester', how);
    this.#storeVersions = new PeerSet(RangeVersionsDefinition, 'store', how);
    this.#queriers = new PeerSet(QuerierDefinition, 'querier', how);
    this.#scrapers = new PeerSet(ScraperDefinition, 'scraper', how);
    this.#alertEvaluators = new PeerSet(AlertEvaluatorDefinition, 'alert-evaluator', how);
    this.#unsubscribe = deps.control.onChange(() => this.#update());
    this.#update();
  }

  get replicationFactor(): number {
    return this.#control.placement()?.replicationFactor ?? this.#defaultReplicationFactor;
  }

  placement(): Placement | undefined {
    const record = this.#control.placement();
    if (record === undefined) return undefined;
    if (this.#computed?.record !== record) this.#computed = { record, placement: placementOf(record) };
    return this.#computed.placement;
  }

  isCurrent(): boolean {
    return this.#control.isConnected();
  }

  storeSet(): StoreSet | undefined {
    const record = this.#control.placement();
    if (record === undefined) return undefined;
    const instances = record.stores.map(({ instance }) => instance);
    return { instances, replicationFactor: record.storeReplicationFactor, members: record.stores };
  }

  ingesters() {
    return this.#ingesters.peers;
  }

  ingesterReplication() {
    return this.#ingesterReplication.peers;
  }

  stores() {
    return this.#stores.peers;
  }

  storeReplication() {
    return this.#storeReplication.peers;
  }

  partEvaluators() {
    return this.#partEvaluators.peers;
  }

  blockHorizons() {
    return this.#blockHorizons.peers;
  }

  rangeVersions() {
    return [
      ...this.#ingesterVersions.peers.map((peer) => ({ ...peer, kind: 'ingester' as const })),
      ...this.#storeVersions.peers.map((peer) => ({ ...peer, kind: 'store' as const })),
    ];
  }

  queriers() {
    return this.#queriers.peers;
  }

  scrapers() {
    return this.#scrapers.peers;
  }

  alertEvaluators() {
    return this.#alertEvaluators.peers;
  }

  /**
   * What is still missing for writes and queries to succeed: a quorum of owners of each partition, live and connected.
   * Asking opens the connections. Undefined when nothing is.
   */
  missingOwners(): string | undefined {
    const placement = this.placement();
    if (placement === undefined) return 'the placement of partitions is not known yet';
    const quorum = quorumOf(this.replicationFactor);
    const isConnected = new Map<string, boolean>();
    for (const instance of new Set(placement.replicas.flat())) {
      isConnected.set(instance, this.#ingesters.isConnected(instance));
    }
    for (const [partition, owners] of placement.replicas.entries()) {
      const connected = owners.filter((instance) => isConnected.get(instance));
      if (connected.length >= quorum) continue;
      return `partition ${partition} has ${connected.length} connected owners (${connected.join(', ')}), ${quorum} are needed`;
    }
    return undefined;
  }

  close(): void {
    this.#unsubscribe();
    for (const set of this.#sets()) set.close();
  }

  #update(): void {
    const members = this.#control.members();
    for (const set of this.#sets()) set.update(members);
  }

  #sets() {
    return [
      ...[this.#ingesters, this.#ingesterReplication, this.#stores, this.#storeReplication],
      ...[this.#partEvaluators, this.#blockHorizons, this.#ingesterVersions, this.#storeVersions],
      ...[this.#queriers, this.#scrapers, this.#alertEvaluators],
    ];
  }
}

function placementOf(record: PlacementRecord): Placement {
  const former = record.former.map((each) => ownersOf(each, record));
  const formerEpochs = record.former.map(({ epoch }) => epoch ?? record.epoch - 1);
  const { epoch, partitionCount, fence = 0 } = record;
  return { epoch, partitionCount, replicas: ownersOf(record, record), former, formerEpochs, fence };
}

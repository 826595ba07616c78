// The cluster over gRPC: a connection per live member that the control plane knows, and the placement that its record gives.
import { computePlacement, type Placement } from '../placement/placement.ts';
import {
  AlertEvaluatorDefinition,
  IngesterDefinition,
  QuerierDefinition,
  ScraperDefinition,
  StoreDefinition,
} from '../wire/contracts.ts';
import type { Cluster, Peer } from './cluster.ts';
import type { ControlPlane, MemberView, PlacementRecord, ServiceName } from './control-plane.ts';
import { connectGrpc, type GrpcConnection } from './grpc-client.ts';
import type { Client, ServiceDefinition } from './rpc.ts';

export interface GrpcClusterOptions {
  readonly replicationFactor: number;
  /** Longest time of a unary call to a peer. */
  readonly unaryTimeoutMs: number;
}

/** Connections to the members of one service; follows the membership. */
class PeerSet<D extends ServiceDefinition> {
  readonly #definition: D;
  readonly #service: ServiceName;
  readonly #unaryTimeoutMs: number;
  readonly #connections = new Map<string, { address: string; connection: GrpcConnection<D> }>();
  #peers: readonly Peer<Client<D>>[] = [];

  constructor(definition: D, service: ServiceName, unaryTimeoutMs: number) {
    this.#definition = definition;
    this.#service = service;
    this.#unaryTimeoutMs = unaryTimeoutMs;
  }

  get peers(): readonly Peer<Client<D>>[] {
    return this.#peers;
  }

  update(members: readonly MemberView[]): void {
    const wanted = new Map<string, string>();
    for (const member of members) {
      const reachable = member.grpcAddress !== '' && member.state !== 'starting';
      if (member.service === this.#service && reachable) wanted.set(member.instance, member.grpcAddress);
    }
    for (const [instance, { address, connection }] of this.#connections) {
      if (wanted.get(instance) === address) continue;
      connection.close();
      this.#connections.delete(instance);
    }
    for (const [instance, address] of wanted) {
      if (this.#connections.has(instance)) continue;
      const connection = connectGrpc(this.#definition, { address, unaryTimeoutMs: this.#unaryTimeoutMs });
      this.#connections.set(instance, { address, connection });
    }
    this.#peers = [...this.#connections].map(([instance, { connection }]) => ({
      instance,
      client: connection.client,
    }));
  }

  close(): void {
    this.update([]);
  }
}

/** Follows a control plane until it is closed. */
export class GrpcCluster implements Cluster {
  readonly replicationFactor: number;
  readonly #control: ControlPlane;
  readonly #unsubscribe: () => void;
  readonly #ingesters: PeerSet<typeof IngesterDefinition>;
  readonly #stores: PeerSet<typeof StoreDefinition>;
  readonly #queriers: PeerSet<typeof QuerierDefinition>;
  readonly #scrapers: PeerSet<typeof ScraperDefinition>;
  readonly #alertEvaluators: PeerSet<typeof AlertEvaluatorDefinition>;
  #computed: { readonly record: PlacementRecord; readonly placement: Placement } | undefined;

  constructor(options: GrpcClusterOptions, deps: { readonly control: ControlPlane }) {
    this.replicationFactor = options.replicationFactor;
    this.#control = deps.control;
    const timeoutMs = options.unaryTimeoutMs;
    this.#ingesters = new PeerSet(IngesterDefinition, 'ingester', timeoutMs);
    this.#stores = new PeerSet(StoreDefinition, 'store', timeoutMs);
    this.#queriers = new PeerSet(QuerierDefinition, 'querier', timeoutMs);
    this.#scrapers = new PeerSet(ScraperDefinition, 'scraper', timeoutMs);
    this.#alertEvaluators = new PeerSet(AlertEvaluatorDefinition, 'alert-evaluator', timeoutMs);
    this.#unsubscribe = deps.control.onChange(() => this.#update());
    this.#update();
  }

  placement(): Placement | undefined {
    const record = this.#control.placement();
    if (record === undefined) return undefined;
    if (this.#computed?.record !== record) {
      this.#computed = { record, placement: computePlacement(record.ingesters, record) };
    }
    return this.#computed.placement;
  }

  ingesters() {
    return this.#ingesters.peers;
  }

  stores() {
    return this.#stores.peers;
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

  close(): void {
    this.#unsubscribe();
    for (const set of this.#sets()) set.close();
  }

  #update(): void {
    const members = this.#control.members();
    for (const set of this.#sets()) set.update(members);
  }

  #sets() {
    return [this.#ingesters, this.#stores, this.#queriers, this.#scrapers, this.#alertEvaluators];
  }
}

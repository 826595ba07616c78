// The cluster of one process: every service once, joined by in-process channels, and a placement that never changes.
import { computePlacement, type Placement } from '../lib/placement/placement.ts';
import type { Cluster, Peer, VersionedPeer } from '../lib/transport/cluster.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import type { Client, Handlers, ServiceDefinition } from '../lib/transport/rpc.ts';
import {
  AlertEvaluatorDefinition,
  IngesterDefinition,
  QuerierDefinition,
  RangeVersionsDefinition,
  ScraperDefinition,
  StoreDefinition,
} from '../lib/wire/contracts.ts';

/** Services join as they are made, since some of them need the cluster themselves. */
export class EmbeddedCluster implements Cluster {
  readonly replicationFactor = 1;
  readonly #instance: string;
  readonly #placement: Placement;
  readonly #ingesters: Peer<Client<typeof IngesterDefinition>>[] = [];
  readonly #stores: Peer<Client<typeof StoreDefinition>>[] = [];
  readonly #rangeVersions: VersionedPeer[] = [];
  readonly #queriers: Peer<Client<typeof QuerierDefinition>>[] = [];
  readonly #scrapers: Peer<Client<typeof ScraperDefinition>>[] = [];
  readonly #alertEvaluators: Peer<Client<typeof AlertEvaluatorDefinition>>[] = [];

  constructor(options: { readonly instance: string; readonly partitionCount: number }) {
    this.#instance = options.instance;
    this.#placement = computePlacement([{ instance: options.instance, zone: '' }], {
      epoch: 1,
      partitionCount: options.partitionCount,
      replicationFactor: this.replicationFactor,
    });
  }

  placement(): Placement {
    return this.#placement;
  }

  ingesters() {
    return this.#ingesters;
  }

  stores() {
    return this.#stores;
  }

  rangeVersions() {
    return this.#rangeVersions;
  }

  queriers() {
    return this.#queriers;
  }

  scrapers() {
    return this.#scrapers;
  }

  alertEvaluators() {
    return this.#alertEvaluators;
  }

  joinIngester(handlers: Handlers<typeof IngesterDefinition>): void {
    this.#ingesters.push(this.#peer(IngesterDefinition, handlers));
  }

  joinStore(handlers: Handlers<typeof StoreDefinition>): void {
    this.#stores.push(this.#peer(StoreDefinition, handlers));
  }

  joinVersions(kind: VersionedPeer['kind'], handlers: Handlers<typeof RangeVersionsDefinition>): void {
    this.#rangeVersions.push({ kind, ...this.#peer(RangeVersionsDefinition, handlers) });
  }

  joinQuerier(handlers: Handlers<typeof QuerierDefinition>): void {
    this.#queriers.push(this.#peer(QuerierDefinition, handlers));
  }

  joinScraper(handlers: Handlers<typeof ScraperDefinition>): void {
    this.#scrapers.push(this.#peer(ScraperDefinition, handlers));
  }

  joinAlertEvaluator(handlers: Handlers<typeof AlertEvaluatorDefinition>): void {
    this.#alertEvaluators.push(this.#peer(AlertEvaluatorDefinition, handlers));
  }

  #peer<D extends ServiceDefinition>(definition: D, handlers: Handlers<D>): Peer<Client<D>> {
    return { instance: this.#instance, client: createInProcessClient(definition, handlers) };
  }
}

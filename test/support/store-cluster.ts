// Several stores on real folders, joined in this process as they would be by gRPC: for tests of how they share blocks out, lose and
// find them. A store can be stopped, started, cut off and told to leave.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { Registry } from 'prom-client';
import type { Disk } from '../../services/lib/core/disk.ts';
import type { ObjectStore } from '../../services/lib/objstore/object-store.ts';
import { GroupPlacement, groupOf } from '../../services/lib/placement/block-groups.ts';
import { type StoreMember, withSlots } from '../../services/lib/placement/store-slots.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import type { Peer } from '../../services/lib/transport/cluster.ts';
import type { PlacementRecord } from '../../services/lib/transport/control-plane.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Client } from '../../services/lib/transport/rpc.ts';
import type { BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';
import { StoreDefinition, StoreReplicationDefinition } from '../../services/lib/wire/contracts.ts';
import type { StoreOptions } from '../../services/store/options.ts';
import { createStore, type Store } from '../../services/store/service.ts';
import { FakeControlPlane } from './fake-control-plane.ts';
import { type HandClock, putBuilt, type StoreRig } from './store-rig.ts';

type ReplicationClient = Client<typeof StoreReplicationDefinition>;

export interface StoreNode extends StoreRig {
  readonly instance: string;
  readonly dataDir: string;
  readonly replication: ReplicationClient;
}

/** Changes what a store's peers get from it. */
export type Meddle = (client: ReplicationClient, instance: string) => ReplicationClient;

const QUICK: Partial<StoreOptions> = {
  ...{ compactionRangesMs: [], compactionCheckMs: 20, compactionSettleMs: 0, compactionShare: 1 },
  ...{
    repairIntervalMs: 20,
    rebuildDelayMs: 300,
    surplusGraceMs: 50,
    scrubPeriodMs: 0,
    moveBytesPerSecond: 0,
  },
};

export class StoreCluster {
  readonly control = new FakeControlPlane();
  readonly nodes = new Map<string, StoreNode>();
  readonly #root: string;
  readonly clock: HandClock;
  readonly #copies: number;
  readonly #options: Partial<StoreOptions>;
  meddle: Meddle = (client) => client;
  /** Object storage of all stores that are started from now on. */
  objects: ObjectStore | undefined;

  constructor(root: string, clock: HandClock, copies = 2, options: Partial<StoreOptions> = {}) {
    this.#root = root;
    this.clock = clock;
    this.#copies = copies;
    this.#options = options;
  }

  get stores(): readonly StoreMember[] {
    return this.control.placement()?.stores ?? [];
  }

  node(instance: string): StoreNode {
    const node = this.nodes.get(instance);
    if (node === undefined) throw new Error(`no store ${instance}`);
    return node;
  }

  /** Starts a store, with the data that it had under that name. */
  async start(instance: string, options: Partial<StoreOptions> = {}, disk?: Disk): Promise<StoreNode> {
    const dataDir = path.join(this.#root, instance);
    mkdirSync(path.join(dataDir, 'blocks-transit'), { recursive: true });
    const registry = new Registry();
    const storeReplication = (): Peer<ReplicationClient>[] =>
      [...this.nodes.values()].map((node) => ({
        instance: node.instance,
        client: this.meddle(node.replication, node.instance),
      }));
    const store: Store = createStore(
      { dataDir, retentionMs: 0, retentionBytes: 0, ...QUICK, ...this.#options, ...options },
      {
        ...{ clock: this.clock, logger: createSilentLogger(), registry },
        ...(disk === undefined ? {} : { disk }),
        objects: this.objects,
        peers: { instance, cluster: { storeReplication }, control: this.control },
      },
    );
    await store.start();
    const node: StoreNode = {
      ...{ instance, dataDir, store, registry },
      client: createInProcessClient(StoreDefinition, store.handlers),
      replication: createInProcessClient(StoreReplicationDefinition, store.replicationHandlers),
    };
    this.nodes.set(instance, node);
    if (!this.stores.some((each) => each.instance === instance))
      await this.#change([...this.stores, { instance, zone: '' }]);
    this.#announce();
    return node;
  }

  /** Ends a store; the others see it at once. */
  async stop(instance: string): Promise<void> {
    const node = this.node(instance);
    this.nodes.delete(instance);
    this.#announce();
    await node.store.stop();
  }

  async stopAll(): Promise<void> {
    for (const instance of [...this.nodes.keys()]) await this.stop(instance);
  }

  leave(instance: string): Promise<void> {
    return this.#change(
      this.stores.map((store) => (store.instance === instance ? { ...store, leaving: true } : store)),
    );
  }

  /** Puts a block where an ingester would. */
  async ship(block: BuiltBlock): Promise<void> {
    const owners = new GroupPlacement(this.stores, this.#copies).ownersOf(groupOf(block.meta));
    for (const owner of owners) await putBuilt(this.node(owner), block);
  }

  async #change(stores: readonly StoreMember[]): Promise<void> {
    const before = this.control.placement();
    const record: PlacementRecord = {
      ...{
        epoch: (before?.epoch ?? 0) + 1,
        partitionCount: 64,
        replicationFactor: 3,
        ingesters: [],
        former: [],
      },
      ...{ storeReplicationFactor: this.#copies, stores: withSlots(stores, this.#copies) },
    };
    await this.control.replacePlacement(record);
  }

  #announce(): void {
    this.control.set([...this.nodes.keys()].map((instance) => ({ service: 'store' as const, instance })));
  }
}

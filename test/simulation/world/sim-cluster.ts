// A whole cluster in the world: each host runs the real service behind the real control plane and cluster view, on the world's
// network, disk and clock. What a main.ts wires is wired here; everything else is the services' own code.
import { Registry } from 'prom-client';
import { createIngester } from '../../../services/ingester/service.ts';
import { systemClock } from '../../../services/lib/core/clock.ts';
import { createDistributor } from '../../../services/lib/distributor/distributor.ts';
import type { ObjectStore } from '../../../services/lib/objstore/object-store.ts';
import { createLogger, createSilentLogger, type Logger } from '../../../services/lib/runtime/logger.ts';
import type { Service } from '../../../services/lib/runtime/service.ts';
import type { Cluster } from '../../../services/lib/transport/cluster.ts';
import type {
  ControlPlane,
  MemberRecord,
  MemberState,
  PlacementRecord,
  ServiceName,
} from '../../../services/lib/transport/control-plane.ts';
import { GrpcCluster } from '../../../services/lib/transport/grpc/grpc-cluster.ts';
import {
  createPlacementFile,
  type PlacementMemory,
} from '../../../services/lib/transport/members/placement-file.ts';
import {
  FOUNDING_DELAY_MS,
  PlacementKeeper,
} from '../../../services/lib/transport/members/placement-keeper.ts';
import { NatsControlPlane } from '../../../services/lib/transport/nats/nats-control-plane.ts';
import {
  BlockHorizonDefinition,
  IngesterDefinition,
  IngesterReplicationDefinition,
  QuerierDefinition,
  RangeVersionsDefinition,
  StoreDefinition,
  StoreReplicationDefinition,
} from '../../../services/lib/wire/contracts.ts';
import { createQuerier } from '../../../services/querier/service.ts';
import { createStore } from '../../../services/store/service.ts';
import { createSimEvaluator, type Effects } from './evaluator.ts';
import { createInlineThreads } from './inline-threads.ts';
import { SimBucket } from './sim-bucket.ts';
import { SimNats } from './sim-nats.ts';
import { SimNetwork } from './sim-network.ts';
import { type Host, runAs, SIM_ROOT, type SimProcess, type World } from './world.ts';

export type Role = Extract<ServiceName, 'ingester' | 'store' | 'querier' | 'gateway' | 'alert-evaluator'>;

/** Short, so that a run of minutes sees blocks made, shipped, merged and dropped. */
export const BLOCK_RANGE_MS = 20_000;
export const QUERY_TIMEOUT_MS = 10_000;
const PARTITIONS = 8;
const REPLICATION_FACTOR = 3;
const STORE_REPLICATION_FACTOR = 2;
const HEARTBEAT_MS = 2_000;
const EXPIRY_MS = 8_000;
const ABSENCE_MS = 15_000;
/** As in production: clocks that step by hours must not matter. */
const FORMER_MS = 4 * 3_600_000;
/** A head image wants 64 MiB to be free. */
const DISK_BYTES = 512 << 20;
const RESERVE_BYTES = 1 << 20;
const RESTART_MS = 1_000;

/** Stores rewrite blocks for a delete within a run, long after it may be taken back. */
const DELETE_DELAY_MS = 20_000;
/** Blocks are younger at first, and older before a run ends. */
const LOCAL_AGE_MS = 30_000;
/** Whatever may leave the disk does, and what is fetched pushes out what was. */
const CACHE_BYTES = 3 << 10;

/** As in production, new series are asked for. */
const DISTRIBUTOR_OPTIONS = { outOfOrderWindowMs: 24 * 3_600_000, asksForSeries: true } as const;

/** What a gateway is for the simulation: the door for writes. */
export type Distributor = ReturnType<typeof createDistributor>;

/** A host, what runs on it, and how to reach it. */
export interface SimNode {
  readonly role: Role;
  readonly host: Host;
  readonly address: string;
  /** Set while its process is up. */
  distributor: Distributor | undefined;
  /** What a gateway does the rest with; set while its process is up. */
  view: { readonly cluster: Cluster; readonly control: ControlPlane } | undefined;
  isReady: boolean;
  /** The placement that its process knows. */
  placement: () => PlacementRecord | undefined;
  /** Whether somebody starts it again when it dies. */
  isWanted: boolean;
  /** Nobody can start it: its machine is gone, and its disk comes back with it. */
  isAway: boolean;
}

/** Whether stores keep a bucket, and whether their disks are its cache. */
export type BucketUse = 'none' | 'kept' | 'cached';

export interface SimClusterOptions extends Views {
  readonly bucketUse: BucketUse;
  readonly counts: Readonly<Record<Role, number>>;
  readonly isVerbose: boolean;
  /** What holders of leases do is noted here. */
  readonly effects: Effects;
}

/** What is planted: how a role sees the cluster, and what its disk does. */
export interface Views {
  readonly seenBy?: ((role: Role, cluster: Cluster) => Cluster) | undefined;
  readonly forgetsSyncs?: boolean | undefined;
  /** Evaluators notify whatever their leases say. */
  readonly trustsItself?: boolean | undefined;
  /** How stores see their bucket. */
  readonly bucketSeen?: ((bucket: ObjectStore) => ObjectStore) | undefined;
}

/** What a role is built on. */
interface Base {
  readonly process: SimProcess;
  readonly control: ControlPlane;
  readonly startedAtMs: number;
  readonly view: GrpcCluster;
  /** What the process says of itself changed. */
  readonly announceAgain: () => void;
  /** What it says beside its state. */
  own: Pick<MemberRecord, 'replica'>;
  readonly deps: {
    readonly clock: typeof systemClock;
    readonly logger: Logger;
    readonly registry: Registry;
    readonly cluster: Cluster;
  };
}

export class SimCluster {
  readonly world: World;
  readonly network: SimNetwork;
  readonly nats: SimNats;
  /** Object storage; undefined in runs without. */
  readonly bucket: SimBucket | undefined;
  readonly nodes: SimNode[] = [];
  /** Why processes ended by themselves or did not start. */
  readonly deaths: string[] = [];
  /** Hosts of a role so far: a name is never used again. */
  readonly #added = new Map<Role, number>();
  readonly #logger: Logger;
  readonly #options: SimClusterOptions;

  constructor(world: World, options: SimClusterOptions) {
    this.world = world;
    this.#options = options;
    this.network = new SimNetwork(world);
    this.nats = new SimNats(world);
    this.bucket = options.bucketUse === 'none' ? undefined : new SimBucket(world);
    this.#logger = options.isVerbose ? createTimedLogger(world) : createSilentLogger();
    for (const [role, count] of Object.entries(options.counts) as [Role, number][]) {
      for (let i = 0; i < count; i++) this.add(role);
    }
  }

  of(role: Role): SimNode[] {
    return this.nodes.filter((node) => node.role === role);
  }

  /** Another host of a role; it is not started. */
  add(role: Role): SimNode {
    const index = this.#added.get(role) ?? 0;
    this.#added.set(role, index + 1);
    const name = `${role}-${index}`;
    const host = this.world.addHost(name, `zone-${index % 3}`, DISK_BYTES);
    host.disk.forgetsSyncs = this.#options.forgetsSyncs ?? false;
    const node: SimNode = {
      ...{ role, host, address: `${name}:9095` },
      ...{
        distributor: undefined,
        view: undefined,
        isReady: false,
        isWanted: false,
        isAway: false,
        placement: () => undefined,
      },
    };
    this.nodes.push(node);
    return node;
  }

  /** Starts a node's process; from then on whoever finds it dead starts it again. */
  start(node: SimNode): void {
    if (node.isAway) return;
    node.isWanted = true;
    const { host } = node;
    if (host.process !== undefined) return;
    const process = this.world.boot(host);
    process.onDeath.push(() => {
      node.isReady = false;
      node.distributor = undefined;
      node.view = undefined;
      node.placement = () => undefined;
    });
    runAs(process, () => {
      this.#boot(node, process).catch((caught: unknown) => this.#die(node, process, caught));
    });
  }

  /** SIGKILL. */
  kill(node: SimNode): void {
    node.isWanted = false;
    if (node.host.process !== undefined) this.world.kill(node.host.process);
  }

  /** Its machine is gone, for as long as the caller likes. */
  takeAway(node: SimNode): void {
    this.kill(node);
    node.isAway = true;
  }

  /** It is there again, with its old disk. */
  bringBack(node: SimNode): void {
    node.isAway = false;
    if (this.nodes.includes(node)) this.start(node);
  }

  /** Takes a host away for good, with its disk. */
  remove(node: SimNode): void {
    this.kill(node);
    node.host.disk.wipe();
    this.nodes.splice(this.nodes.indexOf(node), 1);
  }

  /** Asks `seal` of every ingester that answers. */
  async seal(): Promise<void> {
    for (const { address } of this.of('ingester')) {
      const { client } = this.network.connect(IngesterDefinition, { address, unaryTimeoutMs: 30_000 });
      await client.seal({ tenant: '' }, { signal: new AbortController().signal }).catch(() => undefined);
    }
  }

  /** A process that ended by itself is started again, as an orchestrator would. */
  #die(node: SimNode, process: SimProcess, caught: unknown): void {
    if (!process.isAlive) return;
    this.deaths.push(`${node.host.name} at ${Math.round(this.world.nowMs)} ms: ${String(caught)}`);
    this.world.kill(process);
    const again = () => {
      if (node.isWanted) this.start(node);
    };
    this.world.schedule(RESTART_MS, again, undefined);
  }

  async #boot(node: SimNode, process: SimProcess): Promise<void> {
    let said: MemberState = 'starting';
    const startedAtMs = Date.now();
    const base = this.#base(node, process, startedAtMs, () => void announce(said));
    const announce = (state: MemberState): Promise<void> => {
      said = state;
      return base.control.announce({
        ...{ service: node.role, instance: node.host.name, zone: node.host.zone, version: 'simulated' },
        ...{ grpcAddress: state === 'starting' ? '' : node.address, httpAddress: '', startedAtMs, state },
        ...base.own,
        ...(node.role === 'alert-evaluator' ? { fences: true } : {}),
      });
    };
    await base.control.start();
    await announce('starting');
    const services = this.#build(node, base);
    for (const service of services) await service.start();
    await announce('ready');
    node.isReady = true;
  }

  #base(node: SimNode, process: SimProcess, startedAtMs: number, announceAgain: () => void): Base {
    const { host, role } = node;
    const logger = this.#logger.child({ host: host.name });
    const control = new NatsControlPlane(
      {
        ...{ servers: [], clusterName: 'sim', bucketReplicas: 1, connection: {} },
        ...{ heartbeatMs: HEARTBEAT_MS, expiryMs: EXPIRY_MS },
      },
      { clock: systemClock, logger, openBucket: this.nats.open, ...memoryOf(node) },
    );
    node.placement = () => control.placement();
    const cluster = new GrpcCluster(
      { replicationFactor: 1, unaryTimeoutMs: 60_000 },
      { control, connect: this.network.connect },
    );
    const seen = this.#options.seenBy?.(role, cluster) ?? cluster;
    return {
      ...{ process, control, startedAtMs, announceAgain, view: cluster, own: {} },
      deps: { clock: systemClock, logger, registry: new Registry(), cluster: seen },
    };
  }

  #build(node: SimNode, base: Base): Service[] {
    switch (node.role) {
      case 'ingester':
        return this.#ingester(node, base);
      case 'store':
        return this.#store(node, base);
      case 'querier':
        return this.#querier(node, base);
      case 'gateway':
        node.distributor = createDistributor(DISTRIBUTOR_OPTIONS, base.deps);
        node.view = { cluster: base.deps.cluster, control: base.control };
        return [];
      case 'alert-evaluator':
        return createSimEvaluator({
          ...{ world: this.world, name: node.host.name, base, cluster: base.deps.cluster },
          distributor: createDistributor(DISTRIBUTOR_OPTIONS, base.deps),
          effects: this.#options.effects,
          trustsItself: this.#options.trustsItself ?? false,
        });
    }
  }

  #ingester(node: SimNode, base: Base): Service[] {
    const { process, control, deps } = base;
    const { name } = node.host;
    const ingester = createIngester(
      {
        ...{ dataDir: `${SIM_ROOT}${name}/data`, instance: name, partitionCount: PARTITIONS },
        ...{ blockRangeMs: BLOCK_RANGE_MS, segmentBytesMax: 32 << 10, headBytesMax: 1 << 28 },
        ...{ sealCheckIntervalMs: 3_000, sealDelayMs: 5_000, lateSealDelayMs: 10_000, sealWaitMs: 12_000 },
        ...{ sealGraceMs: QUERY_TIMEOUT_MS + 3_000, storeReplicas: STORE_REPLICATION_FACTOR },
        ...{ imageLogBytes: 32 << 10, imageIntervalMs: 20_000, diskFreeBytesMin: RESERVE_BYTES },
        ...{ catchUpIntervalMs: 2_000, catchUpStartMs: 5_000 },
      },
      {
        ...deps,
        leaseToken: (lease) => control.leaseView(lease)?.token,
        onFatal: (error) => this.#die(node, process, error),
        replication: replicationOf(name, base),
      },
    );
    const keeper = new PlacementKeeper(
      {
        ...{ partitionCount: PARTITIONS, replicationFactor: REPLICATION_FACTOR, intervalMs: HEARTBEAT_MS },
        ...{ absenceMs: ABSENCE_MS, formerMs: FORMER_MS, storeReplicationFactor: STORE_REPLICATION_FACTOR },
        foundingDelayMs: FOUNDING_DELAY_MS,
      },
      { control, clock: deps.clock, logger: deps.logger },
    );
    this.network.listen(process, node.address, IngesterDefinition, ingester.handlers);
    this.network.listen(process, node.address, IngesterReplicationDefinition, ingester.replicationHandlers!);
    this.network.listen(process, node.address, RangeVersionsDefinition, ingester.versionHandlers);
    const keeping: Service = {
      name: 'placement-keeper',
      start: async () => keeper.start(),
      isReady: () => true,
      drain: () => keeper.stop(),
      stop: () => keeper.stop(),
    };
    return [ingester, keeping];
  }

  #store(node: SimNode, { process, control, deps }: Base): Service[] {
    const { bucketUse, bucketSeen = (bucket: ObjectStore) => bucket } = this.#options;
    const objects = this.bucket && bucketSeen(this.bucket.store);
    const store = createStore(
      {
        ...{ dataDir: `${SIM_ROOT}${node.host.name}/data`, retentionMs: 0, retentionBytes: 0 },
        ...{ compactionRangesMs: [BLOCK_RANGE_MS, 3 * BLOCK_RANGE_MS], compactionCheckMs: 5_000 },
        ...{ compactionSettleMs: 10_000, compactionShare: 1, diskReserveBytes: RESERVE_BYTES },
        ...{ indexCacheBytes: 4 << 20, repairIntervalMs: 3_000, rebuildDelayMs: 15_000 },
        ...{ surplusGraceMs: QUERY_TIMEOUT_MS + 3_000, scrubPeriodMs: 20_000 },
        ...{ deleteDelayMs: DELETE_DELAY_MS },
        ...{ bucketListIntervalMs: 4_000, bucketDeleteGraceMs: QUERY_TIMEOUT_MS + 10_000 },
        ...(bucketUse === 'cached' ? { localAgeMs: LOCAL_AGE_MS, cacheBytesMax: CACHE_BYTES } : {}),
      },
      { ...deps, objects, peers: { instance: node.host.name, cluster: deps.cluster, control } },
    );
    this.network.listen(process, node.address, StoreDefinition, store.handlers);
    this.network.listen(process, node.address, StoreReplicationDefinition, store.replicationHandlers);
    this.network.listen(process, node.address, BlockHorizonDefinition, store.horizonHandlers);
    this.network.listen(process, node.address, RangeVersionsDefinition, store.versionHandlers);
    return [store];
  }

  #querier(node: SimNode, { process, deps }: Base): Service[] {
    const querier = createQuerier(
      { timeoutMs: QUERY_TIMEOUT_MS, threads: 1, pushesDown: false, resultCacheSettledMs: 2_000 },
      { ...deps, threads: createInlineThreads(this.world) },
    );
    this.network.listen(process, node.address, QuerierDefinition, querier.handlers);
    return [querier];
  }
}

/** As services/ingester/main.ts has it. */
function replicationOf(instance: string, base: Base) {
  const { control, view, startedAtMs } = base;
  return {
    instance,
    peers: () => view.ingesterReplication(),
    membership: { control, absenceMs: ABSENCE_MS },
    isInformed: () =>
      control
        .members()
        .some(
          (member) =>
            member.service === 'ingester' &&
            member.instance === instance &&
            member.startedAtMs === startedAtMs,
        ),
    onStatus: (status: NonNullable<MemberRecord['replica']>) => {
      base.own = { replica: status };
      base.announceAgain();
    },
  };
}

function createTimedLogger(world: World): Logger {
  return createLogger(
    { level: 'debug', format: 'logfmt' },
    { write: (line: string) => process.stderr.write(`${Math.round(world.nowMs)} ${line}`) },
  );
}

/** Those that hold samples keep the placement beside them. */
function memoryOf({ role, host }: SimNode): { readonly memory?: PlacementMemory } {
  if (role !== 'ingester' && role !== 'store') return {};
  const home = `${SIM_ROOT}${host.name}`;
  host.disk.makeFolders(`${home}/data`);
  host.disk.syncFolder(home);
  return { memory: createPlacementFile(`${home}/data`) };
}

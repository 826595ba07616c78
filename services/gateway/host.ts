// The process that a gateway runs in, as the gateway sees it: what it is, its configuration, and the few things that an
// operator may ask of it over HTTP. all-in-one and the gateway's own main implement it.
import type { ControlServerFacts, ReplicaRecord } from '../lib/transport/control-plane.ts';

/** What /api/v1/status/buildinfo answers, field by field as Prometheus names them. */
export interface BuildInformation {
  /**
   * The Prometheus version whose API this is. Grafana and others choose features by comparing it with Prometheus'
   * releases, so Tidemark's own version would mislead them; that one is `GatewayHost.version`.
   */
  readonly version: string;
  readonly revision: string;
  readonly branch: string;
  readonly buildUser: string;
  readonly buildDate: string;
  /** The runtime: `nodejs v24.1.0`. */
  readonly goVersion: string;
}

export interface ReloadOutcome {
  readonly successful: boolean;
  /** Of the last successful reload, Unix milliseconds; the start counts as one. */
  readonly atMs: number;
}

/** A process of the cluster as /api/v1/cluster/members shows it. */
export interface ClusterMember {
  /** `ingester`, `querier`, … */
  readonly service: string;
  readonly instance: string;
  /** Failure domain; empty when unknown. */
  readonly zone: string;
  readonly version: string;
  /** `host:port`; empty when it has none. */
  readonly grpcAddress: string;
  readonly httpAddress: string;
  /** `starting`, `ready`, `draining`; `absent` for an owner of data that is not there. */
  readonly state: string;
  /** Unix milliseconds; 0 when unknown. */
  readonly startedAtMs: number;
  /** Milliseconds since this gateway last heard of it; -1 for one that is absent. */
  readonly heartbeatAgeMs: number;
  /** Partitions that it owns a replica of; ingesters only. */
  readonly partitionsOwned: number;
  /** Where an ingester stands among the others. */
  readonly replica?: ReplicaRecord;
}

/** Who is there and who owns what, as this gateway sees it. */
export interface ClusterView {
  /** Version of the placement; 0 before the first one is known. */
  readonly epoch: number;
  readonly partitionCount: number;
  readonly replicationFactor: number;
  /** Stores that should have a copy of each block; 0 before it is known. */
  readonly storeReplicationFactor: number;
  /** Whether the control plane answers right now; the rest is the last known otherwise. */
  readonly isControlPlaneReachable: boolean;
  /** What carries the control plane, where that is known. */
  readonly controlServer?: ControlServerFacts | undefined;
  readonly members: readonly ClusterMember[];
}

export interface GatewayHost {
  /** Tidemark's own version: `0.1.0`. */
  readonly version: string;
  readonly buildInformation: BuildInformation;
  /** When the process started, Unix milliseconds. */
  readonly startedAtMs: number;
  /** As /api/v1/status/runtimeinfo shows it: `15d`, or `15d or 50GB`. */
  readonly storageRetention: string;
  /** Flag names without dashes → values as text. */
  flags(): ReadonlyMap<string, string>;
  /** `global.external_labels` of the configuration in force; absent where there is none. */
  externalLabels?(): Iterable<readonly [string, string]>;
  /** The configuration in force, secrets redacted. */
  configYaml(): string;
  lastReload(): ReloadOutcome;
  /**
   * Reads the configuration file again.
   *
   * @throws AppError with the reason when the file is bad; the old configuration then stays in force.
   */
  reload(): Promise<void>;
  /** True while all services of the process can do their job; without it the API answers 503. */
  isReady(): boolean;
  /** Begins an orderly stop and returns at once. */
  shutdown(reason: string): void;
  /** The cluster; absent in a process that is one by itself. */
  members?(): ClusterView;
  /**
   * Takes a store that will not come back out of the placement; absent where there is no cluster.
   *
   * @throws AppError as transport/members/forget-store.ts says.
   */
  forgetStore?(instance: string): Promise<void>;
  /**
   * Lets a store give its blocks away, or stay; absent where there is no cluster.
   *
   * @throws AppError as transport/members/store-membership.ts says.
   */
  setStoreLeaving?(instance: string, leaving: boolean): Promise<void>;
}

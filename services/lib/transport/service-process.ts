// The life of a service process in a cluster, the same for all six: read flags, reach the control plane, say `starting`, start,
// serve, say `ready`; on SIGTERM say `draining`, wait until the others know, drain, leave. Each main.ts gives its flags and
// builds its service.
import { collectDefaultMetrics, Registry } from 'prom-client';
import { type Clock, systemClock } from '../core/clock.ts';
import { AppError, toAppError } from '../core/errors.ts';
import { describeFlags, type FlagTable, type FlagValues, parseFlags } from '../runtime/flags.ts';
import { runUntilStopped, startAll } from '../runtime/lifecycle.ts';
import { createLogger, type LogFormat, type Logger, type LogLevel } from '../runtime/logger.ts';
import { createOperationsServer } from '../runtime/operations-server.ts';
import type { Service } from '../runtime/service.ts';
import { readVersion } from '../runtime/version.ts';
import type { Cluster } from './cluster.ts';
import { registerClusterMetrics } from './cluster-metrics.ts';
import type { ControlPlane, MemberRecord, MemberState, ServiceName } from './control-plane.ts';
import { GrpcCluster } from './grpc/grpc-cluster.ts';
import { GrpcServer } from './grpc/grpc-server.ts';
import { createPlacementFile } from './members/placement-file.ts';
import { createWorkShares, type WorkShares } from './members/work-shares.ts';
import { NatsControlPlane } from './nats/nats-control-plane.ts';
import { natsOptionsOf } from './nats/nats-options.ts';
import {
  advertisedAddress,
  instanceOf,
  PROCESS_FLAGS,
  type ProcessFlags,
  splitAddress,
} from './process-flags.ts';
import { createRpcTraffic, type RpcTraffic } from './rpc-traffic.ts';
import { type ClusterSecurity, openClusterSecurity, servingAddress } from './tls/cluster-security.ts';

/** What a service is built with. */
export interface ProcessContext<T extends FlagTable> {
  readonly flags: FlagValues<T>;
  readonly common: ProcessFlags;
  readonly instance: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly control: ControlPlane;
  readonly cluster: Cluster;
  /** Which of the work that is shared out by name falls to this process. */
  readonly shares: WorkShares;
  /** True while this process can do its job. */
  readonly isReady: () => boolean;
  /** Says again what this process says of itself: `member` of what was built has changed. */
  readonly announceAgain: () => void;
  /** Begins an orderly stop. */
  readonly shutdown: (reason: string) => void;
}

/** What a service process consists of. */
export interface BuiltProcess {
  /** Started in this order, drained and stopped in reverse. */
  readonly services: readonly Service[];
  /** Adds the handlers of this process to its gRPC server; a process without any opens none. */
  readonly serve?: (server: GrpcServer) => void;
  /** Once everything runs, and on SIGHUP. */
  readonly reload?: () => Promise<void>;
  /** The service itself answers probes and scrapes, at web.listen-address. */
  readonly ownsHttp?: boolean;
  /** Ready only once a quorum of owners of each partition is connected, because it reads or writes samples. */
  readonly needsPlacement?: boolean;
  /** What else this process says of itself with every heartbeat. */
  readonly member?: () => Pick<MemberRecord, 'replica' | 'fences'>;
  /** Before an orderly stop, while everything serves still; takes as long as it takes, a second signal ends it. */
  readonly beforeStop?: () => Promise<void>;
  /** Of a store or an ingester: its share of blocks or partitions compared with others'. */
  readonly weight?: number;
}

export interface ServiceProcess<T extends FlagTable> {
  readonly service: ServiceName;
  /** A sentence or two for --help. */
  readonly usage: string;
  /** The service's own flags, beside PROCESS_FLAGS; one of the same name replaces it. */
  readonly flags: T;
  /** It has a data directory, and keeps the placement there. */
  readonly remembersPlacement?: boolean;
  readonly build: (context: ProcessContext<T>) => Promise<BuiltProcess> | BuiltProcess;
}

/** Several processes that start or stop together move work once. */
const SHARES_SETTLE_MS = 500;
/** Exit code for a command line that cannot be understood. */
const EXIT_USAGE = 2;
/** Streams that one peer may have open: queries of a busy gateway, selects of a busy querier. */
const CONCURRENT_STREAMS_MAX = 4096;
/** Longest unary call between services: a block of hundreds of gigabytes is shipped in one. */
const UNARY_TIMEOUT_MS = 30 * 60_000;
/** Longest wait until NATS gives our own `draining` back. */
const FAREWELL_TIMEOUT_MS = 2_000;
/** The others see it at the same time; calls that they began before reach us within this. */
const FAREWELL_GRACE_MS = 250;
/** Draining may take so long; what is left is cancelled then. A process has 30 s in all. */
const DRAIN_TIMEOUT_MS = 18_000;
/** Calls that are still under way after draining are streams that their callers keep open: they end now. */
const GRPC_STOP_TIMEOUT_MS = 1_000;

/** Runs until told to stop. Ends the process: 0 after an orderly stop, 1 after a failure, 2 for a wrong command line. */
export function runServiceProcess<const T extends FlagTable>(definition: ServiceProcess<T>): void {
  main(definition).catch((caught: unknown) => {
    const error = toAppError(caught);
    process.stderr.write(`tidemark ${definition.service}: ${error.message}\n`);
    if (!(caught instanceof AppError)) process.stderr.write(`${error.stack ?? ''}\n`);
    process.exit(isUsage(error) ? EXIT_USAGE : 1);
  });
}

/** Errors of the command line, as opposed to those of files and ports. */
function isUsage(error: AppError): boolean {
  return /^(unknown flag|flags? --|unexpected argument|TIDEMARK_)/.test(error.message);
}

async function main<const T extends FlagTable>(definition: ServiceProcess<T>): Promise<void> {
  const { service } = definition;
  const table = { ...PROCESS_FLAGS, ...definition.flags };
  const parsed = parseFlags(table, process.argv.slice(2), process.env);
  const version = readVersion();
  if (parsed.help) {
    const usage = `${definition.usage}\n\nusage: node services/${service}/main.ts [flags]`;
    process.stdout.write(describeFlags(usage, table));
    return;
  }
  if (parsed.version) {
    process.stdout.write(`tidemark ${service}, version ${version} (node ${process.version})\n`);
    return;
  }
  const common = parsed.values as unknown as ProcessFlags;
  const logger = createLogger({
    level: common['log.level'] as LogLevel,
    format: common['log.format'] as LogFormat,
  });
  for (const name of parsed.ignored) logger.info({ flag: `--${name}` }, 'flag has no effect here');
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  let stop = (_reason: string): void => {};
  const {
    process: whole,
    reload,
    beforeStop,
  } = await assemble(definition, {
    flags: parsed.values as unknown as FlagValues<T>,
    common,
    instance: instanceOf(common),
    version,
    startedAtMs: systemClock.nowMs(),
    clock: systemClock,
    logger,
    registry,
    shutdown: (reason) => stop(reason),
  });
  ({ stop } = runUntilStopped([whole], logger, { reload, beforeStop }));
  await startAll([whole], logger);
}

type Base<T extends FlagTable> = Omit<
  ProcessContext<T>,
  'control' | 'cluster' | 'shares' | 'isReady' | 'announceAgain'
>;

async function assemble<const T extends FlagTable>(
  definition: ServiceProcess<T>,
  base: Base<T>,
): Promise<{ process: Service; reload: () => Promise<void>; beforeStop: () => Promise<void> }> {
  const { clock, logger, common } = base;
  const memory = definition.remembersPlacement
    ? createPlacementFile(String((base.flags as FlagValues<FlagTable>)['storage.tsdb.path']))
    : undefined;
  const control = new NatsControlPlane(natsOptionsOf(common), {
    clock,
    logger,
    ...(memory !== undefined && { memory }),
  });
  registerClusterMetrics(base.registry, control);
  const traffic = createRpcTraffic(base.registry);
  const security = await openClusterSecurity(common, base);
  const cluster = new GrpcCluster(
    { replicationFactor: 1, unaryTimeoutMs: UNARY_TIMEOUT_MS },
    { control, traffic, security },
  );
  const shares = createWorkShares(
    { service: definition.service, instance: base.instance, settleMs: SHARES_SETTLE_MS },
    { control, clock },
  );
  let isReady = (): boolean => false;
  let announceAgain = (): void => {};
  const built = await definition.build({
    ...{ ...base, control, cluster, shares },
    isReady: () => isReady(),
    announceAgain: () => announceAgain(),
  });
  const whole = new ClusterProcess(definition.service, base, built, { control, cluster, traffic, security });
  isReady = () => whole.isReady();
  announceAgain = () => whole.announceAgain();
  const nothing = () => Promise.resolve();
  const reload = async (): Promise<void> => {
    await security.tls?.identity.reload();
    await built.reload?.();
  };
  return { process: whole, reload, beforeStop: built.beforeStop ?? nothing };
}

/** How a process reaches the others, and they it. */
interface Ties {
  readonly control: NatsControlPlane;
  readonly cluster: GrpcCluster;
  readonly traffic: RpcTraffic;
  readonly security: ClusterSecurity;
}

/** A whole service process as one service. */
class ClusterProcess implements Service {
  readonly name: ServiceName;
  readonly #base: Base<FlagTable>;
  readonly #built: BuiltProcess;
  readonly #control: NatsControlPlane;
  readonly #cluster: GrpcCluster;
  readonly #security: ClusterSecurity;
  readonly #grpc: GrpcServer | undefined;
  readonly #operations: Service | undefined;
  /** Of the gRPC server; empty when there is none. */
  #listenAddress = '';
  #grpcAddress = '';
  #state: MemberState = 'starting';
  #isStarted = false;
  #isDraining = false;
  /** NATS gave our own record back: from then on we are a member, whatever happens to NATS. */
  #hasJoined = false;
  /** A quorum of owners was connected once. Losing it later is answered request by request, with the reason. */
  #hasReachedOwners = false;
  #waitedFor = '';

  constructor(name: ServiceName, base: Base<FlagTable>, built: BuiltProcess, ties: Ties) {
    this.name = name;
    this.#base = base;
    this.#built = built;
    this.#control = ties.control;
    this.#cluster = ties.cluster;
    this.#security = ties.security;
    const { logger, registry, common } = base;
    if (built.serve !== undefined) {
      const warn = (message: string): void => logger.warn(message);
      this.#listenAddress = servingAddress(common, ties.security, warn);
      this.#grpc = new GrpcServer(
        { listenAddress: this.#listenAddress, concurrentStreamsMax: CONCURRENT_STREAMS_MAX },
        { logger, traffic: ties.traffic, tls: ties.security.tls },
      );
      built.serve(this.#grpc);
    }
    if (built.ownsHttp !== true) {
      const listenAddress = common['web.listen-address'];
      this.#operations = createOperationsServer(
        { listenAddress },
        { registry, logger, isReady: () => this.isReady() },
      );
    }
  }

  async start(): Promise<void> {
    const { logger, version, common } = this.#base;
    await this.#operations?.start();
    this.#security.tls?.identity.start();
    // Connections to owners open as soon as they are known, not at the first probe.
    if (this.#built.needsPlacement === true) this.#control.onChange(() => this.#canReachOwners());
    await this.#control.start();
    await this.#announce('starting');
    for (const service of this.#built.services) await service.start();
    // Told to stop meanwhile: there is nobody to serve any more.
    if (this.#isDraining) return;
    if (this.#grpc !== undefined) {
      const port = await this.#grpc.start();
      this.#grpcAddress = common['grpc.advertise-address'] || advertisedAddress(this.#listenAddress, port);
    }
    await this.#built.reload?.();
    this.#isStarted = true;
    await this.#announce('ready');
    logger.info(
      { version, instance: this.#base.instance, grpc: this.#grpcAddress, http: common['web.listen-address'] },
      `${this.name} started`,
    );
  }

  /** The same state as before, with what the service says of itself now. */
  announceAgain(): void {
    void this.#announce(this.#state);
  }

  isReady(): boolean {
    if (!this.#isStarted || this.#isDraining) return false;
    this.#hasJoined ||= this.#seenAs('ready');
    if (!this.#hasJoined) return false;
    if (this.#built.needsPlacement === true && !this.#canReachOwners()) return false;
    return this.#built.services.every((service) => service.isReady());
  }

  #canReachOwners(): boolean {
    if (this.#hasReachedOwners) return true;
    const missing = this.#cluster.missingOwners();
    this.#hasReachedOwners = missing === undefined;
    // Probes ask again and again: one line per reason.
    if (missing !== undefined && missing !== this.#waitedFor) {
      this.#waitedFor = missing;
      this.#base.logger.info({ reason: missing }, 'not ready yet: waiting for ingesters');
    }
    return this.#hasReachedOwners;
  }

  async drain(): Promise<void> {
    if (this.#isDraining) return;
    this.#isDraining = true;
    await this.#announce('draining');
    await this.#waitUntilSeen();
    const { clock, logger } = this.#base;
    const over = new AbortController();
    const limit = clock.sleep(DRAIN_TIMEOUT_MS, over.signal).then(
      () =>
        logger.warn({ afterMs: DRAIN_TIMEOUT_MS }, 'not all requests ended in time, the rest is cancelled'),
      () => undefined,
    );
    await Promise.race([this.#drainServices(), limit]);
    over.abort();
  }

  async stop(): Promise<void> {
    await this.#grpc?.stop(GRPC_STOP_TIMEOUT_MS);
    for (const service of this.#built.services.toReversed()) await service.stop();
    this.#cluster.close();
    this.#security.tls?.identity.stop();
    await this.#control.stop();
    await this.#operations?.stop();
  }

  async #drainServices(): Promise<void> {
    for (const service of this.#built.services.toReversed()) await service.drain();
  }

  async #announce(state: MemberState): Promise<void> {
    this.#state = state;
    const { instance, common, version, startedAtMs } = this.#base;
    const { port } = splitAddress(common['web.listen-address']);
    await this.#control.announce({
      service: this.name,
      instance,
      zone: common['cluster.zone'],
      version,
      grpcAddress: this.#grpcAddress,
      httpAddress: advertisedAddress(common['web.listen-address'], port),
      startedAtMs,
      state,
      ...(this.#security.tls === undefined ? {} : { tls: true }),
      ...this.#built.member?.(),
      ...(this.#built.weight === undefined ? {} : { weight: this.#built.weight }),
    });
  }

  #seenAs(state: MemberState): boolean {
    const { instance, startedAtMs } = this.#base;
    return this.#control
      .members()
      .some(
        (member) =>
          member.service === this.name &&
          member.instance === instance &&
          member.startedAtMs === startedAtMs &&
          member.state === state,
      );
  }

  /** Others hear of it when we do; without NATS there is nobody to wait for. */
  async #waitUntilSeen(): Promise<void> {
    const { clock } = this.#base;
    if (!this.#control.isConnected()) return;
    const untilMs = clock.monotonicMs() + FAREWELL_TIMEOUT_MS;
    while (!this.#seenAs('draining') && clock.monotonicMs() < untilMs) await clock.sleep(20);
    await clock.sleep(FAREWELL_GRACE_MS);
  }
}

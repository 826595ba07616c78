// A whole cluster as tests start it: a real nats-server and every service as a process of its own, on loopback.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { type Nats, startNats } from './nats.ts';
import { startProcess } from './process.ts';
import { answers, freePort, repositoryRoot, waitFor } from './programs.ts';
import { freshFolder } from './tidemark.ts';

export type ServiceName = 'scraper' | 'ingester' | 'store' | 'querier' | 'alert-evaluator' | 'gateway';

type Environment = Readonly<Record<string, string>>;

/** A process of the cluster. It can be ended and started again under its name, with its data. */
export interface Node {
  readonly service: ServiceName;
  readonly instance: string;
  /** Of its HTTP server: probes, metrics and, for a gateway, the API. */
  readonly url: string;
  /** `host:port` of its gRPC server. */
  readonly grpcAddress: string;
  /** Of a service that keeps something. */
  readonly dataDir: string;
  readonly pid: () => number;
  readonly output: () => string;
  readonly exited: () => number | string | undefined;
  readonly end: (signal?: NodeJS.Signals) => Promise<void>;
  /**
   * @param root  Of the repository whose code it runs from now on, as in ClusterOptions.
   * @param env   Added to its environment, this time only.
   */
  readonly start: (root?: string, env?: Environment) => Promise<void>;
  readonly ready: (timeoutMs?: number) => Promise<void>;
}

export interface ClusterOptions {
  /** How many of each. */
  readonly counts: Readonly<Partial<Record<ServiceName, number>>>;
  /** Text of prometheus.yml. */
  readonly config?: string;
  /** Further flags of a service. */
  readonly flags?: Readonly<Partial<Record<ServiceName, readonly string[]>>>;
  /** And of single ones, by their names: `querier-1`. */
  readonly nodeFlags?: Readonly<Record<string, readonly string[]>>;
  /** Added to the environment of single ones, at each start. */
  readonly nodeEnvironments?: Readonly<Record<string, Environment>>;
  /** Where others are to call a process, `host:port`, if not at its own port: at a proxy before it. */
  readonly advertise?: (instance: string, grpcPort: number) => Promise<string | undefined>;
  /** Default: MEMBER_EXPIRY_MS. Longer where a machine that is busy must not look like a process that is gone. */
  readonly memberExpiryMs?: number;
  /** A NATS that runs already; otherwise one is started. */
  readonly nats?: Nats;
  /** Of the repository whose code all of them run: another version's. Default: this one. */
  readonly root?: string;
}

export interface TestCluster {
  readonly nats: Nats;
  readonly nodes: readonly Node[];
  readonly of: (service: ServiceName) => readonly Node[];
  /** The end of every process's output, for failure messages. */
  readonly describe: () => string;
}

const WITH_CONFIG: ReadonlySet<ServiceName> = new Set(['scraper', 'alert-evaluator', 'gateway']);
const WITH_DATA: ReadonlySet<ServiceName> = new Set(['ingester', 'store', 'scraper']);
/** Quicker than in production, so that tests of failures take seconds. */
export const MEMBER_EXPIRY_MS = 3_000;
const READY_TIMEOUT_MS = 120_000;
/** Earlier versions know nothing of it, and take no flag that they do not know. */
const QUICK_START: Environment = { TIDEMARK_QUERY_REHEARSAL: 'false' };

/** Starts a process of one service; it is not awaited. */
export async function startNode(
  service: ServiceName,
  instance: string,
  options: {
    readonly natsUrl: string;
    readonly zone: string;
    readonly configFile: string;
    readonly flags?: readonly string[];
    readonly root?: string | undefined;
    readonly env?: Environment | undefined;
    readonly advertise?: ClusterOptions['advertise'] | undefined;
    readonly memberExpiryMs?: number | undefined;
  },
): Promise<Node> {
  const [httpPort, grpcPort] = [await freePort(), await freePort()];
  const advertised = await options.advertise?.(instance, grpcPort);
  const dataDir = freshFolder();
  const url = `http://127.0.0.1:${httpPort}`;
  const mainOf = (root: string): string => path.join(root, `services/${service}/main.ts`);
  let main = mainOf(options.root ?? repositoryRoot);
  const args = [
    `--web.listen-address=127.0.0.1:${httpPort}`,
    `--grpc.listen-address=127.0.0.1:${grpcPort}`,
    `--nats.url=${options.natsUrl}`,
    `--cluster.instance=${instance}`,
    `--cluster.zone=${options.zone}`,
    `--cluster.member-expiry=${options.memberExpiryMs ?? MEMBER_EXPIRY_MS}ms`,
    '--cluster.heartbeat-interval=500ms',
    ...(WITH_CONFIG.has(service) ? [`--config.file=${options.configFile}`] : []),
    ...(WITH_DATA.has(service) ? [`--data.dir=${dataDir}`] : []),
    ...(advertised === undefined ? [] : [`--grpc.advertise-address=${advertised}`]),
    ...(options.flags ?? []),
  ];
  const startMain = (env: Environment = {}) =>
    startProcess(process.execPath, [main, ...args], { env: { ...QUICK_START, ...options.env, ...env } });
  let running = startMain();
  onTestFinished(() => running.end('SIGKILL'));
  return {
    service,
    instance,
    url,
    grpcAddress: `127.0.0.1:${grpcPort}`,
    dataDir,
    pid: () => running.pid,
    output: () => running.output(),
    exited: () => running.exited(),
    end: (signal) => running.end(signal),
    start: async (root, env) => {
      await running.end('SIGKILL');
      if (root !== undefined) main = mainOf(root);
      running = startMain(env);
    },
    ready: async (timeoutMs = READY_TIMEOUT_MS) => {
      await waitFor(
        `${instance} ready`,
        () => {
          if (running.exited() !== undefined) throw new Error(`ended with ${running.exited()}`);
          return answers(`${url}/-/ready`);
        },
        { timeoutMs, describe: () => running.output() },
      );
    },
  };
}

/** Starts everything and waits until all of it is ready. */
export async function startCluster(options: ClusterOptions): Promise<TestCluster> {
  const nats = options.nats ?? (await startNats());
  const configFile = path.join(freshFolder(), 'prometheus.yml');
  writeFileSync(configFile, options.config ?? 'global: {}\n');
  const nodes: Node[] = [];
  for (const [service, count] of Object.entries(options.counts) as [ServiceName, number][]) {
    for (let i = 0; i < count; i++) {
      const zone = `zone-${i}`;
      const instance = `${service}-${i}`;
      const flags = [...(options.flags?.[service] ?? []), ...(options.nodeFlags?.[instance] ?? [])];
      const { root, advertise, memberExpiryMs } = options;
      const env = options.nodeEnvironments?.[instance];
      const settings = { natsUrl: nats.url, zone, configFile, flags, root, env, advertise, memberExpiryMs };
      nodes.push(await startNode(service, instance, settings));
    }
  }
  await Promise.all(nodes.map((node) => node.ready()));
  return {
    nats,
    nodes,
    of: (service) => nodes.filter((node) => node.service === service),
    describe: () =>
      nodes
        .map((node) => `--- ${node.instance} (${node.exited()})\n${node.output().slice(-2000)}`)
        .join('\n'),
  };
}

/** Whether a gateway sees `count` members, all of them ready, and NATS. */
export async function seesMembers(gatewayUrl: string, count: number): Promise<boolean> {
  const { members, controlPlane } = await membersOf(gatewayUrl);
  const ready = members.filter(({ state }) => state === 'ready').length;
  return controlPlane === 'reachable' && ready === count && members.length === count;
}

export interface MembersAnswer {
  readonly controlPlane: string;
  readonly epoch: number;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly members: readonly {
    readonly service: string;
    readonly instance: string;
    readonly zone: string;
    readonly state: string;
    readonly version: string;
    readonly partitionsOwned: number;
    readonly heartbeatAgeSeconds: number | null;
  }[];
}

/** /api/v1/cluster/members of a gateway. */
export async function membersOf(gatewayUrl: string): Promise<MembersAnswer> {
  const response = await fetch(`${gatewayUrl}/api/v1/cluster/members`);
  const body = (await response.json()) as { status: string; data: MembersAnswer };
  if (body.status !== 'success') throw new Error(`members: ${response.status} ${JSON.stringify(body)}`);
  return body.data;
}

// A cluster of real processes for chaos: a nats-server and every service, each at a place of a fabric that knows what can be done to
// its wires (fabric.ts), one ingester's data on a small file system of its own where this process may mount one.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { answers, findProgram, repositoryRoot, waitFor } from '../../test/support/programs.ts';
import { COMPILE_CACHE } from '../../test/support/run-folder.ts';
import type { Fabric, Place, Wires } from './fabric.ts';

/** How many of each. One querier or gateway more than needed: one of them may be gone. */
const COUNTS = { ingester: 3, store: 2, querier: 2, gateway: 2 } as const;
export type Service = keyof typeof COUNTS;

const SMALL_DISK_BYTES = 192 << 20;
const READY_TIMEOUT_MS = 180_000;

/** A process that is ended and started again. */
export class Program {
  readonly name: string;
  readonly #command: readonly string[];
  #child: ChildProcess | undefined;
  #errors = '';

  /** @param command  With its arguments. */
  constructor(name: string, command: readonly string[]) {
    this.name = name;
    this.#command = command;
  }

  start(): void {
    if (this.isRunning) return;
    const [program, ...args] = this.#command;
    const child = spawn(program!, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...COMPILE_CACHE },
    });
    child.stderr.on('data', (piece: Buffer) => {
      this.#errors = (this.#errors + piece.toString()).slice(-16_384);
    });
    this.#child = child;
  }

  get isRunning(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  /** The end of what it logged. */
  get errors(): string {
    return this.#errors;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.#child!.kill(signal);
  }

  /** Sends the signal and waits for the end: its exit code, or the signal's name. */
  async end(signal: NodeJS.Signals): Promise<number | string | null> {
    const child = this.#child;
    if (child === undefined) return null;
    if (this.isRunning) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await gone;
    }
    return child.exitCode ?? child.signalCode;
  }
}

export interface ChaosNode<W extends Wires = Wires> {
  readonly service: Service;
  readonly program: Program;
  readonly zone: number;
  /** Of its HTTP server. */
  readonly url: string;
  readonly wires: W;
  /** Where others call it. */
  readonly grpcAddress: string;
  readonly dataDir: string;
}

export class ChaosCluster<W extends Wires = Wires> {
  readonly nodes: readonly ChaosNode<W>[];
  /** Folder of the small file system; undefined where none could be made. */
  readonly smallDisk: string | undefined;
  readonly #nats: Program;
  readonly #natsFolder: string;
  readonly #folder: string;
  readonly #fabric: Fabric<W>;

  private constructor(
    nodes: readonly ChaosNode<W>[],
    nats: Program,
    fabric: Fabric<W>,
    folders: { readonly whole: string; readonly nats: string; readonly small: string | undefined },
  ) {
    this.nodes = nodes;
    this.#nats = nats;
    this.#fabric = fabric;
    this.#folder = folders.whole;
    this.#natsFolder = folders.nats;
    this.smallDisk = folders.small;
  }

  /** Starts everything at places of the fabric, which is its own from then on, and waits until all of it is ready. */
  static async start<W extends Wires>(fabric: Fabric<W>): Promise<ChaosCluster<W>> {
    const natsProgram = findProgram('nats-server');
    if (natsProgram === undefined) throw new Error('nats-server is not on the PATH');
    const whole = mkdtempSync(path.join(tmpdir(), 'tidemark-chaos-'));
    const folders = { whole, nats: path.join(whole, 'nats'), small: mountSmall(path.join(whole, 'small')) };
    const { prefix, host, port } = fabric.nats;
    const natsCommand = [...prefix, natsProgram, '-a', host, '-p', String(port), '-js', '-sd', folders.nats];
    const nats = new Program('nats', natsCommand);
    const config = path.join(whole, 'prometheus.yml');
    writeFileSync(config, 'global: {}\n');
    const nodes: ChaosNode<W>[] = [];
    for (const [service, count] of Object.entries(COUNTS) as [Service, number][]) {
      for (let i = 0; i < count; i++) {
        const isSmall = service === 'ingester' && i === 2 && folders.small !== undefined;
        const dataDir = isSmall ? path.join(folders.small!, 'data') : path.join(whole, `${service}-${i}`);
        const place = await fabric.place(`${service}-${i}`);
        nodes.push(makeNode(service, i, place, { config, dataDir }));
      }
    }
    const cluster = new ChaosCluster(nodes, nats, fabric, folders);
    nats.start();
    try {
      await cluster.untilReady();
    } catch (caught) {
      await cluster.stop();
      throw caught;
    }
    return cluster;
  }

  of(service: Service): readonly ChaosNode<W>[] {
    return this.nodes.filter((node) => node.service === service);
  }

  get gateways(): readonly string[] {
    return this.of('gateway').map(({ url }) => url);
  }

  /** Starts what is not there and waits until everything is ready. */
  async untilReady(): Promise<void> {
    for (const { program } of this.nodes) program.start();
    for (const node of this.nodes) {
      await waitFor(`${node.program.name} ready`, () => this.#isReady(node), {
        timeoutMs: READY_TIMEOUT_MS,
        describe: () => node.program.errors,
      });
    }
  }

  async killNats(isWiped: boolean): Promise<void> {
    await this.#nats.end('SIGKILL');
    if (isWiped) rmSync(this.#natsFolder, { recursive: true, force: true });
  }

  startNats(): void {
    this.#nats.start();
  }

  async stop(): Promise<void> {
    for (const { program } of this.nodes) {
      program.signal('SIGCONT');
      await program.end('SIGKILL');
    }
    await this.#nats.end('SIGKILL');
    await this.#fabric.stop();
    if (this.smallDisk !== undefined) execFileSync('umount', [this.smallDisk]);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** A process that ended by itself is started again, as an orchestrator would. */
  async #isReady({ program, url }: ChaosNode): Promise<boolean> {
    if (!program.isRunning) {
      await sleep(200);
      program.start();
      return false;
    }
    return await answers(`${url}/-/ready`);
  }
}

function makeNode<W extends Wires>(
  service: Service,
  index: number,
  place: Place<W>,
  { config, dataDir }: { readonly config: string; readonly dataDir: string },
): ChaosNode<W> {
  const name = `${service}-${index}`;
  const zone = index % 3;
  const hasData = service === 'ingester' || service === 'store';
  const command = [
    ...place.prefix,
    process.execPath,
    path.join(repositoryRoot, `services/${service}/main.ts`),
    `--web.listen-address=${place.httpListen}`,
    `--grpc.listen-address=${place.grpcListen}`,
    `--grpc.advertise-address=${place.grpcAdvertise}`,
    `--nats.url=${place.natsUrl}`,
    `--cluster.instance=${name}`,
    `--cluster.zone=zone-${zone}`,
    '--cluster.member-expiry=4s',
    '--cluster.heartbeat-interval=500ms',
    ...place.flags,
    ...(hasData ? [`--data.dir=${dataDir}`] : []),
    ...(service === 'gateway' ? [`--config.file=${config}`, '--web.enable-admin-api'] : []),
    // A second of the machine's CPU at each start, which all the others would go without.
    ...(service === 'querier' ? ['--query.rehearsal=false'] : []),
  ];
  return {
    ...{ service, zone, url: `http://${place.httpListen}`, dataDir, wires: place.wires },
    grpcAddress: place.grpcAdvertise,
    program: new Program(name, command),
  };
}

/** A file system in memory of its own; undefined without the right to mount. */
function mountSmall(folder: string): string | undefined {
  mkdirSync(folder);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_BYTES}`, 'tmpfs', folder], {
      stdio: 'ignore',
    });
    return folder;
  } catch {
    return undefined;
  }
}

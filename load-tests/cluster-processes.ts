// A cluster as separate processes on loopback, for benchmarks: a nats-server, and services with a folder of their own each.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { answers, findProgram, repositoryRoot, waitFor } from '../test/support/programs.ts';

/** A process that CPU is charged to. */
export interface BenchProcess {
  /** `gateway-0`; `nats` for the control plane. */
  readonly name: string;
  readonly service: string;
  readonly pid: number;
  /** Of its HTTP server; empty for NATS. */
  readonly url: string;
}

export interface BenchCluster {
  /** The gateway's. */
  readonly url: string;
  readonly processes: readonly BenchProcess[];
  readonly stop: () => Promise<void>;
}

export interface BenchClusterOptions {
  readonly replicationFactor: number;
  /** How many of each service. */
  readonly counts: Readonly<Record<string, number>>;
  /** Loopback ports from here on are taken. */
  readonly basePort: number;
  /** Flags of single processes, by their names. */
  readonly flags?: Readonly<Record<string, readonly string[]>>;
  /** Flags of node itself, by service: a profiler's. */
  readonly nodeFlags?: Readonly<Record<string, readonly string[]>>;
}

interface Started extends BenchProcess {
  readonly child: ChildProcess;
  readonly errors: () => string;
}

/** Starts everything and waits until all of it is ready. */
export async function startBenchCluster(options: BenchClusterOptions): Promise<BenchCluster> {
  const folder = mkdtempSync(path.join(tmpdir(), `bench-rf${options.replicationFactor}-`));
  const nats = findProgram('nats-server');
  if (nats === undefined) throw new Error('nats-server is not on the PATH');
  let port = options.basePort;
  const natsPort = port++;
  const natsArgs = ['-a', '127.0.0.1', '-p', String(natsPort), '-js', '-sd', path.join(folder, 'nats')];
  const started: Started[] = [start('nats', 'nats', '', nats, natsArgs, folder)];
  const stop = async (): Promise<void> => {
    await Promise.all(started.map(({ child }) => kill(child)));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    for (const [service, count] of Object.entries(options.counts)) {
      for (let i = 0; i < count; i++) {
        const ports: [number, number] = [port++, port++];
        started.push(startService(service, i, ports, natsPort, folder, options));
      }
    }
    for (const { name, url, errors } of started) {
      if (url === '') continue;
      const isReady = (): Promise<boolean> => answers(`${url}/-/ready`);
      await waitFor(`${name} ready`, isReady, { timeoutMs: 60_000, describe: errors });
    }
  } catch (caught) {
    await stop();
    throw caught;
  }
  return { url: started.find(({ service }) => service === 'gateway')!.url, processes: started, stop };
}

function startService(
  service: string,
  index: number,
  [httpPort, grpcPort]: readonly [number, number],
  natsPort: number,
  folder: string,
  options: BenchClusterOptions,
): Started {
  const name = `${service}-${index}`;
  const own = path.join(folder, name);
  mkdirSync(own);
  const config = path.join(own, 'prometheus.yml');
  writeFileSync(config, 'global: {}\n');
  const args = [
    ...(options.nodeFlags?.[service] ?? []),
    path.join(repositoryRoot, `services/${service}/main.ts`),
    `--web.listen-address=127.0.0.1:${httpPort}`,
    `--grpc.listen-address=127.0.0.1:${grpcPort}`,
    `--nats.url=nats://127.0.0.1:${natsPort}`,
    `--cluster.instance=${name}`,
    `--cluster.zone=zone-${index}`,
  ];
  args.push(...(options.flags?.[name] ?? []));
  if (service === 'gateway') args.push(`--config.file=${config}`);
  if (service === 'ingester') args.push(`--cluster.replication-factor=${options.replicationFactor}`);
  if (service === 'ingester') args.push('--store.replication-factor=1');
  if (service === 'ingester' || service === 'store') args.push(`--data.dir=${path.join(own, 'data')}`);
  return start(name, service, `http://127.0.0.1:${httpPort}`, process.execPath, args, own);
}

function start(
  name: string,
  service: string,
  url: string,
  command: string,
  args: readonly string[],
  cwd: string,
): Started {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (piece: Buffer) => {
    errors = (errors + piece.toString()).slice(-8192);
  });
  return { name, service, url, pid: child.pid ?? -1, child, errors: () => errors };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  // A profiler writes its file at an orderly end.
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  await gone;
  clearTimeout(timer);
}

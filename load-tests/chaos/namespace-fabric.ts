// Each process in a network namespace of its own, all on one bridge in a further namespace: the machine's own network has no part in
// it, and no way leads out. Faults are packets that nftables drops in a process's namespace; delay and resets are those of a fault
// proxy there, for kernels without netem. Needs root, iproute2 and nftables.
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { findProgram, repositoryRoot } from '../../test/support/programs.ts';
import type { Fabric, PacketWires, Place } from './fabric.ts';

/** Set in the environment of a run that is in its namespace already: the prefix of their names. */
const INSIDE_VARIABLE = 'TIDEMARK_CHAOS_NAMESPACES';
const NETWORK = '10.213.0';
const CLIENT_HOST = 1;
const NATS_HOST = 2;
const FIRST_HOST = 10;
const [HTTP_PORT, GRPC_PORT, PROXY_PORT, NATS_PORT] = [9_000, 9_001, 9_002, 4_222];
const TABLE = 'inet chaos';
const NAMESPACE_FOLDER = '/run/netns';

const run = (command: string, ...args: readonly string[]): void => {
  execFileSync(path.isAbsolute(command) ? command : findProgram(command)!, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
};
const ip = (...args: readonly string[]): void => run('ip', ...args);
/** Not `ip netns exec`: its mount namespace would hide what is mounted, namespaces included, from everybody else. */
const prefixOf = (namespace: string): string[] => [
  findProgram('nsenter')!,
  `--net=${NAMESPACE_FOLDER}/${namespace}`,
];

/** Why there can be no namespaces here; undefined when there can. Makes one and removes it. */
export function lacksNamespaces(): string | undefined {
  for (const program of ['ip', 'nft', 'nsenter'])
    if (findProgram(program) === undefined) return `${program} is not there`;
  const name = `tmprobe${process.pid}`;
  try {
    ip('netns', 'add', name);
    try {
      const [program, ...args] = [...prefixOf(name), findProgram('nft')!, 'list', 'ruleset'];
      run(program!, ...args);
    } finally {
      ip('netns', 'del', name);
    }
    return undefined;
  } catch (caught) {
    return caught instanceof Error ? caught.message : String(caught);
  }
}

/**
 * Starts this command again in a namespace of its own, from which it reaches the others', and waits for its end.
 *
 * @returns its exit status; undefined when this process is that one.
 */
export async function runInside(): Promise<number | undefined> {
  if (process.env[INSIDE_VARIABLE] !== undefined) return undefined;
  const prefix = `tm${process.pid}`;
  const [hub, client] = [`${prefix}-hub`, `${prefix}-client`];
  const remove = (): void => {
    for (const name of readdirSync(NAMESPACE_FOLDER))
      if (name.startsWith(`${prefix}-`)) ip('netns', 'del', name);
  };
  ip('netns', 'add', hub);
  try {
    ip('-n', hub, 'link', 'add', 'br0', 'type', 'bridge');
    ip('-n', hub, 'link', 'set', 'br0', 'up');
    addHost(prefix, 'client', CLIENT_HOST);
    const [program, ...args] = [...prefixOf(client), process.execPath, ...process.argv.slice(1)];
    const child = spawn(program!, args, {
      stdio: 'inherit',
      env: { ...process.env, [INSIDE_VARIABLE]: prefix },
    });
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => child.kill(signal));
    return await new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
  } finally {
    remove();
  }
}

/** A namespace on the bridge. */
function addHost(prefix: string, name: string, host: number): string {
  const namespace = `${prefix}-${name}`;
  const port = `p${host}`;
  ip('netns', 'add', namespace);
  ip('-n', namespace, 'link', 'set', 'lo', 'up');
  ip('-n', `${prefix}-hub`, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
  ip('-n', `${prefix}-hub`, 'link', 'set', port, 'master', 'br0', 'up');
  ip('-n', namespace, 'addr', 'add', `${NETWORK}.${host}/24`, 'dev', 'eth0');
  ip('-n', namespace, 'link', 'set', 'eth0', 'up');
  return namespace;
}

export class NamespaceFabric implements Fabric<PacketWires> {
  readonly nats;
  readonly #prefix: string;
  readonly #proxies: ReturnType<typeof spawn>[] = [];
  #host = FIRST_HOST;

  /** In a process that `runInside` started. */
  constructor() {
    const prefix = process.env[INSIDE_VARIABLE];
    if (prefix === undefined) throw new Error('call runInside first');
    this.#prefix = prefix;
    const namespace = addHost(prefix, 'nats', NATS_HOST);
    this.nats = { prefix: prefixOf(namespace), host: `${NETWORK}.${NATS_HOST}`, port: NATS_PORT };
  }

  async place(name: string): Promise<Place<PacketWires>> {
    const host = this.#host++;
    const namespace = addHost(this.#prefix, name, host);
    const address = `${NETWORK}.${host}`;
    const script = path.join(repositoryRoot, 'load-tests/chaos/fault-proxy-process.ts');
    const [program, ...args] = [
      ...[...prefixOf(namespace), process.execPath, script],
      ...[address, String(PROXY_PORT), '127.0.0.1', String(GRPC_PORT)],
    ];
    const proxy = spawn(program!, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#proxies.push(proxy);
    await new Promise((resolve) => proxy.stdout.once('data', resolve));
    return {
      prefix: prefixOf(namespace),
      httpListen: `${address}:${HTTP_PORT}`,
      grpcListen: `127.0.0.1:${GRPC_PORT}`,
      grpcAdvertise: `${address}:${PROXY_PORT}`,
      natsUrl: `nats://${this.nats.host}:${NATS_PORT}`,
      flags: ['--cluster.insecure'],
      wires: packetWires(namespace, address, (line) => proxy.stdin.write(`${line}\n`)),
    };
  }

  stop(): Promise<void> {
    for (const proxy of this.#proxies) proxy.kill('SIGKILL');
    return Promise.resolve();
  }
}

function packetWires(namespace: string, address: string, tell: (line: string) => void): PacketWires {
  const nft = (rules: string): void => {
    const [program, ...args] = [...prefixOf(namespace), findProgram('nft')!, '-f', '-'];
    execFileSync(program!, args, { input: rules, stdio: ['pipe', 'ignore', 'pipe'] });
  };
  /** In place of what was said before. Loopback and the run's own requests always pass. */
  const drop = (input: readonly string[], output: readonly string[]): void => {
    const client = `${NETWORK}.${CLIENT_HOST}`;
    nft(`table ${TABLE} {}
flush table ${TABLE}
delete table ${TABLE}
table ${TABLE} {
  chain input { type filter hook input priority 0; iif lo accept; ip saddr ${client} accept; ${input.join('; ')}${input.length > 0 ? ';' : ''} }
  chain output { type filter hook output priority 0; oif lo accept; ip daddr ${client} accept; ${output.join('; ')}${output.length > 0 ? ';' : ''} }
}
`);
  };
  const all = `ip saddr ${NETWORK}.0/24 drop`;
  const toAll = `ip daddr ${NETWORK}.0/24 drop`;
  return {
    address,
    silence: () => drop([all], [toAll]),
    deafen: () => drop([all], []),
    mute: () => drop([], [toAll]),
    cutFrom: (others) =>
      drop(
        others.map((other) => `ip saddr ${other.address} drop`),
        others.map((other) => `ip daddr ${other.address} drop`),
      ),
    lose: (percent) => drop([`meta l4proto tcp numgen random mod 100 < ${percent} drop`], []),
    heal: () => {
      drop([], []);
      tell('heal');
    },
    delay: (ms) => tell(`delay ${ms}`),
    reset: () => tell('reset'),
  };
}

// Real NATS servers for tests: Debian's, which is the oldest that must do, and the newest that .ci/run installs. And the control
// plane of one process on them.
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import type { MemberRecord } from '../../services/lib/transport/control-plane.ts';
import {
  NatsControlPlane,
  type NatsControlPlaneDeps,
  type NatsControlPlaneOptions,
} from '../../services/lib/transport/nats/nats-control-plane.ts';
import { hasPrograms, type RunningProcess, startProcess } from './process.ts';
import { findProgram, freePort } from './programs.ts';
import { freshFolder } from './tidemark.ts';

export interface Nats {
  readonly url: string;
  kill(): Promise<void>;
  /** Starts it again, with what it had or with nothing. */
  restart(options: { readonly emptied: boolean }): Promise<void>;
  /** Its log. */
  readonly output: () => string;
}

export interface NatsOptions {
  readonly port?: number;
  /** Path of the program. Default: nats-server on the PATH. */
  readonly program?: string;
  readonly flags?: readonly string[];
  /** Text of a configuration file. */
  readonly config?: string;
}

/** Name of the newest server's program on the PATH, beside Debian's own. */
const NEWEST = 'nats-server-newest';

/**
 * The servers that the control plane is tested with, by name; a missing one is named in a warning.
 *
 * @throws Error in CI (CI=true) when one is missing.
 */
export function natsServers(): { readonly name: string; readonly program: string }[] {
  const given = process.env.TIDEMARK_NATS_SERVER_NEWEST;
  const found = ['nats-server', given ?? NEWEST]
    .filter((name) => path.isAbsolute(name) || hasPrograms(name))
    .map((name) => ({
      name: path.basename(name),
      program: path.isAbsolute(name) ? name : findProgram(name)!,
    }));
  return found;
}

/** A NATS server with JetStream on a folder of its own. */
export async function startNats(options: NatsOptions = {}): Promise<Nats> {
  const port = options.port ?? (await freePort());
  const folder = freshFolder();
  const program = options.program ?? findProgram('nats-server');
  if (program === undefined) throw new Error('nats-server is not on the PATH');
  const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', folder, ...(options.flags ?? [])];
  if (options.config !== undefined) {
    const file = path.join(freshFolder(), 'nats.conf');
    writeFileSync(file, options.config);
    args.push('-c', file);
  }
  const run = (): RunningProcess => startProcess(program, args);
  let server = run();
  return {
    url: `nats://127.0.0.1:${port}`,
    output: () => server.output(),
    kill: () => server.end('SIGKILL'),
    restart: async ({ emptied }) => {
      await server.end('SIGKILL');
      if (emptied) rmSync(folder, { recursive: true, force: true });
      server = run();
    },
  };
}

/** Quick, so that tests of expiry take seconds. */
export const HEARTBEAT_MS = 100;
export const EXPIRY_MS = 1_000;

export const memberRecordOf = (instance: string): MemberRecord => ({
  ...{ service: 'ingester', instance, zone: 'z', version: '1', grpcAddress: '', httpAddress: '' },
  ...{ startedAtMs: 0, state: 'ready' },
});

/** The control plane of a process that says it is there; it leaves with the test. */
export async function joinControlPlane(
  options: NatsControlPlaneOptions,
  instance: string,
  deps: Partial<Pick<NatsControlPlaneDeps, 'logger' | 'memory'>> = {},
): Promise<NatsControlPlane> {
  const plane = new NatsControlPlane(options, {
    clock: systemClock,
    logger: createSilentLogger(),
    ...deps,
  });
  onTestFinished(() => plane.stop());
  await plane.start();
  await plane.announce(memberRecordOf(instance));
  return plane;
}

/** Instances that it sees. */
export function namesAt(plane: NatsControlPlane): string {
  return plane
    .members()
    .map(({ instance }) => instance)
    .join(' ');
}

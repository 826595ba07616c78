// Where programs and ports are, and waiting for something to come true: for tests and load tests, free of the test runner.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, loadavg } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { machineFolder } from './run-folder.ts';

export const repositoryRoot = fileURLToPath(new URL('../../', import.meta.url));

/** Programs of Debian's packages lie here too, whatever the PATH of the test run. */
const FOLDERS = [...(process.env.PATH ?? '').split(':'), '/usr/bin', '/usr/sbin', '/usr/local/bin'];

/** Absolute path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  for (const folder of FOLDERS) {
    const candidate = path.join(folder, name);
    if (folder !== '' && existsSync(candidate)) return candidate;
  }
  return undefined;
}

/**
 * Ports below those that the system gives to outgoing connections, which would take them again before a test does.
 * TIDEMARK_TEST_PORTS=A..B chooses others: for long runs side by side.
 */
const [PORT_MIN, PORT_MAX] = (process.env.TIDEMARK_TEST_PORTS ?? '20000..32000').split('..').map(Number) as [
  number,
  number,
];

/** A file per port that was given away, with the process id of who has it: workers of a run, and runs side by side, keep apart. */
const CLAIMS = path.join(machineFolder(), `tidemark-test-ports-${process.getuid?.() ?? ''}`);
const claimed = new Set<string>();

/** A loopback port that is free, and that nobody else on this machine is given as long as this process lives. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    if (claim(port) && (await canListen(port))) return port;
  }
}

/** False when a process that lives has it, this one included. */
function claim(port: number): boolean {
  if (claimed.size === 0) {
    mkdirSync(CLAIMS, { recursive: true });
    process.once('exit', () => {
      for (const file of claimed) rmSync(file, { force: true });
    });
  }
  const file = path.join(CLAIMS, String(port));
  try {
    if (existsSync(file)) {
      if (isAlive(Number(readFileSync(file, 'utf8')))) return false;
      rmSync(file);
    }
    writeFileSync(file, String(process.pid), { flag: 'wx' });
  } catch {
    // Another was quicker.
    return false;
  }
  claimed.add(file);
  return true;
}

/** The number is 0, which is always alive, as long as it is not written yet. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/**
 * By how much durations may be longer than on a quiet machine: runnable processes per core (the load of the last minute), from 1
 * to 4. For the limits that the promises give in seconds; everything else waits generously.
 */
export function loadFactor(): number {
  return Math.min(4, Math.max(1, loadavg()[0]! / availableParallelism()));
}

/** Asks `attempt` every 50 ms until it gives something; fails with what `describe` says after `timeoutMs`. */
export async function waitFor<T>(
  what: string,
  attempt: () => Promise<T | undefined | false>,
  options: { readonly timeoutMs?: number; readonly describe?: () => string } = {},
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 20_000;
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const result = await attempt();
      if (result !== undefined && result !== false) return result;
    } catch (caught) {
      last = caught;
    }
    if (performance.now() > deadline) {
      const reason =
        last === undefined ? '' : `: ${last instanceof Error ? last.message : JSON.stringify(last)}`;
      throw new Error(`${what}: not within ${timeoutMs} ms${reason}\n${options.describe?.() ?? ''}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** True once the URL answers 2xx. */
export async function answers(url: string): Promise<boolean> {
  const response = await fetch(url);
  await response.arrayBuffer();
  return response.ok;
}

// Real processes for tests: started on loopback, waited for, ended by pid. Their output is kept for the failure message.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

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
 * Whether all programs are there; says which is not. For `test.skipIf(!hasPrograms(…))`.
 *
 * @throws Error in CI (CI=true) when one is missing.
 */
export function hasPrograms(...names: readonly string[]): boolean {
  const missing = names.filter((name) => findProgram(name) === undefined);
  if (missing.length === 0) return true;
  if (process.env.CI === 'true') throw new Error(`CI needs ${missing.join(', ')} on the PATH`);
  console.warn(`skipped: ${missing.join(', ')} not found on the PATH`);
  return false;
}

/** A loopback port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  await new Promise((resolve) => server.close(resolve));
  return address.port;
}

export interface RunningProcess {
  readonly pid: number;
  /** Standard output and error so far, the last 64 KiB. */
  readonly output: () => string;
  /** Exit code, or the signal's name; undefined while it runs. */
  readonly exited: () => number | string | undefined;
  /** Sends the signal and waits for the end. */
  readonly end: (signal?: NodeJS.Signals) => Promise<void>;
}

/** Starts a program; it is ended with the test that started it, at the latest. */
export function startProcess(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): RunningProcess {
  const child: ChildProcess = spawn(command, args, {
    cwd: options.cwd ?? repositoryRoot,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const collect = (piece: Buffer): void => {
    output = (output + piece.toString()).slice(-65_536);
  };
  child.stdout?.on('data', collect);
  child.stderr?.on('data', collect);
  let exited: number | string | undefined;
  const gone = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      output += String(error);
      exited ??= 'error';
      resolve();
    });
    child.once('exit', (code, signal) => {
      exited = code ?? signal ?? 'unknown';
      resolve();
    });
  });
  const end = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    if (exited === undefined) child.kill(signal);
    await gone;
  };
  try {
    onTestFinished(() => end('SIGKILL'));
  } catch {
    process.once('exit', () => child.kill('SIGKILL'));
  }
  return { pid: child.pid ?? -1, output: () => output, exited: () => exited, end };
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

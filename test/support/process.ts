// Real processes for tests: started on loopback, waited for, ended by pid. Their output is kept for the failure message.
import { type ChildProcess, spawn } from 'node:child_process';
import { onTestFinished } from 'vitest';
import { findProgram, repositoryRoot } from './programs.ts';
import { COMPILE_CACHE } from './run-folder.ts';

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
    env: { ...COMPILE_CACHE, ...process.env, ...options.env },
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

// Whether a service's real main.ts takes a command line and an environment, without starting it: for the tests of what deploys it.
import { spawnSync } from 'node:child_process';
import { environmentNameOf } from '../../services/lib/runtime/flags.ts';
import { repositoryRoot } from './programs.ts';
import { COMPILE_CACHE } from './run-folder.ts';

export const SERVICES = ['scraper', 'ingester', 'store', 'querier', 'alert-evaluator', 'gateway'] as const;

/**
 * Runs `node services/<name>/main.ts … --help`, which reads all flags and the environment first.
 *
 * @returns what it printed to standard error; empty when it takes everything.
 */
export function refusalOf(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): string {
  const run = spawnSync(process.execPath, [...args, '--help'], {
    cwd: repositoryRoot,
    env: { PATH: process.env.PATH ?? '', ...COMPILE_CACHE, ...environment },
    encoding: 'utf8',
  });
  return run.status === 0 ? '' : `exit ${run.status}: ${run.stderr}`;
}

/** The environment twins that at least one of the services reads. */
export function knownEnvironment(): ReadonlySet<string> {
  const known = new Set<string>();
  for (const service of SERVICES) {
    const { stdout } = spawnSync(process.execPath, [`services/${service}/main.ts`, '--help'], {
      cwd: repositoryRoot,
      env: { ...COMPILE_CACHE, ...process.env },
      encoding: 'utf8',
    });
    for (const [, flag] of stdout.matchAll(/(?:^ {2}|, )--([a-z][-.a-z0-9]*)/gm))
      known.add(environmentNameOf(flag!));
  }
  return known;
}

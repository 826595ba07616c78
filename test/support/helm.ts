// helm as tests call it: found on the PATH or where `go install` puts it.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { findProgram, repositoryRoot } from './programs.ts';

export const chartFolder = path.join(repositoryRoot, 'deploy/helm/tidemark');

/** A helm from `go install` knows no Kubernetes version of its own and would claim an ancient one. */
const KUBE_VERSION = '1.34.0';

function findHelm(): string | undefined {
  const installed = path.join(homedir(), 'go/bin/helm');
  return findProgram('helm') ?? (existsSync(installed) ? installed : undefined);
}

/**
 * Whether helm is there; says so when not.
 *
 * @throws Error in CI (CI=true) when it is missing.
 */
export function hasHelm(): boolean {
  if (findHelm() !== undefined) return true;
  if (process.env.CI === 'true') throw new Error('CI needs helm on the PATH or in ~/go/bin');
  console.warn('skipped: helm not found (go install helm.sh/helm/v3/cmd/helm)');
  return false;
}

/** A rendered object, as far as tests read it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: every kind has a shape of its own; tests assert on what they read.
  readonly [key: string]: any;
}

interface HelmRun {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

function helm(args: readonly string[], input = ''): HelmRun {
  const run = spawnSync(findHelm()!, [...args, '--kube-version', KUBE_VERSION], { encoding: 'utf8', input });
  return { status: run.status ?? -1, stdout: run.stdout, stderr: run.stderr };
}

/** `helm lint --strict`. */
export function lint(...args: readonly string[]): HelmRun {
  return helm(['lint', '--strict', chartFolder, ...args]);
}

/** `helm template`, with values as YAML text beside other flags. */
export function template(values: string, ...args: readonly string[]): HelmRun {
  return helm(['template', 'tm', chartFolder, '--namespace', 'metrics', '--values', '-', ...args], values);
}

/**
 * What `helm template` renders.
 *
 * @throws Error with what helm says when it does not.
 */
export function render(values = '{}', ...args: readonly string[]): readonly Manifest[] {
  const run = template(values, ...args);
  if (run.status !== 0) throw new Error(run.stderr);
  return parseAllDocuments(run.stdout)
    .map((document) => {
      if (document.errors.length > 0) throw document.errors[0]!;
      return document.toJS() as Manifest | null;
    })
    .filter((manifest): manifest is Manifest => manifest !== null);
}

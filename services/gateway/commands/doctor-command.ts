// `tidemark doctor`: asks a gateway about its cluster and says what is configured wrongly, or about to go wrong, and what to do.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { describeFlags, type FlagTable, parseFlags } from '../../lib/runtime/flags.ts';
import { diagnose } from './doctor-checks.ts';
import { type Examined, type Finding, UPS_QUERY } from './doctor-finding.ts';

const FLAGS = {
  url: { type: 'string', default: 'http://127.0.0.1:9090', desc: 'A gateway.' },
  timeout: { type: 'duration', default: 15_000, desc: 'How long to wait for each of its answers.' },
} as const satisfies FlagTable;

const USAGE = `Names what is wrong with a cluster, and the remedy.

usage: tidemark doctor [--url=http://gateway:9090]

It asks the gateway for members, stores, flags, targets and rules: replication factors against ingesters, stores and zones, members that are absent or of
several versions, NATS (servers, version, storage), clocks and certificates of all members, plaintext between machines, disks of stores, corrupt and
missing blocks, retention against rules and windows, targets that are down or slow, Alertmanagers that are missing or out of reach, writes that were
answered 429, ingesters whose disk is full or nearly so, targets that two senders send who are not told apart. Exit code 0 when nothing is wrong, 1 with
errors, 3 with warnings only, 2 for a wrong command line.`;

/** Targets whose samples are looked at. */
const UPS_MAX = 500;
const EXIT_ERRORS = 1;
const EXIT_USAGE = 2;
const EXIT_WARNINGS = 3;

export interface DoctorOutput {
  readonly write: (text: string) => Promise<void>;
}

/** @returns the exit code. */
export async function runDoctorCommand(
  args: readonly string[],
  output: DoctorOutput,
  deps: { readonly clock: Clock; readonly environment: Readonly<Record<string, string | undefined>> },
): Promise<number> {
  const { values, help } = parseFlags(FLAGS, [...args], deps.environment);
  if (help) {
    await output.write(describeFlags(USAGE, FLAGS));
    return 0;
  }
  const base = values.url.replace(/\/+$/, '');
  if (!URL.canParse(base)) {
    await output.write(`flag --url: ${JSON.stringify(values.url)} is not a URL, like http://gateway:9090\n`);
    return EXIT_USAGE;
  }
  const ask = <T>(endpoint: string) => fetchData<T>(`${base}/api/v1/${endpoint}`, values.timeout);
  const [members, moves, flags] = await Promise.all([
    ask<Examined['members']>('cluster/members'),
    ask<Examined['moves']>('cluster/moves'),
    ask<Examined['flags']>('status/flags'),
  ]);
  // What a gateway of an earlier version, or a cluster without scrapers or evaluators, has no answer for.
  const tryAsk = <T>(endpoint: string) => ask<T>(endpoint).catch(() => undefined);
  const [examination, targets, rules, alertmanagers, ups] = await Promise.all([
    tryAsk<Examined['examination']>('cluster/examine'),
    tryAsk<Examined['targets']>('targets?state=active'),
    tryAsk<Examined['rules']>('rules'),
    tryAsk<Examined['alertmanagers']>('alertmanagers'),
    tryAsk<Examined['ups']>(`query?query=${encodeURIComponent(UPS_QUERY)}&limit=${UPS_MAX}`),
  ]);
  const examined = { members, moves, flags, examination, targets, rules, alertmanagers, ups };
  const findings = diagnose(examined, deps.clock.nowMs());
  await output.write(printFindings(findings));
  if (findings.some(({ severity }) => severity === 'error')) return EXIT_ERRORS;
  return findings.length > 0 ? EXIT_WARNINGS : 0;
}

/** A paragraph each. */
export function printFindings(findings: readonly Finding[]): string {
  if (findings.length === 0) return 'nothing is wrong as far as the gateway knows\n';
  return findings
    .map(({ severity, problem, remedy }) => `${severity}: ${problem}\n  remedy: ${remedy}\n`)
    .join('\n');
}

/** @throws AppError `unavailable` naming the endpoint. */
export async function fetchData<T>(endpoint: string, timeoutMs: number): Promise<T> {
  try {
    const response = await fetch(endpoint, { signal: AbortSignal.timeout(timeoutMs) });
    const text = await response.text();
    if (!response.ok) throw new AppError('unavailable', `${response.status} ${text.slice(0, 300)}`);
    return (JSON.parse(text) as { data: T }).data;
  } catch (caught) {
    const failure = toAppError(caught);
    const cause =
      failure.cause instanceof Error && failure.cause.cause instanceof Error ? failure.cause.cause : failure;
    throw new AppError('unavailable', `${endpoint}: ${cause.message}`, { cause: caught });
  }
}

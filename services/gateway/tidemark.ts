#!/usr/bin/env node
// `tidemark`: a cluster's members in a terminal, blocks on a disk, samples in and out. Each command has a file of its own.
import { systemClock } from '../lib/core/clock.ts';
import { systemDisk } from '../lib/core/disk.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import { describeFlags, type FlagTable, parseFlags } from '../lib/runtime/flags.ts';
import { readVersion } from '../lib/runtime/version.ts';
import { runBlockCommand } from './block-command.ts';
import { runDrainCommand } from './drain-command.ts';
import { runExportCommand } from './export-command.ts';
import { runImportCommand } from './import-command.ts';
import { type MembersAnswer, printMembers } from './status-table.ts';

const STATUS_FLAGS = {
  url: { type: 'string', default: 'http://127.0.0.1:9090', desc: 'A gateway.' },
  timeout: { type: 'duration', default: 10_000, desc: 'How long to wait for its answer.' },
} as const satisfies FlagTable;

const USAGE = `Tidemark in a terminal.

usage: tidemark status [--url=http://gateway:9090]
       tidemark drain --ingester=NAME | --store=NAME      (see tidemark drain --help)
       tidemark block inspect|verify|dump BLOCK…      (see tidemark block --help)
       tidemark import prometheus DIR | openmetrics FILE  (see tidemark import --help)
       tidemark export --match=SELECTOR                   (see tidemark export --help)

status prints the members of the cluster: services, zones, versions, states, partitions owned, whether each replica is complete,
age of the last heartbeat.
Exit code 0 when all that should be there is ready, 1 otherwise or when the gateway does not answer.`;

async function main(): Promise<void> {
  const [command, ...rest] = process.argv.slice(2);
  if (command === '--version') {
    process.stdout.write(`tidemark, version ${readVersion()}\n`);
    return;
  }
  const output = { write: writeOut, complain: (text: string) => process.stderr.write(text) };
  const deps = { disk: systemDisk, clock: systemClock, environment: process.env };
  if (command === 'drain') {
    process.exitCode = await runDrainCommand(rest, output, deps);
    return;
  }
  if (command === 'block' || command === 'import' || command === 'export') {
    if (command === 'block') process.exitCode = await runBlockCommand(rest, output);
    else if (command === 'import') process.exitCode = await runImportCommand(rest, output, deps);
    else process.exitCode = await runExportCommand(rest, output, deps);
    return;
  }
  const flags = parseFlags(STATUS_FLAGS, command === 'status' ? rest : [], process.env);
  if (command !== 'status' || flags.help) {
    process.stdout.write(describeFlags(USAGE, STATUS_FLAGS));
    if (command !== 'status' && command !== '--help' && command !== 'help') process.exitCode = 2;
    return;
  }
  const answer = await askMembers(flags.values.url, flags.values.timeout);
  process.stdout.write(printMembers(answer));
  if (answer.members.some(({ state }) => state !== 'ready')) process.exitCode = 1;
}

/** Waits where the reader is slow; a reader that has left ends the command without a word, as `| head` expects. */
async function writeOut(text: string): Promise<void> {
  if (process.stdout.write(text)) return;
  await new Promise<void>((resolve) => process.stdout.once('drain', resolve));
}

async function askMembers(url: string, timeoutMs: number): Promise<MembersAnswer> {
  const endpoint = `${url.replace(/\/+$/, '')}/api/v1/cluster/members`;
  let text: string;
  try {
    const response = await fetch(endpoint, { signal: AbortSignal.timeout(timeoutMs) });
    text = await response.text();
    if (!response.ok) throw new AppError('unavailable', `${response.status} ${text.slice(0, 300)}`);
  } catch (caught) {
    const error = toAppError(caught);
    const cause =
      error.cause instanceof Error && error.cause.cause instanceof Error ? error.cause.cause : error;
    throw new AppError('unavailable', `${endpoint}: ${cause.message}`, { cause: caught });
  }
  return (JSON.parse(text) as { data: MembersAnswer }).data;
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

main().catch((caught: unknown) => {
  process.stderr.write(`tidemark: ${toAppError(caught).message}\n`);
  process.exitCode = 1;
});

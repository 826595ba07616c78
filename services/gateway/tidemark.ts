#!/usr/bin/env node
// `tidemark`: a cluster's members in a terminal, blocks on a disk, samples in and out. Each command has a file of its own.
import { systemClock } from '../lib/core/clock.ts';
import { systemDisk } from '../lib/core/disk.ts';
import { toAppError } from '../lib/core/errors.ts';
import { describeFlags, type FlagTable, parseFlags } from '../lib/runtime/flags.ts';
import { readVersion } from '../lib/runtime/version.ts';
import type { MovesAnswer } from './api/store-moves-api.ts';
import { runBlockCommand } from './commands/block-command.ts';
import { fetchData, runDoctorCommand } from './commands/doctor-command.ts';
import { runDrainCommand } from './commands/drain-command.ts';
import { runExplainCommand } from './commands/explain-command.ts';
import { runExportCommand } from './commands/export-command.ts';
import { runImportCommand } from './commands/import-command.ts';
import { printMoves } from './commands/moves-table.ts';
import { type MembersAnswer, printMembers } from './commands/status-table.ts';

const STATUS_FLAGS = {
  url: { type: 'string', default: 'http://127.0.0.1:9090', desc: 'A gateway.' },
  timeout: { type: 'duration', default: 10_000, desc: 'How long to wait for its answer.' },
} as const satisfies FlagTable;

const USAGE = `Tidemark in a terminal.

usage: tidemark status [--url=http://gateway:9090]
       tidemark doctor [--url=http://gateway:9090]        (see tidemark doctor --help)
       tidemark explain target WHAT                       (see tidemark explain --help)
       tidemark drain --ingester=NAME | --store=NAME      (see tidemark drain --help)
       tidemark block inspect|verify|dump BLOCK…      (see tidemark block --help)
       tidemark import prometheus DIR | openmetrics FILE  (see tidemark import --help)
       tidemark export --match=SELECTOR                   (see tidemark export --help)

status prints the members of the cluster: services, zones, versions, states, partitions owned, whether each replica is complete,
age of the last heartbeat; then what each store holds, lacks and copies.
Exit code 0 when all that should be there is ready, 1 otherwise or when the gateway does not answer.`;

async function main(): Promise<void> {
  const [command, ...rest] = process.argv.slice(2);
  if (command === '--version') {
    process.stdout.write(`tidemark, version ${readVersion()}\n`);
    return;
  }
  const output = { write: writeOut, complain: (text: string) => process.stderr.write(text) };
  const deps = { disk: systemDisk, clock: systemClock, environment: process.env };
  if (command === 'drain' || command === 'doctor') {
    const run = command === 'drain' ? runDrainCommand : runDoctorCommand;
    process.exitCode = await run(rest, output, deps);
    return;
  }
  if (command === 'explain') {
    process.exitCode = await runExplainCommand(rest, output, deps);
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
  const { url, timeout } = flags.values;
  const ask = <T>(what: string) => fetchData<T>(`${url.replace(/\/+$/, '')}/api/v1/cluster/${what}`, timeout);
  const answer = await ask<MembersAnswer>('members');
  process.stdout.write(printMembers(answer));
  if (answer.controlPlane !== 'embedded') process.stdout.write(printMoves(await ask<MovesAnswer>('moves')));
  if (answer.members.some(({ state }) => state !== 'ready')) process.exitCode = 1;
}

/** Waits where the reader is slow; a reader that has left ends the command without a word, as `| head` expects. */
async function writeOut(text: string): Promise<void> {
  if (process.stdout.write(text)) return;
  await new Promise<void>((resolve) => process.stdout.once('drain', resolve));
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

main().catch((caught: unknown) => {
  process.stderr.write(`tidemark: ${toAppError(caught).message}\n`);
  process.exitCode = 1;
});

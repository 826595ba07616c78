// `tidemark import`: history from elsewhere into a running Tidemark.
import path from 'node:path';
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { toAppError } from '../../lib/core/errors.ts';
import { describeFlags, type FlagTable, parseFlags } from '../../lib/runtime/flags.ts';
import { importExact } from './import-exact.ts';
import { importOpenMetrics } from './import-openmetrics.ts';
import { ImportProgress } from './import-progress.ts';
import { importPrometheus } from './import-prometheus.ts';
import { ImportSender } from './import-sender.ts';
import { ImportState } from './import-state.ts';

const FLAGS = {
  url: { type: 'string', default: 'http://127.0.0.1:9090', desc: 'A gateway, or an all-in-one process.' },
  state: {
    type: 'string',
    default: '',
    desc: 'File that remembers what is done. Default: beside the source, with .tidemark-import.json behind its name.',
  },
  restart: { type: 'boolean', default: false, desc: 'Forgets what is done and sends everything again.' },
  'retry-for': {
    type: 'duration',
    default: 300_000,
    desc: 'How long a server that takes nothing, or is not there, is asked again.',
  },
  concurrency: { type: 'number', default: 4, min: 1, max: 64, desc: 'Requests under way at a time.' },
} as const satisfies FlagTable;

const USAGE = `tidemark import: history from elsewhere into a running Tidemark.

usage: tidemark import prometheus DIR [--url=http://gateway:9090]     Prometheus' data directory, or a snapshot of one
       tidemark import openmetrics FILE [--url=…]                     samples with timestamps, as text
       tidemark import exact FILE [--url=…]                           what "tidemark export --format=exact" wrote

prometheus reads the blocks (index version 2; floats and native histograms; deletes are honoured) and then the write-ahead log,
what came late included. DIR is what --storage.tsdb.path of that Prometheus names; it is read, never written. Of a running
Prometheus take a snapshot first (POST /api/v1/admin/tsdb/snapshot), or import again when it has ended.

Samples older than the server's retention are refused by it, and counted: start it with --storage.tsdb.retention.time as long
as the history. A sample counts as imported when the server has it on disk. An import that was ended goes on where it was when
it is started again; sending a sample twice changes nothing.

Damaged parts are skipped, told with file and offset, and counted; everything else is imported. Exit code 0 when all was
imported, 1 when something was skipped, refused or left undone, 2 when the command line cannot be understood.

examples:
  tidemark import prometheus /var/lib/prometheus/data --url=http://tidemark:9090
  promtool tsdb dump-openmetrics data > history.om && tidemark import openmetrics history.om --url=http://tidemark:9090`;

export interface CommandOutput {
  /** Resolves when more can be written. */
  readonly write: (text: string) => Promise<void>;
  readonly complain: (text: string) => void;
}

/** Runs the command; returns the exit code. */
export async function runImportCommand(
  argv: readonly string[],
  output: CommandOutput,
  deps: { readonly disk: Disk; readonly clock: Clock; readonly environment: NodeJS.ProcessEnv },
): Promise<number> {
  const [kind, ...rest] = argv;
  if (kind === undefined || kind === 'help' || argv.includes('--help')) {
    await output.write(describeFlags(USAGE, FLAGS));
    return kind === undefined ? 2 : 0;
  }
  const sources = rest.filter((argument, i) => !argument.startsWith('-') && !isValueOf(rest[i - 1]));
  const [source] = sources;
  let flags: ReturnType<typeof parseFlags<typeof FLAGS>>['values'];
  try {
    flags = parseFlags(
      FLAGS,
      rest.filter((argument) => !sources.includes(argument)),
      deps.environment,
    ).values;
    if (kind !== 'prometheus' && kind !== 'openmetrics' && kind !== 'exact')
      throw new Error(`${JSON.stringify(kind)} is not prometheus, openmetrics or exact`);
    if (source === undefined || sources.length > 1)
      throw new Error(`one ${kind === 'prometheus' ? 'DIR' : 'FILE'} is wanted, ${sources.length} are given`);
  } catch (caught) {
    output.complain(`tidemark import: ${toAppError(caught).message} (see tidemark import --help)\n`);
    return 2;
  }
  const absolute = path.resolve(source);
  const stateFile = flags.state === '' ? `${absolute}.tidemark-import.json` : path.resolve(flags.state);
  const sender = new ImportSender(
    { url: flags.url, retryMs: flags['retry-for'], concurrency: flags.concurrency },
    { clock: deps.clock, onRefusal: (text) => output.complain(`refused: ${text}\n`) },
  );
  const progress = new ImportProgress(deps.clock, sender.counts, output.complain);
  try {
    const about = { source: absolute, url: flags.url, restart: flags.restart };
    const state = await ImportState.open(stateFile, about, deps.disk);
    const all = { disk: deps.disk, clock: deps.clock, sender, state, progress };
    if (kind === 'prometheus') await importPrometheus(absolute, all);
    else if (kind === 'exact') await importExact(absolute, all);
    else await importOpenMetrics(absolute, all);
    await output.write(progress.summary());
    if (progress.totalBytes > 0 && progress.skippedBytes === progress.totalBytes)
      await output.write(`everything was imported before, says ${state.file}; --restart sends it again\n`);
    return progress.damageCount > 0 || sender.counts.refused > 0 ? 1 : 0;
  } catch (caught) {
    output.complain(progress.summary());
    output.complain(`tidemark import: ${toAppError(caught).message}\n`);
    return 1;
  }
}

/** Whether the argument is a flag whose value follows it: `--url http://…`. */
function isValueOf(argument: string | undefined): boolean {
  if (argument === undefined || !argument.startsWith('--') || argument.includes('=')) return false;
  const spec = (FLAGS as FlagTable)[argument.slice(2)];
  return spec !== undefined && spec.type !== 'boolean';
}

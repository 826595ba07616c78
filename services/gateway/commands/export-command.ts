// `tidemark export`: samples of a running Tidemark as text that other programs read.
import type { Clock } from '../../lib/core/clock.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { describeFlags, type FlagTable, parseFlags } from '../../lib/runtime/flags.ts';
import { parseTime } from '../http/parameters.ts';
import { ExactReader } from './export-exact.ts';
import { ExportOutput, type ExportQuestion } from './export-output.ts';
import { ExportReader } from './export-reader.ts';
import { jsonLine, openMetricsLines } from './export-text.ts';
import type { CommandOutput } from './import-command.ts';

const FLAGS = {
  url: { type: 'string', default: 'http://127.0.0.1:9090', desc: 'A gateway, or an all-in-one process.' },
  match: { type: 'string', default: '', desc: 'Which series: a selector like {job="node"}. Must be given.' },
  start: {
    type: 'string',
    default: '',
    desc: 'First time, RFC 3339 or Unix seconds. Default: a day before the end.',
  },
  end: { type: 'string', default: '', desc: 'Last time, inclusive. Default: now.' },
  format: {
    type: 'string',
    default: 'openmetrics',
    choices: ['openmetrics', 'jsonl', 'exact'],
    desc: 'Text with timestamps, or a line of JSON for each series and slice of time.',
  },
  output: {
    type: 'string',
    default: '',
    desc: 'With exact: a file. An export that was ended goes on in it. Default: standard output.',
  },
} as const satisfies FlagTable;

const USAGE = `tidemark export: samples of a running Tidemark as text that other programs read.

usage: tidemark export --match=SELECTOR [--start=TIME] [--end=TIME] [--format=openmetrics|jsonl] [--url=http://gateway:9090]
       tidemark export --match=SELECTOR --format=exact [--output=FILE] [--start=TIME] [--end=TIME] [--url=…]

openmetrics is what "tidemark import openmetrics" and "promtool tsdb create-blocks-from openmetrics" take back. jsonl is the form
of VictoriaMetrics' /api/v1/export: {"metric":{…},"values":[…],"timestamps":[milliseconds…]}; a series may have several
lines; NaN is null, infinities are "Infinity" and "-Infinity". Values keep every digit.

Both leave out native histograms, which neither form has (they are counted), staleness markers, exemplars, metadata.

exact is a line of JSON for each series and slice of time that loses none of these but metadata, and no bit of a value:
{"metric":{…},"timestamps":[…],"values":[1.5,"NaN","stale"…],"histograms":[…],"exemplars":[…]}. Histograms are written with counts as
doubles. "tidemark import exact" takes it back. With --output, --start and --end, it goes on where it was ended when it is started again.

Exit code 0 when all was written, 1 when not or when histograms were left out, 2 when the command line cannot be understood.

examples:
  tidemark export --match='{job="node"}' --start=2026-11-01T00:00:00Z --end=2026-11-02T00:00:00Z > node.om
  tidemark export --match='{}' --start=… --end=… --format=exact --output=all.jsonl
  tidemark export --match='up' --format=jsonl | jq .metric.instance`;

const DAY_MS = 86_400_000;

/** Runs the command; returns the exit code. */
export async function runExportCommand(
  argv: readonly string[],
  output: CommandOutput,
  deps: { readonly clock: Clock; readonly disk: Disk; readonly environment: NodeJS.ProcessEnv },
): Promise<number> {
  if (argv.includes('--help') || argv[0] === 'help') {
    await output.write(describeFlags(USAGE, FLAGS));
    return 0;
  }
  let flags: ReturnType<typeof parseFlags<typeof FLAGS>>['values'];
  let startMs: number;
  let endMs: number;
  try {
    flags = parseFlags(FLAGS, argv, deps.environment).values;
    if (flags.match === '')
      throw new AppError('bad_data', '--match is missing; --match=\'{__name__!=""}\' is everything');
    endMs = flags.end === '' ? deps.clock.nowMs() : readTime('end', flags.end);
    startMs = flags.start === '' ? endMs - DAY_MS : readTime('start', flags.start);
    if (flags.output !== '' && flags.format !== 'exact')
      throw new AppError(
        'bad_data',
        `--output is for --format=exact; write ${flags.format} to the standard output`,
      );
    if (startMs > endMs) throw new AppError('bad_data', `--start=${flags.start} is after the end`);
  } catch (caught) {
    output.complain(`tidemark export: ${toAppError(caught).message} (see tidemark export --help)\n`);
    return 2;
  }
  if (flags.format === 'exact') {
    const { url, match } = flags;
    return exportExact({ url, match, startMs, endMs }, flags.output, output, deps.disk);
  }
  const print = flags.format === 'jsonl' ? jsonLine : openMetricsLines;
  let samples = 0;
  let histograms = 0;
  try {
    for await (const found of new ExportReader(flags.url).read({ match: flags.match, startMs, endMs })) {
      samples += found.values.length;
      histograms += found.histograms;
      if (found.values.length > 0) await output.write(print(found));
    }
  } catch (caught) {
    output.complain(`tidemark export: ${toAppError(caught).message}; what was written is not whole\n`);
    return 1;
  }
  // The mark says that the text is whole: it is not written after an error.
  if (flags.format === 'openmetrics') await output.write('# EOF\n');
  output.complain(`${samples} samples\n`);
  if (histograms === 0) return 0;
  output.complain(`${histograms} native histograms left out: ${flags.format} has none\n`);
  return 1;
}

/** Writes everything there is; returns the exit code. */
async function exportExact(
  question: ExportQuestion,
  file: string,
  output: CommandOutput,
  disk: Disk,
): Promise<number> {
  const reader = new ExactReader(question.url);
  let target: ExportOutput | undefined;
  try {
    if (file !== '') target = await ExportOutput.open(file, question, disk);
    const from = target?.nextMs ?? question.startMs;
    if (from > question.startMs) output.complain(`goes on at ${new Date(from).toISOString()}\n`);
    for await (const { nextMs, lines } of reader.read(question.match, from, question.endMs)) {
      for (const line of lines) await (target ?? output).write(line);
      await target?.settle(nextMs);
    }
  } catch (caught) {
    const rest = target === undefined ? 'what was written is not whole' : 'start it again to go on';
    output.complain(`tidemark export: ${toAppError(caught).message}; ${rest}\n`);
    return 1;
  } finally {
    await target?.close();
  }
  const { samples, histograms, exemplars } = reader.counts;
  output.complain(`${samples} samples, ${histograms} native histograms, ${exemplars} exemplars\n`);
  return 0;
}

function readTime(name: string, text: string): number {
  try {
    return parseTime(text);
  } catch (caught) {
    throw new AppError('bad_data', `--${name}=${text}: ${toAppError(caught).message}`, { cause: caught });
  }
}

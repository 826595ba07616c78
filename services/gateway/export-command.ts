// `tidemark export`: samples of a running Tidemark as text that other programs read.
import type { Clock } from '../lib/core/clock.ts';
import { AppError, toAppError } from '../lib/core/errors.ts';
import { describeFlags, type FlagTable, parseFlags } from '../lib/runtime/flags.ts';
import { ExportReader } from './export-reader.ts';
import { jsonLine, openMetricsLines } from './export-text.ts';
import type { CommandOutput } from './import-command.ts';
import { parseTime } from './parameters.ts';

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
    choices: ['openmetrics', 'jsonl'],
    desc: 'Text with timestamps, or a line of JSON for each series and slice of time.',
  },
} as const satisfies FlagTable;

const USAGE = `tidemark export: samples of a running Tidemark as text that other programs read.

usage: tidemark export --match=SELECTOR [--start=TIME] [--end=TIME] [--format=openmetrics|jsonl] [--url=http://gateway:9090]

openmetrics is what "tidemark import openmetrics" and "promtool tsdb create-blocks-from openmetrics" take back. jsonl is the form
of VictoriaMetrics' /api/v1/export: {"metric":{…},"values":[…],"timestamps":[milliseconds…]}; a series may have several
lines; NaN is null, infinities are "Infinity" and "-Infinity". Values keep every digit.

Left out: native histograms, which neither form has (they are counted), staleness markers, exemplars, metadata.

Exit code 0 when all was written, 1 when not or when histograms were left out, 2 when the command line cannot be understood.

examples:
  tidemark export --match='{job="node"}' --start=2026-11-01T00:00:00Z --end=2026-11-02T00:00:00Z > node.om
  tidemark export --match='up' --format=jsonl | jq .metric.instance`;

const DAY_MS = 86_400_000;

/** Runs the command; returns the exit code. */
export async function runExportCommand(
  argv: readonly string[],
  output: CommandOutput,
  deps: { readonly clock: Clock; readonly environment: NodeJS.ProcessEnv },
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
    if (startMs > endMs) throw new AppError('bad_data', `--start=${flags.start} is after the end`);
  } catch (caught) {
    output.complain(`tidemark export: ${toAppError(caught).message} (see tidemark export --help)\n`);
    return 2;
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

function readTime(name: string, text: string): number {
  try {
    return parseTime(text);
  } catch (caught) {
    throw new AppError('bad_data', `--${name}=${text}: ${toAppError(caught).message}`, { cause: caught });
  }
}

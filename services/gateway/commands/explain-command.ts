// `tidemark explain target`: asks a gateway why something is scraped or is not, and prints the answer for people or as JSON.
import { AppError } from '../../lib/core/errors.ts';
import { describeFlags, type FlagTable, parseFlags } from '../../lib/runtime/flags.ts';
import type { Explanation } from '../api/explain-target.ts';
import { fetchData } from './doctor-command.ts';

const FLAGS = {
  url: { type: 'string', default: 'http://127.0.0.1:9090', desc: 'A gateway, or all-in-one.' },
  output: { type: 'string', default: 'text', desc: 'text or json.' },
  timeout: { type: 'duration', default: 30_000, desc: 'How long to wait for its answer.' },
} as const satisfies FlagTable;

const USAGE = `Says why something is scraped, or why it is not.

usage: tidemark explain target WHAT [--url=http://gateway:9090] [--output=json]

WHAT: service/NAMESPACE/NAME, pod/NAMESPACE/NAME, node/NAME, ingress/NAMESPACE/NAME, servicemonitor/NAMESPACE/NAME (podmonitor, probe,
scrapeconfig), static/HOST:PORT, file/PATH, http/URL, dns/NAME, consul/SERVICE, docker/CONTAINER, ec2/INSTANCE (names, ids and addresses as
their labels have them), job/NAME; or NAMESPACE/NAME, NAME or HOST:PORT of whatever it is. For each job that found it: where, the step of
relabel_configs that dropped it (a monitor's selector is one of them), which scraper has it, and how its last scrape went. Where no job found
it: what does not work in service discovery, missing permissions among it. Exit code 0 when it is scraped and up, 1 when it is
not, 2 for a wrong command line.`;

const EXIT_NOT_SCRAPED = 1;
const EXIT_USAGE = 2;

/** @returns the exit code. */
export async function runExplainCommand(
  args: readonly string[],
  output: { readonly write: (text: string) => Promise<void> },
  deps: { readonly environment: Readonly<Record<string, string | undefined>> },
): Promise<number> {
  const words = args.filter((arg) => !arg.startsWith('-'));
  const { values, help } = parseFlags(
    FLAGS,
    args.filter((arg) => arg.startsWith('-')),
    deps.environment,
  );
  const [what, target, ...more] = words;
  const isWrong = what !== 'target' || target === undefined || more.length > 0;
  if (help || isWrong || !['text', 'json'].includes(values.output)) {
    await output.write(describeFlags(USAGE, FLAGS));
    return help ? 0 : EXIT_USAGE;
  }
  const base = values.url.replace(/\/+$/, '');
  if (!URL.canParse(base))
    throw new AppError('bad_data', `flag --url: ${JSON.stringify(values.url)} is not a URL`);
  const query = new URLSearchParams({ target });
  const answer = await fetchData<Explanation>(
    `${base}/api/v1/targets/explain?${query.toString()}`,
    values.timeout,
  );
  await output.write(
    values.output === 'json' ? `${JSON.stringify(answer, null, 2)}\n` : printExplanation(answer),
  );
  return answer.isScraped ? 0 : EXIT_NOT_SCRAPED;
}

const STAGE_NAMES = { discovery: 'found', relabel: 'relabelling', scraper: 'scraper', scrape: 'scrape' };

/** A paragraph per target that a job found. */
export function printExplanation(answer: Explanation): string {
  const lines = [`${answer.subject}: ${answer.summary}`];
  for (const { job, address, stages } of answer.candidates) {
    lines.push('', `job ${job}, ${address}`);
    for (const { stage, isPassed, detail } of stages)
      lines.push(`  ${isPassed ? 'ok' : 'NO'}  ${STAGE_NAMES[stage].padEnd(12)} ${detail}`);
  }
  if (answer.problems.length > 0) lines.push('', 'what does not work in service discovery:');
  for (const problem of answer.problems) lines.push(`  ${problem}`);
  if (answer.hints.length > 0) lines.push('', 'to look at:');
  for (const hint of answer.hints) lines.push(`  ${hint}`);
  return `${lines.join('\n')}\n`;
}

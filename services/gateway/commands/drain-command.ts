// `tidemark drain`: an ingester hands its partitions over, a store its blocks, before it is removed for good. Waits until nobody needs it any more.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { describeFlags, type FlagTable, parseFlags } from '../../lib/runtime/flags.ts';

const FLAGS = {
  url: { type: 'string', default: 'http://127.0.0.1:9090', desc: 'A gateway with --web.enable-admin-api.' },
  ingester: { type: 'string', default: '', desc: 'Name of the ingester, as tidemark status prints it.' },
  store: { type: 'string', default: '', desc: 'Name of the store, in place of an ingester.' },
  cancel: { type: 'boolean', default: false, desc: 'Let it stay after all.' },
  timeout: { type: 'duration', default: 600_000, desc: 'How long to wait until all is handed over.' },
} as const satisfies FlagTable;

const USAGE = `Hands the partitions of an ingester, or the blocks of a store, over to others, before it is removed for good.

usage: tidemark drain --ingester=NAME [--url=http://gateway:9090]
       tidemark drain --store=NAME [--url=http://gateway:9090]

A restart needs nothing of the kind: an ingester that comes back keeps its partitions. Prints what is still to be done, a line whenever
that changes. Exit code 0 when it may be stopped for good, 1 when that took longer than the timeout (it goes on all the same;
run the command again to go on waiting), 2 for a wrong command line.`;

const POLL_MS = 1_000;
const REQUEST_TIMEOUT_MS = 15_000;

interface DrainAnswer {
  readonly leaving: boolean;
  readonly released: boolean;
  readonly state: string;
}

export interface DrainOutput {
  readonly write: (text: string) => Promise<void>;
  readonly complain: (text: string) => void;
}

/** @returns the exit code. */
export async function runDrainCommand(
  args: readonly string[],
  output: DrainOutput,
  deps: { readonly clock: Clock; readonly environment: Readonly<Record<string, string | undefined>> },
): Promise<number> {
  const { values, help } = parseFlags(FLAGS, [...args], deps.environment);
  const { ingester, store } = values;
  if (help || (ingester === '') === (store === '')) {
    await output.write(describeFlags(USAGE, FLAGS));
    return help ? 0 : 2;
  }
  const { clock } = deps;
  const untilMs = clock.monotonicMs() + values.timeout;
  const name = ingester === '' ? store : ingester;
  const subject: Subject = ingester === '' ? { store } : { ingester };
  let printed = '';
  for (;;) {
    const answer = await ask(values.url, subject, values.cancel);
    if (answer.state !== printed) await output.write(`${name}: ${answer.state}\n`);
    printed = answer.state;
    if (answer.released || (values.cancel && !answer.leaving)) return 0;
    if (clock.monotonicMs() >= untilMs) {
      output.complain(`tidemark: ${name} is not released yet; it goes on handing over\n`);
      return 1;
    }
    await clock.sleep(POLL_MS);
  }
}

type Subject = { readonly ingester: string } | { readonly store: string };

async function ask(url: string, subject: Subject, cancel: boolean): Promise<DrainAnswer> {
  const parameters = new URLSearchParams({ ...subject, ...(cancel ? { cancel: 'true' } : {}) });
  const endpoint = `${url.replace(/\/+$/, '')}/api/v1/admin/cluster/drain?${parameters.toString()}`;
  try {
    const response = await fetch(endpoint, {
      method: 'POST',
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const text = await response.text();
    if (!response.ok) throw new AppError('unavailable', `${response.status} ${text.slice(0, 300)}`);
    return (JSON.parse(text) as { data: DrainAnswer }).data;
  } catch (caught) {
    throw new AppError('unavailable', `${endpoint}: ${toAppError(caught).message}`, { cause: caught });
  }
}

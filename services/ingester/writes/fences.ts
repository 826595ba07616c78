// The newest holder of each lease that samples are written under. A process that was stopped for minutes goes on where it was and knows
// nothing of the one that took its place: what it writes is refused here. Durable, since a restart must not forget who came last
// (file: lib/tsdb/docs/format/fences.md); what the control plane says of the lease counts, too.
import path from 'node:path';
import { decodeUtf8, encodeUtf8 } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { type Disk, replaceFile, tryReadFile } from '../../lib/core/disk.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { fieldOf, parseCheckedJson, renderCheckedJson } from '../../lib/tsdb/block/checked-json.ts';
import type { FenceRequest, FenceResponse } from '../../lib/wire/contracts.ts';

const FILE = 'fences.json';
const VERSION = 1;
const FILE_BYTES_MAX = 1 << 20;
/** Names that are remembered: leases are a few dozen per cluster. */
export const FENCES_MAX = 4096;
const NAME = /^[a-z][a-z0-9.-]{0,63}$/;
const NOTHING = Promise.resolve();

/** A later holder is known: whoever asked has to stop. */
export class FencedError extends AppError {
  constructor(name: string, token: number, newest: number) {
    super(
      'failed_precondition',
      `lease ${name} was taken by another process: this one has token ${token}, the newest known is ${newest}`,
    );
  }
}

export interface FencesDeps {
  readonly folder: string;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly disk: Disk;
  readonly logger: Logger;
  /** Token of the lease's holder as the control plane says; undefined when it says nothing. */
  readonly heard: (name: string) => number | undefined;
  readonly onRefusal: () => void;
}

/** A holder that has ended what it did under a lease. */
export interface EndedHolder {
  readonly token: number;
  /** Milliseconds until nothing of it, nor of an earlier one, is on its way. */
  readonly quietAfterMs: number;
}

interface Entry {
  /** Only ever grows. */
  token: number;
  /** The last holder that gave the lease back: nothing of it comes after this time, monotonic ms. */
  ended: { readonly token: number; readonly quietAtMs: number } | undefined;
  isSaved: boolean;
  saving: Promise<void> | undefined;
}

export class Fences {
  readonly #deps: FencesDeps;
  readonly #entries = new Map<string, Entry>();
  #writing: Promise<void> = NOTHING;
  /** A write that has not begun yet: it will have all that there is then. */
  #next: Promise<void> | undefined;
  #isForgetful = false;

  constructor(deps: FencesDeps) {
    this.#deps = deps;
  }

  /** Reads what is on disk. A damaged file is left where it is, with a line in the log, until others have said what they know. */
  async load(): Promise<void> {
    const { folder, disk, logger } = this.#deps;
    if (!(await disk.list(folder)).includes(FILE)) return;
    const file = path.join(folder, FILE);
    try {
      const bytes = await tryReadFile(disk, file, FILE_BYTES_MAX);
      if (bytes === undefined)
        throw new AppError('bad_data', `${file} is larger than ${FILE_BYTES_MAX} bytes`);
      for (const [name, token] of parseFences(decodeUtf8(bytes, 0, bytes.length), file))
        this.#entries.set(name, { token, ended: undefined, isSaved: true, saving: undefined });
    } catch (caught) {
      this.#isForgetful = true;
      logger.error(
        { err: toAppError(caught), file },
        'the newest holders of leases cannot be read: nothing is taken under leases before other ingesters have said who they are',
      );
    }
  }

  /** What was on the disk is lost: a later holder may have been known here. Nobody may count on what is not known now. */
  get isForgetful(): boolean {
    return this.#isForgetful;
  }

  /** All that others know was learned, or there is nobody who could know: from now on this is as good as what was lost. */
  recall(): void {
    if (!this.#isForgetful) return;
    this.#isForgetful = false;
    const { logger } = this.#deps;
    logger.info({ leases: this.#entries.size }, 'the newest holders of leases are known again');
    this.#save().catch((caught: unknown) => {
      // The damaged file is there still: the next start asks again.
      logger.error({ err: toAppError(caught) }, `${FILE} could not be written`);
    });
  }

  /** The greatest token that is known; 0 when none is. */
  newestOf(name: string): number {
    return Math.max(this.#entries.get(name)?.token ?? 0, this.#deps.heard(name) ?? 0);
  }

  /** What is known here of each lease, to be told to other ingesters. */
  all(): { readonly name: string; readonly token: number }[] {
    return Array.from(this.#entries.keys(), (name) => ({ name, token: this.newestOf(name) }));
  }

  /** A holder gives its lease back: `quietAfterMs` from now nothing of it, nor of an earlier one, is on its way any more. */
  end(name: string, token: number, quietAfterMs: number): void {
    const entry = this.#entries.get(name);
    if (entry === undefined || token < (entry.ended?.token ?? 0) || token > this.newestOf(name)) return;
    entry.ended = { token, quietAtMs: this.#deps.clock.monotonicMs() + quietAfterMs };
  }

  /** The last holder that gave the lease back, as far as is known here. */
  endedOf(name: string): EndedHolder | undefined {
    const ended = this.#entries.get(name)?.ended;
    if (ended === undefined) return undefined;
    const restMs = Math.ceil(ended.quietAtMs - this.#deps.clock.monotonicMs());
    return { token: ended.token, quietAfterMs: Math.max(0, restMs) };
  }

  /** The greatest token that is known apart from this one, which its holder's lease may have told already; 0 when none is. */
  earlierThan(name: string, token: number): number {
    const own = this.#entries.get(name)?.token ?? 0;
    return this.#deps.heard(name) === token ? own : this.newestOf(name);
  }

  /** Somebody has seen this token. In memory until the next one is written: whoever told it remembers it. */
  learn(name: string, token: number): void {
    if (!NAME.test(name) || !Number.isSafeInteger(token) || token <= this.newestOf(name)) return;
    if (!this.#entries.has(name) && this.#entries.size >= FENCES_MAX) return;
    Object.assign(this.#entryOf(name), { token, isSaved: false, saving: undefined });
  }

  /**
   * Takes a holder's token: from now on older ones are refused.
   *
   * @returns resolves when that would survive a restart; rejects with `unavailable` when the disk does not take it.
   * @throws FencedError when a newer one is known; AppError `bad_data` for a name or a token that cannot be, `unavailable` for too many names.
   */
  take(name: string, token: number): Promise<void> {
    if (!NAME.test(name) || !Number.isSafeInteger(token) || token < 1)
      throw new AppError('bad_data', `${JSON.stringify(name)} with token ${token} is no lease`);
    const newest = this.newestOf(name);
    if (token < newest) {
      this.#deps.onRefusal();
      throw new FencedError(name, token, newest);
    }
    const entry = this.#entryOf(name);
    if (token > entry.token) Object.assign(entry, { token, isSaved: false, saving: undefined });
    if (entry.isSaved) return NOTHING;
    entry.saving ??= this.#save().then(
      () => {
        if (entry.token === token) entry.isSaved = true;
      },
      (caught: unknown) => {
        if (entry.token === token) entry.saving = undefined;
        throw new AppError('unavailable', `${FILE} could not be written: ${toAppError(caught).message}`, {
          cause: caught,
        });
      },
    );
    return entry.saving;
  }

  #entryOf(name: string): Entry {
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      if (this.#entries.size >= FENCES_MAX)
        throw new AppError(
          'unavailable',
          `${FENCES_MAX} leases are remembered here, the limit; ${name} is new`,
        );
      entry = { token: 0, ended: undefined, isSaved: false, saving: undefined };
      this.#entries.set(name, entry);
    }
    return entry;
  }

  #save(): Promise<void> {
    // A whole file in the place of the damaged one would say that nothing is missing.
    if (this.#isForgetful)
      return Promise.reject(
        new AppError('unavailable', 'it was damaged, and too few other ingesters have said what they know'),
      );
    if (this.#next !== undefined) return this.#next;
    const begin = async (): Promise<void> => {
      this.#next = undefined;
      const { folder, disk } = this.#deps;
      const tokens = [...this.#entries].map(([name, { token }]) => [name, token] as const);
      await replaceFile(disk, folder, FILE, encodeUtf8(renderFences(tokens)));
    };
    this.#next = this.#writing.then(begin, begin);
    this.#writing = this.#next;
    return this.#next;
  }
}

/** What the ingester says to a holder that has taken a lease, asks whether it still has it, or gives it back. */
export async function answerFence(
  { name, token, quietAfterMs }: FenceRequest,
  fences: Fences,
  replica: { hearOfFences(): Promise<void> } | undefined,
): Promise<FenceResponse> {
  if (fences.isForgetful) await replica?.hearOfFences();
  const earlier = fences.earlierThan(name, token);
  const ended = fences.endedOf(name);
  if (quietAfterMs !== undefined) fences.end(name, token, quietAfterMs);
  else {
    if (token >= fences.newestOf(name)) await fences.take(name, token);
    // The first samples follow at once.
    await replica?.hearOfFences();
  }
  const newest = fences.newestOf(name);
  return { newest, earlier, ended: ended?.token, endedQuietAfterMs: ended?.quietAfterMs };
}

interface FencesTable {
  readonly version: number;
  readonly tokens: Readonly<Record<string, number>>;
}

/** The file of these names with their tokens, in any order. */
export function renderFences(tokens: readonly (readonly [string, number])[]): string {
  const sorted = [...tokens].sort(([a], [b]) => (a < b ? -1 : 1));
  return renderCheckedJson(
    'fences',
    JSON.stringify({ version: VERSION, tokens: Object.fromEntries(sorted) }),
  );
}

/** @throws AppError `bad_data` when anything differs from what `renderFences` makes. */
export function parseFences(text: string, where: string): [string, number][] {
  const table = parseCheckedJson<FencesTable>(text, where, {
    key: 'fences',
    noun: 'fences',
    version: VERSION,
    isWellFormed: isTable,
    render: ({ tokens }) => renderFences(Object.entries(tokens)),
  });
  return Object.entries(table.tokens);
}

function isTable(table: FencesTable): boolean {
  const tokens: unknown = fieldOf(table, 'tokens');
  if (typeof tokens !== 'object' || tokens === null || Array.isArray(tokens)) return false;
  const entries: [string, unknown][] = Object.entries(tokens);
  return (
    entries.length <= FENCES_MAX &&
    entries.every(([name, token]) => NAME.test(name) && Number.isSafeInteger(token) && (token as number) > 0)
  );
}

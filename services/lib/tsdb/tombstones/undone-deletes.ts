// Deletes that were taken back, by id. Taking back is the last word on a delete: a request to delete that was stuck on its way (a gateway that
// was stopped, a call that was cut off), and a copy of the delete at a node that has not heard yet, must not hide samples again. Durable
// (../docs/format/tombstones.md); forgotten when no copy of the delete can be under way any more.
import path from 'node:path';
import { decodeUtf8, encodeUtf8 } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { type Disk, replaceFile, tryReadFile } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import { isBlockId, isTenantName } from '../block/block-name.ts';
import { fieldOf, parseCheckedJson, renderCheckedJson } from '../block/checked-json.ts';

export const UNDONE_FILE = 'undone-deletes.json';
const VERSION = 1;
const FILE_BYTES_MAX = 4 << 20;
/** The oldest go when there are more. */
export const UNDONE_MAX = 10_000;
/** Far longer than any call, or any node that is away and comes back with what it had. */
const KEPT_MS = 30 * 86_400_000;

export interface UndoneDelete {
  readonly tenant: string;
  readonly id: string;
  /** Unix ms, by the clock of this node. */
  readonly undoneAtMs: number;
}

export class UndoneDeletes {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #clock: Clock;
  /** Oldest first, by `TENANT/ID`. */
  readonly #undone = new Map<string, UndoneDelete>();
  #writing: Promise<void> = Promise.resolve();
  /** A write that has not begun yet: it will have all that there is then. */
  #next: Promise<void> | undefined;

  constructor(folder: string, deps: { readonly disk: Disk; readonly clock: Clock }) {
    this.#folder = folder;
    this.#disk = deps.disk;
    this.#clock = deps.clock;
  }

  /** @throws AppError `internal` when the file is damaged: deletes that were taken back would hide samples again without it. */
  async load(): Promise<void> {
    if (!(await this.#disk.list(this.#folder)).includes(UNDONE_FILE)) return;
    const file = path.join(this.#folder, UNDONE_FILE);
    try {
      const bytes = await tryReadFile(this.#disk, file, FILE_BYTES_MAX);
      if (bytes === undefined) throw new AppError('bad_data', `larger than ${FILE_BYTES_MAX} bytes`);
      for (const each of parseUndone(decodeUtf8(bytes, 0, bytes.length), file))
        this.#undone.set(keyOf(each), each);
    } catch (cause) {
      throw new AppError(
        'internal',
        `${file} is damaged, and deletes that were taken back could come again without it: bring it back from a copy, or remove it`,
        { cause },
      );
    }
  }

  has(tenant: string, id: string): boolean {
    return this.#undone.has(keyOf({ tenant, id }));
  }

  /** Oldest first. */
  get all(): readonly UndoneDelete[] {
    return [...this.#undone.values()];
  }

  /** Notes that a delete was taken back. It counts at once; resolves when it would survive a restart. */
  add(tenant: string, id: string): Promise<void> {
    const nowMs = this.#clock.nowMs();
    for (const [key, { undoneAtMs }] of this.#undone) {
      if (this.#undone.size < UNDONE_MAX && nowMs - undoneAtMs < KEPT_MS) break;
      this.#undone.delete(key);
    }
    this.#undone.set(keyOf({ tenant, id }), { tenant, id, undoneAtMs: Math.max(0, Math.trunc(nowMs)) });
    if (this.#next !== undefined) return this.#next;
    const write = async (): Promise<void> => {
      this.#next = undefined;
      const bytes = encodeUtf8(renderUndone([...this.#undone.values()]));
      await replaceFile(this.#disk, this.#folder, UNDONE_FILE, bytes);
    };
    this.#next = this.#writing.then(write, write);
    this.#writing = this.#next;
    return this.#next;
  }

  /** @throws AppError `failed_precondition` for a delete that was taken back. */
  mustNotBe(tenant: string, id: string): void {
    if (!this.has(tenant, id)) return;
    throw new AppError(
      'failed_precondition',
      `delete ${id} was taken back: a request that was on its way meanwhile hides nothing; delete again for a new one`,
    );
  }
}

const keyOf = ({ tenant, id }: Pick<UndoneDelete, 'tenant' | 'id'>): string => `${tenant}/${id}`;

interface UndoneTable {
  readonly version: number;
  readonly undone: readonly UndoneDelete[];
}

export function renderUndone(undone: readonly UndoneDelete[]): string {
  const list = undone.map(({ tenant, id, undoneAtMs }) => ({ tenant, id, undoneAtMs }));
  return renderCheckedJson('undone', JSON.stringify({ version: VERSION, undone: list }));
}

/** @throws AppError `bad_data` when anything differs from what `renderUndone` makes. */
export function parseUndone(text: string, where: string): readonly UndoneDelete[] {
  return parseCheckedJson<UndoneTable>(text, where, {
    key: 'undone',
    noun: 'undone deletes',
    version: VERSION,
    isWellFormed: ({ undone }) =>
      Array.isArray(undone) && undone.length <= UNDONE_MAX && undone.every(isUndone),
    render: ({ undone }) => renderUndone(undone),
  }).undone;
}

function isUndone(value: unknown): boolean {
  const [tenant, id, time] = ['tenant', 'id', 'undoneAtMs'].map((name) => fieldOf(value, name));
  const isNamed =
    typeof tenant === 'string' && isTenantName(tenant) && typeof id === 'string' && isBlockId(id);
  return isNamed && Number.isSafeInteger(time) && (time as number) >= 0;
}

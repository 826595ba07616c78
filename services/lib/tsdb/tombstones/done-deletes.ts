// Deletes that a node has done, or knows to be done by others, of the last 30 days: who was given up meanwhile and comes back with
// its old disk learns from a store's list what it missed, and finds in its own what it has heard before. On disk as
// ../docs/format/tombstones.md says.
import path from 'node:path';
import { decodeUtf8, encodeUtf8 } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { type Disk, replaceFile, tryReadFile } from '../../core/disk.ts';
import { AppError } from '../../core/errors.ts';
import type { Matcher } from '../../model/matcher.ts';
import { isBlockId, isTenantName } from '../block/block-name.ts';
import { fieldOf, parseCheckedJson, renderCheckedJson } from '../block/checked-json.ts';
import type { Deletion } from './deletion.ts';

export const DONE_FILE = 'done-deletes.json';
const VERSION = 2;
/** Had neither `heardEpoch` nor epochs. */
const FIRST_VERSION = 1;
const FILE_BYTES_MAX = 16 << 20;
/** The oldest go when there are more: each delete writes the file anew. */
export const DONE_MAX = 2_000;
/** As long as a delete that was taken back is remembered: a disk that was away for longer is started empty. */
const KEPT_MS = 30 * 86_400_000;

export interface DoneDelete extends Deletion {
  readonly tenant: string;
  readonly id: string;
  /** Unix ms, by the clock of who asked: the same on all nodes. */
  readonly createdAtMs: number;
  readonly actor: string;
  /** Nodes that were asked; those that were not have missed it, unless they came later. */
  readonly asked: readonly string[];
  /** Of the placement that names them; 0: none is known. */
  readonly epoch: number;
}

interface DoneTable {
  readonly version: number;
  readonly heardEpoch: number;
  /** Deletes of this time and before are not told any more, Unix ms. */
  readonly forgottenMs: number;
  readonly done: readonly DoneDelete[];
}

/** Changes are made one at a time by the owner. */
export class DoneDeletes {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #clock: Clock;
  #done = new Map<string, DoneDelete>();
  #forgottenMs = 0;
  #heardEpoch = 0;

  constructor(options: { readonly folder: string }, deps: { readonly disk: Disk; readonly clock: Clock }) {
    this.#folder = options.folder;
    this.#disk = deps.disk;
    this.#clock = deps.clock;
  }

  /** @throws AppError `internal` when the file is damaged: what was missed could not be told from what was done. */
  async load(): Promise<void> {
    if (!(await this.#disk.list(this.#folder)).includes(DONE_FILE)) return;
    const file = path.join(this.#folder, DONE_FILE);
    try {
      const bytes = await tryReadFile(this.#disk, file, FILE_BYTES_MAX);
      if (bytes === undefined) throw new AppError('bad_data', `larger than ${FILE_BYTES_MAX} bytes`);
      const { done, forgottenMs, heardEpoch } = parseDone(decodeUtf8(bytes, 0, bytes.length), file);
      this.#done = new Map(done.map((each) => [keyOf(each), each]));
      this.#forgottenMs = forgottenMs;
      this.#heardEpoch = heardEpoch;
    } catch (cause) {
      throw new AppError(
        'internal',
        `${file} is damaged, and deletes that this node missed would stay undone without it: bring it back from a copy, or remove it ` +
          'if this node was never given up',
        { cause },
      );
    }
  }

  /**
   * Of the newest placement that lists this node, by which it was told of all deletes: one of an earlier placement that it hears of later failed.
   * 0: it was never told; its disk is new, and holds nothing from before a delete.
   */
  get heardEpoch(): number {
    return this.#heardEpoch;
  }

  /** Oldest first. */
  get all(): readonly DoneDelete[] {
    return [...this.#done.values()];
  }

  /** Whether it was done here, or is too old to be told about. */
  has(one: Pick<DoneDelete, 'tenant' | 'id' | 'createdAtMs'>): boolean {
    return this.#done.has(keyOf(one)) || one.createdAtMs <= this.#forgottenMs;
  }

  /** Durable when it resolves. @param heardEpoch  Where they are all that there are; else 0. */
  async add(deletes: readonly DoneDelete[], heardEpoch = 0): Promise<void> {
    const fresh = deletes.filter((one) => !this.has(one));
    if (fresh.length === 0 && heardEpoch <= this.#heardEpoch) return;
    const newestEpoch = Math.max(heardEpoch, this.#heardEpoch);
    const all = [...this.#done.values(), ...fresh].sort(
      (a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1),
    );
    const oldestMs = this.#clock.nowMs() - KEPT_MS;
    const first = Math.max(
      all.length - DONE_MAX,
      all.filter(({ createdAtMs }) => createdAtMs < oldestMs).length,
      0,
    );
    const forgottenMs = first === 0 ? this.#forgottenMs : all[first - 1]!.createdAtMs;
    const done = all.filter(({ createdAtMs }) => createdAtMs > forgottenMs);
    const bytes = encodeUtf8(renderDone({ version: VERSION, heardEpoch: newestEpoch, forgottenMs, done }));
    if (bytes.length > FILE_BYTES_MAX)
      throw new AppError(
        'resource_exhausted',
        `the deletes of the last 30 days take ${bytes.length} bytes, the limit is ${FILE_BYTES_MAX}; delete with shorter selectors`,
      );
    await replaceFile(this.#disk, this.#folder, DONE_FILE, bytes);
    this.#done = new Map(done.map((each) => [keyOf(each), each]));
    this.#forgottenMs = forgottenMs;
    this.#heardEpoch = newestEpoch;
  }
}

const keyOf = ({ tenant, id }: Pick<DoneDelete, 'tenant' | 'id'>): string => `${tenant}/${id}`;

export function renderDone({ heardEpoch, forgottenMs, done }: DoneTable): string {
  const list = done.map(renderable);
  return renderCheckedJson('done', JSON.stringify({ version: VERSION, heardEpoch, forgottenMs, done: list }));
}

/** Its fields in the order in which they are written. */
function renderable({ tenant, id, createdAtMs, actor, matchers, ...rest }: DoneDelete): DoneDelete {
  const { minTimeMs, maxTimeMs, asked, epoch } = rest;
  return {
    ...{ tenant, id, createdAtMs, actor },
    matchers: matchers.map(({ name, operator, value }) => ({ name, operator, value })),
    ...{ minTimeMs, maxTimeMs, asked, epoch },
  };
}

/** @throws AppError `bad_data` when anything differs from what `renderDone` makes, or what it made in the version before. */
export function parseDone(text: string, where: string): DoneTable {
  const isFirst = text.includes(`"done":{"version":${FIRST_VERSION},`);
  if (isFirst) return parseFirst(text, where);
  return parseCheckedJson<DoneTable>(text, where, {
    key: 'done',
    noun: 'done deletes',
    version: VERSION,
    isWellFormed: ({ done, forgottenMs, heardEpoch }) =>
      [forgottenMs, heardEpoch].every(Number.isSafeInteger) && isList(done) && done.every(isDone),
    render: renderDone,
  });
}

/** As a node of the first version has it, which had heard of deletes: by a placement before all others. */
function parseFirst(text: string, where: string): DoneTable {
  const withEpochs = (done: DoneTable['done']) => done.map((one) => ({ ...one, epoch: 0 }));
  const { forgottenMs, done } = parseCheckedJson<DoneTable>(text, where, {
    key: 'done',
    noun: 'done deletes',
    version: FIRST_VERSION,
    isWellFormed: (first) =>
      Number.isSafeInteger(first.forgottenMs) && isList(first.done) && withEpochs(first.done).every(isDone),
    render: (first) => {
      const list = withEpochs(first.done).map((one) => ({ ...renderable(one), epoch: undefined }));
      return renderCheckedJson(
        'done',
        JSON.stringify({ version: FIRST_VERSION, forgottenMs: first.forgottenMs, done: list }),
      );
    },
  });
  return { version: VERSION, heardEpoch: 1, forgottenMs, done: withEpochs(done) };
}

const isList = (done: unknown): boolean => Array.isArray(done) && done.length <= DONE_MAX;

function isDone(value: unknown): boolean {
  const [tenant, id, actor] = ['tenant', 'id', 'actor'].map((name) => fieldOf(value, name));
  const [matchers, asked] = ['matchers', 'asked'].map((name) => fieldOf(value, name));
  const numbers = ['createdAtMs', 'minTimeMs', 'maxTimeMs', 'epoch'].map((name) => fieldOf(value, name));
  const isNamed =
    typeof tenant === 'string' && isTenantName(tenant) && typeof id === 'string' && isBlockId(id);
  const isAsked = Array.isArray(asked) && asked.every((instance) => typeof instance === 'string');
  const hasMatchers = Array.isArray(matchers) && matchers.every((one: unknown) => isMatcher(one));
  return (
    isNamed &&
    isAsked &&
    hasMatchers &&
    typeof actor === 'string' &&
    numbers.every((number) => Number.isSafeInteger(number))
  );
}

function isMatcher(value: unknown): value is Matcher {
  return ['name', 'operator', 'value'].every((name) => typeof fieldOf(value, name) === 'string');
}

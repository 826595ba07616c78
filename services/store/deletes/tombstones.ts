// The deletes that this store was asked for: which samples of which blocks they hide, on disk and in memory. A delete
// concerns the blocks that were here when it came; compaction takes it off a block once it has left its samples out.
import path from 'node:path';
import { decodeUtf8, encodeUtf8 } from '../../lib/core/bytes.ts';
import type { Clock } from '../../lib/core/clock.ts';
import { type Disk, errorCodeOf, replaceFile, tryReadFile } from '../../lib/core/disk.ts';
import { AppError } from '../../lib/core/errors.ts';
import { printMatcher } from '../../lib/model/matcher.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import { isTenantName } from '../../lib/tsdb/block/block-name.ts';
import { DeletionMask } from '../../lib/tsdb/tombstones/deletion.ts';
import {
  type ErasedBlock,
  parseTombstones,
  renderTombstones,
  TOMBSTONE_BYTES_MAX,
  TOMBSTONES_MAX,
  type Tombstone,
  type TombstoneTable,
} from '../../lib/tsdb/tombstones/tombstone-file.ts';

import { UndoneDeletes } from '../../lib/tsdb/tombstones/undone-deletes.ts';

const TABLE_FILE = 'tombstones.json';
const AUDIT_FILE = 'audit.jsonl';
/** The audit record begins a new file at this size; the one before is kept. */
const AUDIT_BYTES_MAX = 16 << 20;

/** What happened to a delete. */
export type AuditAction = 'delete' | 'undo' | 'applied' | 'clean';

/** A line of the audit record. */
interface AuditEntry {
  readonly action: AuditAction;
  readonly actor: string;
  readonly id?: string;
  readonly match?: string;
  readonly minTimeMs?: number;
  readonly maxTimeMs?: number;
  readonly blocks: readonly string[];
}

interface TenantState {
  table: TombstoneTable;
  /** By block id; made when a block is first read, dropped when the table changes. */
  readonly masks: Map<string, DeletionMask>;
}

/** What a finished compaction changes: see `Tombstones.settle`. */
export interface SettledCompaction {
  readonly tenant: string;
  /** Ids of blocks that go. */
  readonly sources: readonly string[];
  /** All that is gone for good where nothing was left: them, and the sealed blocks in them. */
  readonly erased: readonly ErasedBlock[];
  /** The block that takes their place; undefined when nothing was left. */
  readonly resultId: string | undefined;
  /** Deletes whose samples were left out. */
  readonly applied: ReadonlySet<string>;
}

/** Changes are made one at a time by the owner; each is durable before it is seen. */
export class Tombstones {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tenants = new Map<string, TenantState>();
  readonly #undone: UndoneDeletes;

  constructor(
    options: { readonly folder: string },
    deps: { readonly disk: Disk; readonly clock: Clock; readonly logger: Logger },
  ) {
    this.#folder = options.folder;
    this.#disk = deps.disk;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#undone = new UndoneDeletes(path.dirname(options.folder), deps);
  }

  /**
   * Reads what is on disk.
   *
   * @throws AppError `internal` when a table is damaged: starting without it would show deleted samples again.
   */
  async load(): Promise<void> {
    await this.#disk.makeFolder(this.#folder);
    await this.#undone.load();
    for (const tenant of await this.#disk.list(this.#folder)) {
      if (!isTenantName(tenant)) continue;
      const file = path.join(this.#folder, tenant, TABLE_FILE);
      const text = await this.#tryRead(file);
      if (text === undefined) continue;
      try {
        const table = parseTombstones(text, file);
        if (table.tenant !== tenant) throw new AppError('bad_data', `${file} is of tenant ${table.tenant}`);
        this.#tenants.set(tenant, { table, masks: new Map() });
      } catch (cause) {
        throw new AppError(
          'internal',
          `${file} is damaged, and samples that were deleted would be seen again without it: bring it back from a copy, ` +
            'or remove it and repeat the deletes of audit.jsonl beside it',
          { cause },
        );
      }
    }
  }

  /** Deletes that still hide something, all tenants. */
  get count(): number {
    let count = 0;
    for (const { table } of this.#tenants.values()) count += table.tombstones.length;
    return count;
  }

  /** Tenants that deleted something lately. */
  tenants(): string[] {
    return [...this.#tenants.keys()];
  }

  list(tenant: string): readonly Tombstone[] {
    return this.#tableOf(tenant).tombstones;
  }

  /** Deletes that concern a block. */
  of(tenant: string, blockId: string): readonly Tombstone[] {
    return this.list(tenant).filter(({ blocks }) => blocks.includes(blockId));
  }

  /** What to leave out of a block's answer; undefined when nothing of it was deleted. */
  maskOf(tenant: string, blockId: string): DeletionMask | undefined {
    const state = this.#tenants.get(tenant);
    if (state === undefined || state.table.tombstones.length === 0) return undefined;
    let mask = state.masks.get(blockId);
    if (mask === undefined) {
      mask = new DeletionMask(this.of(tenant, blockId));
      state.masks.set(blockId, mask);
    }
    return mask.isEmpty ? undefined : mask;
  }

  /** Blocks of all tenants that deletes left nothing of. */
  erased(): { readonly tenant: string; readonly blockId: string }[] {
    const tables = Array.from(this.#tenants.values(), ({ table }) => table);
    return tables.flatMap(({ tenant, erased }) => erased.map(({ blockId }) => ({ tenant, blockId })));
  }

  /** True for a block that deletes left nothing of. */
  isErased(tenant: string, blockId: string): boolean {
    return this.#tableOf(tenant).erased.some((block) => block.blockId === blockId);
  }

  /** Deletes that were taken back, all tenants. */
  undone(): readonly { readonly tenant: string; readonly id: string }[] {
    return this.#undone.all;
  }

  /** @throws AppError `failed_precondition` for a delete that was taken back: who asks for it is behind. */
  mustNotBeUndone(tenant: string, id: string): void {
    this.#undone.mustNotBe(tenant, id);
  }

  /**
   * Adds a delete; durable, and seen by all that begins afterwards, when this resolves. One that is there already takes
   * the further blocks; one that was taken back is left out, whoever still has it.
   *
   * @throws AppError `resource_exhausted` when there are too many.
   */
  async add(tenant: string, tombstone: Tombstone): Promise<void> {
    if (this.#undone.has(tenant, tombstone.id)) return;
    const table = this.#tableOf(tenant);
    const known = table.tombstones.find(({ id }) => id === tombstone.id);
    if (known === undefined && table.tombstones.length >= TOMBSTONES_MAX) {
      throw new AppError(
        'resource_exhausted',
        `${table.tombstones.length} deletes wait for compaction, the limit; call clean_tombstones first`,
      );
    }
    const blocks = [...new Set([...(known?.blocks ?? []), ...tombstone.blocks])].sort();
    if (blocks.length === known?.blocks.length) return;
    const rest = table.tombstones.filter(({ id }) => id !== tombstone.id);
    await this.#audit(tenant, describe('delete', tombstone, blocks));
    if (blocks.length > 0) {
      await this.#replace({ ...table, tenant, tombstones: [...rest, { ...tombstone, blocks }] });
    }
  }

  /** Takes a delete back, for good: it is not added again. Returns whether it still hid something here. */
  async undo(tenant: string, id: string, actor: string): Promise<boolean> {
    await this.#undone.add(tenant, id);
    const table = this.#tableOf(tenant);
    const found = table.tombstones.find((tombstone) => tombstone.id === id);
    if (found === undefined) return false;
    await this.#replace({ ...table, tombstones: table.tombstones.filter((one) => one !== found) });
    await this.#audit(tenant, { ...describe('undo', found, found.blocks), actor });
    return true;
  }

  /** Notes who asked for what beside the deletes. */
  async note(tenant: string, action: AuditAction, actor: string, blocks: readonly string[]): Promise<void> {
    await this.#audit(tenant, { action, actor, blocks });
  }

  /**
   * To be called before the new block of a compaction is moved to its place: it inherits what was not applied, and where
   * there is none the sources are noted as erased. The sources' own entries stay until `forget`.
   */
  async settle({ tenant, sources, erased, resultId, applied }: SettledCompaction): Promise<void> {
    const table = this.#tableOf(tenant);
    if (resultId === undefined) {
      const known = new Set(table.erased.map(({ blockId }) => blockId));
      const fresh = erased.filter(({ blockId }) => !known.has(blockId));
      await this.#replace({ ...table, tenant, erased: [...table.erased, ...fresh] });
      return;
    }
    const ids = new Set(sources);
    let changed = false;
    const tombstones = table.tombstones.map((tombstone) => {
      const isApplied = applied.has(tombstone.id);
      const holdsResult = tombstone.blocks.includes(resultId);
      // Where the result is one of the sources, what was applied no longer concerns it.
      if (isApplied ? !holdsResult : holdsResult || !tombstone.blocks.some((block) => ids.has(block)))
        return tombstone;
      changed = true;
      const others = tombstone.blocks.filter((block) => block !== resultId);
      return { ...tombstone, blocks: isApplied ? others : [...others, resultId].sort() };
    });
    if (changed) await this.#replace({ ...table, tombstones });
  }

  /**
   * Forgets blocks that are not there any more, and deletes that hide nothing else.
   *
   * @param exists    Of a block: here, or in quarantine.
   * @param beforeMs  Erased blocks whose newest sample is older need not be remembered: nobody sends them again.
   */
  async forget(tenant: string, exists: (blockId: string) => boolean, beforeMs: number): Promise<void> {
    const table = this.#tableOf(tenant);
    const done: Tombstone[] = [];
    const tombstones: Tombstone[] = [];
    let changed = false;
    for (const tombstone of table.tombstones) {
      const blocks = tombstone.blocks.filter(exists);
      changed ||= blocks.length < tombstone.blocks.length;
      if (blocks.length === 0) done.push(tombstone);
      else tombstones.push(blocks.length < tombstone.blocks.length ? { ...tombstone, blocks } : tombstone);
    }
    const erased = table.erased.filter(({ maxTimeMs }) => maxTimeMs >= beforeMs);
    if (!changed && erased.length === table.erased.length) return;
    await this.#replace({ ...table, tombstones, erased });
    for (const tombstone of done) await this.#audit(tenant, describe('applied', tombstone, tombstone.blocks));
  }

  #tableOf(tenant: string): TombstoneTable {
    return this.#tenants.get(tenant)?.table ?? { tenant, tombstones: [], erased: [] };
  }

  async #replace(table: TombstoneTable): Promise<void> {
    const { tenant } = table;
    const bytes = encodeUtf8(renderTombstones(table));
    if (bytes.length > TOMBSTONE_BYTES_MAX) {
      throw new AppError(
        'resource_exhausted',
        `the deletes of tenant ${tenant} take ${bytes.length} bytes, the limit is ${TOMBSTONE_BYTES_MAX}; call clean_tombstones first`,
      );
    }
    await replaceFile(this.#disk, await this.#folderOf(tenant), TABLE_FILE, bytes);
    this.#tenants.set(tenant, { table, masks: new Map() });
  }

  async #folderOf(tenant: string): Promise<string> {
    const folder = path.join(this.#folder, tenant);
    await this.#disk.makeFolder(folder);
    await this.#disk.syncFolder(this.#folder);
    return folder;
  }

  /** A line in the log and one in the file, synced. */
  async #audit(tenant: string, entry: AuditEntry): Promise<void> {
    this.#logger.info({ tenant, ...entry, blocks: entry.blocks.length }, 'deletes changed');
    const line = encodeUtf8(`${JSON.stringify({ timeMs: this.#clock.nowMs(), tenant, ...entry })}\n`);
    const file = path.join(await this.#folderOf(tenant), AUDIT_FILE);
    let size = await this.#sizeOf(file);
    if (size !== undefined && size + line.length > AUDIT_BYTES_MAX) {
      await this.#disk.rename(file, `${file}.1`);
      size = undefined;
    }
    const handle = await this.#disk.open(file, size === undefined ? 'create' : 'write');
    try {
      await handle.write(line, 0, line.length, size ?? 0);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (size === undefined) await this.#disk.syncFolder(path.dirname(file));
  }

  /** Undefined when the file is not there. */
  async #sizeOf(file: string): Promise<number | undefined> {
    try {
      const handle = await this.#disk.open(file, 'read');
      try {
        return await handle.size();
      } finally {
        await handle.close();
      }
    } catch (caught) {
      if (errorCodeOf(caught) === 'ENOENT') return undefined;
      throw caught;
    }
  }

  async #tryRead(file: string): Promise<string | undefined> {
    if ((await this.#sizeOf(file)) === undefined) return undefined;
    const bytes = await tryReadFile(this.#disk, file, TOMBSTONE_BYTES_MAX);
    if (bytes === undefined)
      throw new AppError('internal', `${file} is larger than ${TOMBSTONE_BYTES_MAX} bytes`);
    return decodeUtf8(bytes, 0, bytes.length);
  }
}

function describe(action: AuditAction, tombstone: Tombstone, blocks: readonly string[]): AuditEntry {
  const { id, actor, matchers, minTimeMs, maxTimeMs } = tombstone;
  const match = `{${matchers.map(printMatcher).join(',')}}`;
  return { action, actor, id, match, minTimeMs, maxTimeMs, blocks };
}

// The deletes of one tenant as they stand on disk (../docs/format/tombstones.md). The text is canonical, as that of
// meta.json: whatever differs from what a writer makes is corrupt, so that no damaged delete shows samples again unseen.
import type { Matcher } from '../../model/matcher.ts';
import { isBlockId, isTenantName } from '../block/block-name.ts';
import { fieldOf, parseCheckedJson, renderCheckedJson } from '../block/checked-json.ts';
import type { Deletion } from './deletion.ts';

const TOMBSTONES_VERSION = 1;
/** Largest file that is read or written. */
export const TOMBSTONE_BYTES_MAX = 64 << 20;
/** Pending deletes of a tenant, at most. */
export const TOMBSTONES_MAX = 10_000;
const OPERATORS: ReadonlySet<unknown> = new Set(['=', '!=', '=~', '!~']);

/** A delete and the blocks that it still hides samples of. */
export interface Tombstone extends Deletion {
  /** 32 lower-case hexadecimal digits; the same on all nodes. */
  readonly id: string;
  /** When it was asked for, Unix ms. */
  readonly createdAtMs: number;
  /** Who asked, for people. */
  readonly actor: string;
  /** Ascending. Blocks that come later are not concerned: what is written after a delete is visible. */
  readonly blocks: readonly string[];
}

/** A block of which deletes left nothing: its folder may go, and it must not come back. */
export interface ErasedBlock {
  readonly blockId: string;
  readonly maxTimeMs: number;
}

export interface TombstoneTable {
  readonly tenant: string;
  readonly tombstones: readonly Tombstone[];
  readonly erased: readonly ErasedBlock[];
}

export function renderTombstones(table: TombstoneTable): string {
  const body = JSON.stringify({
    version: TOMBSTONES_VERSION,
    tenant: table.tenant,
    tombstones: table.tombstones.map(
      ({ id, createdAtMs, actor, matchers, minTimeMs, maxTimeMs, blocks }) => ({
        id,
        createdAtMs,
        actor,
        matchers: matchers.map(({ name, operator, value }) => ({ name, operator, value })),
        minTimeMs,
        maxTimeMs,
        blocks,
      }),
    ),
    erased: table.erased.map(({ blockId, maxTimeMs }) => ({ blockId, maxTimeMs })),
  });
  return renderCheckedJson('deletes', body);
}

/**
 * @param where  For messages: the file's path.
 * @throws AppError `bad_data` when anything differs from what a writer makes, or the version is unknown.
 */
export function parseTombstones(text: string, where: string): TombstoneTable {
  return parseCheckedJson(text, where, {
    key: 'deletes',
    noun: 'tombstone',
    version: TOMBSTONES_VERSION,
    isWellFormed: isTable,
    render: renderTombstones,
  });
}

function isTable(table: TombstoneTable): boolean {
  return (
    typeof table.tenant === 'string' &&
    isTenantName(table.tenant) &&
    Array.isArray(table.tombstones) &&
    table.tombstones.length <= TOMBSTONES_MAX &&
    table.tombstones.every(isTombstone) &&
    Array.isArray(table.erased) &&
    table.erased.every(isErased)
  );
}

const isId = (value: unknown): boolean => typeof value === 'string' && isBlockId(value);
const isTime = (value: unknown): boolean => Number.isSafeInteger(value);

function isTombstone(value: unknown): boolean {
  const matchers = fieldOf(value, 'matchers');
  const blocks = fieldOf(value, 'blocks');
  return (
    isId(fieldOf(value, 'id')) &&
    isTime(fieldOf(value, 'createdAtMs')) &&
    typeof fieldOf(value, 'actor') === 'string' &&
    isTime(fieldOf(value, 'minTimeMs')) &&
    isTime(fieldOf(value, 'maxTimeMs')) &&
    Array.isArray(matchers) &&
    matchers.length > 0 &&
    matchers.every(isMatcher) &&
    Array.isArray(blocks) &&
    blocks.every(isId)
  );
}

function isMatcher(value: unknown): value is Matcher {
  const name = fieldOf(value, 'name');
  return (
    typeof name === 'string' &&
    name !== '' &&
    OPERATORS.has(fieldOf(value, 'operator')) &&
    typeof fieldOf(value, 'value') === 'string'
  );
}

function isErased(value: unknown): boolean {
  return isId(fieldOf(value, 'blockId')) && isTime(fieldOf(value, 'maxTimeMs'));
}

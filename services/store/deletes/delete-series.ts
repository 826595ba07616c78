// Answers the calls about deletes: hides samples of the blocks held now, shows them again, lists, takes them off the disk.
import { AppError, throwIfAborted } from '../../lib/core/errors.ts';
import type { MakeHow } from '../../lib/transport/members/missed-deletes.ts';
import { isBlockId } from '../../lib/tsdb/block/block-name.ts';
import type { Deletion } from '../../lib/tsdb/tombstones/deletion.ts';
import type { DoneDelete, DoneDeletes } from '../../lib/tsdb/tombstones/done-deletes.ts';
import type { Tombstone } from '../../lib/tsdb/tombstones/tombstone-file.ts';
import type {
  DeleteSeriesRequest,
  ListDeletesResponse,
  PendingDelete,
  UndoDeleteRequest,
  DoneDelete as WireDoneDelete,
} from '../../lib/wire/contracts.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import { deleteOfRequest, newsOf } from '../../lib/wire/told-deletes.ts';
import type { BlockCatalog, BlockLease } from '../blocks/block-catalog.ts';
import type { BlockFolders } from '../blocks/block-folders.ts';
import { leaseOverlapping } from '../blocks/select-blocks.ts';
import type { Compactor } from '../compaction/compactor.ts';
import type { BlocksInTransit } from '../replication/blocks-in-transit.ts';
import type { LaterDeletes } from './later-deletes.ts';
import type { Tombstones } from './tombstones.ts';

export interface DeleteDeps {
  readonly catalog: BlockCatalog;
  readonly folders: BlockFolders;
  readonly tombstones: Tombstones;
  readonly compactor: Compactor;
  readonly transit: BlocksInTransit;
  /** What was done, for those that were away. */
  readonly done: DoneDeletes;
  readonly askers: Askers;
  readonly later: LaterDeletes;
}

/** Nodes that came, and asked which deletes were done. */
export interface Askers {
  /** Of the placements that list them; 0: nobody asked since the start. */
  newestEpoch: number;
}

/** A compaction may take a block away while the others are searched; it is over long before so many tries. */
const TRIES_MAX = 10;

/**
 * Hides what matches, in the blocks that are here now.
 *
 * @returns Blocks concerned.
 * @throws AppError `bad_data` on a malformed id or matcher, `failed_precondition` for one that was taken back, `resource_exhausted` when too many deletes wait, `unavailable`
 *         when blocks change all the time, and when a node came that the delete leaves out and was not told of it.
 */
export async function deleteSeries(
  request: DeleteSeriesRequest,
  deps: DeleteDeps,
  signal: AbortSignal,
): Promise<number> {
  const one = deleteOfRequest(request);
  const concerned = await hide(one, deps.transit, deps, signal);
  await deps.folders.exclusively(() => deps.done.add([one]));
  deps.later.note(one);
  // Who asks from now on is told of it.
  const { newestEpoch } = deps.askers;
  if (one.asked.length > 0 && one.epoch < newestEpoch)
    throw new AppError(
      'unavailable',
      `the delete goes by placement ${one.epoch}, and a node of placement ${newestEpoch} has come meanwhile; send the delete again`,
    );
  return concerned;
}

/** @param transit  Of blocks that are on their way here those of them that are concerned; undefined: none is. */
async function hide(
  { tenant, id, createdAtMs, actor, matchers, minTimeMs, maxTimeMs }: DoneDelete,
  transit: BlocksInTransit | undefined,
  deps: DeleteDeps,
  signal: AbortSignal,
): Promise<number> {
  const deletion: Deletion = { matchers, minTimeMs, maxTimeMs };
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const searched = await search(tenant, deletion, deps, signal);
    const isDone = await deps.folders.exclusively(async () => {
      deps.tombstones.mustNotBeUndone(tenant, id);
      // What took the place of a block that was searched was not.
      if (
        !searched.all.every(
          (block) => deps.catalog.has(tenant, block) || deps.catalog.isQuarantined(tenant, block),
        )
      )
        return false;
      const coming = transit?.overlapping(tenant, deletion) ?? [];
      const blocks = [...searched.found, ...quarantinedIn(tenant, deletion, deps.catalog), ...coming];
      await deps.tombstones.add(tenant, { id, createdAtMs, actor, ...deletion, blocks });
      return true;
    });
    if (isDone) return searched.found.length;
  }
  throw new AppError(
    'unavailable',
    'blocks were compacted while the delete looked for its samples; try again',
  );
}

/**
 * Deletes of the last 30 days, for those that were away meanwhile.
 *
 * @param epoch       Of the placement that lists who asks; 0: none does.
 * @param isComplete  Every delete that was acknowledged is known here.
 */
export function* doneDeletes(
  { epoch, isComplete }: { readonly epoch: number; readonly isComplete: boolean },
  { askers, done, tombstones }: DeleteDeps,
): Generator<WireDoneDelete> {
  askers.newestEpoch = Math.max(askers.newestEpoch, epoch);
  const undone = new Set(tombstones.undone().map(({ tenant, id }) => `${tenant}/${id}`));
  for (const { tenant, id, matchers, asked, epoch: askedEpoch, ...rest } of done.all) {
    if (undone.has(`${tenant}/${id}`)) continue;
    const request = {
      tenant,
      deleteId: id,
      matchers: toWireMatchers(matchers),
      asked: { instances: [...asked], epoch: askedEpoch },
    };
    yield { delete: { ...rest, ...request }, undone: false, complete: false };
  }
  for (const { tenant, id } of tombstones.undone()) {
    const nothing = { matchers: [], minTimeMs: 0, maxTimeMs: 0, createdAtMs: 0, actor: '' };
    yield { delete: { tenant, deleteId: id, ...nothing }, undone: true, complete: false };
  }
  if (isComplete) yield { delete: undefined, undone: false, complete: true };
}

/**
 * Does what other stores have done and this one has not.
 *
 * @returns Deletes that hide samples here from now on.
 * @throws AppError as deleteSeries does.
 */
export async function makeMissed(
  told: readonly WireDoneDelete[],
  { hides, heardEpoch, instance }: MakeHow & { readonly instance: string },
  deps: DeleteDeps,
  signal: AbortSignal,
): Promise<number> {
  const { done, folders, tombstones } = deps;
  const news = newsOf(told, { instance, done, undone: tombstones.undone() });
  for (const { tenant, id } of news.undone)
    await folders.exclusively(() => tombstones.undo(tenant, id, 'another store'));
  const missed = hides ? news.missed : [];
  for (const one of missed) await hide(one, undefined, deps, signal);
  await folders.exclusively(() => done.add(news.done, heardEpoch));
  return missed.length;
}

async function search(
  tenant: string,
  deletion: Deletion,
  { catalog }: DeleteDeps,
  signal: AbortSignal,
): Promise<{ readonly all: readonly string[]; readonly found: readonly string[] }> {
  const leases = leaseOverlapping(catalog, { tenant, ...deletion });
  const found: string[] = [];
  try {
    for (const lease of leases) {
      throwIfAborted(signal);
      if (await holdsAny(lease, deletion, signal)) found.push(lease.meta.blockId);
    }
  } finally {
    for (const lease of leases) await lease.release();
  }
  return { all: leases.map(({ meta }) => meta.blockId), found };
}

/** True when a series matches and has a chunk in the range. A block that is damaged may hold some. */
async function holdsAny(lease: BlockLease, deletion: Deletion, signal: AbortSignal): Promise<boolean> {
  let isFound = false;
  const sink = {
    beginSeries: () => {
      isFound = true;
    },
    chunk: () => undefined,
  };
  try {
    const select = (await lease.reader()).openSelect({ ...deletion, labelsOnly: true, signal });
    while (!isFound && (await select.advance(sink)));
    return isFound;
  } catch (caught) {
    throw await lease.examine(caught);
  }
}

/** Blocks set aside may come back. */
function quarantinedIn(tenant: string, { minTimeMs, maxTimeMs }: Deletion, catalog: BlockCatalog): string[] {
  return catalog
    .quarantinedOf(tenant)
    .filter(({ meta }) => meta === undefined || (meta.minTimeMs <= maxTimeMs && meta.maxTimeMs >= minTimeMs))
    .map(({ blockId }) => blockId);
}

/**
 * Shows again what is still on the disk; false when the delete hides nothing here.
 *
 * @throws AppError `bad_data` on a malformed id.
 */
export async function undoDelete(
  { tenant, deleteId, actor }: UndoDeleteRequest,
  { folders, tombstones }: DeleteDeps,
): Promise<boolean> {
  if (!isBlockId(deleteId))
    throw new AppError('bad_data', `delete id ${JSON.stringify(deleteId)} is not 32 hexadecimal digits`);
  return folders.exclusively(() => tombstones.undo(tenant, deleteId, actor));
}

/** Oldest first. */
export function listDeletes(tenant: string, { tombstones }: DeleteDeps): ListDeletesResponse {
  const deletes = toPendingDeletes(tombstones.list(tenant));
  return { deletes: deletes.sort((a, b) => a.createdAtMs - b.createdAtMs) };
}

/** As they travel, without the names of the blocks. */
export function toPendingDeletes(tombstones: readonly Tombstone[]): PendingDelete[] {
  return tombstones.map(({ id, matchers, minTimeMs, maxTimeMs, createdAtMs, actor, blocks }) => ({
    deleteId: id,
    matchers: toWireMatchers(matchers),
    minTimeMs,
    maxTimeMs,
    createdAtMs,
    actor,
    concerned: blocks.length,
  }));
}

/** Rewrites all blocks that deletes concern; returns how many. */
export async function cleanTombstones(
  tenant: string,
  actor: string,
  { compactor, folders, tombstones }: DeleteDeps,
  signal: AbortSignal,
): Promise<number> {
  const concerned = [...new Set(tombstones.list(tenant).flatMap(({ blocks }) => blocks))];
  await folders.exclusively(() => tombstones.note(tenant, 'clean', actor, concerned));
  return compactor.clean(tenant, signal);
}

// Deletes that stores tell of, and which of them are news to a node that was away.
import { AppError } from '../core/errors.ts';
import { compileMatcher } from '../model/matcher.ts';
import { isBlockId, isTenantName } from '../tsdb/block/block-name.ts';
import { DONE_MAX, type DoneDelete, type DoneDeletes } from '../tsdb/tombstones/done-deletes.ts';
import { UNDONE_MAX, type UndoneDelete } from '../tsdb/tombstones/undone-deletes.ts';
import type { DeleteSeriesRequest, DoneDelete as WireDoneDelete } from './contracts.ts';
import { fromWireMatchers } from './matchers.ts';

/** Deletes that a store tells of, at most. */
export const TOLD_MAX = DONE_MAX + UNDONE_MAX;

/** @throws AppError `bad_data` when the id or a matcher is malformed, or there is none. */
export function deleteOfRequest(request: DeleteSeriesRequest): DoneDelete {
  const { tenant, deleteId, minTimeMs, maxTimeMs, createdAtMs, actor, asked } = request;
  if (!isBlockId(deleteId))
    throw new AppError('bad_data', `delete id ${JSON.stringify(deleteId)} is not 32 hexadecimal digits`);
  const matchers = fromWireMatchers(request.matchers);
  if (matchers.length === 0) throw new AppError('bad_data', 'a delete needs at least one matcher');
  for (const matcher of matchers) compileMatcher(matcher);
  return {
    ...{ tenant, id: deleteId, createdAtMs, actor, matchers, minTimeMs, maxTimeMs },
    ...{ asked: [...(asked?.instances ?? [])], epoch: asked?.epoch ?? 0 },
  };
}

/** What of it is not known here. */
export interface DeleteNews {
  /** Taken back. */
  readonly undone: readonly Pick<UndoneDelete, 'tenant' | 'id'>[];
  /** Done and not taken back. */
  readonly done: readonly DoneDelete[];
  /**
   * Those of them that this node was not asked for, by a placement after the one by which it heard of all. The others are not done late: whoever
   * asked was told that they failed, and samples may have come since.
   */
  readonly missed: readonly DoneDelete[];
}

/** @throws AppError `bad_data` as deleteOfRequest does. */
export function newsOf(
  told: readonly WireDoneDelete[],
  known: {
    readonly instance: string;
    readonly done: Pick<DoneDeletes, 'has' | 'heardEpoch'>;
    readonly undone: readonly Pick<UndoneDelete, 'tenant' | 'id'>[];
  },
): DeleteNews {
  const keyOf = ({ tenant, id }: Pick<UndoneDelete, 'tenant' | 'id'>): string => `${tenant}/${id}`;
  const takenBack = new Set(known.undone.map(keyOf));
  const undone: Pick<UndoneDelete, 'tenant' | 'id'>[] = [];
  const fresh = new Map<string, DoneDelete>();
  for (const { delete: request, undone: isUndone } of told) {
    if (request === undefined || !isTenantName(request.tenant) || !isBlockId(request.deleteId)) continue;
    const { tenant, deleteId: id, createdAtMs } = request;
    const key = keyOf({ tenant, id });
    if (isUndone && !takenBack.has(key)) {
      takenBack.add(key);
      undone.push({ tenant, id });
    }
    if (!isUndone && !known.done.has({ tenant, id, createdAtMs })) fresh.set(key, deleteOfRequest(request));
  }
  const done = [...fresh].flatMap(([key, one]) => (takenBack.has(key) ? [] : [one]));
  const { heardEpoch } = known.done;
  const missed = done.filter(({ asked, epoch }) => epoch > heardEpoch && !asked.includes(known.instance));
  return { undone, done, missed };
}

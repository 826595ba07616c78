// Deletes between their wire form and the head's.
import { AppError } from '../../lib/core/errors.ts';
import { compileMatcher } from '../../lib/model/matcher.ts';
import { isBlockId } from '../../lib/tsdb/block/block-name.ts';
import type { DeleteSeriesRequest, PendingDelete } from '../../lib/wire/contracts.ts';
import { fromWireMatchers, toWireMatchers } from '../../lib/wire/matchers.ts';
import type { DeleteMark } from '../log/delete-records.ts';
import { type Tenant, TIME_MS_MAX } from '../tenants.ts';

/** @throws AppError `bad_data` when the id or a matcher is malformed, or there is none. */
export function markOfRequest(request: DeleteSeriesRequest): Omit<DeleteMark, 'generationMax'> {
  const { tenant, deleteId, createdAtMs, actor } = request;
  if (!isBlockId(deleteId))
    throw new AppError('bad_data', `delete id ${JSON.stringify(deleteId)} is not 32 hexadecimal digits`);
  const matchers = fromWireMatchers(request.matchers);
  if (matchers.length === 0) throw new AppError('bad_data', 'a delete needs at least one matcher');
  for (const matcher of matchers) compileMatcher(matcher);
  return {
    tenant,
    id: deleteId,
    matchers,
    minTimeMs: Math.max(request.minTimeMs, -TIME_MS_MAX),
    maxTimeMs: Math.min(request.maxTimeMs, TIME_MS_MAX),
    createdAtMs,
    actor,
  };
}

/** Oldest first. */
export function pendingDeletes(tenant: Tenant | undefined): PendingDelete[] {
  if (tenant === undefined) return [];
  const generations = tenant.head.frozenRanges().map(({ generation }) => generation);
  return tenant.deletes.marks.map(
    ({ id, matchers, minTimeMs, maxTimeMs, createdAtMs, actor, generationMax }) => ({
      deleteId: id,
      matchers: toWireMatchers(matchers),
      minTimeMs,
      maxTimeMs,
      createdAtMs,
      actor,
      concerned: generations.filter((generation) => generation <= generationMax).length,
    }),
  );
}

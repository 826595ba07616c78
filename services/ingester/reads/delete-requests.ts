// Deletes between their wire form and the head's.
import type { DoneDelete } from '../../lib/tsdb/tombstones/done-deletes.ts';
import type { PendingDelete } from '../../lib/wire/contracts.ts';
import { toWireMatchers } from '../../lib/wire/matchers.ts';
import type { DeleteMark } from '../log/delete-records.ts';
import { type Tenant, TIME_MS_MAX } from '../tenants.ts';

/** A delete as heads take it. */
export function markOfDelete(done: DoneDelete): Omit<DeleteMark, 'generationMax'> {
  const { tenant, id, createdAtMs, actor, matchers } = done;
  return {
    ...{ tenant, id, createdAtMs, actor, matchers },
    minTimeMs: Math.max(done.minTimeMs, -TIME_MS_MAX),
    maxTimeMs: Math.min(done.maxTimeMs, TIME_MS_MAX),
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

// From when on there may be samples here that are in no block: what is older may be read from stores alone
// (services/lib/wire/docs/part-evaluation.md).
import type { UnsealedRequest, UnsealedResponse } from '../../lib/wire/contracts.ts';
import type { Tenants } from '../tenants.ts';

/**
 * Where the oldest range begins that is not known to be on the stores. Ranges that are, and stay in memory for a while, do not count:
 * they take no more samples, late ones open a range of their own.
 *
 * Cost: O(ranges of the head).
 */
export function unsealed(request: UnsealedRequest, tenants: Pick<Tenants, 'get'>): UnsealedResponse {
  const tenant = tenants.get(request.tenant);
  if (tenant === undefined) return {};
  let oldestMs = Number.POSITIVE_INFINITY;
  for (const { generation, startMs } of tenant.head.ranges()) {
    if (!tenant.sealed.has(generation)) oldestMs = Math.min(oldestMs, startMs);
  }
  return oldestMs === Number.POSITIVE_INFINITY ? {} : { oldestMs };
}

// Answers which version of a tenant's samples an ingester has, by range of time: the number of the last write to it in this process.
// Ranges that are sealed and gone from memory keep their number: what was written to them went through here.
import { AppError } from '../../lib/core/errors.ts';
import type { VersionsRequest, VersionsResponse } from '../../lib/wire/contracts.ts';
import type { Tenants } from '../tenants.ts';

/** Ranges of one question: more than a query may have parts. */
export const RANGES_MAX = 1000;

export interface RangeVersionsDeps {
  readonly tenants: Tenants;
  /** Name of this process: numbers of another one, also of the same ingester before its restart, say nothing. */
  readonly origin: string;
  /** 0 while no placement is known. */
  readonly epoch: () => number;
}

/** @throws AppError `bad_data` when the ranges are none. */
export function rangeVersions(request: VersionsRequest, deps: RangeVersionsDeps): VersionsResponse {
  const { tenant: name, minTimesMs, maxTimesMs } = request;
  if (minTimesMs.length !== maxTimesMs.length || minTimesMs.length > RANGES_MAX) {
    throw new AppError(
      'bad_data',
      `versions of ${minTimesMs.length} ranges with ${maxTimesMs.length} ends: as many of both, ${RANGES_MAX} at most`,
    );
  }
  const tenant = deps.tenants.get(name);
  const versions = minTimesMs.map((minTimeMs, i) => {
    // Both only grow: an equal sum says that neither has changed.
    return tenant === undefined
      ? 0
      : tenant.changes.lastIn(minTimeMs, maxTimesMs[i]!) + tenant.deletes.changes;
  });
  return { origin: deps.origin, versions, epoch: deps.epoch() };
}

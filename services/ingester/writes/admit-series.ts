// The limit of a tenant's series: decided here, before the first sample of a series is sent, and nowhere else. Appends, catch-up and
// replay take every series, so that all replicas of a write keep the same (services/ingester/README.md).
import { AppError } from '../../lib/core/errors.ts';
import { ABSENT } from '../../lib/tsdb/head/columns.ts';
import { visitDefinitions } from '../../lib/wire/append/append-batch.ts';
import type { AdmitSeriesRequest, AdmitSeriesResponse } from '../../lib/wire/contracts.ts';
import type { IngesterMetrics } from '../ingest-metrics.ts';
import type { Tenants } from '../tenants.ts';
import type { SeriesGrants } from './series-grants.ts';

export interface SeriesAdmissionDeps {
  /** Of a tenant, in the whole cluster; Infinity: no limit. */
  readonly seriesMax: number;
  /** Partitions that are owned, of all: 0 … 1. Series are spread over partitions evenly. */
  readonly ownedShare: number;
  readonly tenants: Tenants;
  readonly grants: SeriesGrants;
  /** Monotonic milliseconds. */
  readonly nowMs: number;
  readonly metrics: Pick<IngesterMetrics, 'seriesRefused'>;
  readonly onRefusal: (tenant: string, refused: number, limit: number) => void;
}

/** Bounds the work of one call. */
const QUESTION_SERIES_MAX = 65_536;

/** Most series of a tenant that are admitted here; undefined where there is no limit. */
export function seriesLimitOf({
  seriesMax,
  ownedShare,
}: Pick<SeriesAdmissionDeps, 'seriesMax' | 'ownedShare'>) {
  return seriesMax === Number.POSITIVE_INFINITY ? undefined : Math.ceil(seriesMax * ownedShare);
}

/**
 * Makes room for series. Those that are admitted are in the head from now on, without samples, and leave with its next collection when
 * none come.
 *
 * @throws AppError `bad_data` when the definitions are malformed.
 */
export function admitSeries(
  { tenant: name, definitions, count, taken }: AdmitSeriesRequest,
  deps: SeriesAdmissionDeps,
): AdmitSeriesResponse {
  if (count > QUESTION_SERIES_MAX) {
    throw new AppError('bad_data', `a question for ${count} series; ask for ${QUESTION_SERIES_MAX} at most`);
  }
  const { head } = deps.tenants.getOrMake(name);
  const limit = seriesLimitOf(deps);
  const refused: number[] = [];
  if (limit === undefined) return { refused, series: head.seriesCount, limit: 0 };
  // What the asker has taken is part of what was granted, unless the grants of then were forgotten in a restart.
  const reserved = Math.max(taken, deps.grants.open(name, head.seriesCount, deps.nowMs));
  visitDefinitions(definitions, 0, count, (reference, partition, bytes, start, end) => {
    if (head.seriesCount < limit - reserved) head.define(bytes, start, end, partition);
    else if (head.index.find(bytes, start, end) === ABSENT) refused.push(reference);
  });
  if (refused.length > 0) {
    deps.metrics.seriesRefused.inc(refused.length);
    deps.onRefusal(name, refused.length, limit);
  }
  return { refused, series: deps.grants.report(name, head.seriesCount, limit, deps.nowMs), limit };
}

// Up to when blocks have samples: what is newer is in ingesters only, and queriers may have it evaluated there
// (services/lib/wire/docs/part-evaluation.md).
import type { NewestSampleRequest, NewestSampleResponse } from '../../lib/wire/contracts.ts';
import type { BlockCatalog } from './block-catalog.ts';

export function newestSample(
  { tenant }: NewestSampleRequest,
  catalog: Pick<BlockCatalog, 'list' | 'quarantinedOf'>,
): NewestSampleResponse {
  const lost = catalog.quarantinedOf(tenant);
  // What was set aside was here: its samples are in no memory any more.
  const metas = [...catalog.list(tenant), ...lost.flatMap(({ meta }) => (meta === undefined ? [] : [meta]))];
  const unknown = lost.some(({ meta }) => meta === undefined);
  let newestMs = Number.NEGATIVE_INFINITY;
  for (const { maxTimeMs } of metas) newestMs = Math.max(newestMs, maxTimeMs);
  return metas.length === 0 ? { unknown } : { unknown, newestMs };
}

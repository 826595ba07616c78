// Which sealed blocks the samples of a range are in, as far as they are here: what a querier has to know before it has parts of
// queries evaluated by stores (services/lib/wire/docs/part-evaluation.md).
import { AppError } from '../../lib/core/errors.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { leavesOf } from '../../lib/tsdb/compact/merge-blocks.ts';
import type { HeldLeavesRequest, HeldLeavesResponse, PartShare } from '../../lib/wire/contracts.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import type { BlockCatalog } from './block-catalog.ts';
import { packIds, unpackIds } from './block-ids.ts';
import { coverageOf, type Lacking } from './coverage.ts';

/** Sealed blocks of an answer, 16 bytes each: eight years of ranges of two hours, half a year in sixteen shares. */
const LEAVES_MAX = 35_000;

export interface WindowLeavesDeps {
  readonly catalog: Pick<BlockCatalog, 'list' | 'quarantinedOf'>;
  readonly tombstones: Pick<Tombstones, 'list'>;
  /** What the store is to have of a tenant, and has not. */
  readonly lacking: (tenant: string) => Lacking;
}

/**
 * @throws AppError `resource_exhausted` when the range has more than LEAVES_MAX.
 *
 * Cost: O(blocks + sealed blocks in those that overlap).
 */
export function heldLeaves(request: HeldLeavesRequest, deps: WindowLeavesDeps): HeldLeavesResponse {
  const { tenant } = request;
  const { catalog, tombstones, lacking } = deps;
  const metas = blocksOf(catalog.list(tenant), request);
  const samples = metas.filter(({ resolutionMs }) => resolutionMs === undefined);
  const count = samples.reduce((sum, meta) => sum + leavesOf(meta).length, 0);
  if (count > LEAVES_MAX)
    throw new AppError(
      'resource_exhausted',
      `${count} sealed blocks of ${tenant} are in the range, more than ${LEAVES_MAX}; it is read by chunks`,
    );
  const deletes = new Map<string, string[]>();
  for (const { id, blocks } of tombstones.list(tenant)) {
    for (const block of blocks) deletes.set(block, [...(deletes.get(block) ?? []), id]);
  }
  const { missing } = coverageOf(
    { ...request, partitions: [] },
    [],
    catalog.quarantinedOf(tenant),
    lacking(tenant),
  );
  return {
    blocks: samples.map((meta) => ({
      partitions: [...meta.partitions],
      leaves: packIds(leavesOf(meta)),
      deletes: packIds([...(deletes.get(meta.blockId) ?? [])].sort()),
    })),
    hasAggregates: samples.length < metas.length,
    ...(missing === undefined ? {} : { missing }),
  };
}

/** Blocks that overlap a range; of aggregates also those whose cells windows are widened by. */
function blocksOf(
  metas: readonly BlockMeta[],
  { minTimeMs, maxTimeMs }: { readonly minTimeMs: number; readonly maxTimeMs: number },
): BlockMeta[] {
  return metas.filter((meta) => {
    const widthMs = meta.resolutionMs ?? 0;
    return meta.maxTimeMs >= minTimeMs - widthMs && meta.minTimeMs <= maxTimeMs + widthMs;
  });
}

/** Whether blocks that a range is answered from have downsampled samples. */
export function hasAggregates(
  metas: readonly BlockMeta[],
  range: { readonly minTimeMs: number; readonly maxTimeMs: number },
): boolean {
  return blocksOf(metas, range).some(({ resolutionMs }) => resolutionMs !== undefined);
}

/**
 * Partitions of the shares of which all sealed blocks are in some of the blocks.
 *
 * @throws AppError `bad_data` when a share's list is none.
 */
export function wholePartitions(shares: readonly PartShare[], metas: readonly BlockMeta[]): number[] {
  const held = new Set(
    metas.filter(({ resolutionMs }) => resolutionMs === undefined).flatMap((meta) => leavesOf(meta)),
  );
  return shares
    .filter(({ leaves }) => unpackIds(leaves).every((leaf) => held.has(leaf)))
    .flatMap(({ partitions }) => partitions);
}

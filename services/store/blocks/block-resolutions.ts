// Which blocks answer for a range: samples, or the aggregates that were made of them. Aggregates stand for samples only where they were
// made of all samples that are here, and nothing that a delete hides is in them; and wherever the samples are gone.
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { leavesOf } from '../../lib/tsdb/compact/merge-blocks.ts';

/** A block of aggregates and the blocks of samples that it was made of, as far as they are here. */
interface Aggregates {
  readonly meta: BlockMeta;
  readonly resolutionMs: number;
  readonly leaves: ReadonlySet<string>;
  /** Blocks of samples that share a sealed block with it. */
  readonly samples: readonly BlockMeta[];
  /** All that it was made of is here as samples. */
  readonly isBacked: boolean;
  /** And nothing else of its time. */
  readonly isCurrent: boolean;
}

interface TenantIndex {
  readonly ids: readonly string[];
  readonly samples: readonly BlockMeta[];
  readonly aggregates: readonly Aggregates[];
}

export interface BlockChoice {
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** Aggregates whose resolution divides it will do; 0: samples, wherever there are any. */
  readonly alignMs: number;
  /** True of a block of which a delete hides something. */
  readonly isMasked: (meta: BlockMeta) => boolean;
}

export class BlockResolutions {
  readonly #tenants = new Map<string, TenantIndex>();

  /**
   * Blocks of one tenant to read, oldest first.
   *
   * @param metas  All blocks of the tenant, oldest first.
   *
   * Cost: O(blocks); where a block came or went since the last time, O(sealed blocks in them).
   */
  choose(metas: readonly BlockMeta[], choice: BlockChoice): BlockMeta[] {
    const overlaps = (meta: BlockMeta) => overlapsRange(meta, choice);
    if (metas.every(({ resolutionMs }) => resolutionMs === undefined)) return metas.filter(overlaps);
    const index = this.#indexOf(metas);
    const chosen = new Set(index.samples.filter(overlaps));
    const aggregates = index.aggregates.filter(({ meta }) => overlaps(meta));
    takeInstead(aggregates, chosen, choice);
    addExpired(aggregates, chosen, choice);
    return metas.filter((meta) => chosen.has(meta));
  }

  /** Aggregates of one resolution that were made of all that is in a block of samples. */
  hasAggregates(metas: readonly BlockMeta[], sample: BlockMeta, resolutionMs: number): boolean {
    const leaves = leavesOf(sample);
    return this.#indexOf(metas).aggregates.some(
      (one) => one.resolutionMs === resolutionMs && leaves.every((leaf) => one.leaves.has(leaf)),
    );
  }

  /** Whether all that a block of aggregates was made of is here as samples: then it can be made again. */
  isBacked(metas: readonly BlockMeta[], aggregates: BlockMeta): boolean {
    return this.#indexOf(metas).aggregates.some(({ meta, isBacked }) => meta === aggregates && isBacked);
  }

  #indexOf(metas: readonly BlockMeta[]): TenantIndex {
    const { tenant } = metas[0]!;
    const known = this.#tenants.get(tenant);
    if (known?.ids.length === metas.length && metas.every(({ blockId }, i) => blockId === known.ids[i]))
      return known;
    const index = makeIndex(metas);
    this.#tenants.set(tenant, index);
    return index;
  }
}

/** Cells that windows are widened by may lie beyond the range. */
function overlapsRange(
  { minTimeMs, maxTimeMs, resolutionMs = 0 }: BlockMeta,
  range: { readonly minTimeMs: number; readonly maxTimeMs: number },
): boolean {
  return maxTimeMs >= range.minTimeMs - resolutionMs && minTimeMs <= range.maxTimeMs + resolutionMs;
}

function makeIndex(metas: readonly BlockMeta[]): TenantIndex {
  const samples = metas.filter(({ resolutionMs }) => resolutionMs === undefined);
  const byLeaf = new Map<string, BlockMeta[]>();
  for (const meta of samples) {
    for (const leaf of leavesOf(meta)) byLeaf.set(leaf, [...(byLeaf.get(leaf) ?? []), meta]);
  }
  const aggregates = metas
    .filter(({ resolutionMs }) => resolutionMs !== undefined)
    .map((meta) => describe(meta, samples, byLeaf));
  return { ids: metas.map(({ blockId }) => blockId), samples, aggregates };
}

function describe(
  meta: BlockMeta,
  samples: readonly BlockMeta[],
  byLeaf: ReadonlyMap<string, readonly BlockMeta[]>,
): Aggregates {
  const leaves = new Set(leavesOf(meta));
  const own = new Set<BlockMeta>();
  let isBacked = true;
  for (const leaf of leaves) {
    const holders = byLeaf.get(leaf);
    if (holders === undefined) isBacked = false;
    else for (const holder of holders) own.add(holder);
  }
  const holdsMore = (block: BlockMeta) => leavesOf(block).some((leaf) => !leaves.has(leaf));
  const isLate = (block: BlockMeta) => !own.has(block) && overlapsRange(block, meta);
  const isCurrent = isBacked && ![...own].some(holdsMore) && !samples.some(isLate);
  return { meta, resolutionMs: meta.resolutionMs!, leaves, samples: [...own], isBacked, isCurrent };
}

/** The coarsest aggregates that do, instead of their samples. */
function takeInstead(
  aggregates: readonly Aggregates[],
  chosen: Set<BlockMeta>,
  { alignMs, isMasked }: BlockChoice,
): void {
  if (alignMs <= 0) return;
  const usable = aggregates.filter(
    ({ meta, resolutionMs, isCurrent }) => isCurrent && alignMs % resolutionMs === 0 && !isMasked(meta),
  );
  usable.sort((a, b) => b.resolutionMs - a.resolutionMs);
  for (const { meta, samples } of usable) {
    // Of the blocks at the ends of the range some may not be in it; what is left of them is in none of the others.
    if (!samples.some((block) => chosen.has(block)) || samples.some(isMasked)) continue;
    for (const block of samples) chosen.delete(block);
    chosen.add(meta);
  }
}

/** Aggregates of samples that are gone: the coarsest that do, else the finest. */
function addExpired(
  aggregates: readonly Aggregates[],
  chosen: Set<BlockMeta>,
  { alignMs }: BlockChoice,
): void {
  const doesAlign = ({ resolutionMs }: Aggregates) => alignMs > 0 && alignMs % resolutionMs === 0;
  const expired = aggregates.filter(({ isBacked }) => !isBacked);
  expired.sort((a, b) => {
    if (doesAlign(a) !== doesAlign(b)) return doesAlign(a) ? -1 : 1;
    return doesAlign(a) ? b.resolutionMs - a.resolutionMs : a.resolutionMs - b.resolutionMs;
  });
  const covered = new Set<string>();
  for (const { meta, leaves, samples } of expired) {
    if ([...leaves].every((leaf) => covered.has(leaf))) continue;
    for (const leaf of leaves) covered.add(leaf);
    for (const block of samples) if (leavesOf(block).every((leaf) => leaves.has(leaf))) chosen.delete(block);
    chosen.add(meta);
  }
}

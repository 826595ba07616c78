// Answers which version of a tenant's samples a store has, by range of time: a sum over the blocks of the range and the deletes that
// concern them. Blocks are named by their content, so the same sum is the same samples, after a restart and whatever came about it;
// sealing and compaction change it, although no sample changes.
import { AppError } from '../../lib/core/errors.ts';
import type { VersionsRequest, VersionsResponse } from '../../lib/wire/contracts.ts';
import type { Tombstones } from '../deletes/tombstones.ts';
import type { BlockCatalog } from './block-catalog.ts';
import { coverageOf, type Lacking } from './coverage.ts';

/** Ranges of one question: more than a query may have parts. */
const RANGES_MAX = 1000;

export interface RangeVersionsDeps {
  readonly catalog: Pick<BlockCatalog, 'list' | 'quarantinedOf'>;
  readonly tombstones: Pick<Tombstones, 'list'>;
  /** What the store is to have of a tenant, and has not. */
  readonly lacking: (tenant: string) => Lacking;
  /** 0 while no placement is known, and where there is one process only. */
  readonly epoch: () => number;
}

/** A block as versions see it. */
interface VersionedBlock {
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly isAggregates: boolean;
  readonly words: Words;
}

/** Two 32-bit words that stand for something. */
type Words = readonly [number, number];

/**
 * @throws AppError `bad_data` when the ranges are none.
 *
 * Cost: O(ranges × blocks), some nanoseconds each.
 */
export function rangeVersions(request: VersionsRequest, deps: RangeVersionsDeps): VersionsResponse {
  const { tenant, minTimesMs, maxTimesMs } = request;
  if (minTimesMs.length !== maxTimesMs.length || minTimesMs.length > RANGES_MAX) {
    throw new AppError(
      'bad_data',
      `versions of ${minTimesMs.length} ranges with ${maxTimesMs.length} ends: as many of both, ${RANGES_MAX} at most`,
    );
  }
  const blocks = versionedBlocks(tenant, deps);
  const versions = minTimesMs.map((minTimeMs, i) => versionOf(blocks, minTimeMs, maxTimesMs[i]!));
  const whole = {
    minTimeMs: Math.min(...minTimesMs),
    maxTimeMs: Math.max(...maxTimesMs),
    partitions: [],
  };
  const { missing } = coverageOf(whole, [], deps.catalog.quarantinedOf(tenant), deps.lacking(tenant));
  return { origin: '', versions, epoch: deps.epoch(), ...(missing === undefined ? {} : { missing }) };
}

function versionedBlocks(tenant: string, { catalog, tombstones }: RangeVersionsDeps): VersionedBlock[] {
  const deletes = new Map<string, Words[]>();
  for (const { id, blocks } of tombstones.list(tenant)) {
    for (const block of blocks) deletes.set(block, [...(deletes.get(block) ?? []), wordsOf(id)]);
  }
  return catalog.list(tenant).map(({ blockId, minTimeMs, maxTimeMs, resolutionMs = 0 }) => {
    let words = wordsOf(blockId);
    for (const mark of deletes.get(blockId) ?? []) words = added(words, mixed(words[0], mark));
    return {
      // Cells that windows are widened by may lie beyond the range.
      minTimeMs: minTimeMs - resolutionMs,
      maxTimeMs: maxTimeMs + resolutionMs,
      isAggregates: resolutionMs > 0,
      words,
    };
  });
}

function versionOf(blocks: readonly VersionedBlock[], minTimeMs: number, maxTimeMs: number): number {
  let from = minTimeMs;
  let to = maxTimeMs;
  // Whether aggregates stand for samples depends on all blocks of their time (block-resolutions.ts).
  for (const block of blocks) {
    if (!block.isAggregates || block.minTimeMs > maxTimeMs || block.maxTimeMs < minTimeMs) continue;
    from = Math.min(from, block.minTimeMs);
    to = Math.max(to, block.maxTimeMs);
  }
  let sum: Words = [0, 0];
  for (const block of blocks) {
    if (block.minTimeMs <= to && block.maxTimeMs >= from) sum = added(sum, block.words);
  }
  return (sum[0] & 0x1f_ffff) * 2 ** 32 + (sum[1] >>> 0);
}

/** Of an id, which is a hash: 32 hexadecimal digits. */
function wordsOf(id: string): Words {
  return [Number.parseInt(id.slice(0, 8), 16) | 0, Number.parseInt(id.slice(8, 16), 16) | 0];
}

function added(a: Words, b: Words): Words {
  return [(a[0] + b[0]) | 0, (a[1] + b[1]) | 0];
}

/** A delete counts for each block in its own way: what one of two deletes hides of one of two blocks is not interchangeable. */
function mixed(salt: number, [a, b]: Words): Words {
  return [Math.imul(a ^ salt, 0x9e37_79b1), Math.imul(b ^ salt, 0x85eb_ca6b)];
}

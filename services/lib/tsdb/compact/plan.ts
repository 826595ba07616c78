// Which blocks to merge next. Pure: the store asks, does it, and asks again; nothing is remembered in between.
import type { BlockMeta } from '../block/block-meta.ts';

/** Two hours, twelve hours, two days: aligned ranges of time whose blocks become one. */
export const COMPACTION_RANGES_MS: readonly number[] = [2 * 3_600_000, 12 * 3_600_000, 48 * 3_600_000];

export interface CompactionPolicy {
  /** Ascending, each a multiple of the one before. */
  readonly rangesMs: readonly number[];
  /** How long a range must be over, and its newest block be here, at least; an eighth of the range where that is longer. */
  readonly settleMs: number;
  /** Blocks that would be larger together are not merged. */
  readonly bytesMax: number;
}

export interface CandidateBlock {
  readonly meta: BlockMeta;
  readonly bytes: number;
  /** When it came, Unix ms; the far past where that is not known. */
  readonly arrivedMs: number;
  /**
   * Deletes that concern it: none; `young`, which may still be undone, so that it must stay as it is; `due`, which is to
   * be rewritten without what they hide.
   */
  readonly deletes: 'none' | 'young' | 'due';
}

export interface Compaction {
  readonly reason: 'merge' | 'delete' | 'retention';
  readonly blocks: readonly BlockMeta[];
}

/** Blocks merged at once, at most: their cursors are open together. The oldest first, the rest in a further round. */
const BLOCKS_MAX = 64;

/**
 * The next piece of work among the blocks of one tenant; undefined when there is none.
 *
 * What a delete has waited for long enough comes first; then the largest range that is over, so that a backfill of days is
 * written once and not once per level. Late blocks are gathered: a range is merged again when its newest block has been
 * here for an eighth of the range, so a two-day block is rewritten four times a day at most.
 */
export function planCompaction(
  blocks: readonly CandidateBlock[],
  nowMs: number,
  policy: CompactionPolicy,
): Compaction | undefined {
  const due = blocks.find(({ deletes }) => deletes === 'due');
  if (due !== undefined) return { reason: 'delete', blocks: [due.meta] };
  for (const rangeMs of policy.rangesMs.toReversed()) {
    const found = mergeable(blocks, rangeMs, nowMs, policy);
    if (found !== undefined) return { reason: 'merge', blocks: found };
  }
  return undefined;
}

function mergeable(
  blocks: readonly CandidateBlock[],
  rangeMs: number,
  nowMs: number,
  policy: CompactionPolicy,
): readonly BlockMeta[] | undefined {
  const settledMs = nowMs - Math.max(policy.settleMs, rangeMs / 8);
  const byStart = new Map<number, CandidateBlock[]>();
  for (const block of blocks) {
    // Aggregates are made anew when their samples are merged.
    if (block.meta.resolutionMs !== undefined) continue;
    const startMs = Math.floor(block.meta.minTimeMs / rangeMs) * rangeMs;
    if (block.meta.maxTimeMs >= startMs + rangeMs || startMs + rangeMs > settledMs) continue;
    const known = byStart.get(startMs);
    if (known === undefined) byStart.set(startMs, [block]);
    else known.push(block);
  }
  const starts = [...byStart.keys()].sort((a, b) => a - b);
  for (const startMs of starts) {
    const group = byStart.get(startMs)!.sort((a, b) => a.meta.minTimeMs - b.meta.minTimeMs);
    if (group.length < 2) continue;
    if (group.some(({ deletes, arrivedMs }) => deletes === 'young' || arrivedMs > settledMs)) continue;
    const taken = group.slice(0, BLOCKS_MAX);
    if (taken.reduce((sum, { bytes }) => sum + bytes, 0) > policy.bytesMax) continue;
    return taken.map(({ meta }) => meta);
  }
  return undefined;
}

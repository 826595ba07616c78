// Which block to aggregate next. Pure, as compaction's plan: the store asks, does it, and asks again.
import type { BlockMeta } from '../block/block-meta.ts';
import type { CandidateBlock } from '../compact/plan.ts';

/** One resolution, and when its aggregates are made and go. */
export interface DownsamplingTimes {
  readonly resolutionMs: number;
  /** Age of a block's newest sample from which it is aggregated. */
  readonly afterMs: number;
  /** Age at which the aggregates go; 0: never. */
  readonly retentionMs: number;
}

export interface Downsampling {
  readonly block: BlockMeta;
  readonly resolutionMs: number;
}

/**
 * The oldest block of samples that is to have aggregates and has not; undefined when there is none. A block that waits for a delete
 * waits for this, too.
 *
 * @param retentionMs  Of the samples; 0: for ever. Aggregates are made before samples go, whatever `afterMs` says.
 * @param isDone       Whether the aggregates are there, or there is nothing to aggregate.
 */
export function planDownsampling(
  blocks: readonly CandidateBlock[],
  levels: readonly DownsamplingTimes[],
  nowMs: number,
  retentionMs: number,
  isDone: (block: BlockMeta, resolutionMs: number) => boolean,
): Downsampling | undefined {
  const candidates = blocks
    .filter(({ meta, deletes }) => meta.resolutionMs === undefined && deletes === 'none')
    .sort((a, b) => a.meta.minTimeMs - b.meta.minTimeMs);
  for (const { meta } of candidates) {
    for (const level of levels) {
      if (isAwaited(meta, level, nowMs, retentionMs) && !isDone(meta, level.resolutionMs))
        return { block: meta, resolutionMs: level.resolutionMs };
    }
  }
  return undefined;
}

/** Whether a block of samples is of the age at which it is to have these aggregates. */
export function isAwaited(
  { maxTimeMs }: BlockMeta,
  { afterMs, retentionMs: keptMs }: DownsamplingTimes,
  nowMs: number,
  retentionMs: number,
): boolean {
  const dueMs = retentionMs > 0 ? Math.min(afterMs, retentionMs) : afterMs;
  const isOver = keptMs > 0 && maxTimeMs < nowMs - keptMs;
  return maxTimeMs < nowMs - dueMs && !isOver;
}

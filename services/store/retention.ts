// Which blocks have to go. Pure: the service asks now and then, and deletes.
import type { BlockMeta } from '../lib/tsdb/block/block-meta.ts';
import { bytesOf } from './block-catalog.ts';

export interface RetentionPolicy {
  /** 0: no limit by age. */
  readonly retentionMs: number;
  /** 0: no limit by size. */
  readonly retentionBytes: number;
}

export interface ExpiredBlock {
  readonly meta: BlockMeta;
  readonly reason: 'time' | 'size';
}

/**
 * Blocks to delete: those whose newest sample is older than the retention, then, by newest sample, the oldest of the rest
 * until what is left fits. Sizes count over all tenants, as the disk does.
 */
export function expiredBlocks(
  metas: readonly BlockMeta[],
  nowMs: number,
  policy: RetentionPolicy,
): ExpiredBlock[] {
  const { retentionMs, retentionBytes } = policy;
  const expired: ExpiredBlock[] = [];
  const rest: BlockMeta[] = [];
  for (const meta of metas) {
    if (retentionMs > 0 && meta.maxTimeMs < nowMs - retentionMs) expired.push({ meta, reason: 'time' });
    else rest.push(meta);
  }
  if (retentionBytes <= 0) return expired;
  rest.sort((a, b) => a.maxTimeMs - b.maxTimeMs || (a.blockId < b.blockId ? -1 : 1));
  let bytes = rest.reduce((sum, meta) => sum + bytesOf(meta), 0);
  for (const meta of rest) {
    if (bytes <= retentionBytes) break;
    bytes -= bytesOf(meta);
    expired.push({ meta, reason: 'size' });
  }
  return expired;
}

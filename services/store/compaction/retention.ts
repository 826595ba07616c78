// Which blocks have to go. Pure: the service asks now and then, and deletes.
import type { StoragePolicy } from '../../lib/runtime/config/storage-policy.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { bytesOf } from '../blocks/block-catalog.ts';

export interface RetentionPolicy {
  /** Of samples; 0: no limit by age. */
  readonly retentionMs: number;
  /** 0: no limit by size. */
  readonly retentionBytes: number;
  /** How long aggregates are kept. */
  readonly downsampling?: StoragePolicy['downsampling'];
  /** Samples that have to stay until their aggregates are made. Default: none. */
  readonly isWaitedFor?: (meta: BlockMeta) => boolean;
}

export interface ExpiredBlock {
  readonly meta: BlockMeta;
  readonly reason: 'time' | 'size';
}

/** How long a block is kept, ms; 0 for ever. Aggregates of a resolution that is configured no more go as samples do. */
export function retentionOf(
  meta: Pick<BlockMeta, 'resolutionMs'>,
  { retentionMs, downsampling = [] }: RetentionPolicy,
): number {
  const level = downsampling.find(({ resolutionMs }) => resolutionMs === meta.resolutionMs);
  return level === undefined ? retentionMs : level.retentionMs;
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
  const { retentionBytes, isWaitedFor = () => false } = policy;
  const expired: ExpiredBlock[] = [];
  const rest: BlockMeta[] = [];
  for (const meta of metas) {
    const retentionMs = retentionOf(meta, policy);
    const isOver = retentionMs > 0 && meta.maxTimeMs < nowMs - retentionMs;
    if (isOver && !isWaitedFor(meta)) expired.push({ meta, reason: 'time' });
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

// meta.json: what a block is, without opening it. The text is canonical: a file that differs in any byte from what
// `renderBlockMeta` makes of its content is corrupt, so that no flipped bit goes unseen.
import { isBlockId, isTenantName } from './block-name.ts';
import { fieldOf, parseCheckedJson, renderCheckedJson } from './checked-json.ts';

export const BLOCK_VERSION = 1;
/** Largest meta.json that is read: sources and partitions are its only lists. */
export const META_BYTES_MAX = 4 << 20;

/** Size and CRC-32 of a whole file. */
export interface FileDigest {
  readonly sizeBytes: number;
  readonly crc32: number;
}

/** The files beside meta.json. */
export const BLOCK_FILE_NAMES = ['index', 'chunks'] as const;
export type BlockFileName = (typeof BLOCK_FILE_NAMES)[number];

export interface BlockMeta {
  readonly tenant: string;
  readonly blockId: string;
  /** Oldest and newest sample, Unix milliseconds, both inclusive. Invariant: minTimeMs <= maxTimeMs. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly seriesCount: number;
  readonly chunkCount: number;
  readonly sampleCount: number;
  /** Partitions of its series, ascending. */
  readonly partitions: readonly number[];
  /** 1 as sealed from a head; compaction gives one more than the highest of its sources. */
  readonly level: number;
  /** Ids of the blocks it was compacted from, ascending; empty at level 1. */
  readonly sources: readonly string[];
  /** Of a block of downsampled samples, milliseconds; absent in a block of samples. */
  readonly resolutionMs?: number;
  readonly files: Readonly<Record<BlockFileName, FileDigest>>;
}

/** The text of meta.json. */
export function renderBlockMeta(meta: BlockMeta): string {
  const body = JSON.stringify({
    version: BLOCK_VERSION,
    tenant: meta.tenant,
    blockId: meta.blockId,
    minTimeMs: meta.minTimeMs,
    maxTimeMs: meta.maxTimeMs,
    seriesCount: meta.seriesCount,
    chunkCount: meta.chunkCount,
    sampleCount: meta.sampleCount,
    partitions: meta.partitions,
    level: meta.level,
    sources: meta.sources,
    ...(meta.resolutionMs === undefined ? {} : { resolutionMs: meta.resolutionMs }),
    files: {
      index: digestOf(meta.files.index),
      chunks: digestOf(meta.files.chunks),
    },
  });
  return renderCheckedJson('block', body);
}

function digestOf({ sizeBytes, crc32: crc }: FileDigest): FileDigest {
  return { sizeBytes, crc32: crc };
}

/**
 * Reads meta.json.
 *
 * @param where  For messages: the file's path.
 * @throws AppError `bad_data` when anything differs from what a writer makes, or the version is unknown.
 */
export function parseBlockMeta(text: string, where: string): BlockMeta {
  return parseCheckedJson(text, where, {
    key: 'block',
    noun: 'block',
    version: BLOCK_VERSION,
    isWellFormed,
    render: renderBlockMeta,
  });
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function isWellFormed(meta: BlockMeta): boolean {
  const times = Number.isSafeInteger(meta.minTimeMs) && Number.isSafeInteger(meta.maxTimeMs);
  const counts = [meta.seriesCount, meta.chunkCount, meta.sampleCount, meta.level].every(isCount);
  const lists =
    Array.isArray(meta.partitions) &&
    meta.partitions.every(isCount) &&
    Array.isArray(meta.sources) &&
    meta.sources.every((id) => typeof id === 'string' && isBlockId(id));
  const files = BLOCK_FILE_NAMES.every((name) => {
    const digest = fieldOf(meta.files, name);
    return isCount(fieldOf(digest, 'sizeBytes')) && isCount(fieldOf(digest, 'crc32'));
  });
  const names =
    typeof meta.tenant === 'string' &&
    isTenantName(meta.tenant) &&
    typeof meta.blockId === 'string' &&
    isBlockId(meta.blockId);
  const resolution = meta.resolutionMs === undefined || (isCount(meta.resolutionMs) && meta.resolutionMs > 0);
  return times && meta.minTimeMs <= meta.maxTimeMs && counts && lists && files && names && resolution;
}

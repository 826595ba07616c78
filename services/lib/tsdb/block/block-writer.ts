// Builds one block: series in any order in, three files out. While it is being filled it holds series as runs of small
// numbers and chunk bytes in a spill file; `finish` sorts and writes. The same content gives the same block id, whatever
// the order of arrival. Format: ../docs/format/block.md.
import type { BlockFileName, BlockMeta } from './block-meta.ts';

export interface BlockBuilderOptions {
  readonly tenant: string;
  /**
   * Folder for the block's files; made when absent, must not hold a block already. The caller owns it afterwards and
   * removes it once the block has been shipped. Nothing in it is fsynced.
   */
  readonly dir: string;
  /** 1 (default) as sealed from a head. */
  readonly level?: number;
  /** Ids of the blocks that this one replaces. Default: none. */
  readonly sources?: readonly string[];
  /** Seed of the table of label pairs; default random. Has no influence on the block. */
  readonly hashSeed?: number;
}

/** A file of a finished block. */
export interface BuiltFile {
  readonly name: 'meta.json' | BlockFileName;
  readonly path: string;
  readonly sizeBytes: number;
  /** CRC-32 (IEEE) of the whole file. */
  readonly crc32: number;
}

/** A finished block: `meta` as in meta.json, and the files in the order in which they travel. */
export interface BuiltBlock {
  readonly meta: BlockMeta;
  readonly dir: string;
  readonly files: readonly BuiltFile[];
}

/**
 * Collects series and chunks of one block.
 *
 * Rules: `addSeries` once per label set, its chunks right behind it; ranges are copied; a series without chunks is left
 * out; then `finish` once, or `discard`.
 */
export interface BlockBuilder {
  /** Canonical label bytes (model/labels.ts) in bytes[start, end). */
  addSeries(bytes: Uint8Array, start: number, end: number, partition: number): void;
  /** A chunk of the series added last; `minTimeMs`, `maxTimeMs` are those of its first and last sample. */
  addChunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    sampleCount: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void;
  /** Series with chunks so far; with none there is nothing to finish. */
  readonly seriesCount: number;
  readonly sampleCount: number;
  /**
   * Sorts and writes. Gives the event loop a turn every few milliseconds.
   *
   * @throws AppError `failed_precondition` when no series has a chunk, `bad_data` when a label set was added twice,
   *         `canceled` or `timeout` as the signal says; the error of the file system as it comes.
   */
  finish(signal?: AbortSignal): Promise<BuiltBlock>;
  /** Removes what was spilled and written. Safe after `finish` and after an error. */
  discard(): Promise<void>;
}

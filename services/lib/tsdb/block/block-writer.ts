// Builds one block: series in any order in, three files out. While it is being filled it holds series as runs of small
// numbers and chunk bytes in a spill file; `finish` sorts and writes. The same content gives the same block id, whatever
// the order of arrival. Format: ../docs/format/block.md.
import { randomInt } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { assert } from '../../core/assert.ts';
import { AppError } from '../../core/errors.ts';
import { BLOCK_FILE_NAMES, type BlockFileName, type BlockMeta, renderBlockMeta } from './block-meta.ts';
import { blockIdOf, type ContentDigests, isTenantName } from './block-name.ts';
import { ChunkSpill } from './chunk-spill.ts';
import { writeBlockFiles } from './index-writer.ts';
import { OutputFile } from './output-file.ts';
import { SeriesCollector } from './series-collector.ts';
import { orderSeries } from './series-order.ts';
import { WorkPacer } from './work-pacer.ts';

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
export class BlockBuilder {
  readonly #options: BlockBuilderOptions;
  readonly #spillPath: string;
  readonly #spill: ChunkSpill;
  readonly #collector: SeriesCollector;
  #finished = false;

  constructor(options: BlockBuilderOptions) {
    assert(isTenantName(options.tenant), `tenant ${JSON.stringify(options.tenant)} can be a folder`);
    mkdirSync(options.dir, { recursive: true });
    this.#options = options;
    this.#spillPath = path.join(options.dir, 'spill');
    this.#spill = new ChunkSpill(this.#spillPath);
    this.#collector = new SeriesCollector(this.#spill, options.hashSeed ?? randomInt(0xffffffff));
  }

  /** Canonical label bytes (model/labels.ts) in bytes[start, end). */
  addSeries(bytes: Uint8Array, start: number, end: number, partition: number): void {
    this.#collector.addSeries(bytes, start, end, partition);
  }

  /** A chunk of the series added last; `minTimeMs`, `maxTimeMs` are those of its first and last sample. */
  addChunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    sampleCount: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#collector.addChunk(encoding, minTimeMs, maxTimeMs, sampleCount, bytes, start, end);
  }

  /** Series with chunks so far; with none there is nothing to finish. */
  get seriesCount(): number {
    return this.#collector.seriesCount;
  }

  get sampleCount(): number {
    return this.#collector.sampleCount;
  }

  /**
   * Sorts and writes. Gives the event loop a turn every few milliseconds.
   *
   * @throws AppError `failed_precondition` when no series has a chunk, `bad_data` when a label set was added twice,
   *         `canceled` or `timeout` as the signal says; the error of the file system as it comes.
   */
  async finish(signal?: AbortSignal): Promise<BuiltBlock> {
    assert(!this.#finished, 'finish is called once');
    this.#finished = true;
    const collector = this.#collector;
    collector.close();
    if (collector.partitions.length === 0) {
      throw new AppError('failed_precondition', 'a block of no series: no series with a chunk was added');
    }
    const pacer = new WorkPacer(signal);
    const order = await orderSeries(collector, pacer);
    const { dir } = this.#options;
    const index = await OutputFile.create(path.join(dir, 'index'));
    let chunks: OutputFile | undefined;
    try {
      chunks = await OutputFile.create(path.join(dir, 'chunks'));
      const source = { collector, order, spill: this.#spill };
      const digests = await writeBlockFiles(source, { index, chunks }, pacer);
      const files = { index: await index.close(), chunks: await chunks.close() };
      return await this.#writeMeta(this.#describe(digests, files));
    } catch (caught) {
      await index.abandon();
      await chunks?.abandon();
      throw caught;
    } finally {
      this.#spill.close();
      await rm(this.#spillPath, { force: true });
    }
  }

  /** Removes the folder with what was spilled and written. Safe after `finish` and after an error. */
  async discard(): Promise<void> {
    this.#finished = true;
    this.#spill.close();
    await rm(this.#options.dir, { recursive: true, force: true });
  }

  #describe(digests: ContentDigests, files: BlockMeta['files']): BlockMeta {
    const collector = this.#collector;
    const { tenant, level, sources } = this.#options;
    const { minTimeMs, maxTimeMs } = collector;
    return {
      tenant,
      blockId: blockIdOf(tenant, minTimeMs, digests),
      minTimeMs,
      maxTimeMs,
      seriesCount: collector.partitions.length,
      chunkCount: collector.chunks.length,
      sampleCount: collector.sampleCount,
      partitions: [...collector.heldPartitions].sort((a, b) => a - b),
      level: level ?? 1,
      sources: [...(sources ?? [])].sort(),
      files,
    };
  }

  async #writeMeta(meta: BlockMeta): Promise<BuiltBlock> {
    const { dir } = this.#options;
    const text = Buffer.from(renderBlockMeta(meta));
    const metaPath = path.join(dir, 'meta.json');
    await writeFile(metaPath, text, { flag: 'wx' });
    const metaFile = {
      name: 'meta.json',
      path: metaPath,
      sizeBytes: text.length,
      crc32: crc32(text),
    } as const;
    const others = BLOCK_FILE_NAMES.map((name) => ({
      name,
      path: path.join(dir, name),
      ...meta.files[name],
    }));
    return { meta, dir, files: [metaFile, ...others] };
  }
}

// Writes one block from series that come in label order, as merged blocks give them: labels and chunks go to the disk as
// they come, and what stays in memory are label pairs and four bytes per label of each series, whatever the chunks weigh.
// BlockBuilder is for series in any order. Same format, same id: ../docs/format/block.md.
import { createHash } from 'node:crypto';
import path from 'node:path';
import { assert } from '../../core/assert.ts';
import { ByteWriter, encodeUtf8 } from '../../core/bytes.ts';
import type { Disk } from '../../core/disk.ts';
import {
  CHUNK_BYTES_MAX,
  CHUNK_PAGE_BYTES,
  CHUNKS_MAGIC,
  GROUP_SIZE,
  INDEX_MAGIC,
  INDEX_PAGE_BYTES,
} from './block-format.ts';
import { type BlockMeta, renderBlockMeta } from './block-meta.ts';
import { blockIdOf } from './block-name.ts';
import { Uint32Column } from './columns.ts';
import { fileHeader, LabelFolder, writeIndexEnd } from './index-writer.ts';
import { OutputFile } from './output-file.ts';
import { PagedWriter } from './paged-writer.ts';
import { PairTable } from './pair-table.ts';
import { internPairs } from './series-collector.ts';
import { orderSortedSeries } from './series-order.ts';
import type { WorkPacer } from './work-pacer.ts';

export interface SortedBlockOptions {
  readonly tenant: string;
  /** An existing, empty folder of the caller's. */
  readonly dir: string;
  readonly level: number;
  /** Ids of the sealed blocks whose samples it holds. */
  readonly sources: readonly string[];
  /** No sample is older. The oldest sample's own time, unless samples were left out on the way. */
  readonly minTimeMs: number;
  /** Of downsampled samples, milliseconds; 0 for samples. */
  readonly resolutionMs: number;
  /** Seed of the table of label pairs. Has no influence on the block. */
  readonly hashSeed: number;
}

/** A chunk to be written; its bytes stand in bytes[start, end), read only and not retained. */
export interface ChunkToWrite {
  readonly encoding: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly sampleCount: number;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/**
 * Rules: `beginSeries` in label order, each label set once; `addChunk` for its chunks, ascending by first sample, at least
 * one; `settle` now and then; `finish` once, or `abandon`.
 */
export class SortedBlockWriter {
  readonly #options: SortedBlockOptions;
  readonly #disk: Disk;
  readonly #index: OutputFile;
  readonly #chunksFile: OutputFile;
  readonly #chunksHash = createHash('sha256');
  readonly #seriesHash = createHash('sha256');
  readonly #chunks: PagedWriter;
  readonly #series: PagedWriter;
  readonly #groups: PagedWriter;
  readonly #groupPages: Uint8Array<ArrayBuffer>[] = [];
  readonly #folder = new LabelFolder();
  readonly #pairs: PairTable;
  readonly #seriesPairs = new Uint32Column();
  readonly #pairStarts = new Uint32Column();
  readonly #partitions = new Uint32Column();
  readonly #heldPartitions = new Set<number>();
  /** Chunk entries of the current series. */
  readonly #entries = new ByteWriter(1024);
  #entryCount = 0;
  #sinceMs = 0;
  #groupStart = 0;
  #chunkCount = 0;
  #sampleCount = 0;
  #maxTimeMs = Number.NEGATIVE_INFINITY;

  private constructor(options: SortedBlockOptions, disk: Disk, index: OutputFile, chunks: OutputFile) {
    this.#options = options;
    this.#disk = disk;
    this.#index = index;
    this.#chunksFile = chunks;
    this.#pairs = new PairTable(options.hashSeed);
    this.#chunks = new PagedWriter(CHUNK_PAGE_BYTES, (page) => chunks.append(page), this.#chunksHash);
    this.#series = new PagedWriter(INDEX_PAGE_BYTES, (page) => index.append(page), this.#seriesHash);
    this.#groups = new PagedWriter(INDEX_PAGE_BYTES, (page) => this.#groupPages.push(page));
    index.append(fileHeader(INDEX_MAGIC));
    chunks.append(fileHeader(CHUNKS_MAGIC));
  }

  static async create(options: SortedBlockOptions, disk: Disk): Promise<SortedBlockWriter> {
    const index = await OutputFile.createOn(disk, path.join(options.dir, 'index'));
    try {
      const chunks = await OutputFile.createOn(disk, path.join(options.dir, 'chunks'));
      return new SortedBlockWriter(options, disk, index, chunks);
    } catch (caught) {
      await index.abandon();
      throw caught;
    }
  }

  get seriesCount(): number {
    return this.#partitions.length;
  }

  get sampleCount(): number {
    return this.#sampleCount;
  }

  /** Canonical label bytes in bytes[start, end). */
  beginSeries(bytes: Uint8Array, start: number, end: number, partition: number): void {
    this.#endSeries();
    const id = this.#partitions.length;
    const { raw } = this.#series;
    if (id % GROUP_SIZE === 0) {
      if (id > 0) this.#groups.raw.varint(this.#series.position - this.#groupStart);
      this.#groupStart = this.#series.position;
      raw.varint(this.#chunks.position);
      this.#folder.restart();
    }
    this.#folder.write(bytes, start, end, raw);
    raw.varint(partition);
    this.#pairStarts.push(this.#seriesPairs.length);
    internPairs(this.#pairs, this.#seriesPairs, bytes, start, end);
    this.#partitions.push(partition);
    this.#heldPartitions.add(partition);
    this.#sinceMs = this.#options.minTimeMs;
  }

  addChunk({ encoding, minTimeMs, maxTimeMs, sampleCount, bytes, start, end }: ChunkToWrite): void {
    const length = end - start;
    assert(length > 0 && length <= CHUNK_BYTES_MAX, `0 < chunk bytes ${length} <= ${CHUNK_BYTES_MAX}`);
    assert(
      minTimeMs >= this.#sinceMs && minTimeMs <= maxTimeMs,
      `chunk from ${minTimeMs} to ${maxTimeMs}, behind ${this.#sinceMs}`,
    );
    const entries = this.#entries;
    entries.u8(encoding);
    entries.varint(minTimeMs - this.#sinceMs);
    entries.varint(maxTimeMs - minTimeMs);
    entries.varint(sampleCount);
    entries.varint(length);
    this.#chunks.raw.raw(bytes, start, end);
    this.#entryCount++;
    this.#sinceMs = minTimeMs;
    this.#sampleCount += sampleCount;
    this.#maxTimeMs = Math.max(this.#maxTimeMs, maxTimeMs);
  }

  /** Compresses the pages that are full and writes them; returns how many they were. */
  async settle(): Promise<number> {
    const pages = this.#chunks.cut() + this.#series.cut() + this.#groups.cut();
    if (pages > 0) {
      await this.#chunksFile.flushIfLarge();
      await this.#index.flushIfLarge();
    }
    return pages;
  }

  /** Writes the rest; all three files are synced, the folder is not. */
  async finish(pacer: WorkPacer): Promise<BlockMeta> {
    assert(this.seriesCount > 0, 'a block has series');
    this.#endSeries();
    this.#pairStarts.push(this.#seriesPairs.length);
    this.#groups.raw.varint(this.#series.position - this.#groupStart);
    const sections = {
      chunks: this.#chunks.finish(),
      series: this.#series.finish(),
      groups: this.#groups.finish(),
    };
    for (const page of this.#groupPages) this.#index.append(page);
    const collected = {
      pairs: this.#pairs,
      seriesPairs: this.#seriesPairs,
      pairStarts: this.#pairStarts,
      partitions: this.#partitions,
      minTimeMs: this.#options.minTimeMs,
      maxTimeMs: this.#maxTimeMs,
    };
    const order = await orderSortedSeries(collected, pacer);
    await writeIndexEnd(collected, order, sections, this.#index, pacer);
    const files = { index: await this.#index.closeSynced(), chunks: await this.#chunksFile.closeSynced() };
    const meta = this.#describe(files);
    await this.#writeMeta(meta);
    return meta;
  }

  /** Closes the files; removing the folder is the caller's. */
  async abandon(): Promise<void> {
    await this.#index.abandon();
    await this.#chunksFile.abandon();
  }

  #endSeries(): void {
    if (this.#partitions.length === 0) return;
    assert(this.#entryCount > 0, 'a series has chunks');
    const { raw } = this.#series;
    raw.varint(this.#entryCount);
    raw.raw(this.#entries.bytes, 0, this.#entries.length);
    this.#chunkCount += this.#entryCount;
    this.#entries.reset();
    this.#entryCount = 0;
  }

  #describe(files: BlockMeta['files']): BlockMeta {
    const { tenant, level, sources, minTimeMs, resolutionMs } = this.#options;
    const digests = { series: this.#seriesHash.digest(), chunks: this.#chunksHash.digest() };
    return {
      tenant,
      blockId: blockIdOf(tenant, minTimeMs, digests, resolutionMs),
      minTimeMs,
      maxTimeMs: this.#maxTimeMs,
      seriesCount: this.#partitions.length,
      chunkCount: this.#chunkCount,
      sampleCount: this.#sampleCount,
      partitions: [...this.#heldPartitions].sort((a, b) => a - b),
      level,
      sources: [...sources].sort(),
      ...(resolutionMs > 0 ? { resolutionMs } : {}),
      files,
    };
  }

  async #writeMeta(meta: BlockMeta): Promise<void> {
    const text = encodeUtf8(renderBlockMeta(meta));
    const file = await this.#disk.open(path.join(this.#options.dir, 'meta.json'), 'create');
    try {
      await file.write(text, 0, text.length, 0);
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

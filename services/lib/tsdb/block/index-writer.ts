// Writes the two data files of a sorted block, section by section: docs/format/block.md draws each.
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { ByteWriter } from '../../core/bytes.ts';
import {
  CHUNK_PAGE_BYTES,
  CHUNKS_MAGIC,
  FILE_VERSION,
  GROUP_SIZE,
  INDEX_FOOTER_BYTES,
  INDEX_MAGIC,
  INDEX_PAGE_BYTES,
} from './block-format.ts';
import type { ContentDigests } from './block-name.ts';
import { sharedPrefixBytes, sharedSuffixBytes } from './byte-ranges.ts';
import type { ChunkSpill } from './chunk-spill.ts';
import { collectPostings, type LabelledSeries, writeLabelTables } from './label-table-writer.ts';
import type { OutputFile } from './output-file.ts';
import { PagedWriter, type SectionTable } from './paged-writer.ts';
import type { SeriesCollector } from './series-collector.ts';
import type { SeriesOrder } from './series-order.ts';
import { UNITS_PER_PAGE, type WorkPacer } from './work-pacer.ts';

/** Work of one series, labels and chunks, in the pacer's units. */
const UNITS_PER_SERIES = 4;

export interface BlockSource {
  readonly collector: SeriesCollector;
  readonly order: SeriesOrder;
  readonly spill: ChunkSpill;
}

export interface BlockOutputs {
  readonly index: OutputFile;
  readonly chunks: OutputFile;
}

/** Magic and version: the first bytes of a file. */
export function fileHeader(magic: number): Uint8Array<ArrayBuffer> {
  const header = new ByteWriter(8);
  header.u32(magic);
  header.u32(FILE_VERSION);
  return header.take();
}

/** Writes both files up to their last byte; closing them is the caller's. */
export async function writeBlockFiles(
  source: BlockSource,
  outputs: BlockOutputs,
  pacer: WorkPacer,
): Promise<ContentDigests> {
  const { collector, order } = source;
  outputs.index.append(fileHeader(INDEX_MAGIC));
  outputs.chunks.append(fileHeader(CHUNKS_MAGIC));
  const written = await writeSeries(source, outputs, pacer);
  await writeIndexEnd(collector, order, written, outputs.index, pacer);
  return written.digests;
}

/** What the end of an index says of the whole block, and what its label tables are made of. */
export type IndexedSeries = LabelledSeries & Pick<SeriesCollector, 'minTimeMs' | 'maxTimeMs' | 'partitions'>;

/** Writes what stands behind the groups: label tables, directory and footer. */
export async function writeIndexEnd(
  collector: IndexedSeries,
  order: SeriesOrder,
  written: Pick<WrittenSeries, 'chunks' | 'series' | 'groups'>,
  index: OutputFile,
  pacer: WorkPacer,
): Promise<void> {
  const postings = await collectPostings(collector, order, pacer);
  const tables = await writeLabelTables(collector.pairs, order.pairOrder, postings, index, pacer);
  const directory = new ByteWriter(4096);
  directory.f64(collector.minTimeMs);
  directory.f64(collector.maxTimeMs);
  directory.varint(collector.partitions.length);
  directory.varint(tables.nameCount);
  const sections = [
    written.chunks,
    written.series,
    written.groups,
    tables.postings,
    tables.values,
    tables.names,
  ];
  for (const section of sections) writeSectionTable(section, directory);
  const directoryBytes = directory.length;
  directory.u32(directoryBytes);
  directory.u32(FILE_VERSION);
  directory.u32(INDEX_MAGIC);
  directory.u32(crc32(directory.bytes.subarray(0, directoryBytes + INDEX_FOOTER_BYTES - 4)));
  index.append(directory.take());
}

function writeSectionTable(section: SectionTable, directory: ByteWriter): void {
  directory.varint(section.rawBytes);
  directory.varint(section.pageBytes);
  directory.varint(section.storedBytes.length);
  for (const bytes of section.storedBytes) directory.varint(bytes);
}

export interface WrittenSeries {
  readonly chunks: SectionTable;
  readonly series: SectionTable;
  readonly groups: SectionTable;
  readonly digests: ContentDigests;
}

/** Chunks, series and groups, in one walk over the sorted series. */
async function writeSeries(
  source: BlockSource,
  outputs: BlockOutputs,
  pacer: WorkPacer,
): Promise<WrittenSeries> {
  const { collector, order } = source;
  const chunksHash = createHash('sha256');
  const seriesHash = createHash('sha256');
  const groupPages: Uint8Array<ArrayBuffer>[] = [];
  const chunks = new PagedWriter(CHUNK_PAGE_BYTES, (page) => outputs.chunks.append(page), chunksHash);
  const series = new PagedWriter(INDEX_PAGE_BYTES, (page) => outputs.index.append(page), seriesHash);
  const groups = new PagedWriter(INDEX_PAGE_BYTES, (page) => groupPages.push(page));
  const labels = new LabelFolder();
  const labelBytes = new ByteWriter(1024);
  let groupStart = 0;
  for (let id = 0; id < order.seriesOrder.length; id++) {
    const number = order.seriesOrder[id]!;
    if (id % GROUP_SIZE === 0) {
      if (id > 0) groups.raw.varint(series.position - groupStart);
      groupStart = series.position;
      series.raw.varint(chunks.position);
      labels.restart();
    }
    joinLabels(source, number, labelBytes);
    labels.write(labelBytes.bytes, 0, labelBytes.length, series.raw);
    series.raw.varint(collector.partitions.array[number]!);
    writeChunks(source, number, series.raw, chunks.raw);
    const pages = chunks.cut() + series.cut() + groups.cut();
    if (pacer.spend(UNITS_PER_SERIES + pages * UNITS_PER_PAGE)) {
      await outputs.chunks.flushIfLarge();
      await outputs.index.flushIfLarge();
      await pacer.pause();
    }
  }
  groups.raw.varint(series.position - groupStart);
  const tables = { chunks: chunks.finish(), series: series.finish(), groups: groups.finish() };
  for (const page of groupPages) outputs.index.append(page);
  return { ...tables, digests: { series: seriesHash.digest(), chunks: chunksHash.digest() } };
}

/** The label bytes of a series, from its pairs. */
function joinLabels({ collector, order }: BlockSource, series: number, dst: ByteWriter): void {
  const { pairs } = collector;
  dst.reset();
  const end = collector.pairStarts.array[series + 1]!;
  for (let i = collector.pairStarts.array[series]!; i < end; i++) {
    const pair = order.pairOrder[collector.seriesPairs.array[i]!]!;
    dst.raw(pairs.bytes, pairs.startOf(pair), pairs.endOf(pair));
  }
}

/** Writes label bytes against those of the series before: what they share in front and behind is not repeated. */
export class LabelFolder {
  readonly #previous = new ByteWriter(1024);

  /** The next series is written whole. */
  restart(): void {
    this.#previous.reset();
  }

  write(bytes: Uint8Array, start: number, end: number, dst: ByteWriter): void {
    const previous = this.#previous;
    const prefix = sharedPrefixBytes(bytes, start, end, previous.bytes, 0, previous.length);
    const from = start + prefix;
    const suffix = sharedSuffixBytes(bytes, from, end, previous.bytes, prefix, previous.length);
    dst.varint(prefix);
    dst.varint(suffix);
    dst.varint(end - from - suffix);
    dst.raw(bytes, from, end - suffix);
    previous.reset();
    previous.raw(bytes, start, end);
  }
}

function writeChunks(source: BlockSource, series: number, dst: ByteWriter, chunkBytes: ByteWriter): void {
  const { collector, spill } = source;
  const { chunks } = collector;
  const first = collector.chunkStarts.array[series]!;
  const end = collector.chunkStarts.array[series + 1]!;
  let since = collector.minTimeMs;
  dst.varint(end - first);
  for (let i = first; i < end; i++) {
    const minTimeMs = chunks.minTimesMs.array[i]!;
    dst.u8(chunks.encodings.array[i]!);
    dst.varint(minTimeMs - since);
    dst.varint(chunks.maxTimesMs.array[i]! - minTimeMs);
    dst.varint(chunks.sampleCounts.array[i]!);
    dst.varint(chunks.bytes.array[i]!);
    spill.read(chunks.positions.array[i]!, chunks.bytes.array[i]!, chunkBytes);
    since = minTimeMs;
  }
}

// Makes the block of a coarser resolution of a block of samples, series by series: memory is that of one series, and of the new
// block's label table.
import type { Disk } from '../../core/disk.ts';
import { CHUNK_EXEMPLARS, CHUNK_START_TIMES } from '../../model/chunk-sink.ts';
import type { BlockMeta } from '../block/block-meta.ts';
import type { BlockReader } from '../block/block-reader.ts';
import { type ChunkToWrite, SortedBlockWriter } from '../block/sorted-block-writer.ts';
import { UNITS_PER_PAGE, type WorkPacer } from '../block/work-pacer.ts';
import { SeriesChunker, SeriesSamples } from '../chunk/series-samples.ts';
import { leavesOf, SourceInput } from '../compact/merge-blocks.ts';
import type { SeriesPart } from '../compact/series-merger.ts';
import { downsampleSeries } from './downsample-series.ts';

/** Cells of a chunk: two days of five minutes, and a half. */
const CELLS_PER_CHUNK = 960;
/** Work of one series, in the pacer's units, and of a sample of it. */
const UNITS_PER_SERIES = 10;
const UNITS_PER_SAMPLE = 0.1;
/** Series between two reports of progress. */
const SERIES_PER_REPORT = 4096;

export interface DownsampleOptions {
  /** An existing, empty folder for the new block; the caller's, also after an error. */
  readonly dir: string;
  /** Whole milliseconds, above 0. */
  readonly resolutionMs: number;
  readonly hashSeed: number;
}

export interface DownsampleDeps {
  /** Where the new block is written. */
  readonly disk: Disk;
  /** Carries the signal that ends the work. */
  readonly pacer: WorkPacer;
  /** Told now and then how many series are written. */
  readonly onProgress?: (series: number) => void;
}

/**
 * Writes the block, its files synced. Its sources are the sealed blocks that are in `source`, its level is that of `source`.
 * Equal sources give equal blocks, with equal ids.
 *
 * @param source  A block of samples, open until this is over.
 * @returns       Undefined when nothing is left: `source` holds exemplars only.
 * @throws CorruptSourceError when the source is damaged; the signal's reason; the error of the disk as it comes.
 */
export async function downsampleBlock(
  source: BlockReader,
  options: DownsampleOptions,
  deps: DownsampleDeps,
): Promise<BlockMeta | undefined> {
  const { meta } = source;
  const { pacer } = deps;
  const writer = await SortedBlockWriter.create(
    {
      tenant: meta.tenant,
      dir: options.dir,
      level: meta.level,
      sources: leavesOf(meta),
      minTimeMs: meta.minTimeMs,
      resolutionMs: options.resolutionMs,
      hashSeed: options.hashSeed,
    },
    deps.disk,
  );
  try {
    const input = new SourceInput({ reader: source, deletions: [] });
    const worker = new SeriesDownsampler(writer, options.resolutionMs);
    for (let series = 1; input.advance(); series++) {
      const samples = worker.add(await input.load(pacer));
      const pages = await writer.settle();
      const units = UNITS_PER_SERIES + samples * UNITS_PER_SAMPLE + pages * UNITS_PER_PAGE;
      if (pacer.spend(units)) await pacer.pause();
      if (series % SERIES_PER_REPORT === 0) deps.onProgress?.(writer.seriesCount);
    }
    if (writer.seriesCount > 0) return await writer.finish(pacer);
    await writer.abandon();
    return undefined;
  } catch (caught) {
    await writer.abandon();
    throw caught;
  }
}

class SeriesDownsampler {
  readonly #writer: SortedBlockWriter;
  readonly #resolutionMs: number;
  readonly #series = new SeriesSamples();
  readonly #result = new SeriesSamples();
  readonly #chunker = new SeriesChunker(CELLS_PER_CHUNK);

  constructor(writer: SortedBlockWriter, resolutionMs: number) {
    this.#writer = writer;
    this.#resolutionMs = resolutionMs;
  }

  /** Writes what stands for the series; returns how many samples that were. */
  add({ cursor, blame }: SeriesPart): number {
    const series = this.#series;
    series.clear();
    const { chunks } = cursor;
    for (let i = 0; i < chunks.count; i++) {
      const encoding = chunks.encodings[i]!;
      if (encoding === CHUNK_EXEMPLARS || encoding === CHUNK_START_TIMES) continue;
      try {
        cursor.withChunk(i, (bytes, start, end) => series.addChunk(encoding, bytes, start, end));
      } catch (caught) {
        throw blame(caught);
      }
    }
    series.settle();
    const result = this.#result;
    result.clear();
    downsampleSeries(series, this.#resolutionMs, result);
    const written: ChunkToWrite[] = [];
    this.#chunker.emit(result, (encoding, minTimeMs, maxTimeMs, sampleCount, bytes, start, end) => {
      const own = bytes.slice(start, end);
      written.push({ encoding, minTimeMs, maxTimeMs, sampleCount, bytes: own, start: 0, end: own.length });
    });
    if (written.length === 0) return 0;
    written.sort((a, b) => a.minTimeMs - b.minTimeMs);
    this.#writer.beginSeries(cursor.labelBytes, 0, cursor.labelLength, cursor.partition);
    for (const chunk of written) this.#writer.addChunk(chunk);
    return series.floats.count + series.histograms.count;
  }
}

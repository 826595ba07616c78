// Merges the chunks of one series from several blocks and writes the outcome. Chunks that overlap nothing pass as they are;
// equal ones pass once; only where different chunks overlap, or a delete cuts into one, are samples decoded, united by
// the fixed tie-break and encoded again. Small neighbours become one chunk on the way.
import { ByteWriter } from '../../core/bytes.ts';
import { CHUNK_EXEMPLARS } from '../../model/chunk-sink.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import type { BlockCursor } from '../block/block-cursor.ts';
import { compareRanges } from '../block/byte-ranges.ts';
import type { ChunkToWrite, SortedBlockWriter } from '../block/sorted-block-writer.ts';
import { ChunkEncoder } from '../chunk/chunk-encoder.ts';
import { decodeChunk, isChunkEncoding } from '../chunk/decode-chunk.ts';
import { appendSamples, sortAndDedupeSamples } from '../chunk/merge-samples.ts';
import { SeriesChunker, SeriesSamples } from '../chunk/series-samples.ts';
import { BLOCK_CHUNK_SAMPLES } from '../head/head-seal.ts';
import { coversAll, dropHidden, type TimeRanges, touchesAny } from '../tombstones/deletion.ts';
import { hideSince, markOf } from '../tombstones/hide-samples.ts';

/**
 * Chunks of up to so many samples are joined with their neighbours: two hours at 30 s. Larger ones gain little from it (the
 * header of 15 bytes is a tenth of a chunk of 480 samples) and pass without being decoded.
 */
const SMALL_SAMPLES = BLOCK_CHUNK_SAMPLES / 4;

/** A block's part of a series. */
export interface SeriesPart {
  /** Stands at the series; its chunks are loaded. */
  readonly cursor: BlockCursor;
  /** What deletes hide of it. */
  readonly hidden: TimeRanges;
  /** Makes of what was thrown while a chunk of it was read the error to throw on. */
  readonly blame: (caught: unknown) => unknown;
}

/** A chunk of a part. */
interface Row {
  readonly part: SeriesPart;
  readonly index: number;
  readonly encoding: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly sampleCount: number;
}

/** What was done with chunks and samples, for metrics and progress. */
export interface MergeCounts {
  chunksPassed: number;
  chunksDecoded: number;
  /** Samples that went into decoding more than once, or that a delete hid. */
  samplesDropped: number;
}

export class SeriesMerger {
  readonly counts: MergeCounts = { chunksPassed: 0, chunksDecoded: 0, samplesDropped: 0 };
  readonly #writer: SortedBlockWriter;
  readonly #encoder = new ChunkEncoder(BLOCK_CHUNK_SAMPLES);
  readonly #encoded = new ByteWriter(4096);
  readonly #first = new ByteWriter(4096);
  /** Decoded samples that wait for a neighbour. */
  readonly #held = new SampleColumns(BLOCK_CHUNK_SAMPLES);
  readonly #cluster = new SampleColumns(BLOCK_CHUNK_SAMPLES);
  readonly #series = new SeriesSamples();
  readonly #chunker = new SeriesChunker(BLOCK_CHUNK_SAMPLES);
  #owner: BlockCursor | undefined;

  constructor(writer: SortedBlockWriter) {
    this.#writer = writer;
  }

  /** Writes the series with what is left of it; nothing when that is nothing. All parts stand at the same label set. */
  merge(parts: readonly SeriesPart[]): void {
    this.#owner = parts[0]!.cursor;
    const rows = rowsOf(parts);
    if (rows.some(({ encoding }) => !isChunkEncoding(encoding))) {
      if (areApart(parts, rows)) for (const row of rows) this.#pass(row);
      else this.#mergeAll(parts, rows);
      return;
    }
    for (let at = 0; at < rows.length; ) {
      let end = at + 1;
      let maxTimeMs = rows[at]!.maxTimeMs;
      while (end < rows.length && rows[end]!.minTimeMs <= maxTimeMs) {
        maxTimeMs = Math.max(maxTimeMs, rows[end]!.maxTimeMs);
        end++;
      }
      this.#mergeCluster(rows, at, end);
      at = end;
    }
    this.#flush();
  }

  /** Rows [from, to) overlap one another in a chain, and nothing else. */
  #mergeCluster(rows: readonly Row[], from: number, to: number): void {
    const first = rows[from]!;
    const isWhole = isUntouched(first) && (to - from === 1 || this.#areEqual(rows, from, to));
    if (!isWhole) {
      this.#decodeCluster(rows, from, to);
      return;
    }
    const next = rows[to];
    const isJoined =
      first.sampleCount <= SMALL_SAMPLES &&
      (this.#held.count > 0 || (next !== undefined && next.sampleCount <= SMALL_SAMPLES));
    if (!isJoined) {
      this.#flush();
      this.#pass(first);
      return;
    }
    if (this.#held.count + first.sampleCount > BLOCK_CHUNK_SAMPLES) this.#flush();
    this.#decode(first, this.#held);
  }

  /** A series that holds more than floats is decoded whole where its parts overlap: kinds depend on one another. */
  #mergeAll(parts: readonly SeriesPart[], rows: readonly Row[]): void {
    const series = this.#series;
    series.clear();
    for (const part of parts) {
      const mark = markOf(series);
      for (const row of rows) if (row.part === part) this.#collect(row, series);
      hideSince(series, mark, part.hidden);
    }
    series.settle();
    const chunks: ChunkToWrite[] = [];
    this.#chunker.emit(series, (encoding, minTimeMs, maxTimeMs, sampleCount, bytes, start, end) => {
      const own = bytes.slice(start, end);
      chunks.push({ encoding, minTimeMs, maxTimeMs, sampleCount, bytes: own, start: 0, end: own.length });
    });
    chunks.sort((a, b) => a.minTimeMs - b.minTimeMs);
    for (const chunk of chunks) {
      this.#begin();
      this.#writer.addChunk(chunk);
    }
    const sum = (all: readonly { readonly sampleCount: number }[]) =>
      all.reduce((total, { sampleCount }) => total + sampleCount, 0);
    this.counts.samplesDropped += sum(rows) - sum(chunks);
  }

  #collect({ part, index, encoding }: Row, into: SeriesSamples): void {
    this.counts.chunksDecoded++;
    try {
      part.cursor.withChunk(index, (bytes, start, end) => {
        // Exemplars stay views of what they were read from.
        const own = encoding === CHUNK_EXEMPLARS ? bytes.slice(start, end) : undefined;
        if (own === undefined) into.addChunk(encoding, bytes, start, end);
        else into.addChunk(encoding, own, 0, own.length);
      });
    } catch (caught) {
      throw part.blame(caught);
    }
  }

  #decodeCluster(rows: readonly Row[], from: number, to: number): void {
    const columns = this.#cluster;
    columns.count = 0;
    let before = 0;
    for (let i = from; i < to; i++) {
      const row = rows[i]!;
      before += row.sampleCount;
      if (coversAll(row.part.hidden, row.minTimeMs, row.maxTimeMs)) continue;
      const start = columns.count;
      this.#decode(row, columns);
      if (row.part.hidden.length > 0) dropHidden(columns, start, row.part.hidden);
    }
    sortAndDedupeSamples(columns);
    this.counts.samplesDropped += before - columns.count;
    if (this.#held.count + columns.count > BLOCK_CHUNK_SAMPLES) this.#flush();
    appendSamples(this.#held, columns);
    if (this.#held.count > SMALL_SAMPLES) this.#flush();
  }

  #decode({ part, index, encoding }: Row, into: SampleColumns): void {
    this.counts.chunksDecoded++;
    try {
      part.cursor.withChunk(index, (bytes, start, end) => decodeChunk(encoding, bytes, start, end, into));
    } catch (caught) {
      throw part.blame(caught);
    }
  }

  #pass({ part, index, encoding, minTimeMs, maxTimeMs, sampleCount }: Row): void {
    this.counts.chunksPassed++;
    this.#begin();
    part.cursor.withChunk(index, (bytes, start, end) => {
      this.#writer.addChunk({ encoding, minTimeMs, maxTimeMs, sampleCount, bytes, start, end });
    });
  }

  /** Writes the samples that wait. */
  #flush(): void {
    const { timestampsMs, values, count } = this.#held;
    for (let from = 0; from < count; from += BLOCK_CHUNK_SAMPLES) {
      const to = Math.min(count, from + BLOCK_CHUNK_SAMPLES);
      this.#encoded.reset();
      const encoding = this.#encoder.encode(timestampsMs, values, from, to, this.#encoded);
      this.#begin();
      this.#writer.addChunk({
        encoding,
        minTimeMs: timestampsMs[from]!,
        maxTimeMs: timestampsMs[to - 1]!,
        sampleCount: to - from,
        bytes: this.#encoded.bytes,
        start: 0,
        end: this.#encoded.length,
      });
    }
    this.#held.count = 0;
  }

  /** The series is begun with its first chunk: one of which nothing is left must not be there. */
  #begin(): void {
    if (this.#owner === undefined) return;
    const { labelBytes, labelLength, partition } = this.#owner;
    this.#writer.beginSeries(labelBytes, 0, labelLength, partition);
    this.#owner = undefined;
  }

  /** True when all rows have the same bytes, and no delete touches any. */
  #areEqual(rows: readonly Row[], from: number, to: number): boolean {
    const first = rows[from]!;
    for (let i = from + 1; i < to; i++) {
      const row = rows[i]!;
      const isSame =
        row.encoding === first.encoding &&
        row.minTimeMs === first.minTimeMs &&
        row.maxTimeMs === first.maxTimeMs &&
        row.sampleCount === first.sampleCount;
      if (!isSame || !isUntouched(row)) return false;
    }
    const copy = this.#first;
    copy.reset();
    first.part.cursor.withChunk(first.index, (bytes, start, end) => copy.raw(bytes, start, end));
    let equal = true;
    for (let i = from + 1; i < to && equal; i++) {
      rows[i]!.part.cursor.withChunk(rows[i]!.index, (bytes, start, end) => {
        equal = compareRanges(copy.bytes, 0, copy.length, bytes, start, end) === 0;
      });
    }
    if (equal) this.counts.samplesDropped += (to - from - 1) * first.sampleCount;
    return equal;
  }
}

function isUntouched({ part, minTimeMs, maxTimeMs }: Row): boolean {
  return !touchesAny(part.hidden, minTimeMs, maxTimeMs);
}

/** True when no delete touches any, and each part ends before the next begins: then all pass as they are. */
function areApart(parts: readonly SeriesPart[], rows: readonly Row[]): boolean {
  if (!rows.every(isUntouched)) return false;
  const spans = parts.map((part) => {
    const own = rows.filter((row) => row.part === part);
    return {
      minTimeMs: Math.min(...own.map(({ minTimeMs }) => minTimeMs)),
      maxTimeMs: Math.max(...own.map(({ maxTimeMs }) => maxTimeMs)),
    };
  });
  spans.sort((a, b) => a.minTimeMs - b.minTimeMs);
  return spans.every(({ minTimeMs }, i) => i === 0 || minTimeMs > spans[i - 1]!.maxTimeMs);
}

/** Chunks of all parts, ascending by first sample. */
function rowsOf(parts: readonly SeriesPart[]): Row[] {
  const rows: Row[] = [];
  for (const part of parts) {
    const { chunks } = part.cursor;
    for (let index = 0; index < chunks.count; index++) {
      rows.push({
        part,
        index,
        encoding: chunks.encodings[index]!,
        minTimeMs: chunks.minTimesMs[index]!,
        maxTimeMs: chunks.maxTimesMs[index]!,
        sampleCount: chunks.sampleCounts[index]!,
      });
    }
  }
  return rows.sort((a, b) => a.minTimeMs - b.minTimeMs || a.maxTimeMs - b.maxTimeMs);
}

// What a block is built from: series as runs of pair numbers, chunks as columns, chunk bytes in the spill. A million
// series of a dozen labels take some 100 MB here, whatever their chunks weigh.
import { assert } from '../../core/assert.ts';
import { ByteReader } from '../../core/bytes.ts';
import { CHUNK_BYTES_MAX, LABELS_BYTES_MAX } from './block-format.ts';
import { compareRanges } from './byte-ranges.ts';
import type { ChunkSpill } from './chunk-spill.ts';
import { Float64Column, Uint32Column } from './columns.ts';
import { PairTable } from './pair-table.ts';

/** Chunks of all series, those of one series next to one another, ascending by first sample. */
export class ChunkColumns {
  readonly positions = new Float64Column();
  readonly minTimesMs = new Float64Column();
  readonly maxTimesMs = new Float64Column();
  readonly sampleCounts = new Uint32Column();
  readonly bytes = new Uint32Column();
  readonly encodings = new Uint32Column();

  get length(): number {
    return this.bytes.length;
  }

  /** Moves the last chunk in front of those from `first` on that begin later: chunks mostly come in order. */
  settleLast(first: number): void {
    const times = this.minTimesMs.array;
    const columns = [
      this.positions.array,
      this.minTimesMs.array,
      this.maxTimesMs.array,
      this.sampleCounts.array,
      this.bytes.array,
      this.encodings.array,
    ];
    for (let i = this.length - 1; i > first && times[i]! < times[i - 1]!; i--) {
      for (const column of columns) {
        const moved = column[i]!;
        column[i] = column[i - 1]!;
        column[i - 1] = moved;
      }
    }
  }
}

export class SeriesCollector {
  readonly pairs: PairTable;
  readonly chunks = new ChunkColumns();
  /** Pair numbers of series i stand in seriesPairs[pairStarts[i], pairStarts[i + 1]); chunks likewise. */
  readonly seriesPairs = new Uint32Column();
  readonly pairStarts = new Uint32Column();
  readonly chunkStarts = new Uint32Column();
  readonly partitions = new Uint32Column();
  readonly #spill: ChunkSpill;
  minTimeMs = Number.POSITIVE_INFINITY;
  maxTimeMs = Number.NEGATIVE_INFINITY;
  sampleCount = 0;

  constructor(spill: ChunkSpill, hashSeed: number) {
    this.#spill = spill;
    this.pairs = new PairTable(hashSeed);
  }

  /** Partitions of the series that have a chunk. */
  readonly heldPartitions = new Set<number>();

  /** Series that have a chunk. */
  get seriesCount(): number {
    const begun = this.partitions.length;
    return begun > 0 && this.#lastIsEmpty() ? begun - 1 : begun;
  }

  addSeries(bytes: Uint8Array, start: number, end: number, partition: number): void {
    assert(end - start <= LABELS_BYTES_MAX, `label bytes ${end - start} <= ${LABELS_BYTES_MAX}`);
    assert(
      Number.isInteger(partition) && partition >= 0 && partition <= 0xffffffff,
      `partition ${partition} is a u32`,
    );
    this.#dropEmptyLast();
    this.pairStarts.push(this.seriesPairs.length);
    this.chunkStarts.push(this.chunks.length);
    this.partitions.push(partition);
    internPairs(this.pairs, this.seriesPairs, bytes, start, end);
  }

  addChunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    sampleCount: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const { chunks } = this;
    assert(this.partitions.length > 0, 'addChunk comes behind addSeries');
    assert(
      encoding > 0 && encoding < 256 && sampleCount >= 0,
      `encoding ${encoding}, ${sampleCount} samples`,
    );
    assert(
      end > start && end - start <= CHUNK_BYTES_MAX,
      `0 < chunk bytes ${end - start} <= ${CHUNK_BYTES_MAX}`,
    );
    const times =
      Number.isSafeInteger(minTimeMs) && Number.isSafeInteger(maxTimeMs) && minTimeMs <= maxTimeMs;
    assert(times, `chunk times ${minTimeMs} <= ${maxTimeMs}, whole milliseconds`);
    chunks.positions.push(this.#spill.append(bytes, start, end));
    chunks.minTimesMs.push(minTimeMs);
    chunks.maxTimesMs.push(maxTimeMs);
    chunks.sampleCounts.push(sampleCount);
    chunks.bytes.push(end - start);
    chunks.encodings.push(encoding);
    chunks.settleLast(this.chunkStarts.array[this.chunkStarts.length - 1]!);
    this.heldPartitions.add(this.partitions.array[this.partitions.length - 1]!);
    this.minTimeMs = Math.min(this.minTimeMs, minTimeMs);
    this.maxTimeMs = Math.max(this.maxTimeMs, maxTimeMs);
    this.sampleCount += sampleCount;
  }

  /** Ends the collection: afterwards both start columns have one entry more than there are series. */
  close(): void {
    this.#dropEmptyLast();
    this.pairStarts.push(this.seriesPairs.length);
    this.chunkStarts.push(this.chunks.length);
  }

  #lastIsEmpty(): boolean {
    return this.chunkStarts.array[this.chunkStarts.length - 1] === this.chunks.length;
  }

  #dropEmptyLast(): void {
    if (this.partitions.length === 0 || !this.#lastIsEmpty()) return;
    this.seriesPairs.length = this.pairStarts.array[this.pairStarts.length - 1]!;
    this.pairStarts.length--;
    this.chunkStarts.length--;
    this.partitions.length--;
  }
}

/**
 * Adds the pairs of canonical label bytes to the table and their numbers to `into`.
 */
export function internPairs(
  pairs: PairTable,
  into: Uint32Column,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  const reader = new ByteReader(bytes, start, end);
  let previousStart = 0;
  let previousEnd = 0;
  for (let first = true; reader.remaining > 0; first = false) {
    const pairStart = reader.position;
    const nameBytes = reader.varint();
    const nameStart = reader.position;
    reader.raw(nameBytes);
    const nameEnd = reader.position;
    reader.raw(reader.varint());
    const ascending =
      first || compareRanges(bytes, previousStart, previousEnd, bytes, nameStart, nameEnd) < 0;
    assert(ascending, `label names ascend at byte ${nameStart - start} of the label bytes`);
    into.push(pairs.intern(bytes, pairStart, reader.position));
    previousStart = nameStart;
    previousEnd = nameEnd;
  }
}

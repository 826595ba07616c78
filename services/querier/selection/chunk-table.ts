// Chunks of a union as numbers: where each stands in the frames, its times, and the next one of its series.
import { CHUNK_AGGREGATES, CHUNK_WEIGHTS } from '../../lib/model/chunk-sink.ts';
import { compareRanges } from '../../lib/tsdb/block/byte-ranges.ts';
import type { SharedArena } from '../evaluation/shared-buffers.ts';
import { growFloat64, growInt32, growUint8, growUint16, growUint32 } from './grown-columns.ts';
import { type FrameList, NONE } from './series-table.ts';
import type { SharedChunks } from './shared-union.ts';

/** Bytes of a chunk in the columns, room for growth included. */
export const CHUNK_BYTES = 64;

/** Chunks by number, in order of arrival. Columns are replaced as they grow: read them anew. */
export class ChunkTable {
  count = 0;
  frame: Uint32Array = new Uint32Array(64);
  /** Bytes [start, end) of the frame. */
  start: Uint32Array = new Uint32Array(64);
  end: Uint32Array = new Uint32Array(64);
  /** Unix ms of the first and the last sample. */
  minMs: Float64Array = new Float64Array(64);
  maxMs: Float64Array = new Float64Array(64);
  encoding: Uint8Array = new Uint8Array(64);
  /** The series' next chunk, or NONE. The owner's to fill. */
  next: Int32Array = new Int32Array(64);
  /** Absent until a chunk has a replica. */
  replica: Uint16Array | undefined;
  readonly #frames: FrameList;

  constructor(frames: FrameList) {
    this.#frames = frames;
  }

  /** A table for reading. */
  static ofShared(frames: FrameList, shared: SharedChunks): ChunkTable {
    const table = new ChunkTable(frames);
    table.frame = shared.frame;
    table.start = shared.start;
    table.end = shared.end;
    table.minMs = shared.minMs;
    table.maxMs = shared.maxMs;
    table.encoding = shared.encoding;
    table.next = shared.next;
    table.replica = shared.replica;
    return table;
  }

  /**
   * Adds the chunk that stands in frame[start, end), the last of its series, and answers its number.
   *
   * @param replica  Number of the replica that it is of; 0 where there are none.
   */
  add(
    frame: number,
    start: number,
    end: number,
    encoding: number,
    minMs: number,
    maxMs: number,
    replica: number,
  ): number {
    const chunk = this.count;
    if (chunk === this.frame.length) this.#grow();
    this.count++;
    this.frame[chunk] = frame;
    this.start[chunk] = start;
    this.end[chunk] = end;
    this.minMs[chunk] = minMs;
    this.maxMs[chunk] = maxMs;
    this.encoding[chunk] = encoding;
    this.next[chunk] = NONE;
    if (replica !== 0) this.replica ??= new Uint16Array(this.frame.length);
    if (this.replica !== undefined) this.replica[chunk] = replica;
    return chunk;
  }

  /** Whether a chunk stands for samples that are not there. */
  isAggregate(chunk: number): boolean {
    const encoding = this.encoding[chunk]!;
    return encoding === CHUNK_AGGREGATES || encoding === CHUNK_WEIGHTS;
  }

  /** Whether a chunk has to do with [minTimeMs, maxTimeMs], by its bounds. */
  touches(chunk: number, minTimeMs: number, maxTimeMs: number): boolean {
    return this.minMs[chunk]! <= maxTimeMs && this.maxMs[chunk]! >= minTimeMs;
  }

  /** The bytes that `start` and `end` are positions in. */
  bytesOf(chunk: number): Uint8Array {
    return this.#frames.list[this.frame[chunk]!]!;
  }

  /** Order of chunks that may overlap: by time, then size, then arrival. */
  compare(a: number, b: number): number {
    return (
      this.minMs[a]! - this.minMs[b]! ||
      this.maxMs[a]! - this.maxMs[b]! ||
      this.end[a]! - this.start[a]! - (this.end[b]! - this.start[b]!) ||
      a - b
    );
  }

  /** Keeps the first of neighbours with equal bytes, at the front, and answers how many: replicas often hold the same chunks. */
  dropEqual(chunks: Uint32Array): number {
    let kept = 0;
    for (const chunk of chunks) {
      if (kept > 0 && this.#isEqual(chunks[kept - 1]!, chunk)) continue;
      chunks[kept++] = chunk;
    }
    return kept;
  }

  /** Columns of all chunks in shared memory. @param arena  With room for bytesShared(). */
  copyTo(arena: SharedArena): SharedChunks {
    const { count } = this;
    return {
      frame: arena.uint32(this.frame, count),
      start: arena.uint32(this.start, count),
      end: arena.uint32(this.end, count),
      minMs: arena.float64(this.minMs, count),
      maxMs: arena.float64(this.maxMs, count),
      encoding: arena.bytes(this.encoding.subarray(0, count)),
      next: arena.int32(this.next, count),
      ...(this.replica === undefined ? {} : { replica: arena.uint16(this.replica, count) }),
    };
  }

  /** What copyTo() takes of an arena. @param sizeOf  Bytes with which a column of so many fills it. */
  bytesShared(sizeOf: (bytes: number) => number): number {
    const { count } = this;
    const replicaBytes = this.replica === undefined ? 0 : sizeOf(count * 2);
    return 4 * sizeOf(count * 4) + 2 * sizeOf(count * 8) + sizeOf(count) + replicaBytes;
  }

  #isEqual(a: number, b: number): boolean {
    if (this.minMs[a] !== this.minMs[b] || this.maxMs[a] !== this.maxMs[b]) return false;
    if (this.encoding[a] !== this.encoding[b]) return false;
    const [startOfA, endOfA] = [this.start[a]!, this.end[a]!];
    const [startOfB, endOfB] = [this.start[b]!, this.end[b]!];
    return compareRanges(this.bytesOf(a), startOfA, endOfA, this.bytesOf(b), startOfB, endOfB) === 0;
  }

  #grow(): void {
    this.frame = growUint32(this.frame);
    this.start = growUint32(this.start);
    this.end = growUint32(this.end);
    this.minMs = growFloat64(this.minMs);
    this.maxMs = growFloat64(this.maxMs);
    this.encoding = growUint8(this.encoding);
    this.next = growInt32(this.next);
    if (this.replica !== undefined) this.replica = growUint16(this.replica);
  }
}

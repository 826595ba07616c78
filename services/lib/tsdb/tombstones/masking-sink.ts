// Hides deleted samples from what a select hands over: chunks that a delete covers go, those that it cuts into are encoded
// again without what it hides, series of which nothing is left are not begun.
import { ByteWriter } from '../../core/bytes.ts';
import { CHUNK_XOR, type ChunkSink } from '../../model/chunk-sink.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { decodeChunk } from '../chunk/decode-chunk.ts';
import { encodeXorChunk } from '../chunk/xor-encoder.ts';
import {
  coversAll,
  type DeletionMask,
  dropHidden,
  NO_RANGES,
  type TimeRanges,
  touchesAny,
} from './deletion.ts';

export class MaskingSink implements ChunkSink {
  readonly #target: ChunkSink;
  readonly #mask: DeletionMask;
  readonly #labels = new ByteWriter(1024);
  readonly #columns = new SampleColumns();
  readonly #encoded = new ByteWriter(1024);
  #hidden: TimeRanges = NO_RANGES;
  #isBegun = false;

  constructor(target: ChunkSink, mask: DeletionMask) {
    this.#target = target;
    this.#mask = mask;
  }

  /** The series is passed on with its first chunk that is left. */
  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    this.#hidden = this.#mask.rangesOf(bytes, start, end);
    this.#labels.reset();
    this.#labels.raw(bytes, start, end);
    this.#isBegun = false;
  }

  chunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    if (coversAll(this.#hidden, minTimeMs, maxTimeMs)) return;
    if (!touchesAny(this.#hidden, minTimeMs, maxTimeMs)) {
      this.#begin();
      this.#target.chunk(encoding, minTimeMs, maxTimeMs, bytes, start, end);
      return;
    }
    const columns = this.#columns;
    columns.count = 0;
    decodeChunk(encoding, bytes, start, end, columns);
    dropHidden(columns, 0, this.#hidden);
    const { timestampsMs, count } = columns;
    if (count === 0) return;
    this.#encoded.reset();
    encodeXorChunk(timestampsMs, columns.values, 0, count, this.#encoded);
    const { bytes: encoded, length } = this.#encoded;
    this.#begin();
    this.#target.chunk(CHUNK_XOR, timestampsMs[0]!, timestampsMs[count - 1]!, encoded, 0, length);
  }

  #begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.#target.beginSeries(this.#labels.bytes, 0, this.#labels.length);
  }
}

/** Passes series on without their chunks. */
export function labelsOnlySink(target: ChunkSink): ChunkSink {
  return {
    beginSeries: (bytes, start, end) => target.beginSeries(bytes, start, end),
    chunk: () => undefined,
  };
}

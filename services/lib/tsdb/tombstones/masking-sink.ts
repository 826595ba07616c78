// Hides deleted samples from what a select hands over: chunks that a delete covers go, those that it cuts into are encoded
// again without what it hides, series of which nothing is left are not begun.
import { ByteWriter } from '../../core/bytes.ts';
import { CHUNK_START_TIMES, type ChunkSink } from '../../model/chunk-sink.ts';
import { SeriesChunker, SeriesSamples } from '../chunk/series-samples.ts';
import { coversAll, type DeletionMask, NO_RANGES, type TimeRanges, touchesAny } from './deletion.ts';
import { hideSince, markOf } from './hide-samples.ts';

/** Samples of a chunk that is encoded again: as in blocks, so that one chunk stays one. */
const CHUNK_SAMPLES = 960;

/** A chunk that is handed over once the series is begun. */
interface HeldChunk {
  readonly encoding: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly bytes: Uint8Array;
}

export class MaskingSink implements ChunkSink {
  readonly #target: ChunkSink;
  readonly #mask: DeletionMask;
  readonly #labels = new ByteWriter(1024);
  readonly #series = new SeriesSamples();
  readonly #chunker = new SeriesChunker(CHUNK_SAMPLES);
  /** Start times: they say nothing of a series of which no sample is left. */
  #held: HeldChunk[] = [];
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
    this.#held = [];
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
    if (encoding === CHUNK_START_TIMES && !this.#isBegun) {
      this.#held.push({ encoding, minTimeMs, maxTimeMs, bytes: bytes.slice(start, end) });
      return;
    }
    if (encoding === CHUNK_START_TIMES || !touchesAny(this.#hidden, minTimeMs, maxTimeMs)) {
      this.#begin();
      this.#target.chunk(encoding, minTimeMs, maxTimeMs, bytes, start, end);
      return;
    }
    const series = this.#series;
    series.clear();
    const mark = markOf(series);
    series.addChunk(encoding, bytes, start, end);
    hideSince(series, mark, this.#hidden);
    this.#chunker.emit(series, (own, firstMs, lastMs, _samples, encoded, from, to) => {
      this.#begin();
      this.#target.chunk(own, firstMs, lastMs, encoded, from, to);
    });
  }

  #begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.#target.beginSeries(this.#labels.bytes, 0, this.#labels.length);
    for (const { encoding, minTimeMs, maxTimeMs, bytes } of this.#held) {
      this.#target.chunk(encoding, minTimeMs, maxTimeMs, bytes, 0, bytes.length);
    }
  }
}

/** Passes series on without their chunks. */
export function labelsOnlySink(target: ChunkSink): ChunkSink {
  return {
    beginSeries: (bytes, start, end) => target.beginSeries(bytes, start, end),
    chunk: () => undefined,
  };
}

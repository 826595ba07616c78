// What a select of a head finds of one series besides floats: chunks of histograms, of start times, or of exemplars.
import { ByteWriter } from '../../core/bytes.ts';
import {
  CHUNK_EXEMPLARS,
  CHUNK_HISTOGRAMS,
  CHUNK_START_TIMES,
  type ChunkSink,
} from '../../model/chunk-sink.ts';
import { ExemplarList } from '../chunk/exemplar-list.ts';
import { HistogramChunkEncoder } from '../chunk/histogram-chunk-encoder.ts';
import { HistogramSamples } from '../chunk/histogram-samples.ts';
import { StartTimes } from '../chunk/start-times.ts';
import { ABSENT } from './columns.ts';
import type { Head } from './head.ts';
import type { RangeChunks } from './range-chunks.ts';

/** Most histograms of a chunk that is made for an answer. */
const CHUNK_SAMPLES_MAX = 120;

interface FoundChunk {
  readonly firstMs: number;
  readonly lastMs: number;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** The extras of one series after the other that overlap a time range. */
export class ExtraSelect {
  readonly #head: Head;
  readonly #minTimeMs: number;
  readonly #maxTimeMs: number;
  readonly #ranges: readonly RangeChunks[];
  #found: FoundChunk[] = [];
  readonly #loose = new HistogramSamples();
  readonly #startTimes = new StartTimes();
  readonly #exemplars = new ExemplarList();
  readonly #encoder = new HistogramChunkEncoder(CHUNK_SAMPLES_MAX);

  /** @param ranges  Those that overlap the time range. */
  constructor(head: Head, ranges: readonly RangeChunks[], minTimeMs: number, maxTimeMs: number) {
    this.#head = head;
    this.#minTimeMs = minTimeMs;
    this.#maxTimeMs = maxTimeMs;
    this.#ranges = ranges.filter(({ extras }) => extras !== undefined);
  }

  /** Whether a series has histograms or start times, wherever they are. */
  concerns(id: number): boolean {
    if (this.#head.startTimes.has(id)) return true;
    return this.#ranges.some(({ extras }) => {
      return extras!.histogramChunks.newestChunk(id) !== ABSENT || extras!.hasLooseHistograms(id);
    });
  }

  /** Finds the histograms of a series; false when none overlaps. */
  collectHistograms(id: number): boolean {
    this.#found = [];
    this.#loose.clear();
    for (const { extras } of this.#ranges) {
      const chunks = extras!.histogramChunks;
      for (let chunk = chunks.newestChunk(id); chunk !== ABSENT; chunk = chunks.olderChunk(chunk)) {
        const start = chunks.chunkOffset(chunk);
        const end = start + chunks.chunkBytes(chunk);
        this.#add(chunks.chunkFirstMs(chunk), chunks.chunkLastMs(chunk), chunks.chunkPage(chunk), start, end);
      }
      extras!.readLooseHistograms(id, this.#loose);
    }
    if (this.#loose.count > 0) this.#packLoose();
    this.#found.sort((a, b) => a.firstMs - b.firstMs);
    return this.#found.length > 0;
  }

  /** First time of what was collected last; infinite when nothing was. */
  get firstMs(): number {
    return this.#found[0]?.firstMs ?? Number.POSITIVE_INFINITY;
  }

  /** Hands the histograms over that were collected last. */
  emitHistograms(sink: ChunkSink): void {
    for (const { firstMs, lastMs, bytes, start, end } of this.#found) {
      sink.chunk(CHUNK_HISTOGRAMS, firstMs, lastMs, bytes, start, end);
    }
  }

  /**
   * Hands over the start times of a series, when there are some.
   *
   * @param firstMs  First time of its other chunks: start times stand in front of them.
   */
  emitStartTimes(id: number, firstMs: number, sink: ChunkSink): void {
    if (!this.#head.startTimes.has(id)) return;
    const startTimes = this.#startTimes;
    startTimes.clear();
    this.#head.startTimes.read(id, startTimes);
    startTimes.settle();
    const lastMs = Math.min(this.#maxTimeMs, Number.MAX_SAFE_INTEGER);
    startTimes.clip(firstMs, lastMs);
    if (startTimes.count === 0) return;
    const encoded = new ByteWriter(64);
    startTimes.encode(0, startTimes.count, encoded);
    sink.chunk(CHUNK_START_TIMES, firstMs, Math.max(firstMs, lastMs), encoded.bytes, 0, encoded.length);
  }

  /** Finds the exemplars of a series; false when there are none. */
  collectExemplars(id: number): boolean {
    const exemplars = this.#exemplars;
    exemplars.clear();
    for (const { extras } of this.#ranges) extras!.readExemplars(id, exemplars);
    exemplars.settle();
    return exemplars.timestampsMs.some((timeMs) => timeMs >= this.#minTimeMs && timeMs <= this.#maxTimeMs);
  }

  /** Hands over the exemplars that were collected last, as one chunk a thousand. */
  emitExemplars(sink: ChunkSink): void {
    const { timestampsMs, count } = this.#exemplars;
    for (let from = 0; from < count; from += 1000) {
      const to = Math.min(count, from + 1000);
      const encoded = new ByteWriter(4096);
      this.#exemplars.encode(from, to, encoded);
      sink.chunk(
        CHUNK_EXEMPLARS,
        timestampsMs[from]!,
        timestampsMs[to - 1]!,
        encoded.bytes,
        0,
        encoded.length,
      );
    }
  }

  /** Histograms that are no chunk yet become chunks of their own. */
  #packLoose(): void {
    const samples = this.#loose;
    samples.sortAndDedupe();
    for (let from = 0; from < samples.count; ) {
      const encoded = new ByteWriter(1024);
      const to = this.#encoder.encode(samples, from, encoded);
      this.#add(samples.timestampsMs[from]!, samples.timestampsMs[to - 1]!, encoded.bytes, 0, encoded.length);
      from = to;
    }
  }

  #add(firstMs: number, lastMs: number, bytes: Uint8Array, start: number, end: number): void {
    if (lastMs < this.#minTimeMs || firstMs > this.#maxTimeMs) return;
    this.#found.push({ firstMs, lastMs, bytes, start, end });
  }
}

// Native histograms and exemplars of one time range of a head. Histograms wait as loose bytes and are packed into a chunk when a
// series has some of them; of exemplars the newest are kept.
import { ByteWriter } from '../../core/bytes.ts';
import { EXEMPLARS_MAX, ExemplarList } from '../chunk/exemplar-list.ts';
import { decodeHistogramChunk } from '../chunk/histogram-chunk-decoder.ts';
import { HistogramChunkEncoder } from '../chunk/histogram-chunk-encoder.ts';
import { HistogramSamples } from '../chunk/histogram-samples.ts';
import type { SeriesSamples } from '../chunk/series-samples.ts';
import { ChunkChains } from './chunk-chains.ts';
import { type ChunkSlots, SLOT_BYTES_MAX } from './chunk-slots.ts';
import { ABSENT } from './columns.ts';
import { type ContentVisitor, LooseContents } from './loose-contents.ts';

/** Loose histograms of a series that become a chunk: what a packed one takes is mostly what differs from the one before. */
const HISTOGRAMS_PER_CHUNK = 32;

/** Scratch that all ranges of a head share. */
export class ExtrasScratch {
  readonly samples = new HistogramSamples();
  readonly encoder = new HistogramChunkEncoder(HISTOGRAMS_PER_CHUNK);
  readonly encoded = new ByteWriter(4096);
}

export class RangeExtras {
  readonly histogramChunks: ChunkChains;
  readonly #histograms: LooseContents;
  readonly #exemplars: LooseContents;
  readonly #scratch: ExtrasScratch;

  constructor(
    { startMs, endMs, pool }: Pick<ChunkChains, 'startMs' | 'endMs' | 'pool'>,
    slots: ChunkSlots,
    scratch: ExtrasScratch,
  ) {
    this.histogramChunks = new ChunkChains(startMs, endMs, pool);
    this.#histograms = new LooseContents(slots);
    this.#exemplars = new LooseContents(slots);
    this.#scratch = scratch;
  }

  /** Bytes of columns and chunks; loose bytes are in the head's slots. */
  get bytesHeld(): number {
    return this.histogramChunks.bytesHeld + this.#histograms.bytesHeld + this.#exemplars.bytesHeld;
  }

  /** Takes a copy of the histogram in bytes[start, end), which is one (histogram-codec.ts). */
  addHistogram(series: number, timeMs: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start > SLOT_BYTES_MAX) {
      const { samples } = this.#scratch;
      samples.clear();
      samples.addEncoded(timeMs, bytes, start, end);
      this.#addChunks(series, samples);
      return;
    }
    this.#histograms.add(series, timeMs, bytes, start, end);
    if (this.#histograms.countOf(series) >= HISTOGRAMS_PER_CHUNK) this.#pack(series);
  }

  /**
   * Takes a copy of an exemplar's content. Of each series the newest EXEMPLARS_MAX are kept, so that what stays does not depend on
   * the order in which they came.
   */
  addExemplar(series: number, timeMs: number, bytes: Uint8Array, start: number, end: number): void {
    this.#exemplars.add(series, timeMs, bytes, start, end);
    if (this.#exemplars.countOf(series) >= 2 * EXEMPLARS_MAX) this.#trimExemplars(series);
  }

  /** Adds all of a series to `into`; exemplars as copies. */
  readSeries(series: number, into: SeriesSamples): void {
    this.readHistograms(series, into.histograms);
    this.readExemplars(series, into.exemplars);
  }

  readHistograms(series: number, into: HistogramSamples): void {
    const chunks = this.histogramChunks;
    for (let chunk = chunks.newestChunk(series); chunk !== ABSENT; chunk = chunks.olderChunk(chunk)) {
      const start = chunks.chunkOffset(chunk);
      decodeHistogramChunk(chunks.chunkPage(chunk), start, start + chunks.chunkBytes(chunk), into);
    }
    this.readLooseHistograms(series, into);
  }

  readLooseHistograms(series: number, into: HistogramSamples): void {
    this.#histograms.read(series, (timeMs, bytes, start, end) => into.addEncoded(timeMs, bytes, start, end));
  }

  /** Adds copies of the newest exemplars, each once. */
  readExemplars(series: number, into: ExemplarList): void {
    if (!this.#exemplars.has(series)) return;
    const kept = this.#newestExemplars(series);
    for (let i = 0; i < kept.count; i++) into.add(kept.timestampsMs[i]!, kept.contents[i]!);
  }

  /** False when there are neither loose histograms nor exemplars. */
  get hasLoose(): boolean {
    return this.#histograms.count > 0 || this.#exemplars.count > 0;
  }

  /** Visits the loose histograms of a series, and then its exemplars; bytes are valid during the call. */
  visitLoose(series: number, onHistogram: ContentVisitor, onExemplar: ContentVisitor): void {
    this.#histograms.read(series, onHistogram);
    this.#exemplars.read(series, onExemplar);
  }

  hasLooseHistograms(series: number): boolean {
    return this.#histograms.has(series);
  }

  hasExemplars(series: number): boolean {
    return this.#exemplars.has(series);
  }

  /** Series with something here: several ascending lists. */
  seriesLists(): Uint32Array[] {
    return [this.histogramChunks.seriesIds(), this.#histograms.seriesIds(), this.#exemplars.seriesIds()];
  }

  /** Calls back with first and last times of chunks and with those of loose histograms. */
  forEachHistogramTime(visit: (timeMs: number) => void): void {
    for (let chunk = 0; chunk < this.histogramChunks.chunkCount; chunk++) {
      visit(this.histogramChunks.chunkFirstMs(chunk));
      visit(this.histogramChunks.chunkLastMs(chunk));
    }
    for (const series of this.#histograms.seriesIds()) this.#histograms.read(series, visit);
  }

  /** Gives slots and pages back: the range is dropped. */
  release(): void {
    this.histogramChunks.letGo();
    this.#histograms.release();
    this.#exemplars.release();
  }

  #newestExemplars(series: number): ExemplarList {
    const list = new ExemplarList();
    this.#exemplars.read(series, (timeMs, bytes, start, end) => list.add(timeMs, bytes.slice(start, end)));
    list.settle();
    list.keepNewest();
    return list;
  }

  #trimExemplars(series: number): void {
    const kept = this.#newestExemplars(series);
    this.#exemplars.clear(series);
    for (let i = 0; i < kept.count; i++) {
      const content = kept.contents[i]!;
      this.#exemplars.add(series, kept.timestampsMs[i]!, content, 0, content.length);
    }
  }

  #pack(series: number): void {
    const { samples } = this.#scratch;
    samples.clear();
    this.readLooseHistograms(series, samples);
    samples.sortAndDedupe();
    this.#addChunks(series, samples);
    this.#histograms.clear(series);
  }

  #addChunks(series: number, samples: HistogramSamples): void {
    const { encoded, encoder } = this.#scratch;
    for (let from = 0; from < samples.count; ) {
      encoded.reset();
      const to = encoder.encode(samples, from, encoded);
      const firstMs = samples.timestampsMs[from]!;
      const lastMs = samples.timestampsMs[to - 1]!;
      this.histogramChunks.addChunk(series, firstMs, lastMs, encoded.bytes, 0, encoded.length);
      from = to;
    }
  }
}

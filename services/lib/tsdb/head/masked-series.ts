// Series of a head that deletes concern: all that such a series holds is decoded, what deletes hide is left out, the rest is
// encoded again for the answer. A delete concerns the ranges that were frozen when it came, and nothing that was written since.
import { ByteWriter } from '../../core/bytes.ts';
import { CHUNK_EXEMPLARS, CHUNK_START_TIMES, type ChunkSink } from '../../model/chunk-sink.ts';
import { appendSamples } from '../chunk/merge-samples.ts';
import { SeriesChunker, SeriesSamples } from '../chunk/series-samples.ts';
import { putXorHeader, xorStateBytes } from '../chunk/xor-appender.ts';
import { decodeXorChunk } from '../chunk/xor-decoder.ts';
import { type DeletionMask, NO_RANGES, type TimeRanges } from '../tombstones/deletion.ts';
import { hideSince, type SampleMark } from '../tombstones/hide-samples.ts';
import { NO_SLOT, slotOffsetOf, slotPageOf } from './chunk-slots.ts';
import type { Head } from './head.ts';
import type { LabelIndex } from './label-index.ts';
import type { RangeChunks } from './range-chunks.ts';
import { PAGE_MASK, PAGE_SHIFT, SLOT, STATE_WORDS } from './series-states.ts';

/** What one delete hides of a head. */
export interface HeadMask {
  readonly mask: DeletionMask;
  /** Ranges of this generation and before are concerned. */
  readonly generationMax: number;
}

/** Samples per chunk that is made for an answer. */
const CHUNK_SAMPLES = 120;

const NOTHING: SampleMark = { floats: 0, histograms: 0, exemplars: 0, cells: 0, weights: 0 };

interface MadeChunk {
  readonly encoding: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly bytes: Uint8Array;
}

/** One series after the other; keeps its scratch. */
export class MaskedSeries {
  readonly #head: Head;
  readonly #masks: readonly HeadMask[];
  readonly #labels = new ByteWriter(1024);
  readonly #all = new SeriesSamples();
  readonly #one = new SeriesSamples();
  readonly #chunker = new SeriesChunker(CHUNK_SAMPLES);
  #chunks: MadeChunk[] = [];

  constructor(head: Head, masks: readonly HeadMask[]) {
    this.#head = head;
    this.#masks = masks;
  }

  /** True when deletes hide something of a series, wherever it may be. */
  concerns(id: number, index: LabelIndex): boolean {
    this.#labels.reset();
    index.writeLabels(id, this.#labels);
    const { bytes, length } = this.#labels;
    return this.#masks.some(({ mask }) => mask.rangesOf(bytes, 0, length).length > 0);
  }

  /**
   * Collects what is left of the series that `concerns` was asked about last; false when nothing overlaps the time range.
   *
   * @param ranges  Of the head, those that overlap.
   */
  collect(
    id: number,
    ranges: readonly RangeChunks[],
    selection: { readonly minTimeMs: number; readonly maxTimeMs: number; readonly wantsExemplars: boolean },
  ): boolean {
    const all = this.#all;
    all.clear();
    for (const range of ranges) this.#addRange(id, range);
    this.#addOpen(id);
    this.#head.startTimes.read(id, all.startTimes);
    all.settle();
    this.#chunks = [];
    this.#chunker.emit(all, (encoding, minTimeMs, maxTimeMs, _samples, bytes, start, end) => {
      if (maxTimeMs < selection.minTimeMs || minTimeMs > selection.maxTimeMs) return;
      if ((encoding === CHUNK_EXEMPLARS) !== selection.wantsExemplars) return;
      this.#chunks.push({ encoding, minTimeMs, maxTimeMs, bytes: bytes.slice(start, end) });
    });
    this.#chunks.sort((a, b) => a.minTimeMs - b.minTimeMs);
    // Start times alone make no answer.
    return this.#chunks.some(({ encoding }) => encoding !== CHUNK_START_TIMES);
  }

  emit(sink: ChunkSink): void {
    for (const { encoding, minTimeMs, maxTimeMs, bytes } of this.#chunks) {
      sink.chunk(encoding, minTimeMs, maxTimeMs, bytes, 0, bytes.length);
    }
  }

  #addRange(id: number, range: RangeChunks): void {
    const one = this.#one;
    one.clear();
    range.readSeries(id, one.floats);
    range.extras?.readSeries(id, one);
    const { bytes, length } = this.#labels;
    hideInRange(one, this.#masks, range, bytes, length);
    const { floats, histograms, exemplars } = one;
    appendSamples(this.#all.floats, floats);
    for (let i = 0; i < histograms.count; i++) {
      this.#all.histograms.add(histograms.timestampsMs[i]!, histograms.histograms[i]!, histograms.kinds[i]!);
    }
    for (let i = 0; i < exemplars.count; i++)
      this.#all.exemplars.add(exemplars.timestampsMs[i]!, exemplars.contents[i]!);
  }

  /** The open chunk belongs to a range that takes samples still: no delete concerns it. */
  #addOpen(id: number): void {
    const { states, slots } = this.#head;
    const words = states.words[id >>> PAGE_SHIFT]!;
    const base = (id & PAGE_MASK) * STATE_WORDS;
    const slot = words[base + SLOT]!;
    if (slot === NO_SLOT) return;
    const page = slots.pages[slotPageOf(slot)]!;
    const start = slotOffsetOf(slot);
    putXorHeader(words, base, page, start);
    decodeXorChunk(page, start, start + xorStateBytes(words, base), this.#all.floats);
  }
}

/** Takes out of a series' part in one range what deletes hide of it. Label bytes in labels[0, length). */
export function hideInRange(
  series: SeriesSamples,
  masks: readonly HeadMask[],
  range: RangeChunks,
  labels: Uint8Array,
  length: number,
): void {
  for (const { mask, generationMax } of masks) {
    const isConcerned = range.generation > 0 && range.generation <= generationMax;
    const hidden: TimeRanges = isConcerned ? mask.rangesOf(labels, 0, length) : NO_RANGES;
    hideSince(series, NOTHING, hidden);
  }
}

// The open chunks of a head: one XOR chunk per series takes what comes in order. A full one, or one that takes much room, goes to
// its time range, encoded anew (closed-chunks.ts), and so do late samples.
import { AppError } from '../../core/errors.ts';
import {
  appendXorSample,
  endXorChunk,
  putXorHeader,
  XOR_APPEND_BYTES_MAX,
  xorStateBytes,
  xorStateCount,
  xorStateHasValue,
} from '../chunk/xor-appender.ts';
import { xorFirstTimeMs } from '../chunk/xor-decoder.ts';
import {
  ChunkSlots,
  NO_SLOT,
  SLOT_BYTES_MAX,
  SLOT_CLASS_FIRST,
  SLOT_CLASSES,
  slotBytesOf,
  slotClassFor,
  slotClassOf,
  slotOffsetOf,
  slotPageOf,
} from './chunk-slots.ts';
import { CLOSED_CHUNK_SAMPLES_MAX, ClosedChunkEncoder } from './closed-chunks.ts';
import type { HeadRanges } from './head-ranges.ts';
import type { RangeChunks } from './range-chunks.ts';
import {
  LAST_SEGMENT,
  LOGGED,
  PAGE_MASK,
  PAGE_SHIFT,
  SeriesStates,
  SLOT,
  SLOT_CLASS_SHIFT,
  STATE_WORDS,
} from './series-states.ts';
import { TOUCHED_SERIES, touchSeries } from './touch-series.ts';

/**
 * An open chunk that outgrows 256 bytes is closed rather than given more room, unless it has few samples still: closed it takes half the
 * bytes or less, and rooms that chunks outgrow lie idle. Node-exporter series whose values are all noise take 840 bytes instead of
 * 1,510 that way, with 240 samples each; their chunks have 60 to 80 samples. Usual ones fit 256 bytes with 120.
 */
const SLOT_CLASS_LONG = slotClassFor(256);
const LONG_CHUNK_SAMPLES = 32;

/**
 * Series are full at up to 15 samples more or 16 fewer than the target, by their ids. Those of a sender begin with the same scrape:
 * if all were full with the same one, each of its requests would encode 2,000 chunks, 12 ms instead of 1, and the ones behind them wait.
 */
const FULL_SPREAD_MASK = 31;
/** Below this target chunks are too short for that. */
const SPREAD_TARGET_MIN = 64;

/** Samples since the head was made; for metrics. */
export interface HeadCounters {
  appended: number;
  duplicates: number;
  outOfOrder: number;
  exemplars: number;
  /** Series that were made. */
  defined: number;
}

export class OpenChunks {
  readonly states = new SeriesStates();
  readonly slots = new ChunkSlots();
  readonly counters: HeadCounters = { appended: 0, duplicates: 0, outOfOrder: 0, exemplars: 0, defined: 0 };
  /** Samples of the longest chunks, and what of a series' id is taken off. */
  readonly #fullSamplesMax: number;
  readonly #fullMask: number;
  readonly #ranges: HeadRanges;
  readonly #closed = new ClosedChunkEncoder();
  /** Chunks that are open. */
  count = 0;
  /** Of no meaning, and public so that no tool takes it for unused (touch-series.ts). */
  touched = 0;

  constructor(chunkSamplesTarget: number, ranges: HeadRanges) {
    this.#fullMask = chunkSamplesTarget < SPREAD_TARGET_MIN ? 0 : FULL_SPREAD_MASK;
    this.#fullSamplesMax = Math.min(CLOSED_CHUNK_SAMPLES_MAX, chunkSamplesTarget + (this.#fullMask >>> 1));
    this.#ranges = ranges;
  }

  /**
   * Appends samples [from, to) of the columns.
   *
   * @param ids           Series ids that `states` knows.
   * @param timestampsMs  Safe integers, in any order.
   * @param values        Kept bit for bit.
   * @param segment       Log segment that holds these samples, ≥ 1.
   *
   * Cost: about 50 ns per sample in order while states and chunks fit the caches, about twice that when they do
   * not (touch-series.ts); no allocation but arenas.
   */
  appendSamples(
    ids: Uint32Array,
    timestampsMs: Float64Array,
    values: Float64Array,
    from: number,
    to: number,
    segment: number,
  ): void {
    const valueWords = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
    const { words: statePages, times: timePages } = this.states;
    const { views, pages } = this.slots;
    const fullSamplesMax = this.#fullSamplesMax;
    const fullMask = this.#fullMask;
    let startMs = this.#ranges.last?.startMs ?? Number.POSITIVE_INFINITY;
    let endMs = this.#ranges.last?.endMs ?? 0;
    let touchedTo = from;
    for (let i = from; i < to; i++) {
      if (i === touchedTo) {
        touchedTo = Math.min(to, i + TOUCHED_SERIES);
        this.touched ^= touchSeries(ids, i, touchedTo, statePages, pages);
      }
      const id = ids[i]!;
      const timeMs = timestampsMs[i]!;
      const words = statePages[id >>> PAGE_SHIFT]!;
      const times = timePages[id >>> PAGE_SHIFT]!;
      const base = (id & PAGE_MASK) * STATE_WORDS;
      const lastMs = times[base >>> 1]!;
      const slot = words[base + SLOT]! | 0;
      const low = valueWords[2 * i]! | 0;
      const high = valueWords[2 * i + 1]! | 0;
      // Nearly always: behind the last one, in the range looked up last, and the chunk has room.
      if (
        timeMs > lastMs &&
        lastMs >= startMs &&
        timeMs < endMs &&
        slot !== NO_SLOT &&
        xorStateCount(words, base) < fullSamplesMax - (id & fullMask) &&
        xorStateBytes(words, base) + XOR_APPEND_BYTES_MAX <= slotBytesOf(slot)
      ) {
        words[base + LAST_SEGMENT] = segment;
        const view = views[slotPageOf(slot)]!;
        appendXorSample(words, times, base, view, slotOffsetOf(slot), timestampsMs, i, low, high);
        continue;
      }
      this.#append(id, timestampsMs, i, low, high, segment);
      startMs = this.#ranges.last?.startMs ?? Number.POSITIVE_INFINITY;
      endMs = this.#ranges.last?.endMs ?? 0;
    }
    this.counters.appended += to - from;
  }

  /** A sample that `appendSamples` does not append itself. */
  #append(
    id: number,
    timestampsMs: Float64Array,
    index: number,
    low: number,
    high: number,
    segment: number,
  ): void {
    const timeMs = timestampsMs[index]!;
    const words = this.states.words[id >>> PAGE_SHIFT]!;
    const times = this.states.times[id >>> PAGE_SHIFT]!;
    const base = (id & PAGE_MASK) * STATE_WORDS;
    const lastMs = times[base >>> 1]!;
    words[base + LAST_SEGMENT] = segment;
    if (timeMs <= lastMs) {
      this.#appendLate(id, words, base, timeMs, lastMs, low, high, segment);
      return;
    }
    let slot = words[base + SLOT]! | 0;
    if (slot !== NO_SLOT) {
      const isSameRange = this.#ranges.startOf(timeMs) === this.#ranges.startOf(lastMs);
      const isFull = xorStateCount(words, base) >= this.#fullSamplesOf(id);
      if (!isSameRange || isFull) {
        this.#close(id, words, base);
        slot = NO_SLOT;
      } else if (xorStateBytes(words, base) + XOR_APPEND_BYTES_MAX > slotBytesOf(slot)) {
        slot = this.#growSlot(id, words, base);
      }
    }
    if (slot === NO_SLOT) slot = this.#begin(words, base, timeMs, segment);
    appendXorSample(
      words,
      times,
      base,
      this.slots.views[slotPageOf(slot)]!,
      slotOffsetOf(slot),
      timestampsMs,
      index,
      low,
      high,
    );
  }

  #appendLate(
    id: number,
    words: Uint32Array,
    base: number,
    timeMs: number,
    lastMs: number,
    low: number,
    high: number,
    segment: number,
  ): void {
    // Only beside the open chunk: what is frozen may be hidden by a delete, which does not concern what comes after it.
    const isOpen = words[base + SLOT] !== NO_SLOT;
    if (isOpen && timeMs === lastMs && xorStateHasValue(words, base, low, high)) {
      this.counters.duplicates++;
      return;
    }
    this.counters.outOfOrder++;
    this.#ranges.of(timeMs, segment).addLoose(id, timeMs, low, high);
  }

  #begin(words: Uint32Array, base: number, timeMs: number, segment: number): number {
    // The range has to know the oldest segment of its samples, those in open chunks too.
    this.#ranges.of(timeMs, segment);
    // Chunks of a series are much alike: with room for the one before, none of it is copied as it grows.
    const known = words[base + LOGGED]! >>> SLOT_CLASS_SHIFT;
    const slot = this.slots.take(known === 0 ? SLOT_CLASS_FIRST : known - 1);
    words[base + SLOT] = slot;
    this.count++;
    return slot;
  }

  /** A chunk of the series is closed at so many samples. */
  #fullSamplesOf(id: number): number {
    return this.#fullSamplesMax - (id & this.#fullMask);
  }

  /** Moves the open chunk to a slot of the next size, or closes it when there is none. */
  #growSlot(id: number, words: Uint32Array, base: number): number {
    const slot = words[base + SLOT]!;
    const isLong = slotClassOf(slot) >= SLOT_CLASS_LONG && xorStateCount(words, base) >= LONG_CHUNK_SAMPLES;
    if (isLong || slotClassOf(slot) === SLOT_CLASSES - 1) {
      this.#close(id, words, base);
      return NO_SLOT;
    }
    const grown = this.slots.take(slotClassOf(slot) + 1);
    const bytes = xorStateBytes(words, base);
    const { pages } = this.slots;
    copySlot(
      pages[slotPageOf(slot)]!,
      slotOffsetOf(slot),
      pages[slotPageOf(grown)]!,
      slotOffsetOf(grown),
      bytes,
    );
    this.slots.give(slot);
    words[base + SLOT] = grown;
    return grown;
  }

  #close(id: number, words: Uint32Array, base: number): void {
    const slot = words[base + SLOT]!;
    const page = this.slots.pages[slotPageOf(slot)]!;
    const start = slotOffsetOf(slot);
    const end = start + xorStateBytes(words, base);
    const lastMs = this.states.lastMs(id);
    const range = this.#ranges.openAt(this.#ranges.startOf(lastMs));
    if (range === undefined)
      throw new Error(`assertion failed: the range of series ${id}'s open chunk is open`);
    const isLong =
      slotClassOf(slot) >= SLOT_CLASS_LONG && end - start + XOR_APPEND_BYTES_MAX > slotBytesOf(slot);
    if (isLong || xorStateCount(words, base) >= this.#fullSamplesOf(id)) {
      const slotClass = Math.min(SLOT_CLASS_LONG, slotClassFor(end - start + XOR_APPEND_BYTES_MAX));
      words[base + LOGGED] = (words[base + LOGGED]! & 1) | ((slotClass + 1) << SLOT_CLASS_SHIFT);
    }
    putXorHeader(words, base, page, start);
    const bytes = this.#closed.encode(page, start, end);
    range.addChunk(id, xorFirstTimeMs(page, start, end), lastMs, this.#closed.bytes, 0, bytes);
    this.slots.give(slot);
    words[base + SLOT] = NO_SLOT;
    endXorChunk(words, base);
    this.count--;
  }

  /** Closes the chunk of a series that has one in the range. */
  closeIn(range: RangeChunks, id: number): void {
    const words = this.states.words[id >>> PAGE_SHIFT]!;
    const base = (id & PAGE_MASK) * STATE_WORDS;
    if (words[base + SLOT] === NO_SLOT) return;
    const lastMs = this.states.lastMs(id);
    if (lastMs >= range.startMs && lastMs < range.endMs) this.#close(id, words, base);
  }

  /**
   * Puts a series' state and open chunk back as a head image has them.
   *
   * @param state  Words of the chunk's state; they say how much of `open` counts.
   * @throws AppError `bad_data` when the chunk is longer than any, or not as long as its state says.
   */
  restore(
    id: number,
    lastSegment: number,
    state: Uint32Array | undefined,
    open: Uint8Array | undefined,
  ): void {
    this.states.setWord(id, LAST_SEGMENT, lastSegment);
    const words = this.states.words[id >>> PAGE_SHIFT]!;
    const base = (id & PAGE_MASK) * STATE_WORDS;
    if (state !== undefined) words.set(state, base);
    if (open === undefined) return;
    if (open.length > SLOT_BYTES_MAX || open.length !== xorStateBytes(words, base)) {
      throw new AppError('bad_data', `an open chunk of ${open.length} bytes does not fit its state`);
    }
    const slot = this.slots.take(slotClassFor(open.length));
    this.slots.pages[slotPageOf(slot)]!.set(open, slotOffsetOf(slot));
    words[base + SLOT] = slot;
    this.count++;
  }
}

/** Hot! A view on so few bytes would cost more than they do. */
function copySlot(from: Uint8Array, fromAt: number, to: Uint8Array, toAt: number, count: number): void {
  for (let i = 0; i < count; i++) to[toAt + i] = from[fromAt + i]!;
}

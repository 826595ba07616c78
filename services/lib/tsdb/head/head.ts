// The head: recent samples of one tenant in memory, as columns. One open XOR chunk per series takes what comes in order;
// closed chunks and late samples live per time range (range-chunks.ts). Ranges are frozen, sealed into blocks elsewhere
// and dropped; series without samples leave when the log cannot name them any more. All calls are synchronous, by one
// owner; selections (head-select.ts) run in slices in between.
import { assert } from '../../core/assert.ts';
import { AppError } from '../../core/errors.ts';
import {
  decodeStartTime,
  EXTRA_EXEMPLAR,
  EXTRA_HISTOGRAM,
  EXTRA_START_TIME,
  type Extras,
} from '../../model/extra-columns.ts';
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
import { ABSENT } from './columns.ts';
import { LabelIndex } from './label-index.ts';
import { RangeChunks } from './range-chunks.ts';
import { ExtrasScratch, RangeExtras } from './range-extras.ts';
import {
  LAST_SEGMENT,
  LOGGED,
  PAGE_MASK,
  PAGE_SHIFT,
  PARTITION,
  SeriesStates,
  SLOT,
  SLOT_CLASS_SHIFT,
  STATE_WORDS,
} from './series-states.ts';
import { StartTable } from './start-table.ts';

export interface HeadOptions {
  /** Length of the aligned time ranges that become blocks. */
  readonly rangeMs: number;
  /** A chunk is closed at this many samples, 1 … CLOSED_CHUNK_SAMPLES_MAX. */
  readonly chunkSamplesTarget: number;
  /** Seed of hash tables; random per process in production. */
  readonly hashSeed: number;
}

/** Replay takes an id this far above the others; a damaged one must not cost memory. */
export const ID_GAP_MAX: number = 1 << 22;

/** Series that left a head: their ids, ascending, and an index that still knows their labels. */
export interface LeftSeries {
  readonly ids: Uint32Array;
  readonly index: LabelIndex;
}

/** Counters since the head was made; for metrics. */
export interface HeadCounters {
  appended: number;
  duplicates: number;
  outOfOrder: number;
  exemplars: number;
}

export class Head {
  readonly options: HeadOptions;
  readonly counters: HeadCounters = { appended: 0, duplicates: 0, outOfOrder: 0, exemplars: 0 };
  readonly states = new SeriesStates();
  readonly slots = new ChunkSlots();
  readonly #closedChunks = new ClosedChunkEncoder();
  readonly startTimes = new StartTable();
  /** Replaced when series leave: take it anew after every pause, or keep it for ids found in it. */
  index: LabelIndex;
  /** Start of a range → the range that takes samples. */
  readonly #open = new Map<number, RangeChunks>();
  /** Generation → range that takes no more samples, until it is dropped. */
  readonly #frozen = new Map<number, RangeChunks>();
  #idEnd = 0;
  #freeIds: number[] = [];
  /** Ids that left, with the number of the collection; free once no older selection runs. */
  readonly #leaving: { collection: number; ids: number[] }[] = [];
  readonly #selections = new Map<number, number>();
  #collection = 0;
  #reusable = 0;
  /** Series that came while the index is being rebuilt, or undefined. */
  #arrivals: number[] | undefined;
  #openChunks = 0;
  #extrasScratch: ExtrasScratch | undefined;
  /** The range looked up last. */
  #lastRange: RangeChunks | undefined;

  constructor(options: HeadOptions) {
    assert(options.rangeMs > 0 && options.rangeMs <= 2 ** 31, `rangeMs ${options.rangeMs} in 1 … 2^31`);
    assert(
      options.chunkSamplesTarget > 0 && options.chunkSamplesTarget <= CLOSED_CHUNK_SAMPLES_MAX,
      `chunkSamplesTarget ${options.chunkSamplesTarget} in 1 … ${CLOSED_CHUNK_SAMPLES_MAX}`,
    );
    this.options = options;
    this.index = new LabelIndex(options.hashSeed);
  }

  get seriesCount(): number {
    return this.index.seriesCount;
  }

  /** Ids are below this. */
  get idEnd(): number {
    return this.#idEnd;
  }

  /** Bytes of all arenas and columns. */
  get bytesHeld(): number {
    let bytes =
      this.index.bytesHeld + this.slots.bytesHeld + this.states.bytesHeld + this.startTimes.bytesHeld;
    for (const range of this.ranges()) bytes += range.bytesHeld;
    return bytes;
  }

  get chunkCount(): number {
    let count = this.#openChunks;
    for (const range of this.ranges()) count += range.chunkCount;
    return count;
  }

  /** All ranges, frozen ones too. */
  *ranges(): Generator<RangeChunks> {
    yield* this.#frozen.values();
    yield* this.#open.values();
  }

  frozenRanges(): RangeChunks[] {
    return [...this.#frozen.values()];
  }

  /** Oldest log segment that some sample of the head may stand in only; Infinity for an empty head. */
  oldestSegment(isDurable: (range: RangeChunks) => boolean): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const range of this.ranges()) if (!isDurable(range)) oldest = Math.min(oldest, range.firstSegment);
    return oldest;
  }

  /**
   * Id of the series with the canonical label bytes[start, end), made when it is new.
   *
   * @throws AppError `bad_data` when the bytes are not canonical.
   */
  define(bytes: Uint8Array, start: number, end: number, partition: number): number {
    const found = this.index.find(bytes, start, end);
    if (found !== ABSENT) return found;
    const id = this.#freeIds.pop() ?? this.#idEnd++;
    this.#addSeries(id, bytes, start, end, partition);
    return id;
  }

  /**
   * The same for a series of the log, while it is replayed: under `id` where that is free, else under another one.
   * `settleIds` has to follow before anything else is defined.
   *
   * @throws as define.
   */
  defineAs(id: number, bytes: Uint8Array, start: number, end: number, partition: number): number {
    const found = this.index.find(bytes, start, end);
    if (found !== ABSENT) return found;
    const isUsable = !this.index.has(id) && id <= this.#idEnd + ID_GAP_MAX;
    const chosen = isUsable ? id : this.#idEnd;
    this.#idEnd = Math.max(this.#idEnd, chosen + 1);
    this.#addSeries(chosen, bytes, start, end, partition);
    return chosen;
  }

  /**
   * Finds the ids that replay left unused.
   *
   * @param mayBeNamed  Something durable that was not replayed may name them: they wait for `allowReuse` of `collection`.
   */
  settleIds(mayBeNamed = false): void {
    this.#freeIds = [];
    const ids: number[] = [];
    for (let id = this.#idEnd - 1; id >= 0; id--) if (!this.index.has(id)) ids.push(id);
    if (mayBeNamed) this.#leaving.push({ collection: ++this.#collection, ids });
    else this.#freeIds = ids;
  }

  /**
   * Puts a series back as a head image has it (head-image.ts), before anything else is defined.
   *
   * @param state  Words of its open chunk's state; they say how much of `open` counts.
   * @param open   The open chunk; undefined when there is none.
   * @throws AppError `bad_data` when the id is taken, or the chunk is longer than any.
   */
  restoreSeries(
    id: number,
    labels: Uint8Array,
    partition: number,
    lastSegment: number,
    state: Uint32Array | undefined,
    open: Uint8Array | undefined,
  ): void {
    if (this.index.has(id) || id > this.#idEnd + ID_GAP_MAX) {
      throw new AppError('bad_data', `series id ${id} is taken, or far above ${this.#idEnd}`);
    }
    this.#idEnd = Math.max(this.#idEnd, id + 1);
    this.#addSeries(id, labels, 0, labels.length, partition);
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
    this.#openChunks++;
  }

  /** Puts a range back, empty. @throws AppError `bad_data` when there is one in its place. */
  restoreRange(startMs: number, firstSegment: number, generation: number): RangeChunks {
    const isTaken = generation === 0 ? this.#open.has(startMs) : this.#frozen.has(generation);
    if (isTaken || this.#startOf(startMs) !== startMs) {
      throw new AppError('bad_data', `a range from ${startMs} of generation ${generation} has no place here`);
    }
    const range = this.#newRange(startMs, firstSegment);
    range.generation = generation;
    if (generation === 0) this.#open.set(startMs, range);
    else this.#frozen.set(generation, range);
    return range;
  }

  #newRange(startMs: number, firstSegment: number): RangeChunks {
    const { rangeMs, chunkSamplesTarget } = this.options;
    return new RangeChunks({ startMs, endMs: startMs + rangeMs, firstSegment, chunkSamplesTarget });
  }

  #addSeries(id: number, bytes: Uint8Array, start: number, end: number, partition: number): void {
    this.index.add(id, bytes, start, end);
    this.states.reset(id, partition);
    this.#arrivals?.push(id);
  }

  has(id: number): boolean {
    return this.index.has(id);
  }

  partitionOf(id: number): number {
    return this.states.word(id, PARTITION);
  }

  /** True once the log holds the definition. */
  isLogged(id: number): boolean {
    return (this.states.word(id, LOGGED) & 1) !== 0;
  }

  setLogged(id: number, isLogged: boolean): void {
    this.states.setWord(id, LOGGED, (this.states.word(id, LOGGED) & ~1) | (isLogged ? 1 : 0));
  }

  /**
   * Appends samples [from, to) of the columns.
   *
   * @param ids           Series ids from define.
   * @param timestampsMs  Safe integers, in any order.
   * @param values        Kept bit for bit.
   * @param segment       Log segment that holds these samples, ≥ 1.
   *
   * Cost: about 50 ns per sample in order while states and chunks fit the caches, several times that when they do
   * not; no allocation but arenas.
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
    const { pages } = this.slots;
    const { chunkSamplesTarget } = this.options;
    let startMs = this.#lastRange?.startMs ?? Number.POSITIVE_INFINITY;
    let endMs = this.#lastRange?.endMs ?? 0;
    for (let i = from; i < to; i++) {
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
        xorStateCount(words, base) < chunkSamplesTarget &&
        xorStateBytes(words, base) + XOR_APPEND_BYTES_MAX <= slotBytesOf(slot)
      ) {
        words[base + LAST_SEGMENT] = segment;
        const page = pages[slotPageOf(slot)]!;
        appendXorSample(words, times, base, page, slotOffsetOf(slot), timestampsMs, i, low, high);
        continue;
      }
      this.#append(id, timestampsMs, i, low, high, segment);
      startMs = this.#lastRange?.startMs ?? Number.POSITIVE_INFINITY;
      endMs = this.#lastRange?.endMs ?? 0;
    }
    this.counters.appended += to - from;
  }

  /**
   * Appends histograms, start times and exemplars.
   *
   * @param extras   References are series ids from define; times are safe integers, in any order. Contents are copied.
   * @param segment  Log segment that holds them, ≥ 1.
   * @throws AppError `bad_data` when a content is not of its kind: what came before it was taken.
   */
  appendExtras(extras: Extras, segment: number): void {
    const { references, timestampsMs, kinds, starts, ends, bytes, count } = extras;
    for (let i = 0; i < count; i++) {
      const id = references[i]!;
      const timeMs = timestampsMs[i]!;
      this.states.setWord(id, LAST_SEGMENT, segment);
      if (kinds[i] === EXTRA_HISTOGRAM) {
        this.#extrasOf(timeMs, segment).addHistogram(id, timeMs, bytes, starts[i]!, ends[i]!);
        this.counters.appended++;
      } else if (kinds[i] === EXTRA_EXEMPLAR) {
        this.#extrasOf(timeMs, segment).addExemplar(id, timeMs, bytes, starts[i]!, ends[i]!);
        this.counters.exemplars++;
      } else if (kinds[i] === EXTRA_START_TIME) {
        this.startTimes.add(id, timeMs, decodeStartTime(bytes, starts[i]!, ends[i]!));
      } else {
        throw new AppError('bad_data', `an extra of kind ${kinds[i]}, which this version does not know`);
      }
    }
  }

  #extrasOf(timeMs: number, segment: number): RangeExtras {
    return this.extrasIn(this.#rangeOf(timeMs, segment));
  }

  /** The histograms and exemplars of a range of this head, made when there are none. */
  extrasIn(range: RangeChunks): RangeExtras {
    if (range.extras === undefined) {
      this.#extrasScratch ??= new ExtrasScratch();
      range.extras = new RangeExtras(range.startMs, range.endMs, this.slots, this.#extrasScratch);
    }
    return range.extras;
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
      const isSameRange = this.#startOf(timeMs) === this.#startOf(lastMs);
      const isFull = xorStateCount(words, base) >= this.options.chunkSamplesTarget;
      if (!isSameRange || isFull) {
        this.#closeChunk(id, words, base);
        slot = NO_SLOT;
      } else if (xorStateBytes(words, base) + XOR_APPEND_BYTES_MAX > slotBytesOf(slot)) {
        slot = this.#growSlot(id, words, base);
      }
    }
    if (slot === NO_SLOT) slot = this.#openChunk(words, base, timeMs, segment);
    appendXorSample(
      words,
      times,
      base,
      this.slots.pages[slotPageOf(slot)]!,
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
    this.#rangeOf(timeMs, segment).addLoose(id, timeMs, low, high);
  }

  #openChunk(words: Uint32Array, base: number, timeMs: number, segment: number): number {
    // The range has to know the oldest segment of its samples, those in open chunks too.
    this.#rangeOf(timeMs, segment);
    // Chunks of a series are much alike: with room for the one before, none of it is copied as it grows.
    const known = words[base + LOGGED]! >>> SLOT_CLASS_SHIFT;
    const slot = this.slots.take(known === 0 ? SLOT_CLASS_FIRST : known - 1);
    words[base + SLOT] = slot;
    this.#openChunks++;
    return slot;
  }

  /** Moves the open chunk to a slot of the next size, or closes it when there is none. */
  #growSlot(id: number, words: Uint32Array, base: number): number {
    const slot = words[base + SLOT]!;
    if (slotClassOf(slot) === SLOT_CLASSES - 1) {
      this.#closeChunk(id, words, base);
      return NO_SLOT;
    }
    // Twice the room while nothing is known; else it was not much that was missing.
    const known = words[base + LOGGED]! >>> SLOT_CLASS_SHIFT;
    const next = Math.min(SLOT_CLASSES - 1, slotClassOf(slot) + (known === 0 ? 2 : 1));
    const grown = this.slots.take(next);
    const from = slotOffsetOf(slot);
    const used = this.slots.pages[slotPageOf(slot)]!.subarray(from, from + xorStateBytes(words, base));
    this.slots.pages[slotPageOf(grown)]!.set(used, slotOffsetOf(grown));
    this.slots.give(slot);
    words[base + SLOT] = grown;
    return grown;
  }

  #closeChunk(id: number, words: Uint32Array, base: number): void {
    const slot = words[base + SLOT]!;
    const page = this.slots.pages[slotPageOf(slot)]!;
    const start = slotOffsetOf(slot);
    const end = start + xorStateBytes(words, base);
    const lastMs = this.states.lastMs(id);
    const range = this.#open.get(this.#startOf(lastMs));
    assert(range !== undefined, `series ${id} has an open chunk, whose range is open`);
    if (xorStateCount(words, base) >= this.options.chunkSamplesTarget) {
      const slotClass = slotClassFor(end - start + XOR_APPEND_BYTES_MAX);
      words[base + LOGGED] = (words[base + LOGGED]! & 1) | ((slotClass + 1) << SLOT_CLASS_SHIFT);
    }
    putXorHeader(words, base, page, start);
    const bytes = this.#closedChunks.encode(page, start, end);
    range.addChunk(id, xorFirstTimeMs(page, start, end), lastMs, this.#closedChunks.bytes, 0, bytes);
    this.slots.give(slot);
    words[base + SLOT] = NO_SLOT;
    endXorChunk(words, base);
    this.#openChunks--;
  }

  #startOf(timeMs: number): number {
    return Math.floor(timeMs / this.options.rangeMs) * this.options.rangeMs;
  }

  /** The open range of a time, made when there is none. */
  #rangeOf(timeMs: number, segment: number): RangeChunks {
    const last = this.#lastRange;
    if (last !== undefined && timeMs >= last.startMs && timeMs < last.endMs) return last;
    const startMs = this.#startOf(timeMs);
    let range = this.#open.get(startMs);
    if (range === undefined) {
      range = this.#newRange(startMs, segment);
      this.#open.set(startMs, range);
    }
    this.#lastRange = range;
    return range;
  }

  /** Starts of the open ranges that end at or before `timeMs`, ascending. */
  closedRangeStarts(timeMs: number): number[] {
    return [...this.#open.values()]
      .filter(({ endMs }) => endMs <= timeMs)
      .map(({ startMs }) => startMs)
      .sort((a, b) => a - b);
  }

  /**
   * Freezes the open range that starts at `startMs`: its open chunks are closed, later samples for it go to a new range.
   * Returns undefined when there is none.
   *
   * @param generation  The caller's name for the frozen range, ≥ 1, never used before.
   *
   * Cost: a look at every series.
   */
  freeze(startMs: number, generation: number): RangeChunks | undefined {
    const range = this.#open.get(startMs);
    if (range === undefined) return undefined;
    for (let id = 0; id < this.#idEnd; id++) {
      const words = this.states.words[id >>> PAGE_SHIFT]!;
      const base = (id & PAGE_MASK) * STATE_WORDS;
      if (words[base + SLOT] === NO_SLOT || !this.index.has(id)) continue;
      const lastMs = this.states.lastMs(id);
      if (lastMs >= range.startMs && lastMs < range.endMs) this.#closeChunk(id, words, base);
    }
    this.#open.delete(startMs);
    assert(generation > 0 && !this.#frozen.has(generation), `generation ${generation} is new`);
    range.generation = generation;
    this.#frozen.set(generation, range);
    if (this.#lastRange === range) this.#lastRange = undefined;
    return range;
  }

  /** Forgets a frozen range. */
  drop(generation: number): void {
    this.#frozen.get(generation)?.extras?.release();
    this.#frozen.delete(generation);
    if (this.startTimes.count === 0) return;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const { startMs } of this.ranges()) oldestMs = Math.min(oldestMs, startMs);
    this.startTimes.prune(oldestMs, (series) => this.index.has(series));
  }

  /** A selection begins: ids it may hold are not given to other series until `endSelection` of the returned token. */
  beginSelection(): number {
    const collection = this.#collection;
    this.#selections.set(collection, (this.#selections.get(collection) ?? 0) + 1);
    return collection;
  }

  endSelection(collection: number): void {
    const running = this.#selections.get(collection)! - 1;
    if (running > 0) this.#selections.set(collection, running);
    else this.#selections.delete(collection);
    this.#releaseIds();
  }

  /**
   * Lets series go that have no samples here and none in log segments from `firstSegment` on. Yields every few thousand
   * series; other calls but a second collection may come in between. What is returned is true at the moment it is
   * returned. The ids are not given to other series before `allowReuse`.
   */
  *collectSeries(firstSegment: number): Generator<void, LeftSeries> {
    assert(this.#arrivals === undefined, 'one collection at a time');
    const used = this.#usedIds();
    const leaving = new Set<number>();
    for (const id of this.index.allPostings()) {
      const isUsed = (used[id >>> 5]! & (1 << (id & 31))) !== 0;
      if (!isUsed && this.#isIdle(id, firstSegment)) leaving.add(id);
    }
    const index = this.index;
    if (leaving.size === 0) return { ids: new Uint32Array(0), index };
    yield* this.#rebuildIndex(leaving, firstSegment);
    // Their ids may be another series' one day.
    this.startTimes.prune(Number.NEGATIVE_INFINITY, (series) => !leaving.has(series));
    this.#collection++;
    this.#leaving.push({ collection: this.#collection, ids: [...leaving] });
    return { ids: Uint32Array.from(leaving), index };
  }

  /** Number of collections so far that let series go. */
  get collection(): number {
    return this.#collection;
  }

  /**
   * Ids that left up to this collection may go to other series, once no selection of before runs: nothing durable names
   * them any more, so that a lost definition can never lend its samples to another series.
   */
  allowReuse(collection: number): void {
    this.#reusable = Math.max(this.#reusable, collection);
    this.#releaseIds();
  }

  #isIdle(id: number, firstSegment: number): boolean {
    return this.states.word(id, SLOT) === NO_SLOT && this.states.word(id, LAST_SEGMENT) < firstSegment;
  }

  /** Bitmap of the ids that have closed chunks or loose samples. */
  #usedIds(): Uint32Array {
    const used = new Uint32Array((this.#idEnd >>> 5) + 1);
    for (const range of this.ranges()) {
      for (const id of range.seriesIds()) used[id >>> 5]! |= 1 << (id & 31);
    }
    return used;
  }

  /** Replaces the index by one without the series in `leaving`; those that get samples meanwhile are taken out of it. */
  *#rebuildIndex(leaving: Set<number>, firstSegment: number): Generator<void> {
    const old = this.index;
    const next = new LabelIndex(this.options.hashSeed);
    this.#arrivals = [];
    try {
      let done = 0;
      for (const id of old.allPostings()) {
        if (leaving.has(id)) continue;
        old.copyTo(next, id);
        if (++done % 2048 === 0) yield;
      }
      for (const id of leaving) {
        if (this.#isIdle(id, firstSegment)) continue;
        leaving.delete(id);
        old.copyTo(next, id);
      }
      for (const id of this.#arrivals) old.copyTo(next, id);
      this.index = next;
    } finally {
      this.#arrivals = undefined;
    }
  }

  #releaseIds(): void {
    const oldest = Math.min(this.#reusable, ...this.#selections.keys());
    while (this.#leaving.length > 0 && this.#leaving[0]!.collection <= oldest) {
      for (const id of this.#leaving.shift()!.ids) this.#freeIds.push(id);
    }
  }
}

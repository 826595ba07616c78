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
import type { ChunkSlots } from './chunk-slots.ts';
import { NO_SLOT } from './chunk-slots.ts';
import { CLOSED_CHUNK_SAMPLES_MAX } from './closed-chunks.ts';
import { ABSENT } from './columns.ts';
import { HeadRanges } from './head-ranges.ts';
import { LabelIndex } from './label-index.ts';
import { type HeadCounters, OpenChunks } from './open-chunks.ts';
import type { RangeChunks } from './range-chunks.ts';
import { ExtrasScratch, RangeExtras } from './range-extras.ts';
import { LAST_SEGMENT, LOGGED, PARTITION, type SeriesStates, SLOT } from './series-states.ts';
import { StartTable } from './start-table.ts';

export interface HeadOptions {
  /** Length of the aligned time ranges that become blocks. */
  readonly rangeMs: number;
  /** A chunk is closed at about this many samples (open-chunks.ts), 1 … CLOSED_CHUNK_SAMPLES_MAX; below 64 exactly at it. */
  readonly chunkSamplesTarget: number;
  /** Seed of hash tables; random per process in production. */
  readonly hashSeed: number;
}

/** Replay takes an id this far above the others; a damaged one must not cost memory. */
export const ID_GAP_MAX: number = 1 << 22;

/** An index that is made anew has room for so many times the series that stay: for those that come until the next time. */
const REBUILT_ROOM = 1.25;

/** Series that left a head: their ids, ascending, and an index that still knows their labels. */
export interface LeftSeries {
  readonly ids: Uint32Array;
  readonly index: LabelIndex;
}

export class Head {
  readonly options: HeadOptions;
  readonly counters: HeadCounters;
  readonly states: SeriesStates;
  readonly slots: ChunkSlots;
  readonly #ranges: HeadRanges;
  readonly #chunks: OpenChunks;
  readonly startTimes = new StartTable();
  /** Replaced when series leave: take it anew after every pause, or keep it for ids found in it. */
  index: LabelIndex;
  #idEnd = 0;
  #freeIds: number[] = [];
  /** Ids that left, with the number of the collection; free once no older selection runs. */
  readonly #leaving: { collection: number; ids: number[] }[] = [];
  readonly #selections = new Map<number, number>();
  #collection = 0;
  #reusable = 0;
  /** Series that came while the index is being rebuilt, or undefined. */
  #arrivals: number[] | undefined;
  #extrasScratch: ExtrasScratch | undefined;

  constructor(options: HeadOptions) {
    assert(options.rangeMs > 0 && options.rangeMs <= 2 ** 31, `rangeMs ${options.rangeMs} in 1 … 2^31`);
    assert(
      options.chunkSamplesTarget > 0 && options.chunkSamplesTarget <= CLOSED_CHUNK_SAMPLES_MAX,
      `chunkSamplesTarget ${options.chunkSamplesTarget} in 1 … ${CLOSED_CHUNK_SAMPLES_MAX}`,
    );
    this.options = options;
    this.#ranges = new HeadRanges(options);
    this.#chunks = new OpenChunks(options.chunkSamplesTarget, this.#ranges);
    const { counters, states, slots } = this.#chunks;
    this.counters = counters;
    this.states = states;
    this.slots = slots;
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
    return bytes + this.#ranges.pool.bytesHeld;
  }

  get chunkCount(): number {
    let count = this.#chunks.count;
    for (const range of this.ranges()) count += range.chunkCount;
    return count;
  }

  /** All ranges, frozen ones too. */
  ranges(): Generator<RangeChunks> {
    return this.#ranges.all();
  }

  frozenRanges(): RangeChunks[] {
    return this.#ranges.frozen();
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
    this.#addMissed(id, bytes, start, partition);
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
    this.#addMissed(chosen, bytes, start, partition);
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
    this.index.add(id, labels, 0, labels.length);
    this.#begin(id, partition);
    this.#chunks.restore(id, lastSegment, state, open);
  }

  /** Puts a range back, empty. @throws AppError `bad_data` when there is one in its place. */
  restoreRange(startMs: number, firstSegment: number, generation: number): RangeChunks {
    return this.#ranges.restore(startMs, firstSegment, generation);
  }

  /** Adds the series that the index was asked for last. */
  #addMissed(id: number, bytes: Uint8Array, start: number, partition: number): void {
    this.index.addMissed(id, bytes, start);
    this.#begin(id, partition);
  }

  #begin(id: number, partition: number): void {
    this.states.reset(id, partition);
    this.counters.defined++;
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

  /** Appends samples [from, to) of the columns, as OpenChunks.appendSamples says; series ids are from define. */
  appendSamples(
    ids: Uint32Array,
    timestampsMs: Float64Array,
    values: Float64Array,
    from: number,
    to: number,
    segment: number,
  ): void {
    this.#chunks.appendSamples(ids, timestampsMs, values, from, to, segment);
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
    return this.extrasIn(this.#ranges.of(timeMs, segment));
  }

  /** The histograms and exemplars of a range of this head, made when there are none. */
  extrasIn(range: RangeChunks): RangeExtras {
    if (range.extras === undefined) {
      this.#extrasScratch ??= new ExtrasScratch();
      range.extras = new RangeExtras(range, this.slots, this.#extrasScratch);
    }
    return range.extras;
  }

  /** Starts of the open ranges that end at or before `timeMs`, ascending. */
  closedRangeStarts(timeMs: number): number[] {
    return this.#ranges.closedStarts(timeMs);
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
    const range = this.#ranges.openAt(startMs);
    if (range === undefined) return undefined;
    for (let id = 0; id < this.#idEnd; id++) if (this.index.has(id)) this.#chunks.closeIn(range, id);
    this.#ranges.freeze(range, generation);
    return range;
  }

  /** Forgets a frozen range. */
  drop(generation: number): void {
    this.#ranges.drop(generation);
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
    const share = 1 - leaving.size / Math.max(1, old.seriesCount);
    next.reserveLike(old, Math.min(1, share * REBUILT_ROOM));
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

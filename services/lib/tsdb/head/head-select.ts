// Reading a head: series and chunks by matchers, label names and values. Generators that yield about every millisecond of
// work, so that the caller can pass on what there is, give other work a turn and stop when nobody listens any more.
import { ByteWriter } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { CHUNK_XOR, type ChunkSink } from '../../model/chunk-sink.ts';
import { compareUtf8 } from '../../model/labels.ts';
import type { Matcher } from '../../model/matcher.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { sortAndDedupeSamples } from '../chunk/merge-samples.ts';
import { putXorHeader, xorStateBytes } from '../chunk/xor-appender.ts';
import { xorFirstTimeMs } from '../chunk/xor-decoder.ts';
import { encodeXorChunk } from '../chunk/xor-encoder.ts';
import { selectPostingsInSteps } from '../postings/select-postings.ts';
import { NO_SLOT, slotOffsetOf, slotPageOf } from './chunk-slots.ts';
import { closedChunkEncoding } from './closed-chunks.ts';
import { ABSENT, grownF64 } from './columns.ts';
import { ExtraSelect } from './extra-select.ts';
import type { Head } from './head.ts';
import type { LabelIndex } from './label-index.ts';
import { type HeadMask, MaskedSeries } from './masked-series.ts';
import type { RangeChunks } from './range-chunks.ts';
import type { SeriesRunWriter } from './series-run-writer.ts';
import { PAGE_MASK, PAGE_SHIFT, SLOT, STATE_WORDS } from './series-states.ts';

export interface HeadSelection {
  readonly matchers: readonly Matcher[];
  /** Unix ms, both inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /** Only series of these partitions; undefined means all. */
  readonly partitions: ReadonlySet<number> | undefined;
  /** Series without their chunks. */
  readonly labelsOnly: boolean;
  /** Series with their exemplars instead of samples; those without any are left out. */
  readonly exemplars?: boolean | undefined;
  /** Series may come in any order: saves sorting them. */
  readonly isUnordered?: boolean;
  /** One more is an error. */
  readonly seriesMax: number;
  /** What deletes hide. Default: nothing. */
  readonly masks?: readonly HeadMask[];
}

/** Work between two yields. */
const STEP_MS = 1;
/** Series between two looks at the clock. */
const SERIES_PER_LOOK = 64;
/** Samples per chunk made of late samples. */
const LOOSE_CHUNK_SAMPLES = 120;

/**
 * Hands the series with samples in the time range to the sink, each with all chunks that overlap it (which may hold
 * samples outside), ascending by first sample. Returns the number of series, which come in label order.
 *
 * @param runs  Set: gets those series instead of which nothing but open and closed chunks is to be read, when they are many.
 * @throws AppError `execution` when more than `seriesMax` match, `bad_data` when a regular expression is malformed, should the head
 *         have samples in the time range: otherwise nothing is looked at.
 */
export function* selectHead(
  head: Head,
  selection: HeadSelection,
  clock: Clock,
  sink: ChunkSink,
  runs?: SeriesRunWriter,
): Generator<void, number> {
  const labels = new ByteWriter(1024);
  let series = 0;
  yield* walkSeries(head, selection, clock, runs, (id, index, chunks) => {
    if (++series > selection.seriesMax) {
      throw new AppError(
        'execution',
        `the selector matches more than ${selection.seriesMax} series of an ingester (limit of series per select); use more specific matchers`,
      );
    }
    if (chunks === undefined) return;
    labels.reset();
    index.writeLabels(id, labels);
    sink.beginSeries(labels.bytes, 0, labels.length);
    if (!selection.labelsOnly) chunks.emit(sink);
  });
  return series;
}

/** Names or values, in UTF-8 byte order; `truncated` when the limit cut them. */
export interface LabelList {
  readonly values: string[];
  readonly truncated: boolean;
}

/**
 * Label names (`labelName` empty) or values of the series that match and have samples in the time range; without matchers
 * those of all series in memory.
 *
 * @param limit  Most strings; 0 means no limit.
 */
export function* labelsOfHead(
  head: Head,
  selection: HeadSelection,
  labelName: string,
  limit: number,
  clock: Clock,
): Generator<void, LabelList> {
  if (selection.matchers.length === 0 && (selection.masks ?? []).length === 0) {
    const { index } = head;
    const all =
      labelName === ''
        ? Array.from(index.pairs.names(), ({ name }) => name)
        : [...index.labelValues(labelName)];
    return cut(all, limit);
  }
  const readers = readersOf(head, selection);
  if (readers.chunks.isEmpty) return { values: [], truncated: false };
  // Ids mean what they mean in this index until the selection ends.
  const { index } = head;
  const token = head.beginSelection();
  try {
    const ids = yield* selectPostingsInSteps(index, selection.matchers);
    readers.chunks.refreshRanges();
    const isBroad = ids.length * BROAD_FACTOR > index.seriesCount && ids.length > BROAD_SERIES_MIN;
    const found = isBroad
      ? yield* textsOfMany(head, index, selection, clock, ids, labelName, readers)
      : yield* textsOfFew(head, index, selection, clock, ids, labelName, readers);
    return cut([...found], limit);
  } finally {
    head.endSelection(token);
  }
}

/** From so large a share of all series on, it is the label's values that are looked at and not the series. */
const BROAD_FACTOR = 16;
const BROAD_SERIES_MIN = 1000;

/** The texts of labelsOfHead by a look at each of the series. */
function* textsOfFew(
  head: Head,
  index: LabelIndex,
  selection: HeadSelection,
  clock: Clock,
  ids: Uint32Array,
  labelName: string,
  readers: SeriesReaders,
): Generator<void, Set<string>> {
  const pairs = new Set<number>();
  yield* visitSeries(head, index, selection, clock, ids, readers, (id) => {
    index.forEachPair(id, (pair) => pairs.add(pair));
    return false;
  });
  const found = new Set<string>();
  for (const pair of pairs) {
    const name = index.pairs.name(pair);
    if (labelName === '') found.add(name);
    else if (name === labelName) found.add(index.pairs.value(pair));
  }
  return found;
}

/** The same by the first series of each value, or of each name, that is one of them: most are found at once. */
function* textsOfMany(
  head: Head,
  index: LabelIndex,
  selection: HeadSelection,
  clock: Clock,
  ids: Uint32Array,
  labelName: string,
  readers: SeriesReaders,
): Generator<void, Set<string>> {
  const isSelected = new Uint32Array((head.idEnd >>> 5) + 1);
  for (const id of ids) isSelected[id >>> 5]! |= 1 << (id & 31);
  const found = new Set<string>();
  const names = labelName === '' ? Array.from(index.pairs.names(), ({ name }) => name) : [labelName];
  let stepEndsMs = clock.monotonicMs() + STEP_MS;
  for (const name of names) {
    for (const value of index.labelValues(name)) {
      const having = index.postings(name, value);
      let hasOne = false;
      for (let from = 0; from < having.length && !hasOne; ) {
        const some: number[] = [];
        for (; from < having.length && some.length < SERIES_PER_LOOK; from++) {
          const id = having[from]!;
          if ((isSelected[id >>> 5]! & (1 << (id & 31))) !== 0) some.push(id);
        }
        if (clock.monotonicMs() >= stepEndsMs) {
          yield;
          readers.chunks.refreshRanges();
          stepEndsMs = clock.monotonicMs() + STEP_MS;
        }
        yield* visitSeries(head, index, selection, clock, some, readers, () => {
          hasOne = true;
          return true;
        });
      }
      if (!hasOne) continue;
      found.add(labelName === '' ? name : value);
      if (labelName === '') break;
    }
  }
  return found;
}

function cut(values: string[], limit: number): LabelList {
  values.sort(compareUtf8);
  const truncated = limit > 0 && values.length > limit;
  return { values: truncated ? values.slice(0, limit) : values, truncated };
}

/** Visits each series that matches, has samples in the range and is of the wanted partitions. */
function* walkSeries(
  head: Head,
  selection: HeadSelection,
  clock: Clock,
  runs: SeriesRunWriter | undefined,
  visit: (id: number, index: LabelIndex, chunks: Emitting | undefined) => void,
): Generator<void> {
  const readers = readersOf(head, selection);
  // Queries of what only stores have left come here, too.
  if (readers.chunks.isEmpty) return;
  // Ids mean what they mean in this index until the selection ends.
  const { index } = head;
  const token = head.beginSelection();
  try {
    const found = yield* selectPostingsInSteps(index, selection.matchers);
    const ids = selection.isUnordered === true ? found : yield* index.order.sort(found);
    readers.chunks.refreshRanges();
    if (runs !== undefined) readers.chunks.useRuns(runs, index, ids.length);
    yield* visitSeries(head, index, selection, clock, ids, readers, (id, chunks) => {
      visit(id, index, chunks);
      return false;
    });
  } finally {
    head.endSelection(token);
  }
}

/** The chunks of a series. */
interface Emitting {
  emit(sink: ChunkSink): void;
}

/** What reads one series after the other; costly to make for each of many small lists. */
interface SeriesReaders {
  readonly chunks: SeriesChunks;
  /** Undefined while nothing is deleted. */
  readonly masked: MaskedSeries | undefined;
}

function readersOf(head: Head, selection: HeadSelection): SeriesReaders {
  const masks = selection.masks ?? [];
  return {
    chunks: new SeriesChunks(head, selection),
    masked: masks.length > 0 ? new MaskedSeries(head, masks) : undefined,
  };
}

/**
 * The same for given ids of an index, in their order, until `visit` says true.
 *
 * @param visit  `chunks` is undefined of a series that is in a run.
 */
function* visitSeries(
  head: Head,
  index: LabelIndex,
  selection: HeadSelection,
  clock: Clock,
  ids: ArrayLike<number>,
  { chunks, masked }: SeriesReaders,
  visit: (id: number, chunks: Emitting | undefined) => boolean,
): Generator<void> {
  let stepEndsMs = clock.monotonicMs() + STEP_MS;
  for (let i = 0; i < ids.length; i++) {
    if (i % SERIES_PER_LOOK === 0 && clock.monotonicMs() >= stepEndsMs) {
      yield;
      chunks.refreshRanges();
      stepEndsMs = clock.monotonicMs() + STEP_MS;
    }
    const id = ids[i]!;
    if (selection.partitions !== undefined && !selection.partitions.has(head.partitionOf(id))) continue;
    let isEnough = false;
    if (masked?.concerns(id, index) === true) {
      if (chunks.collectMasked(id, masked)) isEnough = visit(id, masked);
    } else {
      const found = chunks.collectForRun(id);
      if (found === IN_RUN) isEnough = visit(id, undefined);
      else if (found === NOT_FOR_RUN && chunks.collect(id)) isEnough = visit(id, chunks);
    }
    if (isEnough) return;
  }
}

// What collectForRun() says of a series.
const NOT_FOR_RUN = 0;
const IN_RUN = 1;
const NOTHING = 2;

/** The chunks of one series after the other that overlap a time range. */
class SeriesChunks {
  readonly #head: Head;
  readonly #minTimeMs: number;
  readonly #maxTimeMs: number;
  /** Newest first. */
  #ranges: RangeChunks[] = [];
  // Entries of the current series: where a chunk stands, and when it begins and ends. They come newest first, mostly.
  #count = 0;
  #isFalling = true;
  readonly #encodings: number[] = [];
  readonly #pages: Uint8Array[] = [];
  #starts: Float64Array = new Float64Array(64);
  #ends: Float64Array = new Float64Array(64);
  #firstMs: Float64Array = new Float64Array(64);
  #lastMs: Float64Array = new Float64Array(64);
  // The open chunk that was found last.
  #openPage: Uint8Array = new Uint8Array(0);
  #openView: DataView = new DataView(new ArrayBuffer(0));
  #openStart = 0;
  #openEnd = 0;
  #openFirstMs = 0;
  #openLastMs = 0;
  readonly #loose = new SampleColumns(64);
  readonly #encoded = new ByteWriter(1024);
  readonly #wantsExemplars: boolean;
  /** Undefined while the ranges hold floats only. */
  #extras: ExtraSelect | undefined;
  #id = 0;
  #runs: SeriesRunWriter | undefined;

  constructor(head: Head, selection: HeadSelection) {
    this.#head = head;
    this.#wantsExemplars = selection.exemplars === true;
    this.#minTimeMs = selection.minTimeMs;
    this.#maxTimeMs = selection.maxTimeMs;
    this.refreshRanges();
  }

  /** Whether no series has anything in the time range: what is in an open chunk is in a range as well. */
  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  /** Ranges come and go between slices. */
  refreshRanges(): void {
    this.#ranges = [...this.#head.ranges()]
      .filter(({ startMs, endMs }) => startMs <= this.#maxTimeMs && endMs > this.#minTimeMs)
      .sort((a, b) => b.startMs - a.startMs);
    const hasExtras =
      this.#head.startTimes.count > 0 || this.#ranges.some(({ extras }) => extras !== undefined);
    this.#extras = hasExtras
      ? new ExtraSelect(this.#head, this.#ranges, this.#minTimeMs, this.#maxTimeMs)
      : undefined;
  }

  /** From now on series go into runs, when there are so many of them that this pays. */
  useRuns(runs: SeriesRunWriter, index: LabelIndex, seriesCount: number): void {
    if (this.#wantsExemplars || !runs.isFor(seriesCount, this.#ranges)) return;
    runs.begin(index, seriesCount);
    this.#runs = runs;
  }

  /** Puts a series into a run, where there are runs and it has nothing else than open and closed chunks. */
  collectForRun(id: number): typeof NOT_FOR_RUN | typeof IN_RUN | typeof NOTHING {
    const runs = this.#runs;
    if (runs === undefined || this.#extras?.concerns(id)) return NOT_FOR_RUN;
    runs.beginSeries(id);
    let isFound = this.#openOf(id);
    if (isFound)
      runs.openChunk(this.#openView, this.#openStart, this.#openEnd, this.#openFirstMs, this.#openLastMs);
    for (const range of this.#ranges) {
      if (range.hasLoose(id)) {
        runs.dropSeries();
        return NOT_FOR_RUN;
      }
      const newest = range.newestChunk(id);
      if (newest === ABSENT) continue;
      runs.chain(runs.numberOf(range), newest);
      isFound ||= this.#hasOverlap(range, newest);
    }
    if (isFound) runs.endSeries();
    return isFound ? IN_RUN : NOTHING;
  }

  #hasOverlap(range: RangeChunks, newest: number): boolean {
    if (range.startMs >= this.#minTimeMs && range.endMs <= this.#maxTimeMs) return true;
    for (let c = newest; c !== ABSENT; c = range.olderChunk(c)) {
      if (range.chunkLastMs(c) >= this.#minTimeMs && range.chunkFirstMs(c) <= this.#maxTimeMs) return true;
    }
    return false;
  }

  /** Finds the chunks of a series; false when none overlaps. */
  collect(id: number): boolean {
    this.#count = 0;
    this.#isFalling = true;
    this.#loose.count = 0;
    this.#id = id;
    if (this.#wantsExemplars) return this.#extras?.collectExemplars(id) ?? false;
    this.#addOpen(id);
    for (const range of this.#ranges) {
      for (let c = range.newestChunk(id); c !== ABSENT; c = range.olderChunk(c)) {
        const firstMs = range.chunkFirstMs(c);
        const lastMs = range.chunkLastMs(c);
        if (lastMs < this.#minTimeMs || firstMs > this.#maxTimeMs) continue;
        const start = range.chunkOffset(c);
        const page = range.chunkPage(c);
        const encoding = closedChunkEncoding(page, start);
        this.#add(encoding, page, start, start + range.chunkBytes(c), firstMs, lastMs);
      }
      if (range.hasLoose(id)) range.readLoose(id, this.#loose);
    }
    if (this.#loose.count > 0) this.#addLoose();
    const hasHistograms = this.#extras?.collectHistograms(id) ?? false;
    return this.#count > 0 || hasHistograms;
  }

  /** As `collect`, of a series that deletes concern. */
  collectMasked(id: number, masked: MaskedSeries): boolean {
    return masked.collect(id, this.#ranges, {
      minTimeMs: this.#minTimeMs,
      maxTimeMs: this.#maxTimeMs,
      wantsExemplars: this.#wantsExemplars,
    });
  }

  /** Hands the chunks of the series collected last to the sink. */
  emit(sink: ChunkSink): void {
    if (this.#wantsExemplars) {
      this.#extras?.emitExemplars(sink);
      return;
    }
    if (!this.#isFalling) this.#sort();
    const extras = this.#extras;
    if (extras !== undefined) {
      const firstMs = this.#count > 0 ? this.#firstMs[this.#count - 1]! : Number.POSITIVE_INFINITY;
      extras.emitStartTimes(this.#id, Math.min(firstMs, extras.firstMs), sink);
    }
    for (let i = this.#count - 1; i >= 0; i--) {
      sink.chunk(
        this.#encodings[i]!,
        this.#firstMs[i]!,
        this.#lastMs[i]!,
        this.#pages[i]!,
        this.#starts[i]!,
        this.#ends[i]!,
      );
    }
    extras?.emitHistograms(sink);
  }

  #addOpen(id: number): void {
    if (!this.#openOf(id)) return;
    this.#add(CHUNK_XOR, this.#openPage, this.#openStart, this.#openEnd, this.#openFirstMs, this.#openLastMs);
  }

  /** Finds the open chunk of a series; false when there is none that overlaps. */
  #openOf(id: number): boolean {
    const { states, slots } = this.#head;
    const words = states.words[id >>> PAGE_SHIFT]!;
    const base = (id & PAGE_MASK) * STATE_WORDS;
    const slot = words[base + SLOT]!;
    if (slot === NO_SLOT) return false;
    const lastMs = states.lastMs(id);
    if (lastMs < this.#minTimeMs) return false;
    const page = slots.pages[slotPageOf(slot)]!;
    const start = slotOffsetOf(slot);
    const end = start + xorStateBytes(words, base);
    const firstMs = xorFirstTimeMs(page, start, end);
    if (firstMs > this.#maxTimeMs) return false;
    putXorHeader(words, base, page, start);
    this.#openPage = page;
    this.#openView = slots.views[slotPageOf(slot)]!;
    this.#openStart = start;
    this.#openEnd = end;
    this.#openFirstMs = firstMs;
    this.#openLastMs = lastMs;
    return true;
  }

  /** Late samples become chunks of their own, of those in the range only. */
  #addLoose(): void {
    const columns = this.#loose;
    sortAndDedupeSamples(columns);
    this.#encoded.reset();
    const { timestampsMs } = columns;
    let from = 0;
    while (from < columns.count && timestampsMs[from]! < this.#minTimeMs) from++;
    let to = from;
    while (to < columns.count && timestampsMs[to]! <= this.#maxTimeMs) to++;
    const bounds: number[] = [];
    for (let at = from; at < to; at += LOOSE_CHUNK_SAMPLES) {
      const stop = Math.min(to, at + LOOSE_CHUNK_SAMPLES);
      const start = this.#encoded.length;
      encodeXorChunk(timestampsMs, columns.values, at, stop, this.#encoded);
      bounds.push(start, this.#encoded.length, timestampsMs[at]!, timestampsMs[stop - 1]!);
    }
    for (let b = 0; b < bounds.length; b += 4) {
      const [start, end, firstMs, lastMs] = bounds.slice(b, b + 4);
      this.#add(CHUNK_XOR, this.#encoded.bytes, start!, end!, firstMs!, lastMs!);
    }
  }

  #add(
    encoding: number,
    page: Uint8Array,
    start: number,
    end: number,
    firstMs: number,
    lastMs: number,
  ): void {
    const at = this.#count;
    if (at === this.#starts.length) this.#grow();
    if (at > 0 && firstMs > this.#firstMs[at - 1]!) this.#isFalling = false;
    this.#encodings[at] = encoding;
    this.#pages[at] = page;
    this.#starts[at] = start;
    this.#ends[at] = end;
    this.#firstMs[at] = firstMs;
    this.#lastMs[at] = lastMs;
    this.#count = at + 1;
  }

  /** By falling first sample. Chunks of late samples are few, or nearly in order: each moves forward to its place. */
  #sort(): void {
    for (let i = 1; i < this.#count; i++) {
      const encoding = this.#encodings[i]!;
      const page = this.#pages[i]!;
      const start = this.#starts[i]!;
      const end = this.#ends[i]!;
      const firstMs = this.#firstMs[i]!;
      const lastMs = this.#lastMs[i]!;
      let at = i;
      for (; at > 0 && this.#firstMs[at - 1]! < firstMs; at--) {
        this.#encodings[at] = this.#encodings[at - 1]!;
        this.#pages[at] = this.#pages[at - 1]!;
        this.#starts[at] = this.#starts[at - 1]!;
        this.#ends[at] = this.#ends[at - 1]!;
        this.#firstMs[at] = this.#firstMs[at - 1]!;
        this.#lastMs[at] = this.#lastMs[at - 1]!;
      }
      this.#encodings[at] = encoding;
      this.#pages[at] = page;
      this.#starts[at] = start;
      this.#ends[at] = end;
      this.#firstMs[at] = firstMs;
      this.#lastMs[at] = lastMs;
    }
  }

  #grow(): void {
    const needed = this.#starts.length * 2;
    this.#starts = grownF64(this.#starts, needed);
    this.#ends = grownF64(this.#ends, needed);
    this.#firstMs = grownF64(this.#firstMs, needed);
    this.#lastMs = grownF64(this.#lastMs, needed);
  }
}

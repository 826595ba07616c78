// Reads runs of a head's series (model/series-run.ts), in whatever thread: walks the chains of closed chunks and puts the labels
// together, as a selection of the head does itself (head-select.ts).
import { copyWords } from '../../core/bytes.ts';
import { CHUNK_XOR } from '../../model/chunk-sink.ts';
import { compareLabelBytes } from '../../model/label-bytes.ts';
import type { NewPages, RunRange, SeriesRun } from '../../model/series-run.ts';
import {
  ADDRESS,
  ADDRESS_SHIFT,
  BYTES,
  CHUNK_WORDS,
  FIRST_MS,
  KNOWN_MASK,
  KNOWN_SHIFT,
  LAST_MS,
  OFFSET_MASK,
  OLDER,
} from './chain-layout.ts';
import { closedChunkEncoding } from './closed-chunks.ts';
import { ABSENT, grownF64, grownU32 } from './columns.ts';
import {
  PAIR_BYTES,
  PAIR_OFFSET_MASK,
  PAIR_PAGE,
  PAIR_PAGE_SHIFT,
  PAIR_WORDS,
  PLACES_MASK,
  PLACES_SHIFT,
} from './pair-layout.ts';

/** Takes what runs say: series one after another, each followed by its chunks, ascending by their first times. */
export interface RunSink {
  /** Takes pages that chunks stand in, and answers the number of the first one; the others have the numbers that follow. */
  addPages(pages: readonly Uint8Array[]): number;
  /** Room for label bytes, which `beginSeries` takes: where they begin in `view`. */
  labelRoom(bytes: number): number;
  readonly labelView: DataView;
  /**
   * Begins a series whose canonical label bytes are in the room.
   *
   * @param isNext  Behind all series before it, in label order: there is no other of its labels among them.
   */
  beginSeries(labelBytes: number, isNext: boolean): void;
  /** One chunk of it, in bytes[start, end) of a page. */
  chunk(
    page: number,
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    start: number,
    end: number,
  ): void;
}

interface KnownRange {
  readonly startMs: number;
  readonly known: Uint32Array[];
  readonly bytes: Uint8Array[];
  /** Numbers of the pages, as the sink has them. */
  readonly numbers: number[];
}

/** Reads the runs of one answer, in their order. */
export class SeriesRunReader {
  readonly #sink: RunSink;
  readonly #places: Uint32Array[] = [];
  readonly #pairs: DataView[] = [];
  readonly #pairBytes: Uint8Array[] = [];
  readonly #ranges: KnownRange[] = [];

  /** Pairs of the series before; none before the first. */
  #lastPairs: Uint32Array = new Uint32Array(64);
  #lastCount = -1;
  /** So far each series was behind the one before. */
  #isRising = true;

  // Chunks of the current series, newest first, mostly.
  #count = 0;
  #isFalling = true;
  #pages: Uint32Array = new Uint32Array(64);
  #encodings: Uint32Array = new Uint32Array(64);
  #starts: Uint32Array = new Uint32Array(64);
  #ends: Uint32Array = new Uint32Array(64);
  #firstMs: Float64Array = new Float64Array(64);
  #lastMs: Float64Array = new Float64Array(64);
  #order: Uint32Array = new Uint32Array(64);

  constructor(sink: RunSink) {
    this.#sink = sink;
  }

  /** Hands the series of the next run to the sink. The sink keeps what it refers to. */
  read(run: SeriesRun): void {
    const sink = this.#sink;
    renew(this.#places, run.pairPlaces);
    renew(this.#pairs, { ...run.pairBytes, pages: run.pairBytes.pages.map(viewOf) });
    renew(this.#pairBytes, run.pairBytes);
    for (const range of run.ranges) this.#learn(range);
    const openPage = run.open.length > 0 ? sink.addPages([run.open]) : 0;
    const { words, openTimesMs } = run;
    let at = 0;
    let openAt = 0;
    let openCount = 0;
    for (let series = 0; series < run.seriesCount; series++) {
      at = this.#beginSeries(words, at);
      const chains = words[at++]!;
      const openBytes = words[at + 2 * chains]!;
      this.#count = 0;
      this.#isFalling = true;
      if (openBytes > 0) {
        const time = 2 * openCount++;
        const end = openAt + openBytes;
        this.#add(openPage, CHUNK_XOR, openAt, end, openTimesMs[time]!, openTimesMs[time + 1]!);
        openAt = end;
      }
      for (let c = 0; c < chains; c++, at += 2) this.#walk(this.#ranges[words[at]!]!, words[at + 1]!, run);
      at++;
      this.#emit();
    }
  }

  #learn({ range, startMs, known, bytes }: RunRange): void {
    const its = (this.#ranges[range] ??= { startMs, known: [], bytes: [], numbers: [] });
    renew(its.known, known);
    renew(its.bytes, bytes);
    const first = bytes.pages.length > 0 ? this.#sink.addPages(bytes.pages) : 0;
    for (let i = 0; i < bytes.pages.length; i++) its.numbers[bytes.from + i] = first + i;
  }

  /** Puts the labels together whose pairs begin at words[at], and answers where what follows begins. */
  #beginSeries(words: Uint32Array, at: number): number {
    const places = this.#places;
    const count = words[at]!;
    const end = at + 1 + count;
    let bytes = 0;
    for (let i = at + 1; i < end; i++) {
      const pair = words[i]!;
      bytes += places[pair >>> PLACES_SHIFT]![(pair & PLACES_MASK) * PAIR_WORDS + PAIR_BYTES]!;
    }
    let room = this.#sink.labelRoom(bytes);
    const view = this.#sink.labelView;
    for (let i = at + 1; i < end; i++) {
      const pair = words[i]!;
      const page = places[pair >>> PLACES_SHIFT]!;
      const place = (pair & PLACES_MASK) * PAIR_WORDS;
      const address = page[place + PAIR_PAGE]!;
      const start = address & PAIR_OFFSET_MASK;
      const length = page[place + PAIR_BYTES]!;
      copyWords(view, room, this.#pairs[address >>> PAIR_PAGE_SHIFT]!, start, start + length);
      room += length;
    }
    if (this.#isRising) this.#isRising = this.#isBehindLast(words, at + 1, count);
    this.#sink.beginSeries(bytes, this.#isRising);
    return end;
  }

  /** Whether the pairs words[from, from + count) are behind those of the series before, in label order; takes their place. */
  #isBehindLast(words: Uint32Array, from: number, count: number): boolean {
    if (count > this.#lastPairs.length) this.#lastPairs = grownU32(this.#lastPairs, count);
    const last = this.#lastPairs;
    const lastCount = this.#lastCount;
    let at = 0;
    // Pairs are interned: equal ones have one number.
    while (at < count && at < lastCount && words[from + at] === last[at]) at++;
    const isBehind = at >= lastCount || (at < count && this.#comparePairs(words[from + at]!, last[at]!) > 0);
    const isOther = lastCount < 0 || at < count;
    for (let i = at; i < count; i++) last[i] = words[from + i]!;
    this.#lastCount = count;
    return isBehind && isOther;
  }

  #comparePairs(a: number, b: number): number {
    const aPage = this.#places[a >>> PLACES_SHIFT]!;
    const bPage = this.#places[b >>> PLACES_SHIFT]!;
    const aPlace = (a & PLACES_MASK) * PAIR_WORDS;
    const bPlace = (b & PLACES_MASK) * PAIR_WORDS;
    const aAddress = aPage[aPlace + PAIR_PAGE]!;
    const bAddress = bPage[bPlace + PAIR_PAGE]!;
    const aStart = aAddress & PAIR_OFFSET_MASK;
    const bStart = bAddress & PAIR_OFFSET_MASK;
    return compareLabelBytes(
      this.#pairBytes[aAddress >>> PAIR_PAGE_SHIFT]!,
      aStart,
      aStart + aPage[aPlace + PAIR_BYTES]!,
      this.#pairBytes[bAddress >>> PAIR_PAGE_SHIFT]!,
      bStart,
      bStart + bPage[bPlace + PAIR_BYTES]!,
    );
  }

  /** Adds the chunks of a chain that overlap. */
  #walk(range: KnownRange, newest: number, { minTimeMs, maxTimeMs }: SeriesRun): void {
    const { startMs, known, bytes, numbers } = range;
    for (let chunk = newest; chunk !== ABSENT; ) {
      const words = known[chunk >>> KNOWN_SHIFT]!;
      const at = (chunk & KNOWN_MASK) * CHUNK_WORDS;
      chunk = words[at + OLDER]!;
      const firstMs = startMs + words[at + FIRST_MS]!;
      const lastMs = startMs + words[at + LAST_MS]!;
      if (lastMs < minTimeMs || firstMs > maxTimeMs) continue;
      const address = words[at + ADDRESS]!;
      const page = address >>> ADDRESS_SHIFT;
      const start = address & OFFSET_MASK;
      const encoding = closedChunkEncoding(bytes[page]!, start);
      this.#add(numbers[page]!, encoding, start, start + words[at + BYTES]!, firstMs, lastMs);
    }
  }

  #add(page: number, encoding: number, start: number, end: number, firstMs: number, lastMs: number): void {
    const at = this.#count;
    if (at === this.#starts.length) this.#grow();
    if (at > 0 && firstMs > this.#firstMs[at - 1]!) this.#isFalling = false;
    this.#pages[at] = page;
    this.#encodings[at] = encoding;
    this.#starts[at] = start;
    this.#ends[at] = end;
    this.#firstMs[at] = firstMs;
    this.#lastMs[at] = lastMs;
    this.#count = at + 1;
  }

  /** Oldest first. */
  #emit(): void {
    const count = this.#count;
    if (this.#isFalling) {
      for (let i = count - 1; i >= 0; i--) this.#emitOne(i);
      return;
    }
    const order = this.#order.subarray(0, count);
    for (let i = 0; i < count; i++) order[i] = count - 1 - i;
    // Late ones are few; what begins at the same time stays in the order in which it came.
    order.sort((a, b) => this.#firstMs[a]! - this.#firstMs[b]! || b - a);
    for (let i = 0; i < count; i++) this.#emitOne(order[i]!);
  }

  #emitOne(i: number): void {
    this.#sink.chunk(
      this.#pages[i]!,
      this.#encodings[i]!,
      this.#firstMs[i]!,
      this.#lastMs[i]!,
      this.#starts[i]!,
      this.#ends[i]!,
    );
  }

  #grow(): void {
    const needed = this.#starts.length * 2;
    this.#pages = grownU32(this.#pages, needed);
    this.#encodings = grownU32(this.#encodings, needed);
    this.#starts = grownU32(this.#starts, needed);
    this.#ends = grownU32(this.#ends, needed);
    this.#firstMs = grownF64(this.#firstMs, needed);
    this.#lastMs = grownF64(this.#lastMs, needed);
    this.#order = grownU32(this.#order, needed);
  }
}

function renew<Page>(list: Page[], { from, pages }: NewPages<Page>): void {
  for (let i = 0; i < pages.length; i++) list[from + i] = pages[i]!;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

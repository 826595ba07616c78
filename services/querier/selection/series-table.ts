// Label sets of a union as numbers: a hash table over label bytes that stand in frames, and the order of the sets. Of the chunks it
// knows the first and the last of each series.
import { hash128View } from '../../lib/core/hash128.ts';
import { compareLabelBytes } from '../../lib/model/label-bytes.ts';
import { compareRanges } from '../../lib/tsdb/block/byte-ranges.ts';
import { sortPaced, type WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { growInt32, growUint32 } from './grown-columns.ts';

/** No series, no chunk. */
export const NONE = -1;

/** Frames by number; whoever holds the list may put others with the same bytes in their place. */
export interface FrameList {
  list: Uint8Array[];
}

/** Columns of a table that nothing is added to. */
export interface SeriesColumns {
  readonly frame: Uint32Array;
  readonly labelStart: Uint32Array;
  readonly labelEnd: Uint32Array;
  readonly firstChunk: Int32Array;
}

/** Series by number, in order of arrival. Columns are replaced as they grow: read them anew. */
export class SeriesTable {
  count = 0;
  /** Where the labels stand. */
  frame: Uint32Array = new Uint32Array(64);
  labelStart: Uint32Array = new Uint32Array(64);
  labelEnd: Uint32Array = new Uint32Array(64);
  /** The list of a series' chunks; NONE while there is none. The owner's to fill. */
  firstChunk: Int32Array = new Int32Array(64);
  lastChunk: Int32Array = new Int32Array(64);
  /** Series in label order, once sorted. */
  order: Uint32Array = new Uint32Array(0);
  readonly #frames: FrameList;
  readonly #hashSeed: number;
  readonly #words = new Uint32Array(4);
  #hashes: Uint32Array = new Uint32Array(64);
  /** Open addressing over series [0, #hashed); a series number or NONE. Law: at most half full. */
  #slots = new Int32Array(128).fill(NONE);
  /** Series that are in the hash table: all, once find() was asked. */
  #hashed = 0;
  /** Series that there is to be room for in it. */
  #expected = 0;
  /** What find() did not find: its hash, and where it belongs. */
  #hash = 0;
  #slot = 0;

  constructor(frames: FrameList, hashSeed: number) {
    this.#frames = frames;
    this.#hashSeed = hashSeed;
  }

  /** A table for reading. @param order  Series that it has, in label order. */
  static ofColumns(frames: FrameList, columns: SeriesColumns, order: Uint32Array): SeriesTable {
    const table = new SeriesTable(frames, 0);
    table.count = order.length;
    table.order = order;
    table.frame = columns.frame;
    table.labelStart = columns.labelStart;
    table.labelEnd = columns.labelEnd;
    table.firstChunk = columns.firstChunk;
    return table;
  }

  /** Makes room for so many series in all, which are expected. */
  reserve(count: number): void {
    while (this.frame.length < count) this.#growSeries();
    this.#expected = Math.max(this.#expected, count);
  }

  /** The series with the labels bytes[start, end), or NONE. @param view  Over the same bytes. */
  find(bytes: Uint8Array, view: DataView, start: number, end: number): number {
    if (this.#hashed < this.count) this.#hashRest();
    if (this.#slots.length < 2 * this.#expected) this.#growSlots(this.#expected);
    hash128View(bytes, view, start, end, this.#hashSeed, this.#words);
    const hash = this.#words[0]!;
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    let series = this.#slots[slot]!;
    for (; series !== NONE; series = this.#slots[slot]!) {
      if (this.#hashes[series] === hash && this.#hasLabels(series, bytes, start, end)) break;
      slot = (slot + 1) & mask;
    }
    this.#hash = hash;
    this.#slot = slot;
    return series;
  }

  /** Adds what find() did not find just now, whose labels are in frame[start, end), and answers its number. */
  addLast(frame: number, start: number, end: number): number {
    const series = this.addOther(frame, start, end);
    this.#hashes[series] = this.#hash;
    this.#slots[this.#slot] = series;
    this.#hashed = this.count;
    if (this.count * 2 > this.#slots.length) this.#growSlots(this.count);
    return series;
  }

  /** Adds a series whose labels no other one has, as is known without find(), and answers its number. */
  addOther(frame: number, start: number, end: number): number {
    const series = this.count;
    if (series === this.frame.length) this.#growSeries();
    this.count++;
    this.frame[series] = frame;
    this.labelStart[series] = start;
    this.labelEnd[series] = end;
    this.firstChunk[series] = NONE;
    this.lastChunk[series] = NONE;
    return series;
  }

  /** Calls back with the label bytes of a series. */
  labelsOf<T>(series: number, use: (bytes: Uint8Array, start: number, end: number) => T): T {
    return use(this.#frames.list[this.frame[series]!]!, this.labelStart[series]!, this.labelEnd[series]!);
  }

  /** Makes `order`. @param isKnownSorted  The series were added in it. */
  async sort(pacer: WorkPacer, isKnownSorted: boolean): Promise<void> {
    this.order = new Uint32Array(this.count);
    // One node that answers from a block is in order already.
    let isSorted = true;
    for (let i = 0; i < this.count; i++) {
      this.order[i] = i;
      if (!isKnownSorted && isSorted && i > 0 && this.#compare(i - 1, i) > 0) isSorted = false;
    }
    if (!isSorted) await sortPaced(this.order, (a, b) => this.#compare(a, b), pacer);
  }

  /** Forgets all series. */
  clear(): void {
    this.count = 0;
    this.#hashed = 0;
    this.order = new Uint32Array(0);
  }

  #hasLabels(series: number, bytes: Uint8Array, start: number, end: number): boolean {
    const own = this.#frames.list[this.frame[series]!]!;
    const ownStart = this.labelStart[series]!;
    const ownEnd = this.labelEnd[series]!;
    return ownEnd - ownStart === end - start && compareRanges(own, ownStart, ownEnd, bytes, start, end) === 0;
  }

  #compare(a: number, b: number): number {
    const { list } = this.#frames;
    return compareLabelBytes(
      list[this.frame[a]!]!,
      this.labelStart[a]!,
      this.labelEnd[a]!,
      list[this.frame[b]!]!,
      this.labelStart[b]!,
      this.labelEnd[b]!,
    );
  }

  /** Puts series into the hash table that were added without. */
  #hashRest(): void {
    let view: DataView | undefined;
    for (let series = this.#hashed; series < this.count; series++) {
      const frame = this.frame[series]!;
      const bytes = this.#frames.list[frame]!;
      if (view === undefined || frame !== this.frame[series - 1])
        view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const start = this.labelStart[series]!;
      const end = this.labelEnd[series]!;
      hash128View(bytes, view, start, end, this.#hashSeed, this.#words);
      this.#hashes[series] = this.#words[0]!;
    }
    this.#hashed = this.count;
    this.#growSlots(this.count);
  }

  /** Makes room in the hash table for `count` series, and puts in those that have a hash. */
  #growSlots(count: number): void {
    let { length } = this.#slots;
    while (length < 2 * count) length *= 2;
    const slots = new Int32Array(length).fill(NONE);
    const mask = slots.length - 1;
    for (let series = 0; series < this.#hashed; series++) {
      let slot = this.#hashes[series]! & mask;
      while (slots[slot] !== NONE) slot = (slot + 1) & mask;
      slots[slot] = series;
    }
    this.#slots = slots;
  }

  #growSeries(): void {
    this.frame = growUint32(this.frame);
    this.labelStart = growUint32(this.labelStart);
    this.labelEnd = growUint32(this.labelEnd);
    this.#hashes = growUint32(this.#hashes);
    this.firstChunk = growInt32(this.firstChunk);
    this.lastChunk = growInt32(this.lastChunk);
  }
}

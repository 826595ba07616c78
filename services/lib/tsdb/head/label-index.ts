// Which labels a series has, which series have a label, and which series a label set is. Series ids come from the head.
// The index only grows; series that left memory are left out when it is rebuilt.
import { ByteReader, ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { compareRanges } from '../block/byte-ranges.ts';
import { EMPTY_POSTINGS } from '../postings/postings.ts';
import type { PostingsSource } from '../postings/select-postings.ts';
import { ABSENT, grownU32, powerOfTwoFrom } from './columns.ts';
import { LabelPairs } from './label-pairs.ts';
import { PostingsLists } from './postings-lists.ts';
import { type PairedSeries, SeriesOrder } from './series-order.ts';

export class LabelIndex implements PostingsSource, PairedSeries {
  readonly pairs: LabelPairs;
  readonly #postings = new PostingsLists();
  readonly #seed: number;
  /** Series id → position in #refs of its pair count and pairs, or 0 when the id is free. */
  #seriesAt: Uint32Array = new Uint32Array(256);
  #hashes: Uint32Array = new Uint32Array(256);
  #refs: Uint32Array = new Uint32Array(1024);
  #refsUsed = 1;
  /** Open addressing by hash of the pairs: series + 1, or 0. Invariant: at most half full. */
  #slots: Uint32Array = new Uint32Array(1024);
  /** Pairs of the label set looked at last, ABSENT for those that are not known; and where each of them ends in its bytes. */
  #parsed: Uint32Array = new Uint32Array(64);
  #parsedEnds: Uint32Array = new Uint32Array(64);
  #parsedCount = 0;
  readonly #copied = new ByteWriter(512);
  /** Ids are below this. */
  #idEnd = 0;
  /** The pair that labelValues yielded last, so that its postings need no lookup. */
  #yielded = ABSENT;
  seriesCount = 0;
  readonly order = new SeriesOrder(this);

  constructor(seed: number) {
    this.#seed = seed;
    this.pairs = new LabelPairs(seed);
  }

  get bytesHeld(): number {
    const words = this.#seriesAt.length * 2 + this.#refs.length + this.#slots.length;
    return this.pairs.bytesHeld + this.#postings.bytesHeld + this.order.bytesHeld + words * 4;
  }

  /**
   * Makes room for `share` of what another one holds, and for the same ids. To be called before the first `add`: columns that double as
   * they grow leave pieces of all sizes behind, which the process' memory is not given back for.
   */
  reserveLike(other: LabelIndex, share: number): void {
    this.pairs.reserveLike(other.pairs, share);
    this.#postings.reserveLike(other.#postings, share);
    this.#seriesAt = grownU32(this.#seriesAt, other.#seriesAt.length);
    this.#hashes = grownU32(this.#hashes, this.#seriesAt.length);
    this.#refs = grownU32(this.#refs, Math.ceil(other.#refsUsed * share));
    const slots = powerOfTwoFrom(2 * Math.ceil(other.seriesCount * share));
    this.#slots = new Uint32Array(Math.max(this.#slots.length, slots));
  }

  /**
   * Id of the series with the canonical label bytes[start, end), or ABSENT.
   *
   * @throws AppError `bad_data` when the bytes are not canonical.
   */
  find(bytes: Uint8Array, start: number, end: number): number {
    if (!this.#parse(bytes, start, end)) return ABSENT;
    const count = this.#parsedCount;
    const found = this.#slots[this.#slotOf(count, hashOf(this.#parsed, 0, count, this.#seed))]!;
    return found === 0 ? ABSENT : found - 1;
  }

  /** Adds a series that is not there, under an id that is free. */
  add(id: number, bytes: Uint8Array, start: number, end: number): void {
    this.#parse(bytes, start, end);
    this.addMissed(id, bytes, start);
  }

  /** Adds the series that `find` was asked for last, and did not find; the bytes are the same. */
  addMissed(id: number, bytes: Uint8Array, start: number): void {
    const count = this.#parsedCount;
    this.#internParsed(bytes, start);
    this.#seriesAt = grownU32(this.#seriesAt, id + 1);
    this.#hashes = grownU32(this.#hashes, this.#seriesAt.length);
    this.#refs = grownU32(this.#refs, this.#refsUsed + count + 1);
    this.#seriesAt[id] = this.#refsUsed;
    this.#refs[this.#refsUsed++] = count;
    for (let i = 0; i < count; i++) {
      const pair = this.#parsed[i]!;
      this.#refs[this.#refsUsed++] = pair;
      this.#postings.append(pair, id);
    }
    const hash = hashOf(this.#parsed, 0, count, this.#seed);
    this.#hashes[id] = hash;
    this.#slots[this.#slotOf(count, hash)] = id + 1;
    this.#idEnd = Math.max(this.#idEnd, id + 1);
    this.seriesCount++;
    if (this.seriesCount * 2 > this.#slots.length) this.#growSlots();
  }

  has(id: number): boolean {
    return id < this.#idEnd && this.#seriesAt[id] !== 0;
  }

  /** Appends the canonical label bytes of a series. */
  writeLabels(id: number, dst: ByteWriter): void {
    const at = this.#seriesAt[id]!;
    const count = this.#refs[at]!;
    for (let i = 1; i <= count; i++) this.pairs.write(this.#refs[at + i]!, dst);
  }

  /** Copies the pairs of a series to dst[at, …), names ascending, and answers how many; with less room than that none is copied. */
  copyPairs(id: number, dst: Uint32Array, at: number): number {
    const from = this.#seriesAt[id]!;
    const count = this.#refs[from]!;
    if (at + count > dst.length) return count;
    for (let i = 0; i < count; i++) dst[at + i] = this.#refs[from + 1 + i]!;
    return count;
  }

  /** Adds a series of this index to another one, under the same id. */
  copyTo(other: LabelIndex, id: number): void {
    this.#copied.reset();
    this.writeLabels(id, this.#copied);
    other.add(id, this.#copied.bytes, 0, this.#copied.length);
  }

  /** Calls back with each pair of a series, names ascending. */
  forEachPair(id: number, visit: (pair: number) => void): void {
    const at = this.#seriesAt[id]!;
    const count = this.#refs[at]!;
    for (let i = 1; i <= count; i++) visit(this.#refs[at + i]!);
  }

  /** Pair number `depth` of a series, names ascending; ABSENT behind the last. */
  pairAt(id: number, depth: number): number {
    const at = this.#seriesAt[id]!;
    return depth < this.#refs[at]! ? this.#refs[at + 1 + depth]! : ABSENT;
  }

  /** Series that have a pair. */
  countOf(pair: number): number {
    return this.#postings.countOf(pair);
  }

  *labelValues(name: string): Generator<string> {
    const entry = this.pairs.nameEntry(name);
    if (entry === undefined) return;
    for (let pair = entry.lastPair; pair !== ABSENT; pair = this.pairs.previousOf(pair)) {
      this.#yielded = pair;
      yield this.pairs.value(pair);
    }
    this.#yielded = ABSENT;
  }

  postings(name: string, value: string): Uint32Array {
    const yielded = this.#yielded;
    if (yielded !== ABSENT && this.pairs.value(yielded) === value && this.pairs.name(yielded) === name) {
      return this.#postings.read(yielded);
    }
    const pair = this.pairs.findText(name, value);
    return pair === ABSENT ? EMPTY_POSTINGS : this.#postings.read(pair);
  }

  allPostings(): Uint32Array {
    const ids = new Uint32Array(this.seriesCount);
    let count = 0;
    for (let id = 0; id < this.#idEnd; id++) if (this.#seriesAt[id] !== 0) ids[count++] = id;
    return ids;
  }

  /** Splits label bytes into pairs; false when one of them is unknown. */
  #parse(bytes: Uint8Array, start: number, end: number): boolean {
    const reader = new ByteReader(bytes, start, end);
    let count = 0;
    let previousAt = start;
    let previousEnd = start;
    let known = true;
    while (reader.remaining > 0) {
      const pairAt = reader.position;
      const nameBytes = reader.varint();
      const nameAt = reader.position;
      const nameEnd = nameAt + nameBytes;
      reader.skip(nameBytes);
      const valueBytes = reader.varint();
      reader.skip(valueBytes);
      const isAscending =
        count === 0 || compareRanges(bytes, previousAt, previousEnd, bytes, nameAt, nameEnd) < 0;
      if (nameBytes === 0 || valueBytes === 0 || !isAscending) {
        throw new AppError('bad_data', `label bytes are not canonical at label number ${count}`);
      }
      previousAt = nameAt;
      previousEnd = nameEnd;
      if (count >= this.#parsed.length) {
        this.#parsed = grownU32(this.#parsed, count + 1);
        this.#parsedEnds = grownU32(this.#parsedEnds, this.#parsed.length);
      }
      const pair = this.pairs.find(bytes, pairAt, reader.position);
      if (pair === ABSENT) known = false;
      this.#parsedEnds[count] = reader.position;
      this.#parsed[count++] = pair;
    }
    this.#parsedCount = count;
    return known;
  }

  /** Makes the parsed pairs that are not known yet; the first one begins at `start`. */
  #internParsed(bytes: Uint8Array, start: number): void {
    let pairAt = start;
    for (let i = 0; i < this.#parsedCount; i++) {
      const pairEnd = this.#parsedEnds[i]!;
      if (this.#parsed[i] === ABSENT) this.#parsed[i] = this.pairs.intern(bytes, pairAt, pairEnd);
      pairAt = pairEnd;
    }
  }

  /** Slot of the series with the parsed pairs, or the free one where it belongs. */
  #slotOf(count: number, hash: number): number {
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    for (;;) {
      const found = this.#slots[slot]!;
      if (found === 0) return slot;
      if (this.#hashes[found - 1] === hash && this.#isParsed(found - 1, count)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #isParsed(id: number, count: number): boolean {
    const at = this.#seriesAt[id]!;
    if (this.#refs[at] !== count) return false;
    for (let i = 0; i < count; i++) if (this.#refs[at + 1 + i] !== this.#parsed[i]) return false;
    return true;
  }

  #growSlots(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    const mask = this.#slots.length - 1;
    for (const entry of old) {
      if (entry === 0) continue;
      let slot = this.#hashes[entry - 1]! & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = entry;
    }
  }
}

/** Hash of a run of pair numbers. */
function hashOf(pairs: Uint32Array, from: number, to: number, seed: number): number {
  let h = seed | 0;
  for (let i = from; i < to; i++) {
    h = Math.imul(h ^ pairs[i]!, 0x85ebca6b);
    h ^= h >>> 13;
    h = Math.imul(h, 0xc2b2ae35);
    h ^= h >>> 16;
  }
  return h >>> 0;
}

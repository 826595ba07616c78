// Distinct label pairs of a head, as bytes: interned, numbered in order of arrival, findable without being made, and
// chained by label name so that the values of a label can be walked. No object per pair. Their bytes stand in shared memory, in
// pages to which pairs are only added: other threads read them by number.
import { assert } from '../../core/assert.ts';
import { ByteWriter, decodeUtf8 } from '../../core/bytes.ts';
import { hash128 } from '../../core/hash128.ts';
import { compareRanges } from '../block/byte-ranges.ts';
import { ABSENT, grownU32, powerOfTwoFrom } from './columns.ts';
import {
  PAIR_BYTES,
  PAIR_OFFSET_MASK,
  PAIR_PAGE,
  PAIR_PAGE_SHIFT,
  PAIR_WORDS,
  PLACES_MASK,
  PLACES_SHIFT,
} from './pair-layout.ts';

const PAGE_BYTES_MIN = 4096;
/** Pages are as large as offsets reach, from the fifth on. */
const PAGE_BYTES_MAX = 1 << PAIR_PAGE_SHIFT;
const PLACES_MIN = 64;

/** What is known of one label name. */
interface NameEntry {
  readonly name: string;
  /** Pair added last; the chain goes back from it. */
  lastPair: number;
  valueCount: number;
  /** UTF-8 bytes of the distinct values. */
  valueBytes: number;
}

export class LabelPairs {
  readonly #pages: Uint8Array<SharedArrayBuffer>[] = [];
  readonly #views: DataView[] = [];
  #pageUsed = 0;
  #bytesHeld = 0;
  /** Per pair PAIR_WORDS words (pair-layout.ts). */
  readonly #places: Uint32Array<SharedArrayBuffer>[] = [];
  readonly #names = new Map<string, NameEntry>();
  readonly #seed: number;
  readonly #words = new Uint32Array(4);
  readonly #key = new ByteWriter(256);
  #hashes: Uint32Array = new Uint32Array(256);
  /** The pair of the same name that came before, or ABSENT. */
  #previous: Uint32Array = new Uint32Array(256);
  /** Open addressing: pair + 1, or 0. Invariant: at most half full. */
  #slots: Uint32Array = new Uint32Array(1024);
  count = 0;

  /** @param seed  Random per process: crafted labels must not be able to collide. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  get bytesHeld(): number {
    const places = this.#places.reduce((bytes, { byteLength }) => bytes + byteLength, 0);
    return this.#bytesHeld + places + (this.#hashes.length * 2 + this.#slots.length) * 4;
  }

  /** Makes room for `share` of what another one holds. To be called before the first `intern`. */
  reserveLike(other: LabelPairs, share: number): void {
    const count = Math.ceil(other.count * share);
    this.#growColumns(count);
    this.#slots = new Uint32Array(Math.max(this.#slots.length, powerOfTwoFrom(2 * count)));
  }

  /** Bytes of the pairs. Pages are only added. */
  get bytePages(): readonly Uint8Array<SharedArrayBuffer>[] {
    return this.#pages;
  }

  /** Where the pairs stand. The first page may be replaced by a longer copy. */
  get placePages(): readonly Uint32Array<SharedArrayBuffer>[] {
    return this.#places;
  }

  /** Label names that occur, in no order. */
  names(): Iterable<NameEntry> {
    return this.#names.values();
  }

  nameEntry(name: string): NameEntry | undefined {
    return this.#names.get(name);
  }

  /** The pair before `pair` of the same name, or ABSENT. */
  previousOf(pair: number): number {
    return this.#previous[pair]!;
  }

  /** Number of the pair in bytes[start, end) (name and value, each as varint length and UTF-8), or ABSENT. */
  find(bytes: Uint8Array, start: number, end: number): number {
    hash128(bytes, start, end, this.#seed, this.#words);
    const found = this.#slots[this.#slotOf(bytes, start, end, this.#words[0]!)]!;
    return found === 0 ? ABSENT : found - 1;
  }

  /** Number of the pair, or ABSENT. */
  findText(name: string, value: string): number {
    this.#key.reset();
    this.#key.string(name);
    this.#key.string(value);
    return this.find(this.#key.bytes, 0, this.#key.length);
  }

  /** Number of the pair, made when it is new. */
  intern(bytes: Uint8Array, start: number, end: number): number {
    hash128(bytes, start, end, this.#seed, this.#words);
    const hash = this.#words[0]!;
    const slot = this.#slotOf(bytes, start, end, hash);
    const found = this.#slots[slot]!;
    if (found !== 0) return found - 1;
    const pair = this.count;
    this.#growColumns(pair + 1);
    this.#put(pair, bytes, start, end);
    this.#hashes[pair] = hash;
    this.#slots[slot] = pair + 1;
    this.count = pair + 1;
    this.#chain(pair);
    if (this.count * 2 > this.#slots.length) this.#growSlots();
    return pair;
  }

  /** Appends the pair's bytes. */
  write(pair: number, dst: ByteWriter): void {
    const places = this.#places[pair >>> PLACES_SHIFT]!;
    const at = (pair & PLACES_MASK) * PAIR_WORDS;
    const address = places[at + PAIR_PAGE]!;
    const start = address & PAIR_OFFSET_MASK;
    dst.rawFrom(this.#views[address >>> PAIR_PAGE_SHIFT]!, start, start + places[at + PAIR_BYTES]!);
  }

  /** Order of two different pairs: by name, then by value. */
  compare(x: number, y: number): number {
    const pageX = this.#pageOf(x);
    const pageY = this.#pageOf(y);
    const startX = this.#startOf(x);
    const startY = this.#startOf(y);
    const nameX = behindVarint(pageX, startX);
    const nameY = behindVarint(pageY, startY);
    const nameEndX = nameX + varintAt(pageX, startX);
    const nameEndY = nameY + varintAt(pageY, startY);
    const order = compareRanges(pageX, nameX, nameEndX, pageY, nameY, nameEndY);
    if (order !== 0) return order;
    const endX = startX + this.#lengthOf(x);
    const endY = startY + this.#lengthOf(y);
    return compareRanges(
      pageX,
      behindVarint(pageX, nameEndX),
      endX,
      pageY,
      behindVarint(pageY, nameEndY),
      endY,
    );
  }

  name(pair: number): string {
    const page = this.#pageOf(pair);
    const [start, end] = textAt(page, this.#startOf(pair));
    return decodeUtf8(page, start, end);
  }

  value(pair: number): string {
    const page = this.#pageOf(pair);
    const [start, end] = textAt(page, this.#nameEnd(pair));
    return decodeUtf8(page, start, end);
  }

  #nameEnd(pair: number): number {
    return textAt(this.#pageOf(pair), this.#startOf(pair))[1];
  }

  #pageOf(pair: number): Uint8Array {
    return this.#pages[this.#placeOf(pair, PAIR_PAGE) >>> PAIR_PAGE_SHIFT]!;
  }

  #startOf(pair: number): number {
    return this.#placeOf(pair, PAIR_PAGE) & PAIR_OFFSET_MASK;
  }

  #lengthOf(pair: number): number {
    return this.#placeOf(pair, PAIR_BYTES);
  }

  #placeOf(pair: number, word: number): number {
    return this.#places[pair >>> PLACES_SHIFT]![(pair & PLACES_MASK) * PAIR_WORDS + word]!;
  }

  /** Copies a new pair to the end of the last page. */
  #put(pair: number, bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    const last = this.#pages[this.#pages.length - 1];
    if (last === undefined || this.#pageUsed + length > last.length) this.#addPage(length);
    const page = this.#pages.length - 1;
    const places = this.#placesFor(pair);
    const at = (pair & PLACES_MASK) * PAIR_WORDS;
    places[at + PAIR_PAGE] = ((page << PAIR_PAGE_SHIFT) | this.#pageUsed) >>> 0;
    places[at + PAIR_BYTES] = length;
    this.#pages[page]!.set(bytes.subarray(start, end), this.#pageUsed);
    this.#pageUsed += length;
  }

  #addPage(bytesMin: number): void {
    const size = Math.min(PAGE_BYTES_MAX, PAGE_BYTES_MIN * 2 ** this.#pages.length);
    const page = new Uint8Array(new SharedArrayBuffer(Math.max(size, bytesMin)));
    this.#pages.push(page);
    this.#views.push(new DataView(page.buffer));
    assert(this.#pages.length <= 2 ** (32 - PAIR_PAGE_SHIFT), `label pairs of ${this.#pages.length} pages`);
    this.#bytesHeld += page.length;
    this.#pageUsed = 0;
  }

  /** What the words of a new pair stand in. */
  #placesFor(pair: number): Uint32Array {
    const page = pair >>> PLACES_SHIFT;
    const room = this.#places[page];
    const needed = ((pair & PLACES_MASK) + 1) * PAIR_WORDS;
    if (room !== undefined && needed <= room.length) return room;
    const pairs = page > 0 ? PLACES_MASK + 1 : Math.max((2 * (room?.length ?? 0)) / PAIR_WORDS, PLACES_MIN);
    const grown = new Uint32Array(new SharedArrayBuffer(pairs * PAIR_WORDS * 4));
    if (room !== undefined) grown.set(room);
    this.#places[page] = grown;
    return grown;
  }

  #chain(pair: number): void {
    const [start, end] = textAt(this.#pageOf(pair), this.#nameEnd(pair));
    const name = this.name(pair);
    const entry = this.#names.get(name);
    if (entry === undefined) {
      this.#previous[pair] = ABSENT;
      this.#names.set(name, { name, lastPair: pair, valueCount: 1, valueBytes: end - start });
      return;
    }
    this.#previous[pair] = entry.lastPair;
    entry.lastPair = pair;
    entry.valueCount++;
    entry.valueBytes += end - start;
  }

  /** Slot that holds the pair, or the free one where it belongs. */
  #slotOf(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    for (;;) {
      const found = this.#slots[slot]!;
      if (found === 0) return slot;
      if (this.#hashes[found - 1] === hash && this.#holds(found - 1, bytes, start, end)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #holds(pair: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#lengthOf(pair) !== end - start) return false;
    const at = this.#startOf(pair);
    const own = this.#pageOf(pair);
    for (let i = 0; i < end - start; i++) if (own[at + i] !== bytes[start + i]) return false;
    return true;
  }

  #growColumns(needed: number): void {
    if (needed <= this.#hashes.length) return;
    this.#hashes = grownU32(this.#hashes, needed);
    this.#previous = grownU32(this.#previous, this.#hashes.length);
  }

  #growSlots(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2);
    const mask = this.#slots.length - 1;
    for (let pair = 0; pair < this.count; pair++) {
      let slot = this.#hashes[pair]! & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = pair + 1;
    }
  }
}

/** Range of the text whose varint length stands at `at`. */
function textAt(bytes: Uint8Array, at: number): [start: number, end: number] {
  const start = behindVarint(bytes, at);
  return [start, start + varintAt(bytes, at)];
}

function varintAt(bytes: Uint8Array, at: number): number {
  let value = 0;
  let factor = 1;
  for (let position = at; ; position++) {
    const byte = bytes[position]!;
    value += (byte & 127) * factor;
    if (byte < 128) return value;
    factor *= 128;
  }
}

function behindVarint(bytes: Uint8Array, at: number): number {
  let position = at;
  while (bytes[position]! > 127) position++;
  return position + 1;
}

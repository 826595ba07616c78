// What one target exposed so far: the raw text of each series → where its samples go. A repeated series costs one comparison
// of bytes, since expositions list their series in the same order from scrape to scrape; a hash table finds the others. The texts
// themselves are shared with other targets (shared-texts.ts).
//
// Two tables, both columns in typed arrays. An *entry* is a text, a *slot* is a series (several texts can mean one, by
// blanks or relabelling). Slots know which series are live, for staleness markers.
import type { SeriesReference } from '../../lib/distributor/appender.ts';
import { isSeriesEnd } from '../../lib/exposition/series-text.ts';
import { hashText, type SharedTexts, type TextUser } from './shared-texts.ts';

/** In place of a slot: the series was dropped by relabelling. */
export const DROPPED = -1;
/** In place of a slot: the distributor refuses this label set for good. */
export const REFUSED = -2;

const NONE = -1;
/** Entries that were not seen lately are kept up to this many, and up to as many as are in use. */
const UNUSED_ENTRIES_MIN = 1000;

export class SeriesCache implements TextUser {
  readonly #texts: SharedTexts;
  /** By entry: the number of its text. */
  #text = new Uint32Array(64);
  #slot = new Int32Array(64);
  #tag = new Uint8Array(64);
  #seen = new Uint32Array(64);
  /** Which entry followed this one last time. */
  #next = new Int32Array(64).fill(NONE);
  #entries = 0;
  /** Open addressing: entry + 1, 0 is free. Size is a power of two, at most half full. */
  #buckets = new Int32Array(128);
  #first = NONE;

  #reference = new Uint32Array(64);
  #slotSeen = new Uint32Array(64);
  #live = new Uint8Array(64);
  #slots = 0;
  /** References, by open addressing as `#buckets`: slot + 1. No Map: with a million of them every full collection would walk it. */
  #slotBuckets = new Int32Array(128);

  /** Number of the scrape under way, from 1. */
  #generation = 0;
  #previous = NONE;
  #candidate = NONE;
  #seenEntries = 0;

  constructor(texts: SharedTexts) {
    this.#texts = texts;
    texts.addUser(this);
  }

  markTexts(marks: Uint8Array): void {
    for (let entry = 0; entry < this.#entries; entry++) marks[this.#text[entry]!] = 1;
  }

  get entries(): number {
    return this.#entries;
  }

  get slots(): number {
    return this.#slots;
  }

  /** Call before the samples of a scrape. */
  begin(): void {
    this.#generation++;
    this.#previous = NONE;
    this.#candidate = NONE;
    this.#seenEntries = 0;
  }

  /** Bytes at `start` that are the text expected next, or 0; see ExpositionSink.recognise. */
  recognise(bytes: Uint8Array, start: number, end: number): number {
    const entry = this.#previous === NONE ? this.#first : this.#next[this.#previous]!;
    this.#candidate = NONE;
    if (entry === NONE) return 0;
    const text = this.#text[entry]!;
    const length = this.#texts.lengthOf(text);
    if (start + length >= end || !this.#texts.isAt(text, bytes, start)) return 0;
    if (!isSeriesEnd(bytes, start + length, end)) return 0;
    this.#candidate = entry;
    return length;
  }

  /** The entry of a text: the one just recognised, else by hash; NONE (-1) when the text is new. */
  find(bytes: Uint8Array, start: number, end: number): number {
    const candidate = this.#candidate;
    if (candidate !== NONE) {
      this.#candidate = NONE;
      this.#visit(candidate);
      return candidate;
    }
    const text = this.#texts.find(bytes, start, end, hashText(bytes, start, end));
    if (text < 0) return NONE;
    const mask = this.#buckets.length - 1;
    for (let at = this.#texts.hashOf(text) & mask; ; at = (at + 1) & mask) {
      const entry = this.#buckets[at]! - 1;
      if (entry === NONE) return NONE;
      if (this.#text[entry] !== text) continue;
      this.#visit(entry);
      return entry;
    }
  }

  /**
   * Adds a text that `find` did not know, for a slot, DROPPED or REFUSED.
   *
   * @param tag  0 … 255, what else is needed to resolve the text again.
   */
  add(bytes: Uint8Array, start: number, end: number, slot: number, tag: number): void {
    const entry = this.#addEntry(this.#texts.intern(bytes, start, end, hashText(bytes, start, end)), slot);
    this.#tag[entry] = tag;
    this.#visit(entry);
  }

  /** Slot of an entry, DROPPED or REFUSED. */
  slotOf(entry: number): number {
    return this.#slot[entry]!;
  }

  /** The slot of a series, made when there is none. */
  slotFor(reference: SeriesReference): number {
    const buckets = this.#slotBuckets;
    const mask = buckets.length - 1;
    let at = hashReference(reference) & mask;
    for (; buckets[at] !== 0; at = (at + 1) & mask) {
      const known = buckets[at]! - 1;
      if (this.#reference[known] === reference) return known;
    }
    if (this.#slots === this.#reference.length) this.#growSlots();
    const slot = this.#slots++;
    this.#reference[slot] = reference;
    this.#slotSeen[slot] = 0;
    this.#live[slot] = 0;
    if (this.#slots * 2 > buckets.length) this.#indexSlots(buckets.length * 2);
    else buckets[at] = slot + 1;
    return slot;
  }

  referenceOf(slot: number): SeriesReference {
    return this.#reference[slot]!;
  }

  /** Marks a series as part of this scrape; false when it was already. */
  markSeen(slot: number): boolean {
    if (this.#slotSeen[slot] === this.#generation) return false;
    this.#slotSeen[slot] = this.#generation;
    return true;
  }

  /** True when the series was part of the last scrape that succeeded. */
  isLive(slot: number): boolean {
    return this.#live[slot] === 1;
  }

  /**
   * Ends a scrape: calls `onStale` for each series that was live and is not any more. With `succeeded` false none of this
   * scrape counts, so all that was live ends.
   */
  end(succeeded: boolean, onStale: (reference: SeriesReference) => void): void {
    const generation = this.#generation;
    for (let slot = 0; slot < this.#slots; slot++) {
      const seen = succeeded && this.#slotSeen[slot] === generation;
      if (this.#live[slot] === 1 && !seen) onStale(this.#reference[slot]!);
      this.#live[slot] = seen ? 1 : 0;
    }
    if (!succeeded) return;
    const unused = Math.max(this.#entries, this.#slots) - this.#seenEntries;
    if (unused > UNUSED_ENTRIES_MIN && unused > this.#seenEntries) this.#rebuild();
  }

  /** Forgets all texts, keeps which series are live: for new labels or relabelling, after which texts mean other series. */
  forgetTexts(): void {
    this.#entries = 0;
    this.#first = NONE;
    this.#buckets.fill(0);
  }

  /**
   * Resolves every series anew, after the distributor forgot references.
   *
   * @param resolve  The reference of a text with its tag; undefined when the text gives none now.
   * @returns        Old reference → new reference.
   */
  resolveAgain(
    resolve: (bytes: Uint8Array, start: number, end: number, tag: number) => SeriesReference | undefined,
  ): Map<SeriesReference, SeriesReference> {
    const moved = new Map<SeriesReference, SeriesReference>();
    for (let entry = 0; entry < this.#entries; entry++) {
      const slot = this.#slot[entry]!;
      if (slot < 0 || moved.has(this.#reference[slot]!)) continue;
      const text = this.#texts.bytesOf(this.#text[entry]!);
      const reference = resolve(text, 0, text.length, this.#tag[entry]!);
      if (reference !== undefined) moved.set(this.#reference[slot]!, reference);
    }
    for (let slot = 0; slot < this.#slots; slot++)
      this.#reference[slot] = moved.get(this.#reference[slot]!) ?? this.#reference[slot]!;
    this.#indexSlots(this.#slotBuckets.length);
    return moved;
  }

  /** Remembers that `entry` came after the one before it. */
  #visit(entry: number): void {
    if (this.#previous === NONE) this.#first = entry;
    else this.#next[this.#previous] = entry;
    this.#previous = entry;
    if (this.#seen[entry] === this.#generation) return;
    this.#seen[entry] = this.#generation;
    this.#seenEntries++;
  }

  #addEntry(text: number, slot: number): number {
    if (this.#entries === this.#text.length) this.#growEntries();
    const entry = this.#entries++;
    this.#text[entry] = text;
    this.#slot[entry] = slot;
    this.#seen[entry] = 0;
    this.#next[entry] = NONE;
    if (this.#entries * 2 > this.#buckets.length) this.#growTable();
    else this.#putInTable(entry);
    return entry;
  }

  #growTable(): void {
    this.#buckets = new Int32Array(this.#buckets.length * 2);
    for (let entry = 0; entry < this.#entries; entry++) this.#putInTable(entry);
  }

  #putInTable(entry: number): void {
    const mask = this.#buckets.length - 1;
    let at = this.#texts.hashOf(this.#text[entry]!) & mask;
    while (this.#buckets[at] !== 0) at = (at + 1) & mask;
    this.#buckets[at] = entry + 1;
  }

  #growEntries(): void {
    const size = this.#text.length * 2;
    this.#text = copyInto(new Uint32Array(size), this.#text);
    this.#slot = copyInto(new Int32Array(size), this.#slot);
    this.#tag = copyInto(new Uint8Array(size), this.#tag);
    this.#seen = copyInto(new Uint32Array(size), this.#seen);
    this.#next = copyInto(new Int32Array(size), this.#next);
  }

  #growSlots(): void {
    const size = this.#reference.length * 2;
    this.#reference = copyInto(new Uint32Array(size), this.#reference);
    this.#slotSeen = copyInto(new Uint32Array(size), this.#slotSeen);
    this.#live = copyInto(new Uint8Array(size), this.#live);
  }

  /** Puts all slots into a table of that size, a power of two. */
  #indexSlots(size: number): void {
    const buckets = new Int32Array(size);
    const mask = size - 1;
    for (let slot = 0; slot < this.#slots; slot++) {
      let at = hashReference(this.#reference[slot]!) & mask;
      while (buckets[at] !== 0) at = (at + 1) & mask;
      buckets[at] = slot + 1;
    }
    this.#slotBuckets = buckets;
  }

  /** Keeps the entries and slots of this scrape only. */
  #rebuild(): void {
    const kept = new SeriesCache(this.#texts);
    kept.#generation = this.#generation;
    for (let entry = 0; entry < this.#entries; entry++) {
      if (this.#seen[entry] !== this.#generation) continue;
      const oldSlot = this.#slot[entry]!;
      let slot = oldSlot;
      if (oldSlot >= 0) {
        slot = kept.slotFor(this.#reference[oldSlot]!);
        kept.#slotSeen[slot] = this.#slotSeen[oldSlot]!;
        kept.#live[slot] = this.#live[oldSlot]!;
      }
      const added = kept.#addEntry(this.#text[entry]!, slot);
      kept.#tag[added] = this.#tag[entry]!;
      kept.#visit(added);
    }
    this.#adopt(kept);
  }

  #adopt(other: SeriesCache): void {
    this.#text = other.#text;
    this.#slot = other.#slot;
    this.#tag = other.#tag;
    this.#seen = other.#seen;
    this.#next = other.#next;
    this.#entries = other.#entries;
    this.#buckets = other.#buckets;
    this.#first = other.#first;
    this.#reference = other.#reference;
    this.#slotSeen = other.#slotSeen;
    this.#live = other.#live;
    this.#slots = other.#slots;
    this.#slotBuckets = other.#slotBuckets;
  }
}

/** References are small numbers in a row or apart by other targets': their low bits are spread. */
function hashReference(reference: SeriesReference): number {
  const mixed = Math.imul(reference, 0x9e3779b1);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

type Column = Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

function copyInto<T extends Column>(larger: T, column: T): T {
  larger.set(column);
  return larger;
}

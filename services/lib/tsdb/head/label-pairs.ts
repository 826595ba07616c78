// Distinct label pairs of a head, as bytes: interned, numbered in order of arrival, findable without being made, and
// chained by label name so that the values of a label can be walked. No object per pair.
import { ByteWriter, decodeUtf8 } from '../../core/bytes.ts';
import { hash128 } from '../../core/hash128.ts';
import { ABSENT, grownU32, powerOfTwoFrom } from './columns.ts';

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
  readonly #arena = new ByteWriter(16 * 1024);
  readonly #names = new Map<string, NameEntry>();
  readonly #seed: number;
  readonly #words = new Uint32Array(4);
  readonly #key = new ByteWriter(256);
  /** Pair n stands in arena[ends[n], ends[n + 1]). */
  #ends: Uint32Array = new Uint32Array(257);
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
    return this.#arena.bytes.length + (this.#ends.length * 3 + this.#slots.length) * 4;
  }

  /** Makes room for `share` of what another one holds. To be called before the first `intern`. */
  reserveLike(other: LabelPairs, share: number): void {
    const count = Math.ceil(other.count * share);
    this.#growColumns(count);
    this.#arena.reserve(Math.ceil(other.#arena.length * share));
    this.#slots = new Uint32Array(Math.max(this.#slots.length, powerOfTwoFrom(2 * count)));
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
    this.#arena.raw(bytes, start, end);
    // Not assert(): its message would be built for every pair.
    if (this.#arena.length >= ABSENT) tooLarge(this.#arena.length);
    this.#ends[pair + 1] = this.#arena.length;
    this.#hashes[pair] = hash;
    this.#slots[slot] = pair + 1;
    this.count = pair + 1;
    this.#chain(pair);
    if (this.count * 2 > this.#slots.length) this.#growSlots();
    return pair;
  }

  /** Appends the pair's bytes. */
  write(pair: number, dst: ByteWriter): void {
    dst.rawFrom(this.#arena.view, this.#ends[pair]!, this.#ends[pair + 1]!);
  }

  /** The arena that pairs stand in. Stale after the next `intern`. */
  get bytes(): Uint8Array {
    return this.#arena.bytes;
  }

  nameStart(pair: number): number {
    return behindVarint(this.#arena.bytes, this.#ends[pair]!);
  }

  nameEnd(pair: number): number {
    return this.#textAt(this.#ends[pair]!)[1];
  }

  valueStart(pair: number): number {
    return behindVarint(this.#arena.bytes, this.nameEnd(pair));
  }

  endOf(pair: number): number {
    return this.#ends[pair + 1]!;
  }

  name(pair: number): string {
    const at = this.#ends[pair]!;
    const [start, end] = this.#textAt(at);
    return decodeUtf8(this.#arena.bytes, start, end);
  }

  value(pair: number): string {
    const [, nameEnd] = this.#textAt(this.#ends[pair]!);
    const [start, end] = this.#textAt(nameEnd);
    return decodeUtf8(this.#arena.bytes, start, end);
  }

  #chain(pair: number): void {
    const [, nameEnd] = this.#textAt(this.#ends[pair]!);
    const [start, end] = this.#textAt(nameEnd);
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

  /** Range of the text whose varint length stands at `at`. */
  #textAt(at: number): [start: number, end: number] {
    const bytes = this.#arena.bytes;
    let length = 0;
    let factor = 1;
    let position = at;
    for (;;) {
      const byte = bytes[position++]!;
      length += (byte & 127) * factor;
      if (byte < 128) return [position, position + length];
      factor *= 128;
    }
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
    const at = this.#ends[pair]!;
    if (this.#ends[pair + 1]! - at !== end - start) return false;
    const own = this.#arena.bytes;
    for (let i = 0; i < end - start; i++) if (own[at + i] !== bytes[start + i]) return false;
    return true;
  }

  #growColumns(needed: number): void {
    if (needed <= this.#hashes.length) return;
    this.#hashes = grownU32(this.#hashes, needed);
    this.#previous = grownU32(this.#previous, this.#hashes.length);
    this.#ends = grownU32(this.#ends, this.#hashes.length + 1);
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

function tooLarge(bytes: number): never {
  throw new Error(`assertion failed: label pairs take ${bytes} bytes, below 2^32 - 1`);
}

function behindVarint(bytes: Uint8Array, at: number): number {
  let position = at;
  while (bytes[position]! > 127) position++;
  return position + 1;
}

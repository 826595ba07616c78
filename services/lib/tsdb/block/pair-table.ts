// Interns label pairs as bytes: a million series share few distinct pairs, so a series is a run of small numbers while a
// block is being built. No string is made.
import { assert } from '../../core/assert.ts';
import { ByteWriter } from '../../core/bytes.ts';
import { hash128 } from '../../core/hash128.ts';
import { compareRanges } from './byte-ranges.ts';

/** Distinct label pairs, numbered in order of arrival. */
export class PairTable {
  readonly #arena = new ByteWriter(64 * 1024);
  readonly #seed: number;
  readonly #words = new Uint32Array(4);
  /** End of pair i in the arena is #ends[i + 1]; #ends[0] is 0. */
  #ends = new Uint32Array(1025);
  #hashes = new Uint32Array(1024);
  /** Open addressing: pair number + 1, or 0. Invariant: at most half full. */
  #slots = new Uint32Array(4096);
  count = 0;

  /** @param seed  Random per process: crafted labels must not be able to collide. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Bytes held. */
  get bytesHeld(): number {
    return this.#arena.bytes.length + (this.#ends.length + this.#hashes.length + this.#slots.length) * 4;
  }

  /** Number of the pair in bytes[start, end): name and value, each as varint length and UTF-8. */
  intern(bytes: Uint8Array, start: number, end: number): number {
    hash128(bytes, start, end, this.#seed, this.#words);
    const hash = this.#words[0]!;
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const found = this.#slots[slot]! - 1;
      if (found < 0) return this.#insert(bytes, start, end, hash, slot);
      if (this.#hashes[found] === hash && this.#holds(found, bytes, start, end)) return found;
    }
  }

  /** The arena: pair `n` stands in bytes[startOf(n), endOf(n)). Stale after the next `intern`. */
  get bytes(): Uint8Array {
    return this.#arena.bytes;
  }

  startOf(pair: number): number {
    return this.#ends[pair]!;
  }

  endOf(pair: number): number {
    return this.#ends[pair + 1]!;
  }

  #holds(pair: number, bytes: Uint8Array, start: number, end: number): boolean {
    return compareRanges(this.#arena.bytes, this.startOf(pair), this.endOf(pair), bytes, start, end) === 0;
  }

  #insert(bytes: Uint8Array, start: number, end: number, hash: number, slot: number): number {
    const pair = this.count;
    if (pair === this.#hashes.length) this.#growColumns();
    this.#arena.raw(bytes, start, end);
    assert(
      this.#arena.length <= 0xffffffff,
      `label pairs of a block take ${this.#arena.length} bytes, over 2^32 - 1`,
    );
    this.#hashes[pair] = hash;
    this.#ends[pair + 1] = this.#arena.length;
    this.#slots[slot] = pair + 1;
    this.count = pair + 1;
    if (this.count * 2 > this.#slots.length) this.#growSlots();
    return pair;
  }

  #growColumns(): void {
    const hashes = new Uint32Array(this.#hashes.length * 2);
    hashes.set(this.#hashes);
    this.#hashes = hashes;
    const ends = new Uint32Array(hashes.length + 1);
    ends.set(this.#ends);
    this.#ends = ends;
  }

  #growSlots(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let pair = 0; pair < this.count; pair++) {
      let slot = this.#hashes[pair]! & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = pair + 1;
    }
    this.#slots = slots;
  }
}

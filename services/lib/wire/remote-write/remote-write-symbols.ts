// The symbol table of a remote write 2.0 request: ranges of the request's bytes, and a 128-bit hash of each symbol, made
// when it is first needed. A series' cache key is mixed from its symbols' hashes, so that no label byte is hashed twice.
import { AppError } from '../../core/errors.ts';
import { hash128 } from '../../core/hash128.ts';
import type { ProtobufCursor } from '../../core/protobuf-cursor.ts';

/** Most symbols in one request; more would not fit a request of the usual size. */
export const REQUEST_SYMBOLS_MAX = 1 << 20;

const HASH_WORDS = 4;
const CAPACITY_MIN = 1024;
/** Tables up to this size stay for the next request. */
const CAPACITY_KEPT = 1 << 16;

/** Reused from request to request. */
export class RemoteWriteSymbols {
  count = 0;
  /** Uint32Array[≥ count]: offsets in the request. */
  starts = new Uint32Array(CAPACITY_MIN);
  ends = new Uint32Array(CAPACITY_MIN);
  #hashes = new Uint32Array(CAPACITY_MIN * HASH_WORDS);
  #hashed = new Uint8Array(CAPACITY_MIN);
  readonly #seed: number;
  readonly #words = new Uint32Array(HASH_WORDS);

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Empties the table for the next request. */
  clear(): void {
    if (this.starts.length > CAPACITY_KEPT) this.#resize(CAPACITY_MIN, 0);
    this.#hashed.fill(0, 0, Math.min(this.count, this.#hashed.length));
    this.count = 0;
  }

  add(start: number, end: number): void {
    if (this.count === REQUEST_SYMBOLS_MAX) {
      throw new AppError(
        'resource_exhausted',
        `the request holds more than ${REQUEST_SYMBOLS_MAX} symbols; send fewer series per request`,
      );
    }
    if (this.count === this.starts.length) this.#resize(this.count * 2, this.count);
    this.starts[this.count] = start;
    this.ends[this.count] = end;
    this.count++;
  }

  /** @throws AppError `bad_data` when there is no such symbol; `offset` is where the reference stands. */
  check(symbol: number, cursor: ProtobufCursor, offset: number): void {
    if (symbol >= this.count) throw cursor.malformed(`symbol ${symbol} of a table of ${this.count}`, offset);
  }

  /** Word `word` (0 … 3) of a symbol's hash. */
  hashWord(bytes: Uint8Array, symbol: number, word: number): number {
    if (this.#hashed[symbol] === 0) this.#hash(bytes, symbol);
    return this.#hashes[symbol * HASH_WORDS + word]!;
  }

  /**
   * Hot! Mixes the hashes of `references[0, count)`, in order, into `out[0..3]`: murmur3's body with a symbol's hash as the
   * block, so that order and number of the symbols matter.
   */
  mix(bytes: Uint8Array, references: Uint32Array, count: number, out: Uint32Array): void {
    let h1 = this.#seed | 0;
    let h2 = ~this.#seed;
    let h3 = Math.imul(this.#seed, 0x9e3779b1);
    let h4 = count;
    const hashes = this.#hashes;
    const hashed = this.#hashed;
    for (let i = 0; i < count; i++) {
      const symbol = references[i]!;
      if (hashed[symbol] === 0) this.#hash(bytes, symbol);
      const at = symbol * HASH_WORDS;
      h1 ^= Math.imul(hashes[at]!, 0xab0e9789);
      h1 = (Math.imul(((h1 << 19) | (h1 >>> 13)) + h2, 5) + 0x561ccd1b) | 0;
      h2 ^= Math.imul(hashes[at + 1]!, 0x38b34ae5);
      h2 = (Math.imul(((h2 << 17) | (h2 >>> 15)) + h3, 5) + 0x0bcaa747) | 0;
      h3 ^= Math.imul(hashes[at + 2]!, 0xa1e38b93);
      h3 = (Math.imul(((h3 << 15) | (h3 >>> 17)) + h4, 5) + 0x96cd1c35) | 0;
      h4 ^= Math.imul(hashes[at + 3]!, 0x239b961b);
      h4 = (Math.imul(((h4 << 13) | (h4 >>> 19)) + h1, 5) + 0x32ac3b17) | 0;
    }
    h1 = avalanche((h1 + h2 + h3 + h4) | 0);
    h2 = avalanche((h2 + h1) | 0);
    h3 = avalanche((h3 + h2) | 0);
    h4 = avalanche((h4 + h3) | 0);
    out[0] = h1;
    out[1] = h2;
    out[2] = h3;
    out[3] = h4;
  }

  #hash(bytes: Uint8Array, symbol: number): void {
    hash128(bytes, this.starts[symbol]!, this.ends[symbol]!, this.#seed, this.#words);
    this.#hashes.set(this.#words, symbol * HASH_WORDS);
    this.#hashed[symbol] = 1;
  }

  #resize(capacity: number, kept: number): void {
    const starts = new Uint32Array(capacity);
    const ends = new Uint32Array(capacity);
    const hashes = new Uint32Array(capacity * HASH_WORDS);
    const hashed = new Uint8Array(capacity);
    starts.set(this.starts.subarray(0, kept));
    ends.set(this.ends.subarray(0, kept));
    hashes.set(this.#hashes.subarray(0, kept * HASH_WORDS));
    hashed.set(this.#hashed.subarray(0, kept));
    this.starts = starts;
    this.ends = ends;
    this.#hashes = hashes;
    this.#hashed = hashed;
  }
}

function avalanche(value: number): number {
  let h = value;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

// Deflate (RFC 1951) of a text whose repeats are known: nothing is searched for, which is what takes a compressor's time. JSON of a
// range query is half timestamps that the series before had, too: a third of zlib's time, and a fifth shorter. What is done
// for each byte and each repeat is done in WebAssembly (../json/kernel).
import { countSymbols, type LaidText, layText, putSymbols } from '../json/kernel/text-kernel.ts';
import type { Repeats } from '../json/repeats.ts';
import { type HuffmanCode, huffmanCode, huffmanLengths } from './huffman-code.ts';

const LITERALS = 286;
const DISTANCES = 30;
const CODE_BITS_MAX = 15;
const END_OF_BLOCK = 256;
/** Shorter pieces are not worth a code of their own: its description takes some 80 bytes. */
const OWN_CODE_BYTES_MIN = 512;

/** The order in which lengths of the code for code lengths are said. */
const LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15] as const;
const LENGTH_CODES = 19;
const LENGTH_CODE_BITS_MAX = 7;
const FEW_ZEROS = 17;
const MANY_ZEROS = 18;

/** The codes that need no description. */
const FIXED_LITERALS = huffmanCode(
  Uint8Array.from({ length: 288 }, (_, symbol) =>
    symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8,
  ),
);
const FIXED_DISTANCES = huffmanCode(new Uint8Array(DISTANCES).fill(5));

/** Writes one stream, piece by piece. */
export class DeflateBlocks {
  /** Descriptions of codes, a few hundred bytes. */
  readonly #out = new Uint8Array(1024);
  #length = 0;
  /** Bits that are no byte yet. Invariant: fewer than 8. */
  #held = 0;
  #heldBits = 0;

  /**
   * Compresses a piece.
   *
   * @param repeats  Runs of it that stand before, maybe in the pieces before.
   * @returns        What is there of the stream and was not returned, but for bits that make no byte.
   */
  add(piece: Uint8Array, repeats?: Repeats, isLast = false): Buffer<ArrayBuffer> {
    const laid = layText(piece, repeats);
    this.#put(isLast ? 1 : 0, 1);
    let symbols: Uint8Array;
    if (piece.length < OWN_CODE_BYTES_MIN) {
      this.#put(1, 2);
      symbols = this.#write(laid, FIXED_LITERALS, FIXED_DISTANCES);
    } else {
      this.#put(2, 2);
      symbols = this.#writeWithOwnCode(laid);
    }
    const taken = Buffer.concat([this.#out.subarray(0, this.#length), symbols]);
    this.#length = 0;
    return isLast ? this.#fillByte(taken) : taken;
  }

  #writeWithOwnCode(laid: LaidText): Uint8Array {
    const counts = countSymbols(laid);
    const literals = huffmanCode(huffmanLengths(counts.subarray(0, LITERALS), CODE_BITS_MAX));
    const distances = huffmanCode(huffmanLengths(counts.subarray(LITERALS), CODE_BITS_MAX));
    this.#describe(literals.lengths, distances.lengths);
    return this.#write(laid, literals, distances);
  }

  /** Says what the lengths of two codes are. */
  #describe(literals: Uint8Array, distances: Uint8Array): void {
    const literalCount = usedLength(literals, END_OF_BLOCK + 1);
    const distanceCount = usedLength(distances, 1);
    const said = new Uint8Array(literalCount + distanceCount);
    said.set(literals.subarray(0, literalCount));
    said.set(distances.subarray(0, distanceCount), literalCount);
    const counts = new Uint32Array(LENGTH_CODES);
    forEachLength(said, (symbol) => counts[symbol]!++);
    const code = huffmanCode(huffmanLengths(counts, LENGTH_CODE_BITS_MAX));
    let orderCount = LENGTH_CODES;
    while (orderCount > 4 && code.lengths[LENGTH_ORDER[orderCount - 1]!] === 0) orderCount--;
    this.#put(literalCount - 257, 5);
    this.#put(distanceCount - 1, 5);
    this.#put(orderCount - 4, 4);
    for (let i = 0; i < orderCount; i++) this.#put(code.lengths[LENGTH_ORDER[i]!]!, 3);
    forEachLength(said, (symbol, zeros) => {
      this.#putSymbol(code, symbol);
      if (symbol === FEW_ZEROS) this.#put(zeros - 3, 3);
      if (symbol === MANY_ZEROS) this.#put(zeros - 11, 7);
    });
  }

  /** The text's symbols; what is no byte of them is held. */
  #write(laid: LaidText, literals: HuffmanCode, distances: HuffmanCode): Uint8Array {
    const before = { held: this.#held, heldBits: this.#heldBits };
    const { bytes, held, heldBits } = putSymbols(laid, literals.packed, distances.packed, before);
    this.#held = held;
    this.#heldBits = heldBits;
    return bytes;
  }

  #putSymbol({ packed }: HuffmanCode, symbol: number): void {
    this.#put(packed[symbol]! & 0xffff, packed[symbol]! >>> 16);
  }

  /** @param count  At most 15. */
  #put(value: number, count: number): void {
    this.#held |= value << this.#heldBits;
    this.#heldBits += count;
    while (this.#heldBits >= 8) {
      this.#out[this.#length++] = this.#held;
      this.#held >>>= 8;
      this.#heldBits -= 8;
    }
  }

  /** Ends with zeros what is no byte yet. */
  #fillByte(written: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
    if (this.#heldBits === 0) return written;
    return Buffer.concat([written, Uint8Array.of(this.#held)]);
  }
}

/** Up to the last symbol that has a code, at least `min`. */
function usedLength(lengths: Uint8Array, min: number): number {
  let length = lengths.length;
  while (length > min && lengths[length - 1] === 0) length--;
  return length;
}

/** Calls back with what says the lengths one after the other: a length itself, or a number of zeros. */
function forEachLength(lengths: Uint8Array, use: (symbol: number, zeros: number) => void): void {
  for (let i = 0; i < lengths.length; ) {
    let zeros = 0;
    while (zeros < 138 && i + zeros < lengths.length && lengths[i + zeros] === 0) zeros++;
    if (zeros >= 3) {
      use(zeros < 11 ? FEW_ZEROS : MANY_ZEROS, zeros);
      i += zeros;
    } else use(lengths[i++]!, 0);
  }
}

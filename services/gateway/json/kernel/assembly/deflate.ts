// The symbols of a deflate block (RFC 1951) of a text whose repeats are known (../../http/deflate-blocks.ts): how often each occurs, and
// their codes, bit by bit.

const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const END_OF_BLOCK: usize = 256;
/** The longest run that one symbol says, and the shortest. */
const RUN_MAX: u32 = 258;
const RUN_MIN: u32 = 3;

/** Symbols of run lengths: of each its first length and how many bits say which one it is. */
const RUN_BASES = memory.data<u16>([
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
  227, 258,
]);
const RUN_EXTRA_BITS = memory.data<u8>([
  0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
]);

/** Codes of literals and runs, then of distances: bits, lowest first, and from bit 16 on how many; counts stand in the same places. */
export const CODES: usize = 2048;
const DISTANCE_CODES: usize = CODES + 4 * LITERALS;

/** Bits that are no byte yet, fewer than 8, and what they are. */
export let heldBits: u32 = 0;
export let held: u32 = 0;

/** Index of a run's symbol, by its length. */
function runSymbol(length: u32): u32 {
  if (length < 11) return length - 3;
  if (length === RUN_MAX) return 28;
  const bits = 29 - clz(length - 3);
  return 4 * bits + 4 + (((length - 3) >> bits) & 3);
}

/** Symbol of a distance less 1. */
function distanceSymbol(less1: u32): u32 {
  if (less1 < 2) return less1;
  const bits = 30 - clz(less1);
  return 2 * bits + 2 + ((less1 >> bits) & 1);
}

/** How much of a run the next symbol says: what is left is nothing or long enough for another one. */
function runPiece(left: u32): u32 {
  if (left <= RUN_MAX) return left;
  return left - RUN_MAX < RUN_MIN ? left - RUN_MIN : RUN_MAX;
}

function increment(at: usize): void {
  store<u32>(at, load<u32>(at) + 1);
}

/** Counts the symbols of the text [text, text + bytes) whose repeats stand at `repeats`: `count` places, then lengths, then distances less 1. */
export function countSymbols(text: usize, bytes: u32, repeats: usize, count: u32): void {
  memory.fill(CODES, 0, 4 * (LITERALS + DISTANCES));
  store<u32>(CODES + 4 * END_OF_BLOCK, 1);
  const lengths = repeats + 4 * (count as usize);
  const distances = lengths + 4 * (count as usize);
  let at: usize = 0;
  for (let i: usize = 0; i <= (count as usize); i++) {
    const place = (i < (count as usize) ? load<u32>(repeats + 4 * i) : bytes) as usize;
    for (; at < place; at++) increment(CODES + 4 * (load<u8>(text + at) as usize));
    if (i === (count as usize)) break;
    const distance = DISTANCE_CODES + 4 * (distanceSymbol(load<u16>(distances + 2 * i) as u32) as usize);
    let left = load<u32>(lengths + 4 * i);
    at += left as usize;
    while (left > 0) {
      const run = runPiece(left);
      left -= run;
      increment(CODES + 4 * (END_OF_BLOCK + 1 + (runSymbol(run) as usize)));
      increment(distance);
    }
  }
}

/**
 * Writes the symbols of that text by the codes at CODES to `to`, and the end of the block, behind the bits that are held.
 *
 * @returns  Whole bytes; what is no byte is held.
 */
export function putSymbols(text: usize, bytes: u32, repeats: usize, count: u32, to: usize): u32 {
  const lengths = repeats + 4 * (count as usize);
  const distances = lengths + 4 * (count as usize);
  let out = to;
  let word = held as u64;
  let wordBits = heldBits as u64;
  let at: usize = 0;
  for (let i: usize = 0; i <= (count as usize); i++) {
    const place = (i < (count as usize) ? load<u32>(repeats + 4 * i) : bytes) as usize;
    for (; at < place; at++) {
      const code = load<u32>(CODES + 4 * (load<u8>(text + at) as usize));
      word |= ((code & 0xffff) as u64) << wordBits;
      wordBits += (code >> 16) as u64;
      if (wordBits < 48) continue;
      store<u64>(out, word);
      out += (wordBits >> 3) as usize;
      word >>= wordBits & 56;
      wordBits &= 7;
    }
    if (i === (count as usize)) break;
    const less1 = load<u16>(distances + 2 * i) as u32;
    const symbol = distanceSymbol(less1);
    const distanceCode = load<u32>(DISTANCE_CODES + 4 * (symbol as usize));
    const extraBits = symbol < 4 ? 0 : (symbol >> 1) - 1;
    const codeBits = distanceCode >> 16;
    const distance = ((distanceCode & 0xffff) | ((less1 & ((1 << extraBits) - 1)) << codeBits)) as u64;
    let left = load<u32>(lengths + 4 * i);
    at += left as usize;
    while (left > 0) {
      const run = runPiece(left);
      left -= run;
      // 7 bits and a code of 15 leave room for 42 more: a run has at most 20, a distance 28.
      store<u64>(out, word);
      out += (wordBits >> 3) as usize;
      word >>= wordBits & 56;
      wordBits &= 7;
      const index = runSymbol(run) as usize;
      const code = load<u32>(CODES + 4 * (END_OF_BLOCK + 1 + index));
      const length = (code & 0xffff) | ((run - (load<u16>(RUN_BASES + 2 * index) as u32)) << (code >> 16));
      word |= (length as u64) << wordBits;
      wordBits += ((code >> 16) + (load<u8>(RUN_EXTRA_BITS + index) as u32)) as u64;
      word |= distance << wordBits;
      wordBits += (codeBits + extraBits) as u64;
      if (wordBits < 48) continue;
      store<u64>(out, word);
      out += (wordBits >> 3) as usize;
      word >>= wordBits & 56;
      wordBits &= 7;
    }
  }
  store<u64>(out, word);
  out += (wordBits >> 3) as usize;
  word >>= wordBits & 56;
  wordBits &= 7;
  const code = load<u32>(CODES + 4 * END_OF_BLOCK);
  word |= ((code & 0xffff) as u64) << wordBits;
  wordBits += (code >> 16) as u64;
  store<u64>(out, word);
  out += (wordBits >> 3) as usize;
  held = (word >> (wordBits & 56)) as u32;
  heldBits = (wordBits & 7) as u32;
  return (out - to) as u32;
}

/** Sets what was written before. */
export function hold(bits: u32, count: u32): void {
  held = bits;
  heldBits = count;
}

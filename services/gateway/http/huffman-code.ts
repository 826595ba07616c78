// Huffman codes as deflate wants them (RFC 1951, 3.2.2): lengths from frequencies, canonical codes from lengths.

/** Longest code of deflate, bits. */
const LENGTH_MAX = 15;

/** A code. */
export interface HuffmanCode {
  /** Bits of each symbol, lowest first, and from bit 16 on how many there are; 0 where the symbol has none. */
  readonly packed: Uint32Array;
  readonly lengths: Uint8Array;
}

/**
 * Lengths of an optimal code; where one would be longer than `lengthMax`, of one that is nearly so.
 *
 * @param frequencies  By symbol; 0: the symbol gets no code. Not changed.
 */
export function huffmanLengths(frequencies: Uint32Array, lengthMax: number): Uint8Array {
  const lengths = new Uint8Array(frequencies.length);
  const symbols = [...frequencies.keys()].filter((symbol) => frequencies[symbol]! > 0);
  if (symbols.length === 1) lengths[symbols[0]!] = 1;
  if (symbols.length < 2) return lengths;
  let weights = Array.from(symbols, (symbol) => frequencies[symbol]!);
  while (!assignLengths(symbols, weights, lengths, lengthMax)) {
    // Flatter frequencies give shorter codes: with all of them 1, eight bits or nine.
    weights = weights.map((weight) => (weight + 1) >> 1);
  }
  return lengths;
}

/** Two queues: leaves by weight, and inner nodes, which come out by weight on their own. False when a code is too long. */
function assignLengths(
  symbols: readonly number[],
  weights: readonly number[],
  lengths: Uint8Array,
  lengthMax: number,
): boolean {
  const leaves = [...symbols.keys()].sort((a, b) => weights[a]! - weights[b]! || a - b);
  const count = leaves.length;
  const parents = new Uint16Array(2 * count - 1);
  const sums = new Float64Array(2 * count - 1);
  leaves.forEach((leaf, i) => {
    sums[i] = weights[leaf]!;
  });
  let leaf = 0;
  let inner = count;
  for (let node = count; node < 2 * count - 1; node++) {
    for (let child = 0; child < 2; child++) {
      const isLeaf = leaf < count && (inner >= node || sums[leaf]! <= sums[inner]!);
      const taken = isLeaf ? leaf++ : inner++;
      sums[node]! += sums[taken]!;
      parents[taken] = node;
    }
  }
  const depths = new Uint16Array(2 * count - 1);
  for (let node = 2 * count - 3; node >= 0; node--) depths[node] = depths[parents[node]!]! + 1;
  for (let i = 0; i < count; i++) {
    if (depths[i]! > lengthMax) return false;
    lengths[symbols[leaves[i]!]!] = depths[i]!;
  }
  return true;
}

/** The canonical code of these lengths. */
export function huffmanCode(lengths: Uint8Array): HuffmanCode {
  const packed = new Uint32Array(lengths.length);
  const counts = new Uint16Array(LENGTH_MAX + 1);
  for (const length of lengths) counts[length]!++;
  /** The next code of each length. */
  const next = new Uint16Array(LENGTH_MAX + 1);
  for (let length = 2; length <= LENGTH_MAX; length++)
    next[length] = (next[length - 1]! + counts[length - 1]!) << 1;
  for (let symbol = 0; symbol < lengths.length; symbol++) {
    const length = lengths[symbol]!;
    if (length > 0) packed[symbol] = reversed(next[length]!++, length) | (length << 16);
  }
  return { packed, lengths };
}

/** The lowest `length` bits, the other way round. */
function reversed(code: number, length: number): number {
  let bits = ((code & 0x5555) << 1) | ((code >>> 1) & 0x5555);
  bits = ((bits & 0x3333) << 2) | ((bits >>> 2) & 0x3333);
  bits = ((bits & 0x0f0f) << 4) | ((bits >>> 4) & 0x0f0f);
  bits = ((bits & 0x00ff) << 8) | ((bits >>> 8) & 0x00ff);
  return bits >>> (16 - length);
}

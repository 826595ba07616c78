// Huffman codes as deflate wants them (RFC 1951, 3.2.2): lengths from frequencies, canonical codes from lengths.

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
  let next = 0;
  for (let length = 1; length <= 15; length++) {
    next <<= 1;
    for (let symbol = 0; symbol < lengths.length; symbol++) {
      if (lengths[symbol] === length) packed[symbol] = reversed(next++, length) | (length << 16);
    }
  }
  return { packed, lengths };
}

function reversed(code: number, length: number): number {
  let result = 0;
  for (let i = 0; i < length; i++) result |= ((code >>> i) & 1) << (length - 1 - i);
  return result;
}

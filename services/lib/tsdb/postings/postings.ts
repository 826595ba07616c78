// Set operations over postings: series ids in a Uint32Array, strictly ascending. Results never alias an operand that was
// changed; an operand may be returned as it is, so postings are treated as immutable everywhere.

/** No series. */
export const EMPTY_POSTINGS: Uint32Array = new Uint32Array(0);

/** Above this ratio of lengths, searching the longer list beats walking both (measured: 16 … 64 are alike). */
const GALLOP_RATIO = 32;

/** Ids that stand in both. Cost: O(shorter · log longer) when the lengths differ much, else O(sum). */
export function intersectPostings(a: Uint32Array, b: Uint32Array): Uint32Array {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  if (short.length === 0) return EMPTY_POSTINGS;
  const out = new Uint32Array(short.length);
  const count =
    short.length * GALLOP_RATIO < long.length ? gallop(short, long, true, out) : walkBoth(short, long, out);
  return out.subarray(0, count);
}

/** Ids of `a` that are not in `b`. */
export function subtractPostings(a: Uint32Array, b: Uint32Array): Uint32Array {
  if (a.length === 0 || b.length === 0) return a;
  const out = new Uint32Array(a.length);
  const count = a.length * GALLOP_RATIO < b.length ? gallop(a, b, false, out) : walkLeft(a, b, out);
  return out.subarray(0, count);
}

/** Ids that stand in at least one of the lists, each once. */
export function unionPostings(lists: readonly Uint32Array[]): Uint32Array {
  let total = 0;
  let idMax = 0;
  let only = EMPTY_POSTINGS;
  for (const list of lists) {
    if (list.length === 0) continue;
    if (total === 0) only = list;
    total += list.length;
    idMax = Math.max(idMax, list[list.length - 1]!);
  }
  if (total === only.length) return only;
  // A bitmap costs idMax / 32 words; sorting costs total · log total. The bitmap wins unless the ids are very sparse.
  return total * 64 > idMax ? unionByBitmap(lists, idMax, total) : unionBySort(lists, total);
}

function unionByBitmap(lists: readonly Uint32Array[], idMax: number, total: number): Uint32Array {
  const words = new Uint32Array((idMax >>> 5) + 1);
  for (const list of lists) {
    for (let i = 0; i < list.length; i++) {
      const id = list[i]!;
      words[id >>> 5]! |= 1 << (id & 31);
    }
  }
  const out = new Uint32Array(total);
  let count = 0;
  for (let w = 0; w < words.length; w++) {
    let rest = words[w]!;
    while (rest !== 0) {
      out[count++] = w * 32 + (31 - Math.clz32(rest & -rest));
      rest &= rest - 1;
    }
  }
  return out.subarray(0, count);
}

function unionBySort(lists: readonly Uint32Array[], total: number): Uint32Array {
  const out = new Uint32Array(total);
  let at = 0;
  for (const list of lists) {
    out.set(list, at);
    at += list.length;
  }
  out.sort();
  let count = 0;
  for (let i = 0; i < total; i++) if (i === 0 || out[i] !== out[i - 1]) out[count++] = out[i]!;
  return out.subarray(0, count);
}

function walkBoth(a: Uint32Array, b: Uint32Array, out: Uint32Array): number {
  let count = 0;
  let j = 0;
  for (let i = 0; i < a.length && j < b.length; i++) {
    const id = a[i]!;
    while (j < b.length && b[j]! < id) j++;
    if (j < b.length && b[j] === id) out[count++] = id;
  }
  return count;
}

function walkLeft(a: Uint32Array, b: Uint32Array, out: Uint32Array): number {
  let count = 0;
  let j = 0;
  for (let i = 0; i < a.length; i++) {
    const id = a[i]!;
    while (j < b.length && b[j]! < id) j++;
    if (j === b.length || b[j] !== id) out[count++] = id;
  }
  return count;
}

/** Writes the ids of `short` whose presence in `long` is `present`; searches on from the last position found. */
function gallop(short: Uint32Array, long: Uint32Array, present: boolean, out: Uint32Array): number {
  let count = 0;
  let from = 0;
  for (let i = 0; i < short.length; i++) {
    const id = short[i]!;
    let step = 1;
    let low = from;
    while (low + step < long.length && long[low + step]! < id) {
      low += step;
      step *= 2;
    }
    let high = Math.min(long.length, low + step + 1);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (long[middle]! < id) low = middle + 1;
      else high = middle;
    }
    from = low;
    if ((low < long.length && long[low] === id) === present) out[count++] = id;
  }
  return count;
}

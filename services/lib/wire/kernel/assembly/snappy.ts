// The elements of a snappy block (docs/snappy.md). Sixteen bytes are moved at a time whatever is left: what stands behind them is
// overwritten by the next element, or is the slack behind the decoded bytes.

/** What is wrong with a block; 0 is nothing. `snappy.ts` puts it into words. */
export const FAULT_LENGTH_TRUNCATED: u32 = 1;
export const FAULT_LITERAL_TRUNCATED: u32 = 2;
export const FAULT_COPY_TRUNCATED: u32 = 3;
export const FAULT_OFFSET: u32 = 4;
export const FAULT_OVERRUN: u32 = 5;
export const FAULT_SHORT: u32 = 6;

/** Where the element that is at fault begins, and how many bytes were decoded before it. */
export let faultAt: usize = 0;
export let faultDecoded: usize = 0;
/** The offset that leads too far back; bytes of the element that has too many, less 1. */
export let faultNumber: u32 = 0;

function fault(kind: u32, at: usize, decoded: usize, number: u32): u32 {
  faultAt = at;
  faultDecoded = decoded;
  faultNumber = number;
  return kind;
}

/**
 * Decodes the elements [start, end) to `to`, which has room for `declared` bytes and 64 more.
 *
 * @returns 0, or the fault. Ends because each turn consumes at least one byte.
 */
export function decodeElements(start: usize, end: usize, to: usize, declared: usize): u32 {
  let s = start;
  let d = to;
  const limit = to + declared;
  while (s < end) {
    const element = s;
    const tag = load<u8>(s++) as u32;
    const kind = tag & 3;
    let count: usize;
    if (kind === 0) {
      let less1 = tag >> 2;
      if (less1 >= 60) {
        const extra: usize = less1 - 59;
        if (extra > end - s) return fault(FAULT_LENGTH_TRUNCATED, element, d - to, 0);
        less1 = load<u32>(s) & ((0xffffffff as u32) >> ((4 - (extra as u32)) << 3));
        s += extra;
      }
      if ((less1 as usize) >= end - s) return fault(FAULT_LITERAL_TRUNCATED, element, d - to, less1);
      if ((less1 as usize) >= limit - d) return fault(FAULT_OVERRUN, element, d - to, less1);
      count = (less1 as usize) + 1;
      v128.store(d, v128.load(s));
      for (let i: usize = 16; i < count; i += 16) v128.store(d + i, v128.load(s + i));
      s += count;
      d += count;
      continue;
    }
    let offset: usize;
    if (kind === 2) {
      if (end - s < 2) return fault(FAULT_COPY_TRUNCATED, element, d - to, 0);
      count = (tag >> 2) + 1;
      offset = load<u16>(s);
      s += 2;
    } else if (kind === 1) {
      if (end - s < 1) return fault(FAULT_COPY_TRUNCATED, element, d - to, 0);
      count = ((tag >> 2) & 7) + 4;
      offset = ((tag >> 5) << 8) | (load<u8>(s) as u32);
      s += 1;
    } else {
      if (end - s < 4) return fault(FAULT_COPY_TRUNCATED, element, d - to, 0);
      count = (tag >> 2) + 1;
      offset = load<u32>(s);
      s += 4;
    }
    if (offset === 0 || offset > d - to) return fault(FAULT_OFFSET, element, d - to, offset as u32);
    if (count > limit - d) return fault(FAULT_OVERRUN, element, d - to, (count as u32) - 1);
    copyBack(d, offset, count);
    d += count;
  }
  return d === limit ? 0 : fault(FAULT_SHORT, end, d - to, 0);
}

/** Appends at `to` what stands `offset` bytes before it, 1 … 64 bytes. Nearer than a step copies repeat what they write. */
function copyBack(to: usize, offset: usize, count: usize): void {
  const from = to - offset;
  if (offset >= 16) {
    v128.store(to, v128.load(from));
    if (count <= 16) return;
    v128.store(to + 16, v128.load(from + 16));
    if (count <= 32) return;
    v128.store(to + 32, v128.load(from + 32));
    v128.store(to + 48, v128.load(from + 48));
  } else if (offset >= 8) {
    for (let i: usize = 0; i < count; i += 8) store<u64>(to + i, load<u64>(from + i));
  } else {
    for (let i: usize = 0; i < count; i++) store<u8>(to + i, load<u8>(from + i));
  }
}

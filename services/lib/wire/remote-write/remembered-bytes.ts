// The raw bytes of series that were seen in a row, each as what differs from the one before: neighbours begin with the same
// bytes, and end with the same, so that little is left. Comparing with them costs half of hashing, and needs no trust in a hash.

/**
 * Two words of an entry: where its own bytes begin; bytes at its start that are those of the entry before << 20 | bytes at its
 * end that are the end of the one before << 10 | own bytes in between.
 */
export interface RememberedBytes {
  /** Own bytes of all entries, none of them over the end of a page. */
  readonly pages: DataView[];
  /** Bytes in use of the last page. */
  used: number;
  bytesHeld: number;
  readonly bytesHeldMax: number;
}

const PAGE_SHIFT = 18;
const PAGE_BYTES = 1 << PAGE_SHIFT;
const FIRST_PAGE_BYTES = 1 << 14;
/** A page's number has the other bits of the word. */
const BYTES_HELD_MAX = 2 ** 32;
/** Each of the three lengths has ten bits; an entry with more bytes of its own is not remembered. */
const PART_BITS = 10;
const PART_BYTES_MAX = (1 << PART_BITS) - 1;

/** Second word of an entry without bytes: no lengths take all of its bits. */
export const NOT_REMEMBERED = 0xffffffff;

/** Entries that come when `bytesHeldMax` are held are not remembered. */
export function createRememberedBytes(bytesHeldMax: number): RememberedBytes {
  return { pages: [], used: 0, bytesHeld: 0, bytesHeldMax: Math.min(bytesHeldMax, BYTES_HELD_MAX) };
}

/**
 * Writes the bytes view[start, end) and the two words at `at` of `entries`, unless the entry has them or they are too long.
 *
 * @param beforeAt   Where the bytes of the entry before it begin in the view, in front of `start`; −1 when they do not stand there.
 * @param beforeEnd  Where they end.
 */
export function rememberBytes(
  remembered: RememberedBytes,
  entries: Uint32Array,
  at: number,
  view: DataView,
  beforeAt: number,
  beforeEnd: number,
  start: number,
  end: number,
): void {
  if (entries[at + 1] !== NOT_REMEMBERED) return;
  const commonMax = beforeAt < 0 ? 0 : Math.min(end - start, beforeEnd - beforeAt);
  const headMax = Math.min(commonMax, PART_BYTES_MAX);
  let head = 0;
  while (head < headMax && view.getUint8(beforeAt + head) === view.getUint8(start + head)) head++;
  const tailMax = Math.min(commonMax - head, PART_BYTES_MAX);
  let tail = 0;
  while (tail < tailMax && view.getUint8(beforeEnd - 1 - tail) === view.getUint8(end - 1 - tail)) tail++;
  const own = end - start - head - tail;
  if (own > PART_BYTES_MAX) return;
  const page = pageFor(remembered, own);
  if (page === undefined) return;
  for (let i = 0; i < own; i++) page.setUint8(remembered.used + i, view.getUint8(start + head + i));
  entries[at] = (remembered.pages.length - 1) * PAGE_BYTES + remembered.used;
  entries[at + 1] = (head << (2 * PART_BITS)) | (tail << PART_BITS) | own;
  remembered.used += own;
}

/** The last page, with room for `bytes` more; undefined when there may be no more pages. */
function pageFor(remembered: RememberedBytes, bytes: number): DataView | undefined {
  const { pages } = remembered;
  const last = pages[pages.length - 1];
  if (last !== undefined && remembered.used + bytes <= last.byteLength) return last;
  const size = Math.min(PAGE_BYTES, FIRST_PAGE_BYTES * 2 ** pages.length);
  if (remembered.bytesHeld + size > remembered.bytesHeldMax) return undefined;
  const page = new DataView(new ArrayBuffer(size));
  pages.push(page);
  remembered.used = 0;
  remembered.bytesHeld += size;
  return page;
}

/** Hot! Whether the entry whose words are at `at` has the bytes view[start, end). The rest as in rememberBytes. */
export function matchesRemembered(
  remembered: RememberedBytes,
  entries: Uint32Array,
  at: number,
  view: DataView,
  beforeAt: number,
  beforeEnd: number,
  start: number,
  end: number,
): boolean {
  const lengths = entries[at + 1]!;
  const head = lengths >>> (2 * PART_BITS);
  const tail = (lengths >>> PART_BITS) & PART_BYTES_MAX;
  const own = lengths & PART_BYTES_MAX;
  if (head + own + tail !== end - start || (head + tail > 0 && beforeAt < 0) || lengths === NOT_REMEMBERED)
    return false;
  const place = entries[at]!;
  const page = remembered.pages[place >>> PAGE_SHIFT]!;
  return (
    areEqual(page, place & (PAGE_BYTES - 1), view, start + head, own) &&
    areEqual(view, beforeAt, view, start, head) &&
    areEqual(view, beforeEnd - tail, view, end - tail, tail)
  );
}

/** Hot! Eight bytes at a time; the last eight may overlap those before. */
function areEqual(a: DataView, aStart: number, b: DataView, bStart: number, count: number): boolean {
  if (count < 8) {
    let difference = 0;
    for (let i = 0; i < count; i++) difference |= a.getUint8(aStart + i) ^ b.getUint8(bStart + i);
    return difference === 0;
  }
  const last = count - 8;
  let difference =
    (a.getInt32(aStart + last, true) ^ b.getInt32(bStart + last, true)) |
    (a.getInt32(aStart + last + 4, true) ^ b.getInt32(bStart + last + 4, true));
  for (let i = 0; i < last; i += 8) {
    difference |=
      (a.getInt32(aStart + i, true) ^ b.getInt32(bStart + i, true)) |
      (a.getInt32(aStart + i + 4, true) ^ b.getInt32(bStart + i + 4, true));
  }
  return difference === 0;
}

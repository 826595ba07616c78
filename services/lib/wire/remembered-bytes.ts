// The raw bytes of series that were seen in a row, each as what differs from the one before: neighbours share most of their
// labels, so that it takes about a third of them. Comparing with them costs half of hashing, and needs no trust in a hash.

/** Two words of an entry: where its own bytes begin; bytes shared with the one before << 16 | own bytes. */
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
/** Longer ones are not remembered. */
const ENTRY_BYTES_MAX = 4096;

/** Second word of an entry without bytes: longer than any. */
export const NOT_REMEMBERED = 0xffffffff;

/** Entries that come when `bytesHeldMax` are held are not remembered. */
export function createRememberedBytes(bytesHeldMax: number): RememberedBytes {
  return { pages: [], used: 0, bytesHeld: 0, bytesHeldMax: Math.min(bytesHeldMax, BYTES_HELD_MAX) };
}

/**
 * Writes the bytes view[start, end) and the two words at `at` of `entries`, unless the entry has them or they are too long.
 *
 * @param beforeAt  Where the bytes of the entry before it begin in the view, in front of `start`; −1 when they do not stand there.
 */
export function rememberBytes(
  remembered: RememberedBytes,
  entries: Uint32Array,
  at: number,
  view: DataView,
  beforeAt: number,
  start: number,
  end: number,
): void {
  if (entries[at + 1] !== NOT_REMEMBERED || end - start > ENTRY_BYTES_MAX) return;
  const sharedMax = beforeAt < 0 ? 0 : Math.min(end - start, start - beforeAt);
  let shared = 0;
  while (shared < sharedMax && view.getUint8(beforeAt + shared) === view.getUint8(start + shared)) shared++;
  const own = end - start - shared;
  const page = pageFor(remembered, own);
  if (page === undefined) return;
  for (let i = 0; i < own; i++) page.setUint8(remembered.used + i, view.getUint8(start + shared + i));
  entries[at] = (remembered.pages.length - 1) * PAGE_BYTES + remembered.used;
  entries[at + 1] = shared * 65_536 + own;
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

/** Hot! Whether the entry whose words are at `at` has the bytes view[start, end). `beforeAt` as in rememberBytes. */
export function matchesRemembered(
  remembered: RememberedBytes,
  entries: Uint32Array,
  at: number,
  view: DataView,
  beforeAt: number,
  start: number,
  end: number,
): boolean {
  const lengths = entries[at + 1]!;
  const shared = lengths >>> 16;
  const own = lengths & 0xffff;
  if (shared + own !== end - start || (shared > 0 && beforeAt < 0)) return false;
  const place = entries[at]!;
  return (
    areEqual(view, beforeAt, view, start, shared) &&
    areEqual(remembered.pages[place >>> PAGE_SHIFT]!, place & (PAGE_BYTES - 1), view, start + shared, own)
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

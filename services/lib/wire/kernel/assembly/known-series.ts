// The series of remote write 1.0 requests that come in the order of the requests before (docs/remote-write.md): the label bytes that
// are due next are compared as they stand, and the sample behind them goes into columns. Of each series' bytes the memory has what
// differs from the one before it: neighbours begin with the same bytes and end with the same.
import { equalBytes } from './bytes';

// prometheus.WriteRequest
const TAG_TIMESERIES: u32 = 0x0a;
/** A sample of our times as the last field of its series: tag and length, value tag and 8 bytes, timestamp tag and 6 bytes. */
const SAMPLE_BYTES: usize = 18;
const SAMPLE_HEAD: u32 = 0x091012;
/** The timestamp's tag behind the last byte of the value, and a varint of exactly six bytes behind it. */
const TIME_MASK: u64 = ((0x80808080 as u64) << 32) | 0x8080ff00;
const TIME_BITS: u64 = ((0x00808080 as u64) << 32) | 0x80801000;

/** Samples that `takeKnown` takes at a time. */
export const TAKEN_MAX: u32 = 2048;
/** The columns of what was taken: references, Unix milliseconds, values. */
export const REFERENCES: usize = 1024;
export const TIMESTAMPS: usize = REFERENCES + 4 * 2048;
export const VALUES: usize = TIMESTAMPS + 8 * 2048;
/** Memory from here on is the caller's. */
export const ROOM: usize = VALUES + 8 * 2048;

/** Entries of the table: where a series' own bytes are, three lengths of ten bits (none: no bytes are known), and its reference. */
export const ENTRY_BYTES: usize = 12;
const LENGTHS: usize = 4;
const REFERENCE: usize = 8;
const LENGTH_BITS: u32 = 10;
const LENGTH_MAX: u32 = 1023;

/** The table, its entries, and the bytes behind them: [ownNext, ownEnd) are free. */
export let table: usize = 0;
export let entries: u32 = 0;
export let ownNext: usize = 0;
export let ownEnd: usize = 0;

/** The entry that is due next. */
export let next: u32 = 0;
/** The entry whose bytes were met last in this request, and where they are; -1 when none was. */
export let before: i32 = -1;
export let beforeAt: usize = 0;
export let beforeEnd: usize = 0;

/** Samples that the last call of `takeKnown` took. */
export let taken: u32 = 0;

/** Makes an empty table of `count` entries at `at`, with room for bytes behind it that ends at `end`. The memory up to there is zero. */
export function layTable(at: usize, count: u32, end: usize): void {
  table = at;
  entries = count;
  ownNext = at + (count as usize) * ENTRY_BYTES;
  ownEnd = end;
  before = -1;
}

/**
 * Takes series from `start` on, as long as each is the one that is due, with one usual sample, and there is room in the columns.
 *
 * @returns Where the first other field begins; `end` when there is none.
 */
export function takeKnown(start: usize, end: usize): usize {
  let at = start;
  let count: u32 = 0;
  let due = next;
  let lastAt = beforeAt;
  let lastEnd = beforeEnd;
  let follows = before >= 0 && (before as u32) + 1 === due;
  while (count < TAKEN_MAX && due < entries && end - at > SAMPLE_BYTES + 2) {
    if ((load<u8>(at) as u32) !== TAG_TIMESERIES) break;
    let labels = at + 2;
    let bytes = load<u8>(at, 1) as usize;
    if (bytes >= 128) {
      const high = load<u8>(at, 2) as usize;
      if (high >= 128) break;
      bytes = (bytes & 127) | (high << 7);
      labels++;
    }
    if (bytes > end - labels || bytes <= SAMPLE_BYTES) break;
    const sample = labels + bytes - SAMPLE_BYTES;
    if ((load<u32>(sample) & 0xffffff) !== SAMPLE_HEAD) break;
    const time = load<u64>(sample, 10);
    if ((time & TIME_MASK) !== TIME_BITS) break;
    if (!isRemembered(due, labels, sample, follows, lastAt, lastEnd)) break;
    const index = count as usize;
    store<u32>(REFERENCES + 4 * index, load<u32>(table + (due as usize) * ENTRY_BYTES, REFERENCE));
    store<f64>(TIMESTAMPS + 8 * index, varintOfSix(time >> 16) as f64);
    store<u64>(VALUES + 8 * index, load<u64>(sample, 3));
    count++;
    due++;
    follows = true;
    lastAt = labels;
    lastEnd = sample;
    at = sample + SAMPLE_BYTES;
  }
  if (count > 0) {
    before = (due - 1) as i32;
    next = due;
    beforeAt = lastAt;
    beforeEnd = lastEnd;
  }
  taken = count;
  return at;
}

/** Whether the bytes [start, end) are those of an entry; `follows` when those of the entry before it are [lastAt, lastEnd). */
function isRemembered(
  entry: u32,
  start: usize,
  end: usize,
  follows: bool,
  lastAt: usize,
  lastEnd: usize,
): bool {
  const at = table + (entry as usize) * ENTRY_BYTES;
  const lengths = load<u32>(at, LENGTHS);
  const head = (lengths >> (2 * LENGTH_BITS)) as usize;
  const tail = ((lengths >> LENGTH_BITS) & LENGTH_MAX) as usize;
  const own = (lengths & LENGTH_MAX) as usize;
  if (head + own + tail !== end - start || (!follows && head + tail > 0)) return false;
  return (
    equalBytes(load<u32>(at), start + head, own) &&
    equalBytes(lastAt, start, head) &&
    equalBytes(lastEnd - tail, end - tail, tail)
  );
}

/** Six bytes of a varint as a number. */
function varintOfSix(bytes: u64): u64 {
  return (
    (bytes & 0x7f) |
    ((bytes >> 1) & ((0x7f as u64) << 7)) |
    ((bytes >> 2) & ((0x7f as u64) << 14)) |
    ((bytes >> 3) & ((0x7f as u64) << 21)) |
    ((bytes >> 4) & ((0x7f as u64) << 28)) |
    ((bytes >> 5) & ((0x7f as u64) << 35))
  );
}

/**
 * Notes that the bytes [start, end) are those of an entry and the last that were met; keeps them, unless it has some, they are too
 * long, or there is no room.
 */
export function rememberKnown(entry: u32, start: usize, end: usize, reference: u32): void {
  const follows = before >= 0 && (before as u32) + 1 === entry;
  const at = table + (entry as usize) * ENTRY_BYTES;
  if (entry < entries && load<u32>(at, LENGTHS) === 0) {
    const length = end - start;
    const common: usize = follows ? min(length, beforeEnd - beforeAt) : 0;
    const headMax = min(common, LENGTH_MAX as usize);
    let head: usize = 0;
    while (head < headMax && load<u8>(beforeAt + head) === load<u8>(start + head)) head++;
    const tailMax = min(common - head, LENGTH_MAX as usize);
    let tail: usize = 0;
    while (tail < tailMax && load<u8>(beforeEnd - 1 - tail) === load<u8>(end - 1 - tail)) tail++;
    const own = length - head - tail;
    if (own <= (LENGTH_MAX as usize) && own <= ownEnd - ownNext) {
      memory.copy(ownNext, start + head, own);
      store<u32>(at, ownNext as u32);
      store<u32>(at, ((head << (2 * LENGTH_BITS)) | (tail << LENGTH_BITS) | own) as u32, LENGTHS);
      store<u32>(at, reference, REFERENCE);
      ownNext += own;
    }
  }
  before = entry as i32;
  beforeAt = start;
  beforeEnd = end;
}

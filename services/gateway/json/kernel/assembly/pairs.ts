// The samples of a series as JSON, `[1435781430.781,"1.5"],…`, and which runs of that text stand before it (repeats.ts): the times in the
// series before, and a value in the same place of that series, or most of it in the sample before.
import { putValue } from './decimal';

/** Samples that one call writes. */
export const SAMPLES_MAX: u32 = 512;
/** Texts of their times, `"],[1435781430.781,"`, in slots of 32 bytes; the last says how many, the one before it how many are those of the slot before. */
export const SLOTS: usize = 4096;
export const SLOT_BYTES: usize = 32;
const LENGTH: usize = 31;
const COMMON: usize = 30;
/** Their values. */
export const VALUES: usize = SLOTS + 32 * 512;
/** Where the text of the same time was written last, and the value behind it then; what is written now stands there afterwards. */
export const PLACES_BEFORE: usize = VALUES + 8 * 512;
export const VALUES_BEFORE: usize = PLACES_BEFORE + 8 * 512;
/** The repeats: where each begins, how long it is, and how far before it the same stands, less 1. */
export const REPEAT_PLACES: usize = VALUES_BEFORE + 8 * 512;
export const REPEAT_LENGTHS: usize = REPEAT_PLACES + 4 * 1024;
export const REPEAT_DISTANCES: usize = REPEAT_LENGTHS + 4 * 1024;
/** The text; a sample takes 56 bytes at most, and what is stored beyond is overwritten. */
export const TEXT: usize = REPEAT_DISTANCES + 2 * 1024;
/** Memory from here on is used by deflate.ts. */
export const ROOM: usize = TEXT + 64 * 512 + 128;

/** How far deflate points back. */
const DISTANCE_MAX: f64 = 32768;
/** Bytes that two values have in common, from which on it is shorter to point at them. */
const COMMON_MIN: usize = 5;
const REPEAT_MIN: usize = 3;

/** Samples that the last call wrote: it stops at a value that has an exponent. */
export let written: u32 = 0;
/** Repeats that it noted. */
export let repeats: u32 = 0;
/** Where the last of them ends. */
let repeatEnd: usize = 0;

/** A run behind another one of the same distance makes that longer; one that is too short by itself is passed over. */
function addRepeat(at: usize, length: usize, distance: u32): void {
  if (repeats > 0) {
    const last = (repeats - 1) as usize;
    if (at === repeatEnd && (load<u16>(REPEAT_DISTANCES + 2 * last) as u32) === distance - 1) {
      const lengthAt = REPEAT_LENGTHS + 4 * last;
      store<u32>(lengthAt, load<u32>(lengthAt) + (length as u32));
      repeatEnd += length;
      return;
    }
  }
  if (length < REPEAT_MIN) return;
  const index = repeats as usize;
  store<u32>(REPEAT_PLACES + 4 * index, (at - TEXT) as u32);
  store<u32>(REPEAT_LENGTHS + 4 * index, length as u32);
  store<u16>(REPEAT_DISTANCES + 2 * index, (distance - 1) as u16);
  repeats++;
  repeatEnd = at + length;
}

function copy32(to: usize, from: usize): void {
  v128.store(to, v128.load(from));
  v128.store(to + 16, v128.load(from + 16));
}

/** How many of `count` bytes at `a` are those at `b`. */
function commonBytes(a: usize, b: usize, count: usize): usize {
  let i: usize = 0;
  while (i < count && load<u8>(a + i) === load<u8>(b + i)) i++;
  return i;
}

/**
 * Writes samples, each from the end of the one before to its value's last digit.
 *
 * @param count  At most SAMPLES_MAX; slots, values and what was before stand in the memory.
 * @param skip   So many bytes of the first time's text are left out: nothing is before the first sample of a series.
 * @param start  Where the text begins, in bytes since the answer's beginning.
 * @param notes  Whether repeats are noted.
 * @returns      Bytes of text; `written` says of how many samples.
 */
export function putPairs(count: u32, skip: u32, start: f64, notes: bool): u32 {
  let at: usize = TEXT;
  let left = skip as usize;
  let lastAt: usize = 0;
  let lastBytes: usize = 0;
  let lastBits: u64 = 0;
  repeats = 0;
  let i: usize = 0;
  for (; i < (count as usize); i++) {
    const slot = SLOTS + SLOT_BYTES * i;
    const place = start + ((at - TEXT) as f64);
    const value = load<f64>(VALUES + 8 * i);
    const bits = reinterpret<u64>(value);
    const timeBytes = (load<u8>(slot, LENGTH) as usize) - left;
    copy32(at, slot + left);
    const valueAt = at + timeBytes;
    let end: usize;
    if (bits === lastBits && lastBytes > 0) {
      copy32(valueAt, lastAt);
      end = valueAt + lastBytes;
    } else {
      end = putValue(valueAt, value);
      if (end === valueAt) break;
    }
    const placeBefore = PLACES_BEFORE + 8 * i;
    if (notes) {
      const distance = place - load<f64>(placeBefore);
      if (distance <= DISTANCE_MAX) {
        addRepeat(at, timeBytes, distance as u32);
        if (load<u64>(VALUES_BEFORE + 8 * i) === bits) addRepeat(valueAt, end - valueAt, distance as u32);
        else noteLast(valueAt, end, lastAt, lastBytes);
      } else {
        if (i > 0)
          addRepeat(at, load<u8>(slot, COMMON) as usize, (place - load<f64>(placeBefore - 8)) as u32);
        noteLast(valueAt, end, lastAt, lastBytes);
      }
    }
    store<f64>(placeBefore, place);
    store<u64>(VALUES_BEFORE + 8 * i, bits);
    lastAt = valueAt;
    lastBytes = end - valueAt;
    lastBits = bits;
    at = end;
    left = 0;
  }
  written = i as u32;
  return (at - TEXT) as u32;
}

/** Notes what a value [at, end) has in common with the one before it. */
function noteLast(at: usize, end: usize, lastAt: usize, lastBytes: usize): void {
  if (lastBytes < COMMON_MIN || load<u32>(at) !== load<u32>(lastAt)) return;
  const common = commonBytes(at, lastAt, min(end - at, lastBytes));
  if (common >= COMMON_MIN) addRepeat(at, common, (at - lastAt) as u32);
}

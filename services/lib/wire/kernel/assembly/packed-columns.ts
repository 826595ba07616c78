// The columns of packed batches (docs/packed-batch.md): varints of at most eight bytes, which are read as one word each. Loads may pass the
// end of a column by up to seven bytes; what they find there does not count.

const TOP_BITS: u64 = 0x8080808080808080;
/** Whole numbers above are no doubles. */
const NUMBER_MAX: u64 = (1 << 53) - 1;
/** A value's kinds: a whole number of units, of hundredths, of millionths, or the eight bytes behind it. */
const KIND_HUNDREDTHS: u64 = 1;
const KIND_MILLIONTHS: u64 = 2;
const KIND_RAW: u64 = 3;

/** Where the last column that was refused has its fault. */
export let refusedAt: usize = 0;

function refuse(at: usize): usize {
  refusedAt = at;
  return 0;
}

/** The number whose varint is the first bytes of a word, of which `last` has the top bit of the byte that ends it, and no other. */
function numberOf(word: u64, last: u64): u64 {
  const own = word & (last | (last - 1)) & ~TOP_BITS;
  const pairs = (own & 0x007f007f007f007f) | ((own & 0x7f007f007f007f00) >> 1);
  const fours = (pairs & 0x00003fff00003fff) | ((pairs & 0x3fff00003fff0000) >> 2);
  return (fours & 0x0fffffff) | ((fours & 0x0fffffff00000000) >> 4);
}

function unzigzag(code: u64): i64 {
  return ((code >> 1) as i64) ^ -((code & 1) as i64);
}

/**
 * Reads `count` series references, each as the difference to the one before it, to a column of u32.
 *
 * @returns Position behind the last one; 0 when the bytes end early, or a number is none of 32 bits.
 */
export function readReferences(start: usize, end: usize, count: u32, to: usize): usize {
  let at = start;
  let reference: i64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const word = load<u64>(at);
    const stop = ~word & TOP_BITS;
    const last = stop & (0 - stop);
    const bytes = ((ctz(stop) >> 3) + 1) as usize;
    if (stop === 0 || bytes > end - at) return refuse(at);
    reference += unzigzag(numberOf(word, last));
    if ((reference as u64) > 0xffffffff) return refuse(at);
    store<u32>(to + 4 * (i as usize), reference as u32);
    at += bytes;
  }
  return at;
}

/** Where the times as the log has them end, after `readTimes`. */
export let logTimesEnd: usize = 0;

/**
 * Reads the times of all sections to a column of f64, and writes them anew as the log has them: each as the difference to the one before
 * it, the first of a section, too. Only those differ; the rest of a section is copied.
 *
 * @param counts  Column of u32: samples by section.
 * @param limit   No time may be above it, or below minus it.
 * @param log     Has room for the bytes of the column, eight more for each section, and sixteen at the end.
 * @returns       Position behind the last one; 0 when the bytes end early, or a time is out of range.
 */
export function readTimes(
  start: usize,
  end: usize,
  counts: usize,
  sections: u32,
  base: f64,
  limit: f64,
  to: usize,
  log: usize,
): usize {
  const baseMs = base as i64;
  const limitMs = limit as u64;
  let at = start;
  let out = to;
  let logAt = log;
  let loggedMs: i64 = 0;
  for (let s: u32 = 0; s < sections; s++) {
    const count = load<u32>(counts + 4 * (s as usize));
    let timeMs = baseMs;
    let restAt = at;
    for (let i: u32 = 0; i < count; i++) {
      const word = load<u64>(at);
      const stop = ~word & TOP_BITS;
      const last = stop & (0 - stop);
      const bytes = ((ctz(stop) >> 3) + 1) as usize;
      if (stop === 0 || bytes > end - at) return refuse(at);
      timeMs += unzigzag(numberOf(word, last));
      if (((timeMs + (limitMs as i64)) as u64) > 2 * limitMs) return refuse(at);
      store<f64>(out, timeMs as f64);
      out += 8;
      at += bytes;
      if (i === 0) {
        restAt = at;
        logAt = putVarint(logAt, zigzag(timeMs - loggedMs));
      }
    }
    const rest = at - restAt;
    for (let i: usize = 0; i < rest; i += 16) v128.store(logAt + i, v128.load(restAt + i));
    logAt += rest;
    loggedMs = count === 0 ? loggedMs : timeMs;
  }
  logTimesEnd = logAt;
  return at;
}

/**
 * Reads `count` values to a column of f64, bit for bit.
 *
 * @returns Position behind the last one; 0 when the bytes end early, or a number is none that a double holds.
 */
export function readValues(start: usize, end: usize, count: u32, to: usize): usize {
  let at = start;
  for (let i: u32 = 0; i < count; i++) {
    const word = load<u64>(at);
    const stop = ~word & TOP_BITS;
    const last = stop & (0 - stop);
    const bytes = ((ctz(stop) >> 3) + 1) as usize;
    if (stop === 0 || bytes > end - at) return refuse(at);
    const code = numberOf(word, last);
    at += bytes;
    const kind = code & 3;
    if (kind === KIND_RAW) {
      if (end - at < 8) return refuse(at);
      store<u64>(to + 8 * (i as usize), load<u64>(at));
      at += 8;
      continue;
    }
    if (code > NUMBER_MAX) return refuse(at);
    const units = unzigzag(code >> 2) as f64;
    const scale = select<f64>(1, select<f64>(100, 1_000_000, kind === KIND_HUNDREDTHS), kind === 0);
    store<f64>(to + 8 * (i as usize), units / scale);
  }
  return at;
}

/** Values up to so many units are varints, whatever their unit. */
const UNITS_MAX: f64 = 1_125_899_906_842_624;
const FRACTION_MAX: f64 = UNITS_MAX / 1_000_000;
/** No varint stands for the value. */
const NO_CODE: u64 = u64.MAX_VALUE;

/** Writes a varint of at most eight bytes as one word; returns the position behind it. */
function putVarint(at: usize, number: u64): usize {
  const fours = (number & 0x0fffffff) | ((number & 0x00fffffff0000000) << 4);
  const pairs = (fours & 0x00003fff00003fff) | ((fours & 0x0fffc0000fffc000) << 2);
  const own = (pairs & 0x007f007f007f007f) | ((pairs & 0x3f803f803f803f80) << 1);
  const bytes = ((63 - clz(number | 1)) * 9 + 73) >> 6;
  const more = TOP_BITS & (((1 as u64) << (8 * (bytes - 1))) - 1);
  store<u64>(at, own | more);
  return at + (bytes as usize);
}

function zigzag(number: i64): u64 {
  return ((number << 1) ^ (number >> 63)) as u64;
}

/** Writes `count` references of a column of u32, each as the difference to the one before it; returns the position behind them. */
export function putReferences(from: usize, count: u32, to: usize): usize {
  let at = to;
  let before: i64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const reference = load<u32>(from + 4 * (i as usize)) as i64;
    at = putVarint(at, zigzag(reference - before));
    before = reference;
  }
  return at;
}

/**
 * Writes a column of times, partition by partition: each as the difference to the one before it, the first of a partition to `base`.
 *
 * @param ends      Columns of u32, by partition: where its samples end, and then where its bytes end, counted from `to`.
 * @param limit     As for readTimes.
 * @param to        Has room for eight bytes a time.
 * @returns         Position behind the last one; 0 when a time is no whole number, or out of range.
 */
export function putTimes(
  from: usize,
  ends: usize,
  partitions: u32,
  base: f64,
  limit: f64,
  to: usize,
  byteEnds: usize,
): usize {
  let at = to;
  let i: u32 = 0;
  for (let partition: u32 = 0; partition < partitions; partition++) {
    const end = load<u32>(ends + 4 * (partition as usize));
    let before = base as i64;
    for (; i < end; i++) {
      const time = load<f64>(from + 8 * (i as usize));
      if (!(abs<f64>(time) <= limit) || trunc<f64>(time) !== time) return 0;
      const timeMs = time as i64;
      at = putVarint(at, zigzag(timeMs - before));
      before = timeMs;
    }
    store<u32>(byteEnds + 4 * (partition as usize), (at - to) as u32);
  }
  return at;
}

/** Writes a column of values, as `putTimes`. @param to  Has room for nine bytes a value. */
export function putValues(from: usize, ends: usize, partitions: u32, to: usize, byteEnds: usize): usize {
  let at = to;
  let i: u32 = 0;
  for (let partition: u32 = 0; partition < partitions; partition++) {
    const end = load<u32>(ends + 4 * (partition as usize));
    for (; i < end; i++) {
      const value = load<f64>(from + 8 * (i as usize));
      const code = codeOf(value);
      if (code !== NO_CODE) {
        at = putVarint(at, code);
        continue;
      }
      store<u8>(at, KIND_RAW as u8);
      store<f64>(at + 1, value);
      at += 9;
    }
    store<u32>(byteEnds + 4 * (partition as usize), (at - to) as u32);
  }
  return at;
}

/** The varint that stands for a value, or NO_CODE when only its bits do. */
function codeOf(value: f64): u64 {
  // Neither NaN nor an infinity passes.
  if (!(abs<f64>(value) < UNITS_MAX)) return NO_CODE;
  if (trunc<f64>(value) === value) {
    const isMinusZero = reinterpret<u64>(value) === 0x8000000000000000;
    return isMinusZero ? NO_CODE : zigzag(value as i64) << 2;
  }
  if (!(abs<f64>(value) < FRACTION_MAX)) return NO_CODE;
  const hundredths = nearest<f64>(value * 100);
  if (hundredths / 100 === value) return (zigzag(hundredths as i64) << 2) | KIND_HUNDREDTHS;
  const millionths = nearest<f64>(value * 1_000_000);
  if (millionths / 1_000_000 === value) return (zigzag(millionths as i64) << 2) | KIND_MILLIONTHS;
  return NO_CODE;
}

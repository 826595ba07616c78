// The chunks of one series, decoded behind one another, and what lies in a range of time of them.
import { FAULT } from './bits';
import { countColumns, decodeColumns } from './columns';
import { decodeXor } from './xor';

/** Encodings (lib/model/chunk-sink.ts). */
const XOR: u32 = 1;
const COLUMNS: u32 = 2;

/** What decodeChunks() did: chunks, first sample in range, samples in range, 1 for those that are NaN; then their distance. */
export const OUTCOME: usize = 0;
const DONE: usize = OUTCOME;
const FROM: usize = OUTCOME + 4;
const FOUND: usize = OUTCOME + 8;
const NANS: usize = OUTCOME + 12;
const GAP: usize = OUTCOME + 16;

/** Chunks: where each begins and ends, and its encoding, four bytes each. */
export const CHUNKS: usize = 4096;
export const CHUNKS_MAX: u32 = 256;
/** Room for their bytes. Behind it there is more that may be read. */
export const BYTES: usize = 8192;
export const BYTES_MAX: u32 = 65_536;
/** Columns of their samples: Unix milliseconds, values. Behind each there is room for one more. */
export const TIMES: usize = 73_984;
export const VALUES: usize = TIMES + 524_304;
export const SAMPLES_MAX: u32 = 65_536;

/**
 * Decodes chunks as far as there is room, each behind the one before, and finds the samples in [minMs, maxMs].
 *
 * @returns Whether times ascend strictly from each chunk to the next. Chunks that are done are fewer than `chunks` where one is none, or
 *          there is no room for its samples.
 */
export function decodeChunks(chunks: u32, minMs: f64, maxMs: f64): bool {
  let total: usize = 0;
  let done: u32 = 0;
  for (; done < chunks; done++) {
    const at = CHUNKS + (done as usize) * 12;
    const start = load<u32>(at) as usize;
    const end = load<u32>(at, 4) as usize;
    const times = TIMES + (total << 3);
    const values = VALUES + (total << 3);
    let count: i32 = FAULT;
    if (load<u32>(at, 8) === COLUMNS) {
      const samples = countColumns(start, end);
      if (samples === 0 || total + samples > SAMPLES_MAX) break;
      count = decodeColumns(samples, times, values);
    } else if (load<u32>(at, 8) === XOR && end - start > 2) {
      const samples = ((load<u8>(start) as u32) << 8) | load<u8>(start, 1);
      if (samples === 0 || total + samples > SAMPLES_MAX) break;
      count = decodeXor(start, end, samples, times, values);
    }
    if (count === FAULT) break;
    if (total > 0 && !(load<f64>(times) > load<f64>(times - 8))) return false;
    total += count as usize;
  }
  store<u32>(DONE, done);
  findRange(total, minMs, maxMs);
  return true;
}

function findRange(total: usize, minMs: f64, maxMs: f64): void {
  let from = TIMES;
  let end = TIMES + (total << 3);
  while (end > from && load<f64>(end - 8) > maxMs) end -= 8;
  while (from < end && load<f64>(from) < minMs) from += 8;
  const found = (end - from) >> 3;
  store<u32>(FROM, ((from - TIMES) >> 3) as u32);
  store<u32>(FOUND, found as u32);
  store<u32>(NANS, hasNaN(from + (VALUES - TIMES), found) ? 1 : 0);
  store<f64>(GAP, gapOf(from, found));
}

function hasNaN(values: usize, count: usize): bool {
  let found = i64x2.splat(0);
  const end = values + (count << 3);
  let at = values;
  for (; at + 16 <= end; at += 16) {
    const two = v128.load(at);
    found = v128.or(found, f64x2.ne(two, two));
  }
  if (at < end) {
    const last = v128.load64_splat(at);
    found = v128.or(found, f64x2.ne(last, last));
  }
  return v128.any_true(found);
}

/** The distance of times that are all equally far apart, two or more; else 0. */
function gapOf(times: usize, count: usize): f64 {
  if (count < 2) return 0;
  const gap = load<f64>(times, 8) - load<f64>(times);
  const gaps = f64x2.splat(gap);
  const last = times + ((count - 1) << 3);
  let other = i64x2.splat(0);
  let at = times;
  for (; at + 16 <= last; at += 16)
    other = v128.or(other, f64x2.ne(f64x2.sub(v128.load(at, 8), v128.load(at)), gaps));
  if (at < last && load<f64>(at, 8) - load<f64>(at) !== gap) return 0;
  return v128.any_true(other) ? 0 : gap;
}

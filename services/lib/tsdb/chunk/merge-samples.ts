// Makes one strictly ascending series out of samples that were decoded from several chunks: sorted by time, each time
// once. This is the place of the tie-break that makes replicas converge.
import { type SampleColumns, wordsOf } from '../../model/sample-columns.ts';

/**
 * Sorts the samples by time and keeps one for each time: of different values the one with the greatest 64-bit pattern,
 * compared unsigned, high word first. The result does not depend on the order of the input.
 *
 * Cost: one walk when the columns already ascend strictly, or repeat such a run; else a merge of the ascending runs in it, O(n log runs), with
 * scratch columns of the same size.
 */
export function sortAndDedupeSamples(columns: SampleColumns): void {
  const { timestampsMs, count } = columns;
  let i = 1;
  while (i < count && timestampsMs[i]! > timestampsMs[i - 1]!) i++;
  if (i >= count) return;
  if (repeatsFirst(columns, i)) columns.count = i;
  else mergeRuns(columns, runStarts(timestampsMs, count));
}

/** Whether the columns are their first `length` samples over and over: what complete replicas, or head and block, make. */
function repeatsFirst(columns: SampleColumns, length: number): boolean {
  const { timestampsMs, words, count } = columns;
  if (count % length !== 0) return false;
  for (let i = length; i < count; i++) {
    const at = i - length;
    if (timestampsMs[i] !== timestampsMs[at]) return false;
    if (words[2 * i] !== words[2 * at] || words[2 * i + 1] !== words[2 * at + 1]) return false;
  }
  return true;
}

/** Starts of the longest strictly ascending runs, and `count` behind them. */
function runStarts(timestampsMs: Float64Array, count: number): number[] {
  const starts = [0];
  for (let i = 1; i < count; i++) if (!(timestampsMs[i]! > timestampsMs[i - 1]!)) starts.push(i);
  starts.push(count);
  return starts;
}

/** Bottom-up merge of neighbouring runs, from one pair of columns into the other and back. */
function mergeRuns(columns: SampleColumns, firstStarts: number[]): void {
  let times = columns.timestampsMs;
  let words = wordsOf(columns.values);
  let otherTimes: Float64Array<ArrayBufferLike> = new Float64Array(columns.count);
  let otherWords: Uint32Array<ArrayBufferLike> = new Uint32Array(columns.count * 2);
  let starts = firstStarts;
  while (starts.length > 2) {
    const merged: number[] = [];
    let out = 0;
    for (let r = 0; r + 1 < starts.length; r += 2) {
      merged.push(out);
      const middle = starts[r + 1]!;
      const end = r + 2 < starts.length ? starts[r + 2]! : middle;
      out = mergePair(times, words, starts[r]!, middle, end, otherTimes, otherWords, out);
    }
    merged.push(out);
    starts = merged;
    const previousTimes: Float64Array<ArrayBufferLike> = times;
    const previousWords: Uint32Array<ArrayBufferLike> = words;
    times = otherTimes as typeof times;
    words = otherWords as typeof words;
    otherTimes = previousTimes;
    otherWords = previousWords;
  }
  const kept = starts[1]!;
  if (times !== columns.timestampsMs) {
    columns.timestampsMs.set(times.subarray(0, kept));
    wordsOf(columns.values).set(words.subarray(0, kept * 2));
  }
  columns.count = kept;
}

/** Merges runs [left, middle) and [middle, end), each strictly ascending, to position `at`; returns the end. */
function mergePair(
  times: Float64Array,
  words: Uint32Array,
  left: number,
  middle: number,
  end: number,
  outTimes: Float64Array,
  outWords: Uint32Array,
  at: number,
): number {
  let i = left;
  let j = middle;
  let out = at;
  while (i < middle || j < end) {
    let from: number;
    if (j >= end) from = i++;
    else if (i >= middle) from = j++;
    else if (times[i]! < times[j]!) from = i++;
    else if (times[i]! > times[j]!) from = j++;
    else {
      from = isGreaterPattern(words, i, j) ? i : j;
      i++;
      j++;
    }
    outTimes[out] = times[from]!;
    outWords[2 * out] = words[2 * from]!;
    outWords[2 * out + 1] = words[2 * from + 1]!;
    out++;
  }
  return out;
}

/** The tie-break: bit pattern of element `a` above that of `b`, unsigned. */
function isGreaterPattern(words: Uint32Array, a: number, b: number): boolean {
  const highA = words[2 * a + 1]!;
  const highB = words[2 * b + 1]!;
  if (highA !== highB) return highA > highB;
  return words[2 * a]! > words[2 * b]!;
}

/** Adds all samples of `from` behind those of `to`. */
export function appendSamples(to: SampleColumns, from: SampleColumns): void {
  const { count } = to;
  to.reserve(count + from.count);
  to.timestampsMs.set(from.timestampsMs.subarray(0, from.count), count);
  // As bytes: NaN payloads stay.
  new Uint8Array(to.values.buffer).set(new Uint8Array(from.values.buffer, 0, from.count * 8), count * 8);
  to.count = count + from.count;
}

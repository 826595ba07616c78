// Sorting of numbers by a comparison that costs something, in steps: the caller decides what happens between them.

/** A run that ascends by itself over at least so many is taken as it is. */
const NATURAL_RUN_MIN = 512;
/** Else so many are sorted at once. */
const RUN_LENGTH = 2048;
/** Numbers merged between two steps. */
const MERGE_LENGTH = 4096;

/**
 * Sorts `ids` in place, stable; yields after every few thousand comparisons. What is sorted in pieces already, as answers of
 * several nodes one behind the other are, is merged.
 *
 * @param compare  As for Array.prototype.sort; about a tenth of a microsecond.
 */
export function* sortInSteps(ids: Uint32Array, compare: (a: number, b: number) => number): Generator<void> {
  let starts = yield* findRuns(ids, compare);
  let from = ids;
  let to = starts.length > 2 ? new Uint32Array(ids.length) : ids;
  while (starts.length > 2) {
    const merged: number[] = [];
    for (let r = 0; r + 1 < starts.length; r += 2) {
      const start = starts[r]!;
      const middle = starts[r + 1]!;
      const end = r + 2 < starts.length ? starts[r + 2]! : middle;
      merged.push(start);
      yield* mergeRuns(from, to, start, middle, end, compare);
    }
    merged.push(ids.length);
    starts = merged;
    [from, to] = [to, from];
  }
  if (from !== ids) ids.set(from);
}

/** Starts of sorted runs, and the end behind them. */
function* findRuns(ids: Uint32Array, compare: (a: number, b: number) => number): Generator<void, number[]> {
  const starts: number[] = [];
  let compared = 0;
  for (let at = 0; at < ids.length; ) {
    starts.push(at);
    let end = at + 1;
    while (end < ids.length && compare(ids[end - 1]!, ids[end]!) <= 0) {
      if (++compared % MERGE_LENGTH === 0) yield;
      end++;
    }
    if (end - at < NATURAL_RUN_MIN && end < ids.length) {
      end = Math.min(ids.length, at + RUN_LENGTH);
      ids.subarray(at, end).sort(compare);
      yield;
    }
    at = end;
  }
  starts.push(ids.length);
  return starts;
}

function* mergeRuns(
  from: Uint32Array,
  to: Uint32Array,
  start: number,
  middle: number,
  end: number,
  compare: (a: number, b: number) => number,
): Generator<void> {
  let left = start;
  let right = middle;
  for (let out = start; out < end; ) {
    const stop = Math.min(end, out + MERGE_LENGTH);
    for (; out < stop; out++) {
      const takeLeft = left < middle && (right >= end || compare(from[left]!, from[right]!) <= 0);
      to[out] = takeLeft ? from[left++]! : from[right++]!;
    }
    yield;
  }
}

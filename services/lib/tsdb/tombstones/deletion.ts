// What a delete hides: samples of the series that match, within a range of time. Pure; where deletes are kept and which
// blocks they concern is the owner's.
import { ByteReader } from '../../core/bytes.ts';
import { compileMatcher, type Matcher, type ValuePredicate } from '../../model/matcher.ts';
import { type SampleColumns, wordsOf } from '../../model/sample-columns.ts';

/** One delete, as far as reading is concerned. */
export interface Deletion {
  /** All must match; at least one. */
  readonly matchers: readonly Matcher[];
  /** Unix milliseconds, both inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

/** Ranges of time as min0, max0, min1, max1 …, inclusive, ascending, none touching the next. Empty: nothing. */
export type TimeRanges = readonly number[];

export const NO_RANGES: TimeRanges = [];

interface CompiledDeletion {
  readonly tests: readonly { readonly name: string; readonly accepts: ValuePredicate }[];
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
}

/** Says what is hidden of series. */
export interface SeriesMask {
  /** Nothing is hidden of any. */
  readonly isEmpty: boolean;
  /** What is hidden of the series with canonical label bytes in bytes[start, end). */
  rangesOf(bytes: Uint8Array, start: number, end: number): TimeRanges;
}

/** Several deletes, ready to be asked about series. */
export class DeletionMask implements SeriesMask {
  readonly #deletions: readonly CompiledDeletion[];

  /** @throws AppError `bad_data` when a regular expression is malformed. */
  constructor(deletions: readonly Deletion[]) {
    this.#deletions = deletions.map(({ matchers, minTimeMs, maxTimeMs }) => ({
      tests: matchers.map((matcher) => ({ name: matcher.name, accepts: compileMatcher(matcher) })),
      minTimeMs,
      maxTimeMs,
    }));
  }

  get isEmpty(): boolean {
    return this.#deletions.length === 0;
  }

  /** What is hidden of the series with canonical label bytes in bytes[start, end). */
  rangesOf(bytes: Uint8Array, start: number, end: number): TimeRanges {
    let labels: Map<string, string> | undefined;
    const found: [number, number][] = [];
    for (const { tests, minTimeMs, maxTimeMs } of this.#deletions) {
      labels ??= readLabels(bytes, start, end);
      const own = labels;
      if (tests.every(({ name, accepts }) => accepts(own.get(name) ?? '')))
        found.push([minTimeMs, maxTimeMs]);
    }
    return uniteRanges(found);
  }
}

function readLabels(bytes: Uint8Array, start: number, end: number): Map<string, string> {
  const reader = new ByteReader(bytes, start, end);
  const labels = new Map<string, string>();
  while (reader.remaining > 0) labels.set(reader.string(), reader.string());
  return labels;
}

/** What is in either. */
export function uniteTimeRanges(a: TimeRanges, b: TimeRanges): TimeRanges {
  const pairs: [number, number][] = [];
  for (const ranges of [a, b]) {
    for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i]!, ranges[i + 1]!]);
  }
  return uniteRanges(pairs);
}

function uniteRanges(ranges: [number, number][]): TimeRanges {
  if (ranges.length === 0) return NO_RANGES;
  ranges.sort((a, b) => a[0] - b[0]);
  const united: number[] = [];
  for (const [from, to] of ranges) {
    const lastEnd = united[united.length - 1];
    if (lastEnd !== undefined && from <= lastEnd + 1) united[united.length - 1] = Math.max(lastEnd, to);
    else united.push(from, to);
  }
  return united;
}

/** True when nothing of [minTimeMs, maxTimeMs] is left. */
export function coversAll(ranges: TimeRanges, minTimeMs: number, maxTimeMs: number): boolean {
  for (let i = 0; i < ranges.length; i += 2) {
    if (ranges[i]! <= minTimeMs && maxTimeMs <= ranges[i + 1]!) return true;
  }
  return false;
}

/** True when something of [minTimeMs, maxTimeMs] may be hidden. */
export function touchesAny(ranges: TimeRanges, minTimeMs: number, maxTimeMs: number): boolean {
  for (let i = 0; i < ranges.length; i += 2) {
    if (ranges[i]! <= maxTimeMs && minTimeMs <= ranges[i + 1]!) return true;
  }
  return false;
}

/**
 * Takes the hidden samples out of [from, columns.count), in place; values keep their bits.
 *
 * @param columns  In any order of time.
 */
export function dropHidden(columns: SampleColumns, from: number, ranges: TimeRanges): void {
  const { timestampsMs, histograms, startTimesMs, count } = columns;
  const words = wordsOf(columns.values);
  let kept = from;
  for (let i = from; i < count; i++) {
    const timeMs = timestampsMs[i]!;
    if (touchesAny(ranges, timeMs, timeMs)) continue;
    timestampsMs[kept] = timeMs;
    words[2 * kept] = words[2 * i]!;
    words[2 * kept + 1] = words[2 * i + 1]!;
    if (histograms !== undefined) histograms[kept] = histograms[i];
    if (startTimesMs !== undefined) startTimesMs[kept] = startTimesMs[i]!;
    kept++;
  }
  columns.count = kept;
}

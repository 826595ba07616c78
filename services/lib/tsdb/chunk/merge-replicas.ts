// One series out of what the servers of a highly available pair scraped of the same target, each at times of its own. Laying both
// over each other would double the samples, and a clock that is ahead would make a counter seem to fall; following one server
// until it is away for long leaves a gap. Here the first one's samples stand as they are, and where it missed a scrape the next
// one's take their place, at a distance from it that clocks do not differ by.
//
// Every decision looks at neighbours only, no further than REPLICA_REACH_MS: a range that is read in pieces gives the same samples
// as in one. What reads a range therefore has to hand over so much more on both sides.
import { AggregateCells } from '../../model/aggregate-cells.ts';
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { isStaleAt, SampleColumns, wordsOf } from '../../model/sample-columns.ts';

/** Samples further apart say nothing of each other: longer intervals of scrapes are not usual. */
const NEAR_MS = 200_000;
/** The interval of scrapes where no replica has two samples near enough to tell it by: the longest that is usual. */
const INTERVAL_MS = 60_000;
/** Intervals between two samples that are a gap: a scrape was missed, not late. */
const GAP_INTERVALS = 1.5;
/** Intervals that the other's sample keeps off the first one's. */
const GUARD_INTERVALS = 0.5;
/** Intervals from the seam in which a fall that no replica saw itself is taken for a difference of clocks. */
const SEAM_INTERVALS = 2;
/** How far beyond a range samples decide on those within: a seam's, whose intervals take their own neighbours to tell. */
export const REPLICA_REACH_MS = SEAM_INTERVALS * NEAR_MS + NEAR_MS;

/**
 * Merges the samples of several replicas.
 *
 * @param replicas  At least one, in an order that never changes: the first is followed where it has samples. Each strictly ascending,
 *                  staleness markers included. Read only.
 * @param into      Overwritten, histograms, start times and cells included.
 *
 * Cost: O(samples) for each replica. Allocates scratch columns.
 */
export function mergeReplicas(replicas: readonly SampleColumns[], into: SampleColumns): void {
  let merged = replicas[0]!;
  for (let i = 1; i < replicas.length; i++) {
    const target = i === replicas.length - 1 ? into : new SampleColumns(merged.count + replicas[i]!.count);
    mergeTwo(new Side(merged), new Side(replicas[i]!), target);
    merged = target;
  }
  if (replicas.length === 1) gather([new Side(merged)], into);
}

/** A replica's samples, and which of them are kept. */
class Side {
  readonly columns: SampleColumns;
  readonly words: Uint32Array;
  /** Indexes of what is no staleness marker. */
  readonly live: Int32Array;
  readonly keeps: Uint8Array;
  /** Resolution of what was downsampled, ms; 0 where nothing was. */
  readonly coarsestMs: number;

  constructor(columns: SampleColumns) {
    this.columns = columns;
    this.words = wordsOf(columns.values);
    const live = new Int32Array(columns.count);
    let count = 0;
    for (let i = 0; i < columns.count; i++) if (!this.isMarker(i)) live[count++] = i;
    this.live = live.subarray(0, count);
    this.keeps = new Uint8Array(columns.count);
    this.coarsestMs = columns.cells?.coarsestMs ?? 0;
  }

  isMarker(index: number): boolean {
    return isStaleAt(this.words, index) && this.columns.histograms?.[index] === undefined;
  }

  /** Time of live sample `at`; NaN beyond the ends, with which every comparison is false. */
  timeMs(at: number): number {
    return at >= 0 && at < this.live.length ? this.columns.timestampsMs[this.live[at]!]! : Number.NaN;
  }

  /** Value of live sample `at`; NaN beyond the ends and for histograms. */
  value(at: number): number {
    if (at < 0 || at >= this.live.length) return Number.NaN;
    const index = this.live[at]!;
    return this.columns.histograms?.[index] === undefined ? this.columns.values[index]! : Number.NaN;
  }

  /** The lesser distance of live samples `before`, `before` + 1 and `after` - 1, `after`, as far as they are near `timeMs`. */
  interval(before: number, after: number, timeMs: number): number {
    return Math.min(this.#distance(before, timeMs), this.#distance(after - 1, timeMs));
  }

  /** From live sample `at` to the next; infinite where one of them is not near. */
  #distance(at: number, timeMs: number): number {
    const isNear = timeMs - this.timeMs(at) <= NEAR_MS && this.timeMs(at + 1) - timeMs <= NEAR_MS;
    return isNear ? this.timeMs(at + 1) - this.timeMs(at) : Number.POSITIVE_INFINITY;
  }

  /** Whether values fall from live sample `at` to the next; undefined when that is not known, or they are not near each other. */
  falls(at: number): boolean | undefined {
    if (!(this.timeMs(at + 1) - this.timeMs(at) <= NEAR_MS)) return undefined;
    const [value, next] = [this.value(at), this.value(at + 1)];
    return Number.isNaN(value) || Number.isNaN(next) ? undefined : next < value;
  }
}

function mergeTwo(first: Side, second: Side, into: SampleColumns): void {
  for (const index of first.live) first.keeps[index] = 1;
  fillGaps(first, second);
  keepMarkers(first, second);
  keepMarkers(second, first);
  gather([first, second], into);
}

/** Keeps those samples of the second that stand where the first missed a scrape. */
function fillGaps(first: Side, second: Side): void {
  const lastMs = second.timeMs(second.live.length - 1);
  let next = 0;
  let runFrom = 0;
  for (let at = 0; at < second.live.length; at++) {
    const timeMs = second.timeMs(at);
    if (first.timeMs(next) <= timeMs) {
      settleRun(first, second, runFrom, at, next);
      while (first.timeMs(next) <= timeMs) next++;
      runFrom = at;
    }
    const intervalMs = intervalAt(first, second, next, at);
    const beforeMs = first.timeMs(next - 1);
    const afterMs = first.timeMs(next);
    // Where the first has nothing later, what the second has shows how late it is already.
    const gapMs = (Number.isNaN(afterMs) ? lastMs : afterMs) - beforeMs;
    if (gapMs <= GAP_INTERVALS * intervalMs) continue;
    const guardMs = GUARD_INTERVALS * intervalMs;
    if (timeMs - beforeMs < guardMs || afterMs - timeMs < guardMs) continue;
    second.keeps[second.live[at]!] = 1;
  }
  settleRun(first, second, runFrom, second.live.length, next);
}

/** The interval of scrapes around live sample `at` of the second, which stands before live sample `next` of the first. */
function intervalAt(first: Side, second: Side, next: number, at: number): number {
  const timeMs = second.timeMs(at);
  const own = second.interval(at - 1, at + 1, timeMs);
  return orUsual(Math.min(own, first.interval(next - 2, next + 1, timeMs)), first, second);
}

function orUsual(intervalMs: number, first: Side, second: Side): number {
  return Number.isFinite(intervalMs)
    ? intervalMs
    : Math.max(INTERVAL_MS, first.coarsestMs, second.coarsestMs);
}

/**
 * Takes back samples at the ends of a run, live samples [from, to) of the second before live sample `next` of the first, where values
 * fall from one replica to the other and no replica saw them fall: the clocks differ by more than the guard. A counter would seem to
 * have been reset.
 */
function settleRun(first: Side, second: Side, from: number, to: number, next: number): void {
  const before = first.value(next - 1);
  const after = first.value(next);
  const fallsAcross = first.falls(next - 1);
  let start = from;
  for (; start < to; start++) {
    if (second.keeps[second.live[start]!] === 0) continue;
    const reachMs = SEAM_INTERVALS * intervalAt(first, second, next, start);
    const isNear = second.timeMs(start) - first.timeMs(next - 1) <= reachMs;
    const isFalse = fallsAcross !== true && (second.falls(start - 1) ?? fallsAcross) === false;
    if (!isNear || !(second.value(start) < before) || !isFalse) break;
    second.keeps[second.live[start]!] = 0;
  }
  for (let end = to - 1; end >= start; end--) {
    if (second.keeps[second.live[end]!] === 0) continue;
    const reachMs = SEAM_INTERVALS * intervalAt(first, second, next, end);
    const isNear = first.timeMs(next) - second.timeMs(end) <= reachMs;
    const isFalse = fallsAcross !== true && (second.falls(end) ?? fallsAcross) === false;
    if (!isNear || !(second.value(end) > after) || !isFalse) break;
    second.keeps[second.live[end]!] = 0;
  }
}

/** Keeps a replica's staleness markers where the series has ended for the other one, too. */
function keepMarkers(side: Side, other: Side): void {
  const { timestampsMs, count } = side.columns;
  // Live samples of the other up to the marker's time.
  let there = 0;
  for (let i = 0; i < count; i++) {
    if (!side.isMarker(i)) continue;
    const timeMs = timestampsMs[i]!;
    while (other.timeMs(there) <= timeMs) there++;
    const last = there - 1;
    if (last < 0) {
      side.keeps[i] = 1;
      continue;
    }
    // Behind its last live sample up to this time, the other has markers or nothing.
    const otherAt = other.live[last]! + 1;
    const isEnded = otherAt < other.columns.count && other.columns.timestampsMs[otherAt]! <= timeMs;
    const lastMs = other.timeMs(last);
    const silentMs = GAP_INTERVALS * orUsual(other.interval(last - 1, last + 1, lastMs), side, other);
    if (isEnded || timeMs - lastMs > silentMs) side.keeps[i] = 1;
  }
}

/** Copies what is kept, by time; of two at one time that which is no marker, or else the first side's. */
function gather(sides: readonly Side[], into: SampleColumns): void {
  const [first, second] = sides as [Side, Side | undefined];
  const total = first.columns.count + (second?.columns.count ?? 0);
  const target = new Target(into, sides, total);
  if (second === undefined) {
    for (let i = 0; i < total; i++) target.add(first, i);
    target.end();
    return;
  }
  let i = nextKept(first, 0);
  let j = nextKept(second, 0);
  while (i < first.keeps.length || j < second.keeps.length) {
    const a = i < first.keeps.length ? first.columns.timestampsMs[i]! : Number.POSITIVE_INFINITY;
    const b = j < second.keeps.length ? second.columns.timestampsMs[j]! : Number.POSITIVE_INFINITY;
    if (a < b || (a === b && (!first.isMarker(i) || second.isMarker(j)))) target.add(first, i);
    else target.add(second, j);
    if (a <= b) i = nextKept(first, i + 1);
    if (b <= a) j = nextKept(second, j + 1);
  }
  target.end();
}

function nextKept({ keeps }: Side, from: number): number {
  let at = from;
  while (at < keeps.length && keeps[at] === 0) at++;
  return at;
}

/** Columns that samples of several sides are copied into. */
class Target {
  readonly #into: SampleColumns;
  readonly #words: Uint32Array;
  readonly #histograms: (FloatHistogram | undefined)[] | undefined;
  readonly #startTimesMs: Float64Array<ArrayBuffer> | undefined;
  readonly #cells: AggregateCells | undefined;
  #count = 0;

  constructor(into: SampleColumns, sides: readonly Side[], capacity: number) {
    into.count = 0;
    into.reserve(capacity);
    this.#into = into;
    this.#words = wordsOf(into.values);
    const some = <T>(of: (columns: SampleColumns) => T | undefined, make: () => T): T | undefined =>
      sides.some(({ columns }) => of(columns) !== undefined) ? make() : undefined;
    this.#histograms = some(
      ({ histograms }) => histograms,
      () => [],
    );
    this.#startTimesMs = some(
      ({ startTimesMs }) => startTimesMs,
      () => new Float64Array(capacity),
    );
    this.#cells = some(
      ({ cells }) => cells,
      () => new AggregateCells(capacity),
    );
  }

  add({ columns, words }: Side, index: number): void {
    const at = this.#count++;
    const timeMs = columns.timestampsMs[index]!;
    this.#into.timestampsMs[at] = timeMs;
    this.#words[2 * at] = words[2 * index]!;
    this.#words[2 * at + 1] = words[2 * index + 1]!;
    this.#histograms?.push(columns.histograms?.[index]);
    if (this.#startTimesMs !== undefined) this.#startTimesMs[at] = columns.startTimesMs?.[index] ?? 0;
    if (this.#cells === undefined) return;
    if (columns.cells !== undefined) this.#cells.copyCell(at, columns.cells, index);
    else this.#cells.putSample(at, timeMs, columns.values[index]!, isStaleAt(words, index) ? 0 : 1);
  }

  end(): void {
    const into = this.#into;
    into.count = this.#count;
    into.histograms = this.#histograms;
    into.startTimesMs = this.#startTimesMs;
    into.cells = this.#cells;
    if (this.#cells !== undefined) this.#cells.count = this.#count;
  }
}

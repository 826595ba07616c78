// Prometheus' label order of a head's series, remembered: whoever merges answers wants them sorted, and comparing labels
// anew for every query costs more than finding the series. Each series has a rank; sorting ranks is sorting numbers.
import { sortInSteps } from '../block/sort-in-steps.ts';
import { ABSENT, grownU32 } from './columns.ts';
import type { LabelPairs } from './label-pairs.ts';

/** What is ordered: series as runs of numbered label pairs. */
export interface PairedSeries {
  readonly seriesCount: number;
  readonly pairs: LabelPairs;
  /** Pair number `depth` of a series, names ascending; ABSENT behind the last. */
  pairAt(id: number, depth: number): number;
  /** Ids of all series, ascending. */
  allPostings(): Uint32Array;
}

/**
 * While no series has a rank, all get theirs once this share of what it costs was spent on comparing, unless they are so many
 * that the query which happens to pay for it would wait for long: 55,000 series take 0.1 s.
 */
const FIRST_RANKING_SHARE = 1 / 8;
const FIRST_RANKING_SERIES_MAX = 200_000;

/** The order of one index' series. Series without a rank are compared by their labels. */
export class SeriesOrder {
  readonly #index: PairedSeries;
  /** Series by rank. */
  #byRank: Uint32Array = new Uint32Array(0);
  /** Rank by series, plus 1; 0 where there is none yet. */
  #rankOf: Uint32Array = new Uint32Array(0);
  /** Comparisons made for series without a rank since ranks were given. */
  #spent = 0;

  constructor(index: PairedSeries) {
    this.#index = index;
  }

  get bytesHeld(): number {
    return (this.#byRank.length + this.#rankOf.length) * 4;
  }

  /**
   * The ids in label order; yields every few milliseconds of work. All series get ranks once that would have cost no more
   * than what was spent on comparing so far; for the first time sooner.
   */
  *sort(ids: Uint32Array): Generator<void, Uint32Array> {
    const ranks = new Uint32Array(ids.length);
    const fresh = new Uint32Array(ids.length);
    let freshCount = this.#split(ids, ranks, fresh);
    this.#spent += comparisons(freshCount);
    if (freshCount > 0 && this.#spent >= this.#rankingCost()) {
      yield* this.#rankAll();
      freshCount = this.#split(ids, ranks, fresh);
    }
    const sorted = ranks.subarray(0, ids.length - freshCount).sort();
    for (let i = 0; i < sorted.length; i++) sorted[i] = this.#byRank[sorted[i]!]!;
    if (freshCount === 0) return sorted;
    const late = fresh.subarray(0, freshCount);
    yield* sortInSteps(late, this.#compare);
    return sorted.length === 0 ? late : this.#merge(sorted, late);
  }

  /** What is to be spent before all series are ranked, in comparisons. */
  #rankingCost(): number {
    const { seriesCount } = this.#index;
    const isFirst = this.#byRank.length === 0 && seriesCount <= FIRST_RANKING_SERIES_MAX;
    return comparisons(seriesCount) * (isFirst ? FIRST_RANKING_SHARE : 1);
  }

  /** Ranks of the ids that have one, and the ids that have none; answers how many these are. */
  #split(ids: Uint32Array, ranks: Uint32Array, fresh: Uint32Array): number {
    const rankOf = this.#rankOf;
    let known = 0;
    let unknown = 0;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      const rank = id < rankOf.length ? rankOf[id]! : 0;
      if (rank === 0) fresh[unknown++] = id;
      else ranks[known++] = rank - 1;
    }
    return unknown;
  }

  *#rankAll(): Generator<void> {
    this.#spent = 0;
    const all = this.#index.allPostings();
    const rankOf = grownU32(new Uint32Array(0), all.length === 0 ? 0 : all[all.length - 1]! + 1);
    yield* sortInSteps(all, this.#compare);
    for (let rank = 0; rank < all.length; rank++) rankOf[all[rank]!] = rank + 1;
    this.#byRank = all;
    this.#rankOf = rankOf;
  }

  #merge(a: Uint32Array, b: Uint32Array): Uint32Array {
    const out = new Uint32Array(a.length + b.length);
    let i = 0;
    let j = 0;
    for (let at = 0; at < out.length; at++) {
      const takeA = j === b.length || (i < a.length && this.#compare(a[i]!, b[j]!) <= 0);
      out[at] = takeA ? a[i++]! : b[j++]!;
    }
    return out;
  }

  /** Pairs are interned: equal ones have equal numbers, so that bytes are compared once. */
  readonly #compare = (a: number, b: number): number => {
    const index = this.#index;
    for (let depth = 0; ; depth++) {
      const x = index.pairAt(a, depth);
      const y = index.pairAt(b, depth);
      if (x !== y) return comparePairs(index, x, y);
      if (x === ABSENT) return 0;
    }
  };
}

/** Two different pairs, name before value; none before any. */
function comparePairs(index: PairedSeries, x: number, y: number): number {
  if (x === ABSENT) return -1;
  if (y === ABSENT) return 1;
  return index.pairs.compare(x, y);
}

/** What sorting so many costs, in comparisons. */
function comparisons(count: number): number {
  return count < 2 ? count : count * Math.log2(count);
}

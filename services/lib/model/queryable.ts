// What PromQL reads. The engine knows this interface and nothing of storage: the querier implements it over the
// cluster, tests over a list in memory.
import type { Labels } from './labels.ts';
import type { Matcher } from './matcher.ts';
import type { SampleColumns } from './sample-columns.ts';

export interface SelectRequest {
  /** All must match; at least one. */
  readonly matchers: readonly Matcher[];
  /** Oldest and newest sample wanted, Unix milliseconds, both inclusive. */
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  /**
   * Set: aggregates will do instead of samples where their resolution divides so many milliseconds (a cell then has no sample on both
   * sides of a bound that matters). Aggregates may come in any case where samples are no longer kept.
   */
  readonly alignMs?: number;
}

/**
 * Series that a selector found, in Prometheus' label order, each label set once.
 * Samples are decoded when they are read; reading is synchronous and may be repeated.
 */
export interface SeriesSet {
  readonly size: number;
  /** Label set of series `index`, 0 … size-1. */
  labels(index: number): Labels;
  /**
   * Overwrites `into` with the samples of series `index` in [minTimeMs, maxTimeMs], merged and deduplicated, staleness
   * markers included, timestamps strictly ascending.
   *
   * @throws AppError `internal` when a chunk is corrupt.
   */
  read(index: number, minTimeMs: number, maxTimeMs: number, into: SampleColumns): void;
  /** For people: what the set is known to lack. Empty when complete. */
  readonly warnings: readonly string[];
  /** Gives the memory back. Safe to call more than once; nothing may be read afterwards. */
  release(): void;
}

/** What one query may use, and how it learns that it is over. */
export interface QueryContext {
  /** Aborts with an AppError as reason: `canceled` or `timeout`. */
  readonly signal: AbortSignal;
  /**
   * Charges bytes that the query holds; negative gives back.
   *
   * @throws AppError `execution` when the budget is used up; the message names the limit and its flag.
   */
  chargeBytes(bytes: number): void;
  /**
   * For loops that run long without charging anything or letting a message in: looks whether the query is over.
   *
   * @throws AppError `canceled`. Cost: an atomic load.
   */
  throwIfOver?(): void;
}

export interface Queryable {
  /**
   * @throws AppError `execution` over a limit, `unavailable` when part of the data cannot be reached and the caller did
   *         not accept a partial answer, or the signal's reason.
   */
  select(request: SelectRequest, context: QueryContext): Promise<SeriesSet>;
}

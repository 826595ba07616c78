// What a part of a query answers (plan/plan.ts), and so what the merge works on: rows in the order of the series that they
// come from. Plain data; ../../wire/docs/partial-result.md gives it bytes.

import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { Labels } from '../../../model/labels.ts';
import type { Position } from '../../ast.ts';

/** A row's own values: series, candidates, counts, floats of cells. Columns of cells: see cell-rows.ts. */
export const ROW_VALUES = 0;
/** Sums of native histograms of cells. Columns: how many were added, and which counter resets were seen. */
export const ROW_HISTOGRAM_SUMS = 1;
/** What rounding lost of the row before; no columns. */
export const ROW_HISTOGRAM_COMPENSATIONS = 2;

/** A row of a partial result: columns as those of a result's series (query.ts). Its times are steps of the part's grid. */
export interface PartialRow {
  readonly labels: Labels;
  readonly timestampsMs: Float64Array<ArrayBuffer>;
  readonly values: Float64Array<ArrayBuffer>;
  readonly count: number;
  readonly histograms?: readonly (FloatHistogram | undefined)[] | undefined;
  /** ROW_VALUES, ROW_HISTOGRAM_SUMS or ROW_HISTOGRAM_COMPENSATIONS. */
  readonly tag: number;
  /** Labels of the first series that the row comes from: rows of all partial results are merged in their order. */
  readonly order: Labels;
  /** The metric name goes away at the end of the query. */
  readonly dropName: boolean;
  /** As long as the values. What they hold depends on the part's operator. */
  readonly columns: readonly Float64Array[];
}

/** A warning or info, its position in the query's text apart from its words. */
export interface AnnotationRecord {
  readonly isWarning: boolean;
  readonly words: string;
  readonly position: Position;
}

/** What one set of series has to say about a part. */
export interface PartialResult {
  /** The part's index in its plan. */
  readonly part: number;
  /**
   * Why the merge could not be exact, else empty: then there are no rows, and the query is to be evaluated uncut. It happens
   * where labels could become equal unnoticed, where a sum overflows, where kinds of native histograms are mixed.
   */
  readonly declined: string;
  /** Ascending by `order`; rows of equal order stay in theirs. */
  readonly rows: readonly PartialRow[];
  readonly annotations: readonly AnnotationRecord[];
  /** What storage is known to lack. */
  readonly storageWarnings: readonly string[];
  /** Samples of storage that took part, as SampleTotals.used and .fetched. */
  readonly samplesUsed: number;
  readonly samplesFetched: number;
  /** Samples that the part's operand held in the end, and at most. */
  readonly samplesHeld: number;
  readonly samplesPeak: number;
}

/** Why a part, or the merge, could not be exact. Never leaves the engine: see PartialResult.declined, executeMerge(). */
export class Declined extends Error {}

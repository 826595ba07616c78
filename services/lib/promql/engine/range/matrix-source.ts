// Where range functions get their samples: a range selector's series, or a subquery's steps.

import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { SeriesSet } from '../../../model/queryable.ts';
import { SampleColumns } from '../../../model/sample-columns.ts';
import type { MatrixSelector, Subquery, VectorSelector } from '../../ast.ts';
import { type AtGrid, evaluateDuration, referenceTimes } from '../durations.ts';
import { type Grid, makeGrid } from '../grid.ts';
import { ABSENT, HISTOGRAM, type SeriesMeta, StepColumn, type VectorOperand } from '../operand.ts';
import { alignmentOf } from '../select/alignment.ts';
import { subqueryTally } from '../select/sample-tally.ts';
import { seriesOf } from '../select/selector.ts';
import { SeriesReader } from '../select/series-reader.ts';
import type { Evaluator, QuerySession } from '../session.ts';

/** Samples of one series after the other, without staleness markers, ascending in time. */
export interface MatrixSource {
  readonly series: readonly SeriesMeta[];
  readonly rangeMs: number;
  /** End of the window at step k: firstMs + k·stepMs. */
  readonly ends: AtGrid;
  /** All bounds of windows are multiples of so many milliseconds; 0 where that is of no interest. */
  readonly alignMs: number;
  readonly extension: VectorSelector['extension'];
  /** Samples come from storage, not from a subquery. */
  readonly isStored: boolean;
  /** Columns of the next series; valid until the next call. */
  next(): SampleColumns;
}

/**
 * Opens the matrix argument of a function.
 *
 * @param takesAggregates  The function has the same result from aggregates, where windows are aligned.
 */
export async function openMatrix(
  evaluator: Evaluator,
  expr: MatrixSelector | Subquery,
  grid: Grid,
  takesAggregates = false,
): Promise<MatrixSource> {
  return expr.kind === 'subquery'
    ? openSubquery(evaluator, expr, grid)
    : openRangeSelector(evaluator.session, expr, grid, takesAggregates);
}

/** How far an anchored or smoothed selector looks beyond its window, milliseconds. */
export function reachOf(
  extension: VectorSelector['extension'],
  lookbackMs: number,
): { readonly earlierMs: number; readonly laterMs: number } {
  return {
    earlierMs: extension === undefined ? 0 : lookbackMs,
    laterMs: extension === 'smoothed' ? lookbackMs : 0,
  };
}

async function openRangeSelector(
  session: QuerySession,
  expr: MatrixSelector,
  grid: Grid,
  takesAggregates: boolean,
): Promise<MatrixSource> {
  const { vector } = expr;
  const rangeMs = evaluateDuration(session, expr.range, false);
  const ends = referenceTimes(session, vector, grid);
  const { earlierMs, laterMs } = reachOf(vector.extension, session.lookbackMs);
  const minTimeMs = ends.firstMs - rangeMs - earlierMs + 1;
  const maxTimeMs = ends.firstMs + ends.stepMs * (grid.steps - 1) + laterMs;
  const alignMs = alignmentOf(ends, grid.steps, rangeMs);
  // Of start times nothing is kept beside aggregates.
  const isTaken =
    takesAggregates && vector.extension === undefined && !session.options.features.startTimestamps;
  const set = await session.select(vector.matchers, minTimeMs, maxTimeMs, isTaken ? alignMs : 0);
  return new SelectorSource(session, set, {
    rangeMs,
    ends,
    alignMs,
    extension: vector.extension,
    minTimeMs,
    maxTimeMs,
    readsCounts: session.countedSelectors.has(vector),
  });
}

interface SelectorWindow {
  readonly rangeMs: number;
  readonly ends: AtGrid;
  readonly alignMs: number;
  readonly extension: VectorSelector['extension'];
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly readsCounts: boolean;
}

class SelectorSource implements MatrixSource {
  readonly series: readonly SeriesMeta[];
  readonly rangeMs: number;
  readonly ends: AtGrid;
  readonly alignMs: number;
  readonly extension: VectorSelector['extension'];
  readonly isStored = true;
  readonly #set: SeriesSet;
  readonly #window: SelectorWindow;
  readonly #reader: SeriesReader;
  #index = 0;

  constructor(session: QuerySession, set: SeriesSet, window: SelectorWindow) {
    this.series = seriesOf(set);
    this.rangeMs = window.rangeMs;
    this.ends = window.ends;
    this.alignMs = window.alignMs;
    this.extension = window.extension;
    this.#set = set;
    this.#window = window;
    this.#reader = new SeriesReader(session, window.readsCounts);
  }

  next(): SampleColumns {
    this.#reader.readFloats(this.#set, this.#index++, this.#window.minTimeMs, this.#window.maxTimeMs);
    return this.#reader.columns;
  }
}

/** The inner expression is evaluated at multiples of the subquery's step, whatever the outer steps are. */
async function openSubquery(evaluator: Evaluator, expr: Subquery, grid: Grid): Promise<MatrixSource> {
  const { session } = evaluator;
  const rangeMs = evaluateDuration(session, expr.range, false);
  const ends = referenceTimes(session, expr, grid);
  const inner = subqueryGrid(session, expr, grid);
  const operand = inner.steps === 0 ? undefined : await evaluator.vector(expr.expr, inner);
  return new SubquerySource(session, operand, inner, rangeMs, ends);
}

/** Steps of the expression inside of a subquery. */
export function subqueryGrid(session: QuerySession, expr: Subquery, grid: Grid): Grid {
  const rangeMs = evaluateDuration(session, expr.range, false);
  const stepMs =
    expr.step === undefined
      ? session.options.noStepSubqueryIntervalMs
      : evaluateDuration(session, expr.step, false);
  const ends = referenceTimes(session, expr, grid);
  const boundMs = ends.firstMs - rangeMs;
  const startMs = (Math.floor(boundMs / stepMs) + 1) * stepMs;
  const offsetMs = expr.offset === undefined ? 0 : evaluateDuration(session, expr.offset, true);
  const tally =
    grid.tally &&
    subqueryTally(grid.tally, { shiftedStartMs: startMs + offsetMs, stepMs, rangeMs, outer: grid });
  const inner = makeGrid(startMs, ends.firstMs + ends.stepMs * (grid.steps - 1), stepMs, tally);
  session.checkSteps(inner.steps);
  return inner;
}

class SubquerySource implements MatrixSource {
  readonly series: readonly SeriesMeta[];
  readonly rangeMs: number;
  readonly ends: AtGrid;
  readonly alignMs = 0;
  readonly extension = undefined;
  readonly isStored = false;
  readonly #operand: VectorOperand | undefined;
  readonly #grid: Grid;
  readonly #column: StepColumn;
  readonly #columns = new SampleColumns();

  constructor(
    session: QuerySession,
    operand: VectorOperand | undefined,
    grid: Grid,
    rangeMs: number,
    ends: AtGrid,
  ) {
    this.series = operand?.series ?? [];
    this.rangeMs = rangeMs;
    this.ends = ends;
    this.#operand = operand;
    this.#grid = grid;
    session.charge(grid.steps * 32);
    this.#column = new StepColumn(grid.steps);
    this.#columns.reserve(grid.steps);
  }

  next(): SampleColumns {
    this.#operand!.next(this.#column);
    compact(this.#column, this.#grid, this.#columns);
    return this.#columns;
  }
}

/** The present values of a column as samples. */
function compact(column: StepColumn, grid: Grid, into: SampleColumns): void {
  const { kinds, values } = column;
  let count = 0;
  into.histograms = column.mayHaveHistograms ? [] : undefined;
  for (let k = 0; k < grid.steps; k++) {
    if (kinds[k] === ABSENT) continue;
    into.timestampsMs[count] = grid.startMs + k * grid.stepMs;
    into.values[count] = values[k]!;
    if (kinds[k] === HISTOGRAM) into.histograms![count] = withoutResetHint(column.histograms[k]!);
    count++;
  }
  into.count = count;
  into.gapMs = count === grid.steps ? grid.stepMs : 0;
}

/** A subquery may leave samples out or repeat them: what they say of resets does not hold between its steps. */
function withoutResetHint(histogram: FloatHistogram): FloatHistogram {
  if (histogram.hint !== 'reset' && histogram.hint !== 'not_reset') return histogram;
  const copy = histogram.copy();
  copy.hint = 'unknown';
  return copy;
}

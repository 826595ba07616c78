// Merges what parts of a cut query answered, where evaluation comes to their roots: as if the part had been evaluated over
// all series at once. Rows of all sets of series are put into the order of the series that they come from.
import { AppError } from '../../../core/errors.ts';
import { Labels } from '../../../model/labels.ts';
import type { Aggregation, Expr } from '../../ast.ts';
import type { Part, Plan } from '../../plan/plan.ts';
import {
  cellColumns,
  finish,
  makeCells,
  mergeCell,
  type StreamedOperator,
} from '../aggregation/accumulators.ts';
import { CellsOperand } from '../aggregation/aggregation.ts';
import { selectRanked } from '../aggregation/selection.ts';
import { TreeEvaluator } from '../evaluate.ts';
import { unwrap } from '../expressions.ts';
import type { Grid } from '../grid.ts';
import { HistogramCells } from '../histograms/histogram-cells.ts';
import { mergeSameLabels, rejectSameLabels } from '../names.ts';
import {
  countPresent,
  FLOAT,
  putHistogram,
  type SeriesMeta,
  type StepColumn,
  type VectorOperand,
} from '../operand.ts';
import { matrixArgument } from '../range/range-function.ts';
import type { MergedParts, QuerySession } from '../session.ts';
import { StepTable, StoredOperand } from '../step-table.ts';
import {
  Declined,
  type PartialResult,
  type PartialRow,
  ROW_HISTOGRAM_COMPENSATIONS,
  ROW_HISTOGRAM_SUMS,
  ROW_VALUES,
} from './partial.ts';

/** Results of a plan's parts, by root. */
export class PartMerger implements MergedParts {
  readonly #session: QuerySession;
  readonly #parts = new Map<Expr, Part>();
  readonly #partials: readonly PartialResult[];

  constructor(session: QuerySession, plan: Plan, partials: readonly PartialResult[]) {
    this.#session = session;
    this.#partials = partials;
    for (const part of plan.parts) this.#parts.set(part.root, part);
  }

  open(expr: Expr, grid: Grid): Promise<VectorOperand> | undefined {
    const part = this.#parts.get(expr);
    return part === undefined ? undefined : this.#open(part, grid);
  }

  async #open(part: Part, grid: Grid): Promise<VectorOperand> {
    const session = this.#session;
    const own = this.#partials.filter(({ part: index }) => index === part.index);
    const use = new PartUse(session);
    for (const partial of own) {
      if (partial.declined !== '') throw new Declined(partial.declined);
      for (const warning of partial.storageWarnings) session.storageWarnings.add(warning);
      use.add(partial);
    }
    const rows = own.flatMap((partial) => partial.rows);
    // Sorted runs, which the sort only has to merge.
    rows.sort((a, b) => a.order.compareTo(b.order));
    if (session.isSliceOver()) await session.pause();
    return mergeRows(session, part, rows, use, grid);
  }
}

/** What reading the parts' series would have counted and said, had it been done here. */
class PartUse {
  readonly #session: QuerySession;
  readonly #partials: PartialResult[] = [];
  #held = 0;
  /** Most that a part held for a moment, beyond what it held in the end. */
  #transient = 0;

  constructor(session: QuerySession) {
    this.#session = session;
  }

  add(partial: PartialResult): void {
    this.#partials.push(partial);
    this.#held += partial.samplesHeld;
    this.#transient = Math.max(this.#transient, partial.samplesPeak - partial.samplesHeld);
  }

  /** The series are read now. @throws AppError `execution` when all parts together hold too many samples. */
  settle(): void {
    const session = this.#session;
    for (const { annotations, samplesUsed, samplesFetched } of this.#partials) {
      session.annotations.absorb(annotations);
      session.tally.add(0, samplesUsed, samplesFetched);
    }
    session.holdSamples(this.#held, this.#transient);
  }
}

async function mergeRows(
  session: QuerySession,
  part: Part,
  rows: readonly PartialRow[],
  use: PartUse,
  grid: Grid,
): Promise<VectorOperand> {
  const { root } = part;
  if (root.kind !== 'aggregation' || part.kind === 'series')
    return mergeSeries(session, root, rows, use, grid);
  switch (part.kind) {
    case 'candidates': {
      const before = session.samplesCurrent;
      const param = await new TreeEvaluator(session).scalar(root.param!, grid);
      return selectRanked(session, root, param, new RowsOperand(rows, use, grid), before, true);
    }
    case 'counts':
      return mergeCounts(session, rows, use, grid);
    case 'cells':
      return mergeCells(session, root, root.operator as StreamedOperator, rows, use, grid);
  }
}

/** Series of all sets, with equal labels found as evaluation of the root would. */
async function mergeSeries(
  session: QuerySession,
  root: Expr,
  rows: readonly PartialRow[],
  use: PartUse,
  grid: Grid,
): Promise<VectorOperand> {
  const before = session.samplesCurrent;
  const operand = new RowsOperand(rows, use, grid);
  const isRangeFunction = root.kind === 'call' && matrixArgument(root) !== undefined;
  return isRangeFunction && !session.delayedNames
    ? rejectSameLabels(session, operand, grid, before)
    : mergeSameLabels(session, operand, grid);
}

/** Rows as series; what one series has at different steps may come in several rows. */
class RowsOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #rows: readonly PartialRow[];
  /** First row of each series, and of the one that would come after the last. */
  readonly #firsts: readonly number[];
  readonly #use: PartUse;
  readonly #grid: Grid;
  #next = 0;

  constructor(rows: readonly PartialRow[], use: PartUse, grid: Grid) {
    this.#rows = rows;
    this.#use = use;
    this.#grid = grid;
    const series: SeriesMeta[] = [];
    const firsts: number[] = [];
    rows.forEach((row, i) => {
      if (i > 0 && row.order.compareTo(rows[i - 1]!.order) === 0) return;
      firsts.push(i);
      series.push({ labels: row.labels, dropName: row.dropName });
    });
    if (rows.length === 0) {
      // Read all the same, so that what the parts held and said comes in its turn: a series that is never there.
      firsts.push(0);
      series.push({ labels: Labels.empty, dropName: false });
    }
    firsts.push(rows.length);
    this.series = series;
    this.#firsts = firsts;
  }

  next(into: StepColumn): void {
    if (this.#next === 0) this.#use.settle();
    into.kinds.fill(0);
    into.mayHaveHistograms = false;
    const end = this.#firsts[this.#next + 1]!;
    for (let i = this.#firsts[this.#next++]!; i < end; i++) fillColumn(this.#rows[i]!, this.#grid, into);
  }
}

function fillColumn(row: PartialRow, grid: Grid, into: StepColumn): void {
  const { timestampsMs, values, count, histograms } = row;
  for (let i = 0; i < count; i++) {
    const k = stepOf(timestampsMs[i]!, grid);
    const histogram = histograms?.[i];
    into.values[k] = values[i]!;
    if (histogram === undefined) into.kinds[k] = FLOAT;
    else putHistogram(into, k, histogram);
  }
}

/** @throws AppError `bad_data` for a time that is no step of the part. */
function stepOf(timeMs: number, grid: Grid): number {
  const step = (timeMs - grid.startMs) / grid.stepMs;
  if (step >= 0 && step < grid.steps && Number.isInteger(step)) return step;
  throw new AppError(
    'bad_data',
    `partial result: ${timeMs} is none of ${grid.steps} steps from ${grid.startMs} every ${grid.stepMs} ms`,
  );
}

/** Groups of rows in the order of their first ones. */
class RowGroups {
  readonly series: SeriesMeta[] = [];
  /** 0, 1, 2 …: groups are in the order in which they were seen. */
  readonly groups: number[] = [];
  readonly groupOf: Int32Array;

  constructor(rows: readonly PartialRow[]) {
    const known = new Map<string, number>();
    this.groupOf = new Int32Array(rows.length);
    rows.forEach(({ labels, dropName }, i) => {
      let group = known.get(labels.key);
      if (group === undefined) {
        group = this.groups.length;
        known.set(labels.key, group);
        this.groups.push(group);
        this.series.push({ labels, dropName });
      } else if (dropName && !this.series[group]!.dropName) {
        this.series[group] = { labels: this.series[group]!.labels, dropName };
      }
      this.groupOf[i] = group;
    });
  }
}

async function mergeCells(
  session: QuerySession,
  expr: Aggregation,
  operator: StreamedOperator,
  rows: readonly PartialRow[],
  use: PartUse,
  grid: Grid,
): Promise<VectorOperand> {
  const before = session.samplesCurrent;
  use.settle();
  const groups = new RowGroups(rows);
  const cells = makeCells(session, operator, groups.groups.length, grid.steps);
  const histograms = new HistogramCells(operator, unwrap(expr.expr).pos, session.annotations);
  const width = cellColumns(operator, cells).length;
  for (let i = 0; i < rows.length; i++) {
    if (session.isSliceOver()) await session.pause();
    const row = rows[i]!;
    const offset = groups.groupOf[i]! * grid.steps;
    if (row.tag === ROW_HISTOGRAM_SUMS) {
      absorbHistograms(histograms, row, rows[++i], offset, grid);
      continue;
    }
    requireColumns(row, ROW_VALUES, width);
    for (let k = 0; k < row.count; k++) {
      const at = offset + stepOf(row.timestampsMs[k]!, grid);
      mergeCell(operator, cells, at, row.values[k]!, row.columns, k);
    }
  }
  if (cells.dependsOnOrder) throw new Declined(`${operator} depends on the order of series`);
  finish(operator, cells);
  const sums = histograms.finish(cells.kinds);
  session.settleSamples(before, countPresent(cells.kinds, 0, cells.kinds.length));
  return new CellsOperand(groups, cells.values, cells.kinds, grid.steps, sums);
}

function absorbHistograms(
  into: HistogramCells,
  sums: PartialRow,
  compensations: PartialRow | undefined,
  offset: number,
  grid: Grid,
): void {
  requireColumns(sums, ROW_HISTOGRAM_SUMS, 2);
  const { labels, count, timestampsMs, columns } = sums;
  if (compensations?.labels.key !== labels.key || compensations.count !== count) {
    throw malformed('sums of histograms without what they lost');
  }
  requireColumns(compensations, ROW_HISTOGRAM_COMPENSATIONS, 0);
  for (let i = 0; i < count; i++) {
    const sum = sums.histograms?.[i];
    const compensation = compensations.histograms?.[i];
    if (sum === undefined || compensation === undefined) throw malformed('a sum without a histogram');
    const partial = { sum, compensation, count: columns[0]![i]!, resets: columns[1]![i]! };
    if (!into.absorb(offset + stepOf(timestampsMs[i]!, grid), partial)) {
      throw new Declined('native histograms of different kinds or bounds are summed');
    }
  }
}

function requireColumns({ tag, columns }: PartialRow, wantedTag: number, width: number): void {
  if (tag === wantedTag && columns.length === width) return;
  throw malformed(`row of tag ${tag} with ${columns.length} columns, not ${wantedTag} with ${width}`);
}

function malformed(what: string): AppError {
  return new AppError('bad_data', `partial result: ${what}`);
}

/** Adds up the counts of equal values. */
async function mergeCounts(
  session: QuerySession,
  rows: readonly PartialRow[],
  use: PartUse,
  grid: Grid,
): Promise<VectorOperand> {
  const before = session.samplesCurrent;
  use.settle();
  const { series, groupOf } = new RowGroups(rows);
  const table = new StepTable(session, grid.steps);
  let held = 0;
  for (const _ of series) table.addRow();
  for (let i = 0; i < rows.length; i++) {
    if (session.isSliceOver()) await session.pause();
    const { timestampsMs, values, count } = rows[i]!;
    const group = groupOf[i]!;
    const offset = table.offset(group);
    const sums = table.values(group);
    const kinds = table.kinds(group);
    for (let k = 0; k < count; k++) {
      const at = offset + stepOf(timestampsMs[k]!, grid);
      if (kinds[at] !== FLOAT) held++;
      kinds[at] = FLOAT;
      sums[at] = sums[at]! + values[k]!;
    }
  }
  session.settleSamples(before, held);
  return new StoredOperand({ series, table });
}

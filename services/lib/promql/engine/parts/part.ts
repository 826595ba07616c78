// Evaluates a part of a cut query over one set of series, up to where other sets' results come in.

import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { Labels } from '../../../model/labels.ts';
import type { SeriesSet } from '../../../model/queryable.ts';
import type { Aggregation } from '../../ast.ts';
import type { Part } from '../../plan/plan.ts';
import { cellColumns, plainSums, type StreamedOperator } from '../aggregation/accumulators.ts';
import { type Accumulated, accumulateAll, countAll, valueLabel } from '../aggregation/aggregation.ts';
import { type CandidateOperand, openCandidates } from '../aggregation/selection.ts';
import { TreeEvaluator } from '../evaluate.ts';
import type { Grid } from '../grid.ts';
import type { HistogramCells } from '../histograms/histogram-cells.ts';
import { countPresent, FLOAT, type SeriesMeta, StepColumn, type VectorOperand } from '../operand.ts';
import { gridTimes, presentSteps, ResultBuffers } from '../result-columns.ts';
import type { QuerySession } from '../session.ts';
import type { StepTable } from '../step-table.ts';
import { partGrid } from './part-grid.ts';
import {
  Declined,
  type PartialResult,
  type PartialRow,
  ROW_HISTOGRAM_COMPENSATIONS,
  ROW_HISTOGRAM_SUMS,
  ROW_VALUES,
} from './partial.ts';

/** Labels that go where the metric's name goes. */
const TYPE_LABEL = '__type__';
const UNIT_LABEL = '__unit__';

/** Evaluates a part in a session of its own. */
export async function evaluatePart(session: QuerySession, part: Part): Promise<PartialResult> {
  session.partRoot = part.root;
  let rows: readonly PartialRow[] = [];
  let declined = '';
  try {
    const grid = partGrid(session, part);
    if (grid.steps > 0) rows = await openRows(session, part, grid);
  } catch (caught) {
    if (!(caught instanceof Declined)) throw caught;
    declined = caught.message;
  }
  return {
    part: part.index,
    declined,
    rows,
    annotations: session.annotations.records(),
    storageWarnings: [...session.storageWarnings],
    samplesUsed: session.tally.used,
    samplesFetched: session.tally.fetched,
    samplesHeld: session.samplesCurrent,
    samplesPeak: session.samplesPeak,
  };
}

async function openRows(session: QuerySession, part: Part, grid: Grid): Promise<readonly PartialRow[]> {
  const evaluator = new TreeEvaluator(session);
  const { root } = part;
  if (part.kind === 'series' || root.kind !== 'aggregation') {
    return seriesRows(session, part, await evaluator.vector(root, grid), grid);
  }
  switch (part.kind) {
    case 'candidates':
      return candidateRows(session, part, await openCandidates(evaluator, root, grid), grid);
    case 'counts': {
      const label = valueLabel(root);
      const input = await evaluator.vector(root.expr, grid);
      const sources = sourcesOf(session, part, input);
      const counter = await countAll(session, root, label, input, grid);
      return countRows(counter.series, counter.firsts, counter.table, sources, grid);
    }
    case 'cells': {
      const input = await evaluator.vector(root.expr, grid);
      const sources = sourcesOf(session, part, input);
      const operator = root.operator as StreamedOperator;
      const accumulated = await accumulateAll(session, root, operator, input, grid);
      return cellRows(root, operator, accumulated, sources, grid);
    }
  }
}

/**
 * The series that the input's series come from, one for one.
 *
 * @throws Declined where series became one, or could become one with those of another set unnoticed.
 */
function sourcesOf(session: QuerySession, part: Part, input: VectorOperand): SeriesSet {
  const set = session.onlySet ?? EMPTY_SET;
  // An operand without series reads none, whatever was selected.
  if (input.series.length === 0) return set;
  if (set.size !== input.series.length) throw new Declined('series of equal labels were united');
  if (!part.refusesMetadata) return set;
  for (let i = 0; i < set.size; i++) {
    const labels = set.labels(i);
    if (labels.has(TYPE_LABEL) || labels.has(UNIT_LABEL)) {
      throw new Declined('labels of type or unit are dropped');
    }
  }
  return set;
}

const EMPTY_SET: SeriesSet = {
  size: 0,
  labels: () => {
    throw new Error('an empty set has no labels');
  },
  read: () => {},
  warnings: [],
  release: () => {},
};

async function seriesRows(
  session: QuerySession,
  part: Part,
  operand: VectorOperand,
  grid: Grid,
): Promise<PartialRow[]> {
  const sources = sourcesOf(session, part, operand);
  const column = new StepColumn(grid.steps);
  const rows = new RowMaker(grid);
  for (let i = 0; i < operand.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    operand.next(column);
    rows.addColumn(operand.series[i]!, sources.labels(i), column);
  }
  return rows.rows;
}

async function candidateRows(
  session: QuerySession,
  part: Part,
  operand: CandidateOperand,
  grid: Grid,
): Promise<PartialRow[]> {
  const sources = sourcesOf(session, part, operand);
  const column = new StepColumn(grid.steps);
  const rows = new RowMaker(grid);
  for (let i = 0; i < operand.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    operand.next(column);
    rows.addColumn(operand.series[i]!, sources.labels(i), column, operand.isFirstOfGroup);
  }
  return rows.rows;
}

function countRows(
  series: readonly SeriesMeta[],
  firsts: readonly number[],
  table: StepTable,
  sources: SeriesSet,
  grid: Grid,
): PartialRow[] {
  const column = new StepColumn(grid.steps);
  const rows = new RowMaker(grid);
  series.forEach((meta, row) => {
    table.load(row, column);
    rows.addColumn(meta, sources.labels(firsts[row]!), column);
  });
  return rows.rows;
}

/** Up to three rows per group: floats, sums of histograms, and what these lost. */
function cellRows(
  expr: Aggregation,
  operator: StreamedOperator,
  { order, cells, histograms }: Accumulated,
  sources: SeriesSet,
  grid: Grid,
): PartialRow[] {
  if (cells.dependsOnOrder) throw new Declined(`${expr.operator} depends on the order of series`);
  plainSums(cells);
  const columns = cellColumns(operator, cells);
  const rows = new RowMaker(grid);
  order.groups.forEach((group, place) => {
    const from = group * grid.steps;
    const meta = order.series[place]!;
    const first = sources.labels(order.firsts[place]!);
    // Without floats too: whatever the operator leaves out, the group has its place.
    rows.addCells(meta, first, cells.kinds, cells.values, columns, from);
    if (histograms.sums.size > 0) rows.addHistograms(meta, first, from, histograms.sums);
  });
  return rows.rows;
}

type HistogramSums = HistogramCells['sums'];

/** Makes the rows of a partial result. */
class RowMaker {
  readonly rows: PartialRow[] = [];
  readonly #grid: Grid;
  readonly #out = new ResultBuffers();
  #times: Float64Array<ArrayBuffer> | undefined;

  constructor(grid: Grid) {
    this.#grid = grid;
  }

  /** @param keepsEmpty  The row's place counts, even if it has no values. */
  addColumn({ labels, dropName }: SeriesMeta, order: Labels, column: StepColumn, keepsEmpty = false): void {
    const { steps } = this.#grid;
    const count = countPresent(column.kinds, 0, steps);
    if (count === 0 && !keepsEmpty) return;
    const extras = { tag: ROW_VALUES, order, dropName, columns: [] };
    if (count < steps || column.mayHaveHistograms) {
      this.rows.push({ ...presentSteps(labels, column, this.#grid, count, this.#out), ...extras });
      return;
    }
    this.#times ??= gridTimes(this.#grid);
    const values = this.#out.takeValues(count);
    values.set(column.values);
    this.rows.push({ labels, timestampsMs: this.#times, values, count, ...extras });
  }

  /** The floats of a group. */
  addCells(
    { labels, dropName }: SeriesMeta,
    order: Labels,
    kinds: Uint8Array,
    values: Float64Array,
    columns: readonly Float64Array[],
    from: number,
  ): void {
    const { steps } = this.#grid;
    const count = countPresent(kinds, from, steps);
    const row = this.#emptyRow(count, columns.length);
    let at = 0;
    for (let k = 0; k < steps; k++) {
      if (kinds[from + k] !== FLOAT) continue;
      row.timestampsMs[at] = this.#timeOf(k);
      row.values[at] = values[from + k]!;
      for (let c = 0; c < columns.length; c++) row.columns[c]![at] = columns[c]![from + k]!;
      at++;
    }
    this.rows.push({ labels, order, dropName, tag: ROW_VALUES, count, ...row });
  }

  /** The sums of histograms of a group. */
  addHistograms({ labels, dropName }: SeriesMeta, order: Labels, from: number, cells: HistogramSums): void {
    const sums: FloatHistogram[] = [];
    const compensations: FloatHistogram[] = [];
    const times: number[] = [];
    const counts: number[] = [];
    const resets: number[] = [];
    for (let k = 0; k < this.#grid.steps; k++) {
      const sum = cells.get(from + k);
      if (sum === undefined) continue;
      const partial = sum.partial();
      if (partial === undefined)
        throw new Declined('native histograms of different kinds or bounds are summed');
      times.push(this.#timeOf(k));
      sums.push(partial.sum);
      compensations.push(partial.compensation);
      counts.push(partial.count);
      resets.push(partial.resets);
    }
    const count = times.length;
    if (count === 0) return;
    const common = {
      labels,
      order,
      dropName,
      timestampsMs: Float64Array.from(times),
      values: new Float64Array(count),
      count,
    };
    const columns = [Float64Array.from(counts), Float64Array.from(resets)];
    this.rows.push({ ...common, tag: ROW_HISTOGRAM_SUMS, histograms: sums, columns });
    this.rows.push({ ...common, tag: ROW_HISTOGRAM_COMPENSATIONS, histograms: compensations, columns: [] });
  }

  #emptyRow(count: number, columnCount: number) {
    return {
      timestampsMs: this.#out.takeValues(count),
      values: this.#out.takeValues(count),
      columns: Array.from({ length: columnCount }, () => this.#out.takeValues(count)),
    };
  }

  #timeOf(step: number): number {
    return this.#grid.startMs + step * this.#grid.stepMs;
  }
}

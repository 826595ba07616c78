// Aggregations. Those that need a bounded state per group add up series as they come; quantile and count_values look at
// all values of a step together. topk and its kin are in selection.ts.
import { AppError } from '../../../core/errors.ts';
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { Labels } from '../../../model/labels.ts';
import type { Aggregation } from '../../ast.ts';
import { goQuote } from '../../parse/go-quote.ts';
import { unwrap } from '../expressions.ts';
import { formatDecimal } from '../go-format.ts';
import type { Grid } from '../grid.ts';
import { HistogramCells, printHistogram } from '../histograms/histogram-cells.ts';
import {
  ABSENT,
  countPresent,
  FLOAT,
  HISTOGRAM,
  hasValues,
  putHistogram,
  type SeriesMeta,
  StepColumn,
  type VectorOperand,
} from '../operand.ts';
import type { Evaluator, QuerySession } from '../session.ts';
import { StepTable, StoredOperand } from '../step-table.ts';
import { accumulate, type Cells, finish, makeCells, type StreamedOperator } from './accumulators.ts';
import { type Groups, groupLabels, groupSeries } from './grouping.ts';
import { quantileOf } from './quantile.ts';
import { openSelection } from './selection.ts';

/** Opens an aggregation. */
export async function openAggregation(
  evaluator: Evaluator,
  expr: Aggregation,
  grid: Grid,
): Promise<VectorOperand> {
  switch (expr.operator) {
    case 'topk':
    case 'bottomk':
    case 'limitk':
    case 'limit_ratio':
      return openSelection(evaluator, expr, grid);
    case 'quantile':
      return openQuantile(evaluator, expr, grid);
    case 'count_values':
      return openCountValues(evaluator, expr, grid);
    default:
      return openStreamed(evaluator, expr, expr.operator, grid);
  }
}

async function openStreamed(
  evaluator: Evaluator,
  expr: Aggregation,
  operator: StreamedOperator,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const before = session.samplesCurrent;
  const input = await evaluator.vector(expr.expr, grid);
  const { order, cells, histograms } = await accumulateAll(session, expr, operator, input, grid);
  finish(operator, cells);
  const sums = histograms.finish(cells.kinds);
  session.settleSamples(before, countPresent(cells.kinds, 0, cells.kinds.length));
  return new CellsOperand(order, cells.values, cells.kinds, grid.steps, sums);
}

/** What is accumulated per group and step: the result before it is finished. */
export interface Accumulated {
  readonly order: GroupOrder;
  readonly cells: Cells;
  readonly histograms: HistogramCells;
}

/** Adds all series of an aggregation's input to the cells of their groups. */
export async function accumulateAll(
  session: QuerySession,
  expr: Aggregation,
  operator: StreamedOperator,
  input: VectorOperand,
  grid: Grid,
): Promise<Accumulated> {
  const groups = groupSeries(expr, input.series);
  const cells = makeCells(session, operator, groups.labels.length, grid.steps);
  const order = new GroupOrder(groups);
  const histograms = new HistogramCells(operator, unwrap(expr.expr).pos, session.annotations);
  const column = new StepColumn(grid.steps);
  for (let i = 0; i < input.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    input.next(column);
    if (hasValues(column.kinds, 0, grid.steps)) order.see(i, input.series[i]!.dropName);
    const offset = groups.groupOf[i]! * grid.steps;
    if (column.mayHaveHistograms) histograms.take(offset, column, input.series[i]!.labels);
    accumulate(operator, cells, offset, column);
  }
  return { order, cells, histograms };
}

/** Groups in the order in which Prometheus first sees a value of them; groups without values are left out. */
export class GroupOrder {
  readonly groups: number[] = [];
  readonly series: SeriesMeta[] = [];
  /** The first series that had values, by place. */
  readonly firsts: number[] = [];
  readonly #groups: Groups;
  readonly #place: Int32Array;

  constructor(groups: Groups) {
    this.#groups = groups;
    this.#place = new Int32Array(groups.labels.length).fill(-1);
  }

  /** Notes that series `index` has values. */
  see(index: number, dropName: boolean): void {
    const group = this.#groups.groupOf[index]!;
    const place = this.#place[group]!;
    if (place < 0) {
      this.#place[group] = this.groups.length;
      this.groups.push(group);
      this.firsts.push(index);
      this.series.push({ labels: this.#groups.labels[group]!, dropName });
    } else if (dropName && !this.series[place]!.dropName) {
      this.series[place] = { labels: this.series[place]!.labels, dropName };
    }
  }
}

/** Hands out groups' cells in order. */
export class CellsOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #groups: readonly number[];
  readonly #values: Float64Array;
  readonly #kinds: Uint8Array;
  readonly #steps: number;
  readonly #histograms: ReadonlyMap<number, FloatHistogram>;
  #next = 0;

  constructor(
    order: Pick<GroupOrder, 'groups' | 'series'>,
    values: Float64Array,
    kinds: Uint8Array,
    steps: number,
    histograms: ReadonlyMap<number, FloatHistogram> = new Map(),
  ) {
    this.#histograms = histograms;
    this.series = order.series;
    this.#groups = order.groups;
    this.#values = values;
    this.#kinds = kinds;
    this.#steps = steps;
  }

  next(into: StepColumn): void {
    const offset = this.#groups[this.#next++]! * this.#steps;
    into.values.set(this.#values.subarray(offset, offset + this.#steps));
    into.kinds.set(this.#kinds.subarray(offset, offset + this.#steps));
    into.mayHaveHistograms = false;
    if (this.#histograms.size === 0) return;
    for (let k = 0; k < this.#steps; k++) {
      const histogram = this.#histograms.get(offset + k);
      if (histogram !== undefined) putHistogram(into, k, histogram);
    }
  }
}

async function openQuantile(evaluator: Evaluator, expr: Aggregation, grid: Grid): Promise<VectorOperand> {
  const { session } = evaluator;
  const before = session.samplesCurrent;
  const phi = await evaluator.scalar(expr.param!, grid);
  const input = await evaluator.vector(expr.expr, grid);
  checkQuantiles(session, expr, phi);
  const groups = groupSeries(expr, input.series);
  const order = new GroupOrder(groups);
  const gathered = await gatherValues(session, expr, { input, groups, order }, grid);
  const size = groups.labels.length * grid.steps;
  session.charge(size * 9);
  const values = new Float64Array(size);
  const kinds = new Uint8Array(size);
  for (const group of order.groups) {
    for (let k = 0; k < grid.steps; k++) {
      if (session.isSliceOver()) await session.pause();
      const count = gathered.count(group, k);
      if (count === 0) continue;
      session.spend(count);
      const from = gathered.start(group, k);
      values[group * grid.steps + k] = quantileOf(phi[k]!, gathered.values, from, from + count);
      kinds[group * grid.steps + k] = FLOAT;
    }
  }
  session.settleSamples(before, countPresent(kinds, 0, size));
  return new CellsOperand(order, values, kinds, grid.steps);
}

/** Reads an input to its end, group by group and step by step. */
async function gatherValues(
  session: QuerySession,
  expr: Aggregation,
  { input, groups, order }: { input: VectorOperand; groups: Groups; order: GroupOrder },
  grid: Grid,
): Promise<GatheredValues> {
  const gathered = new GatheredValues(session, groups, grid.steps);
  const column = new StepColumn(grid.steps);
  let hasHistograms = false;
  for (let i = 0; i < input.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    input.next(column);
    gathered.add(groups.groupOf[i]!, column);
    if (hasValues(column.kinds, 0, grid.steps)) order.see(i, input.series[i]!.dropName);
    hasHistograms ||= column.mayHaveHistograms && column.kinds.includes(HISTOGRAM);
  }
  if (hasHistograms) session.annotations.histogramIgnored('quantile', unwrap(expr.expr).pos);
  return gathered;
}

/** Cells are numbered in 32 bits: together they are 16 GiB, more than any query may hold. */
const CELLS_MAX = 2 ** 31 - 1;

/** The floats of each group and step, one behind the other: who reads a step goes through one run of memory. */
class GatheredValues {
  readonly #steps: number;
  /** Where a group's first step begins. */
  readonly #starts: Int32Array;
  /** By group: series, which is the room of each of its steps. */
  readonly #rooms: Int32Array;
  /** By group and step: values that there are. */
  readonly #counts: Int32Array;
  /** May be reordered within a group and step. */
  readonly values: Float64Array<ArrayBuffer>;

  constructor(session: QuerySession, { groupOf, labels }: Groups, steps: number) {
    this.#steps = steps;
    this.#rooms = new Int32Array(labels.length);
    for (let i = 0; i < groupOf.length; i++) this.#rooms[groupOf[i]!]!++;
    this.#starts = new Int32Array(labels.length);
    let cells = 0;
    for (let group = 0; group < labels.length; group++) {
      this.#starts[group] = cells;
      cells += this.#rooms[group]! * steps;
    }
    session.charge(cells * 8 + labels.length * (steps * 4 + 8));
    if (cells > CELLS_MAX) {
      throw new AppError(
        'execution',
        `quantile of ${groupOf.length} series at ${steps} steps: more than ${CELLS_MAX} values; select fewer series or a longer step`,
      );
    }
    this.#counts = new Int32Array(labels.length * steps);
    this.values = new Float64Array(cells);
  }

  /** Adds a series' column. */
  add(group: number, { kinds, values }: StepColumn): void {
    const steps = this.#steps;
    const room = this.#rooms[group]!;
    const counts = this.#counts;
    const own = this.values;
    for (let k = 0, cell = group * steps, at = this.#starts[group]!; k < steps; k++, cell++, at += room) {
      if (kinds[k] === FLOAT) own[at + counts[cell]!++] = values[k]!;
    }
  }

  /** Where the values of a group and step begin. */
  start(group: number, step: number): number {
    return this.#starts[group]! + step * this.#rooms[group]!;
  }

  count(group: number, step: number): number {
    return this.#counts[group * this.#steps + step]!;
  }
}

function checkQuantiles(session: QuerySession, expr: Aggregation, phi: Float64Array): void {
  const { pos } = unwrap(expr.param!);
  let smallest = 0;
  let largest = 1;
  for (const value of phi) {
    if (Number.isNaN(value)) session.annotations.invalidQuantile(value, pos);
    else if (value < smallest) smallest = value;
    else if (value > largest) largest = value;
  }
  if (largest > 1) session.annotations.invalidQuantile(largest, pos);
  if (smallest < 0) session.annotations.invalidQuantile(smallest, pos);
}

async function openCountValues(evaluator: Evaluator, expr: Aggregation, grid: Grid): Promise<VectorOperand> {
  const { session } = evaluator;
  const label = valueLabel(expr);
  const before = session.samplesCurrent;
  const input = await evaluator.vector(expr.expr, grid);
  const counter = await countAll(session, expr, label, input, grid);
  session.settleSamples(before, counter.held);
  return new StoredOperand({ series: counter.series, table: counter.table });
}

/** Label of count_values(). */
export function valueLabel(expr: Aggregation): string {
  const param = unwrap(expr.param!);
  const label = param.kind === 'string' ? param.value : '';
  if (label === '') throw new AppError('execution', `invalid label name ${goQuote(label)}`);
  return label;
}

/** Counts the values of all series. */
export async function countAll(
  session: QuerySession,
  expr: Aggregation,
  label: string,
  input: VectorOperand,
  grid: Grid,
): Promise<ValueCounter> {
  const grouping = expr.without ? expr.grouping : [...expr.grouping, label];
  const counter = new ValueCounter(session, label, grouping, expr.without, grid.steps);
  const column = new StepColumn(grid.steps);
  for (let i = 0; i < input.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    input.next(column);
    counter.add(i, input.series[i]!.labels, column);
  }
  return counter;
}

/** Counts of equal values per group; a row per group and value. */
export class ValueCounter {
  readonly series: SeriesMeta[] = [];
  /** The first series that had the value, by row. */
  readonly firsts: number[] = [];
  readonly table: StepTable;
  held = 0;
  readonly #label: string;
  readonly #grouping: readonly string[];
  readonly #without: boolean;
  readonly #rows = new Map<string, number>();

  constructor(
    session: QuerySession,
    label: string,
    grouping: readonly string[],
    without: boolean,
    steps: number,
  ) {
    this.table = new StepTable(session, steps);
    this.#label = label;
    this.#grouping = grouping;
    this.#without = without;
  }

  add(index: number, labels: Labels, column: StepColumn): void {
    const rows = new Map<string, number>();
    for (let k = 0; k < column.kinds.length; k++) {
      if (column.kinds[k] === ABSENT) continue;
      const isHistogram = column.kinds[k] === HISTOGRAM;
      const text = isHistogram ? printHistogram(column.histograms[k]!) : formatDecimal(column.values[k]!);
      let row = rows.get(text);
      if (row === undefined) rows.set(text, (row = this.#rowOf(index, labels, text)));
      const at = this.table.offset(row) + k;
      const values = this.table.values(row);
      const kinds = this.table.kinds(row);
      if (kinds[at] === ABSENT) this.held++;
      kinds[at] = FLOAT;
      values[at] = values[at]! + 1;
    }
  }

  #rowOf(index: number, labels: Labels, value: string): number {
    const own = groupLabels(labels.with(this.#label, value), this.#grouping, this.#without);
    let row = this.#rows.get(own.key);
    if (row === undefined) {
      row = this.table.addRow();
      this.#rows.set(own.key, row);
      this.series.push({ labels: own, dropName: false });
      this.firsts.push(index);
    }
    return row;
  }
}

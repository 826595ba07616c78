// topk, bottomk, limitk, limit_ratio: aggregations whose results are some of the input's series, labels and all.
import { AppError } from '../../../core/errors.ts';
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { Aggregation, Position } from '../../ast.ts';
import { unwrap } from '../expressions.ts';
import { formatG } from '../go-format.ts';
import type { Grid } from '../grid.ts';
import { ABSENT, FLOAT, HISTOGRAM, type SeriesMeta, StepColumn, type VectorOperand } from '../operand.ts';
import type { Evaluator, QuerySession } from '../session.ts';
import { StepTable, StoredOperand, type StoredVector } from '../step-table.ts';
import { groupSeries, membersOf } from './grouping.ts';
import { labelsHash64 } from './labels-hash.ts';

const INT64_MAX = 2 ** 63;
/** Go sorts so many entries by insertion; the order of ties among more of them is nothing that it promises. */
const INSERTION_SORT_MAX = 12;

/** Opens topk, bottomk, limitk or limit_ratio. */
export async function openSelection(
  evaluator: Evaluator,
  expr: Aggregation,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const before = session.samplesCurrent;
  const param = await evaluator.scalar(expr.param!, grid);
  // Evaluated whatever the parameter: what is wrong with it is said first.
  const input = await evaluator.vector(expr.expr, grid);
  if (expr.operator === 'limit_ratio') {
    checkRatios(session, expr, param);
    return new RatioOperand(input, param);
  }
  checkCounts(param);
  return selectRanked(session, expr, param, input, before);
}

/**
 * topk, bottomk or limitk of an input: what was selected among candidates is selected again in the same way.
 *
 * @param areCandidates  The input is that of openCandidates(): a series without values gives its group a place too.
 */
export async function selectRanked(
  session: QuerySession,
  expr: Aggregation,
  param: Float64Array,
  input: VectorOperand,
  before: number,
  areCandidates = false,
): Promise<VectorOperand> {
  const groups = groupSeries(expr, input.series);
  const cells = new RankCells(session, membersOf(groups), param, expr);
  const column = new StepColumn(param.length);
  for (let i = 0; i < input.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    input.next(column);
    if (areCandidates) cells.see(groups.groupOf[i]!);
    cells.offer(groups.groupOf[i]!, i, column);
  }
  const result = cells.result(input.series);
  session.settleSamples(before, cells.held);
  return new StoredOperand(result);
}

/** Candidates of one set of series for topk, bottomk or limitk of many. */
export interface CandidateOperand extends VectorOperand {
  /** Whether the last series was the first of its group that had values: it has to be known even if none of them is left. */
  readonly isFirstOfGroup: boolean;
}

/**
 * Hands on the columns of an input with only those values that were among the k best when they came, even if better ones
 * came later. A value that is not would not have been selected among more series either, nor have changed which are: of
 * equal values, those that stay depend on all that were selected before.
 */
export async function openCandidates(
  evaluator: Evaluator,
  expr: Aggregation,
  grid: Grid,
): Promise<CandidateOperand> {
  const param = await evaluator.scalar(expr.param!, grid);
  const input = await evaluator.vector(expr.expr, grid);
  checkCounts(param);
  const groups = groupSeries(expr, input.series);
  return new Candidates(
    input,
    groups.groupOf,
    new RankCells(evaluator.session, membersOf(groups), param, expr),
  );
}

class Candidates implements CandidateOperand {
  readonly series: readonly SeriesMeta[];
  isFirstOfGroup = false;
  readonly #input: VectorOperand;
  readonly #groupOf: Int32Array;
  readonly #cells: RankCells;
  #next = 0;

  constructor(input: VectorOperand, groupOf: Int32Array, cells: RankCells) {
    this.series = input.series;
    this.#input = input;
    this.#groupOf = groupOf;
    this.#cells = cells;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    const before = this.#cells.groupsSeen;
    this.#cells.offer(this.#groupOf[this.#next]!, this.#next, into, true);
    this.#next++;
    this.isFirstOfGroup = this.#cells.groupsSeen > before;
  }
}

/** Checks k at every step. */
export function checkCounts(param: Float64Array): void {
  let smallest = Number.POSITIVE_INFINITY;
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of param) {
    if (Number.isNaN(value)) throw new AppError('execution', 'Parameter value is NaN');
    smallest = Math.min(smallest, value);
    largest = Math.max(largest, value);
  }
  if (largest < 1) return;
  if (smallest <= -INT64_MAX) {
    throw new AppError('execution', `Scalar value ${formatG(smallest)} underflows int64`);
  }
  if (largest >= INT64_MAX) {
    throw new AppError('execution', `Scalar value ${formatG(largest)} overflows int64`);
  }
}

/** Checks the ratio at every step. */
function checkRatios(session: QuerySession, expr: Aggregation, param: Float64Array): void {
  let smallest = Number.POSITIVE_INFINITY;
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of param) {
    if (Number.isNaN(value)) throw new AppError('execution', 'Ratio value is NaN');
    smallest = Math.min(smallest, value);
    largest = Math.max(largest, value);
  }
  const { pos } = unwrap(expr.param!);
  if (largest > 1) session.annotations.invalidRatio(largest, 1, pos);
  if (smallest < -1) session.annotations.invalidRatio(smallest, -1, pos);
}

/**
 * What each group holds at each step: up to k series numbers with their values, as a heap with the weakest on top, so
 * that of equal values the earlier ones stay. NaN is weaker than any number. limitk just takes the first k.
 *
 * Memory is bounded by k per group and step, and by the group's size, whichever is less.
 */
class RankCells {
  held = 0;
  readonly #session: QuerySession;
  readonly #param: Float64Array;
  readonly #steps: number;
  /** 1: the largest stay; −1: the smallest; 0: the first. */
  readonly #sign: 1 | -1 | 0;
  readonly #limits: Int32Array;
  readonly #capacities: Int32Array;
  readonly #offsets: Uint32Array;
  readonly #sizes: Int32Array;
  readonly #rows: Int32Array;
  /** Values times sign, so that larger is always better. */
  readonly #ranks: Float64Array;
  /** By group and step: the rank that one has to exceed, NaN where that is not known to be so simple. */
  readonly #bars: Float64Array;
  /** Histograms that limitk took, by place. */
  readonly #histograms = new Map<number, FloatHistogram>();
  readonly #position: Position;
  /** Groups in the order in which values of them came. */
  readonly #seen = new Set<number>();

  constructor(
    session: QuerySession,
    members: readonly (readonly number[])[],
    param: Float64Array,
    { operator, pos }: Aggregation,
  ) {
    this.#position = pos;
    this.#session = session;
    this.#param = param;
    this.#steps = param.length;
    this.#sign = operator === 'topk' ? 1 : operator === 'bottomk' ? -1 : 0;
    const total = members.reduce((sum, rows) => sum + rows.length, 0);
    this.#limits = Int32Array.from(param, (k) => Math.max(0, Math.min(Math.trunc(k), total)));
    const largest = this.#limits.reduce((most, limit) => Math.max(most, limit), 0);
    this.#capacities = Int32Array.from(members, (rows) => Math.min(rows.length, largest));
    this.#offsets = new Uint32Array(members.length);
    let cells = 0;
    for (let group = 0; group < members.length; group++) {
      this.#offsets[group] = cells;
      cells += this.#capacities[group]! * this.#steps;
    }
    session.charge(cells * 12 + members.length * this.#steps * 12);
    this.#sizes = new Int32Array(members.length * this.#steps);
    this.#rows = new Int32Array(cells);
    this.#ranks = new Float64Array(cells);
    this.#bars = new Float64Array(members.length * this.#steps).fill(Number.NaN);
  }

  /**
   * Offers a series' column to its group.
   *
   * @param strikes  Whether values that were not taken are removed from the column.
   */
  offer(group: number, row: number, column: StepColumn, strikes = false): void {
    const capacity = this.#capacities[group]!;
    const offset = this.#offsets[group]!;
    const steps = this.#steps;
    const sign = this.#sign;
    const bars = this.#bars;
    const { kinds, values } = column;
    let isEmpty = true;
    for (let k = 0, cell = group * steps; k < steps; k++, cell++) {
      const kind = kinds[k]!;
      if (kind === ABSENT) continue;
      isEmpty = false;
      // Hot! Most values are weaker than all that are held.
      const isWeak = kind === FLOAT && sign * values[k]! <= bars[cell]!;
      const isTaken = !isWeak && this.#take(group, row, column, k, offset + k * capacity, capacity);
      if (strikes && !isTaken) kinds[k] = ABSENT;
    }
    if (!isEmpty) this.see(group);
  }

  /** Takes what a column has at a step, if it is to be held. */
  #take(group: number, row: number, column: StepColumn, k: number, base: number, capacity: number): boolean {
    const sign = this.#sign;
    const limit = this.#admits(column, k) ? Math.min(this.#limits[k]!, capacity) : 0;
    if (limit === 0) return false;
    const cell = group * this.#steps + k;
    const size = this.#sizes[cell]!;
    const rank = sign === -1 ? -column.values[k]! : column.values[k]!;
    if (size < limit) {
      this.#sizes[cell] = size + 1;
      this.#rows[base + size] = row;
      this.#ranks[base + size] = rank;
      if (column.kinds[k] === HISTOGRAM) this.#histograms.set(base + size, column.histograms[k]!);
      if (sign !== 0) rise(this.#rows, this.#ranks, base, size);
      if (sign !== 0 && size + 1 === limit) this.#bars[cell] = this.#ranks[base]!;
      return true;
    }
    if (sign === 0 || !isWeaker(this.#ranks[base]!, rank)) return false;
    this.#rows[base] = row;
    this.#ranks[base] = rank;
    sink(this.#rows, this.#ranks, base, size);
    this.#bars[cell] = this.#ranks[base]!;
    return true;
  }

  /** Gives a group its place among the others, unless it has one. */
  see(group: number): void {
    this.#seen.add(group);
  }

  get groupsSeen(): number {
    return this.#seen.size;
  }

  /** Histograms have no rank; only limitk takes them. */
  #admits(column: StepColumn, step: number): boolean {
    if (column.kinds[step] !== HISTOGRAM || this.#sign === 0) return true;
    const operator = this.#sign === 1 ? 'topk' : 'bottomk';
    if (this.#limits[step]! > 0) this.#session.annotations.histogramIgnored(operator, this.#position);
    return false;
  }

  /** The selected series; best first, group by group, where there is one step only. */
  result(series: readonly SeriesMeta[]): StoredVector {
    const table = new StepTable(this.#session, this.#steps);
    const metas: SeriesMeta[] = [];
    const known = new Map<number, number>();
    for (const group of this.#seen) {
      for (let k = 0; k < this.#param.length; k++) {
        const base = this.#offsets[group]! + k * this.#capacities[group]!;
        const size = this.#sizes[group * this.#steps + k]!;
        // The order only shows in instant queries.
        const ranked = this.#steps > 1 || this.#sign === 0 ? undefined : this.#ranked(base, size);
        for (let i = 0; i < size; i++) {
          const at = ranked === undefined ? base + i : ranked[i]!;
          const source = this.#rows[at]!;
          let row = known.get(source);
          if (row === undefined) {
            row = table.addRow();
            known.set(source, row);
            metas.push(series[source]!);
          }
          const offset = table.offset(row) + k;
          table.values(row)[offset] = this.#sign === -1 ? -this.#ranks[at]! : this.#ranks[at]!;
          table.kinds(row)[offset] = FLOAT;
          const histogram = this.#histograms.get(at);
          if (histogram !== undefined) table.putHistogram(row, k, histogram);
          this.held++;
        }
      }
    }
    return { series: metas, table };
  }

  /** Places of a cell's entries, best first. */
  #ranked(base: number, size: number): number[] {
    const places = Array.from({ length: size }, (_, i) => base + i);
    if (size > INSERTION_SORT_MAX) {
      const ranks = this.#ranks;
      return places.sort(
        (a, b) => Number(isWeaker(ranks[a]!, ranks[b]!)) - Number(isWeaker(ranks[b]!, ranks[a]!)),
      );
    }
    return this.#sortedAsUpstream(places);
  }

  /** Prometheus' order of few entries: an insertion sort by a comparison in which NaN comes before NaN. */
  #sortedAsUpstream(places: number[]): number[] {
    const ranks = this.#ranks;
    for (let i = 1; i < places.length; i++) {
      for (let at = i; at > 0 && isBelow(ranks[places[at - 1]!]!, ranks[places[at]!]!); at--) {
        const above = places[at - 1]!;
        places[at - 1] = places[at]!;
        places[at] = above;
      }
    }
    return places;
  }
}

/** Whether a value gives way to another one that comes. */
function isWeaker(a: number, b: number): boolean {
  return a < b || (Number.isNaN(a) && !Number.isNaN(b));
}

/** The heap's comparison, as Prometheus has it: NaN is below everything, NaN included. So the last of several NaN is the first to go. */
function isBelow(a: number, b: number): boolean {
  return a < b || Number.isNaN(a);
}

function rise(rows: Int32Array, ranks: Float64Array, base: number, from: number): void {
  let at = from;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBelow(ranks[base + at]!, ranks[base + parent]!)) return;
    swap(rows, ranks, base + at, base + parent);
    at = parent;
  }
}

function sink(rows: Int32Array, ranks: Float64Array, base: number, size: number): void {
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= size) return;
    if (child + 1 < size && isBelow(ranks[base + child + 1]!, ranks[base + child]!)) child++;
    if (!isBelow(ranks[base + child]!, ranks[base + at]!)) return;
    swap(rows, ranks, base + child, base + at);
    at = child;
  }
}

function swap(rows: Int32Array, ranks: Float64Array, a: number, b: number): void {
  const row = rows[a]!;
  const rank = ranks[a]!;
  rows[a] = rows[b]!;
  ranks[a] = ranks[b]!;
  rows[b] = row;
  ranks[b] = rank;
}

/**
 * limit_ratio: a series is in where its place in [0, 1), from the hash that Prometheus uses, is below the ratio; for a
 * negative ratio where it is not below 1 + ratio, so that r and r − 1 complement each other.
 */
class RatioOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;
  readonly #param: Float64Array;
  #next = 0;

  constructor(input: VectorOperand, param: Float64Array) {
    this.series = input.series;
    this.#input = input;
    this.#param = param;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    const place = Number(labelsHash64(this.series[this.#next++]!.labels)) / 2 ** 64;
    for (let k = 0; k < into.kinds.length; k++) {
      const limit = Math.max(-1, Math.min(1, this.#param[k]!));
      const isIn = limit >= 0 ? place < limit : place >= 1 + limit;
      if (!isIn) into.kinds[k] = ABSENT;
    }
  }
}

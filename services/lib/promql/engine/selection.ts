// topk, bottomk, limitk, limit_ratio: aggregations whose results are some of the input's series, labels and all.
import { AppError } from '../../core/errors.ts';
import type { Aggregation } from '../ast.ts';
import { unwrap } from './expressions.ts';
import { formatG } from './go-format.ts';
import type { Grid } from './grid.ts';
import { groupSeries, membersOf } from './grouping.ts';
import { labelsHash64 } from './labels-hash.ts';
import { ABSENT, countPresent, type SeriesMeta, StepColumn, type VectorOperand } from './operand.ts';
import type { Evaluator, QuerySession } from './session.ts';
import { StepTable, StoredOperand, type StoredVector, storeVector } from './step-table.ts';

const INT64_MAX = 2 ** 63;

/** Opens topk, bottomk, limitk or limit_ratio. */
export async function openSelection(
  evaluator: Evaluator,
  expr: Aggregation,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const before = session.samplesCurrent;
  const param = await evaluator.scalar(expr.param!, grid);
  const isRatio = expr.operator === 'limit_ratio';
  const isEmpty = isRatio ? checkRatios(session, expr, param) : checkCounts(param);
  if (isEmpty) return new StoredOperand({ series: [], table: new StepTable(session, grid.steps) });
  const input = await evaluator.vector(expr.expr, grid);
  const members = membersOf(groupSeries(expr, input.series));
  const stored = await storeVector(session, input, new StepColumn(grid.steps));
  const chosen = new Chosen(session, stored, grid.steps);
  const ratios = isRatio ? ratiosOf(stored.series) : undefined;
  for (const rows of members) {
    if (session.isSliceOver()) await session.pause();
    for (let k = 0; k < grid.steps; k++) {
      if (ratios !== undefined) chooseRatio(stored.table, rows, k, param[k]!, ratios, chosen);
      else
        chooseCount(
          expr.operator,
          stored.table,
          rows,
          k,
          Math.min(Math.trunc(param[k]!), stored.series.length),
          chosen,
        );
    }
  }
  const result = chosen.result();
  session.settleSamples(before, chosen.held);
  return new StoredOperand(result);
}

/** Checks k at every step; true when no step selects anything. */
function checkCounts(param: Float64Array): boolean {
  let smallest = Number.POSITIVE_INFINITY;
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of param) {
    if (Number.isNaN(value)) throw new AppError('execution', 'Parameter value is NaN');
    smallest = Math.min(smallest, value);
    largest = Math.max(largest, value);
  }
  if (largest < 1) return true;
  if (smallest <= -INT64_MAX) {
    throw new AppError('execution', `Scalar value ${formatG(smallest)} underflows int64`);
  }
  if (largest >= INT64_MAX) {
    throw new AppError('execution', `Scalar value ${formatG(largest)} overflows int64`);
  }
  return false;
}

/** Checks the ratio at every step; true when no step selects anything. */
function checkRatios(session: QuerySession, expr: Aggregation, param: Float64Array): boolean {
  let smallest = Number.POSITIVE_INFINITY;
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of param) {
    if (Number.isNaN(value)) throw new AppError('execution', 'Ratio value is NaN');
    smallest = Math.min(smallest, value);
    largest = Math.max(largest, value);
  }
  if (smallest === 0 && largest === 0) return true;
  const { pos } = unwrap(expr.param!);
  if (largest > 1) session.annotations.invalidRatio(largest, 1, pos);
  if (smallest < -1) session.annotations.invalidRatio(smallest, -1, pos);
  return false;
}

/** Which values of the input are in the result, and in which order for an instant query. */
class Chosen {
  held = 0;
  readonly #input: StoredVector;
  readonly #steps: number;
  readonly #flags: Uint8Array;
  readonly #order: number[] = [];

  constructor(session: QuerySession, input: StoredVector, steps: number) {
    this.#input = input;
    this.#steps = steps;
    session.charge(input.series.length * steps);
    this.#flags = new Uint8Array(input.series.length * steps);
  }

  take(row: number, step: number): void {
    this.#flags[row * this.#steps + step] = 1;
    this.held++;
    if (this.#steps === 1) this.#order.push(row);
  }

  result(): StoredVector {
    const { series, table } = this.#input;
    const rows = this.#steps === 1 ? this.#order : series.map((_, row) => row);
    const column = new StepColumn(this.#steps);
    const out = new StepTable(table.session, this.#steps);
    const metas: SeriesMeta[] = [];
    for (const row of rows) {
      table.load(row, column);
      for (let k = 0; k < this.#steps; k++) {
        if (this.#flags[row * this.#steps + k] === 0) column.kinds[k] = ABSENT;
      }
      if (countPresent(column.kinds, 0, this.#steps) === 0) continue;
      out.append(column);
      metas.push(series[row]!);
    }
    return { series: metas, table: out };
  }
}

/** topk, bottomk, limitk of one group at one step. */
function chooseCount(
  operator: Aggregation['operator'],
  table: StepTable,
  rows: readonly number[],
  step: number,
  k: number,
  chosen: Chosen,
): void {
  if (k < 1) return;
  if (operator === 'limitk') {
    let left = k;
    for (const row of rows) {
      if (left === 0) return;
      if (table.kinds(row)[table.offset(row) + step] === ABSENT) continue;
      chosen.take(row, step);
      left--;
    }
    return;
  }
  const heap = new RankHeap(table, step, operator === 'topk' ? 1 : -1, k);
  for (const row of rows) {
    if (table.kinds(row)[table.offset(row) + step] !== ABSENT) heap.offer(row);
  }
  for (const row of heap.ranked()) chosen.take(row, step);
}

/**
 * The k largest (sign 1) or smallest (sign −1) rows at a step. NaN is worse than any number. The weakest row is on
 * top, and a newcomer replaces it only when it is better, so that of equal rows the earlier ones stay.
 */
class RankHeap {
  readonly #table: StepTable;
  readonly #step: number;
  readonly #sign: 1 | -1;
  readonly #limit: number;
  readonly #rows: number[] = [];

  constructor(table: StepTable, step: number, sign: 1 | -1, limit: number) {
    this.#table = table;
    this.#step = step;
    this.#sign = sign;
    this.#limit = limit;
  }

  offer(row: number): void {
    if (this.#rows.length < this.#limit) {
      this.#rows.push(row);
      this.#rise(this.#rows.length - 1);
    } else if (this.#isWeaker(this.#rows[0]!, row)) {
      this.#rows[0] = row;
      this.#sink(0);
    }
  }

  /** Best first. */
  ranked(): number[] {
    return this.#rows.sort((a, b) => {
      if (this.#isWeaker(b, a)) return -1;
      return this.#isWeaker(a, b) ? 1 : 0;
    });
  }

  #isWeaker(a: number, b: number): boolean {
    const x = this.#table.values(a)[this.#table.offset(a) + this.#step]! * this.#sign;
    const y = this.#table.values(b)[this.#table.offset(b) + this.#step]! * this.#sign;
    return x < y || (Number.isNaN(x) && !Number.isNaN(y));
  }

  #rise(from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isWeaker(this.#rows[at]!, this.#rows[parent]!)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #sink(from: number): void {
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#rows.length) return;
      const other = child + 1;
      if (other < this.#rows.length && this.#isWeaker(this.#rows[other]!, this.#rows[child]!)) child = other;
      if (!this.#isWeaker(this.#rows[child]!, this.#rows[at]!)) return;
      this.#swap(at, child);
      at = child;
    }
  }

  #swap(a: number, b: number): void {
    const row = this.#rows[a]!;
    this.#rows[a] = this.#rows[b]!;
    this.#rows[b] = row;
  }
}

/** Each series' place in [0, 1), from the hash that Prometheus uses: the same series are selected everywhere. */
function ratiosOf(series: readonly SeriesMeta[]): Float64Array {
  const ratios = new Float64Array(series.length);
  for (let i = 0; i < series.length; i++) {
    ratios[i] = Number(labelsHash64(series[i]!.labels)) / 2 ** 64;
  }
  return ratios;
}

function chooseRatio(
  table: StepTable,
  rows: readonly number[],
  step: number,
  param: number,
  ratios: Float64Array,
  chosen: Chosen,
): void {
  const limit = Math.max(-1, Math.min(1, param));
  if (limit === 0) return;
  for (const row of rows) {
    if (table.kinds(row)[table.offset(row) + step] === ABSENT) continue;
    const isIn = limit >= 0 ? ratios[row]! < limit : ratios[row]! >= 1 + limit;
    if (isIn) chosen.take(row, step);
  }
}

// What sum, avg, min, max, count, group, stddev and stdvar keep per group and step, and how a column is added to it.
// Cells of group g are [g·steps, (g + 1)·steps). The order of additions is Prometheus', and so are the bits.
import type { Aggregation } from '../../ast.ts';
import { errorOfSum } from '../kahan.ts';
import { ABSENT, FLOAT, type StepColumn } from '../operand.ts';
import type { QuerySession } from '../session.ts';

export type StreamedOperator = Extract<
  Aggregation['operator'],
  'sum' | 'avg' | 'min' | 'max' | 'count' | 'group' | 'stddev' | 'stdvar'
>;

/** Columns of cells; which of the extra ones are used depends on the operator. */
export interface Cells {
  readonly kinds: Uint8Array<ArrayBuffer>;
  readonly values: Float64Array<ArrayBuffer>;
  /** Compensation of the sum. */
  readonly compensations: Float64Array<ArrayBuffer>;
  readonly counts: Float64Array<ArrayBuffer>;
  readonly means: Float64Array<ArrayBuffer>;
  /** 1 where the average is kept incrementally because the sum overflowed. */
  readonly incremental: Uint8Array<ArrayBuffer>;
  /** By group, of sums: whether they may be added to without a look at each. */
  readonly regularity: Uint8Array<ArrayBuffer>;
  /**
   * Finite values added up to infinity somewhere, or parts have zeros of either sign as their least or largest value: the
   * result depends on the order of series.
   */
  dependsOnOrder: boolean;
}

// What is known of the sums of a group.
const UNKNOWN = 0;
/** There is a sum at each step, and none is infinite. */
const REGULAR = 1;
/** Some are no finite numbers. */
const IRREGULAR = 2;

/** Empty cells of so many groups. */
export function makeCells(
  session: QuerySession,
  operator: StreamedOperator,
  groups: number,
  steps: number,
): Cells {
  const size = groups * steps;
  const sums = operator === 'sum' || operator === 'avg';
  const moments = operator === 'stddev' || operator === 'stdvar';
  const counted = operator === 'avg' || moments;
  const averaged = operator === 'avg';
  const doubles = 1 + (sums ? 1 : 0) + (counted ? 1 : 0) + (averaged || moments ? 1 : 0);
  const kept = operator === 'sum' ? groups : 0;
  session.charge(size * (doubles * 8 + 1 + (averaged ? 1 : 0)) + kept);
  return {
    kinds: new Uint8Array(size),
    values: new Float64Array(size),
    compensations: new Float64Array(sums ? size : 0),
    counts: new Float64Array(counted ? size : 0),
    means: new Float64Array(averaged || moments ? size : 0),
    incremental: new Uint8Array(averaged ? size : 0),
    regularity: new Uint8Array(kept),
    dependsOnOrder: false,
  };
}

/** Adds a series' column to the cells of its group. */
export function accumulate(
  operator: StreamedOperator,
  cells: Cells,
  offset: number,
  column: StepColumn,
): void {
  switch (operator) {
    case 'sum':
      addSums(cells, offset, column);
      return;
    case 'avg':
      addAverages(cells, offset, column);
      return;
    case 'min':
      addMinima(cells, offset, column);
      return;
    case 'max':
      addMaxima(cells, offset, column);
      return;
    case 'count':
      addCounts(cells, offset, column);
      return;
    case 'group':
      addPresence(cells, offset, column);
      return;
    case 'stddev':
    case 'stdvar':
      addMoments(cells, offset, column);
  }
}

function addSums(cells: Cells, offset: number, column: StepColumn): void {
  const { regularity } = cells;
  const group = offset / column.kinds.length;
  if (column.kinds.includes(ABSENT)) {
    if (addEachSum(cells, offset, column)) regularity[group] = IRREGULAR;
  } else if (regularity[group] === REGULAR) {
    if (addAllSums(cells.values, cells.compensations, offset, column.values)) return;
    regularity[group] = IRREGULAR;
    amendSums(cells, offset, column.values);
  } else {
    addEachSum(cells, offset, column);
    if (regularity[group] === UNKNOWN) {
      regularity[group] = areFinite(cells.values, offset, offset + column.kinds.length) ? REGULAR : IRREGULAR;
    }
  }
}

/** Adds what there is. Returns whether a sum of two became infinite. */
function addEachSum(cells: Cells, offset: number, column: StepColumn): boolean {
  const { kinds, values, compensations } = cells;
  const { kinds: newKinds, values: newValues } = column;
  const steps = newKinds.length;
  let isInfinite = false;
  for (let k = 0, at = offset; k < steps; k++, at++) {
    if (newKinds[k] === ABSENT) continue;
    const value = newValues[k]!;
    if (kinds[at] === ABSENT) {
      kinds[at] = FLOAT;
      values[at] = value;
      continue;
    }
    const sum = values[at]!;
    const total = sum + value;
    values[at] = total;
    if (Math.abs(total) === Number.POSITIVE_INFINITY) {
      isInfinite = true;
      compensations[at] = 0;
      noteOverflow(cells, sum, value);
    } else {
      compensations[at] = compensations[at]! + errorOfSum(sum, value, total);
    }
  }
  return isInfinite;
}

/**
 * Hot! As addEachSum() where each step has a sum and a value. Returns false when some are no finite numbers: amendSums() is to follow.
 *
 * Cost: a third of that of asking at each step, which takes longer than the additions.
 */
function addAllSums(
  values: Float64Array,
  compensations: Float64Array,
  offset: number,
  newValues: Float64Array,
): boolean {
  const steps = newValues.length;
  const from = offset | 0;
  // Becomes NaN with the first total that is not finite.
  let zero = 0;
  for (let k = 0; k < steps; k++) {
    const value = newValues[k]!;
    const sum = values[from + k]!;
    const total = sum + value;
    values[from + k] = total;
    compensations[from + k] = compensations[from + k]! + errorOfSum(sum, value, total);
    zero += total - total;
  }
  return zero === 0;
}

/** What addEachSum() does where a sum becomes infinite, which none of the group was before. */
function amendSums(cells: Cells, offset: number, newValues: Float64Array): void {
  const { values, compensations } = cells;
  for (let k = 0; k < newValues.length; k++) {
    if (Math.abs(values[offset + k]!) !== Number.POSITIVE_INFINITY) continue;
    compensations[offset + k] = 0;
    noteOverflow(cells, 0, newValues[k]!);
  }
}

function areFinite(values: Float64Array, from: number, to: number): boolean {
  let zero = 0;
  for (let i = from; i < to; i++) zero += values[i]! - values[i]!;
  return zero === 0;
}

function noteOverflow(cells: Cells, a: number, b: number): void {
  if (Number.isFinite(a) && Number.isFinite(b)) cells.dependsOnOrder = true;
}

function addAverages(cells: Cells, offset: number, column: StepColumn): void {
  const { kinds, values, compensations, counts, incremental } = cells;
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    const at = offset + k;
    const value = column.values[k]!;
    counts[at] = counts[at]! + 1;
    if (kinds[at] === ABSENT) {
      kinds[at] = FLOAT;
      values[at] = value;
      continue;
    }
    const sum = values[at]!;
    const total = sum + value;
    if (incremental[at] === 1 || total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) {
      if (incremental[at] === 0) noteOverflow(cells, sum, value);
      addIncrementally(cells, at, value);
      continue;
    }
    compensations[at] = compensations[at]! + errorOfSum(sum, value, total);
    values[at] = total;
  }
}

/** The mean of means, from where the plain sum would overflow. */
function addIncrementally(cells: Cells, at: number, value: number): void {
  const { values, compensations, counts, means, incremental } = cells;
  const count = counts[at]!;
  if (incremental[at] === 0) {
    incremental[at] = 1;
    means[at] = values[at]! / (count - 1);
    compensations[at] = compensations[at]! / (count - 1);
  }
  const share = (count - 1) / count;
  const base = share * means[at]!;
  const increment = value / count;
  const mean = base + increment;
  let compensation = share * compensations[at]!;
  if (mean === Number.POSITIVE_INFINITY || mean === Number.NEGATIVE_INFINITY) compensation = 0;
  else if (Math.abs(base) >= Math.abs(increment)) compensation += base - mean + increment;
  else compensation += increment - mean + base;
  means[at] = mean;
  compensations[at] = compensation;
}

function addMinima(cells: Cells, offset: number, column: StepColumn): void {
  const { kinds, values } = cells;
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    const at = offset + k;
    const value = column.values[k]!;
    if (kinds[at] === ABSENT || values[at]! > value || Number.isNaN(values[at])) values[at] = value;
    kinds[at] = FLOAT;
  }
}

function addMaxima(cells: Cells, offset: number, column: StepColumn): void {
  const { kinds, values } = cells;
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    const at = offset + k;
    const value = column.values[k]!;
    if (kinds[at] === ABSENT || values[at]! < value || Number.isNaN(values[at])) values[at] = value;
    kinds[at] = FLOAT;
  }
}

function addCounts(cells: Cells, offset: number, column: StepColumn): void {
  const { kinds, values } = cells;
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    values[offset + k] = values[offset + k]! + 1;
    kinds[offset + k] = FLOAT;
  }
}

function addPresence(cells: Cells, offset: number, column: StepColumn): void {
  const { kinds, values } = cells;
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    values[offset + k] = 1;
    kinds[offset + k] = FLOAT;
  }
}

/** Welford: counts, means, and in `values` the sum of squared deviations. */
function addMoments(cells: Cells, offset: number, column: StepColumn): void {
  const { kinds, values, counts, means } = cells;
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    const at = offset + k;
    const value = column.values[k]!;
    const count = counts[at]! + 1;
    counts[at] = count;
    if (kinds[at] === ABSENT) {
      kinds[at] = FLOAT;
      means[at] = value;
      values[at] = Number.isFinite(value) ? 0 : Number.NaN;
      continue;
    }
    const deviation = value - means[at]!;
    const mean = means[at]! + deviation / count;
    means[at] = mean;
    values[at] = values[at]! + deviation * (value - mean);
  }
}

/** Columns that belong to an operator's values in a partial result. */
export function cellColumns(operator: StreamedOperator, cells: Cells): readonly Float64Array<ArrayBuffer>[] {
  switch (operator) {
    case 'sum':
      return [cells.compensations];
    case 'avg':
      return [cells.compensations, cells.counts];
    case 'stddev':
    case 'stdvar':
      return [cells.counts, cells.means];
    default:
      return [];
  }
}

/**
 * Makes averages that are kept incrementally plain sums. They are of infinite values: where finite ones overflowed, the
 * part declines.
 */
export function plainSums({ values, compensations, means, incremental }: Cells): void {
  for (let i = 0; i < incremental.length; i++) {
    if (incremental[i] === 0) continue;
    values[i] = means[i]!;
    compensations[i] = 0;
    incremental[i] = 0;
  }
}

/**
 * Adds what a part accumulated to a cell.
 *
 * @param columns  As cellColumns() gives them, at index `from`.
 */
export function mergeCell(
  operator: StreamedOperator,
  cells: Cells,
  at: number,
  value: number,
  columns: readonly Float64Array[],
  from: number,
): void {
  const { kinds, values, counts } = cells;
  const isFirst = kinds[at] === ABSENT;
  kinds[at] = FLOAT;
  switch (operator) {
    case 'sum':
    case 'avg':
      if (operator === 'avg') counts[at] = counts[at]! + columns[1]![from]!;
      mergeSums(cells, at, value, columns[0]![from]!, isFirst);
      return;
    case 'stddev':
    case 'stdvar':
      mergeMoments(cells, at, value, columns[0]![from]!, columns[1]![from]!);
      return;
    case 'min':
      if (!isFirst) noteZeros(cells, values[at]!, value);
      if (isFirst || values[at]! > value || Number.isNaN(values[at])) values[at] = value;
      return;
    case 'max':
      if (!isFirst) noteZeros(cells, values[at]!, value);
      if (isFirst || values[at]! < value || Number.isNaN(values[at])) values[at] = value;
      return;
    case 'count':
      values[at] = values[at]! + value;
      return;
    case 'group':
      values[at] = value;
  }
}

/** Of equal values the first one stays, which shows where they are zeros of either sign. */
function noteZeros(cells: Cells, a: number, b: number): void {
  if (a === 0 && b === 0 && !Object.is(a, b)) cells.dependsOnOrder = true;
}

function mergeSums(cells: Cells, at: number, sum: number, compensation: number, isFirst: boolean): void {
  const { values, compensations } = cells;
  if (isFirst) {
    values[at] = sum;
    compensations[at] = compensation;
    return;
  }
  const own = values[at]!;
  const total = own + sum;
  values[at] = total;
  if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) {
    compensations[at] = 0;
    noteOverflow(cells, own, sum);
    return;
  }
  const lost = Math.abs(own) >= Math.abs(sum) ? own - total + sum : sum - total + own;
  compensations[at] = compensations[at]! + compensation + lost;
}

/** Chan, Golub and LeVeque: moments of two sets together. An empty cell has count 0. */
function mergeMoments(cells: Cells, at: number, squares: number, count: number, mean: number): void {
  const { values, counts, means } = cells;
  const before = counts[at]!;
  if (before === 0) {
    values[at] = squares;
    counts[at] = count;
    means[at] = mean;
    return;
  }
  const both = before + count;
  const distance = mean - means[at]!;
  values[at] = values[at]! + squares + (distance * distance * before * count) / both;
  means[at] = means[at]! + (distance * count) / both;
  counts[at] = both;
}

/** Turns what was accumulated into results, in `values`. */
export function finish(operator: StreamedOperator, cells: Cells): void {
  const { values, compensations, counts, means, incremental } = cells;
  switch (operator) {
    case 'sum':
      for (let i = 0; i < values.length; i++) values[i] = values[i]! + compensations[i]!;
      return;
    case 'avg':
      for (let i = 0; i < values.length; i++) {
        const count = counts[i]!;
        if (incremental[i] === 1) values[i] = means[i]! + compensations[i]!;
        else values[i] = values[i]! / count + compensations[i]! / count;
      }
      return;
    case 'stdvar':
      for (let i = 0; i < values.length; i++) values[i] = values[i]! / counts[i]!;
      return;
    case 'stddev':
      for (let i = 0; i < values.length; i++) values[i] = Math.sqrt(values[i]! / counts[i]!);
      return;
    case 'min':
    case 'max':
    case 'count':
    case 'group':
      return;
  }
}

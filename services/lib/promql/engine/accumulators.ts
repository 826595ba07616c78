// What sum, avg, min, max, count, group, stddev and stdvar keep per group and step, and how a column is added to it.
// Cells of group g are [g·steps, (g + 1)·steps). The order of additions is Prometheus', and so are the bits.
import type { Aggregation } from '../ast.ts';
import { ABSENT, FLOAT, type StepColumn } from './operand.ts';
import type { QuerySession } from './session.ts';

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
}

export function makeCells(session: QuerySession, operator: StreamedOperator, size: number): Cells {
  const sums = operator === 'sum' || operator === 'avg';
  const moments = operator === 'stddev' || operator === 'stdvar';
  const counted = operator === 'avg' || moments;
  const averaged = operator === 'avg';
  const doubles = 1 + (sums ? 1 : 0) + (counted ? 1 : 0) + (averaged || moments ? 1 : 0);
  session.charge(size * (doubles * 8 + 1 + (averaged ? 1 : 0)));
  return {
    kinds: new Uint8Array(size),
    values: new Float64Array(size),
    compensations: new Float64Array(sums ? size : 0),
    counts: new Float64Array(counted ? size : 0),
    means: new Float64Array(averaged || moments ? size : 0),
    incremental: new Uint8Array(averaged ? size : 0),
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
  const { kinds, values, compensations } = cells;
  for (let k = 0; k < column.kinds.length; k++) {
    if (column.kinds[k] === ABSENT) continue;
    const at = offset + k;
    const value = column.values[k]!;
    if (kinds[at] === ABSENT) {
      kinds[at] = FLOAT;
      values[at] = value;
      continue;
    }
    const sum = values[at]!;
    const total = sum + value;
    if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) compensations[at] = 0;
    else if (Math.abs(sum) >= Math.abs(value)) compensations[at] = compensations[at]! + (sum - total + value);
    else compensations[at] = compensations[at]! + (value - total + sum);
    values[at] = total;
  }
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
      addIncrementally(cells, at, value);
      continue;
    }
    if (Math.abs(sum) >= Math.abs(value)) compensations[at] = compensations[at]! + (sum - total + value);
    else compensations[at] = compensations[at]! + (value - total + sum);
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

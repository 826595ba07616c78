// sort, sort_desc, sort_by_label, sort_by_label_desc: the order of an instant query's result. Range queries are always
// ordered by labels, so there these functions only say that they have no effect.
import type { Labels } from '../../../model/labels.ts';
import type { Call } from '../../ast.ts';
import { stringArgument } from '../expressions.ts';
import type { Grid } from '../grid.ts';
import { ABSENT, FLOAT, HISTOGRAM, type SeriesMeta, StepColumn, type VectorOperand } from '../operand.ts';
import type { Evaluator } from '../session.ts';
import { StepTable, StoredOperand, storeVector } from '../step-table.ts';

/** Opens one of the sort functions. */
export async function openSort(evaluator: Evaluator, call: Call, grid: Grid): Promise<VectorOperand> {
  const { session } = evaluator;
  const input = await evaluator.vector(call.args[0]!, grid);
  if (grid.steps > 1) session.annotations.sortInRangeQuery(call.pos);
  const isByValue = call.func === 'sort' || call.func === 'sort_desc';
  if (grid.steps !== 1) return isByValue ? new FloatsOperand(input) : input;
  const column = new StepColumn(1);
  const { series, table } = await storeVector(session, input, column);
  const rows = series
    .map((_, row) => row)
    .filter((row) => {
      const kind = table.kinds(row)[table.offset(row)];
      return isByValue ? kind === FLOAT : kind !== ABSENT;
    });
  if (isByValue) {
    const sign = call.func === 'sort' ? 1 : -1;
    const valueAt = (row: number): number => table.values(row)[table.offset(row)]!;
    // Of several NaNs the last comes first: to Prometheus each is less than any other.
    const tie = (a: number, b: number): number => (Number.isNaN(valueAt(a)) ? b - a : a - b);
    rows.sort((a, b) => compareValues(valueAt(a), valueAt(b), sign) || tie(a, b));
  } else {
    const names = call.args.slice(1).map((_, i) => stringArgument(call, i + 1));
    const sign = call.func === 'sort_by_label' ? 1 : -1;
    rows.sort((a, b) => sign * compareByLabels(series[a]!.labels, series[b]!.labels, names));
  }
  const sorted = new StepTable(session, 1);
  for (const row of rows) {
    table.load(row, column);
    sorted.append(column);
  }
  return new StoredOperand({ series: rows.map((row) => series[row]!), table: sorted });
}

/** Values that can be sorted: without native histograms. */
class FloatsOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #input: VectorOperand;

  constructor(input: VectorOperand) {
    this.series = input.series;
    this.#input = input;
  }

  next(into: StepColumn): void {
    this.#input.next(into);
    if (!into.mayHaveHistograms) return;
    for (let k = 0; k < into.kinds.length; k++) if (into.kinds[k] === HISTOGRAM) into.kinds[k] = ABSENT;
    into.mayHaveHistograms = false;
  }
}

/** NaN comes last in both directions. */
function compareValues(a: number, b: number, sign: number): number {
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1;
  if (Number.isNaN(b)) return -1;
  return a === b ? 0 : a < b ? -sign : sign;
}

function compareByLabels(a: Labels, b: Labels, names: readonly string[]): number {
  for (const name of names) {
    const x = a.get(name);
    const y = b.get(name);
    if (x !== y) return isNaturallyLess(x, y) ? -1 : 1;
  }
  return a.compareTo(b);
}

/** Natural order: runs of digits compare as numbers, all else as text. */
export function isNaturallyLess(a: string, b: string): boolean {
  const as = a.match(/\d+|\D+/g) ?? [''];
  const bs = b.match(/\d+|\D+/g) ?? [''];
  for (let i = 0; i < as.length; i++) {
    if (i >= bs.length) return false;
    const x = as[i]!;
    const y = bs[i]!;
    const order = compareChunks(x, y);
    if (order !== 0) return order < 0;
    if (i === as.length - 1) return true;
    if (i === bs.length - 1) return false;
  }
  return false;
}

function compareChunks(a: string, b: string): number {
  if (/^\d/.test(a) && /^\d/.test(b)) {
    const x = BigInt(a);
    const y = BigInt(b);
    return x === y ? 0 : x < y ? -1 : 1;
  }
  return a === b ? 0 : a < b ? -1 : 1;
}

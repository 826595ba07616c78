// Step values of many series, row by row in large blocks instead of an array per series.
import type { FloatHistogram } from '../../model/float-histogram.ts';
import { HISTOGRAM, type SeriesMeta, type StepColumn, type VectorOperand } from './operand.ts';
import type { QuerySession } from './session.ts';

/** Cells per block: 64 Ki values are half a megabyte, large enough that blocks are few, small enough to waste little. */
const CELLS_PER_BLOCK = 65_536;
/** Cells that a table begins with. Most results are small: its first block doubles until it is a whole one. */
const CELLS_AT_FIRST = 512;

/** Bytes of a cell: a value and its kind. */
export const CELL_BYTES = 9;

/** Rows of step values; rows are added, written and read by number. */
export class StepTable {
  readonly steps: number;
  readonly session: QuerySession;
  readonly #rowsPerBlock: number;
  readonly #values: Float64Array<ArrayBuffer>[] = [];
  readonly #kinds: Uint8Array<ArrayBuffer>[] = [];
  /** Histograms of the rows that have any, by step. */
  readonly #histograms = new Map<number, (FloatHistogram | undefined)[]>();
  #rows = 0;
  /** Rows that the blocks have room for. */
  #capacity = 0;

  constructor(session: QuerySession, steps: number) {
    this.steps = steps;
    this.session = session;
    this.#rowsPerBlock = Math.max(1, Math.floor(CELLS_PER_BLOCK / Math.max(1, steps)));
  }

  get rows(): number {
    return this.#rows;
  }

  /** Makes room for so many rows of an empty table at once, as far as a block has it: doubling copies what is there each time. */
  reserve(rows: number): void {
    if (this.#capacity === 0 && rows > 0) this.#addBlock(Math.min(rows, this.#rowsPerBlock));
  }

  /** Adds an empty row and answers its number. */
  addRow(): number {
    const row = this.#rows++;
    if (row === this.#capacity) this.#grow();
    return row;
  }

  /** Array that holds the row's values from offset(row) on; until a row is added. */
  values(row: number): Float64Array<ArrayBuffer> {
    return this.#values[Math.floor(row / this.#rowsPerBlock)]!;
  }

  /** Array that holds the row's kinds from offset(row) on; until a row is added. */
  kinds(row: number): Uint8Array<ArrayBuffer> {
    return this.#kinds[Math.floor(row / this.#rowsPerBlock)]!;
  }

  offset(row: number): number {
    return (row % this.#rowsPerBlock) * this.steps;
  }

  /** Copies a column into a new row. */
  append(column: StepColumn): number {
    const row = this.addRow();
    const offset = this.offset(row);
    this.values(row).set(column.values, offset);
    this.kinds(row).set(column.kinds, offset);
    if (column.mayHaveHistograms) this.#histograms.set(row, column.histograms.slice(0, this.steps));
    return row;
  }

  /** Copies a row into a column. */
  load(row: number, into: StepColumn): void {
    const offset = this.offset(row);
    into.values.set(this.values(row).subarray(offset, offset + this.steps));
    into.kinds.set(this.kinds(row).subarray(offset, offset + this.steps));
    const histograms = this.#histograms.get(row);
    into.mayHaveHistograms = histograms !== undefined;
    if (histograms === undefined) return;
    for (let k = 0; k < this.steps; k++) into.histograms[k] = histograms[k];
  }

  hasHistograms(row: number): boolean {
    return this.#histograms.has(row);
  }

  /** Histogram at a step, where there is one. */
  histogramAt(row: number, step: number): FloatHistogram | undefined {
    const isHistogram = this.kinds(row)[this.offset(row) + step] === HISTOGRAM;
    return isHistogram ? this.#histograms.get(row)![step] : undefined;
  }

  /** What a present step holds: a histogram or a float. */
  sampleAt(row: number, step: number): FloatHistogram | number {
    return this.histogramAt(row, step) ?? this.values(row)[this.offset(row) + step]!;
  }

  /** Puts a histogram at a step. */
  putHistogram(row: number, step: number, histogram: FloatHistogram): void {
    let histograms = this.#histograms.get(row);
    if (histograms === undefined) this.#histograms.set(row, (histograms = []));
    histograms[step] = histogram;
    this.kinds(row)[this.offset(row) + step] = HISTOGRAM;
  }

  #grow(): void {
    if (this.#capacity >= this.#rowsPerBlock) {
      this.#addBlock(this.#rowsPerBlock);
      return;
    }
    const atFirst = Math.ceil(CELLS_AT_FIRST / Math.max(1, this.steps));
    const rows = Math.min(this.#rowsPerBlock, Math.max(atFirst, 2 * this.#capacity));
    const values = this.#values.pop();
    const kinds = this.#kinds.pop();
    this.session.charge(-this.#capacity * this.steps * CELL_BYTES);
    this.#capacity = 0;
    this.#addBlock(rows);
    if (values !== undefined) this.#values[0]!.set(values);
    if (kinds !== undefined) this.#kinds[0]!.set(kinds);
  }

  #addBlock(rows: number): void {
    const cells = rows * this.steps;
    this.session.charge(cells * CELL_BYTES);
    this.#values.push(new Float64Array(cells));
    this.#kinds.push(new Uint8Array(cells));
    this.#capacity += rows;
  }
}

/** A vector that is all in memory: series i is row i. */
export interface StoredVector {
  readonly series: readonly SeriesMeta[];
  readonly table: StepTable;
}

/** Reads an operand to its end. */
export async function storeVector(
  session: QuerySession,
  operand: VectorOperand,
  column: StepColumn,
): Promise<StoredVector> {
  const table = new StepTable(session, column.values.length);
  table.reserve(operand.series.length);
  for (let i = 0; i < operand.series.length; i++) {
    if (session.isSliceOver()) await session.pause();
    operand.next(column);
    table.append(column);
  }
  return { series: operand.series, table };
}

/** Hands out a stored vector. */
export class StoredOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #table: StepTable;
  #row = 0;

  constructor(stored: StoredVector) {
    this.series = stored.series;
    this.#table = stored.table;
  }

  next(into: StepColumn): void {
    this.#table.load(this.#row++, into);
  }
}

// Arithmetic and comparison between two vectors. The "one" side is stored, the "many" side streams through; results
// are rows by label set. Errors are Prometheus', and so is when they occur: only for values at the same step.
import { AppError } from '../../../core/errors.ts';
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import type { Labels } from '../../../model/labels.ts';
import type { BinaryExpr, Position, VectorMatching } from '../../ast.ts';
import { Annotations } from '../annotations.ts';
import type { Grid } from '../grid.ts';
import { combinePair } from '../histograms/histogram-binary.ts';
import { sameLabelsError } from '../names.ts';
import {
  ABSENT,
  countPresent,
  FLOAT,
  HISTOGRAM,
  type SeriesMeta,
  StepColumn,
  type VectorOperand,
} from '../operand.ts';
import type { AnnotationRecord } from '../parts/partial.ts';
import type { Evaluator, QuerySession } from '../session.ts';
import { StepTable, StoredOperand, type StoredVector, storeVector } from '../step-table.ts';
import {
  type ArithmeticOperator,
  type ComparisonOperator,
  compareColumn,
  computeColumn,
  isComparison,
  isTrim,
  type TrimOperator,
} from './arithmetic.ts';
import { markBoth, writeColumn } from './join-columns.ts';
import { rejectConflicts } from './join-conflicts.ts';
import { matchedLabels, resultLabels, type Signatures, signaturesOf } from './matching.ts';

const ONE_TO_ONE =
  'multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)';
const GROUPING = 'multiple matches for labels: grouping labels must ensure unique matches';

/** Opens `vector ⊕ vector`, set operators excepted. */
export async function openVectorBinary(
  evaluator: Evaluator,
  expr: BinaryExpr,
  matching: VectorMatching,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const before = session.samplesCurrent;
  const left = await evaluator.vector(expr.left, grid);
  const right = await evaluator.vector(expr.right, grid);
  const join = new Join(session, expr, matching, grid, left, right);
  const result = await join.run();
  let held = 0;
  for (let row = 0; row < result.table.rows; row++) {
    held += countPresent(result.table.kinds(row), result.table.offset(row), grid.steps);
  }
  session.settleSamples(before, held);
  return new StoredOperand(result);
}

class Join {
  readonly #session: QuerySession;
  readonly #operator: ArithmeticOperator | ComparisonOperator | TrimOperator;
  readonly #position: Position;
  readonly #returnBool: boolean;
  readonly #matching: VectorMatching;
  readonly #steps: number;
  readonly #swapped: boolean;
  readonly #many: VectorOperand;
  readonly #one: VectorOperand;
  readonly #manySignature: Int32Array;
  readonly #oneSignature: Int32Array;
  readonly #signatures: Signatures;
  readonly #table: StepTable;
  readonly #series: SeriesMeta[] = [];
  readonly #rows = new Map<string, number>();
  /** Signature of the first pair that wrote to a row. */
  readonly #rowSignature: number[] = [];
  /** Steps that were matched, filtered or not, by signature (one-to-one) or row; only where it can happen twice. */
  readonly #matched = new Map<number, Uint8Array>();
  readonly #manyCount: Int32Array;
  readonly #holds: Uint8Array<ArrayBuffer>;
  /** Steps at which both sides of the pair in hand have a value. */
  readonly #both: Uint8Array<ArrayBuffer>;
  readonly #values: Float64Array<ArrayBuffer>;
  /** Steps at which the series in hand had a partner that it does not go with. */
  readonly #failed: Uint8Array<ArrayBuffer>;
  /** By step what the last pair gave reason to say: of the others Prometheus says nothing. */
  readonly #said: (AnnotationRecord[] | undefined)[] = [];

  constructor(
    session: QuerySession,
    expr: BinaryExpr,
    matching: VectorMatching,
    grid: Grid,
    left: VectorOperand,
    right: VectorOperand,
  ) {
    this.#session = session;
    this.#operator = expr.operator as ArithmeticOperator | ComparisonOperator | TrimOperator;
    this.#position = expr.pos;
    this.#returnBool = expr.returnBool;
    this.#matching = matching;
    this.#steps = grid.steps;
    this.#swapped = matching.cardinality === 'one-to-many';
    this.#many = this.#swapped ? right : left;
    this.#one = this.#swapped ? left : right;
    this.#signatures = signaturesOf(matching, left.series, right.series);
    this.#manySignature = this.#swapped ? this.#signatures.right : this.#signatures.left;
    this.#oneSignature = this.#swapped ? this.#signatures.left : this.#signatures.right;
    this.#manyCount = new Int32Array(this.#signatures.count);
    for (const signature of this.#manySignature) this.#manyCount[signature] = this.#manyCount[signature]! + 1;
    this.#table = new StepTable(session, grid.steps);
    this.#holds = new Uint8Array(grid.steps);
    this.#both = new Uint8Array(grid.steps);
    this.#values = new Float64Array(grid.steps);
    this.#failed = new Uint8Array(grid.steps);
  }

  async run(): Promise<StoredVector> {
    const column = new StepColumn(this.#steps);
    let one: StoredVector | undefined;
    // Prometheus reads the left side first.
    const saidOfOne = await this.#session.annotations.apart(async () => {
      one = await storeVector(this.#session, this.#one, column);
    });
    if (this.#swapped) this.#session.annotations.absorb(saidOfOne);
    await this.#joinWith(one!, column);
    if (!this.#swapped) this.#session.annotations.absorb(saidOfOne);
    for (const said of this.#said) if (said !== undefined) this.#session.annotations.absorb(said);
    return { series: this.#series, table: this.#table };
  }

  /** Reads the other side, and pairs it with the one that is stored. */
  async #joinWith(one: StoredVector, column: StepColumn): Promise<void> {
    const bySignature = groupRows(this.#oneSignature, this.#signatures.count);
    const { fillLeft, fillRight } = this.#matching;
    const many = await rejectConflicts({
      session: this.#session,
      matching: this.#matching,
      steps: this.#steps,
      side: this.#swapped ? 'left' : 'right',
      one,
      bySignature,
      many: this.#many,
      isFilled: fillLeft !== undefined || fillRight !== undefined,
    });
    // Not by side: with group_right, Prometheus exchanges the sides and not the values that fill them.
    const fillOne = fillRight;
    const fillMany = fillLeft;
    // A fill value for the "many" side asks where each signature had a value there.
    const seen = fillMany === undefined ? undefined : new Map<number, Uint8Array>();
    for (let i = 0; i < this.#many.series.length; i++) {
      if (this.#session.isSliceOver()) await this.#session.pause();
      many.next(column);
      const signature = this.#manySignature[i]!;
      this.#failed.fill(0);
      this.#matchSeries(i, column, one, bySignature[signature]!, fillOne);
      if (seen !== undefined) markMatched(column.kinds, this.#failed, this.#flagsOf(seen, signature));
    }
    if (seen !== undefined) this.#fillMany(one, seen, fillMany!);
  }

  /** Pairs one series of the "many" side with all that its signature has on the other. */
  #matchSeries(
    index: number,
    column: StepColumn,
    one: StoredVector,
    rows: readonly number[],
    fill: number | undefined,
  ): void {
    const meta = this.#many.series[index]!;
    const both = this.#both;
    const alone = fill === undefined ? undefined : column.kinds.map((kind) => (kind === ABSENT ? 0 : 1));
    for (const row of rows) {
      const offset = one.table.offset(row);
      if (!markBoth(column.kinds, one.table.kinds(row), offset, both)) continue;
      if (alone !== undefined) for (let k = 0; k < this.#steps; k++) alone[k] = alone[k]! & (both[k]! ^ 1);
      const values = one.table.values(row);
      const { labels } = one.series[row]!;
      const isMixed = column.mayHaveHistograms || one.table.hasHistograms(row);
      if (isMixed || isTrim(this.#operator)) {
        this.#combineSteps(
          index,
          meta,
          labels,
          (k) => sampleOf(column, k),
          (k) => one.table.sampleAt(row, k),
          both,
        );
      }
      this.#emit(index, meta, labels, column.values, 0, values, offset, both);
    }
    if (alone === undefined || !alone.includes(1)) return;
    const filled = new Float64Array(this.#steps).fill(fill!);
    const partner = matchedLabels(this.#matching, meta.labels);
    if (column.mayHaveHistograms || isTrim(this.#operator)) {
      this.#combineSteps(
        index,
        meta,
        partner,
        (k) => sampleOf(column, k),
        () => fill!,
        alone,
      );
    }
    this.#emit(index, meta, partner, column.values, 0, filled, 0, alone);
  }

  /** Values of the "one" side whose signature had no partner at a step. */
  #fillMany(one: StoredVector, seen: ReadonlyMap<number, Uint8Array>, fill: number): void {
    const filled = new Float64Array(this.#steps).fill(fill);
    for (let row = 0; row < one.series.length; row++) {
      const flags = seen.get(this.#oneSignature[row]!);
      const kinds = one.table.kinds(row);
      const offset = one.table.offset(row);
      const alone = new Uint8Array(this.#steps);
      for (let k = 0; k < this.#steps; k++) {
        alone[k] = kinds[offset + k] !== ABSENT && flags?.[k] !== 1 ? 1 : 0;
      }
      if (!alone.includes(1)) continue;
      const { labels, dropName } = one.series[row]!;
      const meta = { labels: matchedLabels(this.#matching, labels), dropName };
      if (one.table.hasHistograms(row) || isTrim(this.#operator)) {
        this.#combineSteps(
          -1 - row,
          meta,
          labels,
          () => fill,
          (k) => one.table.sampleAt(row, k),
          alone,
        );
      }
      this.#emit(-1 - row, meta, labels, filled, 0, one.table.values(row), offset, alone);
    }
  }

  /** Signature of a pair by its series of the "many" side, or by -1 - row where only the "one" side has a series. */
  #signatureOf(source: number): number {
    return source >= 0 ? this.#manySignature[source]! : this.#oneSignature[-1 - source]!;
  }

  /** Computes a pair at the steps in `at` and adds the results to their row. */
  #emit(
    source: number,
    meta: SeriesMeta,
    oneLabels: Labels,
    many: Float64Array,
    manyOffset: number,
    one: Float64Array,
    oneOffset: number,
    at: Uint8Array,
  ): void {
    const row = this.#rowOf(meta, oneLabels);
    const signature = this.#signatureOf(source);
    this.#rowSignature[row] ??= signature;
    if (this.#manyCount[signature]! > 1) this.#checkUnique(row, signature, at);
    const left = this.#swapped ? one : many;
    const leftOffset = this.#swapped ? oneOffset : manyOffset;
    const right = this.#swapped ? many : one;
    const rightOffset = this.#swapped ? manyOffset : oneOffset;
    const operator = this.#operator;
    if (isTrim(operator)) return;
    if (!isComparison(operator)) {
      computeColumn(operator, left, leftOffset, right, rightOffset, this.#values, 0, this.#steps);
      this.#write(row, at, this.#values, 0);
      return;
    }
    compareColumn(operator, left, leftOffset, right, rightOffset, this.#holds, this.#steps);
    if (this.#returnBool) {
      this.#values.set(this.#holds);
      this.#write(row, at, this.#values, 0);
      return;
    }
    for (let k = 0; k < this.#steps; k++) this.#holds[k] = this.#holds[k]! & at[k]!;
    this.#write(row, this.#holds, left, leftOffset);
  }

  /** Pairs with a histogram among them, step by step; leaves the others in `at`. */
  #combineSteps(
    source: number,
    meta: SeriesMeta,
    oneLabels: Labels,
    manyAt: (step: number) => FloatHistogram | number,
    oneAt: (step: number) => FloatHistogram | number,
    at: Uint8Array,
  ): void {
    for (let k = 0; k < this.#steps; k++) {
      if (at[k] === 0) continue;
      const many = manyAt(k);
      const one = oneAt(k);
      const isFloats = typeof many === 'number' && typeof one === 'number';
      if (isFloats && !isTrim(this.#operator)) continue;
      at[k] = 0;
      const left = this.#swapped ? one : many;
      const right = this.#swapped ? many : one;
      const said = new Annotations();
      const result = combinePair(this.#operator, left, right, said, this.#position);
      if (!said.isEmpty) this.#said[k] = said.records();
      if (result === undefined) this.#failed[k] = 1;
      else this.#putCombined(source, meta, oneLabels, k, left, result);
    }
  }

  #putCombined(
    source: number,
    meta: SeriesMeta,
    oneLabels: Labels,
    step: number,
    left: FloatHistogram | number,
    result: FloatHistogram | boolean,
  ): void {
    const signature = this.#signatureOf(source);
    const row = this.#rowOf(meta, oneLabels);
    this.#rowSignature[row] ??= signature;
    if (this.#manyCount[signature]! > 1) this.#checkUniqueAt(row, signature, step);
    const histogram = typeof result === 'boolean' ? left : result;
    if (!this.#returnBool && (result === false || typeof histogram === 'number')) return;
    const offset = this.#table.offset(row) + step;
    const kinds = this.#table.kinds(row);
    if (kinds[offset] !== ABSENT) throw sameLabelsError();
    if (!this.#returnBool) {
      this.#table.putHistogram(row, step, histogram as FloatHistogram);
      return;
    }
    kinds[offset] = FLOAT;
    this.#table.values(row)[offset] = result === true ? 1 : 0;
  }

  #write(row: number, at: Uint8Array, values: Float64Array, valuesOffset: number): void {
    const offset = this.#table.offset(row);
    const outValues = this.#table.values(row);
    const outKinds = this.#table.kinds(row);
    if (!writeColumn(at, values, valuesOffset, outValues, outKinds, offset)) throw sameLabelsError();
  }

  #rowOf(meta: SeriesMeta, oneLabels: Labels): number {
    const isFilter = isComparison(this.#operator) || isTrim(this.#operator);
    const dropMetadata = !isFilter || (this.#returnBool && !this.#session.delayedNames);
    const labels = resultLabels(this.#matching, meta.labels, oneLabels, dropMetadata);
    const known = this.#rows.get(labels.key);
    if (known !== undefined) return known;
    const row = this.#table.addRow();
    this.#rows.set(labels.key, row);
    // A mark of the left side is lost here, as it is in Prometheus.
    this.#series.push({ labels, dropName: this.#returnBool });
    return row;
  }

  /**
   * Each signature may match once per step, and in many-to-one matching once per result label set.
   *
   * @throws AppError `execution`.
   */
  #checkUnique(row: number, signature: number, at: Uint8Array): void {
    const flags = this.#matchedSteps(row, signature);
    if (flags === undefined) return;
    for (let k = 0; k < this.#steps; k++) {
      if (at[k] === 0) continue;
      if (flags[k] === 1) throw this.#manyMatches();
      flags[k] = 1;
    }
  }

  /** #checkUnique() of a single step. */
  #checkUniqueAt(row: number, signature: number, step: number): void {
    const flags = this.#matchedSteps(row, signature);
    if (flags === undefined) return;
    if (flags[step] === 1) throw this.#manyMatches();
    flags[step] = 1;
  }

  #matchedSteps(row: number, signature: number): Uint8Array | undefined {
    const isOneToOne = this.#matching.cardinality === 'one-to-one';
    // Different signatures that meet in a row are found when they write to it.
    if (!isOneToOne && this.#rowSignature[row] !== signature) return undefined;
    return this.#flagsOf(this.#matched, isOneToOne ? signature : row);
  }

  #manyMatches(): AppError {
    return new AppError('execution', this.#matching.cardinality === 'one-to-one' ? ONE_TO_ONE : GROUPING);
  }

  #flagsOf(all: Map<number, Uint8Array>, key: number): Uint8Array {
    let flags = all.get(key);
    if (flags === undefined) {
      this.#session.charge(this.#steps);
      all.set(key, (flags = new Uint8Array(this.#steps)));
    }
    return flags;
  }
}

/** Marks the steps of a column that have a value, unless it failed to match. */
function markMatched(kinds: Uint8Array, failed: Uint8Array, flags: Uint8Array): void {
  for (let k = 0; k < kinds.length; k++) if (kinds[k] !== ABSENT && failed[k] === 0) flags[k] = 1;
}

/** What a column holds at a step where it holds something. */
function sampleOf(column: StepColumn, step: number): FloatHistogram | number {
  return column.kinds[step] === HISTOGRAM ? column.histograms[step]! : column.values[step]!;
}

/** Rows by signature. */
function groupRows(signatures: Int32Array, count: number): number[][] {
  const groups: number[][] = Array.from({ length: count }, () => []);
  for (let row = 0; row < signatures.length; row++) groups[signatures[row]!]!.push(row);
  return groups;
}

// histogram_quantile, histogram_quantiles and histogram_fraction over classic histograms: series that differ in the
// label `le` only are the buckets of one histogram.
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import { type Labels, METRIC_NAME } from '../../../model/labels.ts';
import { parseValue } from '../../../model/number-format.ts';
import type { Call, Expr, Position } from '../../ast.ts';
import { stringArgument, unwrap } from '../expressions.ts';
import { formatOpenMetrics } from '../go-format.ts';
import type { Grid } from '../grid.ts';
import { Buckets, bucketFraction, bucketQuantile } from '../histograms/buckets.ts';
import { histogramFraction, histogramQuantile } from '../histograms/histogram-quantile.ts';
import { mergeSameLabels, withoutMetadata } from '../names.ts';
import { FLOAT, type SeriesMeta, StepColumn, type VectorOperand } from '../operand.ts';
import type { Evaluator, QuerySession } from '../session.ts';
import { StepTable, StoredOperand, type StoredVector, storeVector } from '../step-table.ts';

const BUCKET_LABEL = 'le';

/** Rows of one histogram's buckets. */
interface Histogram {
  readonly metric: string;
  /** Without `le`; without the name too unless names are dropped at the end. */
  readonly labels: Labels;
  readonly rows: number[];
  readonly bounds: number[];
  /** Row of the native histogram with the same labels; what is a histogram there has no buckets at that step. */
  native: number | undefined;
}

/** Opens histogram_quantile(φ, v). */
export async function openHistogramQuantile(
  evaluator: Evaluator,
  call: Call,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const phi = await evaluator.scalar(call.args[0]!, grid);
  const before = session.samplesCurrent;
  const input = await readHistograms(evaluator, call.args[1]!, grid);
  checkQuantiles(session, phi, unwrap(call.args[0]!).pos);
  const out = new HistogramResult(session, grid);
  for (const histogram of input.histograms) {
    if (session.isSliceOver()) await session.pause();
    out.addQuantiles(histogram, input.stored, histogram.labels, phi, unwrap(call.args[1]!).pos);
  }
  return out.open(before);
}

/** Opens histogram_quantiles(v, label, φ…): a series per quantile. */
export async function openHistogramQuantiles(
  evaluator: Evaluator,
  call: Call,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const label = stringArgument(call, 1);
  const before = session.samplesCurrent;
  const input = await readHistograms(evaluator, call.args[0]!, grid);
  const out = new HistogramResult(session, grid);
  for (let i = 2; i < call.args.length; i++) {
    const phi = await evaluator.scalar(call.args[i]!, grid);
    checkQuantiles(session, phi, unwrap(call.args[i]!).pos);
    for (const histogram of input.histograms) {
      if (session.isSliceOver()) await session.pause();
      out.addLabelledQuantiles(histogram, input.stored, label, phi, unwrap(call.args[0]!).pos);
    }
  }
  const opened = await out.open(before);
  // Quantiles may meet; of a single step Prometheus says so only where the result is used.
  return grid.steps > 1 ? mergeSameLabels(session, opened, grid) : opened;
}

/** Opens histogram_fraction(lower, upper, v). */
export async function openHistogramFraction(
  evaluator: Evaluator,
  call: Call,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const lower = await evaluator.scalar(call.args[0]!, grid);
  const upper = await evaluator.scalar(call.args[1]!, grid);
  const before = session.samplesCurrent;
  const input = await readHistograms(evaluator, call.args[2]!, grid);
  const out = new HistogramResult(session, grid);
  for (const histogram of input.histograms) {
    if (session.isSliceOver()) await session.pause();
    out.addFractions(histogram, input.stored, lower, upper, unwrap(call.args[2]!).pos);
  }
  return out.open(before);
}

function checkQuantiles(session: QuerySession, phi: Float64Array, at: Position): void {
  for (const value of phi) if (!(value >= 0 && value <= 1)) session.annotations.invalidQuantile(value, at);
}

async function readHistograms(
  evaluator: Evaluator,
  expr: Expr,
  grid: Grid,
): Promise<{ readonly stored: StoredVector; readonly histograms: readonly Histogram[] }> {
  const { session } = evaluator;
  const input = await evaluator.vector(expr, grid);
  const stored = await storeVector(session, input, new StepColumn(grid.steps));
  const { table } = stored;
  const known = new Map<string, Histogram>();
  const histogramOf = (own: Labels): Histogram => {
    let histogram = known.get(own.key);
    if (histogram === undefined) {
      const labels = session.delayedNames ? own : withoutMetadata(own);
      histogram = { metric: own.get(METRIC_NAME), labels, rows: [], bounds: [], native: undefined };
      known.set(own.key, histogram);
    }
    return histogram;
  };
  for (let row = 0; row < stored.series.length; row++) {
    const { labels } = stored.series[row]!;
    if (table.hasHistograms(row)) histogramOf(labels).native = row;
    if (
      !table
        .kinds(row)
        .subarray(table.offset(row), table.offset(row) + grid.steps)
        .includes(FLOAT)
    )
      continue;
    const bound = parseValue(labels.get(BUCKET_LABEL));
    if (bound === undefined) {
      const metric = session.delayedNames ? labels.get(METRIC_NAME) : '';
      session.annotations.badBucketLabel(metric, labels.get(BUCKET_LABEL), unwrap(expr).pos);
      continue;
    }
    const histogram = histogramOf(labels.without(BUCKET_LABEL));
    histogram.rows.push(row);
    histogram.bounds.push(bound);
  }
  return { stored, histograms: [...known.values()] };
}

/** Collects a row per histogram (and quantile). */
class HistogramResult {
  readonly #session: QuerySession;
  readonly #grid: Grid;
  readonly #table: StepTable;
  readonly #series: SeriesMeta[] = [];
  readonly #buckets = new Buckets();
  #held = 0;

  constructor(session: QuerySession, grid: Grid) {
    this.#session = session;
    this.#grid = grid;
    this.#table = new StepTable(session, grid.steps);
  }

  addLabelledQuantiles(
    histogram: Histogram,
    stored: StoredVector,
    label: string,
    phi: Float64Array,
    at: Position,
  ): void {
    // Where φ changes from step to step, so does its label, and each value has a row of its own.
    for (const value of new Set(phi)) {
      const own = phi.map((other) => (Object.is(other, value) ? other : Number.NaN));
      const only = Number.isNaN(value) ? phi : own;
      const steps = phi.map((other) => (Object.is(other, value) ? 1 : 0));
      const labels = histogram.labels.with(label, formatOpenMetrics(value));
      this.#addQuantileRow(histogram, stored, labels, only, at, steps);
    }
  }

  addQuantiles(
    histogram: Histogram,
    stored: StoredVector,
    labels: Labels,
    phi: Float64Array,
    at: Position,
  ): void {
    this.#addQuantileRow(histogram, stored, labels, phi, at, undefined);
  }

  addFractions(
    histogram: Histogram,
    stored: StoredVector,
    lower: Float64Array,
    upper: Float64Array,
    at: Position,
  ): void {
    const row = this.#addRow(histogram.labels);
    for (let k = 0; k < this.#grid.steps; k++) {
      const native = this.#nativeAt(histogram, stored, k, at);
      if (native === 'none') continue;
      if (native === 'buckets') {
        this.#put(row, k, bucketFraction(lower[k]!, upper[k]!, this.#buckets));
        continue;
      }
      if (Number.isNaN(native.sum) && native.count > 0) {
        this.#session.annotations.fractionOfNaN(histogram.metric, at);
      }
      this.#put(row, k, histogramFraction(lower[k]!, upper[k]!, native));
    }
  }

  /** The result, on top of `before` samples. Label sets may have become equal by losing their names. */
  open(before: number): Promise<VectorOperand> {
    this.#session.settleSamples(before, this.#held);
    const operand = new StoredOperand({ series: this.#series, table: this.#table });
    return this.#session.delayedNames
      ? Promise.resolve(operand)
      : mergeSameLabels(this.#session, operand, this.#grid);
  }

  #addQuantileRow(
    histogram: Histogram,
    stored: StoredVector,
    labels: Labels,
    phi: Float64Array,
    at: Position,
    steps: Float64Array | undefined,
  ): void {
    const row = this.#addRow(labels);
    const buckets = this.#buckets;
    for (let k = 0; k < this.#grid.steps; k++) {
      if (steps?.[k] === 0) continue;
      const native = this.#nativeAt(histogram, stored, k, at);
      if (native === 'none') continue;
      if (native !== 'buckets') {
        this.#put(row, k, this.#nativeQuantile(histogram, native, phi[k]!, at));
        continue;
      }
      this.#put(row, k, bucketQuantile(phi[k]!, buckets));
      if (!buckets.forced) continue;
      const metric = this.#session.delayedNames ? histogram.metric : '';
      const timeMs = this.#grid.startMs + k * this.#grid.stepMs;
      const { minForced, maxForced, maxDiff } = buckets;
      this.#session.annotations.forcedMonotonicity(metric, at, timeMs, minForced, maxForced, maxDiff);
    }
  }

  #addRow(labels: Labels): number {
    this.#series.push({ labels, dropName: this.#session.delayedNames });
    return this.#table.addRow();
  }

  #put(row: number, step: number, value: number): void {
    const at = this.#table.offset(row) + step;
    this.#table.values(row)[at] = value;
    this.#table.kinds(row)[at] = FLOAT;
    this.#held++;
  }

  #nativeQuantile(histogram: Histogram, native: FloatHistogram, phi: number, at: Position): number {
    const { value, note } = histogramQuantile(phi, native);
    if (note !== 'none') this.#session.annotations.quantileOfNaN(note === 'nan-result', histogram.metric, at);
    return value;
  }

  /** What there is at a step: a native histogram, loaded buckets, or nothing, also where there is both. */
  #nativeAt(
    histogram: Histogram,
    stored: StoredVector,
    step: number,
    at: Position,
  ): FloatHistogram | 'buckets' | 'none' {
    const { native } = histogram;
    const found = native === undefined ? undefined : stored.table.histogramAt(native, step);
    const hasBuckets = this.#load(histogram, stored, step);
    if (found === undefined) return hasBuckets ? 'buckets' : 'none';
    if (!hasBuckets) return found;
    const metric = this.#session.delayedNames ? histogram.metric : '';
    this.#session.annotations.mixedClassicAndNative(metric, at);
    return 'none';
  }

  /** Loads the buckets that a histogram has at a step; false when it has none. */
  #load(histogram: Histogram, stored: StoredVector, step: number): boolean {
    const buckets = this.#buckets;
    buckets.reset();
    const { rows, bounds } = histogram;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      const at = stored.table.offset(row) + step;
      if (stored.table.kinds(row)[at] === FLOAT) buckets.add(bounds[i]!, stored.table.values(row)[at]!);
    }
    return buckets.size > 0;
  }
}

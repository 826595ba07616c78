// Functions over range vectors: for each series find the windows, run the function's kernel.
import { AppError } from '../../../core/errors.ts';
import type { AggregateCells } from '../../../model/aggregate-cells.ts';
import type { FloatHistogram } from '../../../model/float-histogram.ts';
import { METRIC_NAME } from '../../../model/labels.ts';
import type { SampleColumns } from '../../../model/sample-columns.ts';
import type { Call, Expr, MatrixSelector, Position, Subquery } from '../../ast.ts';
import { unwrap } from '../expressions.ts';
import type { Grid } from '../grid.ts';
import type { RangeContext } from '../histograms/histogram-column.ts';
import { rangeWithHistograms } from '../histograms/histogram-range.ts';
import { differWithoutName, dropMetricNames, rejectSameLabels } from '../names.ts';
import { countPresent, FLOAT, type SeriesMeta, type StepColumn, type VectorOperand } from '../operand.ts';
import { isAnsweredByAggregates, isAnsweredByThinnedHistograms } from '../select/alignment.ts';
import { type SampleTally, type TalliedWindows, tallyWindows, weightSums } from '../select/sample-tally.ts';
import type { Evaluator, QuerySession } from '../session.ts';
import { evaluateCells } from './kernels-aggregates.ts';
import * as overTime from './kernels-over-time.ts';
import * as rates from './kernels-rate.ts';
import * as regression from './kernels-regression.ts';
import { type MatrixSource, openMatrix, reachOf } from './matrix-source.ts';
import { hasOverlap } from './start-times.ts';
import { findWindows, KeptWindows, type WindowCounts, type WindowPass } from './windows.ts';

/** Writes a value (or none) for every step of a series. */
type Kernel = (pass: WindowPass, out: StepColumn) => void;

interface RangeFunction {
  readonly kernel: Kernel;
  /** The result is still the metric: its name stays. */
  readonly keepsName?: boolean;
  /** φ must be a quantile. */
  readonly isQuantile?: boolean;
}

const FUNCTIONS: ReadonlyMap<string, RangeFunction> = new Map<string, RangeFunction>([
  ['rate', { kernel: rates.rate }],
  ['increase', { kernel: rates.increase }],
  ['delta', { kernel: rates.delta }],
  ['irate', { kernel: rates.irate }],
  ['idelta', { kernel: rates.idelta }],
  ['resets', { kernel: rates.resets }],
  ['changes', { kernel: rates.changes }],
  ['deriv', { kernel: regression.deriv }],
  ['predict_linear', { kernel: regression.predictLinear }],
  ['double_exponential_smoothing', { kernel: regression.doubleExponentialSmoothing }],
  ['holt_winters', { kernel: regression.doubleExponentialSmoothing }],
  ['sum_over_time', { kernel: overTime.sumOverTime }],
  ['avg_over_time', { kernel: overTime.avgOverTime }],
  ['min_over_time', { kernel: overTime.minOverTime }],
  ['max_over_time', { kernel: overTime.maxOverTime }],
  ['count_over_time', { kernel: overTime.countOverTime }],
  ['stddev_over_time', { kernel: overTime.stddevOverTime }],
  ['stdvar_over_time', { kernel: overTime.stdvarOverTime }],
  ['quantile_over_time', { kernel: overTime.quantileOverTime, isQuantile: true }],
  ['mad_over_time', { kernel: overTime.madOverTime }],
  ['present_over_time', { kernel: overTime.presentOverTime }],
  ['absent_over_time', { kernel: overTime.presentOverTime }],
  ['first_over_time', { kernel: overTime.firstOverTime, keepsName: true }],
  ['last_over_time', { kernel: overTime.lastOverTime, keepsName: true }],
  ['ts_of_first_over_time', { kernel: overTime.timeOfFirst }],
  ['ts_of_last_over_time', { kernel: overTime.timeOfLast }],
  ['ts_of_min_over_time', { kernel: overTime.timeOfMin }],
  ['ts_of_max_over_time', { kernel: overTime.timeOfMax }],
]);

/** Functions that understand windows with samples outside of their bounds, as messages list them. */
const ANCHORED_SAFE = ['changes', 'delta', 'increase', 'rate', 'resets'];
const SMOOTHED_SAFE = ['delta', 'increase', 'rate'];

/** Names that Prometheus takes for counters. */
const COUNTER_SUFFIX = /(?:_total|_sum|_count|_bucket)$/;

/** The range-vector argument of a call, if it has one. */
export function matrixArgument(call: Call): MatrixSelector | Subquery | undefined {
  for (const argument of call.args) {
    const inner = unwrap(argument);
    if (inner.kind === 'matrix-selector' || inner.kind === 'subquery') return inner;
  }
  return undefined;
}

/** The one metric that a range vector selects, where it is a selector that names it. */
function metricOf(matrix: MatrixSelector | Subquery | undefined): string | undefined {
  if (matrix?.kind !== 'matrix-selector') return undefined;
  return matrix.vector.matchers.find(({ name, operator }) => name === METRIC_NAME && operator === '=')?.value;
}

/** Opens a call of a function over a range vector. */
export async function openRangeFunction(
  evaluator: Evaluator,
  call: Call,
  matrix: MatrixSelector | Subquery,
  grid: Grid,
): Promise<VectorOperand> {
  const { session } = evaluator;
  const fn = FUNCTIONS.get(call.func);
  if (fn === undefined) throw new AppError('execution', `function ${call.func} does not take a range vector`);
  const params: Float64Array[] = [];
  for (const argument of call.args) {
    if (unwrap(argument) !== matrix) params.push(await evaluator.scalar(argument, grid));
  }
  const source = await openMatrix(evaluator, matrix, grid, isAnsweredByAggregates(call.func));
  checkExtension(call.func, source);
  const before = session.samplesCurrent;
  const operand = new RangeFunctionOperand(session, call, fn, source, params, grid);
  if (fn.keepsName === true || session.delayedNames) return operand;
  const metric = metricOf(matrix);
  if (metric !== undefined && differWithoutName(metric, source.series, operand.series)) return operand;
  return rejectSameLabels(session, operand, grid, before);
}

function checkExtension(func: string, source: MatrixSource): void {
  const { extension } = source;
  if (extension === undefined) return;
  const safe = extension === 'anchored' ? ANCHORED_SAFE : SMOOTHED_SAFE;
  if (safe.includes(func)) return;
  throw new AppError(
    'execution',
    `${extension} modifier can only be used with: ${safe.join(', ')} - not with ${func}`,
  );
}

/** What annotations point at. Prometheus turns a subquery into a selector, which stands nowhere. */
function positionOf(call: Call): Position {
  const [first] = call.args;
  return unwrap(first!).kind === 'subquery' ? { start: 0, end: 0 } : first!.pos;
}

class RangeFunctionOperand implements VectorOperand {
  readonly series: readonly SeriesMeta[];
  readonly #session: QuerySession;
  readonly #fn: RangeFunction;
  readonly #source: MatrixSource;
  readonly #pass: WindowPass;
  readonly #counts: WindowCounts = { total: 0, largest: 0 };
  readonly #windows: KeptWindows;
  readonly #isCounterFunction: boolean;
  readonly #usesStarts: boolean;
  readonly #position: Position;
  readonly #context: RangeContext;
  readonly #reach: ReturnType<typeof reachOf>;
  readonly #tally: SampleTally | undefined;
  readonly #windowOrder: TalliedWindows['order'];
  /** All series have one name: what is to be said of it is said once. */
  readonly #isOneMetric: boolean;
  #isNameChecked = false;
  #index = 0;

  constructor(
    session: QuerySession,
    call: Call,
    fn: RangeFunction,
    source: MatrixSource,
    params: readonly Float64Array[],
    grid: Grid,
  ) {
    this.series = fn.keepsName === true ? source.series : dropMetricNames(session, source.series);
    this.#session = session;
    this.#fn = fn;
    this.#source = source;
    this.#isCounterFunction = call.func === 'rate' || call.func === 'increase';
    this.#usesStarts = session.options.features.startTimestamps;
    this.#position = positionOf(call);
    this.#context = {
      func: call.func,
      metric: '',
      position: this.#position,
      annotations: session.annotations,
    };
    this.#reach = reachOf(source.extension, session.lookbackMs);
    this.#isOneMetric = metricOf(matrixArgument(call)) !== undefined;
    this.#tally = grid.tally;
    this.#windowOrder = orderOf(source, this.#reach);
    session.charge(grid.steps * 8);
    const { earlierMs, laterMs } = this.#reach;
    this.#windows = new KeptWindows(earlierMs, laterMs, (bytes) => session.charge(bytes));
    this.#pass = { ...newPass(source, params, grid), spend: (samples) => session.spend(samples) };
  }

  next(into: StepColumn): void {
    const pass = this.#pass;
    const columns = this.#source.next();
    pass.timestampsMs = columns.timestampsMs;
    pass.values = columns.values;
    pass.startTimesMs = this.#usesStarts ? columns.startTimesMs : undefined;
    pass.count = columns.count;
    pass.cells = columns.cells;
    const index = this.#index++;
    into.mayHaveHistograms = false;
    const isAligned = columns.cells === undefined || this.#checkCells(index, columns.cells, columns);
    if (columns.histograms === undefined && columns.cells !== undefined) {
      this.#windows.forget();
      this.#evaluateCells(columns.cells, isAligned, into);
    } else if (columns.histograms === undefined) {
      this.#windows.find(pass, this.#counts, columns.gapMs);
      this.#count(pass, this.#counts.total, undefined);
      this.#fn.kernel(pass, into);
    } else {
      const metric = this.#source.series[index]!.labels.get(METRIC_NAME);
      const context = { ...this.#context, metric };
      const { lookbackMs } = this.#session;
      this.#windows.forget();
      this.#countHistograms(columns, columns.histograms);
      rangeWithHistograms(context, columns, pass, this.#counts, this.#fn.kernel, into, lookbackMs, isAligned);
    }
    if (this.#fn.isQuantile === true && this.#counts.total > 0) this.#checkQuantiles();
    if (this.#isCounterFunction && pass.startTimesMs !== undefined) this.#checkOverlap(index);
    const found = countPresent(into.kinds, 0, pass.steps);
    this.#session.holdSamples(found, this.#counts.largest);
    if (this.#isCounterFunction && !this.#isNameChecked && into.kinds.includes(FLOAT)) this.#checkName(index);
  }

  #evaluateCells(cells: AggregateCells, isAligned: boolean, into: StepColumn): void {
    const pass = this.#pass;
    const counts = this.#counts;
    if (!evaluateCells(this.#context.func, pass, cells, isAligned, counts, into)) {
      findWindows(pass, this.#reach.earlierMs, this.#reach.laterMs, counts);
      this.#fn.kernel(pass, into);
    }
    this.#count(pass, counts.total, undefined);
  }

  /** Whether windows are whole cells; where they are not, or aggregates do not answer the function, that is said. */
  #checkCells(index: number, cells: AggregateCells, { histograms }: SampleColumns): boolean {
    const resolutionMs = cells.coarsestMs;
    if (resolutionMs === 0) return true;
    const { func } = this.#context;
    const { annotations } = this.#session;
    const metric = this.#source.series[index]!.labels.get(METRIC_NAME);
    const isAnswered =
      this.#source.extension === undefined &&
      (histograms === undefined ? isAnsweredByAggregates(func) : isAnsweredByThinnedHistograms(func));
    const isAligned = this.#source.alignMs > 0 && this.#source.alignMs % resolutionMs === 0;
    if (!isAnswered) annotations.notAggregated(func, metric, resolutionMs, this.#position);
    else if (!isAligned) annotations.aggregated(metric, resolutionMs, this.#position);
    return isAligned;
  }

  #count(windows: Pick<WindowPass, 'low' | 'high'>, total: number, sums: Float64Array | undefined): void {
    if (this.#tally === undefined) return;
    tallyWindows(this.#tally, {
      low: windows.low,
      high: windows.high,
      steps: this.#pass.steps,
      total,
      order: this.#windowOrder,
      sums,
      isStored: this.#source.isStored,
    });
  }

  /** Windows of all samples, whose floats and histograms are looked at apart otherwise. */
  #countHistograms(
    { timestampsMs, count }: SampleColumns,
    histograms: readonly (FloatHistogram | undefined)[],
  ) {
    const { steps } = this.#pass;
    const low = new Int32Array(steps);
    const high = new Int32Array(steps);
    const counts = { total: 0, largest: 0 };
    findWindows(
      { ...this.#pass, timestampsMs, count, low, high },
      this.#reach.earlierMs,
      this.#reach.laterMs,
      counts,
    );
    this.#count({ low, high }, counts.total, weightSums(histograms, count));
  }

  /** Start times of floats; histograms have been checked. Once per series is enough. */
  #checkOverlap(index: number): void {
    const pass = this.#pass;
    if (pass.extension !== undefined) return;
    for (let k = 0; k < pass.steps; k++) {
      if (!hasOverlap(pass, pass.low[k]!, pass.high[k]!)) continue;
      const metric = this.#source.series[index]!.labels.get(METRIC_NAME);
      this.#session.annotations.startOverlap(metric, this.#position);
      return;
    }
  }

  #checkName(index: number): void {
    this.#isNameChecked = this.#isOneMetric;
    const name = this.#source.series[index]!.labels.get(METRIC_NAME);
    if (name !== '' && !COUNTER_SUFFIX.test(name)) {
      this.#session.annotations.possibleNonCounter(name, this.#position);
    }
  }

  #checkQuantiles(): void {
    const { low, high, params, steps } = this.#pass;
    for (let k = 0; k < steps; k++) {
      const phi = params[0]![k]!;
      if (high[k]! > low[k]! && !(phi >= 0 && phi <= 1)) {
        this.#session.annotations.invalidQuantile(phi, this.#position);
      }
    }
  }
}

function orderOf(
  { rangeMs, ends }: MatrixSource,
  { earlierMs, laterMs }: ReturnType<typeof reachOf>,
): TalliedWindows['order'] {
  if (ends.stepMs === 0) return 'fixed';
  return rangeMs + earlierMs + laterMs < ends.stepMs ? 'apart' : 'moving';
}

function newPass(source: MatrixSource, params: readonly Float64Array[], grid: Grid): WindowPass {
  return {
    timestampsMs: new Float64Array(0),
    values: new Float64Array(0),
    startTimesMs: undefined,
    cells: undefined,
    count: 0,
    steps: grid.steps,
    rangeMs: source.rangeMs,
    firstEndMs: source.ends.firstMs,
    endStepMs: source.ends.stepMs,
    firstEvalMs: grid.startMs,
    evalStepMs: grid.stepMs,
    low: new Int32Array(grid.steps),
    high: new Int32Array(grid.steps),
    alike: undefined,
    extension: source.extension,
    params,
    scratch: new Float64Array(0),
    indexes: new Int32Array(0),
  };
}

/** The expression a function's argument stands for. */
export function argument(call: Call, index: number): Expr {
  return unwrap(call.args[index]!);
}

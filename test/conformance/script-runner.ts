// Runs a test script against the real parser and engine, over series in memory, as Prometheus' own runner does: every
// instant query also with `@` on all of its selectors, at other times, and as the middle step of a range query.
import { AppError } from '../../services/lib/core/errors.ts';
import type { BucketList, FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import type { Labels } from '../../services/lib/model/labels.ts';
import type { QueryContext } from '../../services/lib/model/queryable.ts';
import type { Expr, Subquery, VectorSelector } from '../../services/lib/promql/ast.ts';
import { createEngine } from '../../services/lib/promql/engine/engine.ts';
import type {
  EngineOptions,
  QueryRequest,
  QueryResult,
  ResultSeries,
} from '../../services/lib/promql/engine/query.ts';
import { ALL_FEATURES } from '../../services/lib/promql/features.ts';
import { parseExpr } from '../../services/lib/promql/parse/parser.ts';
import { printHistogram } from './histogram-notation.ts';
import { type LoadedSample, MemoryQueryable } from './memory-queryable.ts';
import { convertClassic } from './nhcb.ts';
import {
  type EvalCommand,
  type Expectation,
  type ExpectedSeries,
  type LoadCommand,
  parseScript,
} from './script-parser.ts';
import type { SequenceValue } from './series-notation.ts';

/** Relative error that a value may have. */
const EPSILON = 1e-6;
/** What upstream's runner sets its engine to. */
export const SCRIPT_ENGINE: EngineOptions = {
  lookbackMs: 300_000,
  samplesMax: 10_000,
  features: ALL_FEATURES,
  noStepSubqueryIntervalMs: 60_000,
};

/** Evaluates a query over what a script has loaded. */
export type Evaluate = (request: QueryRequest, storage: MemoryQueryable) => Promise<QueryResult>;

/** Outcome of one eval command. */
export interface CaseResult {
  readonly line: number;
  readonly query: string;
  /** Why it failed; undefined when it passed. */
  readonly failure: string | undefined;
}

/** Runs all commands of a script. @param evaluate  Default: the engine, over all series at once. */
export async function runScript(text: string, evaluate: Evaluate = wholly()): Promise<CaseResult[]> {
  const storage = new MemoryQueryable();
  const results: CaseResult[] = [];
  for (const command of parseScript(text)) {
    if (command.kind === 'clear') storage.clear();
    else if (command.kind === 'load') load(storage, command);
    else results.push(await runCase(evaluate, storage, command));
  }
  return results;
}

function wholly(): Evaluate {
  const engine = createEngine(SCRIPT_ENGINE);
  return (request, storage) => engine.execute(request, storage, CONTEXT);
}

function load(storage: MemoryQueryable, command: LoadCommand): void {
  for (const { labels, values, startOffsetsMs } of command.series) {
    const samples: LoadedSample[] = [];
    values.forEach((value, i) => {
      const timeMs = i * command.intervalMs;
      const offsetMs = startOffsetsMs?.[i];
      const start = offsetMs === undefined ? {} : { startMs: timeMs + offsetMs };
      if (value.kind === 'float') samples.push({ timeMs, value: value.value, isStale: false, ...start });
      else if (value.kind === 'histogram') {
        samples.push({ timeMs, value: Number.NaN, isStale: false, histogram: value.histogram, ...start });
      } else if (value.kind === 'stale') samples.push({ timeMs, value: Number.NaN, isStale: true });
    });
    storage.append(labels, samples);
  }
  if (!command.withNhcb) return;
  for (const { labels, histograms } of convertClassic(command.series)) {
    const samples = [...histograms].map(([i, histogram]): LoadedSample => {
      return { timeMs: i * command.intervalMs, value: Number.NaN, isStale: false, histogram };
    });
    storage.append(labels, samples);
  }
}

async function runCase(
  evaluate: Evaluate,
  storage: MemoryQueryable,
  command: EvalCommand,
): Promise<CaseResult> {
  const { line, query } = command;
  try {
    await new Case(evaluate, storage, command).run();
    return { line, query, failure: undefined };
  } catch (caught) {
    return { line, query, failure: caught instanceof Error ? caught.message : String(caught) };
  }
}

export const CONTEXT: QueryContext = { signal: new AbortController().signal, chargeBytes: () => {} };

class Case {
  readonly #evaluate: Evaluate;
  readonly #storage: MemoryQueryable;
  readonly #command: EvalCommand;

  constructor(evaluate: Evaluate, storage: MemoryQueryable, command: EvalCommand) {
    this.#evaluate = evaluate;
    this.#storage = storage;
    this.#command = command;
  }

  async run(): Promise<void> {
    const command = this.#command;
    const expr = this.#parse();
    if (expr === undefined) return;
    if (command.isRange) {
      await this.#check(expr, command.startMs, command.endMs, command.stepMs);
      return;
    }
    const timeMs = command.rangeVector?.endMs ?? command.startMs;
    await this.#runInstant(expr, timeMs);
    const pinned = pinSelectors(expr, timeMs);
    if (pinned === undefined) return;
    const others = timeMs === 0 ? [-1000, 0, 1000] : [-10 * timeMs, 0, timeMs / 5, timeMs, 10 * timeMs];
    for (const other of others) await this.#runInstant(pinned, Math.trunc(other));
  }

  /** Undefined when the query was expected not to parse. */
  #parse(): Expr | undefined {
    const { query, fail } = this.#command;
    try {
      return parseExpr(query, ALL_FEATURES);
    } catch (caught) {
      if (!(caught instanceof AppError) || fail === undefined) throw caught;
      requireMatch('error', [fail], [caught.message]);
      return undefined;
    }
  }

  async #runInstant(expr: Expr, timeMs: number): Promise<void> {
    const command = this.#command;
    const result = await this.#check(expr, timeMs, timeMs, 0);
    if (result === undefined || command.rangeVector !== undefined || command.text !== undefined) return;
    if (/(start|end|range|step)\(\)/.test(command.query)) return;
    const range = await this.#execute(expr, timeMs - 60_000, timeMs + 60_000, 60_000);
    if (command.ordered) return;
    requireSorted(range.series);
    compareVector(
      command,
      at(range, timeMs),
      result.type === 'scalar',
      'as the middle step of a range query: ',
    );
  }

  async #check(expr: Expr, startMs: number, endMs: number, stepMs: number): Promise<QueryResult | undefined> {
    const command = this.#command;
    let result: QueryResult;
    try {
      result = await this.#execute(expr, startMs, endMs, stepMs);
    } catch (caught) {
      if (!(caught instanceof AppError) || command.fail === undefined) throw caught;
      requireMatch('error', [command.fail], [caught.message]);
      return undefined;
    }
    const when = stepMs === 0 ? `at ${startMs} ms: ` : '';
    if (command.fail !== undefined) throw new Error(`${when}expected an error, got ${describe(result)}`);
    checkAnnotations(command, result);
    compare(command, result, when);
    return result;
  }

  #execute(expr: Expr, startMs: number, endMs: number, stepMs: number): Promise<QueryResult> {
    const request = { expr, query: this.#command.query, startMs, endMs, stepMs };
    return this.#evaluate(request, this.#storage);
  }
}

/** Result at one time of a range query, as a vector. */
function at(result: QueryResult, timeMs: number): ResultSeries[] {
  const vector: ResultSeries[] = [];
  for (const { labels, timestampsMs, values, count, histograms } of result.series) {
    const index = timestampsMs.subarray(0, count).indexOf(timeMs);
    if (index < 0) continue;
    vector.push({
      labels,
      timestampsMs: timestampsMs.subarray(index, index + 1),
      values: values.subarray(index, index + 1),
      count: 1,
      histograms: histograms?.[index] === undefined ? undefined : [histograms[index]],
    });
  }
  return vector;
}

function compare(command: EvalCommand, result: QueryResult, when: string): void {
  if (result.type === 'string') {
    if (result.text !== command.text)
      throw new Error(`${when}expected string ${command.text}, got ${result.text}`);
    return;
  }
  if (result.type === 'matrix') {
    if (command.ordered) throw new Error(`${when}expected an ordered vector, got a matrix`);
    requireSorted(result.series);
    compareMatrix(command, result.series, when);
    return;
  }
  compareVector(command, result.series, result.type === 'scalar', when);
}

function compareVector(
  command: EvalCommand,
  series: readonly ResultSeries[],
  isScalar: boolean,
  when: string,
): void {
  if (isScalar || command.scalar !== undefined) {
    const value = series[0]?.values[0];
    const wanted = command.scalar;
    if (!isScalar || value === undefined || wanted === undefined || !isAlmostEqual(wanted, value)) {
      throw new Error(
        `${when}expected ${wanted ?? 'a vector'}, got ${isScalar ? value : describeSeries(series)}`,
      );
    }
    return;
  }
  const places = new Map<string, number>();
  for (const [i, { labels }] of command.series.entries()) places.set(labels.key, i);
  const seen = new Set<string>();
  series.forEach((one, position) => {
    const { labels } = one;
    const place = places.get(labels.key);
    if (place === undefined) throw new Error(`${when}unexpected ${describeSeries([one])}`);
    const wanted = command.series[place]!.values[0]!;
    if (command.ordered && place !== position) {
      throw new Error(
        `${when}expected ${labels.toString()} at position ${place + 1}, got it at ${position + 1}`,
      );
    }
    if (!isSame(wanted, one, 0)) {
      throw new Error(
        `${when}expected ${labels.toString()} ${describeValue(wanted)}, got ${describeSeries([one])}`,
      );
    }
    seen.add(labels.key);
  });
  requireAllSeen(command.series, seen, when, series);
}

function compareMatrix(command: EvalCommand, series: readonly ResultSeries[], when: string): void {
  const expected = new Map(command.series.map((one) => [one.labels.key, one]));
  const seen = new Set<string>();
  const { startMs, stepMs } = command.rangeVector ?? command;
  for (const one of series) {
    const wanted = expected.get(one.labels.key);
    if (wanted === undefined) throw new Error(`${when}unexpected ${describeSeries([one])}`);
    seen.add(one.labels.key);
    compareSamples(one, wanted, startMs, stepMs, when);
  }
  requireAllSeen(command.series, seen, when, series);
}

function compareSamples(
  series: ResultSeries,
  wanted: ExpectedSeries,
  startMs: number,
  stepMs: number,
  when: string,
): void {
  let index = 0;
  const mismatch = (): Error =>
    new Error(
      `${when}expected ${wanted.labels.toString()} ${wanted.values.map(describeValue).join(' ')}, got ${describeSeries([series])}`,
    );
  wanted.values.forEach((value, i) => {
    if (value.kind === 'omitted') return;
    const isThere = index < series.count && series.timestampsMs[index] === startMs + i * stepMs;
    if (!isThere || !isSame(value, series, index)) throw mismatch();
    index++;
  });
  if (index !== series.count) throw mismatch();
}

/** Whether sample `index` is what was expected. */
function isSame(wanted: SequenceValue, series: ResultSeries, index: number): boolean {
  const histogram = series.histograms?.[index];
  if (wanted.kind === 'float')
    return histogram === undefined && isAlmostEqual(wanted.value, series.values[index]!);
  if (wanted.kind !== 'histogram' || histogram === undefined) return false;
  return isSameHistogram(wanted.histogram, histogram, wanted.hasHint);
}

export function isSameHistogram(wanted: FloatHistogram, got: FloatHistogram, compareHint: boolean): boolean {
  return (
    (!compareHint || wanted.hint === got.hint) &&
    wanted.schema === got.schema &&
    wanted.zeroThreshold === got.zeroThreshold &&
    wanted.customBounds.join() === got.customBounds.join() &&
    isAlmostEqual(wanted.count, got.count) &&
    isAlmostEqual(wanted.sum, got.sum) &&
    isAlmostEqual(wanted.zeroCount, got.zeroCount) &&
    isSameBuckets(wanted.copy().compact().positive, got.copy().compact().positive) &&
    isSameBuckets(wanted.copy().compact().negative, got.copy().compact().negative)
  );
}

function isSameBuckets(wanted: BucketList, got: BucketList): boolean {
  return (
    wanted.indexes.join() === got.indexes.join() &&
    wanted.counts.every((count, i) => isAlmostEqual(count, got.counts[i]!))
  );
}

function requireAllSeen(
  expected: readonly ExpectedSeries[],
  seen: ReadonlySet<string>,
  when: string,
  got: readonly ResultSeries[],
): void {
  for (const { labels, values } of expected) {
    if (seen.has(labels.key)) continue;
    const wanted = `${labels.toString()} ${values.map(describeValue).join(' ')}`;
    throw new Error(`${when}expected ${wanted}, got ${describeSeries(got)}`);
  }
}

function requireSorted(series: readonly { readonly labels: Labels }[]): void {
  for (let i = 1; i < series.length; i++) {
    if (series[i - 1]!.labels.compareTo(series[i]!.labels) > 0) {
      throw new Error(`result of a range query is not sorted by labels at ${series[i]!.labels.toString()}`);
    }
  }
}

function checkAnnotations(command: EvalCommand, result: QueryResult): void {
  if (command.warn.length > 0) requireMatch('warning', command.warn, result.warnings);
  if (command.info.length > 0) requireMatch('info', command.info, result.infos);
  if (command.noWarn && result.warnings.length > 0) {
    throw new Error(`expected no warning, got ${result.warnings.join('; ')}`);
  }
  if (command.noInfo && result.infos.length > 0) {
    throw new Error(`expected no info, got ${result.infos.join('; ')}`);
  }
}

/** Every expectation is met by a message, and every message by an expectation. */
function requireMatch(what: string, expected: readonly Expectation[], got: readonly string[]): void {
  for (const expectation of expected) {
    if (!got.some((message) => isMatch(expectation, message))) {
      throw new Error(`expected ${what} ${expectation.text || '(any)'}, got ${got.join('; ') || 'none'}`);
    }
  }
  for (const message of got) {
    if (!expected.some((expectation) => isMatch(expectation, message))) {
      throw new Error(`unexpected ${what} ${message}`);
    }
  }
}

function isMatch(expectation: Expectation, message: string): boolean {
  if (expectation.match === 'any') return true;
  if (expectation.match === 'message') return message === expectation.text;
  return new RegExp(expectation.text, 'u').test(message);
}

/** Equal within the relative error; NaN equals NaN. */
export function isAlmostEqual(a: number, b: number): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  const difference = Math.abs(a - b);
  const sum = Math.abs(a) + Math.abs(b);
  const normalMin = 2.2250738585072014e-308;
  if (a === 0 || b === 0 || sum < normalMin) return difference < EPSILON * normalMin;
  return difference / Math.min(sum, Number.MAX_VALUE) < EPSILON;
}

const STEP_DEPENDENT = new Set(
  'days_in_month day_of_month day_of_week day_of_year hour minute month year predict_linear time timestamp start_timestamp start end'.split(
    ' ',
  ),
);

/** The expression with `@ timeMs` on every selector that has none, or undefined where its value depends on the time. */
export function pinSelectors(expr: Expr, timeMs: number): Expr | undefined {
  let dependent = false;
  const at = { kind: 'time', timeMs } as const;
  const pin = <T extends VectorSelector | Subquery>(node: T): T =>
    node.at === undefined ? { ...node, at } : node;
  const visit = (node: Expr): Expr => {
    switch (node.kind) {
      case 'vector-selector':
        return pin(node);
      case 'matrix-selector':
        return { ...node, vector: pin(node.vector) };
      case 'subquery':
        // What is inside a pinned subquery is left alone.
        return pin(node);
      case 'call':
        dependent ||= STEP_DEPENDENT.has(node.func);
        return { ...node, args: node.args.map(visit) };
      case 'aggregation':
        return {
          ...node,
          expr: visit(node.expr),
          param: node.param === undefined ? undefined : visit(node.param),
        };
      case 'binary':
        return { ...node, left: visit(node.left), right: visit(node.right) };
      case 'unary':
      case 'paren':
        return { ...node, expr: visit(node.expr) };
      case 'number':
      case 'string':
        return node;
    }
  };
  const pinned = visit(expr);
  return dependent || dependsInside(expr) ? undefined : pinned;
}

/** A step-dependent call anywhere, also inside of subqueries. */
function dependsInside(expr: Expr): boolean {
  switch (expr.kind) {
    case 'subquery':
    case 'unary':
    case 'paren':
      return dependsInside(expr.expr);
    case 'call':
      return STEP_DEPENDENT.has(expr.func) || expr.args.some(dependsInside);
    case 'aggregation':
      return dependsInside(expr.expr) || (expr.param !== undefined && dependsInside(expr.param));
    case 'binary':
      return dependsInside(expr.left) || dependsInside(expr.right);
    default:
      return false;
  }
}

function describeValue(value: SequenceValue): string {
  switch (value.kind) {
    case 'float':
      return String(value.value);
    case 'histogram':
      return printHistogram(value.histogram);
    case 'stale':
      return 'stale';
    case 'omitted':
      return '_';
  }
}

function describeSeries(series: readonly ResultSeries[]): string {
  if (series.length === 0) return 'nothing';
  return series
    .map(({ labels, timestampsMs, values, count, histograms }) => {
      const samples = Array.from({ length: count }, (_, i) => {
        const histogram = histograms?.[i];
        return `${histogram === undefined ? values[i] : printHistogram(histogram)}@${timestampsMs[i]}`;
      });
      return `${labels.toString()} ${samples.join(' ')}`;
    })
    .join('; ');
}

function describe(result: QueryResult): string {
  return result.type === 'string' ? `string ${result.text}` : describeSeries(result.series);
}

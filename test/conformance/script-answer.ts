// What a script expects beside what came: values, histograms, order, annotations and errors, as Prometheus' own runner compares
// them. Every comparison throws an Error that says what was expected and what came.
import { type BucketList, FloatHistogram } from '../../services/lib/model/float-histogram.ts';
import type { Labels } from '../../services/lib/model/labels.ts';
import type { QueryResult, ResultSeries } from '../../services/lib/promql/engine/query.ts';
import { type ApiHistogram, isShown } from './api-histogram.ts';
import { printHistogram } from './histogram-notation.ts';
import type { EvalCommand, Expectation, ExpectedSeries } from './script-parser.ts';
import type { SequenceValue } from './series-notation.ts';

/** Relative error that a value may have. */
const EPSILON = 1e-6;

/** A series of an answer: from the engine, or as the HTTP API shows it. */
export interface AnswerSeries extends Omit<ResultSeries, 'histograms'> {
  readonly histograms?: readonly (FloatHistogram | ApiHistogram | undefined)[] | undefined;
}

/** What a query was answered with. */
export interface Answer extends Pick<QueryResult, 'type' | 'text' | 'warnings' | 'infos'> {
  readonly series: readonly AnswerSeries[];
}

/** Result at one time of a range query, as a vector. */
export function at(result: Answer, timeMs: number): AnswerSeries[] {
  const vector: AnswerSeries[] = [];
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

export function compare(command: EvalCommand, result: Answer, when: string): void {
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

export function compareVector(
  command: EvalCommand,
  series: readonly AnswerSeries[],
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

function compareMatrix(command: EvalCommand, series: readonly AnswerSeries[], when: string): void {
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
  series: AnswerSeries,
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
function isSame(wanted: SequenceValue, series: AnswerSeries, index: number): boolean {
  const histogram = series.histograms?.[index];
  if (wanted.kind === 'float')
    return histogram === undefined && isAlmostEqual(wanted.value, series.values[index]!);
  if (wanted.kind !== 'histogram' || histogram === undefined) return false;
  return histogram instanceof FloatHistogram
    ? isSameHistogram(wanted.histogram, histogram, wanted.hasHint)
    : isShown(wanted.histogram, histogram, isAlmostEqual);
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
  got: readonly AnswerSeries[],
): void {
  for (const { labels, values } of expected) {
    if (seen.has(labels.key)) continue;
    const wanted = `${labels.toString()} ${values.map(describeValue).join(' ')}`;
    throw new Error(`${when}expected ${wanted}, got ${describeSeries(got)}`);
  }
}

export function requireSorted(series: readonly { readonly labels: Labels }[]): void {
  for (let i = 1; i < series.length; i++) {
    if (series[i - 1]!.labels.compareTo(series[i]!.labels) > 0) {
      throw new Error(`result of a range query is not sorted by labels at ${series[i]!.labels.toString()}`);
    }
  }
}

/** Checks warnings and infos. @param anyPlace  Their positions may be others: those of another text of the query. */
export function checkAnnotations(command: EvalCommand, result: Answer, anyPlace = false): void {
  const [warnings, infos] = [result.warnings, result.infos].map((messages) =>
    anyPlace ? messages.map((message) => message.replace(PLACE, SOME_PLACE)) : messages,
  ) as [readonly string[], readonly string[]];
  const expected = (list: readonly Expectation[]): readonly Expectation[] =>
    anyPlace ? list.map(withSomePlace) : list;
  if (command.warn.length > 0) requireMatch('warning', expected(command.warn), warnings);
  if (command.info.length > 0) requireMatch('info', expected(command.info), infos);
  if (command.noWarn && warnings.length > 0) {
    throw new Error(`expected no warning, got ${warnings.join('; ')}`);
  }
  if (command.noInfo && infos.length > 0) {
    throw new Error(`expected no info, got ${infos.join('; ')}`);
  }
}

/** Line and column behind an annotation, and in a pattern of one. */
const PLACE = /\(\d+:\d+\)$/;
const PLACE_PATTERN = /\\\(\d+:\d+\\\)$/;
const SOME_PLACE = '(0:0)';

function withSomePlace({ match, text }: Expectation): Expectation {
  return { match, text: text.replace(PLACE, SOME_PLACE).replace(PLACE_PATTERN, '\\(0:0\\)') };
}

/** Every expectation is met by a message, and every message by an expectation. */
export function requireMatch(what: string, expected: readonly Expectation[], got: readonly string[]): void {
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

function describeSeries(series: readonly AnswerSeries[]): string {
  if (series.length === 0) return 'nothing';
  return series
    .map(({ labels, timestampsMs, values, count, histograms }) => {
      const samples = Array.from({ length: count }, (_, i) => {
        const histogram = histograms?.[i];
        const value = histogram === undefined ? values[i] : printAny(histogram);
        return `${value}@${timestampsMs[i]}`;
      });
      return `${labels.toString()} ${samples.join(' ')}`;
    })
    .join('; ');
}

export function describe(result: Answer): string {
  return result.type === 'string' ? `string ${result.text}` : describeSeries(result.series);
}

function printAny(histogram: FloatHistogram | ApiHistogram): string {
  return histogram instanceof FloatHistogram ? printHistogram(histogram) : JSON.stringify(histogram);
}

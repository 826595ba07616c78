// The notation of series in test scripts: `metric{label="value"} 1 2+3x4 _ stale {{schema:0 sum:1 count:2}}`.
import { parseDuration } from '../../services/lib/model/duration.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { parseValue } from '../../services/lib/model/number-format.ts';
import { parseMetricSelector } from '../../services/lib/promql/parse/parser.ts';
import { type HistogramLiteral, histogramSequence, parseHistogram } from './histogram-notation.ts';

/** A position of a sequence. */
export type SequenceValue =
  | { readonly kind: 'float'; readonly value: number }
  | ({ readonly kind: 'histogram' } & HistogramLiteral)
  | { readonly kind: 'stale' }
  | { readonly kind: 'omitted' };

export interface SeriesLine {
  readonly labels: Labels;
  readonly values: readonly SequenceValue[];
  /** Start times relative to the samples' own, milliseconds; undefined where a sample has none. */
  readonly startOffsetsMs?: readonly (number | undefined)[];
}

const DURATION = String.raw`(?:(?:\d+(?:ms|[smhdwy]))+|0)`;
const START_ITEM = new RegExp(`^([+-]?)(${DURATION})(?:([+-])(${DURATION}))?(?:x(\\d+))?$`);

/** Parses a line `metric@st …`: start times of the series of the same name on another line. */
export function parseStartLine(line: string): {
  readonly labels: Labels;
  readonly offsetsMs: (number | undefined)[];
} {
  const at = /@st\s/.exec(line)!.index;
  const offsetsMs: (number | undefined)[] = [];
  for (const item of line.slice(at + 3).match(/\S+/g) ?? []) {
    const omitted = /^_(?:x(\d+))?$/.exec(item);
    if (omitted !== null) {
      offsetsMs.push(...Array<undefined>(Number(omitted[1] ?? 1)).fill(undefined));
      continue;
    }
    const match = START_ITEM.exec(item);
    if (match === null) throw new Error(`malformed start time ${JSON.stringify(item)}`);
    const first = parseDuration(match[2]!) * (match[1] === '-' ? -1 : 1);
    const step = match[4] === undefined ? 0 : parseDuration(match[4]) * (match[3] === '-' ? -1 : 1);
    for (let i = 0; i <= Number(match[5] ?? 0); i++) offsetsMs.push(first + i * step);
  }
  return { labels: parseLabels(line.slice(0, at)), offsetsMs };
}

/** Parses a line; throws an Error that quotes it. */
export function parseSeriesLine(line: string): SeriesLine {
  const end = endOfMetric(line);
  const labels = parseLabels(line.slice(0, end));
  return { labels, values: parseSequence(line.slice(end)) };
}

/** Label set written as a selector of equalities. */
export function parseLabels(text: string): Labels {
  const trimmed = text.trim();
  if (trimmed === '{}') return Labels.empty;
  const entries = parseMetricSelector(trimmed).map(({ name, operator, value }): [string, string] => {
    if (operator !== '=') throw new Error(`series ${trimmed} has a label with ${operator}`);
    return [name, value];
  });
  return Labels.from(entries);
}

/** Where the metric ends: behind its braces, or at the first space outside of them. */
function endOfMetric(line: string): number {
  let depth = 0;
  let quote = '';
  for (let i = 0; i < line.length; i++) {
    const char = line[i]!;
    if (quote !== '') {
      if (char === '\\' && quote !== '`') i++;
      else if (char === quote) quote = '';
    } else if (char === '"' || char === "'" || char === '`') quote = char;
    else if (char === '{') depth++;
    else if (char === '}' && --depth === 0) return i + 1;
    else if (depth === 0 && /\s/.test(char) && !/^\s*\{(?!\{)/.test(line.slice(i))) return i;
  }
  return line.length;
}

const NUMBER = String.raw`(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)`;
const FLOAT_ITEM = new RegExp(`^([+-]?${NUMBER})(?:([+-])(${NUMBER}))?(?:x(\\d+))?$`, 'i');
const HISTOGRAM_ITEM = /^(\{\{.*?\}\})(?:([+-])(\{\{.*?\}\}))?(?:x(\d+))?$/;

/** Parses the values of a series. */
export function parseSequence(text: string): SequenceValue[] {
  const out: SequenceValue[] = [];
  for (const item of splitItems(text)) out.push(...parseItem(item));
  return out;
}

/** Items between spaces; histograms keep the spaces within. */
function splitItems(text: string): string[] {
  return text.match(/(?:\{\{[^}]*\}\}|[^\s{])+/g) ?? [];
}

function parseItem(item: string): SequenceValue[] {
  if (item === 'stale') return [{ kind: 'stale' }];
  const omitted = /^_(?:x(\d+))?$/.exec(item);
  if (omitted !== null) return repeat({ kind: 'omitted' }, Number(omitted[1] ?? 1));
  const float = FLOAT_ITEM.exec(item);
  if (float !== null) return floatItem(float);
  const histogram = HISTOGRAM_ITEM.exec(item);
  if (histogram !== null) {
    const step = histogram[3] === undefined ? undefined : parseHistogram(histogram[3]);
    const sign = histogram[2] === '-' ? -1 : 1;
    const sequence = histogramSequence(parseHistogram(histogram[1]!), step, sign, Number(histogram[4] ?? 0));
    return sequence.map((literal) => ({ kind: 'histogram', ...literal }));
  }
  throw new Error(`malformed value ${JSON.stringify(item)} in a series line`);
}

function floatItem(match: RegExpExecArray): SequenceValue[] {
  let value = parseValue(match[1]!)!;
  const step = match[3] === undefined ? 0 : parseValue(match[3])! * (match[2] === '-' ? -1 : 1);
  const out: SequenceValue[] = [{ kind: 'float', value }];
  for (let i = 0; i < Number(match[4] ?? 0); i++) {
    value += step;
    out.push({ kind: 'float', value });
  }
  return out;
}

function repeat(value: SequenceValue, count: number): SequenceValue[] {
  return Array.from({ length: count }, () => value);
}

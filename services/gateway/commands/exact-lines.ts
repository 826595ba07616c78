// A series' samples as a line of JSON that loses nothing: what `tidemark export --format=exact` writes and `tidemark import exact` reads.
//
//   {"metric":{…},"timestamps":[ms…],"values":[1.5,"NaN","+Inf","-Inf","stale","NaN:<16 hexadecimal digits>"…],
//    "histograms":[{"timestamp":ms,"count":…,"sum":…,"schema":…,"zero_threshold":…,"zero_count":…,"hint":"unknown|reset|not_reset|gauge",
//      "positive":{"spans":[[offset,length]…],"counts":[…]},"negative":{…},"custom_bounds":[…]}…],
//    "exemplars":[{"labels":{…},"value":…,"timestamp":ms}…]}
//
// Keys without content are left out; a series may have several lines. Numbers have the shortest digits that give all bits back.
import { AppError } from '../../lib/core/errors.ts';
import { COUNTER_RESET_HINTS } from '../../lib/model/histogram-codec.ts';
import type { HistogramParts, HistogramSide } from '../../lib/model/histogram-parts.ts';
import { isStaleAt, STALE_NAN_HIGH, STALE_NAN_LOW, wordsOf } from '../../lib/model/sample-columns.ts';

export type ExactNumber = number | string;

export interface ExactHistogram {
  readonly timestamp: number;
  readonly count: ExactNumber;
  readonly sum: ExactNumber;
  readonly schema: number;
  readonly zero_threshold: ExactNumber;
  readonly zero_count: ExactNumber;
  readonly hint: string;
  readonly positive?: ExactBuckets;
  readonly negative?: ExactBuckets;
  readonly custom_bounds?: readonly ExactNumber[];
}

interface ExactBuckets {
  readonly spans: readonly (readonly [number, number])[];
  readonly counts: readonly ExactNumber[];
}

export interface ExactExemplar {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: ExactNumber;
  readonly timestamp: number;
}

export interface ExactLine {
  readonly metric: Readonly<Record<string, string>>;
  readonly timestamps?: readonly number[];
  readonly values?: readonly ExactNumber[];
  readonly histograms?: readonly ExactHistogram[];
  readonly exemplars?: readonly ExactExemplar[];
}

const NAN_HIGH = 0x7ff80000;

/** The line, with its line feed. JSON.stringify would write -0 as 0: these numbers are texts already. */
export function printExactLine(line: ExactLine): string {
  return `${print(line)}\n`;
}

function print(value: unknown): string {
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(print).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(([, inner]) => inner !== undefined);
    return `{${fields.map(([key, inner]) => `${JSON.stringify(key)}:${print(inner)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

/** A double as JSON can say it. */
export function exactNumber(value: number): ExactNumber {
  if (Number.isFinite(value)) return value;
  if (Number.isNaN(value)) return 'NaN';
  return value > 0 ? '+Inf' : '-Inf';
}

/** Value `index` of a column, its NaN payload included. */
export function exactValue(values: Float64Array, words: Uint32Array, index: number): ExactNumber {
  const value = values[index]!;
  if (!Number.isNaN(value)) return exactNumber(value);
  if (isStaleAt(words, index)) return 'stale';
  const high = words[2 * index + 1]!;
  const low = words[2 * index]!;
  if (high === NAN_HIGH && low <= 1) return low === 1 ? 'NaN:7ff8000000000001' : 'NaN';
  return `NaN:${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')}`;
}

/** Writes a value into element 0 of `into`. @throws AppError `bad_data` when it is none. */
export function readExactValue(value: ExactNumber, into: Float64Array): void {
  if (typeof value === 'number') {
    into[0] = value;
    return;
  }
  const words = wordsOf(into);
  const bits = /^NaN:([0-9a-f]{8})([0-9a-f]{8})$/.exec(value);
  if (value === 'NaN') into[0] = Number.NaN;
  else if (value === '+Inf') into[0] = Number.POSITIVE_INFINITY;
  else if (value === '-Inf') into[0] = Number.NEGATIVE_INFINITY;
  else if (value === 'stale') {
    words[0] = STALE_NAN_LOW;
    words[1] = STALE_NAN_HIGH;
  } else if (bits !== null) {
    words[0] = Number.parseInt(bits[2]!, 16);
    words[1] = Number.parseInt(bits[1]!, 16);
  } else throw new AppError('bad_data', `${JSON.stringify(value)} is no value`);
}

export function exactHistogram(timestamp: number, parts: HistogramParts): ExactHistogram {
  const bounds = Array.from(parts.customBounds.values.subarray(0, parts.customBounds.count), exactNumber);
  const positive = exactBuckets(parts.positive);
  const negative = exactBuckets(parts.negative);
  return {
    timestamp,
    count: exactNumber(parts.count),
    sum: exactNumber(parts.sum),
    schema: parts.schema,
    zero_threshold: exactNumber(parts.zeroThreshold),
    zero_count: exactNumber(parts.zeroCount),
    hint: parts.hint,
    ...(positive === undefined ? {} : { positive }),
    ...(negative === undefined ? {} : { negative }),
    ...(bounds.length === 0 ? {} : { custom_bounds: bounds }),
  };
}

function exactBuckets({ offsets, lengths, counts }: HistogramSide): ExactBuckets | undefined {
  if (offsets.count === 0) return undefined;
  const spans = Array.from(
    { length: offsets.count },
    (_, i) => [offsets.values[i]!, lengths.values[i]!] as const,
  );
  return { spans, counts: Array.from(counts.values.subarray(0, counts.count), exactNumber) };
}

/** Fills `parts`. @throws AppError `bad_data` when they are no histogram. */
export function readExactHistogram(histogram: ExactHistogram, parts: HistogramParts): void {
  const scratch = new Float64Array(1);
  const number = (value: ExactNumber): number => {
    readExactValue(value, scratch);
    return scratch[0]!;
  };
  parts.clear();
  parts.isFloat = true;
  parts.count = number(histogram.count);
  parts.sum = number(histogram.sum);
  parts.schema = histogram.schema;
  parts.zeroThreshold = number(histogram.zero_threshold);
  parts.zeroCount = number(histogram.zero_count);
  const hint = COUNTER_RESET_HINTS.find((known) => known === histogram.hint);
  if (hint === undefined) throw new AppError('bad_data', `unknown hint ${JSON.stringify(histogram.hint)}`);
  parts.hint = hint;
  for (const [side, buckets] of [
    [parts.positive, histogram.positive],
    [parts.negative, histogram.negative],
  ] as const) {
    for (const [offset, length] of buckets?.spans ?? []) side.addSpan(offset, length);
    for (const count of buckets?.counts ?? []) side.counts.push(number(count));
  }
  for (const bound of histogram.custom_bounds ?? []) parts.customBounds.push(number(bound));
  // Says what is wrong with it, as the server would.
  parts.toHistogram();
}

/** @throws AppError `bad_data` when the text is no such line. */
export function parseExactLine(text: string): ExactLine {
  let line: ExactLine;
  try {
    line = JSON.parse(text) as ExactLine;
  } catch (cause) {
    throw new AppError('bad_data', 'not JSON', { cause });
  }
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isRecord(line) || !isRecord(line.metric)) throw new AppError('bad_data', 'there is no metric');
  const { timestamps = [], values = [], histograms = [], exemplars = [] } = line;
  for (const list of [timestamps, values, histograms, exemplars])
    if (!Array.isArray(list)) throw new AppError('bad_data', 'something is no list that should be one');
  if (timestamps.length !== values.length)
    throw new AppError('bad_data', `${timestamps.length} timestamps, ${values.length} values`);
  const times = [...timestamps, ...histograms.map(timeOf), ...exemplars.map(timeOf)];
  if (!times.every(Number.isSafeInteger)) throw new AppError('bad_data', 'a timestamp is no whole number');
  const labels = [line.metric, ...exemplars.map((one) => one.labels)];
  if (!labels.every((one) => isRecord(one) && Object.values(one).every((value) => typeof value === 'string')))
    throw new AppError('bad_data', 'a label is no text');
  return { metric: line.metric, timestamps, values, histograms, exemplars };
}

function timeOf({ timestamp }: { readonly timestamp: number }): number {
  return timestamp;
}

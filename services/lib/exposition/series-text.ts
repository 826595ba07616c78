// The text of a series, `name{label="value"}` or `{"name",label="value"}`: where it ends, and what it says. Scanning checks
// the grammar without allocating; reading makes strings and is needed once per series, not once per sample.
import { isUtf8 } from 'node:buffer';
import { decodeUtf8 } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import { METRIC_NAME } from '../model/labels.ts';
import { ExpositionError, excerpt } from './exposition-sink.ts';

const QUOTE = 34;
const COMMA = 44;
const EQUALS = 61;
const BACKSLASH = 92;
const BRACE_OPEN = 123;
const BRACE_CLOSE = 125;

/** What a byte may be part of: 1 label names, 2 metric names (adds the colon), 4 not the first byte of either (digits). */
const NAME_CLASS = new Uint8Array(256);
for (let c = 0; c < 256; c++) {
  const letter = (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95;
  if (letter) NAME_CLASS[c] = 3;
  else if (c === 58) NAME_CLASS[c] = 2;
  else if (c >= 48 && c <= 57) NAME_CLASS[c] = 7;
}

/** Grammar of one format. */
export interface SeriesGrammar {
  /** Blanks and tabs may stand between tokens. */
  readonly blanks: boolean;
  /** A label must be followed by a comma or the closing brace. */
  readonly strictCommas: boolean;
}

export const TEXT_GRAMMAR: SeriesGrammar = { blanks: true, strictCommas: false };
export const OPENMETRICS_GRAMMAR: SeriesGrammar = { blanks: false, strictCommas: true };

/**
 * True when a series whose text ends at `at` is not continued there: a blank or tab follows, and behind it something other
 * than an opening brace.
 */
export function isSeriesEnd(bytes: Uint8Array, at: number, end: number): boolean {
  let next = at;
  let c = 0;
  while (next < end && ((c = bytes[next]!) === 32 || c === 9)) next++;
  return next > at && c !== BRACE_OPEN;
}

/** The position behind a metric name, or `start` when none stands there. */
export function scanMetricName(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  if (at >= end || (NAME_CLASS[bytes[at]!]! & 6) !== 2) return start;
  while (at < end && (NAME_CLASS[bytes[at]!]! & 2) !== 0) at++;
  return at;
}

/**
 * The position behind the series text that starts at `start`.
 *
 * @throws ExpositionError where the grammar does not allow what stands there.
 */
export function scanSeries(bytes: Uint8Array, start: number, end: number, grammar: SeriesGrammar): number {
  const nameEnd = scanMetricName(bytes, start, end);
  let at = grammar.blanks ? skipBlanks(bytes, nameEnd, end) : nameEnd;
  if (at < end && bytes[at] === BRACE_OPEN) {
    at = scanLabels(bytes, at + 1, end, grammar, true);
    return at;
  }
  if (nameEnd === start)
    throw new ExpositionError(
      bytes,
      start,
      `${excerpt(bytes, start, end)} does not start with a metric name`,
    );
  return nameEnd;
}

/**
 * The position behind the closing brace of the labels that start at `start`.
 *
 * @param metricName  A quoted string that is no label may stand among them: the metric name.
 */
export function scanLabels(
  bytes: Uint8Array,
  start: number,
  end: number,
  grammar: SeriesGrammar,
  metricName: boolean,
): number {
  const skip = grammar.blanks ? skipBlanks : skipNothing;
  let at = skip(bytes, start, end);
  for (;;) {
    if (at < end && bytes[at] === BRACE_CLOSE) return at + 1;
    const quoted = at < end && bytes[at] === QUOTE;
    const nameStart = at;
    at = quoted ? scanQuoted(bytes, at, end, grammar) : scanLabelName(bytes, at, end);
    if (at === nameStart)
      throw new ExpositionError(bytes, at, `expected label name, got ${excerpt(bytes, at, end)}`);
    at = skip(bytes, at, end);
    const next = at < end ? bytes[at]! : 0;
    if (quoted && metricName && (next === COMMA || next === BRACE_CLOSE)) {
      at = next === COMMA ? skip(bytes, at + 1, end) : at;
      continue;
    }
    if (next !== EQUALS)
      throw new ExpositionError(bytes, at, `expected equal, got ${excerpt(bytes, at, end)}`);
    at = skip(bytes, at + 1, end);
    if (at >= end || bytes[at] !== QUOTE) {
      throw new ExpositionError(bytes, at, `expected label value, got ${excerpt(bytes, at, end)}`);
    }
    at = skip(bytes, scanQuoted(bytes, at, end, grammar), end);
    if (at < end && bytes[at] === COMMA) at = skip(bytes, at + 1, end);
    else if (grammar.strictCommas && (at >= end || bytes[at] !== BRACE_CLOSE)) {
      throw new ExpositionError(bytes, at, `expected comma or brace close, got ${excerpt(bytes, at, end)}`);
    }
  }
}

export function skipBlanks(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  let c = 0;
  while (at < end && ((c = bytes[at]!) === 32 || c === 9)) at++;
  return at;
}

function skipNothing(_: Uint8Array, start: number): number {
  return start;
}

/** The position behind a label name, or `start` when none stands there. */
export function scanLabelName(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  if (at >= end || (NAME_CLASS[bytes[at]!]! & 5) !== 1) return start;
  while (at < end && (NAME_CLASS[bytes[at]!]! & 1) !== 0) at++;
  return at;
}

/** The position behind the quoted string at `start`. The text format lets it run over lines, OpenMetrics does not. */
export function scanQuoted(bytes: Uint8Array, start: number, end: number, grammar: SeriesGrammar): number {
  for (let at = start + 1; at < end; at++) {
    const c = bytes[at]!;
    if (c === QUOTE) return at + 1;
    if (c === BACKSLASH) at++;
    if (bytes[at] === 10 && (grammar.strictCommas || c === BACKSLASH)) break;
  }
  throw new ExpositionError(bytes, start, `the string ${excerpt(bytes, start, end)} is not closed`);
}

/**
 * Reads the scanned text of a series as `[name, value, …]` in the order written, the metric name under `__name__`. Empty
 * values stay: they mean something to honor_labels.
 *
 * @throws AppError `bad_data` for text that is not UTF-8, for a name that is missing or given twice, and for a label that
 *         occurs twice.
 */
export function readSeriesText(bytes: Uint8Array, start: number, end: number): string[] {
  const pairs: string[] = [];
  const nameEnd = scanMetricName(bytes, start, end);
  let named = nameEnd > start;
  if (named) pairs.push(METRIC_NAME, decodeUtf8(bytes, start, nameEnd));
  const open = skipBlanks(bytes, nameEnd, end);
  readPairs(
    bytes,
    open,
    end,
    (name) => {
      if (named)
        throw new AppError(
          'bad_data',
          `metric name is already set, then given again as ${JSON.stringify(name)}`,
        );
      pairs.unshift(METRIC_NAME, name);
      named = true;
    },
    pairs,
  );
  if (!named) throw new AppError('bad_data', 'metric name is missing');
  refuseDuplicates(pairs);
  return pairs;
}

/**
 * Reads the scanned braces of an exemplar, `{name="value",…}`, as `[name, value, …]` in the order written.
 *
 * @throws AppError `bad_data` for text that is not UTF-8, and for a label that occurs twice.
 */
export function readExemplarLabels(bytes: Uint8Array, start: number, end: number): string[] {
  const pairs: string[] = [];
  const refuse = (name: string): never => {
    throw new AppError('bad_data', `the exemplar has a label ${JSON.stringify(name)} without a value`);
  };
  readPairs(bytes, start, end, refuse, pairs);
  refuseDuplicates(pairs);
  return pairs;
}

/** The pairs behind the brace at `open`; a quoted string that is no label goes to `onName`. */
function readPairs(
  bytes: Uint8Array,
  open: number,
  end: number,
  onName: (name: string) => void,
  pairs: string[],
): void {
  let at = open < end ? open + 1 : open;
  while ((at = skipSeparators(bytes, at, end)) < end && bytes[at] !== BRACE_CLOSE) {
    const quoted = bytes[at] === QUOTE;
    const stop = quoted ? scanQuoted(bytes, at, end, TEXT_GRAMMAR) : scanLabelName(bytes, at, end);
    const name = quoted ? unquote(bytes, at, stop) : decodeUtf8(bytes, at, stop);
    at = skipBlanks(bytes, stop, end);
    if (bytes[at] !== EQUALS) {
      onName(name);
      continue;
    }
    at = skipBlanks(bytes, at + 1, end);
    const valueEnd = scanQuoted(bytes, at, end, TEXT_GRAMMAR);
    pairs.push(name, unquote(bytes, at, valueEnd));
    at = valueEnd;
  }
}

function skipSeparators(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  let c = 0;
  while (at < end && ((c = bytes[at]!) === 32 || c === 9 || c === COMMA)) at++;
  return at;
}

function refuseDuplicates(pairs: readonly string[]): void {
  const names = new Set<string>();
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i]!;
    if (names.has(name))
      throw new AppError('bad_data', `label name ${JSON.stringify(name)} is not unique: invalid sample`);
    names.add(name);
  }
}

/** The string between the quotes at `start` and before `end`: `\\`, `\"` and `\n` are escapes, other backslashes stay. */
export function unquote(bytes: Uint8Array, start: number, end: number): string {
  return readEscaped(bytes, start + 1, end - 1);
}

/** Text with the escapes of label values. @throws AppError `bad_data` when it is not UTF-8. */
export function readEscaped(bytes: Uint8Array, start: number, end: number): string {
  let ascii = true;
  let escaped = false;
  for (let i = start; i < end; i++) {
    const c = bytes[i]!;
    if (c > 127) ascii = false;
    else if (c === BACKSLASH) escaped = true;
  }
  if (!ascii && !isUtf8(bytes.subarray(start, end))) {
    throw new AppError(
      'bad_data',
      `invalid UTF-8 label value: ${JSON.stringify(decodeUtf8(bytes, start, end))}`,
    );
  }
  const text = decodeUtf8(bytes, start, end);
  if (!escaped) return text;
  return text.replaceAll(/\\([\\"n])/g, (_, c: string) => (c === 'n' ? '\n' : c));
}

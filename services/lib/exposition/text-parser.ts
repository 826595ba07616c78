// Prometheus' text format, versions 0.0.4 and 1.0.0 (which adds quoted UTF-8 names). As lenient and as strict as Prometheus'
// own parser: blanks between tokens, trailing commas and other comments are fine; a line that is not a sample is an error.
import { isUtf8 } from 'node:buffer';
import { encodeUtf8 } from '../core/bytes.ts';
import { ExpositionError, type ExpositionSink, excerpt, type MetadataKind } from './exposition-sink.ts';
import { NumberSyntaxError, parseFloatBytes } from './float-parser.ts';
import { scanMetricName, scanQuoted, scanSeries, skipBlanks, TEXT_GRAMMAR } from './series-text.ts';

const NEWLINE = 10;
const QUOTE = 34;
const HASH = 35;
const BRACE_OPEN = 123;

const TYPES = ['counter', 'gauge', 'histogram', 'summary', 'untyped'].map((type) => encodeUtf8(type));

/**
 * Parses bytes[0, end) and reports to the sink.
 *
 * @throws ExpositionError with line and reason; what was reported before it stays reported.
 *
 * Cost: O(n); no allocation per sample.
 */
export function parseText(bytes: Uint8Array, end: number, sink: ExpositionSink): void {
  // One fast look at everything spares one at each help text; a body with other bytes is looked at line by line.
  const isClean = isUtf8(bytes.subarray(0, end));
  let at = 0;
  while (at < end) {
    const c = bytes[at]!;
    if (c === NEWLINE || c === 32 || c === 9) at++;
    else if (c === HASH) at = parseComment(bytes, at, end, isClean, sink);
    else at = parseSample(bytes, at, end, sink);
  }
}

function parseSample(bytes: Uint8Array, start: number, end: number, sink: ExpositionSink): number {
  const known = sink.recognise(bytes, start, end);
  const seriesEnd = known > 0 ? start + known : scanSeries(bytes, start, end, TEXT_GRAMMAR);
  const valueStart = skipBlanks(bytes, seriesEnd, end);
  let at = valueStart;
  let c = 0;
  while (at < end && (c = bytes[at]!) > 32 && c !== BRACE_OPEN) at++;
  while (at < end && (c = bytes[at]!) !== 32 && c !== 9 && c !== NEWLINE && c !== BRACE_OPEN) at++;
  if (at === valueStart) {
    throw new ExpositionError(bytes, at, `expected value after metric, got ${excerpt(bytes, at, end)}`);
  }
  const value = readFloat(bytes, valueStart, at);
  at = skipBlanks(bytes, at, end);
  let timestampMs = Number.NaN;
  if (at < end && bytes[at] !== NEWLINE) {
    const stampStart = at;
    let digit = 0;
    let stamp = 0;
    while (at < end && (digit = bytes[at]! - 48) >= 0 && digit <= 9) {
      stamp = stamp * 10 + digit;
      at++;
    }
    const stampEnd = at;
    at = skipBlanks(bytes, at, end);
    if (stampEnd === stampStart || (at < end && bytes[at] !== NEWLINE)) {
      throw new ExpositionError(
        bytes,
        at,
        `expected timestamp or new record, got ${excerpt(bytes, at, end)}`,
      );
    }
    if (stamp > Number.MAX_SAFE_INTEGER)
      throw new ExpositionError(bytes, stampStart, 'the timestamp is out of range');
    timestampMs = stamp;
  }
  sink.sample(bytes, start, seriesEnd, value, timestampMs);
  return at + 1;
}

/** A value as both formats write it. @throws ExpositionError when it is none. */
export function readFloat(bytes: Uint8Array, start: number, end: number): number {
  try {
    return parseFloatBytes(bytes, start, end);
  } catch (caught) {
    if (caught instanceof NumberSyntaxError) throw new ExpositionError(bytes, start, caught.message);
    throw caught;
  }
}

function parseComment(
  bytes: Uint8Array,
  start: number,
  end: number,
  isClean: boolean,
  sink: ExpositionSink,
): number {
  let lineEnd = bytes.indexOf(NEWLINE, start);
  if (lineEnd < 0 || lineEnd > end) lineEnd = end;
  const word = skipBlanks(bytes, start + 1, lineEnd);
  if (word === start + 1) return lineEnd + 1;
  const kind = readKeyword(bytes, word, lineEnd);
  if (kind === undefined) return lineEnd + 1;
  const nameStart = skipBlanks(bytes, word + 4, lineEnd);
  const quoted = bytes[nameStart] === QUOTE;
  const nameEnd = quoted
    ? scanQuoted(bytes, nameStart, end, TEXT_GRAMMAR)
    : scanMetricName(bytes, nameStart, lineEnd);
  if (nameEnd === nameStart) {
    throw new ExpositionError(
      bytes,
      start,
      `expected metric name after ${kind.toUpperCase()}, got ${excerpt(bytes, nameStart, lineEnd)}`,
    );
  }
  if (nameEnd > lineEnd) lineEnd = endOfLine(bytes, nameEnd, end);
  const textStart = Math.min(nameEnd + 1, lineEnd);
  if (kind === 'type') checkType(bytes, textStart, lineEnd, TYPES);
  else if (!isClean) checkHelp(bytes, textStart, lineEnd);
  sink.metadata(kind, bytes, nameStart, nameEnd, textStart, lineEnd);
  return lineEnd + 1;
}

function endOfLine(bytes: Uint8Array, start: number, end: number): number {
  const at = bytes.indexOf(NEWLINE, start);
  return at < 0 || at > end ? end : at;
}

/** `HELP` or `TYPE`, followed by a blank. */
function readKeyword(bytes: Uint8Array, at: number, end: number): MetadataKind | undefined {
  if (at + 4 >= end) return undefined;
  const after = bytes[at + 4];
  if (after !== 32 && after !== 9) return undefined;
  if (bytes[at] === 72 && bytes[at + 1] === 69 && bytes[at + 2] === 76 && bytes[at + 3] === 80) return 'help';
  if (bytes[at] === 84 && bytes[at + 1] === 89 && bytes[at + 2] === 80 && bytes[at + 3] === 69) return 'type';
  return undefined;
}

/** @throws ExpositionError when the type is not one of `types`. */
export function checkType(bytes: Uint8Array, start: number, end: number, types: readonly Uint8Array[]): void {
  for (const type of types) if (type.length === end - start && startsWith(bytes, start, type)) return;
  throw new ExpositionError(bytes, start, `invalid metric type ${excerpt(bytes, start, end)}`);
}

function startsWith(bytes: Uint8Array, start: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text[i]) return false;
  return true;
}

/** @throws ExpositionError when the text is not UTF-8. */
export function checkHelp(bytes: Uint8Array, start: number, end: number): void {
  if (isUtf8(bytes.subarray(start, end))) return;
  throw new ExpositionError(bytes, start, 'the help text is not valid UTF-8');
}

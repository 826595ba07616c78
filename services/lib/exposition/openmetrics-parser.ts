// OpenMetrics 1.0 (and 0.0.1), as Prometheus reads it: single blanks between tokens, no empty lines, `# EOF` at the end.
// `_created` lines are series like any other. Rules that span lines (families, order) are not checked, as Prometheus does not
// check them.
import { isUtf8 } from 'node:buffer';
import { encodeUtf8 } from '../core/bytes.ts';
import { ExpositionError, type ExpositionSink, excerpt, type MetadataKind } from './exposition-sink.ts';
import {
  OPENMETRICS_GRAMMAR,
  readEscaped,
  scanLabels,
  scanMetricName,
  scanQuoted,
  scanSeries,
} from './series-text.ts';
import { checkHelp, checkType, readFloat } from './text-parser.ts';

const NEWLINE = 10;
const BLANK = 32;
const HASH = 35;

const TYPES = [
  'counter',
  'gauge',
  'histogram',
  'gaugehistogram',
  'summary',
  'info',
  'stateset',
  'unknown',
].map((type) => encodeUtf8(type));

/**
 * Parses bytes[0, end) and reports to the sink.
 *
 * @throws ExpositionError with line and reason; what was reported before it stays reported.
 */
export function parseOpenMetrics(bytes: Uint8Array, end: number, sink: ExpositionSink): void {
  // One fast look at everything spares one at each help text.
  const isClean = isUtf8(bytes.subarray(0, end));
  let at = 0;
  while (at < end) {
    if (bytes[at] === HASH) {
      if (isEof(bytes, at, end)) {
        const after = bytes[at + 5] === NEWLINE ? at + 6 : at + 5;
        if (after < end) throw new ExpositionError(bytes, after, 'unexpected data after # EOF');
        return;
      }
      at = parseMetadata(bytes, at, end, isClean, sink);
    } else {
      at = parseSample(bytes, at, end, sink);
    }
  }
  throw new ExpositionError(bytes, end, 'data does not end with # EOF');
}

function isEof(bytes: Uint8Array, at: number, end: number): boolean {
  return (
    at + 5 <= end &&
    bytes[at + 1] === BLANK &&
    bytes[at + 2] === 69 &&
    bytes[at + 3] === 79 &&
    bytes[at + 4] === 70
  );
}

function parseMetadata(
  bytes: Uint8Array,
  start: number,
  end: number,
  isClean: boolean,
  sink: ExpositionSink,
): number {
  const kind =
    bytes[start + 1] === BLANK
      ? KEYWORDS[Buffer.from(bytes.subarray(start + 2, start + 7)).toString('latin1')]
      : undefined;
  if (kind === undefined)
    throw new ExpositionError(
      bytes,
      start,
      `${excerpt(bytes, start, end)} is neither HELP, TYPE, UNIT nor EOF`,
    );
  const nameStart = start + 7;
  const nameEnd =
    bytes[nameStart] === 34
      ? scanQuoted(bytes, nameStart, end, OPENMETRICS_GRAMMAR)
      : scanMetricName(bytes, nameStart, end);
  const lineEnd = bytes.indexOf(NEWLINE, nameEnd);
  if (nameEnd === nameStart || lineEnd < 0 || lineEnd >= end || bytes[nameEnd] !== BLANK) {
    throw new ExpositionError(bytes, start, `expected metric name and text after ${kind.toUpperCase()}`);
  }
  const textStart = nameEnd + 1;
  if (kind === 'type') checkType(bytes, textStart, lineEnd, TYPES);
  else if (kind === 'unit') checkUnit(bytes, nameStart, nameEnd, textStart, lineEnd);
  else if (!isClean) checkHelp(bytes, textStart, lineEnd);
  sink.metadata(kind, bytes, nameStart, nameEnd, textStart, lineEnd);
  return lineEnd + 1;
}

const KEYWORDS: Readonly<Record<string, MetadataKind>> = {
  'HELP ': 'help',
  'TYPE ': 'type',
  'UNIT ': 'unit',
};

/** A unit must be the last part of its metric's name. */
function checkUnit(bytes: Uint8Array, nameStart: number, nameEnd: number, start: number, end: number): void {
  const name = readEscaped(bytes, nameStart, nameEnd).replace(/^"(.*)"$/, '$1');
  const unit = readEscaped(bytes, start, end);
  if (unit !== '' && !name.endsWith(`_${unit}`)) {
    throw new ExpositionError(
      bytes,
      start,
      `unit ${JSON.stringify(unit)} is not a suffix of metric ${JSON.stringify(name)}`,
    );
  }
}

function parseSample(bytes: Uint8Array, start: number, end: number, sink: ExpositionSink): number {
  const known = sink.recognise(bytes, start, end);
  const seriesEnd = known > 0 ? start + known : scanSeries(bytes, start, end, OPENMETRICS_GRAMMAR);
  const valueEnd = scanToken(bytes, seriesEnd, end, 'value after metric');
  const value = readFloat(bytes, seriesEnd + 1, valueEnd);
  let at = valueEnd;
  let timestampMs = Number.NaN;
  if (at < end && bytes[at] === BLANK && bytes[at + 1] !== HASH) {
    const stampEnd = scanToken(bytes, at, end, 'timestamp');
    timestampMs = readTimestamp(bytes, at + 1, stampEnd);
    at = readStartTime(bytes, stampEnd, end, sink);
  }
  const exemplar = at;
  if (at < end && bytes[at] === BLANK) at = readExemplar(bytes, at, end, undefined);
  if (at >= end || bytes[at] !== NEWLINE) {
    throw new ExpositionError(bytes, at, `expected next entry, got ${excerpt(bytes, at, end)}`);
  }
  sink.sample(bytes, start, seriesEnd, value, timestampMs);
  if (at > exemplar) readExemplar(bytes, exemplar, end, sink);
  return at + 1;
}

/** The position behind a blank and the token that follows it. */
function scanToken(bytes: Uint8Array, start: number, end: number, expected: string): number {
  let at = start + 1;
  let c = 0;
  while (at < end && (c = bytes[at]!) !== BLANK && c !== NEWLINE) at++;
  if (start >= end || bytes[start] !== BLANK || at === start + 1) {
    throw new ExpositionError(bytes, start, `expected ${expected}, got ${excerpt(bytes, start, end)}`);
  }
  return at;
}

/** Seconds to milliseconds, cut off towards zero as Prometheus does, and at what a double counts: no store accepts those. */
function readTimestamp(bytes: Uint8Array, start: number, end: number): number {
  const seconds = readFloat(bytes, start, end);
  if (!Number.isFinite(seconds)) throw new ExpositionError(bytes, start, `invalid timestamp ${seconds}`);
  const timestampMs = Math.trunc(seconds * 1000);
  if (timestampMs > Number.MAX_SAFE_INTEGER) return Number.MAX_SAFE_INTEGER;
  if (timestampMs < -Number.MAX_SAFE_INTEGER) return -Number.MAX_SAFE_INTEGER;
  return timestampMs;
}

/** ` st@<seconds>` or ` ct@<seconds>`: when a counter started. Returns the position behind it. */
function readStartTime(bytes: Uint8Array, at: number, end: number, sink: ExpositionSink): number {
  const marked = bytes[at] === BLANK && (bytes[at + 1] === 115 || bytes[at + 1] === 99);
  if (!marked || bytes[at + 2] !== 116 || bytes[at + 3] !== 64) return at;
  const tokenEnd = scanToken(bytes, at, end, 'start timestamp');
  sink.startTime(readTimestamp(bytes, at + 4, tokenEnd));
  return tokenEnd;
}

/**
 * ` # {labels} value [timestamp]`: returns the position behind it. Checked before its sample is reported, and reported after
 * it, to `sink`.
 */
function readExemplar(
  bytes: Uint8Array,
  start: number,
  end: number,
  sink: ExpositionSink | undefined,
): number {
  const opens = bytes[start + 1] === HASH && bytes[start + 2] === BLANK && bytes[start + 3] === 123;
  if (!opens)
    throw new ExpositionError(bytes, start, `expected next entry, got ${excerpt(bytes, start, end)}`);
  const labelsEnd = scanLabels(bytes, start + 4, end, OPENMETRICS_GRAMMAR, false);
  if (!isUtf8(bytes.subarray(start, labelsEnd)))
    throw new ExpositionError(bytes, start, 'the exemplar is not valid UTF-8');
  const valueEnd = scanToken(bytes, labelsEnd, end, 'value of the exemplar');
  const value = readFloat(bytes, labelsEnd + 1, valueEnd);
  let at = valueEnd;
  let timestampMs = Number.NaN;
  if (bytes[valueEnd] === BLANK) {
    at = scanToken(bytes, valueEnd, end, 'timestamp of the exemplar');
    timestampMs = readTimestamp(bytes, valueEnd + 1, at);
  }
  sink?.exemplar(bytes, start + 3, labelsEnd, value, timestampMs);
  return at;
}

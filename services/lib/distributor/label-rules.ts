// What makes a label set acceptable, checked once when a series is first seen. Works on canonical label bytes, so that all
// writers (remote write, scraper, rules) meet the same rules.
import { isUtf8 } from 'node:buffer';
import { ByteReader, decodeUtf8, encodeUtf8 } from '../core/bytes.ts';
import { AppError } from '../core/errors.ts';
import { METRIC_NAME, quoteLabel } from '../model/labels.ts';

/** Limits of one label set. The names stand in the errors. */
export interface LabelLimits {
  readonly labelsPerSeriesMax: number;
  readonly labelNameBytesMax: number;
  readonly labelValueBytesMax: number;
  /** Canonical label bytes of one series in all. */
  readonly labelBytesPerSeriesMax: number;
}

/**
 * Far above what exporters send (Mimir's defaults are 30 labels, 1 KiB, 2 KiB), low enough that a stray payload in a label
 * does not end up in the index.
 */
export const DEFAULT_LABEL_LIMITS: LabelLimits = {
  labelsPerSeriesMax: 256,
  labelNameBytesMax: 1024,
  labelValueBytesMax: 16 * 1024,
  labelBytesPerSeriesMax: 64 * 1024,
};

/** Longest label value quoted in an error. */
const QUOTED_CHARACTERS_MAX = 200;

const metricNameBytes = encodeUtf8(METRIC_NAME);

/**
 * Checks the labels in bytes[start, end): canonical form, valid UTF-8, no empty name or value, each name once, a metric name,
 * and the limits.
 *
 * @throws AppError `bad_data` with the series, the label and the rule or limit that it breaks.
 */
export function checkLabels(bytes: Uint8Array, start: number, end: number, limits: LabelLimits): void {
  const refuse = (what: string): AppError =>
    new AppError('bad_data', `${what} (series ${describeLabels(bytes, start, end)})`);
  if (end - start > limits.labelBytesPerSeriesMax) {
    throw refuse(
      `${end - start} bytes of labels are over the limit labelBytesPerSeriesMax = ${limits.labelBytesPerSeriesMax}`,
    );
  }
  const reader = new ByteReader(bytes, start, end);
  let count = 0;
  let previousStart = -1;
  let previousEnd = -1;
  let hasMetricName = false;
  while (reader.remaining > 0) {
    const nameBytes = reader.varint();
    const nameStart = reader.position;
    reader.skip(nameBytes);
    const nameEnd = reader.position;
    const valueBytes = reader.varint();
    const valueStart = reader.position;
    reader.skip(valueBytes);
    if (++count > limits.labelsPerSeriesMax) {
      throw refuse(`more labels than the limit labelsPerSeriesMax = ${limits.labelsPerSeriesMax}`);
    }
    const name = (): string => quoteLabel(shorten(decodeUtf8(bytes, nameStart, nameEnd)));
    if (nameBytes === 0) throw refuse('a label has an empty name');
    if (!isValidUtf8(bytes, nameStart, nameEnd)) throw refuse(`label name ${name()} is not valid UTF-8`);
    if (nameBytes > limits.labelNameBytesMax) {
      throw refuse(
        `label name ${name()} has ${nameBytes} bytes, over the limit labelNameBytesMax = ${limits.labelNameBytesMax}`,
      );
    }
    if (valueBytes === 0) throw refuse(`label ${name()} has an empty value`);
    if (valueBytes > limits.labelValueBytesMax) {
      throw refuse(
        `the value of label ${name()} has ${valueBytes} bytes, over the limit labelValueBytesMax = ${limits.labelValueBytesMax}`,
      );
    }
    if (!isValidUtf8(bytes, valueStart, reader.position))
      throw refuse(`the value of label ${name()} is not valid UTF-8`);
    if (previousStart >= 0) {
      const order = compareRanges(bytes, previousStart, previousEnd, nameStart, nameEnd);
      if (order === 0) throw refuse(`label name ${name()} occurs twice`);
      if (order > 0) throw refuse(`label name ${name()} is not in order`);
    }
    if (isMetricName(bytes, nameStart, nameEnd)) {
      hasMetricName = true;
    }
    previousStart = nameStart;
    previousEnd = nameEnd;
  }
  if (!hasMetricName) throw refuse(`there is no metric name (label ${METRIC_NAME})`);
}

/** Label bytes for an error message, whatever is in them: as Prometheus prints a series, long texts cut. */
export function describeLabels(bytes: Uint8Array, start: number, end: number): string {
  const reader = new ByteReader(bytes, start, end);
  let metric = '';
  const parts: string[] = [];
  let characters = 0;
  try {
    while (reader.remaining > 0 && characters < 4 * QUOTED_CHARACTERS_MAX) {
      const name = shorten(reader.string());
      const value = shorten(reader.string());
      characters += name.length + value.length;
      if (name === METRIC_NAME && metric === '') metric = value;
      else parts.push(`${name}=${quoteLabel(value)}`);
    }
  } catch {
    parts.push('…');
  }
  if (reader.remaining > 0) parts.push('…');
  return `${metric}{${parts.join(', ')}}`;
}

function shorten(text: string): string {
  return text.length <= QUOTED_CHARACTERS_MAX ? text : `${text.slice(0, QUOTED_CHARACTERS_MAX)}…`;
}

function isMetricName(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== metricNameBytes.length) return false;
  for (let i = 0; i < metricNameBytes.length; i++) if (bytes[start + i] !== metricNameBytes[i]) return false;
  return true;
}

function isValidUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (bytes[i]! > 127) return isUtf8(bytes.subarray(start, end));
  }
  return true;
}

function compareRanges(
  bytes: Uint8Array,
  aStart: number,
  aEnd: number,
  bStart: number,
  bEnd: number,
): number {
  const shared = Math.min(aEnd - aStart, bEnd - bStart);
  for (let i = 0; i < shared; i++) {
    const difference = bytes[aStart + i]! - bytes[bStart + i]!;
    if (difference !== 0) return difference;
  }
  return aEnd - aStart - (bEnd - bStart);
}

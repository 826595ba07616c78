// Prometheus' humanize functions and the conversions that they share.
import { parseValue } from '../../model/number-format.ts';
import { formatFloat, printFloat } from './format-float.ts';
import { printTime } from './go-time.ts';
import { TemplateDuration, typeName, type Value } from './values.ts';

const LARGE = ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];
const SMALL = ['m', 'u', 'n', 'p', 'f', 'a', 'z', 'y'];
const BINARY = ['ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei', 'Zi', 'Yi'];

const four = (value: number): string => formatFloat(value, 'g', 4);

/**
 * What humanize and its kin accept: numbers, durations, and strings that hold a number.
 *
 * @throws Error with Go's reason.
 */
export function toFloat(value: Value): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof TemplateDuration) return Number(value.nanoseconds) / 1e9;
  if (typeof value === 'string') {
    const parsed = parseValue(value);
    if (parsed === undefined)
      throw new Error(`strconv.ParseFloat: parsing ${JSON.stringify(value)}: invalid syntax`);
    if (!Number.isFinite(parsed) && /\d/.test(value)) {
      throw new Error(`strconv.ParseFloat: parsing ${JSON.stringify(value)}: value out of range`);
    }
    return parsed;
  }
  throw new Error(`can't convert ${typeName(value)} to float`);
}

/** `1.234M`, `12.3m`: metric prefixes, four digits. */
export function humanize(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return four(value);
  if (Math.abs(value) < 1) return scaleUp(value, '');
  return scaleDown(value, 1000, LARGE);
}

/** `1.5Mi`: binary prefixes, four digits. */
export function humanize1024(value: number): string {
  if (!(Math.abs(value) > 1) || !Number.isFinite(value)) return four(value);
  return scaleDown(value, 1024, BINARY);
}

function scaleDown(value: number, base: number, prefixes: readonly string[]): string {
  let rest = value;
  let prefix = '';
  for (const candidate of prefixes) {
    if (Math.abs(rest) < base) break;
    prefix = candidate;
    rest /= base;
  }
  return four(rest) + prefix;
}

function scaleUp(value: number, unit: string): string {
  let rest = value;
  let prefix = '';
  for (const candidate of SMALL) {
    if (Math.abs(rest) >= 1) break;
    prefix = candidate;
    rest *= 1000;
  }
  return four(rest) + prefix + unit;
}

/** Seconds as `1d 2h 3m 4s`, below a minute with four digits, below a second with a prefix. */
export function humanizeDuration(value: number): string {
  if (!Number.isFinite(value)) return four(value);
  if (value === 0) return `${four(value)}s`;
  if (Math.abs(value) < 1) return scaleUp(value, 's');
  const sign = value < 0 ? '-' : '';
  const magnitude = Math.abs(value);
  const whole = BigInt(Math.trunc(magnitude));
  const seconds = whole % 60n;
  const minutes = (whole / 60n) % 60n;
  const hours = (whole / 3600n) % 24n;
  const days = whole / 86_400n;
  if (days !== 0n) return `${sign}${days}d ${hours}h ${minutes}m ${seconds}s`;
  if (hours !== 0n) return `${sign}${hours}h ${minutes}m ${seconds}s`;
  if (minutes !== 0n) return `${sign}${minutes}m ${seconds}s`;
  return `${sign}${four(magnitude)}s`;
}

/** A ratio as a percentage: `12.35%`. */
export function humanizePercentage(value: number): string {
  return `${four(value * 100)}%`;
}

/** A Unix time in seconds as Go prints a time, to the millisecond. */
export function humanizeTimestamp(value: number): string {
  if (!Number.isFinite(value)) return four(value);
  return printTime(toTimeMs(value));
}

/**
 * Unix seconds to milliseconds, cut as Prometheus does.
 *
 * @throws Error when the time does not fit Go's nanoseconds.
 */
export function toTimeMs(value: number): number {
  const nanoseconds = value * 1e9;
  if (nanoseconds > 2 ** 63 || nanoseconds < -(2 ** 63)) {
    throw new Error(
      `${printFloat(value)} cannot be represented as a nanoseconds timestamp since it overflows int64`,
    );
  }
  return Math.trunc(nanoseconds / 1e6);
}

// Values of the API's JSON that several endpoints share: label objects, times, and numbers where Prometheus writes them
// in another way than samples.
import { formatValue } from '../../lib/model/number-format.ts';

/** A time before any other: what Go prints for "never". */
const NEVER = '0001-01-01T00:00:00Z';

/** Labels or counts as an object with sorted keys. Keys are data: `__proto__` is a key like any other. */
export function sortedObject<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  const sorted: Record<string, T> = Object.create(null);
  for (const key of Object.keys(record).sort()) sorted[key] = record[key]!;
  return sorted;
}

/** RFC 3339 with as many decimals as are needed; 0 is "never". */
export function formatTime(timeMs: number): string {
  if (timeMs === 0) return NEVER;
  const whole = Math.floor(timeMs);
  const nanoseconds = Math.round((timeMs - whole) * 1e6);
  const milliseconds = ((whole % 1000) + 1000) % 1000;
  const decimals = String(milliseconds * 1_000_000 + nanoseconds)
    .padStart(9, '0')
    .replace(/0+$/, '');
  const seconds = new Date(whole).toISOString().slice(0, 19);
  return `${seconds}${decimals === '' ? '' : `.${decimals}`}Z`;
}

/** A time in seconds as Go prints a float: no zeros at the end. Scalars and strings have these, samples do not. */
export function formatSeconds(timeMs: number): string {
  return String(timeMs / 1000);
}

/** A value without an exponent, however many digits that takes (Go's 'f', -1): what scalar results have. */
export function formatDecimal(value: number): string {
  const text = formatValue(value);
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (match === null) return text;
  const [, sign, first, rest = '', power] = match;
  const digits = `${first}${rest}`;
  const point = Number(power) + 1;
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  if (point >= digits.length) return sign + digits.padEnd(point, '0');
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

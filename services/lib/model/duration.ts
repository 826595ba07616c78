// Prometheus durations: `1h30m`, units y w d h m s ms, each at most once, in this order.
import { AppError } from '../core/errors.ts';

const UNITS: readonly (readonly [string, number])[] = [
  ['y', 365 * 86_400_000],
  ['w', 7 * 86_400_000],
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];

/** Digits and the unit behind them, either of them perhaps missing. */
const PART = /([0-9]*)([^0-9]*)/g;
/** Counts beyond 64 bits are no numbers to Prometheus. */
const COUNT_MAX = 2 ** 64;

/** Longest duration, milliseconds: what a signed 64-bit count of nanoseconds holds (about 292 years). */
export const DURATION_MS_MAX = 9_223_372_036_854;

/**
 * Parses a duration to milliseconds. `0` stands without a unit.
 *
 * @throws AppError `bad_data` in Prometheus' words.
 */
export function parseDuration(text: string): number {
  if (text === '0') return 0;
  if (text === '') throw new AppError('bad_data', 'empty duration string');
  let totalMs = 0;
  let previous = -1;
  let at = 0;
  for (const [part, digits, name] of text.matchAll(PART)) {
    if (digits === '' || name === '' || Number(digits) > COUNT_MAX) break;
    const unit = UNITS.findIndex(([known]) => known === name);
    if (unit < 0) {
      throw new AppError(
        'bad_data',
        `unknown unit ${JSON.stringify(name)} in duration ${JSON.stringify(text)}`,
      );
    }
    if (unit <= previous) break;
    previous = unit;
    at += part.length;
    totalMs += Number(digits) * UNITS[unit]![1];
  }
  if (at < text.length)
    throw new AppError('bad_data', `not a valid duration string: ${JSON.stringify(text)}`);
  if (totalMs > DURATION_MS_MAX) throw new AppError('bad_data', 'duration out of range');
  return totalMs;
}

/** Prints milliseconds as Prometheus does: `1h30m`, years and weeks only where nothing is left over. */
export function formatDuration(durationMs: number): string {
  if (durationMs === 0) return '0s';
  const sign = durationMs < 0 ? '-' : '';
  let rest = Math.abs(Math.round(durationMs));
  let text = sign;
  for (const [unit, unitMs] of UNITS) {
    const exact = unit === 'y' || unit === 'w';
    if (exact && rest % unitMs !== 0) continue;
    const count = Math.floor(rest / unitMs);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs;
  }
  return text;
}

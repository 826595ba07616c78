// Date functions: hour(), day_of_month(), year() and their kin, in UTC, for any value that a sample can have.

/** Parts of a UTC date, by whole seconds since 1970; the year apart, which alone does not come again. */
const PARTS: readonly (readonly [string, (seconds: number) => number])[] = [
  ['minute', (seconds) => Math.floor(modulo(seconds, 3600) / 60)],
  ['hour', (seconds) => Math.floor(modulo(seconds, 86_400) / 3600)],
  ['day_of_week', (seconds) => modulo(Math.floor(seconds / 86_400) + 4, 7)],
  ['day_of_month', (seconds) => dateOf(seconds).getUTCDate()],
  ['day_of_year', (seconds) => dayOfYear(dateOf(seconds))],
  ['days_in_month', (seconds) => daysInMonth(dateOf(seconds))],
  ['month', (seconds) => dateOf(seconds).getUTCMonth() + 1],
];

/** Years after which the calendar repeats itself, and their seconds. */
const CYCLE_YEARS = 400;
const CYCLE_SECONDS = 12_622_780_800n;

/** Date functions by name; they take a sample's value, seconds since 1970. */
export const DATE_PARTS: ReadonlyMap<string, (value: number) => number> = new Map([
  ...PARTS.map(([name, part]): [string, (value: number) => number] => [
    name,
    (value) => part(inCycle(value)),
  ]),
  ['year', (value) => dateOf(inCycle(value)).getUTCFullYear() + Number(cyclesOf(value)) * CYCLE_YEARS],
]);

/** Whole cycles between 1970 and a value. */
function cyclesOf(value: number): bigint {
  const seconds = wholeSeconds(value);
  return Math.abs(seconds) < Number(CYCLE_SECONDS) ? 0n : BigInt(seconds) / CYCLE_SECONDS;
}

/** Whole seconds of a value without its whole cycles. */
function inCycle(value: number): number {
  const cycles = cyclesOf(value);
  const seconds = wholeSeconds(value);
  return cycles === 0n ? seconds : Number(BigInt(seconds) - cycles * CYCLE_SECONDS);
}

/**
 * Seconds since 1970, cut to whole ones. What a signed 64-bit integer does not hold, NaN too, is 2^63 to Go on the machines that
 * Prometheus mostly runs on.
 */
function wholeSeconds(value: number): number {
  return Math.abs(value) < 2 ** 63 ? Math.trunc(value) : 2 ** 63;
}

function modulo(value: number, divisor: number): number {
  return value - Math.floor(value / divisor) * divisor;
}

function dateOf(seconds: number): Date {
  return new Date(seconds * 1000);
}

function dayOfYear(date: Date): number {
  // Not Date.UTC(year, …): that takes the years 0 … 99 for 1900 … 1999.
  const start = new Date(date);
  start.setUTCMonth(0, 1);
  start.setUTCHours(0, 0, 0, 0);
  return Math.floor((date.getTime() - start.getTime()) / 86_400_000) + 1;
}

function daysInMonth(date: Date): number {
  const last = new Date(date);
  last.setUTCMonth(date.getUTCMonth() + 1, 0);
  return last.getUTCDate();
}

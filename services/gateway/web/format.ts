// Numbers, durations and times for people.

const UNITS: readonly (readonly [string, number])[] = [
  ['y', 365 * 86_400],
  ['w', 7 * 86_400],
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
  ['ms', 0.001],
];
const DURATION = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;
const PREFIXES: readonly (readonly [number, string])[] = [
  [1e15, 'P'],
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** Seconds of `1h30m` or of a plain number; undefined when it is neither, or not positive. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim();
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Number(trimmed) || undefined;
  const match = DURATION.exec(trimmed);
  if (match === null) return undefined;
  const seconds = UNITS.reduce((sum, [, size], i) => sum + Number(match[i + 1] ?? 0) * size, 0);
  return seconds > 0 ? seconds : undefined;
}

/** `1h30m`: the two largest units are enough for a control. */
export function printDuration(seconds: number): string {
  let rest = Math.round(seconds * 1000) / 1000;
  let text = '';
  for (const [unit, size] of UNITS) {
    if (unit === 'y' || unit === 'w') {
      if (rest % size !== 0) continue;
    }
    const count = Math.floor(rest / size + 1e-9);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
    if (rest < 0.001) break;
  }
  return text === '' ? '0s' : text;
}

/** Short: `12.3k`, `0.042`, `1.5e-7`. */
export function printNumber(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  const size = Math.abs(value);
  if (size === 0) return '0';
  for (const [scale, prefix] of PREFIXES) {
    if (size >= scale && size < 1e18) return `${trim((value / scale).toPrecision(4))}${prefix}`;
  }
  if (size < 1e-3 || size >= 1e18) return value.toExponential(2);
  return trim(value.toPrecision(4));
}

function trim(text: string): string {
  return text.includes('.') && !text.includes('e') ? text.replace(/\.?0+$/, '') : text;
}

/** Seconds as `12 ms` or `3.2 s`. */
export function printLatency(seconds: number): string {
  return seconds < 1 ? `${trim((seconds * 1000).toPrecision(3))} ms` : `${trim(seconds.toPrecision(3))} s`;
}

const two = (value: number): string => String(value).padStart(2, '0');

/** Labels of a time axis, local time: `09:30`, seconds or the day where they matter, the day again where it changes. */
export function printAxisTimes(times: readonly number[]): string[] {
  const step = times.length > 1 ? times[1]! - times[0]! : 60;
  let dayBefore = '';
  return times.map((time, i) => {
    const date = new Date(time * 1000);
    const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    const isNewDay = day !== dayBefore && (i > 0 || step >= 3600);
    dayBefore = day;
    if (step >= 86_400) return day;
    const seconds = step < 60 ? `:${two(date.getSeconds())}` : '';
    const clock = `${two(date.getHours())}:${two(date.getMinutes())}${seconds}`;
    return isNewDay ? `${clock}\n${day}` : clock;
  });
}

/** `2026-11-21 09:33:57`, local time. */
export function printTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `3 s ago`. */
export function printAge(iso: string, nowMs: number): string {
  const timeMs = Date.parse(iso);
  if (Number.isNaN(timeMs) || timeMs < 0) return 'never';
  const seconds = Math.max(0, (nowMs - timeMs) / 1000);
  if (seconds < 60) return `${seconds.toFixed(1)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${printDuration(Math.floor(seconds / 60) * 60)} ago`;
}

/** Time since the last heartbeat: `0.4 s ago`; null is one that never comes. */
export function printHeartbeat(seconds: number | null): string {
  if (seconds === null) return 'none';
  return seconds < 60 ? `${seconds.toFixed(1)} s ago` : `${printDuration(Math.floor(seconds))} ago`;
}

// Values of the API's JSON that several endpoints share: label objects and times.

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

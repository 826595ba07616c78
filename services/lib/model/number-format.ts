// Sample values as Prometheus' HTTP API prints them: shortest digits that round-trip, Go's notation.

/** Value as in API results: `1`, `0.1`, `1e+21`, `1e-07`, `NaN`, `+Inf`, `-Inf`, `-0`. */
export function formatValue(value: number): string {
  if (Number.isInteger(value) && value !== 0 && value < 1e15 && value > -1e15) return String(value);
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const text = String(value);
  const at = text.indexOf('e');
  if (at < 0 || text.length - at > 3) return text;
  return `${text.slice(0, at + 2)}0${text.slice(at + 2)}`;
}

/** Timestamp in seconds with no or exactly three decimals, as a JSON number. */
export function formatTimestamp(timeMs: number): string {
  const seconds = Math.trunc(timeMs / 1000);
  const rest = Math.abs(timeMs - seconds * 1000);
  if (rest === 0) return String(seconds);
  const sign = timeMs < 0 && seconds === 0 ? '-' : '';
  return `${sign}${seconds}.${String(rest).padStart(3, '0')}`;
}

/** Alert values: always with an exponent, `1e+00`. */
export function formatExponent(value: number): string {
  if (!Number.isFinite(value)) return formatValue(value);
  const text = value.toExponential();
  const at = text.indexOf('e');
  const digits = text.slice(at + 2);
  return `${Object.is(value, -0) ? '-' : ''}${text.slice(0, at + 2)}${digits.padStart(2, '0')}`;
}

/** `NaN`, `Inf` and `Infinity` with or without a sign, in any case; undefined for everything else. */
export function parseNonFinite(text: string): number | undefined {
  switch (text.toLowerCase()) {
    case 'nan':
      return Number.NaN;
    case 'inf':
    case '+inf':
    case 'infinity':
    case '+infinity':
      return Number.POSITIVE_INFINITY;
    case '-inf':
    case '-infinity':
      return Number.NEGATIVE_INFINITY;
    default:
      return undefined;
  }
}

/** Parses what Prometheus writes for a float: also `+Inf`, `-Inf`, `NaN`, `Inf`, any case. Undefined when malformed. */
export function parseValue(text: string): number | undefined {
  const special = parseNonFinite(text);
  if (special !== undefined) return special;
  if (!/^[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F]+)$/.test(text)) {
    return undefined;
  }
  return Number(text);
}

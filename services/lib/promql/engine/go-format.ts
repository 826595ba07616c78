// Numbers as Go prints them, where Prometheus' messages and labels contain them.

/** Shortest digits; with an exponent below -4 or from `exponentFrom` on. */
function formatShortest(value: number, exponentFrom: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const [mantissa, exponentText] = value.toExponential().split('e') as [string, string];
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= exponentFrom) {
    const digits = String(Math.abs(exponent)).padStart(2, '0');
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${digits}`;
  }
  return formatDecimal(value);
}

/** Go's `%g` and `%v` of a float. */
export function formatG(value: number): string {
  return formatShortest(value, 6);
}

/** Go's `%.Pg`: P significant digits, trailing zeros removed. */
export function formatPrecise(value: number, precision: number): string {
  if (!Number.isFinite(value)) return formatG(value);
  const rounded = Number(value.toPrecision(precision));
  return formatShortest(rounded, precision);
}

/** Go's `%f`: six decimals. */
export function formatF(value: number): string {
  if (!Number.isFinite(value)) return formatG(value);
  return Math.abs(value) < 1e21 ? value.toFixed(6) : `${BigInt(value)}.000000`;
}

/** Go's FormatFloat(v, 'f', -1): shortest digits, never an exponent. */
export function formatDecimal(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const text = String(value);
  const at = text.indexOf('e');
  if (at < 0) return text;
  const sign = text.startsWith('-') ? '-' : '';
  const [whole, fraction = ''] = text.slice(sign.length, at).split('.') as [string, string?];
  const exponent = Number(text.slice(at + 1));
  const digits = whole + fraction;
  const point = whole.length + exponent;
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  if (point >= digits.length) return `${sign}${digits}${'0'.repeat(point - digits.length)}`;
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

/** Label value of a float as OpenMetrics writes it: `1.0`, `0.5`, `1e+06`, `NaN`. */
export function formatOpenMetrics(value: number): string {
  switch (value) {
    case 1:
      return '1.0';
    case 0:
      return '0.0';
    case -1:
      return '-1.0';
  }
  const text = formatG(value);
  return /[e.NI]/.test(text) ? text : `${text}.0`;
}

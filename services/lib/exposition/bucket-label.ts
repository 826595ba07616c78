// `le` and `quantile` as Prometheus 3 stores them: in the form of OpenMetrics, so that `1`, `1.0` and `1e0` of different
// exporters are one series.
import { formatValue, parseValue } from '../model/number-format.ts';

/** The normal form of a bucket bound or quantile; a text that is no number stays. */
export function normaliseBound(text: string): string {
  const value = parseValue(text);
  return value === undefined || /^[+-]?0x/i.test(text) ? text : formatBound(value);
}

/** A number in that form. */
export function formatBound(value: number): string {
  if (!Number.isFinite(value)) return formatValue(value);
  const printed = formatGo(value);
  return /[.e]/.test(printed) ? printed : `${printed}.0`;
}

/** Go's FormatFloat(value, 'g', -1, 64): an exponent of at least two digits below 1e-4 and from 1e6 on. */
function formatGo(value: number): string {
  if (value === 0) return '0';
  const exponential = value.toExponential();
  const at = exponential.indexOf('e');
  const exponent = Number(exponential.slice(at + 1));
  if (exponent >= -4 && exponent < GO_EXPONENT_MIN) return String(value);
  const digits = String(Math.abs(exponent)).padStart(2, '0');
  return `${exponential.slice(0, at)}e${exponent < 0 ? '-' : '+'}${digits}`;
}

/** From this exponent on Go's shortest 'g' writes an exponent. */
const GO_EXPONENT_MIN = 6;

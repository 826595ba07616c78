// Floats as Go's strconv.FormatFloat prints them. Rounding works on the exact binary value and takes ties to the even
// digit, which JavaScript's toFixed and toPrecision do not.

/** Digits beyond this are zeros for every double. */
const DIGITS_MAX = 1100;

const bits = new DataView(new ArrayBuffer(8));

/** Decimal digits and the position of the point: value = 0.DIGITS × 10^point. */
interface Decimal {
  readonly digits: string;
  readonly point: number;
}

/**
 * Formats with verb `e`, `f`, `g`, `E`, `F` or `G`.
 *
 * @param precision  Digits after the point (e, f) or significant digits (g); -1 for the shortest that reads back.
 */
export function formatFloat(value: number, verb: string, precision: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const magnitude = Math.abs(value);
  const lower = verb.toLowerCase();
  const shortest = precision < 0;
  const decimal = shortest ? shortestDecimal(magnitude) : roundedDecimal(magnitude, lower, precision);
  let text: string;
  if (lower === 'e') text = exponential(decimal, shortest ? decimal.digits.length - 1 : precision);
  else if (lower === 'f')
    text = fixed(decimal, shortest ? Math.max(decimal.digits.length - decimal.point, 0) : precision);
  else text = general(decimal, shortest ? -1 : Math.max(precision, 1));
  return sign + (verb === lower ? text : text.toUpperCase());
}

/** As %v and print show a float: shortest digits, with an exponent below 1e-4 and from 1e+06 on where it is shorter. */
export function printFloat(value: number): string {
  return formatFloat(value, 'g', -1);
}

function general({ digits, point }: Decimal, precision: number): string {
  const shortest = precision < 0;
  let threshold = precision;
  if (threshold > digits.length && digits.length >= point) threshold = digits.length;
  if (shortest) threshold = 6;
  const exponent = point - 1;
  if (exponent < -4 || exponent >= threshold) return exponential({ digits, point }, digits.length - 1);
  return fixed({ digits, point }, Math.max(digits.length - point, 0));
}

function exponential({ digits, point }: Decimal, precision: number): string {
  const exponent = isZero(digits) ? 0 : point - 1;
  const fraction = precision > 0 ? `.${digits.slice(1, precision + 1).padEnd(precision, '0')}` : '';
  const size = String(Math.abs(exponent)).padStart(2, '0');
  return `${digits[0]}${fraction}e${exponent < 0 ? '-' : '+'}${size}`;
}

function fixed({ digits, point }: Decimal, precision: number): string {
  const whole = point > 0 ? digits.slice(0, point).padEnd(point, '0') : '0';
  if (precision === 0) return whole;
  const zeros = '0'.repeat(Math.min(Math.max(-point, 0), precision));
  const fraction = zeros + digits.slice(Math.max(point, 0));
  return `${whole}.${fraction.slice(0, precision).padEnd(precision, '0')}`;
}

function isZero(digits: string): boolean {
  return digits === '0' || digits === '';
}

/** JavaScript's shortest digits are Go's. */
function shortestDecimal(magnitude: number): Decimal {
  if (magnitude === 0) return { digits: '0', point: 1 };
  const match = /^(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(magnitude.toExponential())!;
  return { digits: match[1]! + (match[2] ?? ''), point: Number(match[3]) + 1 };
}

function roundedDecimal(magnitude: number, verb: string, precision: number): Decimal {
  if (magnitude === 0) return { digits: '0', point: 1 };
  const exact = exactDecimal(magnitude);
  let wanted: number;
  if (verb === 'e') wanted = precision + 1;
  else if (verb === 'f') wanted = exact.point + precision;
  else wanted = Math.max(precision, 1);
  return roundDigits(exact, Math.min(wanted, DIGITS_MAX));
}

/** Every digit of a positive double. */
function exactDecimal(magnitude: number): Decimal {
  bits.setFloat64(0, magnitude);
  const high = bits.getUint32(0);
  const biased = (high >>> 20) & 0x7ff;
  let mantissa = (BigInt(high & 0xfffff) << 32n) | BigInt(bits.getUint32(4));
  if (biased > 0) mantissa |= 1n << 52n;
  const power = Math.max(biased, 1) - 1075;
  if (power >= 0) {
    const digits = (mantissa << BigInt(power)).toString();
    return { digits, point: digits.length };
  }
  const digits = (mantissa * 5n ** BigInt(-power)).toString();
  return { digits, point: digits.length + power };
}

/** The first `count` digits, rounded half to even, without trailing zeros. */
function roundDigits({ digits, point }: Decimal, count: number): Decimal {
  if (count < 0) return { digits: '0', point: 1 };
  if (count >= digits.length) return { digits: digits.replace(/0+$/, '') || '0', point };
  const rest = digits.slice(count);
  const half = /^50*$/.test(rest);
  const odd = count > 0 && Number(digits[count - 1]) % 2 === 1;
  const up = half ? odd : rest[0]! >= '5';
  const kept = digits.slice(0, count);
  if (!up) {
    const trimmed = kept.replace(/0+$/, '');
    return trimmed === '' ? { digits: '0', point: 1 } : { digits: trimmed, point };
  }
  const raised = (BigInt(kept || '0') + 1n).toString().padStart(count, '0');
  const carry = raised.length - count;
  return { digits: raised.replace(/0+$/, ''), point: point + carry };
}

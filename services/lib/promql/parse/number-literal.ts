// The value of a number or duration token.
import { AppError } from '../../core/errors.ts';
import { parseDuration } from '../../model/duration.ts';
import { goQuote } from './go-quote.ts';
import type { Token } from './token.ts';
import type { TokenStream } from './token-stream.ts';

/** Longest duration, seconds: what a signed 64-bit count of nanoseconds holds. */
const DURATION_SECONDS_MAX = 2 ** 63 / 1e9;

const INTEGER_MAX = 2n ** 63n - 1n;

/** Value of a number token, seconds of a duration token. */
export function literalValue(tokens: TokenStream, token: Token): number {
  return token.kind === 'duration' ? durationSeconds(tokens, token) : numberValue(tokens, token);
}

function durationSeconds(tokens: TokenStream, token: Token): number {
  try {
    return parseDuration(token.text) / 1000;
  } catch (caught) {
    if (caught instanceof AppError) tokens.fail(token.start, caught.message);
    throw caught;
  }
}

function numberValue(tokens: TokenStream, token: Token): number {
  const text = token.text.toLowerCase();
  if (text === 'inf') return Number.POSITIVE_INFINITY;
  if (text === 'nan') return Number.NaN;
  // Elsewhere than at its end the lexer takes an underscore only between digits.
  const value = text.endsWith('_') ? Number.NaN : decimalOrBased(text.replaceAll('_', ''));
  if (Number.isFinite(value)) return value;
  const reason = Number.isNaN(value) ? 'invalid syntax' : 'value out of range';
  const quoted = goQuote(token.text);
  return tokens.fail(token.start, `error parsing number: strconv.ParseFloat: parsing ${quoted}: ${reason}`);
}

/** NaN for what is no number. As in Go, an integer has 64 bits; more digits are read as a fraction would be, which hexadecimal ones are not. */
function decimalOrBased(digits: string): number {
  // A leading zero makes it octal; 08 is not octal and so decimal.
  if (/^0[0-7]+$/.test(digits)) {
    const value = BigInt(`0o${digits}`);
    return value <= INTEGER_MAX ? Number(value) : Number(digits);
  }
  if (/^0x[0-9a-f]+$/.test(digits)) return BigInt(digits) <= INTEGER_MAX ? Number(digits) : Number.NaN;
  return Number(digits);
}

/** Whether so many seconds fit a duration. */
export function isDurationInRange(seconds: number): boolean {
  return seconds <= DURATION_SECONDS_MAX && seconds >= -DURATION_SECONDS_MAX;
}

/** A number with or without a sign; undefined when the next tokens are none. */
export function signedNumber(tokens: TokenStream): number | undefined {
  const sign = tokens.is('+') || tokens.is('-') ? tokens.next().id : '';
  const token = tokens.peek();
  if (token.kind !== 'number' && token.kind !== 'duration') return undefined;
  tokens.next();
  const value = literalValue(tokens, token);
  return sign === '-' ? -value : value;
}

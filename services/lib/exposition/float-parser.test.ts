import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NumberSyntaxError, parseFloatBytes } from './float-parser.ts';

function parse(text: string): number {
  const bytes = Buffer.from(`x${text}y`);
  return parseFloatBytes(bytes, 1, bytes.length - 1);
}

describe('parseFloatBytes', () => {
  test.each<[string, number]>([
    ['0', 0],
    ['-0', -0],
    ['+1', 1],
    ['1.', 1],
    ['.5', 0.5],
    ['1.7976931348623157e308', Number.MAX_VALUE],
    ['5e-324', Number.MIN_VALUE],
    ['4.9406564584124654e-324', Number.MIN_VALUE],
    ['9007199254740993', 9007199254740992],
    ['2.2250738585072011e-308', 2.225073858507201e-308],
    ['123456789012345', 123456789012345],
    ['1.23456789012345e22', 1.23456789012345e22],
    ['1e22', 1e22],
    ['1e23', 1e23],
    ['1.5e+09', 1.5e9],
    ['3.141592653589793e+00', Math.PI],
    ['NaN', Number.NaN],
    ['nan', Number.NaN],
    ['+Inf', Number.POSITIVE_INFINITY],
    ['infinity', Number.POSITIVE_INFINITY],
    ['-INF', Number.NEGATIVE_INFINITY],
  ])('%s', (text, expected) => {
    expect(Object.is(parse(text), expected)).toBe(true);
  });

  test.each([
    '',
    '.',
    '+',
    '-',
    'e5',
    '1e',
    '1e+',
    '1.2.3',
    '1_000',
    '0x10',
    '0x1p3',
    '1e999',
    '--1',
    '1 ',
    'NaNs',
    'in',
    '1'.repeat(600),
  ])('%s is no number', (text) => {
    expect(() => parse(text)).toThrow(NumberSyntaxError);
  });

  test('is the engine’s own correctly rounded conversion for every double, in every notation', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.nat(17), (value, digits) => {
        for (const text of [
          String(value),
          value.toExponential(),
          value.toPrecision(digits + 1),
          value.toExponential(digits),
        ]) {
          if (Number.isFinite(Number(text))) expect(Object.is(parse(text), Number(text))).toBe(true);
        }
      }),
      { numRuns: 5000 },
    );
  });

  test('short decimals with small exponents, the fast path, are right to the last bit', () => {
    fc.assert(
      fc.property(
        fc.nat(999_999_999),
        fc.nat(999_999),
        fc.integer({ min: -30, max: 30 }),
        (whole, part, exponent) => {
          for (const text of [`${whole}.${part}`, `${whole}.${part}e${exponent}`, `-${whole}e${exponent}`]) {
            expect(Object.is(parse(text), Number(text))).toBe(true);
          }
        },
      ),
      { numRuns: 5000 },
    );
  });
});

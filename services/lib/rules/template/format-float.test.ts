import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatFloat, printFloat } from './format-float.ts';

describe('strconv.FormatFloat', () => {
  // Ties go to the even digit of the exact binary value: 2.5 and 0.125 are exact, 1.005 is a little less than it says.
  test.each([
    [0.5, 'f', 0, '0'],
    [1.5, 'f', 0, '2'],
    [2.5, 'f', 0, '2'],
    [0.125, 'f', 2, '0.12'],
    [0.375, 'f', 2, '0.38'],
    [1.005, 'f', 2, '1.00'],
    [999.95, 'g', 4, '1000'],
    [9999.5, 'g', 4, '1e+04'],
    [0.99999, 'f', 2, '1.00'],
    [0.04, 'f', 1, '0.0'],
    [0.05, 'f', 1, '0.1'],
    [0.006, 'f', 1, '0.0'],
    [0.0001, 'g', 3, '0.0001'],
    [0.00001, 'g', 3, '1e-05'],
    [123456, 'g', 3, '1.23e+05'],
    [100, 'g', 3, '100'],
    [0, 'e', 2, '0.00e+00'],
    [-0, 'f', 1, '-0.0'],
    [1e21, 'f', -1, '1000000000000000000000'],
    [5e-324, 'e', -1, '5e-324'],
    [1.5e-7, 'E', 3, '1.500E-07'],
    [1e100, 'g', -1, '1e+100'],
    [Number.POSITIVE_INFINITY, 'f', 2, '+Inf'],
    [Number.NaN, 'e', 2, 'NaN'],
  ])('%d as %s with %d is %s', (value, verb, precision, expected) => {
    expect(formatFloat(value, verb, precision)).toBe(expected);
  });

  test.each([
    [100_000, '100000'],
    [999_999, '999999'],
    [1_000_000, '1e+06'],
    [0.0001, '0.0001'],
    [0.00001, '1e-05'],
    [21, '21'],
    [1234567.5, '1.2345675e+06'],
  ])('%d prints as %s', (value, expected) => {
    expect(printFloat(value)).toBe(expected);
  });

  test('the shortest digits read back as the same value', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        for (const verb of ['e', 'f', 'g']) {
          expect(Object.is(Number(formatFloat(value, verb, -1)), value)).toBe(true);
        }
      }),
    );
  });

  test('rounded digits are as near as can be', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -1e15, max: 1e15, noNaN: true }),
        fc.integer({ min: 0, max: 12 }),
        (value, precision) => {
          const text = formatFloat(value, 'f', precision);
          expect(text).toMatch(precision === 0 ? /^-?\d+$/ : new RegExp(`^-?\\d+\\.\\d{${precision}}$`));
          const errorMax = 0.5 * 10 ** -precision + Math.abs(value) * Number.EPSILON;
          expect(Math.abs(Number(text) - value)).toBeLessThanOrEqual(errorMax);
        },
      ),
    );
  });

  test('exponents carry as many digits as asked for', () => {
    fc.assert(
      fc.property(
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.integer({ min: 1, max: 20 }),
        (value, precision) => {
          expect(formatFloat(value, 'e', precision)).toMatch(
            new RegExp(`^-?\\d\\.\\d{${precision}}e[+-]\\d{2,3}$`),
          );
        },
      ),
    );
  });
});

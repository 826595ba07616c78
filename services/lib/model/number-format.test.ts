import { expect, test } from 'vitest';
import { formatExponent, formatTimestamp, formatValue, parseValue } from './number-format.ts';

// Expectations are what Debian's Prometheus prints (shared API facts, section 1) and Go's documented 'f'/'e' forms.
test.each([
  [0, '0'],
  [-0, '-0'],
  [1, '1'],
  [0.1 + 0.2, '0.30000000000000004'],
  [1e-6, '0.000001'],
  [1e-7, '1e-07'],
  [1.5e-7, '1.5e-07'],
  [123456789012345680000, '123456789012345680000'],
  [1e21, '1e+21'],
  [5e-324, '5e-324'],
  [Number.NaN, 'NaN'],
  [Number.POSITIVE_INFINITY, '+Inf'],
  [Number.NEGATIVE_INFINITY, '-Inf'],
])('value %d', (value, printed) => {
  expect(formatValue(value)).toBe(printed);
  const back = parseValue(printed);
  expect(Object.is(back, value)).toBe(true);
});

test.each([
  [0, '0'],
  [1000, '1'],
  [1500, '1.500'],
  [1435781451781, '1435781451.781'],
  [1435781451001, '1435781451.001'],
  [-1, '-0.001'],
  [-1500, '-1.500'],
])('timestamp %d', (timeMs, printed) => {
  expect(formatTimestamp(timeMs)).toBe(printed);
});

test.each([
  [1, '1e+00'],
  [0, '0e+00'],
  [-0, '-0e+00'],
  [123.5, '1.235e+02'],
  [1e-10, '1e-10'],
  [1e100, '1e+100'],
  [Number.POSITIVE_INFINITY, '+Inf'],
])('alert value %d', (value, printed) => {
  expect(formatExponent(value)).toBe(printed);
});

test.each(['', 'abc', '1e', '0x', '1_000', ' 1', '--1', '+-1'])('%j is no value', (malformed) => {
  expect(parseValue(malformed)).toBeUndefined();
});

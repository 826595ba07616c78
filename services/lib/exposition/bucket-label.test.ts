import { expect, test } from 'vitest';
import { normaliseBound } from './bucket-label.ts';

// Pairs of Go's FormatFloat(f, 'g', -1, 64) with ".0" where neither point nor exponent stands.
test.each<[string, string]>([
  ['1', '1.0'],
  ['0', '0.0'],
  ['-0', '0.0'],
  ['+1', '1.0'],
  ['1.0', '1.0'],
  ['0.5', '0.5'],
  ['.5', '0.5'],
  ['1e0', '1.0'],
  ['10', '10.0'],
  ['100000', '100000.0'],
  ['1000000', '1e+06'],
  ['1234567', '1.234567e+06'],
  ['0.0001', '0.0001'],
  ['0.00001', '1e-05'],
  ['0.000012', '1.2e-05'],
  ['1e100', '1e+100'],
  ['+Inf', '+Inf'],
  ['inf', '+Inf'],
  ['-Inf', '-Inf'],
  ['NaN', 'NaN'],
  ['abc', 'abc'],
  ['', ''],
  ['0x10', '0x10'],
])('%s is stored as %s', (text, expected) => {
  expect(normaliseBound(text)).toBe(expected);
});

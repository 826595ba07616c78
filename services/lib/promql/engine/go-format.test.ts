// Expectations are what Go's strconv and fmt document for these inputs.
import { describe, expect, test } from 'vitest';
import { Labels } from '../../model/labels.ts';
import { labelsHash64, xxhash64 } from './aggregation/labels-hash.ts';
import { expandTemplate } from './functions/functions-labels.ts';
import { isNaturallyLess } from './functions/functions-order.ts';
import { formatDecimal, formatF, formatG, formatOpenMetrics, formatPrecise } from './go-format.ts';

test.each([
  [1.1, '1.1', '1.1', '1.100000'],
  [1e6, '1e+06', '1000000', '1000000.000000'],
  [123456, '123456', '123456', '123456.000000'],
  [0.00001, '1e-05', '0.00001', '0.000010'],
  [0.0001, '0.0001', '0.0001', '0.000100'],
  [1e21, '1e+21', '1000000000000000000000', '1000000000000000000000.000000'],
  // 3·2^89: whole digits of the double behind its shortest ones.
  [
    3 * 2 ** 89,
    '1.8569100589280704e+27',
    '1856910058928070400000000000',
    '1856910058928070412348686336.000000',
  ],
  [-2.5e-7, '-2.5e-07', '-0.00000025', '-0.000000'],
  [Number.NaN, 'NaN', 'NaN', 'NaN'],
  [Number.NEGATIVE_INFINITY, '-Inf', '-Inf', '-Inf'],
  [-0, '-0', '-0', '-0.000000'],
])('%d', (value, general, decimal, fixed) => {
  expect(formatG(value)).toBe(general);
  expect(formatDecimal(value)).toBe(decimal);
  if (!Object.is(value, -0)) expect(formatF(value)).toBe(fixed);
});

test('two significant digits', () => {
  expect(formatPrecise(10, 2)).toBe('10');
  expect(formatPrecise(123, 2)).toBe('1.2e+02');
  expect(formatPrecise(0.125, 2)).toBe('0.13');
});

test('label values of floats', () => {
  expect([0, 1, 0.5, 1e6, 12, Number.NaN].map(formatOpenMetrics)).toEqual([
    '0.0',
    '1.0',
    '0.5',
    '1e+06',
    '12.0',
    'NaN',
  ]);
});

describe('xxhash64', () => {
  // Vectors of the xxHash repository's documentation and well-known test inputs, seed 0.
  test.each([
    ['', 0xef46db3751d8e999n],
    ['a', 0xd24ec4f1a98c6e5bn],
    ['abc', 0x44bc2cf5ad770999n],
    ['The quick brown fox jumps over the lazy dog', 0x0b242d361fda71bcn],
  ])('%j', (text, hash) => {
    expect(xxhash64(Buffer.from(text))).toBe(hash);
  });

  test('a label set is its strings, each behind its length', () => {
    const labels = Labels.from([['a', 'x'.repeat(300)]]);
    const bytes = Buffer.concat([Buffer.from([1, 97, 255, 44, 1, 0]), Buffer.from('x'.repeat(300))]);
    expect(labelsHash64(labels)).toBe(xxhash64(bytes));
  });
});

test.each([
  ['$1-$2', 'one-two'],
  [['$', '{1}x'].join(''), 'onex'],
  ['$1x', ''],
  ['$name!', 'two!'],
  ['$$1 $', '$1 $'],
  ['x$', 'x$'],
  ['$9', ''],
])('template %s', (template, expected) => {
  expect(expandTemplate(template, ['all', 'one', 'two'], { name: 2 })).toBe(expected);
});

test.each([
  ['host2', 'host10', true],
  ['host10', 'host2', false],
  ['a', 'b', true],
  ['1.9', '1.10', true],
])('%s before %s: %s', (a, b, less) => {
  expect(isNaturallyLess(a, b)).toBe(less);
});

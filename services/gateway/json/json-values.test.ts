import { expect, test } from 'vitest';
import { formatDecimal, formatTime, sortedObject } from './json-values.ts';

test.each([
  [0, '0001-01-01T00:00:00Z'],
  [1_435_781_451_000, '2015-07-01T20:10:51Z'],
  [1_435_781_451_781, '2015-07-01T20:10:51.781Z'],
  [1_435_781_451_780, '2015-07-01T20:10:51.78Z'],
  [1_435_781_451_000.25, '2015-07-01T20:10:51.00025Z'],
])('%d ms is %s', (timeMs, text) => {
  expect(formatTime(timeMs)).toBe(text);
});

test('keys are sorted, and none has a meaning of its own', () => {
  const record = JSON.parse('{"b":"2","__proto__":"x","a":"1"}') as Record<string, string>;
  expect(JSON.stringify(sortedObject(record))).toBe('{"__proto__":"x","a":"1","b":"2"}');
});

test.each([
  [1e-7, '0.0000001'],
  [-1.25e-9, '-0.00000000125'],
  [1e21, '1000000000000000000000'],
  [1.2345e22, '12345000000000000000000'],
  [1.5, '1.5'],
  [-0, '-0'],
  [Number.POSITIVE_INFINITY, '+Inf'],
  [Number.NaN, 'NaN'],
])('%d without an exponent', (value, text) => {
  expect(formatDecimal(value)).toBe(text);
});

test('no digit is lost without an exponent', () => {
  for (const value of [5e-324, Number.MAX_VALUE, 1.7976931348623157e-300, 123456789e30]) {
    expect(Number(formatDecimal(value))).toBe(value);
    expect(formatDecimal(value)).not.toContain('e');
  }
});

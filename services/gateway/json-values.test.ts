import { expect, test } from 'vitest';
import { formatTime, sortedObject } from './json-values.ts';

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

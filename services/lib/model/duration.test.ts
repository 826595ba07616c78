import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatDuration, parseDuration } from './duration.ts';

test.each([
  ['0', 0],
  ['0s', 0],
  ['1ms', 1],
  ['90s', 90_000],
  ['1h30m', 5_400_000],
  ['4d1h', 349_200_000],
  ['1y', 31_536_000_000],
  ['3w2d1m', 1_987_260_000],
])('%s', (text, durationMs) => {
  expect(parseDuration(text)).toBe(durationMs);
});

test.each(['', '1', '1x', '1m1h', '1.5h', '-1s', '1h 1m', '400y'])('%j is refused', (text) => {
  expect(() => parseDuration(text)).toThrow(/duration/);
});

test.each([
  [0, '0s'],
  [5_400_000, '1h30m'],
  [86_400_000 * 15, '15d'],
  [86_400_000 * 14, '2w'],
  [-60_000, '-1m'],
])('prints %d', (durationMs, text) => {
  expect(formatDuration(durationMs)).toBe(text);
});

test('what is printed parses back', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), (durationMs) => {
      expect(parseDuration(formatDuration(durationMs))).toBe(durationMs);
    }),
  );
});

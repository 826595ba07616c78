import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatTimestamp } from '../../lib/model/number-format.ts';
import { putTime } from './time-text.ts';

const ROOM = 24;

function written(timeMs: number, room = ROOM): string {
  const bytes = Buffer.alloc(ROOM + 8, 'x');
  const end = putTime(bytes, 3, room, timeMs);
  const text = bytes.toString('latin1');
  expect(`${text.slice(0, 3)}|${text.slice(end)}`).toMatch(/^xxx\|x+$/);
  return text.slice(3, end);
}

test.each([
  0, 1, 999, 1000, 9_999, 10_000, 1_435_781_430_781, 2_147_483_647_999, 2_147_483_648_000, -1, -999, -1500,
  8_640_000_000_000_000, -8_640_000_000_000_000,
])('%d', (timeMs) => {
  expect(written(timeMs)).toBe(formatTimestamp(timeMs));
});

test('any time is written as formatTimestamp writes it', () => {
  const times = fc.oneof(
    fc.integer({ min: -(2 ** 53) + 1, max: 2 ** 53 - 1 }),
    fc.integer({ min: 0, max: 4e12 }),
    fc.integer({ min: 0, max: 4e9 }).map((seconds) => seconds * 1000),
  );
  fc.assert(
    fc.property(times, (timeMs) => {
      expect(written(timeMs)).toBe(formatTimestamp(timeMs));
    }),
    { numRuns: 5000 },
  );
});

test('what there is no room for is not written', () => {
  expect(written(1_435_781_430_781, 14)).toBe('1435781430.781');
  expect(written(1_435_781_430_781, 13)).toBe('');
  expect(written(1_435_781_430_000, 10)).toBe('1435781430');
  expect(written(1_435_781_430_000, 9)).toBe('');
  expect(written(-1_435_781_430_781, 14)).toBe('');
});

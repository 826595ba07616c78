import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ChangeTimes } from './change-times.ts';

const MINUTE_MS = 60_000;
const write = (changes: ChangeTimes, ...timesMs: number[]) =>
  changes.note(Float64Array.from(timesMs), timesMs.length);

test('a write changes the minutes that it has samples of, and no others', () => {
  const changes = new ChangeTimes();
  expect(changes.lastIn(-1e15, 1e15)).toBe(0);
  write(changes, 10 * MINUTE_MS, 10 * MINUTE_MS + 59_999, 200 * MINUTE_MS);
  expect(changes.lastIn(10 * MINUTE_MS, 10 * MINUTE_MS)).toBe(1);
  expect(changes.lastIn(0, 10 * MINUTE_MS - 1)).toBe(0);
  expect(changes.lastIn(11 * MINUTE_MS, 200 * MINUTE_MS - 1)).toBe(0);
  write(changes, -1);
  expect(changes.lastIn(-MINUTE_MS, -1)).toBe(2);
  expect(changes.lastIn(0, 1e15)).toBe(1);
  // Only the first samples of a column count.
  changes.note(Float64Array.of(0, 500 * MINUTE_MS), 1);
  expect(changes.lastIn(500 * MINUTE_MS, 500 * MINUTE_MS)).toBe(0);
});

test('a range that went is changed from its first minute to its last', () => {
  const changes = new ChangeTimes();
  changes.noteRange(10 * MINUTE_MS + 1, 100 * MINUTE_MS - 1);
  for (const minute of [10, 11, 50, 99]) {
    expect(changes.lastIn(minute * MINUTE_MS, minute * MINUTE_MS)).toBe(1);
  }
  expect(changes.lastIn(0, 10 * MINUTE_MS - 1)).toBe(0);
  expect(changes.lastIn(100 * MINUTE_MS, 200 * MINUTE_MS)).toBe(0);
});

const timeMs = fc.integer({ min: -300 * MINUTE_MS, max: 300 * MINUTE_MS });

test('no write goes unseen, however few pages there are; with enough of them nothing else is seen', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(timeMs, { minLength: 1, maxLength: 5 }), { maxLength: 40 }),
      fc.array(fc.tuple(timeMs, timeMs), { minLength: 1, maxLength: 20 }),
      fc.constantFrom(2, 3, 4096),
      (writes, ranges, pagesMax) => {
        const changes = new ChangeTimes(pagesMax);
        for (const timesMs of writes) write(changes, ...timesMs);
        for (const [a, b] of ranges) {
          const [from, to] = [Math.min(a, b), Math.max(a, b)];
          const touches = (widthMs: number) =>
            writes.findLastIndex((timesMs) =>
              timesMs.some((time) => {
                const bucketMs = Math.floor(time / widthMs) * widthMs;
                return bucketMs <= to && bucketMs + widthMs > from;
              }),
            ) + 1;
          const last = changes.lastIn(from, to);
          if (pagesMax === 4096) expect(last).toBe(touches(MINUTE_MS));
          else expect(last).toBeGreaterThanOrEqual(touches(MINUTE_MS));
        }
      },
    ),
  );
});

test('what was asked before a write and after it differs, also when pages run out in between', () => {
  const changes = new ChangeTimes(2);
  for (let day = 0; day < 400; day++) {
    const atMs = day * 24 * 60 * MINUTE_MS;
    const before = changes.lastIn(atMs, atMs + MINUTE_MS);
    write(changes, atMs + 30_000);
    expect(changes.lastIn(atMs, atMs + MINUTE_MS)).toBeGreaterThan(before);
  }
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { StartTimeMemory } from './start-time-memory.ts';

test('a start time is news once, and again when it changes or was forgotten', () => {
  const memory = new StartTimeMemory();
  memory.forget(7);
  expect(memory.isNews(7, 1000)).toBe(true);
  expect(memory.isNews(7, 1000)).toBe(false);
  expect(memory.isNews(8, 1000)).toBe(true);
  expect(memory.isNews(7, 2000)).toBe(true);
  expect(memory.isNews(7, 2000)).toBe(false);
  memory.forget(7);
  expect(memory.isNews(7, 2000)).toBe(true);
  memory.clear();
  expect(memory.isNews(8, 1000)).toBe(true);
});

test('dense references are remembered, all of them', () => {
  const memory = new StartTimeMemory();
  for (let i = 0; i < 40_000; i++) expect(memory.isNews(i, i)).toBe(true);
  for (let i = 0; i < 40_000; i++) expect(memory.isNews(i, i)).toBe(false);
});

test('whatever the references: what is no news was told last', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat({ max: 4_000_000_000 }), fc.nat({ max: 3 })), { maxLength: 3000 }),
      (told) => {
        const memory = new StartTimeMemory();
        const last = new Map<number, number>();
        for (const [reference, startMs] of told) {
          if (!memory.isNews(reference, startMs)) expect(last.get(reference)).toBe(startMs);
          last.set(reference, startMs);
        }
      },
    ),
    { numRuns: 50 },
  );
});

test('more series than it has room for: bounded, and still right', () => {
  const memory = new StartTimeMemory();
  for (let i = 0; i < 300_000; i++) memory.isNews(i, 1);
  // The one in whose slot this reference is now was forgotten.
  expect(memory.isNews(299_999, 1)).toBe(false);
  expect(memory.isNews(299_999 - (1 << 17), 1)).toBe(true);
});

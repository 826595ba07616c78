import { expect, test } from 'vitest';
import { mainMemoryShare, memoryBytes, memoryShare, ResidentMemory } from './memory-limit.ts';

test('budgets are shares of the memory, within their bounds', () => {
  expect(memoryShare(1 / 8, 1)).toBe(1);
  expect(memoryShare(1 / 8, Number.MAX_SAFE_INTEGER)).toBe(Math.floor(memoryBytes() / 8));
  expect(mainMemoryShare()).toBeLessThan(memoryBytes() / 2);
  expect(mainMemoryShare()).toBeGreaterThanOrEqual(Math.floor(memoryBytes() / 4));
});

test('what is above the share is refused until it is below again; looks are rare', () => {
  let bytes = 80;
  let looks = 0;
  const residentBytes = (): number => {
    looks++;
    return bytes;
  };
  const memory = new ResidentMemory(0.8, 4, { residentBytes, limitBytes: 100 });
  const outcomes = Array.from({ length: 12 }, (_, i) => {
    if (i === 2) bytes = 81;
    if (i === 9) bytes = 10;
    try {
      memory.check();
      return 'taken';
    } catch (caught) {
      expect(caught).toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining('81 of the 100 bytes') as string,
      });
      return 'refused';
    }
  });
  expect(outcomes.map((outcome) => outcome[0]).join('')).toBe('ttttrrrrrrrr');
  expect(looks).toBe(3);
  expect(() => memory.check()).not.toThrow();
});

test('without a limit nothing is refused', () => {
  const memory = new ResidentMemory(0, 1, { residentBytes: () => 1e12, limitBytes: 0 });
  expect(() => memory.check()).not.toThrow();
});

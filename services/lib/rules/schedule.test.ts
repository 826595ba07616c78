import { describe, expect, test } from 'vitest';
import { groupOffsetMs, slotAfter, slotBefore } from './schedule.ts';

describe('slots', () => {
  test('offsets lie in the interval, are stable, and spread', () => {
    const offsets = new Set<number>();
    for (let i = 0; i < 100; i++) {
      const offset = groupOffsetMs('rules.yml', `group-${i}`, 60_000);
      expect(offset).toBeGreaterThanOrEqual(0);
      expect(offset).toBeLessThan(60_000);
      expect(groupOffsetMs('rules.yml', `group-${i}`, 60_000)).toBe(offset);
      offsets.add(offset);
    }
    expect(offsets.size).toBeGreaterThan(95);
    expect(groupOffsetMs('a', 'bc', 60_000)).not.toBe(groupOffsetMs('ab', 'c', 60_000));
  });

  test.each([
    // [now, interval, offset, slot]
    [1000, 100, 0, 1000],
    [1099, 100, 0, 1000],
    [1000, 100, 30, 930],
    [1030, 100, 30, 1030],
    [10, 100, 30, -70],
  ])('the slot before %d (every %d, offset %d) is %d', (now, interval, offset, slot) => {
    expect(slotBefore(now, interval, offset)).toBe(slot);
  });

  test.each([
    // Done within the interval: the next slot, nothing missed.
    [1000, 1050, 1100, 0],
    // Done when the next slot had come: it is evaluated at once.
    [1000, 1100, 1100, 0],
    [1000, 1199, 1100, 0],
    // Two slots have come: the older is missed.
    [1000, 1200, 1200, 1],
    [1000, 1599, 1500, 4],
    // The wall clock was set back.
    [1000, 400, 1100, 0],
  ])('after %d, at %d: %d with %d missed', (previous, now, timeMs, missed) => {
    expect(slotAfter(previous, now, 100)).toEqual({ timeMs, missed });
  });
});

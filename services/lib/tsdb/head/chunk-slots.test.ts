import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  ChunkSlots,
  NO_SLOT,
  SLOT_BYTES_MAX,
  SLOT_CLASSES,
  slotBytesOf,
  slotClassFor,
  slotClassOf,
  slotOffsetOf,
  slotPageOf,
} from './chunk-slots.ts';

test('classes have 64, 96, 128, 192 … 4096 bytes', () => {
  const slots = new ChunkSlots();
  const bytes = Array.from({ length: SLOT_CLASSES }, (_, slotClass) => slotBytesOf(slots.take(slotClass)));
  expect(bytes).toEqual([64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, SLOT_BYTES_MAX]);
});

test.each([
  [1, 64],
  [64, 64],
  [65, 96],
  [97, 128],
  [193, 256],
  [3072, 3072],
  [3073, 4096],
])('%i bytes take a slot of %i', (bytes, expected) => {
  expect(slotBytesOf(new ChunkSlots().take(slotClassFor(bytes)))).toBe(expected);
});

test('whatever is taken and given back, no two slots share a byte', () => {
  const step = fc.tuple(fc.nat(SLOT_CLASSES - 1), fc.nat(1000), fc.boolean());
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 400 }),
      fc.integer({ min: 1, max: 20 }),
      (steps, times) => {
        const slots = new ChunkSlots();
        const held: number[] = [];
        for (let round = 0; round < times; round++) {
          for (const [slotClass, pick, gives] of steps) {
            if (gives && held.length > 0) slots.give(held.splice(pick % held.length, 1)[0]!);
            else {
              const slot = slots.take(slotClass);
              expect(slot).not.toBe(NO_SLOT);
              expect(slotClassOf(slot)).toBe(slotClass);
              held.push(slot);
            }
          }
        }
        const places = held
          .map((slot) => [slotPageOf(slot) * 2 ** 20 + slotOffsetOf(slot), slotBytesOf(slot)] as const)
          .sort((a, b) => a[0] - b[0]);
        for (const [i, [start, bytes]] of places.entries()) {
          expect((start % 2 ** 20) + bytes).toBeLessThanOrEqual(2 ** 20);
          expect(start + bytes).toBeLessThanOrEqual(slots.bytesHeld);
          if (i > 0) expect(places[i - 1]![0] + places[i - 1]![1]).toBeLessThanOrEqual(start);
        }
      },
    ),
    { numRuns: 30 },
  );
});

test('small slots that lie idle side by side become large ones before more memory is taken', () => {
  const slots = new ChunkSlots();
  const perPage = Math.floor((1 << 20) / 96);
  const small = Array.from({ length: 8 * perPage }, () => slots.take(1));
  const { bytesHeld } = slots;
  // A third stays: between two of them there is room for 192 bytes, as two slots of 96 were.
  const idle = small.filter((_, i) => i % 3 !== 0);
  for (const slot of idle) slots.give(slot);
  const large = Array.from({ length: Math.floor(idle.length / 2) - 8 }, () => slots.take(3));
  expect(slots.bytesHeld).toBe(bytesHeld);
  const starts = new Set(
    small.filter((_, i) => i % 3 === 0).map((slot) => slotPageOf(slot) * 2 ** 20 + slotOffsetOf(slot)),
  );
  for (const slot of large) {
    const start = slotPageOf(slot) * 2 ** 20 + slotOffsetOf(slot);
    expect(starts.has(start) || starts.has(start + 96)).toBe(false);
  }
});

test('large slots that lie idle are cut up before more memory is taken', () => {
  const slots = new ChunkSlots();
  const large = Array.from({ length: 1024 }, () => slots.take(SLOT_CLASSES - 1));
  const { bytesHeld } = slots;
  for (const slot of large) slots.give(slot);
  const small = Array.from({ length: bytesHeld / 64 }, () => slots.take(0));
  expect(new Set(small).size).toBe(small.length);
  expect(slots.bytesHeld).toBe(bytesHeld);
  slots.take(0);
  expect(slots.bytesHeld).toBeGreaterThan(bytesHeld);
});

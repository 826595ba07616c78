import { expect, test } from 'vitest';
import { SharedArena, SharedBuffers } from './shared-buffers.ts';

const MIB = 2 ** 20;

test('a buffer is used again for what fills it well enough', () => {
  const buffers = new SharedBuffers();
  const first = buffers.take(10 * MIB);
  expect(first.byteLength).toBeGreaterThanOrEqual(10 * MIB);
  expect(first.byteLength).toBeLessThanOrEqual(11.25 * MIB);
  expect(buffers.take(10 * MIB)).not.toBe(first);
  buffers.give(first);
  expect(buffers.take(1 * MIB)).not.toBe(first);
  expect(buffers.take(12 * MIB)).not.toBe(first);
  expect(buffers.take(9 * MIB)).toBe(first);
});

test('what is kept is bounded', () => {
  const buffers = new SharedBuffers();
  const large = Array.from({ length: 5 }, () => buffers.take(40 * MIB));
  for (const buffer of large) buffers.give(buffer);
  const again = Array.from({ length: 5 }, () => buffers.take(40 * MIB));
  expect(again.filter((buffer) => large.includes(buffer))).toHaveLength(3);
});

test('pieces of an arena do not overlap, whatever was in it', () => {
  const buffer = new SharedArrayBuffer(64);
  new Uint8Array(buffer).fill(0xff);
  const arena = new SharedArena(buffer);
  const bytes = arena.bytes(Uint8Array.of(1, 2, 3));
  const numbers = arena.float64(Float64Array.of(0.5, 7, 9), 2);
  const words = arena.uint32(Uint32Array.of(4), 1);
  const signed = arena.int32(Int32Array.of(-1, 6), 2);
  expect([[...bytes], [...numbers], [...words], [...signed]]).toEqual([[1, 2, 3], [0.5, 7], [4], [-1, 6]]);
});

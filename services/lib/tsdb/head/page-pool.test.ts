import { expect, test } from 'vitest';
import { appendNumbers, define, newHead, RANGE_MS } from '../../../../test/support/head-rig.ts';
import { PagePool } from './page-pool.ts';

const MIB = 1 << 20;

test('what is given back is taken before anything is made', () => {
  const pool = new PagePool();
  const [small, large] = [pool.take(4096), pool.take(MIB)];
  pool.take(2 * MIB);
  pool.give([small, large]);
  expect(pool.bytesHeld).toBe(MIB);
  expect(pool.take(MIB)).toBe(large);
  expect(pool.take(4096)).not.toBe(small);
  expect(pool.bytesHeld).toBe(0);
});

test('no more is kept than is in use', () => {
  const pool = new PagePool();
  const pages = [1, 2, 3, 4, 5, 6].map(() => pool.take(MIB));
  pool.give(pages.slice(0, 4));
  expect(pool.bytesHeld).toBe(2 * MIB);
  pool.give(pages.slice(4, 5));
  expect(pool.bytesHeld).toBe(MIB);
  pool.give(pages.slice(5));
  expect(pool.bytesHeld).toBe(0);
});

test('pages of a dropped range are used again, but not while somebody holds it', () => {
  const head = newHead(4);
  const fill = (fromMs: number) => {
    for (let i = 0; i < 1500; i++) {
      const id = define(head, { __name__: 'm', i: `${i}` });
      appendNumbers(
        head,
        id,
        Array.from({ length: 120 }, (_, s) => [fromMs + s, Math.sin(s * i) * 1e9]),
      );
    }
  };
  fill(0);
  head.freeze(0, 1);
  const range = head.frozenRanges()[0]!;
  const pages = new Set(range.bytePages.map(({ buffer }) => buffer));
  expect(pages.size).toBeGreaterThan(8);
  const letGo = range.holdAll();
  head.drop(1);
  const isReused = () => {
    for (const { bytePages } of head.ranges())
      for (const { buffer } of bytePages) if (pages.has(buffer)) return true;
    return false;
  };
  fill(RANGE_MS);
  expect(isReused()).toBe(false);
  const kept = range.newestChunk(7);
  expect(range.chunkBytes(kept)).toBeGreaterThan(0);
  letGo();
  fill(2 * RANGE_MS);
  expect(isReused()).toBe(true);
  expect(() => range.chunkBytes(kept)).toThrow();
  expect(() => range.hold()).toThrow('nobody holds');
});

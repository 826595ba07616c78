import { expect, test } from 'vitest';
import { PageCache } from './page-cache.ts';

const page = (bytes: number) => new Uint8Array(bytes);

test('holds no more than its bound; what was used last stays', () => {
  const cache = new PageCache({ bytesMax: 300 });
  const owner = cache.addOwner();
  for (let i = 0; i < 3; i++) cache.put(owner, 1, i, page(100));
  expect(cache.get(owner, 1, 0)).toHaveLength(100);
  cache.put(owner, 1, 3, page(100));
  expect(cache.bytesHeld).toBe(300);
  expect(cache.get(owner, 1, 1)).toBeUndefined();
  for (const still of [0, 2, 3]) expect(cache.get(owner, 1, still)).toHaveLength(100);
  expect([cache.hits, cache.misses]).toEqual([4, 1]);
});

test('a page over the bound stands alone', () => {
  const cache = new PageCache({ bytesMax: 10 });
  const owner = cache.addOwner();
  cache.put(owner, 0, 0, page(5));
  cache.put(owner, 0, 1, page(50));
  expect(cache.get(owner, 0, 0)).toBeUndefined();
  expect(cache.get(owner, 0, 1)).toHaveLength(50);
});

test('owners and sections do not meet; a dropped owner leaves nothing', () => {
  const cache = new PageCache({ bytesMax: 1000 });
  const [a, b] = [cache.addOwner(), cache.addOwner()];
  cache.put(a, 5, 7, page(1));
  cache.put(a, 0, 7, page(2));
  cache.put(b, 5, 7, page(3));
  expect([cache.get(a, 5, 7)?.length, cache.get(a, 0, 7)?.length, cache.get(b, 5, 7)?.length]).toEqual([
    1, 2, 3,
  ]);
  cache.dropOwner(a);
  expect([cache.get(a, 5, 7), cache.get(a, 0, 7), cache.get(b, 5, 7)?.length]).toEqual([
    undefined,
    undefined,
    3,
  ]);
  expect(cache.bytesHeld).toBe(3);
});

test('putting a page again does not count it twice', () => {
  const cache = new PageCache({ bytesMax: 1000 });
  const owner = cache.addOwner();
  cache.put(owner, 0, 0, page(10));
  cache.put(owner, 0, 0, page(10));
  expect(cache.bytesHeld).toBe(10);
});

test('what selectors found counts with the pages, selectors included, and goes with its block', () => {
  const cache = new PageCache({ bytesMax: 16_000 });
  const [a, b] = [cache.addOwner(), cache.addOwner()];
  const ids = Uint32Array.of(1, 2, 3);
  cache.foundIn(a).put('abc', ids);
  expect(cache.bytesHeld).toBeGreaterThanOrEqual(ids.byteLength + 3);
  expect(cache.foundIn(a).get('abc')).toEqual(ids);
  expect(cache.foundIn(b).get('abc')).toBeUndefined();
  // Hits are of pages.
  expect([cache.hits, cache.misses]).toEqual([0, 0]);
  for (let i = 0; i < 200; i++) cache.put(b, 0, i, page(100));
  expect(cache.foundIn(a).get('abc')).toBeUndefined();
  expect(cache.bytesHeld).toBeLessThanOrEqual(16_000);
  cache.foundIn(a).put('abc', ids);
  cache.dropOwner(b);
  expect(cache.foundIn(a).get('abc')).toEqual(ids);
  cache.dropOwner(a);
  expect(cache.bytesHeld).toBe(0);
});

test('long selectors push others out; ids of more than a sixteenth are not kept', () => {
  const cache = new PageCache({ bytesMax: 1600 });
  const found = cache.foundIn(cache.addOwner());
  for (let i = 0; i < 20; i++) found.put(`${i} ${'x'.repeat(100)}`, Uint32Array.of(i));
  expect(cache.bytesHeld).toBeLessThanOrEqual(1600);
  expect(found.get(`0 ${'x'.repeat(100)}`)).toBeUndefined();
  expect(found.get(`19 ${'x'.repeat(100)}`)).toEqual(Uint32Array.of(19));
  found.put('all', new Uint32Array(26));
  expect(found.get('all')).toBeUndefined();
});

test('what is a small part of its buffer is copied: the buffer is not held', () => {
  const cache = new PageCache({ bytesMax: 1000 });
  const owner = cache.addOwner();
  cache.put(owner, 0, 0, new Uint8Array(1 << 20).subarray(7, 107));
  expect(cache.get(owner, 0, 0)!.buffer.byteLength).toBe(100);
  const ids = new Uint32Array(1000).subarray(0, 3);
  cache.foundIn(owner).put('', ids);
  expect(cache.foundIn(owner).get('')!.buffer.byteLength).toBe(12);
});

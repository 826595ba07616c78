import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeUtf8 } from '../../core/bytes.ts';
import { hash128 } from '../../core/hash128.ts';
import { RemoteWriteSeriesCache } from './remote-write-series-cache.ts';

/** Looks a request's keys up as the decoder does; returns what was found for each, and how many without their hash. */
function lookUp(cache: RemoteWriteSeriesCache, keys: readonly string[], references: Map<string, number>) {
  const parts = keys.map((key) => encodeUtf8(key));
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0) + 16);
  const view = new DataView(bytes.buffer);
  const hash = new Uint32Array(4);
  const found: number[] = [];
  let expected = 0;
  let at = 3;
  cache.maintain(0, 1);
  for (const [i, key] of keys.entries()) {
    const start = at;
    bytes.set(parts[i]!, start);
    at += parts[i]!.length;
    let position = cache.tryNext(view, start, at);
    if (position >= 0) expected++;
    else {
      hash128(bytes, start, at, 7, hash);
      position = cache.find(hash);
      if (position < 0) {
        if (!references.has(key)) references.set(key, references.size);
        position = cache.insert(hash, references.get(key)!, 0);
      }
      cache.remember(position, view, start, at);
    }
    found.push(cache.referenceAt(position));
  }
  return { found, expected };
}

const series = fc
  .tuple(
    fc.constantFrom('', 'a', 'node_cpu_seconds_total', 'x'.repeat(4090), 'node_'.repeat(30)),
    fc.nat(40),
    fc.constantFrom('', 'i', 'idle', 'instance="10.0.0.1:9100"'),
  )
  .map(([name, number, rest]) => `${name}${number}${rest}`);

test('whatever the order, a key has its own reference', () => {
  fc.assert(
    fc.property(fc.array(fc.array(series, { maxLength: 60 }), { maxLength: 12 }), (requests) => {
      const cache = new RemoteWriteSeriesCache(1 << 12);
      const references = new Map<string, number>();
      for (const keys of [...requests, ...requests]) {
        const { found } = lookUp(cache, keys, references);
        expect(found).toEqual(keys.map((key) => references.get(key)));
      }
    }),
  );
});

test('what is sent again in its order is not hashed again, also where a series is gone or new', () => {
  const cache = new RemoteWriteSeriesCache(1 << 16);
  const references = new Map<string, number>();
  const keys = Array.from({ length: 9000 }, (_, i) => `name${i % 7}{instance="10.0.0.${i}:9100",job="node"}`);
  // Generations grow meanwhile: entries move over at their next use.
  for (let round = 0; round < 4; round++) lookUp(cache, keys, references);
  expect(lookUp(cache, keys, references).expected).toBeGreaterThan(keys.length - 5);
  const changed = [...keys.slice(0, 100), ...keys.slice(101, 5000), 'new', ...keys.slice(5000)];
  expect(lookUp(cache, changed, references).expected).toBeGreaterThan(keys.length - 10);
});

test('a generation whose series have all moved over is let go', () => {
  const cache = new RemoteWriteSeriesCache(1 << 16);
  const references = new Map<string, number>();
  // The first 4,096 fill a generation, and all fit the next one.
  const keys = Array.from({ length: 6000 }, (_, i) => `name${i % 7}{instance="10.0.0.${i}:9100",job="node"}`);
  lookUp(cache, keys, references);
  lookUp(cache, keys.slice(1), references);
  const withPrevious = cache.memoryBytes;
  lookUp(cache, keys, references);
  // Its entries of 32 bytes, and its table.
  expect(withPrevious - cache.memoryBytes).toBeGreaterThanOrEqual(4096 * (32 + 8));
  expect(lookUp(cache, keys, references).found).toEqual(keys.map((key) => references.get(key)));
});

test('bytes that differ at any one place are another key', () => {
  const cache = new RemoteWriteSeriesCache(1 << 12);
  const references = new Map<string, number>();
  const key = `job="node",${'instance="10.0.0.1:9100"'.repeat(3)}`;
  lookUp(cache, ['first', key, `${key}2`], references);
  for (let i = 0; i < key.length; i++) {
    const other = `${key.slice(0, i)}~${key.slice(i + 1)}`;
    const { found } = lookUp(cache, ['first', other], references);
    expect(found).toEqual([0, references.get(other)]);
    expect(references.get(other)).toBe(3 + i);
  }
});

test('long keys do not make the cache large', () => {
  const cache = new RemoteWriteSeriesCache(1 << 12);
  const references = new Map<string, number>();
  const keys = Array.from({ length: 4000 }, (_, i) => `${i}${'x'.repeat(1000)}`);
  for (let round = 0; round < 3; round++) {
    expect(lookUp(cache, keys, references).found).toEqual(keys.map((_, i) => i));
  }
  // An entry, two slots, and 48 bytes of labels each.
  expect(cache.memoryBytes).toBeLessThanOrEqual(4096 * (32 + 8 + 48));
});

test('while the cache grows nothing is forgotten; one that fills up by and by stays as large as it is', () => {
  const cache = new RemoteWriteSeriesCache(1 << 20);
  const hash = new Uint32Array(4);
  let inserted = 0;
  const has = (key: number) => {
    hash.set([key, key, 1, 2]);
    return cache.find(hash) >= 0;
  };
  const use = (from: number, to: number) => {
    for (let key = from; key < to; key++) {
      if (has(key)) continue;
      inserted++;
      cache.insert(hash, key, 0);
    }
  };
  cache.maintain(1, 5000);
  use(0, 20_000);
  use(0, 20_000);
  expect(inserted).toBe(20_000);
  const { memoryBytes } = cache;
  for (let round = 1; round <= 40; round++) {
    cache.maintain(round * 2000, 5000);
    use(round * 1000, 20_000 + round * 1000);
  }
  expect(inserted).toBe(20_000 + 40 * 1000);
  cache.maintain(1_000_000, 5000);
  expect(cache.memoryBytes).toBeLessThanOrEqual(memoryBytes);
});

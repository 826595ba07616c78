import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter, encodeUtf8 } from '../../core/bytes.ts';
import { hash128 } from '../../core/hash128.ts';
import { RememberedSeries } from './remembered-series.ts';
import { RemoteWriteColumns } from './remote-write-columns.ts';
import { RemoteWriteSeriesCache } from './remote-write-series-cache.ts';

/** A cache, and the bytes of its series. */
function createCache(seriesMax: number) {
  const cache = new RemoteWriteSeriesCache(seriesMax);
  return { cache, remembered: new RememberedSeries(cache) };
}

/** A sample of value 1 at 1,700,000,000,000 ms, with tag and length. */
const SAMPLE = Buffer.from('1210 09 000000000000f03f 10 80d095ffbc31'.replaceAll(' ', ''), 'hex');

/** Looks a request's keys up as the decoder does; returns what was found for each, and how many without their hash. */
function lookUp(
  { cache, remembered }: ReturnType<typeof createCache>,
  keys: readonly string[],
  references: Map<string, number>,
) {
  const request = new ByteWriter();
  const ends: number[] = [];
  for (const key of keys) {
    const label = encodeUtf8(key);
    request.u8(0x0a);
    // Always two bytes, as for the longest ones.
    const count = label.length + SAMPLE.length;
    request.u8((count & 127) | 128);
    request.u8(count >>> 7);
    request.raw(label);
    request.raw(SAMPLE);
    ends.push(request.length);
  }
  const { bytes, length } = request;
  const columns = new RemoteWriteColumns();
  const decoded = { series: 0, samples: 0 };
  const hash = new Uint32Array(4);
  let at = 0;
  cache.maintain(0, 1);
  remembered.maintain();
  remembered.begin(bytes, length);
  while ((at = remembered.take(at, length, columns, decoded)) < length) {
    const i = ends.findIndex((end) => end > at);
    const start = at + 3;
    const end = ends[i]! - SAMPLE.length;
    hash128(bytes, start, end, 7, hash);
    let position = cache.find(hash);
    if (position < 0) {
      if (!references.has(keys[i]!)) references.set(keys[i]!, references.size);
      position = cache.insert(hash, references.get(keys[i]!)!, 0);
    }
    remembered.remember(position, start, end);
    if (columns.count === columns.references.length) columns.grow();
    columns.references[columns.count] = cache.referenceAt(position);
    columns.timestampsMs[columns.count] = 1_700_000_000_000;
    columns.values[columns.count++] = 1;
    at = ends[i]!;
  }
  expect(columns.count).toBe(keys.length);
  for (let i = 0; i < columns.count; i++) {
    expect(columns.timestampsMs[i]).toBe(1_700_000_000_000);
    expect(columns.values[i]).toBe(1);
  }
  return { found: [...columns.references.subarray(0, columns.count)], expected: decoded.series };
}

/** Bytes of both. */
function bytesOf({ cache, remembered }: ReturnType<typeof createCache>): number {
  return cache.memoryBytes + remembered.memoryBytes;
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
      const cache = createCache(1 << 12);
      const references = new Map<string, number>();
      for (const keys of [...requests, ...requests]) {
        const { found } = lookUp(cache, keys, references);
        expect(found).toEqual(keys.map((key) => references.get(key)));
      }
    }),
  );
});

test('what is sent again in its order is not hashed again, also where a series is gone or new', () => {
  const cache = createCache(1 << 16);
  const references = new Map<string, number>();
  const keys = Array.from({ length: 9000 }, (_, i) => `name${i % 7}{instance="10.0.0.${i}:9100",job="node"}`);
  // Generations grow meanwhile: entries move over at their next use.
  for (let round = 0; round < 4; round++) lookUp(cache, keys, references);
  expect(lookUp(cache, keys, references).expected).toBeGreaterThan(keys.length - 5);
  const changed = [...keys.slice(0, 100), ...keys.slice(101, 5000), 'new', ...keys.slice(5000)];
  expect(lookUp(cache, changed, references).expected).toBeGreaterThan(keys.length - 10);
});

test('a generation whose series have all moved over is let go', () => {
  const cache = createCache(1 << 16);
  const references = new Map<string, number>();
  // The first 4,096 fill a generation, and all fit the next one.
  const keys = Array.from({ length: 6000 }, (_, i) => `name${i % 7}{instance="10.0.0.${i}:9100",job="node"}`);
  lookUp(cache, keys, references);
  lookUp(cache, keys.slice(1), references);
  const withPrevious = cache.cache.memoryBytes;
  lookUp(cache, keys, references);
  // Its entries of 24 bytes, and its table.
  expect(withPrevious - cache.cache.memoryBytes).toBeGreaterThanOrEqual(4096 * (24 + 8));
  expect(lookUp(cache, keys, references).found).toEqual(keys.map((key) => references.get(key)));
});

test('bytes that differ at any one place are another key', () => {
  const cache = createCache(1 << 12);
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
  const cache = createCache(1 << 12);
  const references = new Map<string, number>();
  const keys = Array.from({ length: 4000 }, (_, i) => `${i}${'x'.repeat(1000)}`);
  for (let round = 0; round < 3; round++) {
    expect(lookUp(cache, keys, references).found).toEqual(keys.map((_, i) => i));
  }
  // An entry, two slots, an entry of the kernel's table, and 48 bytes of labels each.
  expect(bytesOf(cache)).toBeLessThanOrEqual(4096 * (24 + 8 + 12 + 48));
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

// The simulated bucket does what a bucket does, well or badly: it is what the runs' verdicts rest on.
import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { SimBucket, trustingUploads } from './world/sim-bucket.ts';
import { World } from './world/world.ts';

const { signal } = new AbortController();
const right = { leftMs: () => 30_000 };
const EVENTS_MAX = 100_000;
const TEXT = 'a file of some length';
/** In the world, where nothing waits for this machine's disk. */
const readText = () => Promise.resolve(Buffer.from(TEXT));

async function inWorld(work: (world: World, bucket: SimBucket) => Promise<void>, seed = 1): Promise<void> {
  const world = new World(seed);
  await world.run(work(world, new SimBucket(world, readText)), EVENTS_MAX);
}

test('objects are whole, listed in order over pages, and gone when they are removed', () =>
  inWorld(async (_world, { store }) => {
    for (let i = 30; i > 0; i--) await store.put(`a/${i}`, Buffer.from(String(i)), signal);
    await store.put('b/1', Buffer.from('other'), signal);
    const keys: string[] = [];
    for await (const { key } of store.list('a/', signal)) keys.push(key);
    expect(keys).toEqual(Array.from({ length: 30 }, (_, i) => `a/${i + 1}`).sort());
    expect(await store.getRange('b/1', 1, 3, signal)).toEqual(new Uint8Array(Buffer.from('th')));
    expect(await store.digestOf('b/1', signal)).toEqual({ sizeBytes: 5, crc32: crc32('other') });
    await store.remove('b/1', right, signal);
    await expect(store.get('b/1', 100, signal)).rejects.toMatchObject({ code: 'not_found' });
  }));

test('while it is away nothing has effect, and callers are told so after their tries', () =>
  inWorld(async (world, bucket) => {
    bucket.weather.isDown = true;
    await expect(bucket.store.put('a', Buffer.from('1'), signal)).rejects.toMatchObject({
      code: 'unavailable',
    });
    await world.sleep(60_000);
    expect(bucket.objects.size).toBe(0);
  }));

test('of requests that fail some have had effect', async () => {
  const seen = { done: 0, not: 0 };
  for (let seed = 1; seed <= 40; seed++) {
    await inWorld(async (_world, { store, weather, objects }) => {
      weather.failShare = 1;
      await expect(store.remove('a', right, signal)).rejects.toMatchObject({ code: 'unavailable' });
      await expect(store.put('a', Buffer.from('1'), signal)).rejects.toMatchObject({ code: 'unavailable' });
      seen[objects.has('a') ? 'done' : 'not']++;
    }, seed);
  }
  expect(seen.done).toBeGreaterThan(0);
  expect(seen.not).toBeGreaterThan(0);
});

test('what is on its way arrives, though its sender has given up', () =>
  inWorld(async (world, { store, objects }) => {
    const leaving = new AbortController();
    const sent = store.put('a', Buffer.from('1'), leaving.signal);
    leaving.abort(new Error('given up'));
    await expect(sent).rejects.toThrow('given up');
    expect(objects.size).toBe(0);
    await world.sleep(1_000);
    expect(objects.size).toBe(1);
  }));

test('a removal has effect within its right only, however long it is on its way', async () => {
  const seen = { done: 0, refused: 0 };
  for (let seed = 1; seed <= 60; seed++) {
    await inWorld(async (world, { store, weather, objects }) => {
      await store.put('a', Buffer.from('1'), signal);
      weather.failShare = 1;
      const endsAtMs = world.nowMs + 1_500;
      const ending = { leftMs: () => 1_000 + Math.max(0, endsAtMs - world.nowMs) };
      const removed = store.remove('a', ending, signal);
      await expect(removed).rejects.toMatchObject({
        code: expect.stringMatching(/^(unavailable|failed_precondition)$/),
      });
      while (world.nowMs < endsAtMs) await world.sleep(100);
      const isThere = objects.has('a');
      await world.sleep(10_000);
      expect(objects.has('a')).toBe(isThere);
      seen[isThere ? 'refused' : 'done']++;
    }, seed);
  }
  expect(seen.done).toBeGreaterThan(0);
  expect(seen.refused).toBeGreaterThan(0);
});

test('a damaged upload shows in what is there, and to whoever believes what it sent it does not', () =>
  inWorld(async (_world, bucket) => {
    bucket.weather.damageShare = 1;
    const file = { path: 'chunks', sizeBytes: TEXT.length };
    const sent = { sizeBytes: TEXT.length, crc32: crc32(TEXT) };
    await bucket.store.putFile('a', file, () => undefined, signal);
    expect(await bucket.store.digestOf('a', signal)).not.toEqual(sent);
    const believing = trustingUploads(bucket.store, readText);
    await believing.putFile('a', file, () => undefined, signal);
    expect(await believing.digestOf('a', signal)).toEqual(sent);
    expect(bucket.damagedUploads).toBe(2);
  }));

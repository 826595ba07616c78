// Blocks that left the disk for a real bucket are merged and aggregated, by one store and by two, and survive what ends a store meanwhile.
import { cpSync, globSync, mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/blocks.ts';
import { CrashDisk } from '../../../test/support/crash-disk.ts';
import { eventually } from '../../../test/support/eventually.ts';
import {
  blockOf,
  blocksIn,
  cachedBytes,
  coverageOf,
  EVICTED,
  EVICTING,
  everything,
  filesOf,
  freshDir,
  HOUR_MS,
  jobs,
  metricOf,
  NOW_MS,
  only,
  signal,
  startOn,
  WHOLE,
} from '../../../test/support/eviction-rig.ts';
import { hasS3Gateway, objectStoreOf, startS3Gateway } from '../../../test/support/s3-gateway.ts';
import { StoreCluster } from '../../../test/support/store-cluster.ts';
import {
  HandClock,
  listedBlocks,
  putBuilt,
  startStoreRig,
  storedContent,
} from '../../../test/support/store-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { ObjectStore } from '../../lib/objstore/object-store.ts';
import { GroupPlacement, groupOf } from '../../lib/placement/block-groups.ts';
import type { BuiltBlock } from '../../lib/tsdb/block/block-writer.ts';
import { SEGMENT_BYTES } from './segment-cache.ts';

describe.skipIf(!hasS3Gateway())('blocks past the local age', { timeout: 120_000 }, () => {
  test('a store that has nothing but the bucket takes indexes alone: more data than its cache may take', async () => {
    const gateway = await startS3Gateway();
    const first = await startOn(await freshDir(), objectStoreOf(gateway), { localAgeMs: 0 });
    const blocks = await Promise.all([3900, 3910, 3920].map((hour) => blockOf(hour, 8_000)));
    for (const block of blocks) await putBuilt(first, block);
    const remove = { tenant: 'anonymous', deleteId: '7'.repeat(32), actor: 'test', createdAtMs: NOW_MS };
    await first.client.deleteSeries(
      { ...remove, matchers: only('d'), minTimeMs: -1e15, maxTimeMs: 1e15 },
      { signal },
    );
    const before = await storedContent(first, everything);
    expect(before.size).toBe(3);
    await eventually(
      () => globSync('test/cluster/blocks/*/*/deletes.json', { cwd: gateway.bucketFolder }).length,
    ).toBe(3);
    await first.store.stop();
    const cacheBytesMax = SEGMENT_BYTES;
    const second = await startOn(await freshDir(), objectStoreOf(gateway), { cacheBytesMax });
    await eventually(() => blocks.map((block) => filesOf(second, block))).toEqual([
      EVICTED,
      EVICTED,
      EVICTED,
    ]);
    await eventually(() => metricOf(second, 'tidemark_store_evicted_blocks')).toBe(3);
    expect(await metricOf(second, 'tidemark_store_chunk_fetched_bytes_total')).toBe(0);
    expect(await storedContent(second, everything)).toEqual(before);
    expect((await coverageOf(second)).missing).toBeUndefined();
    expect(cachedBytes(second)).toBeLessThanOrEqual(cacheBytesMax);
    // The delete is applied to them as to others; what was rewritten takes their place in the bucket, and leaves the disk.
    await second.client.cleanTombstones({ tenant: 'anonymous', actor: 'test' }, { signal });
    expect(await storedContent(second, everything)).toEqual(before);
    await eventually(() =>
      blocksIn(gateway).some((id) => blocks.some(({ meta }) => meta.blockId === id)),
    ).toBe(false);
    const whole = () =>
      globSync('blocks/*/*/chunks', { cwd: second.dataDir })
        .map((name) => statSync(path.join(second.dataDir, name)).size)
        .reduce((sum, bytes) => sum + bytes, cachedBytes(second));
    await eventually(whole).toBeLessThanOrEqual(cacheBytesMax);
    expect(await storedContent(second, everything)).toEqual(before);
  });

  test('are merged and aggregated past the cache; snapshots keep them as they are', async () => {
    const gateway = await startS3Gateway();
    const first = await startOn(await freshDir(), objectStoreOf(gateway));
    const blocks = [await blockOf(3840, 2_000), await blockOf(3841, 2_000), await blockOf(3844, 2_000)];
    for (const block of blocks) await putBuilt(first, block);
    const before = await storedContent(first, everything);
    await eventually(() => blocks.map((block) => filesOf(first, block))).toEqual([EVICTED, EVICTED, EVICTED]);
    await first.client.snapshot({ name: 'kept' }, { signal });
    await first.store.stop();
    const snapshot = path.join(first.dataDir, 'snapshots/kept');
    mkdirSync(path.join(snapshot, 'blocks-transit'), { recursive: true });
    const copy = await startOn(snapshot, objectStoreOf(gateway), { localAgeMs: 0, bucketDeleteGraceMs: 1e9 });
    expect(await storedContent(copy, everything)).toEqual(before);
    await copy.store.stop();
    const merging = await startOn(first.dataDir, objectStoreOf(gateway), {
      compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS],
      cacheBytesMax: 2 * SEGMENT_BYTES,
      storagePolicy: {
        downsampling: [{ resolutionMs: 300_000, afterMs: HOUR_MS, retentionMs: 0 }],
        retention: [],
      },
    });
    await eventually(async () => (await listedBlocks(merging)).length).toBe(2);
    await eventually(() => metricOf(merging, 'tidemark_store_downsamplings_total')).toBe(1);
    await eventually(() => blocksIn(gateway).length).toBe(2);
    expect(await storedContent(merging, everything)).toEqual(before);
  });

  test('while the bucket is away nothing is merged of what left, and other blocks are', async () => {
    const gateway = await startS3Gateway();
    const first = await startOn(await freshDir(), objectStoreOf(gateway));
    const gone = [await blockOf(3840), await blockOf(3841)];
    for (const block of gone) await putBuilt(first, block);
    await eventually(() => gone.map((block) => filesOf(first, block))).toEqual([EVICTED, EVICTED]);
    await gateway.stop();
    await first.store.stop();
    const merging = await startOn(first.dataDir, objectStoreOf(gateway), {
      compactionRangesMs: [2 * HOUR_MS],
      localAgeMs: 1000 * HOUR_MS,
    });
    const here = [await blockOf(3900), await blockOf(3901)];
    for (const block of here) await putBuilt(merging, block);
    merging.clock.wallMs += HOUR_MS;
    await eventually(async () => (await listedBlocks(merging)).length).toBe(3);
    const ids = (await listedBlocks(merging)).map(({ blockId }) => blockId);
    expect(ids).toEqual(expect.arrayContaining(gone.map(({ meta }) => meta.blockId)));
    expect((await coverageOf(merging)).missing).toMatch(/2 blocks are in object storage only/);
    expect((await storedContent(merging, everything, { minTimeMs: 3899 * HOUR_MS })).size).toBe(jobs.length);
  });

  test('of two stores each takes what the other merged before its own blocks are gone from the bucket', async () => {
    const gateway = await startS3Gateway();
    const folder = await temporaryFolder();
    const clock = new HandClock(NOW_MS);
    const options = { ...EVICTING, bucketDeleteGraceMs: 2_000 };
    const cluster = new StoreCluster(folder.path, clock, 2, options);
    cluster.objects = objectStoreOf(gateway);
    onTestFinished(async () => {
      await cluster.stopAll();
      await folder[Symbol.asyncDispose]();
    });
    for (const name of ['a', 'b']) await cluster.start(name);
    const blocks = [await blockOf(3840), await blockOf(3841), await blockOf(3844)];
    for (const block of blocks) await cluster.ship(block);
    const before = await storedContent(cluster.node('a'), everything);
    for (const name of ['a', 'b'])
      await eventually(() => blocks.map((block) => filesOf(cluster.node(name), block))).toEqual([
        EVICTED,
        EVICTED,
        EVICTED,
      ]);
    // Only the one that keeps the bucket merges; the other follows.
    const [keeper, follower] = new GroupPlacement(cluster.stores, 2).ownersOf(groupOf(blocks[0]!.meta)) as [
      string,
      string,
    ];
    for (const name of ['a', 'b']) {
      await cluster.stop(name);
      await cluster.start(name, name === keeper ? { compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS] } : {});
    }
    for (let rounds = 0; blocksIn(gateway).length !== 1; rounds++) {
      expect(rounds).toBeLessThan(600);
      expect(await storedContent(cluster.node(follower), everything)).toEqual(before);
      expect((await coverageOf(cluster.node(follower))).missing).toBeUndefined();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await eventually(async () => (await listedBlocks(cluster.node(follower))).length).toBe(1);
    expect(await storedContent(cluster.node(follower), everything)).toEqual(before);
    // A third takes over from one that leaves: it moves no chunks.
    await cluster.start('c');
    await cluster.leave(keeper);
    await eventually(async () => (await listedBlocks(cluster.node('c'))).length).toBe(1);
    await eventually(async () => (await listedBlocks(cluster.node(keeper))).length).toBe(0);
    expect(globSync('blocks/*/*/chunks', { cwd: cluster.node('c').dataDir })).toEqual([]);
    expect(await storedContent(cluster.node('c'), everything)).toEqual(before);
  });

  test('what is taken from the bucket in place of other blocks hides what a holder knows to be deleted, before the bucket says so', async () => {
    const gateway = await startS3Gateway();
    const folder = await temporaryFolder();
    const options = { ...EVICTING, bucketDeleteGraceMs: 1e9 };
    const cluster = new StoreCluster(folder.path, new HandClock(NOW_MS), 2, options);
    cluster.objects = withoutDeletes(objectStoreOf(gateway));
    onTestFinished(async () => {
      await cluster.stopAll();
      await folder[Symbol.asyncDispose]();
    });
    for (const name of ['a', 'b']) await cluster.start(name);
    const blocks = [await blockOf(3840), await blockOf(3841)];
    for (const block of blocks) await cluster.ship(block);
    for (const name of ['a', 'b'])
      await eventually(() => blocks.map((block) => filesOf(cluster.node(name), block))).toEqual([
        EVICTED,
        EVICTED,
      ]);
    const [keeper, follower] = new GroupPlacement(cluster.stores, 2).ownersOf(groupOf(blocks[0]!.meta)) as [
      string,
      string,
    ];
    await cluster.stop(follower);
    await cluster.stop(keeper);
    await cluster.start(keeper, { compactionRangesMs: [2 * HOUR_MS] });
    await eventually(() => blocksIn(gateway).length).toBe(3);
    const remove = { tenant: 'anonymous', deleteId: '7'.repeat(32), actor: 'test', createdAtMs: NOW_MS };
    await cluster
      .node(keeper)
      .client.deleteSeries({ ...remove, matchers: only('d'), minTimeMs: -1e15, maxTimeMs: 1e15 }, { signal });
    const left = await storedContent(cluster.node(keeper), everything);
    expect(left.size).toBe(jobs.length - 1);
    await cluster.start(follower);
    await eventually(async () => (await listedBlocks(cluster.node(follower))).length).toBe(1);
    expect(await storedContent(cluster.node(follower), everything)).toEqual(left);
  });

  test.each(['killed', 'without power'])(
    'a store that is %s at any operation of an eviction or a fetch has whole blocks',
    async (how) => {
      const gateway = await startS3Gateway();
      const objects = objectStoreOf(gateway);
      const first = await startOn(await freshDir(), objects, { localAgeMs: 0 });
      const block = await blockOf(3990, 200);
      await putBuilt(first, block);
      const before = await storedContent(first, everything);
      await eventually(() => blocksIn(gateway).length).toBe(1);
      await first.store.stop();
      const root = path.dirname(first.dataDir);
      let points = 0;
      for (let diesAt = 1, isThrough = false; !isThrough; diesAt++) {
        const own = path.join(root, `run-${diesAt}`);
        cpSync(first.dataDir, own, { recursive: true });
        const disk = new CrashDisk(path.join(root, `graves-${diesAt}`));
        disk.diesAt = diesAt;
        isThrough = await evictAndDie(own, block, objects, disk);
        if (how === 'without power') disk.cutPower();
        points++;
        const left = await startOn(own, objects, { localAgeMs: 0 });
        expect(await storedContent(left, everything), `died at ${diesAt}`).toEqual(before);
        expect((await coverageOf(left)).missing).toBeUndefined();
        expect([EVICTED, WHOLE]).toContainEqual(filesOf(left, block));
        await left.store.stop();
      }
      expect(points).toBeGreaterThan(8);
    },
  );
});

/** Refuses to be told what is deleted of a block. */
function withoutDeletes(objects: ObjectStore): ObjectStore {
  return new Proxy(objects, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: readonly unknown[]): unknown =>
        name === 'put' && String(args[0]).endsWith('deletes.json')
          ? Promise.reject(new AppError('unavailable', 'not now'))
          : value.apply(target, args);
    },
  });
}

/** Evicts the block and reads it through the cache; true when the disk did not die before. */
async function evictAndDie(
  dataDir: string,
  block: BuiltBlock,
  objects: ObjectStore,
  disk: CrashDisk,
): Promise<boolean> {
  const clock = new HandClock(NOW_MS);
  mkdirSync(path.join(dataDir, 'blocks-transit'), { recursive: true });
  // Room for what is fetched, none for the block.
  const options = { ...EVICTING, cacheBytesMax: 0 };
  try {
    const rig = await startStoreRig(dataDir, clock, options, disk, objects);
    try {
      await expect
        .poll(() => disk.isDead || filesOf({ dataDir }, block).join() === EVICTED.join(), {
          timeout: 20_000,
          interval: 2,
        })
        .toBe(true);
    } finally {
      await rig.store.stop().catch(() => undefined);
    }
    if (disk.isDead) return false;
    const roomy = { ...options, localAgeMs: 0, cacheBytesMax: 4 * SEGMENT_BYTES };
    const reading = await startStoreRig(dataDir, clock, roomy, disk, objects);
    try {
      // A cache that cannot be written costs nothing but the next fetch.
      await storedContent(reading, everything);
    } finally {
      await reading.store.stop().catch(() => undefined);
    }
    return !disk.isDead;
  } catch (caught) {
    if (disk.isDead) return false;
    throw caught;
  }
}

// The disk as a cache of a real bucket: what leaves it is read back bit for bit, the bound is kept, and what cannot be had is named, never left out
// in silence.
import { globSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/blocks.ts';
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
  meddled,
  metricOf,
  NOW_MS,
  objectOf,
  only,
  signal,
  startOn,
  WHOLE,
} from '../../../test/support/eviction-rig.ts';
import { hasS3Gateway, objectStoreOf, startS3Gateway } from '../../../test/support/s3-gateway.ts';
import { StoreCluster } from '../../../test/support/store-cluster.ts';
import { HandClock, listedBlocks, putBuilt, storedContent } from '../../../test/support/store-rig.ts';
import { type Disk, systemDisk } from '../../lib/core/disk.ts';
import { SEGMENT_BYTES } from './segment-cache.ts';

describe.skipIf(!hasS3Gateway())('blocks past the local age', { timeout: 120_000 }, () => {
  test('leave the disk once the bucket has them, and answers stay what they were to the last bit', async () => {
    const gateway = await startS3Gateway();
    const rig = await startOn(await freshDir(), objectStoreOf(gateway));
    const [old, older, young] = [await blockOf(3990, 40_000), await blockOf(3800), await blockOf(3999.5)];
    for (const block of [old, older, young]) await putBuilt(rig, block);
    const before = await storedContent(rig, everything);
    expect(before.size).toBe(jobs.length);
    await eventually(() => [filesOf(rig, old), filesOf(rig, older)]).toEqual([EVICTED, EVICTED]);
    expect(filesOf(rig, young)).toEqual(WHOLE);
    expect(await storedContent(rig, everything)).toEqual(before);
    expect((await coverageOf(rig)).missing).toBeUndefined();
    expect((await listedBlocks(rig)).length).toBe(3);
    // A narrow selector fetches a part of a block; of labels nothing is fetched at all.
    const fetched = () => metricOf(rig, 'tidemark_store_chunk_fetched_bytes_total');
    const wide = await fetched();
    const one = await storedContent(rig, only('b'), { minTimeMs: 3989 * HOUR_MS });
    const narrow = (await fetched()) - wide;
    expect(narrow).toBeGreaterThan(0);
    expect(narrow).toBeLessThan(old.meta.files.chunks.sizeBytes * 0.6);
    expect([...one.values()][0]!.size).toBe(40_100);
    const values = { tenant: 'anonymous', labelName: 'job', matchers: everything, limit: 0 };
    const { values: found } = await rig.client.labels(
      { ...values, minTimeMs: -1e15, maxTimeMs: 1e15 },
      { signal },
    );
    expect(found).toEqual(jobs);
    expect(await fetched()).toBe(wide + narrow);
    // Whoever asks for the block gets it whole.
    const files: Buffer[][] = [[], [], []];
    for await (const { part } of rig.client.fetchBlock(
      { tenant: 'anonymous', blockId: old.meta.blockId },
      { signal },
    ))
      if (part?.$case === 'piece') files[part.value.file]!.push(Buffer.from(part.value.bytes));
    for (const [i, name] of ['meta.json', 'index', 'chunks'].entries())
      expect(Buffer.concat(files[i]!).equals(readFileSync(objectOf(gateway, old, name))), name).toBe(true);
    // Another start finds them as they are.
    await rig.store.stop();
    const again = await startOn(rig.dataDir, objectStoreOf(gateway));
    expect(await storedContent(again, everything)).toEqual(before);
    expect(await metricOf(again, 'tidemark_store_evicted_blocks')).toBe(2);
  });

  test('the cache keeps its bound, least recently used ones go first, and what is in it is not fetched again', async () => {
    const gateway = await startS3Gateway();
    const cacheBytesMax = 4 * SEGMENT_BYTES;
    const rig = await startOn(await freshDir(), objectStoreOf(gateway), { cacheBytesMax });
    const blocks = [await blockOf(3900, 12_000), await blockOf(3910, 12_000), await blockOf(3920, 12_000)];
    for (const block of blocks) {
      expect(block.meta.files.chunks.sizeBytes).toBeGreaterThan(SEGMENT_BYTES);
      await putBuilt(rig, block);
    }
    await storedContent(rig, everything, { maxTimeMs: 3901 * HOUR_MS });
    const total = blocks.reduce((sum, { meta }) => sum + meta.files.chunks.sizeBytes, 0);
    expect(total).toBeGreaterThan(cacheBytesMax);
    const held = () =>
      blocks.reduce(
        (sum, block) =>
          sum + (filesOf(rig, block).includes('chunks') ? block.meta.files.chunks.sizeBytes : 0),
        cachedBytes(rig),
      );
    await eventually(held).toBeLessThanOrEqual(cacheBytesMax);
    const fetched = () => metricOf(rig, 'tidemark_store_chunk_fetched_bytes_total');
    const hour = (at: number) => ({ minTimeMs: at * HOUR_MS, maxTimeMs: (at + 1) * HOUR_MS });
    // What leaves for it is what nobody asks for, so that before long nothing of it is fetched any more.
    await eventually(async () => {
      const before = await fetched();
      await storedContent(rig, only('a'), hour(3910));
      return (await fetched()) - before;
    }).toBe(0);
    // Whatever is asked for, in whatever order, the bound holds.
    for (const at of [3900, 3920, 3910, 3900, 3920]) {
      await storedContent(rig, everything, hour(at));
      expect(cachedBytes(rig)).toBeLessThanOrEqual(cacheBytesMax);
    }
    await eventually(held).toBeLessThanOrEqual(cacheBytesMax);
    expect(await metricOf(rig, 'tidemark_store_chunk_cache_bytes')).toBeLessThanOrEqual(cacheBytesMax);
  });

  test('while the bucket is away answers name what they lack, and only that; then they are whole again', async () => {
    const gateway = await startS3Gateway();
    const rig = await startOn(await freshDir(), objectStoreOf(gateway));
    const [old, young] = [await blockOf(3990), await blockOf(3999.5)];
    for (const block of [old, young]) await putBuilt(rig, block);
    const before = await storedContent(rig, everything);
    await eventually(() => filesOf(rig, old)).toEqual(EVICTED);
    await gateway.stop();
    const coverage = await coverageOf(rig);
    expect(coverage.missing).toContain(
      `${old.meta.blockId} (${new Date(old.meta.minTimeMs).toISOString()} to `,
    );
    expect(coverage.missing).toMatch(
      /1 block is in object storage only, which does not give them .*cannot be reached/,
    );
    expect(coverage.partitions).toMatchObject([{ partition: 0, complete: false }]);
    const recent = await coverageOf(rig, { minTimeMs: 3999 * HOUR_MS });
    expect(recent).toMatchObject({ partitions: [{ complete: true }] });
    expect(recent.missing).toBeUndefined();
    expect(await metricOf(rig, 'tidemark_store_chunk_fetch_failures_total')).toBeGreaterThan(0);
    // Nor does a store without any bucket leave them out in silence.
    await rig.store.stop();
    const without = await startOn(rig.dataDir, undefined);
    expect((await coverageOf(without)).missing).toMatch(/give --objstore.bucket/);
    await without.store.stop();
    await gateway.start();
    const again = await startOn(rig.dataDir, objectStoreOf(gateway));
    expect(await storedContent(again, everything)).toEqual(before);
  });

  test('stay while the bucket does not have them as it should', async () => {
    const gateway = await startS3Gateway();
    const objects = objectStoreOf(gateway);
    // Young at first, and listed but once.
    const rig = await startOn(await freshDir(), objects, {
      localAgeMs: 100 * HOUR_MS,
      bucketListIntervalMs: HOUR_MS,
    });
    const [gone, short] = [await blockOf(3980), await blockOf(3990)];
    for (const block of [gone, short]) await putBuilt(rig, block);
    await eventually(() => blocksIn(gateway).length).toBe(2);
    rmSync(objectOf(gateway, gone, 'chunks'));
    writeFileSync(objectOf(gateway, short, 'chunks'), 'something else');
    rig.clock.wallMs += 200 * HOUR_MS;
    await eventually(() => metricOf(rig, 'tidemark_store_evictions_refused_total')).toBeGreaterThan(3);
    expect([filesOf(rig, gone), filesOf(rig, short)]).toEqual([WHOLE, WHOLE]);
    // Whoever lists sees what is not there, and brings it.
    await rig.store.stop();
    const again = await startOn(rig.dataDir, objects);
    await eventually(() => [filesOf(again, gone), filesOf(again, short)]).toEqual([EVICTED, EVICTED]);
    for (const block of [gone, short])
      expect(statSync(objectOf(gateway, block, 'chunks')).size).toBe(block.meta.files.chunks.sizeBytes);
  });

  test('a query that is cancelled ends its fetches; equal ones share them', async () => {
    const gateway = await startS3Gateway();
    const ended: boolean[] = [];
    let isHeld = true;
    let reads = 0;
    const objects = meddled(objectStoreOf(gateway), async (_key, _start, _end, own, read) => {
      reads++;
      while (isHeld && !own.aborted) await new Promise((resolve) => setTimeout(resolve, 5));
      ended.push(own.aborted);
      return read();
    });
    const rig = await startOn(await freshDir(), objects, { cacheBytesMax: 1 << 20 });
    const filler = await blockOf(3000, 40_000);
    const old = await blockOf(3990);
    await putBuilt(rig, old);
    await putBuilt(rig, filler);
    await eventually(() => [filesOf(rig, old), filesOf(rig, filler)]).toContainEqual(EVICTED);
    await eventually(() => filesOf(rig, filler)).toEqual(EVICTED);
    const range = { maxTimeMs: 3001 * HOUR_MS };
    const cancel = new AbortController();
    const asked = coverageOf(rig, range, cancel.signal);
    await eventually(() => reads).toBeGreaterThan(0);
    cancel.abort();
    await expect(asked).rejects.toThrow();
    await eventually(() => ended.length).toBe(reads);
    expect(ended.every((isAborted) => isAborted)).toBe(true);
    reads = 0;
    const both = [0, 1, 2].map(() => storedContent(rig, only('a'), range));
    await eventually(() => reads).toBeGreaterThan(0);
    isHeld = false;
    const [first, ...others] = await Promise.all(both);
    for (const other of others) expect(other).toEqual(first);
    const size = filler.meta.files.chunks.sizeBytes;
    expect(await metricOf(rig, 'tidemark_store_chunk_fetched_bytes_total')).toBeLessThan(size);
  });

  test('a page that rotted in the cache is fetched again; one that rotted in the bucket is named, and brought anew from a whole copy', async () => {
    const gateway = await startS3Gateway();
    const folder = await temporaryFolder();
    const clock = new HandClock(NOW_MS);
    const cluster = new StoreCluster(folder.path, clock, 2, { ...EVICTING, localAgeMs: 0, cacheBytesMax: 0 });
    cluster.objects = objectStoreOf(gateway);
    onTestFinished(async () => {
      await cluster.stopAll();
      await folder[Symbol.asyncDispose]();
    });
    for (const name of ['a', 'b']) await cluster.start(name);
    const block = await blockOf(3990, 3_000);
    await cluster.ship(block);
    const before = await storedContent(cluster.node('a'), everything);
    await eventually(() => blocksIn(gateway).length).toBe(1);
    await cluster.stop('a');
    // Only a has a local age; of two segments' room a block of less than one is kept once it was fetched.
    await cluster.start('a', { localAgeMs: HOUR_MS, cacheBytesMax: 0 });
    await eventually(() => filesOf(cluster.node('a'), block)).toEqual(EVICTED);
    await cluster.stop('a');
    const a = await cluster.start('a', { localAgeMs: HOUR_MS, cacheBytesMax: 4 * SEGMENT_BYTES });
    const cached = () =>
      globSync('blocks-cache/*/*/*', { cwd: a.dataDir }).map((name) => path.join(a.dataDir, name));
    // Until the file is written whole, answers come from what was fetched, and hide what becomes of it.
    await eventually(async () => {
      expect(await storedContent(a, everything)).toEqual(before);
      return metricOf(a, 'tidemark_store_chunk_cache_hits_total');
    }).toBeGreaterThan(0);
    expect(cached().length).toBe(1);
    const bytes = readFileSync(cached()[0]!);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(cached()[0]!, bytes);
    expect(await storedContent(a, everything)).toEqual(before);
    expect(await metricOf(a, 'tidemark_store_chunk_cache_corrupt_total')).toBeGreaterThan(0);
    expect(await metricOf(a, 'tidemark_store_corrupt_blocks_total')).toBe(0);
    await eventually(() => cached().map((file) => readFileSync(file).equals(bytes))).toEqual([false]);
    const object = objectOf(gateway, block, 'chunks');
    const whole = readFileSync(object);
    const rotten = Buffer.from(whole);
    rotten[rotten.length >> 1]! ^= 1;
    writeFileSync(object, rotten);
    // A segment from before may be kept only now, of a question that is answered already.
    const askBucket = (): Promise<string> => {
      for (const file of cached()) rmSync(file, { force: true });
      return storedContent(a, everything).then(
        () => 'answered',
        (caught: unknown) => String(caught),
      );
    };
    await eventually(askBucket).toMatch(new RegExp(`${block.meta.blockId}.*is corrupt`));
    // From then on answers say so, until the copy of b is here, and what the bucket has is made good.
    await eventually(() => storedContent(a, everything)).toEqual(before);
    await eventually(() => readFileSync(object).equals(whole)).toBe(true);
    expect((await coverageOf(a)).missing).toBeUndefined();
    // Made good, it leaves again.
    await cluster.stop('a');
    await cluster.start('a', { localAgeMs: HOUR_MS, cacheBytesMax: 0 });
    await eventually(() => filesOf(cluster.node('a'), block)).toEqual(EVICTED);
    expect(await storedContent(cluster.node('a'), everything)).toEqual(before);
  });

  test('a disk that is nearly full is not filled by what is fetched', async () => {
    const gateway = await startS3Gateway();
    const objects = objectStoreOf(gateway);
    const first = await startOn(await freshDir(), objects);
    const block = await blockOf(3990, 3_000);
    await putBuilt(first, block);
    const before = await storedContent(first, everything);
    await eventually(() => filesOf(first, block)).toEqual(EVICTED);
    await first.store.stop();
    const disk: Disk = {
      ...systemDisk,
      space: async (folder) => ({ ...(await systemDisk.space(folder)), freeBytes: 300 << 20 }),
    };
    const options = { localAgeMs: 0, cacheBytesMax: 1 << 30 };
    const full = await startOn(first.dataDir, objects, { ...options, diskReserveBytes: 300 << 20 }, disk);
    for (let i = 0; i < 3; i++) expect(await storedContent(full, everything)).toEqual(before);
    await full.store.stop();
    expect(cachedBytes(full)).toBe(0);
    const roomy = await startOn(first.dataDir, objects, { ...options, diskReserveBytes: 200 << 20 }, disk);
    expect(await storedContent(roomy, everything)).toEqual(before);
    await eventually(() => cachedBytes(roomy)).toBeGreaterThan(0);
  });
});

// The disk as a cache of a real bucket: what leaves it is read back bit for bit, the bound is kept, and what cannot be had is named, never left out
// in silence.
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { buildBlock, temporaryFolder } from '../../../test/support/blocks.ts';
import { CrashDisk } from '../../../test/support/crash-disk.ts';
import {
  hasS3Gateway,
  objectStoreOf,
  type S3Gateway,
  startS3Gateway,
} from '../../../test/support/s3-gateway.ts';
import { seriesOf, type TestSample } from '../../../test/support/sample-blocks.ts';
import { StoreCluster } from '../../../test/support/store-cluster.ts';
import {
  HandClock,
  listedBlocks,
  putBuilt,
  type StoreRig,
  startStoreRig,
  storedContent,
} from '../../../test/support/store-rig.ts';
import { type Disk, systemDisk } from '../../lib/core/disk.ts';
import { Labels } from '../../lib/model/labels.ts';
import type { ObjectStore } from '../../lib/objstore/object-store.ts';
import { GroupPlacement, groupOf } from '../../lib/placement/block-groups.ts';
import type { BuiltBlock } from '../../lib/tsdb/block/block-writer.ts';
import { type Coverage, MatchType, type WireMatcher } from '../../lib/wire/contracts.ts';
import type { StoreOptions } from '../options.ts';
import { SEGMENT_BYTES } from './segment-cache.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = 4000 * HOUR_MS;
const signal = new AbortController().signal;
const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];
const only = (job: string): WireMatcher[] => [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: job }];
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 30_000, interval: 20 });
/** Whatever is older than an hour leaves, and next to nothing is kept. */
const EVICTING: Partial<StoreOptions> = {
  ...{ bucketListIntervalMs: 100, bucketDeleteGraceMs: 200, repairIntervalMs: 20, scrubPeriodMs: 0 },
  ...{ localAgeMs: HOUR_MS, cacheBytesMax: 0 },
};

interface Rig extends StoreRig {
  readonly dataDir: string;
  readonly clock: HandClock;
}

async function startOn(
  dataDir: string,
  objects: ObjectStore | undefined,
  options: Partial<StoreOptions> = {},
  disk?: Disk,
): Promise<Rig> {
  const clock = new HandClock(NOW_MS);
  const rig = await startStoreRig(dataDir, clock, { ...EVICTING, ...options }, disk, objects);
  onTestFinished(() => rig.store.stop());
  return { ...rig, dataDir, clock };
}

async function freshDir(): Promise<string> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  return path.join(folder.path, 'data');
}

const jobs = ['a', 'b', 'c', 'd'];

/** Samples that do not compress: 12 bytes and more of each are in the block. */
async function blockOf(hour: number, samples = 100, partition = 0): Promise<BuiltBlock> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  let state = hour * 64 + partition + 1;
  const next = (): number => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    return (state ^ (state >>> 12)) >>> 0;
  };
  const series = jobs.map((job) => {
    const labels = Labels.from([
      ['__name__', 'up'],
      ['job', job],
      ['partition', `${partition}`],
    ]);
    const points = Array.from(
      { length: samples },
      (_, i): TestSample => [hour * HOUR_MS + i * 100 + (next() % 90), next(), 0x40000000 + (next() >>> 8)],
    );
    return { ...seriesOf(labels, points, 120), partition };
  });
  return buildBlock(path.join(folder.path, 'built'), series);
}

const blocksIn = ({ bucketFolder }: S3Gateway): string[] =>
  globSync('test/cluster/blocks/*/*/meta.json', { cwd: bucketFolder }).map((name) => name.split('/')[4]!);
const objectOf = ({ bucketFolder }: S3Gateway, { meta }: BuiltBlock, name: string): string =>
  path.join(bucketFolder, 'test/cluster/blocks/anonymous', meta.blockId, name);
const folderOf = ({ dataDir }: { readonly dataDir: string }, { meta }: BuiltBlock): string =>
  path.join(dataDir, 'blocks/anonymous', meta.blockId);
const filesOf = (rig: { readonly dataDir: string }, block: BuiltBlock): string[] =>
  existsSync(folderOf(rig, block)) ? readdirSync(folderOf(rig, block)).toSorted() : [];
const EVICTED = ['evicted.json', 'index', 'meta.json'];
const WHOLE = ['chunks', 'index', 'meta.json'];

/** Bytes of the files of fetched segments. */
const cachedBytes = ({ dataDir }: Rig): number =>
  globSync('blocks-cache/*/*/*', { cwd: dataDir }).reduce(
    (sum, name) => sum + (statSync(path.join(dataDir, name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );

async function metricOf({ registry }: StoreRig, name: string): Promise<number> {
  const { values } = await registry.getSingleMetric(name)!.get();
  return values.reduce((sum, { value }) => sum + value, 0);
}

async function coverageOf(
  { client }: StoreRig,
  range: { readonly minTimeMs?: number; readonly maxTimeMs?: number } = {},
  own: AbortSignal = signal,
): Promise<Coverage> {
  let found: Coverage | undefined;
  for await (const { coverage } of client.select(
    {
      ...{ tenant: 'anonymous', matchers: everything, minTimeMs: -1e15, maxTimeMs: 1e15, ...range },
      ...{ labelsOnly: false, partitions: [], seriesMax: 0 },
    },
    { signal: own },
  ))
    found = coverage ?? found;
  return found!;
}

/** A bucket whose ranged reads can be held up, counted and changed. */
function meddled(
  store: ObjectStore,
  change: (
    key: string,
    start: number,
    end: number,
    own: AbortSignal,
    read: () => Promise<Uint8Array>,
  ) => Promise<Uint8Array>,
): ObjectStore {
  return new Proxy(store, {
    get: (target, name: keyof ObjectStore) => {
      if (name === 'getRange')
        return (key: string, start: number, end: number, own: AbortSignal) =>
          change(key, start, end, own, () => target.getRange(key, start, end, own));
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

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
    const rig = await startOn(await freshDir(), objects, { localAgeMs: 0 });
    const [gone, short] = [await blockOf(3980), await blockOf(3990)];
    for (const block of [gone, short]) await putBuilt(rig, block);
    await eventually(() => blocksIn(gateway).length).toBe(2);
    rmSync(objectOf(gateway, gone, 'chunks'));
    writeFileSync(objectOf(gateway, short, 'chunks'), 'something else');
    await rig.store.stop();
    const again = await startOn(rig.dataDir, objects);
    await eventually(() => metricOf(again, 'tidemark_store_evictions_refused_total')).toBeGreaterThan(3);
    expect([filesOf(again, gone), filesOf(again, short)]).toEqual([WHOLE, WHOLE]);
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
    expect(await storedContent(a, everything)).toEqual(before);
    const cached = () =>
      globSync('blocks-cache/*/*/*', { cwd: a.dataDir }).map((name) => path.join(a.dataDir, name));
    await eventually(() => cached().length).toBe(1);
    const bytes = readFileSync(cached()[0]!);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(cached()[0]!, bytes);
    expect(await storedContent(a, everything)).toEqual(before);
    expect(await metricOf(a, 'tidemark_store_chunk_cache_corrupt_total')).toBeGreaterThan(0);
    expect(await metricOf(a, 'tidemark_store_corrupt_blocks_total')).toBe(0);
    await eventually(() => cached().map((file) => readFileSync(file).equals(bytes))).toEqual([false]);
    for (const file of cached()) rmSync(file);
    const object = objectOf(gateway, block, 'chunks');
    const whole = readFileSync(object);
    const rotten = Buffer.from(whole);
    rotten[rotten.length >> 1]! ^= 1;
    writeFileSync(object, rotten);
    await expect(storedContent(a, everything)).rejects.toThrow(
      new RegExp(`${block.meta.blockId}.*is corrupt`),
    );
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

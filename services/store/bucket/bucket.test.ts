// Stores with a bucket, over a real S3 API: each block is there once and whole, stores that have nothing else find everything there, and what is
// merged or too old does not come back from it.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  blockOf,
  blocksIn,
  coverageOf,
  deleteRequest,
  idsOf,
  metricOf,
  objectsIn,
  QUICK,
  startAlone,
  startBucketStores,
} from '../../../test/support/bucket-stores.ts';
import { eventually } from '../../../test/support/eventually.ts';
import {
  everything,
  HOUR_MS,
  NOW_MS,
  unitedContent,
  unitedContentOf,
} from '../../../test/support/replicated-stores.ts';
import { hasS3Gateway, objectStoreOf, startS3Gateway } from '../../../test/support/s3-gateway.ts';
import type { StoreCluster, StoreNode } from '../../../test/support/store-cluster.ts';
import { HandClock, putBuilt, startStoreRig, storedContent } from '../../../test/support/store-rig.ts';
import { GroupPlacement, groupOf } from '../../lib/placement/block-groups.ts';
import type { BuiltBlock } from '../../lib/tsdb/block/block-writer.ts';

const signal = new AbortController().signal;

describe.skipIf(!hasS3Gateway())('with a bucket', { timeout: 120_000 }, () => {
  test('each block is brought there once, whole; stores with empty disks find everything there', async () => {
    const gateway = await startS3Gateway();
    const first = await startBucketStores(gateway, ['a', 'b', 'c']);
    const blocks: BuiltBlock[] = [];
    for (const hour of [3840, 3842, 3890])
      for (const partition of [0, 1, 2, 3]) blocks.push(await blockOf(hour, partition));
    for (const block of blocks) await first.ship(block);
    await eventually(() => blocksIn(gateway).toSorted()).toEqual(idsOf(blocks));
    for (const block of blocks) {
      for (const { name, path: file } of block.files) {
        const there = path.join(
          gateway.bucketFolder,
          'test/cluster/blocks/anonymous',
          block.meta.blockId,
          name,
        );
        expect(readFileSync(there).equals(readFileSync(file)), name).toBe(true);
      }
    }
    // Two copies each on three stores, and one upload.
    const uploads = async () => {
      const counts = Array.from(first.nodes.values(), (node) =>
        metricOf(node, 'tidemark_store_bucket_uploads_total'),
      );
      return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
    };
    await eventually(uploads).toBe(blocks.length);
    const before = await unitedContent(first);
    await first.stopAll();

    const second = await startBucketStores(gateway, ['x', 'y']);
    await eventually(async () => (await unitedContent(second)).size).toBe(before.size);
    await eventually(async () => missingOf(second)).toBe(0);
    expect(await unitedContent(second)).toEqual(before);
    for (const node of second.nodes.values()) expect((await coverageOf(node)).missing).toBeUndefined();
  });

  const missingOf = async (cluster: StoreCluster): Promise<number> => {
    const answers = await Promise.all(
      Array.from(cluster.nodes.values(), (node: StoreNode) =>
        node.replication.replicationStatus({}, { signal }),
      ),
    );
    return answers.reduce(
      (sum, { missingBlocks, heldBlocks }) => sum + missingBlocks + Number(heldBlocks === 0),
      0,
    );
  };

  test('until a block is here that is nowhere but there, answers say that they lack it', async () => {
    const gateway = await startS3Gateway();
    const first = await startAlone(gateway);
    const [block, other] = [await blockOf(3840), await blockOf(3890)];
    for (const each of [block, other]) await putBuilt(first, each);
    await eventually(() => blocksIn(gateway).length).toBe(2);
    await first.store.stop();
    // One byte of it rots in the bucket: it is never taken for the block.
    const chunks = path.join(
      gateway.bucketFolder,
      'test/cluster/blocks/anonymous',
      block.meta.blockId,
      'chunks',
    );
    const bytes = readFileSync(chunks);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(chunks, bytes);

    const second = await startAlone(gateway);
    await eventually(async () => (await storedContent(second, everything)).size).toBe(2);
    const coverage = await coverageOf(second);
    expect(coverage.missing).toMatch(
      new RegExp(`still being fetched from object storage: ${block.meta.blockId}`),
    );
    expect(coverage.partitions.some(({ complete }) => !complete)).toBe(true);
    const elsewhere = await coverageOf(second, { minTimeMs: 3885 * HOUR_MS });
    expect(elsewhere).toMatchObject({ partitions: [{ complete: true }] });
    expect(elsewhere.missing).toBeUndefined();
  });

  test('a store that began empty lacks what is there, until it knows what others have (simulation, seed 412)', async () => {
    const gateway = await startS3Gateway();
    const first = await startBucketStores(gateway, ['x', 'y']);
    const block = await blockOf(3840);
    await first.ship(block);
    await eventually(() => blocksIn(gateway).length).toBe(1);
    await first.stopAll();

    const second = await startBucketStores(gateway, []);
    // It is there, and does not answer: it waits for the bucket.
    const refuse = () => {
      throw new Error('the store is still looking through its blocks');
    };
    const starting = new Proxy({}, { get: () => refuse }) as StoreNode['replication'];
    second.nodes.set('y', { instance: 'y', replication: starting } as StoreNode);
    onTestFinished(() => void second.nodes.delete('y'));
    const x = await second.start('x', { repairIntervalMs: 3_600_000 });
    expect((await coverageOf(x)).missing).toMatch(block.meta.blockId);
    second.nodes.delete('y');
  });

  test('with an empty disk a store does not answer before it knows what is in the bucket', async () => {
    const gateway = await startS3Gateway();
    const first = await startAlone(gateway);
    await putBuilt(first, await blockOf(3840));
    await eventually(() => blocksIn(gateway).length).toBe(1);
    await first.store.stop();
    await gateway.stop();
    let isStarted = false;
    const starting = startAlone(gateway).then((rig) => {
      isStarted = true;
      return rig;
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(isStarted).toBe(false);
    await gateway.start();
    const second = await starting;
    await eventually(async () => (await storedContent(second, everything)).size).toBe(2);
  });

  test('a meta.json without its files, which a store wrote late, is no block: it is brought anew, or goes after a day', async () => {
    const gateway = await startS3Gateway();
    const clock = new HandClock(Date.now());
    const store = await startAlone(gateway, {}, clock);
    const [held, foreign] = [await blockOf(3840), await blockOf(3842)];
    await putBuilt(store, held);
    await eventually(() => blocksIn(gateway)).toEqual(idsOf([held]));
    const folderOf = ({ meta }: BuiltBlock) =>
      path.join(gateway.bucketFolder, 'test/cluster/blocks/anonymous', meta.blockId);
    rmSync(path.join(folderOf(held), 'chunks'));
    mkdirSync(folderOf(foreign), { recursive: true });
    const meta = foreign.files.find(({ name }) => name === 'meta.json')!.path;
    copyFileSync(meta, path.join(folderOf(foreign), 'meta.json'));
    await eventually(() => existsSync(path.join(folderOf(held), 'chunks'))).toBe(true);
    expect(await coverageOf(store)).toMatchObject({ partitions: [{ complete: true }] });
    expect((await coverageOf(store)).missing).toBeUndefined();
    clock.wallMs += 2 * 24 * HOUR_MS;
    await eventually(() => blocksIn(gateway)).toEqual(idsOf([held]));
  });

  test('only the store whose turn it is removes', async () => {
    const gateway = await startS3Gateway();
    const cluster = await startBucketStores(gateway, ['a', 'b'], { retentionMs: 200 * HOUR_MS });
    cluster.control.isLeaseTaken = true;
    const [old, young] = [await blockOf(3840), await blockOf(3990)];
    for (const block of [old, young]) await cluster.ship(block);
    await eventually(() => blocksIn(gateway).toSorted()).toEqual(idsOf([old, young]));
    cluster.clock.wallMs += 100 * HOUR_MS;
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(blocksIn(gateway).toSorted()).toEqual(idsOf([old, young]));
    cluster.control.isLeaseTaken = false;
    await eventually(() => blocksIn(gateway)).toEqual(idsOf([young]));
  });

  test('merged and rewritten blocks take the place of their sources; a copy from them is the same', async () => {
    const gateway = await startS3Gateway();
    const options = { compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS], bucketDeleteGraceMs: 500 };
    const first = await startAlone(gateway, options, new HandClock(3841 * HOUR_MS));
    const blocks = [await blockOf(3840), await blockOf(3842), await blockOf(3844)];
    for (const block of blocks) await putBuilt(first, block);
    await eventually(() => blocksIn(gateway).toSorted()).toEqual(idsOf(blocks));
    const before = await unitedContentOf([first]);
    first.clock.wallMs = NOW_MS;
    await eventually(() => blocksIn(gateway).length).toBeGreaterThan(3);
    await eventually(() => blocksIn(gateway).length).toBe(1);
    expect(idsOf(blocks)).not.toContain(blocksIn(gateway)[0]);
    await first.client.deleteSeries(deleteRequest('a'), { signal });
    await first.client.cleanTombstones({ tenant: 'anonymous', actor: 'test' }, { signal });
    const rewritten = (await first.client.listBlocks({ tenant: '' }, { signal })).blocks.map(
      ({ blockId }) => blockId,
    );
    await eventually(() => blocksIn(gateway)).toEqual(rewritten);
    // Nothing of what went lies about.
    await eventually(() => objectsIn(gateway).length).toBe(3);
    await first.store.stop();
    const second = await startAlone(gateway, options);
    await eventually(async () => (await storedContent(second, everything)).size).toBe(1);
    const [kept] = await unitedContentOf([second]);
    expect(kept![1]).toEqual(before.get(kept![0]));
  });

  test('retention counts there as it does here', async () => {
    const gateway = await startS3Gateway();
    const first = await startAlone(gateway, { retentionMs: 200 * HOUR_MS, retentionCheckMs: 20 });
    const [old, young] = [await blockOf(3840), await blockOf(3990)];
    for (const block of [old, young]) await putBuilt(first, block);
    await eventually(() => blocksIn(gateway).toSorted()).toEqual(idsOf([old, young]));
    first.clock.wallMs = NOW_MS + 100 * HOUR_MS;
    await eventually(() => blocksIn(gateway)).toEqual(idsOf([young]));
    await eventually(() => objectsIn(gateway).length).toBe(3);
    await first.store.stop();
    // Blocks whose time is over go even if nobody has them any more.
    const second = await startAlone(
      gateway,
      { retentionMs: HOUR_MS, retentionCheckMs: 20 },
      new HandClock(NOW_MS + 1000 * HOUR_MS),
    );
    await eventually(() => objectsIn(gateway)).toEqual([]);
    expect(await storedContent(second, everything)).toEqual(new Map());
  });

  test('what an upload left that broke off is no block, and goes after a day', async () => {
    const gateway = await startS3Gateway();
    const folders = ['1', '2'].map((digit) =>
      path.join(gateway.bucketFolder, 'test/cluster/blocks/anonymous', digit.repeat(32)),
    );
    for (const folder of folders) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(path.join(folder, 'chunks'), 'half of something');
    }
    const daysAgo = Date.now() / 1_000 - 2 * 86_400;
    utimesSync(path.join(folders[0]!, 'chunks'), daysAgo, daysAgo);
    const store = await startAlone(gateway, {}, new HandClock(Date.now()));
    await eventually(() => objectsIn(gateway)).toEqual([`anonymous/${'2'.repeat(32)}/chunks`]);
    expect(await coverageOf(store)).toEqual({ partitions: [] });
  });

  test('while the bucket is away stores take and answer as ever, and bring it all there afterwards', async () => {
    const gateway = await startS3Gateway();
    const cluster = await startBucketStores(gateway, ['a', 'b']);
    await gateway.stop();
    const blocks = [await blockOf(3840), await blockOf(3842, 1)];
    for (const block of blocks) await cluster.ship(block);
    expect((await unitedContent(cluster)).size).toBe(4);
    for (const node of cluster.nodes.values()) expect((await coverageOf(node)).missing).toBeUndefined();
    await gateway.start();
    await eventually(() => blocksIn(gateway).toSorted()).toEqual(idsOf(blocks));
  });

  test('a copy that is damaged on the disk is not brought there; a whole one from another store is', async () => {
    const gateway = await startS3Gateway();
    const cluster = await startBucketStores(gateway, ['a', 'b']);
    await gateway.stop();
    const block = await blockOf(3840);
    await cluster.ship(block);
    const keeper = new GroupPlacement(cluster.stores, 2).ownersOf(groupOf(block.meta))[0]!;
    const folder = path.join(cluster.node(keeper).dataDir, 'blocks/anonymous', block.meta.blockId);
    const bytes = readFileSync(path.join(folder, 'chunks'));
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(path.join(folder, 'chunks'), bytes);
    await gateway.start();
    await eventually(() => blocksIn(gateway)).toEqual(idsOf([block]));
    const there = path.join(
      gateway.bucketFolder,
      'test/cluster/blocks/anonymous',
      block.meta.blockId,
      'chunks',
    );
    const whole = block.files.find(({ name }) => name === 'chunks')!.path;
    expect(readFileSync(there).equals(readFileSync(whole))).toBe(true);
    expect(readFileSync(path.join(folder, 'chunks')).equals(readFileSync(whole))).toBe(true);
  });

  test('a store that joins copies from the others, not from the bucket; a block lost by all stores comes back from it', async () => {
    const gateway = await startS3Gateway();
    const cluster = await startBucketStores(gateway, ['a', 'b']);
    const block = await blockOf(3840);
    await cluster.ship(block);
    await eventually(() => blocksIn(gateway)).toEqual(idsOf([block]));
    const folderOf = (node: StoreNode) => path.join(node.dataDir, 'blocks/anonymous', block.meta.blockId);
    // Both copies rot at the same place.
    for (const node of cluster.nodes.values()) {
      const file = path.join(folderOf(node), 'chunks');
      const bytes = readFileSync(file);
      bytes.fill(0xaa, 100, 200);
      writeFileSync(file, bytes);
    }
    for (const node of cluster.nodes.values()) await storedContent(node, everything).catch(() => undefined);
    await eventually(async () => {
      const contents = await Promise.all(
        Array.from(cluster.nodes.values(), (node) => storedContent(node, everything).catch(() => new Map())),
      );
      return contents.map((content) => content.size);
    }).toEqual([2, 2]);
    for (const node of cluster.nodes.values()) {
      expect(existsSync(folderOf(node))).toBe(true);
      expect((await coverageOf(node)).missing).toBeUndefined();
    }
  });

  test('a bucket with the blocks of another cluster is left alone', async () => {
    const gateway = await startS3Gateway();
    const one = await startAlone(gateway, { clusterName: 'one' });
    const block = await blockOf(3840);
    await putBuilt(one, block);
    await eventually(() => blocksIn(gateway)).toEqual(idsOf([block]));
    const owner = path.join(gateway.bucketFolder, 'test/cluster/cluster.json');
    expect(JSON.parse(readFileSync(owner, 'utf8'))).toEqual({ version: 1, cluster: 'one' });
    await one.store.stop();
    const options = { ...QUICK, clusterName: 'two' };
    const two = await startStoreRig(one.dataDir, one.clock, options, undefined, objectStoreOf(gateway));
    onTestFinished(() => two.store.stop());
    await putBuilt(two, await blockOf(3842));
    const failures = 'tidemark_store_bucket_failures_total';
    await eventually(() => metricOf(two, failures)).toBeGreaterThan(2);
    expect(blocksIn(gateway)).toEqual(idsOf([block]));
    expect(JSON.parse(readFileSync(owner, 'utf8'))).toEqual({ version: 1, cluster: 'one' });
  });
});

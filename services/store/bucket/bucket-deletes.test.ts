// Deletes and stores with a bucket, over a real S3 API: what is hidden there is what is hidden here, and what is deleted does not come back from it.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  blockOf,
  blocksIn,
  deleteRequest,
  limited,
  metricOf,
  objectsIn,
  startAlone,
  startBucketStores,
} from '../../../test/support/bucket-stores.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { everything, HOUR_MS } from '../../../test/support/replicated-stores.ts';
import { hasS3Gateway, objectStoreOf, startS3Gateway } from '../../../test/support/s3-gateway.ts';
import type { StoreNode } from '../../../test/support/store-cluster.ts';
import { listedBlocks, putBuilt, type StoreRig, storedContent } from '../../../test/support/store-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import { renderDeletes } from '../../lib/objstore/block-bucket.ts';
import type { ObjectStore } from '../../lib/objstore/object-store.ts';

const signal = new AbortController().signal;

/** Job and samples of each series. */
const contentOf = async (rig: StoreRig) =>
  [...(await storedContent(rig, everything))].map(([series, { size }]) => [
    /job="(.)"/.exec(series)![1],
    size,
  ]);

describe.skipIf(!hasS3Gateway())('with a bucket', { timeout: 120_000 }, () => {
  test('deletes come back with the blocks, until they are undone', async () => {
    const gateway = await startS3Gateway();
    const first = await startAlone(gateway);
    const block = await blockOf(3840);
    await putBuilt(first, block);
    await eventually(() => blocksIn(gateway).length).toBe(1);
    const deletes = `anonymous/${block.meta.blockId}/deletes.json`;
    await first.client.deleteSeries(deleteRequest('a'), { signal });
    await eventually(() => objectsIn(gateway)).toContain(deletes);
    await first.store.stop();

    const second = await startAlone(gateway);
    const jobs = async (rig: StoreRig) =>
      [...(await storedContent(rig, everything)).keys()].map((text) => /job="(.)"/.exec(text)![1]);
    await eventually(() => jobs(second)).toEqual(['b']);
    const { deleteId } = deleteRequest('a');
    expect(
      await second.client.undoDelete({ tenant: 'anonymous', deleteId, actor: 'test' }, { signal }),
    ).toEqual({ undone: true });
    // The object stays, since nothing is removed but whole blocks: it says that nothing is hidden.
    const file = path.join(gateway.bucketFolder, 'test/cluster/blocks', deletes);
    await eventually(() => readFileSync(file, 'utf8')).toMatch(/"tombstones":\s*\[\]/);
    await second.store.stop();
    const third = await startAlone(gateway);
    await eventually(() => jobs(third)).toEqual(['a', 'b']);
  });

  test('what a store holds merged and hides in part does not come back from the parts (simulation, seed 1426 with deletes)', async () => {
    const gateway = await startS3Gateway();
    const cluster = await startBucketStores(gateway, [], { deleteDelayMs: 1e9 });
    let isThere = true;
    cluster.objects = limited(objectStoreOf(gateway), () => isThere);
    const x = await cluster.start('x', { compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS] });
    const blocks = [await blockOf(3840), await blockOf(3842)] as const;
    for (const block of blocks) await putBuilt(x, block);
    await eventually(() => blocksIn(gateway).length).toBe(2);
    // There it stays as it is: two blocks without deletes.
    isThere = false;
    cluster.clock.wallMs += 24 * HOUR_MS;
    await eventually(async () => (await listedBlocks(x)).length).toBe(1);

    // The other one has the second block and does the delete. It sees what is in the bucket, and can copy from nowhere before.
    let isCopying = false;
    const looks = ['list', 'get', 'statOf', 'digestOf'];
    const isAnswered = (method: string) => looks.includes(method) || (isCopying && method === 'read');
    cluster.objects = limited(objectStoreOf(gateway), isAnswered);
    const pullBlock: StoreNode['replication']['pullBlock'] = () => {
      throw new AppError('unavailable', 'not yet');
    };
    cluster.meddle = (client) => (isCopying ? client : { ...client, pullBlock });
    const y = await cluster.start('y');
    await putBuilt(y, blocks[1]);
    for (const { client } of [x, y]) await client.deleteSeries(deleteRequest('a'), { signal });
    isCopying = true;
    await eventually(() => contentOf(y)).toEqual([['b', 200]]);
  });

  test.each([
    ['by one that did the delete as well', 'y'],
    ['by one that came after it', 'z'],
  ])(
    'what a store merged and hid while the bucket could not be written is hidden in the parts when that store is gone and they are taken %s',
    async (_, taker) => {
      const gateway = await startS3Gateway();
      const cluster = await startBucketStores(gateway, [], { deleteDelayMs: 1e9 });
      let isWritable = true;
      const looks = ['list', 'get', 'statOf', 'digestOf'];
      const objectsOf = (instance: string) =>
        limited(
          objectStoreOf(gateway),
          (method) => isWritable || looks.includes(method) || (method === 'read' && instance === taker),
        );
      cluster.objects = objectsOf('x');
      const x = await cluster.start('x', { compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS] });
      for (const hour of [3840, 3842]) await putBuilt(x, await blockOf(hour));
      await eventually(() => blocksIn(gateway).length).toBe(2);
      isWritable = false;
      cluster.clock.wallMs += 24 * HOUR_MS;
      await eventually(async () => (await listedBlocks(x)).length).toBe(1);

      // Another one has seen what is in the bucket, and has nothing of it.
      const pullBlock: StoreNode['replication']['pullBlock'] = () => {
        throw new AppError('unavailable', 'not yet');
      };
      cluster.meddle = (client, instance) => (instance === 'x' ? { ...client, pullBlock } : client);
      cluster.objects = objectsOf('y');
      const y = await cluster.start('y');
      await eventually(() => metricOf(y, 'tidemark_store_bucket_blocks')).toBe(2);
      for (const { client } of [x, y]) await client.deleteSeries(deleteRequest('a'), { signal });
      await cluster.stop('x');
      rmSync(x.dataDir, { recursive: true });
      cluster.objects = objectsOf('z');
      const node = taker === 'y' ? y : await cluster.start(taker);
      await eventually(() => contentOf(node)).toEqual([['b', 200]]);
    },
  );

  test('deletes that a store writes late, by what it knew when it was stopped, are put right', async () => {
    const gateway = await startS3Gateway();
    const store = await startAlone(gateway);
    const block = await blockOf(3840);
    await putBuilt(store, block);
    await eventually(() => blocksIn(gateway).length).toBe(1);
    const folder = path.join(gateway.bucketFolder, 'test/cluster/blocks/anonymous', block.meta.blockId);
    const file = path.join(folder, 'deletes.json');
    await store.client.deleteSeries(deleteRequest('a'), { signal });
    await eventually(() => existsSync(file) && readFileSync(file, 'utf8')).toContain(
      deleteRequest('a').deleteId,
    );
    const right = readFileSync(file, 'utf8');
    const objects = objectStoreOf(gateway);
    const key = `blocks/anonymous/${block.meta.blockId}/deletes.json`;
    for (const late of [renderDeletes(block.meta, []), undefined]) {
      if (late === undefined) await objects.remove(key, { leftMs: () => 30_000 }, signal);
      else await objects.put(key, Buffer.from(late), signal);
      await eventually(() => existsSync(file) && readFileSync(file, 'utf8')).toBe(right);
    }
  });

  test('a block that is rewritten while deletes are compared stays hidden there until it is removed', async () => {
    const gateway = await startS3Gateway();
    const objects = objectStoreOf(gateway);
    let rewrite: (() => Promise<unknown>) | undefined;
    const watched: ObjectStore = new Proxy(objects, {
      get: (target, key) => {
        if (key !== 'put') {
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === 'function' ? value.bind(target) : value;
        }
        return async (...call: Parameters<ObjectStore['put']>) => {
          if (call[0].endsWith('/deletes.json')) await rewrite?.();
          await target.put(...call);
        };
      },
    });
    const store = await startAlone(gateway, { bucketDeleteGraceMs: 1e9 }, undefined, watched);
    const blocks = [await blockOf(3840), await blockOf(3842)];
    for (const block of blocks) await putBuilt(store, block);
    const files = blocks.map(({ meta }) =>
      path.join(gateway.bucketFolder, 'test/cluster/blocks/anonymous', meta.blockId, 'deletes.json'),
    );
    const { deleteId } = deleteRequest('a');
    const hidden = () =>
      files.map((file) => existsSync(file) && readFileSync(file, 'utf8').includes(deleteId));
    await store.client.deleteSeries(deleteRequest('a'), { signal });
    await eventually(hidden).toEqual([true, true]);
    let rewritten = 0;
    rewrite = async () => {
      rewrite = undefined;
      rewritten = (await store.client.cleanTombstones({ tenant: 'anonymous', actor: 'test' }, { signal }))
        .blocks;
    };
    // Of one of them something else has to be told there; both are rewritten in the middle of that.
    await store.client.deleteSeries(
      { ...deleteRequest('b'), deleteId: '5'.repeat(32), maxTimeMs: 3841 * HOUR_MS },
      { signal },
    );
    await eventually(() => blocksIn(gateway).length).toBe(3);
    expect(rewritten).toBe(2);
    expect(hidden()).toEqual([true, true]);
  });
});

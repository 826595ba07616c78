// Stores with a bucket, over a real S3 API: each block is there once and whole, stores that have nothing else find everything there, and what is
// deleted, merged or too old does not come back from it.
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { buildBlock, temporaryFolder } from '../../../test/support/blocks.ts';
import {
  hasS3Gateway,
  objectStoreOf,
  type S3Gateway,
  startS3Gateway,
} from '../../../test/support/s3-gateway.ts';
import { seriesOf, type TestSample } from '../../../test/support/sample-blocks.ts';
import { StoreCluster, type StoreNode } from '../../../test/support/store-cluster.ts';
import {
  HandClock,
  listedBlocks,
  putBuilt,
  type StoreRig,
  startStoreRig,
  storedContent,
} from '../../../test/support/store-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import { Labels } from '../../lib/model/labels.ts';
import { renderDeletes } from '../../lib/objstore/block-bucket.ts';
import type { ObjectStore } from '../../lib/objstore/object-store.ts';
import { GroupPlacement, groupOf } from '../../lib/placement/block-groups.ts';
import type { BuiltBlock } from '../../lib/tsdb/block/block-writer.ts';
import { type Coverage, MatchType, type WireSelectRequest } from '../../lib/wire/contracts.ts';
import type { StoreOptions } from '../options.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = 4000 * HOUR_MS;
const signal = new AbortController().signal;
const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 30_000, interval: 20 });
const QUICK: Partial<StoreOptions> = {
  ...{ bucketListIntervalMs: 100, bucketDeleteGraceMs: 200, repairIntervalMs: 20, scrubPeriodMs: 0 },
};

async function startStores(
  gateway: S3Gateway,
  instances: readonly string[],
  options: Partial<StoreOptions> = {},
): Promise<StoreCluster> {
  const folder = await temporaryFolder();
  const cluster = new StoreCluster(folder.path, new HandClock(NOW_MS), 2, { ...QUICK, ...options });
  cluster.objects = objectStoreOf(gateway);
  onTestFinished(async () => {
    await cluster.stopAll();
    await folder[Symbol.asyncDispose]();
  });
  for (const instance of instances) await cluster.start(instance);
  return cluster;
}

/** A store that has no others. */
async function startAlone(
  gateway: S3Gateway,
  options: Partial<StoreOptions> = {},
  clock = new HandClock(NOW_MS),
  objects = objectStoreOf(gateway),
) {
  const folder = await temporaryFolder();
  const dataDir = path.join(folder.path, 'data');
  const rig = await startStoreRig(dataDir, clock, { ...QUICK, ...options }, undefined, objects);
  onTestFinished(async () => {
    await rig.store.stop();
    await folder[Symbol.asyncDispose]();
  });
  return { ...rig, dataDir, clock };
}

/** A block of two series of one partition, `samples` of each, half a minute apart. */
async function blockOf(hour: number, partition = 0, samples = 100): Promise<BuiltBlock> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const words = new Uint32Array(Float64Array.of(hour * 100 + partition + 0.1).buffer);
  const series = ['a', 'b'].map((job) => {
    const labels = Labels.from([
      ['__name__', 'up'],
      ['job', job],
      ['partition', `${partition}`],
    ]);
    const points = Array.from(
      { length: samples },
      (_, i): TestSample => [hour * HOUR_MS + i * 30_000, Math.imul(i + 1, 0x9e3779b1) >>> 0, words[1]!],
    );
    return { ...seriesOf(labels, points, 40), partition };
  });
  return buildBlock(path.join(folder.path, 'built'), series);
}

/** Files in the bucket below the prefix. */
const objectsIn = ({ bucketFolder }: S3Gateway): string[] =>
  globSync('**/*', { cwd: path.join(bucketFolder, 'test/cluster/blocks'), withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      path.relative(path.join(bucketFolder, 'test/cluster/blocks'), path.join(entry.parentPath, entry.name)),
    )
    .toSorted();

/** Ids of the blocks that are in the bucket. */
const blocksIn = (gateway: S3Gateway): string[] =>
  objectsIn(gateway)
    .filter((name) => name.endsWith('/meta.json'))
    .map((name) => name.split('/')[1]!);

const idsOf = (blocks: readonly BuiltBlock[]): string[] => blocks.map(({ meta }) => meta.blockId).toSorted();

async function coverageOf({ client }: StoreRig, change: Partial<WireSelectRequest> = {}): Promise<Coverage> {
  let found: Coverage | undefined;
  for await (const { coverage } of client.select(
    {
      ...{ tenant: 'anonymous', matchers: everything, minTimeMs: -1e15, maxTimeMs: 1e15 },
      ...{ labelsOnly: false, partitions: [], seriesMax: 0, ...change },
    },
    { signal },
  ))
    found = coverage ?? found;
  return found!;
}

async function metricOf({ registry }: StoreRig, name: string): Promise<number> {
  const { values } = await registry.getSingleMetric(name)!.get();
  return values.reduce((sum, { value }) => sum + value, 0);
}

/** Object storage of which only some calls are answered. */
function limited(objects: ObjectStore, isAnswered: (method: string) => boolean): ObjectStore {
  return new Proxy(objects, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...call: unknown[]): unknown => {
        if (!isAnswered(String(key))) throw new AppError('unavailable', `no ${String(key)} now`);
        return Reflect.apply(value, target, call);
      };
    },
  });
}

const deleteRequest = (job: string) => ({
  ...{
    tenant: 'anonymous',
    deleteId: job.charCodeAt(0).toString(16).padStart(32, '0'),
    actor: 'test',
    createdAtMs: NOW_MS,
  },
  matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: job }],
  ...{ minTimeMs: -1e15, maxTimeMs: 1e15, seriesMax: 0 },
});

async function unitedContent(nodes: Iterable<StoreRig>): Promise<Map<string, Map<number, string>>> {
  const united = new Map<string, Map<number, string>>();
  for (const node of nodes) {
    for (const [series, samples] of await storedContent(node, everything)) {
      const known = united.get(series) ?? new Map<number, string>();
      for (const [timeMs, bits] of samples) known.set(timeMs, bits);
      united.set(series, known);
    }
  }
  return united;
}

describe.skipIf(!hasS3Gateway())('with a bucket', { timeout: 120_000 }, () => {
  test('each block is brought there once, whole; stores with empty disks find everything there', async () => {
    const gateway = await startS3Gateway();
    const first = await startStores(gateway, ['a', 'b', 'c']);
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
    const before = await unitedContent(first.nodes.values());
    await first.stopAll();

    const second = await startStores(gateway, ['x', 'y']);
    await eventually(async () => (await unitedContent(second.nodes.values())).size).toBe(before.size);
    await eventually(async () => missingOf(second)).toBe(0);
    expect(await unitedContent(second.nodes.values())).toEqual(before);
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
    const first = await startStores(gateway, ['x', 'y']);
    const block = await blockOf(3840);
    await first.ship(block);
    await eventually(() => blocksIn(gateway).length).toBe(1);
    await first.stopAll();

    const second = await startStores(gateway, []);
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
    const cluster = await startStores(gateway, [], { deleteDelayMs: 1e9 });
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
    const content = async () =>
      [...(await storedContent(y, everything))].map(([series, { size }]) => [
        /job="(.)"/.exec(series)![1],
        size,
      ]);
    await eventually(content).toEqual([['b', 200]]);
  });

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
    const cluster = await startStores(gateway, ['a', 'b'], { retentionMs: 200 * HOUR_MS });
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
    const before = await unitedContent([first]);
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
    const [kept] = await unitedContent([second]);
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
    const cluster = await startStores(gateway, ['a', 'b']);
    await gateway.stop();
    const blocks = [await blockOf(3840), await blockOf(3842, 1)];
    for (const block of blocks) await cluster.ship(block);
    expect((await unitedContent(cluster.nodes.values())).size).toBe(4);
    for (const node of cluster.nodes.values()) expect((await coverageOf(node)).missing).toBeUndefined();
    await gateway.start();
    await eventually(() => blocksIn(gateway).toSorted()).toEqual(idsOf(blocks));
  });

  test('a copy that is damaged on the disk is not brought there; a whole one from another store is', async () => {
    const gateway = await startS3Gateway();
    const cluster = await startStores(gateway, ['a', 'b']);
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
    const cluster = await startStores(gateway, ['a', 'b']);
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

// The store through its contract: what it answers, and how long it keeps it (test/support/store-world.ts).
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { CollectingSink } from '../../test/support/blocks.ts';
import { eventually } from '../../test/support/eventually.ts';
import {
  everything,
  HOUR_MS,
  labels,
  listIds,
  put,
  select,
  signal,
  useStoreWorld,
} from '../../test/support/store-world.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import { MatchType, StoreDefinition } from '../lib/wire/contracts.ts';
import { readSeriesFrame } from '../lib/wire/frames/series-frame.ts';
import { createStore } from './service.ts';

const world = useStoreWorld();
const { startStore, passTime, dataDir, twoHours } = world;

test('a block that was put is listed, selected, and fetched byte for byte', async () => {
  const one = await startStore();
  const block = await twoHours(10 * HOUR_MS);
  expect(await put(one, block)).toEqual({ existed: false });
  expect(await put(one, block)).toEqual({ existed: true });
  const { blocks } = await one.client.listBlocks({ tenant: 'anonymous' }, { signal });
  expect(blocks).toEqual([
    {
      tenant: 'anonymous',
      blockId: block.meta.blockId,
      minTimeMs: 10 * HOUR_MS,
      maxTimeMs: 12 * HOUR_MS - 15_000,
      series: 4,
      samples: 1920,
      chunks: 4,
      sizeBytes: block.meta.files.index.sizeBytes + block.meta.files.chunks.sizeBytes,
      partitions: [0, 1, 2],
    },
  ]);
  const { series, coverage } = await select(one);
  expect(series.map(({ labels }) => labels.get('instance'))).toEqual([
    'host-0',
    'host-1',
    'host-2',
    'host-3',
  ]);
  expect(series[2]!.chunks[0]!.bytes).toEqual(
    Uint8Array.from(
      createHash('sha512')
        .update(`${10 * HOUR_MS} 2`)
        .digest(),
    ),
  );
  expect(coverage!.partitions).toEqual(
    [0, 1, 2].map((partition) => ({
      partition,
      minTimeMs: 10 * HOUR_MS,
      maxTimeMs: 12 * HOUR_MS - 15_000,
      complete: true,
    })),
  );
  const second = createStore(
    { dataDir: path.join(world.folder, 'second'), retentionMs: 0, retentionBytes: 0 },
    { clock: world.clock, logger: createSilentLogger(), registry: new Registry() },
  );
  await mkdir(path.join(world.folder, 'second'));
  await second.start();
  const client = createInProcessClient(StoreDefinition, second.handlers);
  world.running.push({ store: second, client, registry: new Registry() });
  const { tenant, blockId } = block.meta;
  await client.putBlock(one.client.fetchBlock({ tenant, blockId }, { signal }), { signal });
  for (const { name, path: source } of block.files) {
    const copy = path.join(world.folder, 'second', 'blocks', tenant, blockId, name);
    expect((await readFile(copy)).equals(await readFile(source))).toBe(true);
  }
});

test('selects unite blocks, filter by partition and time, and keep tenants apart', async () => {
  const one = await startStore();
  for (const startHour of [10, 12, 14]) await put(one, await twoHours(startHour * HOUR_MS));
  await put(one, await twoHours(10 * HOUR_MS, 2, 'other'));
  expect((await select(one)).series).toHaveLength(12);
  expect(await one.registry.getSingleMetricAsString('tidemark_store_selected_series_total')).toMatch(/ 12$/m);
  expect((await select(one, { minTimeMs: 12 * HOUR_MS, maxTimeMs: 13 * HOUR_MS })).series).toHaveLength(4);
  const first = await select(one, { partitions: [0], maxTimeMs: 11 * HOUR_MS });
  expect(first.series.map(({ labels }) => labels.get('instance'))).toEqual(['host-0', 'host-3']);
  expect(first.coverage!.partitions.map(({ partition }) => partition)).toEqual([0]);
  const names = await select(one, { labelsOnly: true, maxTimeMs: 11 * HOUR_MS });
  expect(names.series.map(({ chunks }) => chunks)).toEqual([[], [], [], []]);
  expect((await select(one, { tenant: 'other' })).series).toHaveLength(2);
  const nobody = await select(one, { tenant: 'nobody' });
  expect(nobody).toEqual({ series: [], coverage: { partitions: [] } });
});

test('the series limit counts distinct series over blocks, and names itself', async () => {
  const one = await startStore({ seriesMax: 4 });
  for (const startHour of [10, 12]) await put(one, await twoHours(startHour * HOUR_MS));
  expect((await select(one)).series).toHaveLength(8);
  await expect(select(one, { seriesMax: 3 })).rejects.toMatchObject({
    code: 'execution',
    message: expect.stringMatching(/3 series/),
  });
  await put(one, await twoHours(14 * HOUR_MS, 5));
  await expect(select(one)).rejects.toMatchObject({
    code: 'execution',
    message: expect.stringMatching(/4 series/),
  });
  expect(await one.registry.getSingleMetricAsString('tidemark_store_series_limit_hits_total')).toMatch(
    / 2$/m,
  );
});

test('label names and values, with matchers and limits', async () => {
  const one = await startStore();
  await put(one, await twoHours(10 * HOUR_MS, 3));
  await put(one, await twoHours(12 * HOUR_MS, 5));
  const ask = async (labelName: string, change = {}) => {
    const { values, truncated } = await labels(one, { labelName, ...change });
    return { values, truncated };
  };
  expect(await ask('')).toEqual({ values: ['__name__', 'instance'], truncated: false });
  const hosts = ['host-0', 'host-1', 'host-2', 'host-3', 'host-4'];
  expect(await ask('instance')).toEqual({ values: hosts, truncated: false });
  expect(await ask('instance', { limit: 5 })).toEqual({ values: hosts, truncated: false });
  expect(await ask('instance', { limit: 4 })).toEqual({ values: hosts.slice(0, 4), truncated: true });
  expect((await ask('instance', { maxTimeMs: 11 * HOUR_MS })).values).toEqual(hosts.slice(0, 3));
  const matchers = [{ type: MatchType.MATCH_TYPE_REGEX, name: 'instance', value: 'host-[24]' }];
  expect((await ask('instance', { matchers })).values).toEqual(['host-2', 'host-4']);
});

test('retention by time follows the clock', async () => {
  const one = await startStore({ retentionMs: 24 * HOUR_MS, retentionCheckMs: 60_000 });
  for (const startHour of [74, 90]) await put(one, await twoHours(startHour * HOUR_MS));
  // Now is hour 100: the first block ends 24 h 15 s before it.
  await passTime(60_000);
  await eventually(() => listIds(one)).toHaveLength(1);
  expect((await select(one)).series).toHaveLength(4);
  await passTime(15 * HOUR_MS);
  // Asleep again: it has looked, and left the second block.
  await eventually(() => world.clock.sleeping).toBe(2);
  expect(await listIds(one)).toHaveLength(1);
  await passTime(HOUR_MS);
  await eventually(() => listIds(one)).toEqual([]);
  await eventually(() => readdir(dataDir('blocks', 'anonymous'))).toEqual([]);
  await eventually(() => one.registry.getSingleMetricAsString('tidemark_store_blocks_deleted_total')).toMatch(
    /reason="time"} 2/,
  );
});

test('retention by size deletes the oldest until the rest fits', async () => {
  const blocks = [];
  for (const startHour of [90, 92, 94]) blocks.push(await twoHours(startHour * HOUR_MS, 50));
  const sizes = blocks.map(({ meta }) => meta.files.index.sizeBytes + meta.files.chunks.sizeBytes);
  const one = await startStore({ retentionBytes: sizes[1]! + sizes[2]! });
  for (const block of blocks) await put(one, block);
  await passTime(60_000);
  await eventually(() => listIds(one)).toEqual([blocks[1]!.meta.blockId, blocks[2]!.meta.blockId]);
});

test('a block that is being read outlives its retention until the read is done', async () => {
  const one = await startStore({ retentionMs: 24 * HOUR_MS });
  const block = await twoHours(80 * HOUR_MS, 20_000);
  await put(one, block);
  const sink = new CollectingSink();
  const dir = dataDir('blocks', 'anonymous', block.meta.blockId);
  let frames = 0;
  for await (const { frame } of one.client.select(everything, { signal })) {
    readSeriesFrame(frame, sink);
    if (frames++ > 0) continue;
    await passTime(1000 * HOUR_MS);
    await eventually(() => listIds(one)).toEqual([]);
    expect(existsSync(dir)).toBe(true);
  }
  expect(frames).toBeGreaterThan(1);
  expect(sink.series).toHaveLength(20_000);
  await eventually(() => existsSync(dir)).toBe(false);
});

test('more blocks than may stay open are all readable', async () => {
  const one = await startStore({ openBlocksMax: 1 });
  for (const startHour of [10, 12, 14, 16]) await put(one, await twoHours(startHour * HOUR_MS));
  for (let round = 0; round < 3; round++) expect((await select(one)).series).toHaveLength(16);
});

test('malformed requests are the caller’s errors', async () => {
  const one = await startStore();
  await put(one, await twoHours(10 * HOUR_MS));
  await expect(select(one, { matchers: [] })).rejects.toMatchObject({ code: 'bad_data' });
  await expect(select(one, { tenant: '' })).rejects.toMatchObject({ code: 'bad_data' });
  const malformed = [{ type: MatchType.MATCH_TYPE_REGEX, name: 'a', value: '(' }];
  await expect(select(one, { matchers: malformed })).rejects.toMatchObject({ code: 'bad_data' });
  const fetch = one.client.fetchBlock({ tenant: '..', blockId: 'x' }, { signal })[Symbol.asyncIterator]();
  await expect(fetch.next()).rejects.toMatchObject({ code: 'not_found' });
});

test('a drained store takes no calls, a stopped one ends what runs', async () => {
  const one = await startStore();
  await put(one, await twoHours(10 * HOUR_MS, 5000));
  const messages = one.client.select({ ...everything }, { signal })[Symbol.asyncIterator]();
  await messages.next();
  const drained = one.store.drain();
  expect(one.store.isReady()).toBe(false);
  await expect(select(one)).rejects.toMatchObject({ code: 'unavailable' });
  await messages.return?.();
  await drained;
  await one.store.stop();
  await one.store.stop();
});

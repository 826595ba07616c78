// Stores that share blocks out among themselves: one joins, leaves, dies, loses a block, gets a damaged one. After each of it every
// block is on as many stores as it should be, on those that should have it, and every answer is what it was.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
import {
  blockOf,
  everything,
  fill,
  HOUR_MS,
  holders,
  misplaced,
  NOW_MS,
  startStores,
  unitedContent,
} from '../../../test/support/replicated-stores.ts';
import type { Meddle, StoreNode } from '../../../test/support/store-cluster.ts';
import { listedBlocks, putBuilt, storedContent } from '../../../test/support/store-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import { GroupPlacement, groupOf } from '../../lib/placement/block-groups.ts';
import type { BuiltBlock } from '../../lib/tsdb/block/block-writer.ts';
import type { PutBlockRequest } from '../../lib/wire/contracts.ts';

const signal = new AbortController().signal;

const statusOf = (node: StoreNode) => node.replication.replicationStatus({}, { signal });
const counter = async (node: StoreNode, line: string): Promise<number> => {
  const text = await node.registry.metrics();
  const found = text.split('\n').find((each) => each.startsWith(`${line} `));
  return Number(found?.split(' ')[1] ?? Number.NaN);
};

test('two stores become four, and two again: each block moves to where it belongs, and no answer changes', async () => {
  const cluster = await startStores(['s-0', 's-1']);
  const blocks = await fill(cluster);
  const before = await unitedContent(cluster);
  expect(before.size).toBe(64);
  await cluster.start('s-2');
  await cluster.start('s-3');
  await eventually(() => misplaced(cluster, blocks)).toEqual([]);
  expect(await unitedContent(cluster)).toEqual(before);
  const given = await counter(cluster.node('s-0'), 'tidemark_store_surplus_deleted_total');
  expect(given).toBeGreaterThan(0);

  for (const instance of ['s-3', 's-2']) {
    await cluster.leave(instance);
    await eventually(async () => (await listedBlocks(cluster.node(instance))).length).toBe(0);
    expect(await unitedContent(cluster)).toEqual(before);
    await cluster.stop(instance);
    // Nothing is lost without it, and nobody waits for it.
    await eventually(() => cluster.stores.map((store) => store.instance)).not.toContain(instance);
  }
  expect(cluster.stores.map(({ instance }) => instance)).toEqual(['s-0', 's-1']);
  await eventually(() => misplaced(cluster, blocks)).toEqual([]);
  expect(await unitedContent(cluster)).toEqual(before);
});

test('blocks of a store that died are rebuilt on the others after the delay, and it is forgotten then', async () => {
  const cluster = await startStores(['s-0', 's-1', 's-2']);
  const blocks = await fill(cluster);
  const before = await unitedContent(cluster);
  await cluster.stop('s-1');
  await eventually(() => cluster.stores.map(({ instance }) => instance)).toEqual(['s-0', 's-2']);
  expect(await misplaced(cluster, blocks)).toEqual([]);
  expect(await unitedContent(cluster)).toEqual(before);
  // It comes back with what it had: nothing is there twice in the end.
  await cluster.start('s-1');
  await eventually(() => misplaced(cluster, blocks)).toEqual([]);
  expect(await unitedContent(cluster)).toEqual(before);
});

test('two of three stores gone at once: nobody decides that their blocks are lost, and what is left is copied', async () => {
  const cluster = await startStores(['s-0', 's-1', 's-2', 's-3']);
  await fill(cluster);
  await cluster.stop('s-1');
  await cluster.stop('s-2');
  await eventually(async () => (await statusOf(cluster.node('s-0'))).settledWithout).toEqual(['s-1', 's-2']);
  await eventually(async () => (await statusOf(cluster.node('s-3'))).settledWithout).toEqual(['s-1', 's-2']);
  const [first, second] = await Promise.all([
    listedBlocks(cluster.node('s-0')),
    listedBlocks(cluster.node('s-3')),
  ]);
  expect(first.map(({ blockId }) => blockId)).toEqual(second.map(({ blockId }) => blockId));
  expect(cluster.stores).toHaveLength(4);
});

test('a damaged block is found by the scrub, set aside and copied back; answers stay whole', async () => {
  const cluster = await startStores(['s-0', 's-1'], { scrubPeriodMs: 1 });
  const blocks = await fill(cluster, [3840]);
  const before = await unitedContent(cluster);
  const { blockId } = blocks[3]!.meta;
  const node = cluster.node('s-0');
  const file = path.join(node.dataDir, 'blocks', 'anonymous', blockId, 'chunks');
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 4;
  writeFileSync(file, bytes);
  cluster.clock.wallMs += 10;
  await eventually(() => counter(node, 'tidemark_store_scrub_corrupt_total')).toBe(1);
  await eventually(() => misplaced(cluster, blocks)).toEqual([]);
  expect(existsSync(path.join(node.dataDir, 'blocks-quarantine', 'anonymous', blockId, 'chunks'))).toBe(true);
  expect(readFileSync(file).equals(bytes)).toBe(false);
  expect(await storedContent(node, everything)).toEqual(before);
  expect(await counter(node, 'tidemark_store_quarantined_blocks')).toBe(0);
  // Every flipped byte would have been seen: all bytes of all blocks were read.
  const size = (await listedBlocks(node)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  expect(await counter(node, 'tidemark_store_scrubbed_bytes_total')).toBeGreaterThanOrEqual(size);
});

test('a copy that breaks off goes on where it was, also after a restart, and is invisible until it is whole', async () => {
  const cluster = await startStores(['s-0']);
  const block = await blockOf(3840, 1, 30_000);
  const total = block.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  expect(total).toBeGreaterThan(700_000);
  await cluster.ship(block);
  let sent = 0;
  let isCut = true;
  const skipped: number[] = [];
  async function* meddled(source: AsyncIterable<PutBlockRequest>, skipBytes: number) {
    skipped.push(skipBytes);
    for await (const message of source) {
      const length = message.part?.$case === 'piece' ? message.part.value.bytes.length : 0;
      if (isCut && skipBytes + sent + length > total / 2) throw new AppError('unavailable', 'cut');
      sent += length;
      yield message;
    }
  }
  cluster.meddle = (client) => ({
    ...client,
    pullBlock: (request, context) => meddled(client.pullBlock(request, context), request.skipBytes),
  });
  const second = await cluster.start('s-1');
  await eventually(() => counter(second, 'tidemark_store_block_copies_total{result="failed"}')).toBe(1);
  expect(await listedBlocks(second)).toEqual([]);
  const partial = path.join(second.dataDir, 'blocks-partial', 'anonymous', block.meta.blockId);
  expect(readdirSync(partial).toSorted()).toEqual(['chunks', 'index', 'meta.json']);
  await cluster.stop('s-1');
  isCut = false;
  const again = await cluster.start('s-1');
  await eventually(async () => (await listedBlocks(again)).length).toBe(1);
  expect(skipped).toEqual([0, expect.toSatisfy((bytes: number) => bytes > 0)]);
  expect(sent).toBe(total);
  expect(await storedContent(again, everything)).toEqual(
    await storedContent(cluster.node('s-0'), everything),
  );
  await eventually(() => existsSync(path.join(again.dataDir, 'blocks-partial'))).toBe(false);
});

test('bytes that are damaged on the way or at the source are never taken over', async () => {
  const cluster = await startStores(['s-0', 's-1']);
  const block = await blockOf(3840, 1);
  const away: Meddle = (client) => ({
    ...client,
    inventory: () => {
      throw new AppError('unavailable', 'away');
    },
  });
  // Nobody copies what is shipped to him a moment later.
  cluster.meddle = away;
  await cluster.ship(block);
  const damaged = cluster.node('s-0');
  const file = path.join(damaged.dataDir, 'blocks', 'anonymous', block.meta.blockId, 'chunks');
  const bytes = readFileSync(file);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(file, bytes);
  // Owners change until the newcomer is one: it can only copy from the damaged store, then from the sound one.
  let isOnlyDamaged = true;
  cluster.meddle = (client, instance) =>
    instance === 's-1' && isOnlyDamaged ? away(client, instance) : client;
  const newcomer = await cluster.start('s-2');
  const isOwner = new GroupPlacement(cluster.stores, 2).ownersOf(groupOf(block.meta)).includes('s-2');
  if (!isOwner) await cluster.leave(new GroupPlacement(cluster.stores, 2).ownersOf(groupOf(block.meta))[0]!);
  await eventually(() =>
    counter(newcomer, 'tidemark_store_block_copies_total{result="failed"}'),
  ).toBeGreaterThan(0);
  expect(await listedBlocks(newcomer)).toEqual([]);
  isOnlyDamaged = false;
  await eventually(async () => (await listedBlocks(newcomer)).length).toBe(1);
  const content = await storedContent(newcomer, everything);
  expect(content).toEqual(await storedContent(cluster.node('s-1'), everything));
  expect(await counter(damaged, 'tidemark_store_corrupt_blocks_total')).toBe(1);
}, 60_000);

test('a store that lost its disk says that its answers lack samples until its blocks are here again (simulation, seed 412)', async () => {
  const cluster = await startStores(['s-0', 's-1', 's-2'], { rebuildDelayMs: 600_000 });
  await fill(cluster);
  const missingAt = async (instance: string): Promise<string | undefined> => {
    const { client } = cluster.node(instance);
    const request = { tenant: 'anonymous', matchers: everything, minTimeMs: 0, maxTimeMs: NOW_MS };
    const rest = { labelsOnly: true, partitions: [], seriesMax: 0 };
    let missing: string | undefined;
    for await (const { coverage } of client.select({ ...request, ...rest }, { signal }))
      missing = coverage?.missing ?? missing;
    return missing;
  };
  const { dataDir } = cluster.node('s-1');
  await cluster.stop('s-1');
  rmSync(dataDir, { recursive: true });
  let isCopying = false;
  cluster.meddle = (client) => ({
    ...client,
    pullBlock: (request, context) => {
      if (!isCopying) throw new AppError('unavailable', 'not yet');
      return client.pullBlock(request, context);
    },
  });
  await cluster.start('s-1');
  expect(await missingAt('s-1')).toMatch(/the disk of this store was lost/);
  expect(await missingAt('s-0')).toBeUndefined();
  // It knows so after a restart; and what only a store has that is away is missing still.
  await cluster.stop('s-1');
  await cluster.stop('s-0');
  isCopying = true;
  await cluster.start('s-1');
  await eventually(async () => (await listedBlocks(cluster.node('s-1'))).length).toBeGreaterThan(1);
  expect(await missingAt('s-1')).toMatch(/the disk of this store was lost/);
  await cluster.start('s-0');
  await eventually(() => missingAt('s-1')).toBeUndefined();
  await cluster.stop('s-1');
  await cluster.start('s-1');
  expect(await missingAt('s-1')).toBeUndefined();
  // Nothing is missing where nothing was.
  await cluster.start('s-3');
  expect(await missingAt('s-3')).toBeUndefined();
});

test('stores that merge each in their own time do not copy from one another what they have', async () => {
  const merging = { compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS, 48 * HOUR_MS] };
  const cluster = await startStores(['s-0']);
  await cluster.start('s-1', merging);
  const blocks: BuiltBlock[] = [];
  for (const hour of [3840, 3842, 3844, 3846]) blocks.push(await blockOf(hour, 1));
  for (const block of blocks) await cluster.ship(block);
  const copied = async () => {
    const counts = Array.from(cluster.nodes.values(), (node) =>
      counter(node, 'tidemark_store_copied_bytes_total'),
    );
    return Promise.all(counts);
  };
  for (const node of cluster.nodes.values())
    await eventually(async () => (await statusOf(node)).moves).toEqual([]);
  const before = await copied();
  cluster.clock.wallMs += 24 * HOUR_MS;
  await eventually(async () => (await listedBlocks(cluster.node('s-1'))).length).toBe(1);
  await eventually(async () => (await statusOf(cluster.node('s-0'))).obstacle).toBe('');
  expect(await listedBlocks(cluster.node('s-0'))).toHaveLength(4);
  for (const node of cluster.nodes.values()) {
    expect((await statusOf(node)).missingBlocks).toBe(0);
  }
  expect(await copied()).toEqual(before);
  // A newcomer copies the merged block rather than its parts, once.
  await cluster.leave('s-0');
  const third = await cluster.start('s-2');
  await eventually(() => misplaced(cluster, blocks)).toEqual([]);
  expect(await counter(third, 'tidemark_store_block_copies_total{result="done"}')).toBe(1);
});

test('stores that hold the same samples, merged from other blocks, learn what they stand for and copy nothing', async () => {
  const merging = { compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS] };
  const cluster = await startStores([]);
  let isApart = true;
  cluster.meddle = (client) => ({
    ...client,
    inventory: (request, context) => {
      if (isApart) throw new AppError('unavailable', 'apart');
      return client.inventory(request, context);
    },
  });
  const first = await cluster.start('s-0', merging);
  const second = await cluster.start('s-1', merging);
  // The third block has half of the first one's samples: merged with them or not, the content is the same.
  const blocks = [await blockOf(3840, 1), await blockOf(3842, 1), await blockOf(3840, 1, 60, 30)];
  for (const block of blocks.slice(0, 2)) await putBuilt(first, block);
  for (const block of blocks) await putBuilt(second, block);
  cluster.clock.wallMs += 24 * HOUR_MS;
  for (const node of [first, second]) await eventually(async () => (await listedBlocks(node)).length).toBe(1);
  expect((await listedBlocks(first))[0]!.blockId).toBe((await listedBlocks(second))[0]!.blockId);
  expect((await misplaced(cluster, blocks)).length).toBe(1);
  isApart = false;
  await eventually(() => misplaced(cluster, blocks)).toEqual([]);
  await eventually(async () => (await statusOf(first)).missingBlocks).toBe(0);
  for (const node of [first, second])
    expect(await counter(node, 'tidemark_store_copied_bytes_total')).toBe(0);
  // It is written down.
  await cluster.stop('s-0');
  await cluster.start('s-0', merging);
  expect((await holders(cluster)).get('s-0')).toEqual((await holders(cluster)).get('s-1'));
});

test('what retention took here does not come back from a store whose turn is later', async () => {
  const cluster = await startStores(['s-0']);
  const old = await blockOf(3840, 1);
  await cluster.ship(old);
  const second = await cluster.start('s-1', { retentionMs: 24 * HOUR_MS, retentionCheckMs: 10 });
  const young = await blockOf(3990, 1);
  await cluster.ship(young);
  await eventually(async () => (await listedBlocks(second)).map(({ blockId }) => blockId)).toEqual([
    young.meta.blockId,
  ]);
  await eventually(async () => (await statusOf(second)).obstacle).toBe('');
  expect((await statusOf(second)).missingBlocks).toBe(0);
  // By size as well, of which the block itself says nothing.
  const third = await cluster.start('s-2', { retentionBytes: 1, retentionCheckMs: 10 });
  await cluster.leave('s-0');
  await eventually(() => counter(third, 'tidemark_store_blocks_deleted_total{reason="size"}')).toBe(2);
  await eventually(async () => (await statusOf(third)).missingBlocks).toBe(0);
  expect(await listedBlocks(third)).toEqual([]);
  expect(await counter(third, 'tidemark_store_block_copies_total{result="done"}')).toBe(2);
});

test('aggregates that outlive their samples are copied as well', async () => {
  const storagePolicy = {
    downsampling: [{ resolutionMs: 300_000, afterMs: 10 * HOUR_MS, retentionMs: 0 }],
    retention: [],
  };
  const aging = { storagePolicy, retentionMs: 48 * HOUR_MS, retentionCheckMs: 10 };
  const cluster = await startStores(['s-0'], aging);
  await cluster.ship(await blockOf(3840, 1));
  // The samples go by their retention once there are aggregates of them.
  await eventually(async () => (await listedBlocks(cluster.node('s-0'))).length).toBe(1);
  await eventually(() =>
    counter(cluster.node('s-0'), 'tidemark_store_blocks_deleted_total{reason="time"}'),
  ).toBe(1);
  const second = await cluster.start('s-1');
  await eventually(async () => (await listedBlocks(second)).map(({ blockId }) => blockId)).toEqual(
    (await listedBlocks(cluster.node('s-0'))).map(({ blockId }) => blockId),
  );
  expect(await listedBlocks(second)).toHaveLength(1);
});

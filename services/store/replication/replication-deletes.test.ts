// Deletes and stores that replicate: who was away does what it missed, nobody does what failed, and a block's deletes come along with it.
import { expect, test } from 'vitest';
import {
  blockOf,
  everything,
  fill,
  misplaced,
  NOW_MS,
  startStores,
  unitedContent,
} from '../../../test/support/replicated-stores.ts';
import type { StoreNode } from '../../../test/support/store-cluster.ts';
import { listedBlocks, storedContent } from '../../../test/support/store-rig.ts';
import { MatchType } from '../../lib/wire/contracts.ts';

const signal = new AbortController().signal;
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 30_000, interval: 20 });

test('a store that was given up does what was deleted meanwhile before it answers, and shows what came since', async () => {
  const cluster = await startStores(['s-0', 's-1', 's-2'], { deleteDelayMs: 1e9 });
  await fill(cluster);
  const before = await unitedContent(cluster);
  await cluster.stop('s-1');
  await eventually(() => cluster.stores.map(({ instance }) => instance)).toEqual(['s-0', 's-2']);
  const asked = { instances: ['s-0', 's-2'], epoch: cluster.control.placement()!.epoch };
  const request = {
    tenant: 'anonymous',
    minTimeMs: 0,
    maxTimeMs: NOW_MS,
    createdAtMs: NOW_MS,
    actor: 'test',
    asked,
  };
  const remove = (deleteId: string, i: string) =>
    Promise.all(
      asked.instances.map((instance) =>
        cluster
          .node(instance)
          .client.deleteSeries(
            { ...request, deleteId, matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'i', value: i }] },
            { signal },
          ),
      ),
    );
  await remove('a'.repeat(32), '3');
  // Of one of them nothing is left on their disks, of another only they know that it was taken back.
  for (const instance of asked.instances)
    await cluster.node(instance).client.cleanTombstones({ tenant: 'anonymous', actor: 'test' }, { signal });
  await remove('b'.repeat(32), '4');
  await remove('c'.repeat(32), '5');
  for (const instance of asked.instances)
    await cluster
      .node(instance)
      .client.undoDelete({ tenant: 'anonymous', deleteId: 'c'.repeat(32), actor: 'test' }, { signal });
  // The same series and times as before, written again.
  const again = await blockOf(3840, 1, 30);
  await cluster.ship(again);
  const expected = new Map([...before].filter(([series]) => !/i="[34]"/.test(series)));
  const isDeleted = (content: ReadonlyMap<string, unknown>) =>
    [...content.keys()].filter((series) => /i="[34]"/.test(series) && !series.includes('partition="1"'));
  const node = await cluster.start('s-1');
  expect(isDeleted(await storedContent(node, everything))).toEqual([]);
  await eventually(() => misplaced(cluster, [again])).toEqual([]);
  const after = await unitedContent(cluster);
  expect(isDeleted(after)).toEqual([]);
  const timesOf = (samples: ReadonlyMap<number, string> = new Map()) => [...samples.keys()];
  for (const [series, samples] of expected)
    expect(timesOf(after.get(series)), series).toEqual(expect.arrayContaining(timesOf(samples)));
  for (const i of [3, 4]) {
    const series = [...after.keys()].find(
      (each) => each.includes(`i="${i}"`) && each.includes('partition="1"'),
    )!;
    expect(after.get(series)?.size, series).toBe(30);
  }
  // Once: what is written after that stays, also where it starts again.
  await cluster.stop('s-1');
  await cluster.start('s-1');
  expect(await unitedContent(cluster)).toEqual(after);
});

test('a delete that this store was asked for as well, and that failed, is not done late', async () => {
  const cluster = await startStores(['s-0', 's-1']);
  await fill(cluster, [3840]);
  const before = await storedContent(cluster.node('s-1'), everything);
  const deleteId = 'a'.repeat(32);
  const request = {
    tenant: 'anonymous',
    minTimeMs: 0,
    maxTimeMs: NOW_MS,
    createdAtMs: NOW_MS,
    actor: 'test',
  };
  await cluster.node('s-0').client.deleteSeries(
    {
      ...{ ...request, deleteId, asked: { instances: ['s-0', 's-1'], epoch: 2 } },
      matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'i', value: '3' }],
    },
    { signal },
  );
  await cluster.stop('s-1');
  await cluster.start('s-1');
  expect(await storedContent(cluster.node('s-1'), everything)).toEqual(before);
});

test('a delete that failed before this store came is not done late (simulation, seed 8 with deletes)', async () => {
  const cluster = await startStores(['s-0', 's-1', 's-2']);
  const { epoch } = cluster.control.placement()!;
  await cluster.node('s-0').client.deleteSeries(
    {
      ...{ tenant: 'anonymous', deleteId: 'a'.repeat(32), actor: 'test' },
      ...{ minTimeMs: 0, maxTimeMs: NOW_MS, createdAtMs: NOW_MS },
      asked: { instances: ['s-0', 's-1', 's-2'], epoch },
      matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'i', value: '3' }],
    },
    { signal },
  );
  await cluster.stop('s-0');
  await eventually(() => cluster.stores.map(({ instance }) => instance)).toEqual(['s-1', 's-2']);
  const newcomer = await cluster.start('s-3');
  // All of it came since.
  await fill(cluster);
  await eventually(async () => (await listedBlocks(newcomer)).length).toBeGreaterThan(1);
  const before = await unitedContent(cluster);
  // It hears of the delete only when the one comes back that did it.
  await cluster.start('s-0');
  await cluster.stop('s-3');
  const { client } = await cluster.start('s-3');
  expect(await client.listDeletes({ tenant: 'anonymous' }, { signal })).toEqual({ deletes: [] });
  expect(await unitedContent(cluster)).toEqual(before);
});

test('a delete by a placement that leaves out who has come since fails', async () => {
  const cluster = await startStores(['s-0']);
  const { client, replication } = cluster.node('s-0');
  const remove = (digit: string, epoch: number) =>
    client.deleteSeries(
      {
        ...{
          tenant: 'anonymous',
          deleteId: digit.repeat(32),
          minTimeMs: 0,
          maxTimeMs: 1,
          createdAtMs: NOW_MS,
        },
        ...{ actor: 'test', asked: { instances: ['s-0'], epoch } },
        matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'i', value: '3' }],
      },
      { signal },
    );
  const told = async (epoch: number) => {
    const ids: (string | undefined)[] = [];
    for await (const one of replication.doneDeletes({ epoch }, { signal })) ids.push(one.delete?.deleteId);
    return ids;
  };
  await remove('a', 1);
  await told(0);
  await remove('b', 1);
  expect(await told(2)).toEqual(['a'.repeat(32), 'b'.repeat(32), undefined]);
  await expect(remove('c', 1)).rejects.toThrow(
    /by placement 1, and a node of placement 2 has come meanwhile/,
  );
  await remove('c', 2);
});

test('deletes come along with a block, and one that arrives while it is copied concerns it', async () => {
  const cluster = await startStores(['s-0']);
  const blocks = [await blockOf(3840, 1), await blockOf(3842, 1)];
  for (const block of blocks) await cluster.ship(block);
  const first = cluster.node('s-0');
  const remove = (node: StoreNode, deleteId: string, i: string) =>
    node.client.deleteSeries(
      {
        ...{
          tenant: 'anonymous',
          deleteId,
          minTimeMs: 0,
          maxTimeMs: NOW_MS,
          createdAtMs: NOW_MS,
          actor: 'test',
        },
        matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'i', value: i }],
      },
      { signal },
    );
  await remove(first, 'a'.repeat(32), '3');
  const reached = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  cluster.meddle = (client) => ({
    ...client,
    // The source was asked for its deletes before the second one reached it, and that is here before the block is.
    blockDeletes: async (request, context) => {
      const answer = await client.blockDeletes(request, context);
      reached.resolve();
      await goOn.promise;
      return answer;
    },
  });
  const second = await cluster.start('s-1');
  await reached.promise;
  await remove(second, 'b'.repeat(32), '4');
  await remove(first, 'b'.repeat(32), '4');
  goOn.resolve();
  await eventually(async () => (await listedBlocks(second)).length).toBe(2);
  const content = await storedContent(second, everything);
  expect(content.size).toBe(6);
  await eventually(() => storedContent(second, everything)).toEqual(await storedContent(first, everything));
  // Both can still be taken back.
  for (const node of [first, second]) {
    for (const deleteId of ['a'.repeat(32), 'b'.repeat(32)])
      await node.client.undoDelete({ tenant: 'anonymous', deleteId, actor: 'test' }, { signal });
    expect((await storedContent(node, everything)).size).toBe(8);
  }
});

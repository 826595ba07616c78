// Deletes and stores that replicate: who was away does what it missed, nobody does what failed, and a block's deletes come along with it.
import { expect, test } from 'vitest';
import { eventually } from '../../../test/support/eventually.ts';
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
import { type DeleteSeriesRequest, MatchType } from '../../lib/wire/contracts.ts';

const signal = new AbortController().signal;

/** Deletes what one of eight series has in all time, under an id of 32 times the digit. */
const remove = ({ client }: StoreNode, digit: string, i: string, asked?: DeleteSeriesRequest['asked']) =>
  client.deleteSeries(
    {
      ...{ tenant: 'anonymous', deleteId: idOf(digit), minTimeMs: 0, maxTimeMs: NOW_MS, createdAtMs: NOW_MS },
      ...(asked === undefined ? {} : { asked }),
      actor: 'test',
      matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'i', value: i }],
    },
    { signal },
  );
const idOf = (digit: string): string => digit.repeat(32);

test('a store that was given up does what was deleted meanwhile before it answers, and shows what came since', async () => {
  const cluster = await startStores(['s-0', 's-1', 's-2'], { deleteDelayMs: 1e9 });
  await fill(cluster);
  const before = await unitedContent(cluster);
  await cluster.stop('s-1');
  await eventually(() => cluster.stores.map(({ instance }) => instance)).toEqual(['s-0', 's-2']);
  const asked = { instances: ['s-0', 's-2'], epoch: cluster.control.placement()!.epoch };
  const removeAtAll = (digit: string, i: string) =>
    Promise.all(asked.instances.map((instance) => remove(cluster.node(instance), digit, i, asked)));
  await removeAtAll('a', '3');
  // Of one of them nothing is left on their disks, of another only they know that it was taken back.
  for (const instance of asked.instances)
    await cluster.node(instance).client.cleanTombstones({ tenant: 'anonymous', actor: 'test' }, { signal });
  await removeAtAll('b', '4');
  await removeAtAll('c', '5');
  for (const instance of asked.instances)
    await cluster
      .node(instance)
      .client.undoDelete({ tenant: 'anonymous', deleteId: idOf('c'), actor: 'test' }, { signal });
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
  await remove(cluster.node('s-0'), 'a', '3', { instances: ['s-0', 's-1'], epoch: 2 });
  await cluster.stop('s-1');
  await cluster.start('s-1');
  expect(await storedContent(cluster.node('s-1'), everything)).toEqual(before);
});

test('a delete that failed before this store came is not done late (simulation, seed 8 with deletes)', async () => {
  const cluster = await startStores(['s-0', 's-1', 's-2']);
  const { epoch } = cluster.control.placement()!;
  await remove(cluster.node('s-0'), 'a', '3', { instances: ['s-0', 's-1', 's-2'], epoch });
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
  const node = cluster.node('s-0');
  const removeBy = (epoch: number, digit: string) => remove(node, digit, '3', { instances: ['s-0'], epoch });
  const told = async (epoch: number) => {
    const ids: (string | undefined)[] = [];
    for await (const one of node.replication.doneDeletes({ epoch }, { signal }))
      ids.push(one.delete?.deleteId);
    return ids;
  };
  await removeBy(1, 'a');
  await told(0);
  await removeBy(1, 'b');
  expect(await told(2)).toEqual([idOf('a'), idOf('b'), undefined]);
  await expect(removeBy(1, 'c')).rejects.toThrow(
    /by placement 1, and a node of placement 2 has come meanwhile/,
  );
  await removeBy(2, 'c');
});

test('deletes come along with a block, and one that arrives while it is copied concerns it', async () => {
  const cluster = await startStores(['s-0']);
  const blocks = [await blockOf(3840, 1), await blockOf(3842, 1)];
  for (const block of blocks) await cluster.ship(block);
  const first = cluster.node('s-0');
  await remove(first, 'a', '3');
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
  await remove(second, 'b', '4');
  await remove(first, 'b', '4');
  goOn.resolve();
  await eventually(async () => (await listedBlocks(second)).length).toBe(2);
  const content = await storedContent(second, everything);
  expect(content.size).toBe(6);
  await eventually(() => storedContent(second, everything)).toEqual(await storedContent(first, everything));
  // Both can still be taken back.
  for (const node of [first, second]) {
    for (const deleteId of [idOf('a'), idOf('b')])
      await node.client.undoDelete({ tenant: 'anonymous', deleteId, actor: 'test' }, { signal });
    expect((await storedContent(node, everything)).size).toBe(8);
  }
});

// Deletes on all nodes, where nodes hear of them one after the other: real ingesters and a real store in this process.
import { afterEach, expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/blocks.ts';
import { waitFor } from '../../../test/support/programs.ts';
import { ReplicaRig } from '../../../test/support/replica-rig.ts';
import { startStoreRig } from '../../../test/support/store-rig.ts';
import { systemClock } from '../../lib/core/clock.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { type DeleteSeriesRequest, MatchType } from '../../lib/wire/contracts.ts';
import { deleteEverywhere } from './cluster-deletes.ts';

const ABC = ['a', 'b', 'c'];
const NAME = 'gone';
const signal = new AbortController().signal;
const REQUEST: DeleteSeriesRequest = {
  ...{ tenant: 'anonymous', deleteId: '7'.repeat(32), createdAtMs: 1, actor: 'test', seriesMax: 0 },
  matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'series', value: NAME }],
  ...{ minTimeMs: 0, maxTimeMs: 2 ** 40 },
};

const cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

interface World {
  readonly rig: ReplicaRig;
  /** As a gateway sees it. */
  readonly cluster: Cluster;
}

/** @param onDelete  Called before an ingester is asked to delete. */
async function startWorld(
  onDelete: (instance: string, request: DeleteSeriesRequest) => Promise<unknown>,
): Promise<World> {
  const folder = await temporaryFolder();
  cleanUp.push(async () => folder[Symbol.asyncDispose]());
  const store = await startStoreRig(folder.path, systemClock);
  cleanUp.push(() => store.store.stop());
  const stores = () => [{ instance: 'store', client: store.client }];
  const rig = new ReplicaRig({ instances: ABC, stores });
  cleanUp.push(() => rig.close());
  for (const instance of ABC) await rig.start(instance);
  rig.isPlaced = true;
  const peerOf = (instance: string): ReturnType<Cluster['ingesters']>[number] => {
    const { client } = rig.of(instance);
    return {
      instance,
      client: {
        ...client,
        deleteSeries: async (request, context) => {
          await onDelete(instance, request);
          return await client.deleteSeries(request, context);
        },
      },
    };
  };
  const none = () => [];
  const cluster: Cluster = {
    ...{ placement: () => rig.placement, replicationFactor: 3, stores },
    ingesters: () => ABC.filter((instance) => rig.reachable.has(instance)).map(peerOf),
    ...{ queriers: none, scrapers: none, alertEvaluators: none },
  };
  return { rig, cluster };
}

test('what an ingester gets of others that have not done it yet is gone as well', async () => {
  const asked: string[] = [];
  const done = Promise.withResolvers<void>();
  const { rig, cluster } = await startWorld(async (instance, request) => {
    asked.push(instance);
    // So whoever is not among them knows later that it missed it.
    expect(request.asked).toEqual({ instances: ['a', 'b', 'c', 'store'], epoch: rig.placement?.epoch });
    if (asked.filter((each) => each === instance).length > 1) return;
    if (instance !== 'c') {
      done.resolve();
      return;
    }
    // The others are through with it meanwhile, and one of them has the samples again.
    await done.promise;
    await waitFor('a has done it', async () => (await rig.contentOf('a')).size === 0);
    const again = 'cd'.repeat(8);
    for (const each of ABC) await rig.append(each, rig.placement.epoch, NAME, { origin: again });
    expect([...(await rig.contentOf('a')).keys()]).toEqual([`w/${NAME}`]);
  });
  const origin = 'ab'.repeat(8);
  for (const instance of ABC) await rig.append(instance, rig.placement.epoch, NAME, { origin });
  await deleteEverywhere(cluster, REQUEST, { signal });
  expect(asked.toSorted()).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
  for (const instance of ABC) expect((await rig.contentOf(instance)).size, instance).toBe(0);
});

test('an owner before that may still have samples has to take part, and one that joins meanwhile', async () => {
  let asked = 0;
  const { rig, cluster } = await startWorld(() => Promise.resolve(asked++));
  const { placement } = rig;
  const former = { ...placement, former: [placement.replicas.map(() => ['e'])] };
  await expect(
    deleteEverywhere({ ...cluster, placement: () => former }, REQUEST, { signal }),
  ).rejects.toMatchObject({
    ...{ code: 'unavailable', message: expect.stringMatching(/: e is missing; nothing was done/) },
  });
  expect(asked).toBe(0);
  const joined = { ...placement, replicas: placement.replicas.map((owners) => [...owners, 'd']) };
  await expect(
    deleteEverywhere({ ...cluster, placement: () => (asked < 6 ? placement : joined) }, REQUEST, { signal }),
  ).rejects.toMatchObject({ code: 'unavailable', message: expect.stringMatching(/^d joined meanwhile/) });
  expect(asked).toBe(6);
});

test('who is cut off from the control plane does not know all nodes, and deletes nothing', async () => {
  let asked = 0;
  const { cluster } = await startWorld(() => Promise.resolve(asked++));
  await expect(
    deleteEverywhere({ ...cluster, isCurrent: () => false }, REQUEST, { signal }),
  ).rejects.toMatchObject({ code: 'unavailable', message: expect.stringMatching(/nothing was done/) });
  expect(asked).toBe(0);
  await expect(
    deleteEverywhere({ ...cluster, isCurrent: () => asked < 6 }, REQUEST, { signal }),
  ).rejects.toMatchObject({ code: 'unavailable', message: expect.stringMatching(/send the delete again/) });
  expect(asked).toBe(6);
});

import { expect, test } from 'vitest';
import { createFakeCluster } from '../../../test/support/fake-cluster.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { computePlacement } from '../../lib/placement/placement.ts';
import type { VersionedPeer } from '../../lib/transport/cluster.ts';
import { NewerPlacement } from '../../lib/transport/members/newer-placement.ts';
import { type FanOutOptions, fanOut } from './fan-out.ts';

const NODES = ['a', 'b', 'c'].map((instance) => ({ instance, series: [] }));

function optionsOf(isPlaced: boolean): FanOutOptions {
  const members = NODES.map(({ instance }) => ({ instance, zone: '' }));
  const placement = computePlacement(members, { epoch: 1, partitionCount: 4, replicationFactor: 3 });
  const fake = createFakeCluster({
    ingesters: NODES,
    replicationFactor: isPlaced ? 3 : 1,
    ...(isPlaced ? { placement } : {}),
  });
  return {
    cluster: { ...fake, storeSet: () => undefined },
    signal: new AbortController().signal,
    isPartialAllowed: false,
    range: { minTimeMs: 0, maxTimeMs: 1000 },
    onFailure: () => undefined,
  };
}

test('no answer is complete while it is not known who owns what (simulation, seeds 21, 53, 60)', async () => {
  const ask = () => Promise.resolve(undefined);
  await expect(fanOut(optionsOf(false), ask)).rejects.toThrow(
    'which ingesters own the partitions is not known yet',
  );
  const partial = await fanOut({ ...optionsOf(false), isPartialAllowed: true }, ask);
  expect(partial.gaps).toEqual(['which ingesters own the partitions is not known yet']);
  expect((await fanOut(optionsOf(true), ask)).gaps).toEqual([]);
});

test('nor is one that was asked for before that was known, though it becomes known meanwhile', async () => {
  const { cluster, ...rest } = optionsOf(true);
  let isKnown = false;
  const learning = { ...cluster, placement: () => (isKnown ? cluster.placement() : undefined) };
  const ask = () => {
    isKnown = true;
    return Promise.resolve(undefined);
  };
  await expect(fanOut({ ...rest, cluster: learning }, ask)).rejects.toThrow('is not known yet');
  expect((await fanOut({ ...rest, cluster: learning }, ask)).gaps).toEqual([]);
});

test('nor is one of a querier that is cut off while partitions or blocks moved to nodes that it does not know', async () => {
  const options = optionsOf(true);
  const { cluster } = options;
  const peer = (epoch: number): VersionedPeer => ({
    ...{ kind: 'ingester', instance: 'a' },
    client: { versions: () => Promise.resolve({ origin: '', versions: [], epoch }) },
  });
  const asking = (isCurrent: boolean, epoch: number): FanOutOptions => {
    const seen = { ...cluster, isCurrent: () => isCurrent, rangeVersions: () => [peer(epoch)] };
    const newer = new NewerPlacement(seen, systemClock);
    return { ...options, newerPlacement: () => newer.find() };
  };
  // By the list that it has a quorum answers: of the owners of now another quorum may have a sample without any of them.
  const ask = () => Promise.resolve(undefined);
  const why = /ingester a knows placement 2, this process 1/;
  await expect(fanOut(asking(false, 2), ask)).rejects.toThrow(why);
  const partial = await fanOut({ ...asking(false, 2), isPartialAllowed: true }, ask);
  expect(partial.gaps).toEqual([expect.stringMatching(why)]);
  expect(partial.coverage().complete).toBe(false);
  expect((await fanOut(asking(false, 1), ask)).gaps).toEqual([]);
  expect((await fanOut(asking(true, 2), ask)).gaps).toEqual([]);
});

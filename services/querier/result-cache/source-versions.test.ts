import { expect, test } from 'vitest';
import { systemClock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Placement } from '../../lib/placement/placement.ts';
import type { Cluster, StoreSet, VersionedPeer } from '../../lib/transport/cluster.ts';
import type { VersionsResponse } from '../../lib/wire/contracts.ts';
import { NodeLatencies } from '../selection/hedge.ts';
import { askVersions, changeBetween } from './source-versions.ts';

type Answer = Partial<VersionsResponse> | 'fails' | 'hangs';

const PLACEMENT: Placement = { epoch: 3, partitionCount: 1, replicas: [['a', 'b']], former: [] };

function clusterOf(
  ingesters: Readonly<Record<string, Answer>>,
  stores: Readonly<Record<string, Answer>>,
  more: Partial<Cluster> = {},
): Cluster {
  const peersOf = (kind: VersionedPeer['kind'], answers: Readonly<Record<string, Answer>>) =>
    Object.entries(answers).map(
      ([instance, answer]): VersionedPeer => ({
        kind,
        instance,
        client: {
          versions: ({ minTimesMs }) => {
            if (answer === 'hangs') return new Promise(() => undefined);
            if (answer === 'fails') return Promise.reject(new AppError('unavailable', 'away'));
            return Promise.resolve({ origin: 'o', versions: minTimesMs.map(() => 1), epoch: 3, ...answer });
          },
        },
      }),
    );
  const storeSet: StoreSet = { instances: ['s'], replicationFactor: 1 };
  return {
    ...{ placement: () => PLACEMENT, replicationFactor: 2, storeSet: () => storeSet },
    ...{ ingesters: () => [], stores: () => [], queriers: () => [], scrapers: () => [] },
    alertEvaluators: () => [],
    rangeVersions: () => [...peersOf('store', stores), ...peersOf('ingester', ingesters)],
    ...more,
  };
}

async function ask(cluster: Cluster, ranges = 2) {
  const latencies = new NodeLatencies();
  const times = Array.from({ length: ranges }, (_, i) => i);
  const versions = await askVersions(
    { cluster, clock: systemClock, latencies },
    { tenant: 't', minTimesMs: times, maxTimesMs: times },
    new AbortController().signal,
  );
  return { versions, latencies };
}

const BOTH = { b: {}, a: {} };

test('versions are by range, ingesters first, whatever the order of the members', async () => {
  const { versions } = await ask(
    clusterOf({ b: { versions: [5, 6] }, a: { versions: [7, 8] } }, { s: { versions: [9, 10] } }),
  );
  expect(versions).toEqual([
    { nodes: expect.any(String), numbers: Float64Array.of(7, 5, 9), ingesters: 2 },
    { nodes: versions![0]!.nodes, numbers: Float64Array.of(8, 6, 10), ingesters: 2 },
  ]);
});

test.each<[string, Cluster]>([
  ['an owner is no member', clusterOf({ a: {} }, { s: {} })],
  ['a store of the placement is no member', clusterOf(BOTH, {})],
  [
    'an owner of before is no member',
    clusterOf(BOTH, { s: {} }, { placement: () => ({ ...PLACEMENT, former: [[['x']]] }) }),
  ],
  ['the placement is not known', clusterOf(BOTH, { s: {} }, { placement: () => undefined })],
  ['the stores are not known', clusterOf(BOTH, { s: {} }, { storeSet: () => undefined })],
  ['nobody can be asked', { ...clusterOf(BOTH, { s: {} }), rangeVersions: () => [] }],
  ['a node fails', clusterOf({ ...BOTH, c: 'fails' }, { s: {} })],
  ['a node is late', clusterOf({ ...BOTH, c: 'hangs' }, { s: {} })],
  ['a store lost something', clusterOf(BOTH, { s: { missing: '1 block' } })],
  ['a node answers for other ranges', clusterOf({ ...BOTH, c: { versions: [1] } }, { s: {} })],
])('nothing is proven where %s', async (_what, cluster) => {
  expect((await ask(cluster)).versions).toBeUndefined();
});

test('a node that was late is not waited for long by what comes next', async () => {
  const { latencies } = await ask(clusterOf({ ...BOTH, c: 'hangs' }, { s: {} }));
  expect(latencies.isLate('ingester c')).toBe(true);
  expect(latencies.isLate('ingester a')).toBe(false);
});

test('what is different is named', async () => {
  const before = (await ask(clusterOf(BOTH, { s: {} }))).versions![0]!;
  const changed = async (cluster: Cluster) => changeBetween(before, (await ask(cluster)).versions![0]!);
  expect(await changed(clusterOf(BOTH, { s: {} }))).toBeUndefined();
  expect(await changed(clusterOf({ ...BOTH, a: { versions: [2, 1] } }, { s: {} }))).toBe('write');
  expect(await changed(clusterOf(BOTH, { s: { versions: [2, 1] } }))).toBe('blocks');
  // A process that began anew, a node more, a placement that only one of them knows yet.
  expect(await changed(clusterOf({ ...BOTH, a: { origin: 'p' } }, { s: {} }))).toBe('nodes');
  expect(await changed(clusterOf({ ...BOTH, c: {} }, { s: {} }))).toBe('nodes');
  expect(await changed(clusterOf({ ...BOTH, b: { epoch: 4 } }, { s: {} }))).toBe('nodes');
});

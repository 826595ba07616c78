import { expect, test } from 'vitest';
import { systemClock } from '../lib/core/clock.ts';
import { AppError } from '../lib/core/errors.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import type { Handlers } from '../lib/transport/rpc.ts';
import { type FenceRequest, IngesterDefinition } from '../lib/wire/contracts.ts';
import { announceFence } from './fence-quorum.ts';

type Behaviour =
  | 'away'
  | 'silent'
  | 'old version'
  | number
  | { readonly earlier: number; readonly ended: number; readonly endedQuietAfterMs: number };

/** Ingesters by name; a number is the greatest token that one knows, an object what one answers. */
function clusterOf(
  behaviours: Readonly<Record<string, Behaviour>>,
  replicas: readonly (readonly string[])[],
  former: readonly (readonly (readonly string[])[])[] = [],
) {
  const ingesters = Object.entries(behaviours).map(([instance, behaviour]) => {
    const fence = async ({ token }: FenceRequest) => {
      if (behaviour === 'away') throw new AppError('unavailable', 'connection refused');
      if (behaviour === 'silent') await new Promise(() => {});
      if (behaviour === 'old version')
        throw new AppError('internal', 'The server does not implement the method Fence');
      if (typeof behaviour === 'object') return { newest: token, ...behaviour };
      return { newest: Math.max(behaviour as number, token), earlier: behaviour as number };
    };
    const handlers = { fence } as Partial<Handlers<typeof IngesterDefinition>> as Handlers<
      typeof IngesterDefinition
    >;
    return { instance, client: createInProcessClient(IngesterDefinition, handlers) };
  });
  const placement = { epoch: 1, partitionCount: replicas.length, replicas, former };
  return {
    ...{ placement: () => placement, replicationFactor: 3, ingesters: () => ingesters },
  } as Partial<Cluster> as Cluster;
}

const THREE = [['a', 'b', 'c']];

test.each<[string, Record<string, Behaviour>, readonly (readonly string[])[], unknown]>([
  ['all know it', { a: 5, b: 5, c: 5 }, THREE, { kind: 'confirmed', earlier: 5 }],
  ['one is away', { a: 0, b: 0, c: 'away' }, THREE, { kind: 'confirmed', earlier: 0 }],
  ['one never answers', { a: 3, b: 0, c: 'silent' }, THREE, { kind: 'confirmed', earlier: 3 }],
  [
    'one of an earlier version',
    { a: 0, b: 'old version', c: 'away' },
    THREE,
    { kind: 'confirmed', earlier: undefined },
  ],
  [
    'one was told that the earlier holder has ended',
    { a: { earlier: 4, ended: 4, endedQuietAfterMs: 700 }, b: 4, c: 'away' },
    THREE,
    { kind: 'confirmed', earlier: 4, quietAfterMs: 700 },
  ],
  [
    'somebody else came after the one that has ended',
    { a: { earlier: 3, ended: 3, endedQuietAfterMs: 0 }, b: 4, c: 'away' },
    THREE,
    { kind: 'confirmed', earlier: 4 },
  ],
  [
    'two are away',
    { a: 0, b: 'away', c: 'away' },
    THREE,
    { kind: 'unreachable', reason: expect.stringMatching(/refused/) },
  ],
  ['one knows a later one', { a: 9, b: 'silent', c: 'silent' }, THREE, { kind: 'superseded', newest: 9 }],
  [
    'a quorum of one partition, and not of the other',
    { a: 0, b: 0, c: 'away', d: 'away' },
    [
      ['a', 'b', 'c'],
      ['b', 'c', 'd'],
    ],
    { kind: 'unreachable', reason: expect.stringMatching(/refused/) },
  ],
])('%s', async (_, behaviours, replicas, outcome) => {
  expect(
    await announceFence('rules.1', 5, { cluster: clusterOf(behaviours, replicas), clock: systemClock }),
  ).toEqual(outcome);
});

test.each<[string, Record<string, Behaviour>, 'confirmed' | 'unreachable' | 'superseded']>([
  ['a quorum of the former owners knows it as well', { a: 0, b: 0, c: 0, d: 0, e: 'away' }, 'confirmed'],
  ['only one of the former owners was reached', { a: 0, b: 0, c: 0, d: 'away', e: 'away' }, 'unreachable'],
  ['a former owner knows a later one', { a: 'silent', b: 'silent', c: 0, d: 9, e: 0 }, 'superseded'],
])('while owners change: %s', async (_, behaviours, kind) => {
  // Before the hand-over c, d and e had it; so few as x never acknowledged anything.
  const cluster = clusterOf(behaviours, THREE, [[['c', 'd', 'e']], [['x']]]);
  expect(await announceFence('rules.1', 5, { cluster, clock: systemClock })).toMatchObject({ kind });
});

test('without a placement nobody can be asked', async () => {
  const cluster = { ...clusterOf({}, []), placement: () => undefined };
  expect(await announceFence('rules.1', 5, { cluster, clock: systemClock })).toMatchObject({
    kind: 'unreachable',
  });
});

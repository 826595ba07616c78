import { expect, test } from 'vitest';
import { createFakeCluster } from '../../../test/support/fake-cluster.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Placement } from '../../lib/placement/placement.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import {
  BlockHorizonDefinition,
  type EvaluatePartRequest,
  type EvaluateSharesRequest,
  type HeldLeavesResponse,
  PartEvaluationDefinition,
  type UnsealedResponse,
} from '../../lib/wire/contracts.ts';
import { NodeLatencies } from '../selection/hedge.ts';
import { packLeaves } from './leaf-shares.ts';
import { PushDown } from './push-down.ts';
import type { Sealed } from './store-push-down.ts';

const PLACEMENT: Placement = {
  epoch: 1,
  partitionCount: 3,
  replicas: [
    ['a', 'b', 'c'],
    ['a', 'b', 'c'],
    ['a', 'b', 'c'],
  ],
};
const REQUEST: Omit<EvaluatePartRequest, 'partitions'> = {
  ...{ tenant: 't', query: 'sum(x)', part: 0, startMs: 0, endMs: 0, stepMs: 0, lookbackMs: 1, features: [] },
  ...{ subqueryIntervalMs: 1, samplesMax: 1, memoryMaxBytes: 1, seriesMax: 1, replicaLabels: [] },
  ...{ minTimeMs: 10, maxTimeMs: 20 },
};
const SEALED: Sealed = { beforeMs: 100, answers: [] };
const signal = new AbortController().signal;
const gone = () => Promise.reject(new AppError('unavailable', 'gone'));
const listing = (
  blocks: readonly (readonly [partitions: number[], leaf: string])[],
  more: Partial<HeldLeavesResponse> = {},
): (() => Promise<HeldLeavesResponse>) => {
  const listed = blocks.map(([partitions, leaf]) => ({
    ...{ partitions, leaves: packLeaves([leaf.repeat(32)]), deletes: Buffer.alloc(0) },
  }));
  return async () => ({ blocks: listed, hasAggregates: false, ...more });
};

interface Setup {
  readonly ingesters?: Readonly<Record<string, () => Promise<UnsealedResponse>>>;
  readonly stores?: Readonly<Record<string, () => Promise<HeldLeavesResponse>>>;
  readonly placement?: Placement;
  /** Stores that fail when they are to evaluate. */
  readonly failing?: readonly string[];
}

function setUp({ ingesters = {}, stores = {}, placement = PLACEMENT, failing = [] }: Setup) {
  const asked: Record<string, EvaluateSharesRequest['shares']> = {};
  const pushed: number[] = [];
  const cluster: Cluster = {
    ...createFakeCluster({ ingesters: [], placement, replicationFactor: 3 }),
    storeSet: () => ({ instances: ['s', 't', 'u'], replicationFactor: 2 }),
    partEvaluators: () =>
      Object.entries(ingesters).map(([instance, unsealed]) => ({
        instance,
        client: createInProcessClient(PartEvaluationDefinition, {
          unsealed,
          evaluatePart: async function* () {
            yield await gone();
          },
        }),
      })),
    blockHorizons: () =>
      Object.entries(stores).map(([instance, heldLeaves]) => ({
        instance,
        client: createInProcessClient(BlockHorizonDefinition, {
          heldLeaves,
          newestSample: gone,
          evaluateShares: async function* ({ shares }) {
            asked[instance] = shares;
            if (failing.includes(instance)) await gone();
            yield { frame: Buffer.from([1]), partitions: [] };
            yield { frame: Buffer.alloc(0), partitions: shares.flatMap(({ partitions }) => partitions) };
          },
        }),
      })),
  };
  const { stores: pushDown } = new PushDown({
    ...{ cluster, clock: systemClock, latencies: new NodeLatencies(), onRefused: () => undefined },
    ...{ onPushed: () => undefined, onPushedToStores: (partitions) => pushed.push(partitions) },
  });
  return { pushDown, asked, pushed };
}

test.each<[string, Setup, number | undefined]>([
  [
    'the least of what any of them has not sealed',
    {
      ingesters: {
        a: async () => ({ oldestMs: 70 }),
        b: async () => ({ oldestMs: 50 }),
        c: async () => ({}),
      },
    },
    50,
  ],
  [
    'everything, where all of it is',
    { ingesters: { a: async () => ({}), b: async () => ({}), c: async () => ({}) } },
    Number.POSITIVE_INFINITY,
  ],
  [
    'what two of three say, as each quorum has one of them',
    { ingesters: { a: async () => ({ oldestMs: 70 }), b: async () => ({ oldestMs: 90 }), c: gone } },
    70,
  ],
  [
    'nothing, where one alone answers',
    { ingesters: { a: async () => ({ oldestMs: 70 }), b: gone, c: gone } },
    undefined,
  ],
  [
    'nothing, where former owners may have what was acknowledged',
    {
      ingesters: { a: async () => ({}), b: async () => ({}), c: async () => ({}) },
      placement: {
        ...PLACEMENT,
        former: [
          [
            ['a', 'b', 'c'],
            ['d', 'e', 'a'],
            ['a', 'b', 'c'],
          ],
        ],
      },
    },
    undefined,
  ],
  ['nothing, where nobody is there', {}, undefined],
])('before what time all is sealed: %s', async (_, setup, expected) => {
  expect((await setUp(setup).pushDown.sealedBefore('t'))?.beforeMs).toBe(expected);
});

test('each partition is evaluated by one store; those without blocks by none', async () => {
  const { pushDown, asked, pushed } = setUp({
    stores: { s: listing([[[0, 1], 'a']]), t: listing([[[0, 1], 'a']]), u: listing([]) },
  });
  const { results, refused, coverage } = await pushDown.evaluate(REQUEST, SEALED, signal);
  expect([results.length, refused, pushed]).toEqual([2, [], [2]]);
  expect(asked.s).toEqual([{ partitions: [0], leaves: packLeaves(['a'.repeat(32)]) }]);
  expect(asked.t).toEqual([{ partitions: [1], leaves: packLeaves(['a'.repeat(32)]) }]);
  expect(coverage).toMatchObject({ complete: true, blockCopies: 2, blockCopiesRead: 2 });
});

test('one store less than there are copies may be missing, and its blocks are read elsewhere', async () => {
  const { pushDown, asked } = setUp({ stores: { s: gone, t: listing([[[0, 1], 'a']]), u: listing([]) } });
  const { refused, coverage } = await pushDown.evaluate(REQUEST, SEALED, signal);
  expect([Object.keys(asked), refused, coverage?.blockCopiesRead]).toEqual([['t'], [], 1]);
});

test.each<[string, Setup['stores'] & object]>([
  ['as many stores as there are copies do not answer', { s: listing([[[0], 'a']]), t: gone, u: gone }],
  [
    'one is no member, and one has set a block aside',
    { s: listing([[[0], 'a']]), t: listing([], { missing: 'a block' }) },
  ],
  [
    'one has aggregates',
    { s: listing([[[0], 'a']]), t: listing([[[0], 'a']], { hasAggregates: true }), u: listing([]) },
  ],
])('nothing is pushed where %s', async (_, stores) => {
  const { pushDown, asked } = setUp({ stores });
  const pushed = await pushDown.evaluate(REQUEST, SEALED, signal);
  expect([asked, pushed]).toEqual([{}, { results: [], refused: [0, 1, 2], coverage: undefined }]);
});

test('what no store has all of, and what one fails with, is refused', async () => {
  const { pushDown, asked } = setUp({
    stores: {
      s: listing([
        [[0, 1], 'a'],
        [[2], 'c'],
      ]),
      t: listing([[[1], 'b']]),
      u: listing([]),
    },
  });
  expect((await pushDown.evaluate(REQUEST, SEALED, signal)).refused).toEqual([1]);
  expect(
    Object.values(asked)
      .flatMap((shares) => shares.flatMap(({ partitions }) => partitions))
      .sort((a, b) => a - b),
  ).toEqual([0, 2]);
  const failing = setUp({
    stores: { s: listing([[[0, 2], 'a']]), t: listing([]), u: listing([]) },
    failing: ['s'],
  });
  expect((await failing.pushDown.evaluate(REQUEST, SEALED, signal)).refused).toEqual([0, 2]);
});

test('a query that is over is not answered', async () => {
  const { pushDown } = setUp({ stores: { s: listing([]), t: listing([]), u: listing([]) } });
  const over = AbortSignal.abort(new AppError('canceled', 'the client left'));
  await expect(pushDown.evaluate(REQUEST, SEALED, over)).rejects.toMatchObject({ code: 'canceled' });
});

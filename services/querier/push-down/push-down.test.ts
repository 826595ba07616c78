import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createFakeCluster } from '../../../test/support/fake-cluster.ts';
import { ManualClock } from '../../../test/support/fake-control-plane.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Placement } from '../../lib/placement/placement.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import type { Handlers } from '../../lib/transport/rpc.ts';
import {
  BlockHorizonDefinition,
  type EvaluatePartRequest,
  type EvaluatePartResponse,
  type NewestSampleResponse,
  PartEvaluationDefinition,
} from '../../lib/wire/contracts.ts';
import { NodeLatencies, PATIENCE_MAX_MS } from '../selection/hedge.ts';
import { PushDown } from './push-down.ts';

type Evaluate = (request: EvaluatePartRequest) => AsyncIterable<EvaluatePartResponse>;
type Newest = () => Promise<NewestSampleResponse>;

const PLACEMENT: Placement = {
  epoch: 1,
  partitionCount: 4,
  replicas: [
    ['a', 'b'],
    ['b', 'c'],
    ['c', 'a'],
    ['a', 'c'],
  ],
};
const REQUEST: Omit<EvaluatePartRequest, 'partitions'> = {
  ...{ tenant: 't', query: 'sum(x)', part: 0, startMs: 0, endMs: 0, stepMs: 0, lookbackMs: 1, features: [] },
  ...{ subqueryIntervalMs: 1, samplesMax: 1, memoryMaxBytes: 1, seriesMax: 1, replicaLabels: [] },
  ...{ minTimeMs: 10, maxTimeMs: 20 },
};
const HORIZON = { newestMs: 5, blockCopies: 2, blockCopiesRead: 2 };
const signal = new AbortController().signal;

/** Answers for all that it is asked for but `refused`. */
const answering = (...refused: number[]): Evaluate =>
  async function* ({ partitions }) {
    yield { frame: Buffer.from([1, 2]), partitions: [] };
    yield { frame: Buffer.alloc(0), partitions: partitions.filter((each) => !refused.includes(each)) };
  };
const failing = (error: AppError): Evaluate =>
  async function* () {
    yield await Promise.reject(error);
  };
const hanging: Evaluate = async function* () {
  yield await new Promise<never>(() => undefined);
};

interface Setup {
  readonly nodes?: Readonly<Record<string, Evaluate>>;
  readonly stores?: Readonly<Record<string, Newest>>;
  readonly storeSet?: { instances: string[]; replicationFactor: number };
  readonly placement?: Placement;
  readonly replicationFactor?: number;
}

function setUp({ nodes = {}, stores = {}, storeSet, placement = PLACEMENT, replicationFactor = 2 }: Setup) {
  const asked: Record<string, number[]> = {};
  const refused: Record<string, number> = {};
  const clock = new ManualClock();
  const peers = Object.entries(nodes).map(([instance, evaluate]) => {
    const handlers: Handlers<typeof PartEvaluationDefinition> = {
      evaluatePart: async function* (request) {
        asked[instance] = [...(asked[instance] ?? []), ...request.partitions];
        yield* evaluate(request);
      },
      unsealed: () => Promise.reject(new AppError('unavailable', 'not asked for')),
    };
    return { instance, client: createInProcessClient(PartEvaluationDefinition, handlers) };
  });
  const horizons = Object.entries(stores).map(([instance, newestSample]) => ({
    instance,
    client: createInProcessClient(BlockHorizonDefinition, {
      newestSample,
      heldLeaves: () => Promise.reject(new AppError('unavailable', 'not asked for')),
      evaluateShares: () => {
        throw new AppError('unavailable', 'not asked for');
      },
    }),
  }));
  const cluster: Cluster = {
    ...createFakeCluster({ ingesters: [], placement, replicationFactor }),
    partEvaluators: () => peers,
    blockHorizons: () => horizons,
    ...(storeSet === undefined ? {} : { storeSet: () => storeSet }),
  };
  const latencies = new NodeLatencies();
  const pushDown = new PushDown({
    ...{ cluster, clock, latencies, onPushed: () => undefined, onPushedToStores: () => undefined },
    onRefused: (instance, partitions) => {
      refused[instance] = partitions;
    },
  });
  return { pushDown, asked, refused, clock, latencies };
}

const ALL = { a: answering(), b: answering(), c: answering() };

test('of each partition one owner is asked', async () => {
  const { pushDown, asked } = setUp({ nodes: ALL });
  const pushed = await pushDown.evaluate(REQUEST, HORIZON, signal);
  expect(asked).toEqual({ a: [0, 3], b: [1], c: [2] });
  expect([pushed.results.length, pushed.refused]).toEqual([3, []]);
  expect(pushed.coverage).toMatchObject({
    complete: true,
    groups: [{ partitions: [0, 1, 2, 3], answered: 1, complete: 1, covered: true, fromMs: 10 }],
    blockCopiesRead: 2,
  });
});

test('what is refused, fails or has no owner is left over', async () => {
  const lost = failing(new AppError('unavailable', 'gone'));
  const { pushDown, refused } = setUp({ nodes: { a: answering(3), b: lost } });
  const pushed = await pushDown.evaluate(REQUEST, HORIZON, signal);
  // a answers for 0, and for 2, whose first owner is not there.
  expect([pushed.results.length, pushed.refused]).toEqual([1, [1, 3]]);
  expect(refused).toEqual({ a: 1, b: 1 });
  expect(pushed.coverage?.groups).toMatchObject([{ partitions: [0, 2] }]);
});

test('errors of the query are left to the querier, which words them', async () => {
  const tooMany = failing(new AppError('execution', 'too many samples'));
  const { pushDown } = setUp({ nodes: { ...ALL, b: tooMany } });
  expect((await pushDown.evaluate(REQUEST, HORIZON, signal)).refused).toEqual([1]);
});

test('a query that is over is not answered', async () => {
  const { pushDown } = setUp({ nodes: { ...ALL, b: hanging } });
  const controller = new AbortController();
  const pushing = pushDown.evaluate(REQUEST, HORIZON, controller.signal);
  controller.abort(new AppError('canceled', 'the client left'));
  await expect(pushing).rejects.toMatchObject({ code: 'canceled' });
});

test('who is late is done without, and asked last from then on', async () => {
  const { pushDown, asked, clock } = setUp({ nodes: { ...ALL, a: hanging } });
  const pushing = pushDown.evaluate(REQUEST, HORIZON, signal);
  await sleep(5);
  await clock.advance(PATIENCE_MAX_MS);
  expect((await pushing).refused).toEqual([0, 3]);
  expect((await pushDown.evaluate(REQUEST, HORIZON, signal)).refused).toEqual([]);
  expect(asked).toEqual({ a: [0, 3], b: [1, 0, 1], c: [2, 2, 3] });
});

test('with one copy a new owner is not asked while the former one may have samples', async () => {
  const placement = {
    ...PLACEMENT,
    replicas: [['a'], ['b'], ['c'], ['a']],
    former: [[['a'], ['c'], ['c'], ['a']]],
  };
  const { pushDown, asked } = setUp({ nodes: ALL, placement, replicationFactor: 1 });
  expect((await pushDown.evaluate(REQUEST, HORIZON, signal)).refused).toEqual([1]);
  expect(asked).toEqual({ a: [0, 3], c: [2] });
});

test.each<[string, Readonly<Record<string, Newest>>, number | undefined]>([
  [
    'all answer',
    { s: async () => ({ unknown: false, newestMs: 7 }), t: async () => ({ unknown: false, newestMs: 9 }) },
    9,
  ],
  [
    'there is no block',
    { s: async () => ({ unknown: false }), t: async () => ({ unknown: false }) },
    Number.NEGATIVE_INFINITY,
  ],
  ['one of as many as there are copies is enough', { s: async () => ({ unknown: false, newestMs: 7 }) }, 7],
  [
    'one does not know',
    { s: async () => ({ unknown: false, newestMs: 7 }), t: async () => ({ unknown: true }) },
    7,
  ],
  [
    'none does',
    { s: async () => ({ unknown: true }), t: () => Promise.reject(new Error('gone')) },
    undefined,
  ],
  ['none is there', {}, undefined],
])('the horizon, where %s', async (_, stores, expected) => {
  const { pushDown, clock } = setUp({ stores, storeSet: { instances: ['s', 't'], replicationFactor: 2 } });
  const horizon = pushDown.horizonOf('t');
  await sleep(5);
  await clock.advance(1_000);
  expect((await horizon)?.newestMs).toBe(expected);
});

test('what stores said holds for a second', async () => {
  let newestMs = 1;
  const { pushDown, clock } = setUp({ stores: { s: async () => ({ unknown: false, newestMs }) } });
  expect((await pushDown.horizonOf('t'))?.newestMs).toBe(1);
  newestMs = 2;
  expect((await pushDown.horizonOf('t'))?.newestMs).toBe(1);
  await clock.advance(1_001);
  expect((await pushDown.horizonOf('t'))?.newestMs).toBe(2);
});

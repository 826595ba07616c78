import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { createFakeCluster, type FakeNode } from '../../../test/support/fake-cluster.ts';
import { ManualClock } from '../../../test/support/fake-control-plane.ts';
import { Labels } from '../../lib/model/labels.ts';
import { computePlacement } from '../../lib/placement/placement.ts';
import { ClusterSelect } from './cluster-select.ts';
import { fanOut } from './fan-out.ts';
import { NodeLatencies, PATIENCE_LATE_MS, PATIENCE_MAX_MS, PATIENCE_MIN_MS, settleEnough } from './hedge.ts';
import { UnitingQueryable } from './uniting-queryable.ts';

describe('patience', () => {
  const afterAnswers = (...answersMs: number[]): number => {
    const latencies = new NodeLatencies();
    for (const elapsedMs of answersMs) latencies.answered('a', elapsedMs);
    return latencies.patienceMs('a');
  };
  const often = (elapsedMs: number, times = 100): number[] => Array.from({ length: times }, () => elapsedMs);

  test.each([
    ['nobody knows the node', [], PATIENCE_MAX_MS],
    ['too few answers are known', often(1, 7), PATIENCE_MAX_MS],
    ['it is quick', often(1, 8), PATIENCE_MIN_MS],
    ['it takes a while: three times as long', often(150), 450],
    ['it is slow', often(5_000), PATIENCE_MAX_MS],
    ['one answer in a hundred was slow', [...often(10), 3_000], PATIENCE_MIN_MS],
    ['some in a hundred were slow', [...often(10), ...often(200, 5)], 600],
    ['what was slow is long ago', [...often(5_000), ...often(1, 128)], PATIENCE_MIN_MS],
  ])('%s', (_, answersMs, patienceMs) => {
    expect(afterAnswers(...answersMs)).toBe(patienceMs);
  });

  test('a node that was late is hardly waited for until it answers', () => {
    const latencies = new NodeLatencies();
    for (const elapsedMs of often(1)) latencies.answered('a', elapsedMs);
    latencies.late('a');
    expect([latencies.patienceMs('a'), latencies.patienceMs('b')]).toEqual([
      PATIENCE_LATE_MS,
      PATIENCE_MAX_MS,
    ]);
    latencies.answered('a', 1);
    expect(latencies.patienceMs('a')).toBe(PATIENCE_MIN_MS);
  });
});

describe('settleEnough', () => {
  /** Calls that a test settles, and what came of waiting for them. */
  const waiting = (count: number, isEnough: (known: number) => boolean) => {
    const clock = new ManualClock();
    const calls = Array.from({ length: count }, () => Promise.withResolvers<object>());
    const outcome: { settled?: (object | undefined)[]; error?: unknown } = {};
    settleEnough(
      calls.map(({ promise }) => promise),
      {
        clock,
        isEnough: (settled) => isEnough(settled.filter((each) => each !== undefined).length),
        patienceMs: (open) => 100 * open.length,
      },
    ).then(
      (settled) => {
        outcome.settled = settled;
      },
      (error: unknown) => {
        outcome.error = error;
      },
    );
    return { clock, calls, outcome };
  };
  const one = { n: 1 };
  const two = { n: 2 };

  test('enough of them, and the patience for the rest', async () => {
    const { clock, calls, outcome } = waiting(3, (known) => known >= 2);
    calls[2]!.resolve(two);
    await clock.advance(10_000);
    expect(outcome).toEqual({});
    calls[0]!.resolve(one);
    await sleep(1);
    await clock.advance(99, 33);
    expect(outcome).toEqual({});
    await clock.advance(1, 1);
    expect(outcome.settled).toEqual([one, undefined, two]);
  });

  test('the last answer ends the wait at once', async () => {
    const { clock, calls, outcome } = waiting(2, () => true);
    calls[0]!.resolve(one);
    await clock.advance(10, 5);
    expect(outcome).toEqual({});
    calls[1]!.resolve(two);
    await clock.advance(1, 1);
    expect(outcome.settled).toEqual([one, two]);
  });

  test('what is not enough any more when the patience is over is waited for', async () => {
    let least = 1;
    const { clock, calls, outcome } = waiting(2, (known) => known >= least);
    calls[0]!.resolve(one);
    await clock.advance(50, 10);
    least = 2;
    await clock.advance(10_000, 1_000);
    expect(outcome).toEqual({});
    calls[1]!.resolve(two);
    await clock.advance(1, 1);
    expect(outcome.settled).toEqual([one, two]);
  });

  test('a failure ends it, none at all too', async () => {
    const { clock, calls, outcome } = waiting(2, () => true);
    calls[1]!.reject(new Error('broken'));
    await clock.advance(1, 1);
    expect(outcome.error).toEqual(new Error('broken'));
    expect(await settleEnough([], { clock, isEnough: () => false, patienceMs: () => 0 })).toEqual([]);
  });
});

describe('a fan-out', () => {
  const INSTANCES = ['a', 'b', 'c'];
  const series = ['1', '2'].map((n) => ({
    labels: Labels.from([
      ['__name__', 'm'],
      ['n', n],
    ]),
    samples: [[1_000, 1]] as const,
  }));
  const RANGE = { minTimeMs: 0, maxTimeMs: 2_000 };
  /** Lets all that can happen at this time happen. */
  const settle = () => sleep(5);
  const members = INSTANCES.map((instance) => ({ instance, zone: '' }));
  const placement = computePlacement(members, { epoch: 1, partitionCount: 4, replicationFactor: 3 });

  const selectFrom = (nodes: readonly Partial<FakeNode>[]) => {
    const clock = new ManualClock();
    const late: string[] = [];
    const charged: number[] = [];
    const ingesters = nodes.map((node, i) => ({ instance: INSTANCES[i]!, series, ...node }));
    const cluster = createFakeCluster({ ingesters, placement, replicationFactor: 3 });
    const controller = new AbortController();
    const hedge = {
      clock,
      latencies: new NodeLatencies(),
      onLate: ({ instance }: { instance: string }) => late.push(instance),
    };
    const options = { cluster, isPartialAllowed: false, onFailure: () => undefined, hedge };
    const source = new ClusterSelect({ ...options, tenant: 'anonymous', seriesMax: 10 });
    const queryable = new UnitingQueryable({ seriesMax: 10, hashSeed: 1 }, async (request, sink, signal) => {
      return (await source.fetch(sink, request, { signal, isLabelsOnly: false })).gaps;
    });
    const select = () =>
      queryable.select(
        { matchers: [{ name: '__name__', operator: '=', value: 'm' }], ...RANGE },
        { signal: controller.signal, chargeBytes: (bytes) => charged.push(bytes) },
      );
    return { clock, late, charged, cluster, controller, options, select };
  };

  test.each([
    ['hangs', { hangs: true }],
    ['hangs in the middle of its answer', { framesBeforeTrouble: 1 }],
  ])('goes on without one of three replicas that %s', async (_, trouble) => {
    const { clock, late, select } = selectFrom([{}, trouble, {}]);
    const promise = select();
    await settle();
    await clock.advance(PATIENCE_MAX_MS - 100);
    expect(late).toEqual([]);
    await clock.advance(100);
    const found = await promise;
    expect([found.size, found.warnings, late]).toEqual([2, [], ['b']]);
    const next = select();
    await settle();
    await clock.advance(PATIENCE_LATE_MS, PATIENCE_LATE_MS);
    expect((await next).size).toBe(2);
  });

  test('waits for a second one: the other might be what an acknowledged sample is on', async () => {
    const { clock, late, controller, select } = selectFrom([{}, { hangs: true }, { hangs: true }]);
    const promise = select();
    promise.catch(() => undefined);
    await settle();
    await clock.advance(100_000, 1_000);
    controller.abort(new Error('time is up'));
    await expect(promise).rejects.toThrow('time is up');
    expect(late).toEqual([]);
  });

  test('what a late node says is not used any more', async () => {
    const { clock, options, controller } = selectFrom([{}, {}, {}]);
    const used: string[] = [];
    const held = Promise.withResolvers<void>();
    const how = { ...options, range: RANGE, signal: controller.signal };
    const answer = fanOut(how, async ({ instance }, { signal }) => {
      if (instance === 'b') await held.promise;
      if (!signal.aborted) used.push(instance);
      return undefined;
    });
    await settle();
    await clock.advance(PATIENCE_MAX_MS);
    const fanned = await answer;
    expect(fanned.gaps).toEqual([]);
    // The proof counts who answered, not who is there.
    expect(fanned.coverage().groups).toMatchObject([{ partitions: [0, 1, 2, 3], owners: 3, answered: 2 }]);
    held.resolve();
    await settle();
    expect(used).toEqual(['a', 'c']);
  });
});

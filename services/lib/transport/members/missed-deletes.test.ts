// When a node asks the stores which deletes it missed: time and membership are the test's, nothing else is there.
import { expect, test } from 'vitest';
import { FakeControlPlane, ManualClock } from '../../../../test/support/fake-control-plane.ts';
import { createSilentLogger } from '../../runtime/logger.ts';
import type { DoneDelete, StoreReplicationDefinition } from '../../wire/contracts.ts';
import type { Client } from '../rpc.ts';
import { type MakeHow, MissedDeletes } from './missed-deletes.ts';

const ABSENCE_MS = 600_000;
const LAPSE_MS = ABSENCE_MS / 2;
const TOLD_MAX = 50;
const signal = new AbortController().signal;
const ONE: DoneDelete = {
  delete: {
    ...{ tenant: 't', deleteId: 'a'.repeat(32), matchers: [], minTimeMs: 0, maxTimeMs: 1, createdAtMs: 1 },
    actor: 'test',
  },
  undone: false,
  complete: false,
};

async function createWorld({ heardEpoch = 1 } = {}) {
  const control = new FakeControlPlane();
  const clock = new ManualClock();
  const made: (MakeHow & { readonly deletes: number })[] = [];
  const making: { promise: Promise<void> } = { promise: Promise.resolve() };
  const peer = { asked: 0, isReachable: true, isThere: true, told: 1, isComplete: false };
  const client = {
    doneDeletes: async function* () {
      peer.asked++;
      if (!peer.isReachable) throw new Error('no route');
      for (let i = 0; i < peer.told; i++) yield ONE;
      if (peer.isComplete) yield { undone: false, complete: true };
    },
  } as unknown as Client<typeof StoreReplicationDefinition>;
  const list = async (...instances: readonly string[]): Promise<void> => {
    await control.replacePlacement({
      ...{ epoch: (control.placement()?.epoch ?? 0) + 1, partitionCount: 8, replicationFactor: 3 },
      ...{ ingesters: [], former: [], storeReplicationFactor: 2 },
      stores: instances.map((instance) => ({ instance, zone: '' })),
    });
  };
  const missed = new MissedDeletes(
    { absenceMs: ABSENCE_MS, toldMax: TOLD_MAX },
    {
      ...{ control, clock, logger: createSilentLogger(), done: { heardEpoch } },
      listing: () => {
        const { epoch, stores } = control.placement()!;
        const names = stores.map(({ instance }) => instance);
        return names.includes('own') ? { epoch, stores: names.filter((name) => name !== 'own') } : undefined;
      },
      stores: () => (peer.isThere ? [{ instance: 'peer', client }] : undefined),
      make: async (deletes, how) => {
        made.push({ deletes: deletes.length, ...how });
        await making.promise;
        return 0;
      },
    },
  );
  await list('own', 'peer');
  return { control, clock, made, making, peer, list, missed };
}

test('who names more deletes than a store remembers is listened to no longer', async () => {
  const { made, peer, missed } = await createWorld();
  peer.told = TOLD_MAX + 1;
  await missed.inOrder();
  expect(made).toEqual([{ deletes: TOLD_MAX, hides: true, heardEpoch: 0 }]);
});

test('a store asks at its start, and no more while it is there and listed', async () => {
  const { clock, made, peer, missed } = await createWorld();
  expect(missed.isInOrder()).toBe(false);
  await missed.begin(signal);
  for (let i = 0; i < 20; i++) {
    await clock.advance(LAPSE_MS / 4, LAPSE_MS / 4);
    expect(missed.isInOrder()).toBe(true);
  }
  expect(peer.asked).toBe(1);
  expect(made).toEqual([{ deletes: 1, hides: true, heardEpoch: 1 }]);
});

test('one that was stopped for long asks before it answers', async () => {
  const { clock, peer, missed } = await createWorld();
  await missed.begin(signal);
  await clock.advance(LAPSE_MS + 1, LAPSE_MS + 1);
  await Promise.all([missed.inOrder(), missed.inOrder()]);
  expect(peer.asked).toBe(2);
  await missed.inOrder();
  expect(peer.asked).toBe(2);
});

test('one that was cut off from the control plane for long asks, however often it was looked at meanwhile', async () => {
  const { clock, control, peer, missed } = await createWorld();
  await missed.begin(signal);
  control.isReachable = false;
  for (let i = 0; i < 9; i++) {
    await clock.advance(LAPSE_MS / 8, LAPSE_MS / 8);
    await missed.inOrder();
  }
  expect(peer.asked).toBe(2);
});

test('one that is not listed asks for each answer: the next delete is done without it (simulation, seed 187 with deletes)', async () => {
  const { clock, list, peer, missed } = await createWorld();
  await list('peer');
  await missed.begin(signal);
  for (let answers = 1; answers <= 3; answers++) {
    const { asked } = peer;
    await clock.advance(1, 1);
    await missed.inOrder();
    expect(peer.asked).toBe(asked + 1);
  }
});

test('one that is listed again asks at once', async () => {
  const { list, peer, missed } = await createWorld();
  await missed.begin(signal);
  await list('peer');
  expect(missed.isInOrder()).toBe(false);
  await list('own', 'peer');
  expect(missed.isInOrder()).toBe(false);
  await missed.inOrder();
  expect(peer.asked).toBe(2);
});

test('whoever is not reached is asked again soon, and no call waits for it a second time', async () => {
  const { clock, made, peer, missed } = await createWorld();
  peer.isReachable = false;
  const begun = missed.begin(signal);
  await clock.advance(6_000);
  await begun;
  const stop = new AbortController();
  const running = missed.run(stop.signal);
  const { asked } = peer;
  await clock.advance(3_500);
  expect(peer.asked).toBeGreaterThanOrEqual(asked + 2);
  expect(missed.isInOrder()).toBe(true);
  peer.isReachable = true;
  await clock.advance(2_100);
  expect(made.at(-1)).toEqual({ deletes: 1, hides: true, heardEpoch: 1 });
  const last = peer.asked;
  await clock.advance(10_000);
  expect(peer.asked).toBe(last);
  stop.abort();
  await clock.advance(100_000, 100_000);
  await running;
});

test('on a new disk nothing is hidden: what is there came after the deletes', async () => {
  const { made, missed } = await createWorld({ heardEpoch: 0 });
  await missed.begin(signal);
  expect(made).toEqual([{ deletes: 1, hides: false, heardEpoch: 1 }]);
});

test('a new disk does not wait for stores that are not there yet, and asks them when they are', async () => {
  const { clock, made, peer, missed } = await createWorld({ heardEpoch: 0 });
  peer.isThere = false;
  await missed.begin(signal);
  expect(made).toEqual([{ deletes: 0, hides: false, heardEpoch: 0 }]);
  const stop = new AbortController();
  const running = missed.run(stop.signal);
  peer.isThere = true;
  await clock.advance(2_000);
  expect(made.at(-1)).toEqual({ deletes: 1, hides: false, heardEpoch: 1 });
  stop.abort();
  await clock.advance(100_000, 100_000);
  await running;
});

test('one that was given up does not serve before it was told what it missed', async () => {
  const { clock, list, peer, missed } = await createWorld();
  await list('peer');
  peer.isReachable = false;
  let isServing = false;
  const begun = missed.begin(signal).then(() => {
    isServing = true;
  });
  await clock.advance(60_000);
  expect(isServing).toBe(false);
  peer.isReachable = true;
  await clock.advance(1_000);
  expect(isServing).toBe(true);
  await begun;
});

test('without the control plane it asks ahead of time, so that no call waits', async () => {
  const { clock, control, missed } = await createWorld();
  await missed.begin(signal);
  const stop = new AbortController();
  const running = missed.run(stop.signal);
  control.isReachable = false;
  for (let i = 0; i < 20; i++) {
    await clock.advance(LAPSE_MS / 5, 1_000);
    expect(missed.isInOrder()).toBe(true);
  }
  stop.abort();
  await clock.advance(100_000, 100_000);
  await running;
});

test('all was heard where each listed store was, or one that knows all; it is asked again until then', async () => {
  const { clock, list, made, peer, missed } = await createWorld();
  await list('own', 'peer', 'gone');
  await missed.begin(signal);
  expect(made.at(-1)).toEqual({ deletes: 1, hides: true, heardEpoch: 0 });
  expect(missed.isComplete()).toBe(false);
  const stop = new AbortController();
  const running = missed.run(stop.signal);
  peer.isComplete = true;
  await clock.advance(LAPSE_MS / 5, 1_000);
  expect(made.at(-1)).toEqual({ deletes: 1, hides: true, heardEpoch: 2 });
  expect(missed.isComplete()).toBe(true);
  const { asked } = peer;
  await clock.advance(LAPSE_MS, 1_000);
  expect(peer.asked).toBe(asked);
  stop.abort();
  await clock.advance(100_000, 100_000);
  await running;
});

test('one that is not listed hears nothing of deletes that are done without it, whoever answers', async () => {
  const { control, list, made, peer, missed } = await createWorld();
  peer.isComplete = true;
  await list('peer');
  await missed.begin(signal);
  expect(made.at(-1)).toEqual({ deletes: 1, hides: true, heardEpoch: 0 });
  await list('own', 'peer');
  expect(missed.isComplete()).toBe(false);
  await missed.inOrder();
  expect(missed.isComplete()).toBe(true);
  control.isReachable = false;
  expect(missed.isComplete()).toBe(false);
});

test('who is told to end while deletes are being done ends when they are', async () => {
  const { clock, list, made, making, missed } = await createWorld();
  const stopping = new AbortController();
  await missed.begin(stopping.signal);
  let hasEnded = false;
  const running = missed.run(stopping.signal).then(() => {
    hasEnded = true;
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  making.promise = promise;
  // The change has it ask at once, and it is not the loop that waits for the answer.
  await list('peer');
  await list('own', 'peer');
  await clock.advance(1, 1);
  expect(made).toHaveLength(2);
  stopping.abort();
  await clock.advance(1, 1);
  expect(hasEnded).toBe(false);
  resolve();
  await running;
});

test('one that is left out and listed again while it asks asks once more', async () => {
  const { list, peer, missed } = await createWorld();
  const asking = missed.inOrder();
  await list('peer');
  expect(missed.isInOrder()).toBe(false);
  await list('own', 'peer');
  expect(missed.isInOrder()).toBe(false);
  await asking;
  expect(missed.isInOrder()).toBe(false);
  await missed.inOrder();
  expect(missed.isInOrder()).toBe(true);
  expect(peer.asked).toBe(2);
});

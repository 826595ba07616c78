import { expect, onTestFinished, test } from 'vitest';
import { FakeControlPlane, ManualClock } from '../../../../test/support/fake-control-plane.ts';
import { createSilentLogger } from '../../runtime/logger.ts';
import type { MemberRecord, ReplicaRecord } from '../control-plane.ts';
import { PlacementKeeper } from './placement-keeper.ts';

const ABSENCE_MS = 60_000;
const FORMER_MS = 600_000;

const ingesters = (...names: string[]): Partial<MemberRecord>[] => names.map((instance) => ({ instance }));

function keep({ foundingDelayMs = 0 } = {}) {
  const control = new FakeControlPlane();
  const clock = new ManualClock();
  const keeper = new PlacementKeeper(
    {
      ...{ partitionCount: 8, replicationFactor: 3, storeReplicationFactor: 2, intervalMs: 500 },
      ...{ absenceMs: ABSENCE_MS, formerMs: FORMER_MS, foundingDelayMs },
    },
    { control, clock, logger: createSilentLogger() },
  );
  keeper.start();
  onTestFinished(() => keeper.stop());
  const owners = () => control.placement()?.ingesters.map(({ instance }) => instance);
  const former = () =>
    control.placement()?.former.map((each) => each.ingesters.map(({ instance }) => instance));
  const stores = () => control.placement()?.stores.map(({ instance }) => instance);
  return { control, clock, owners, former, stores };
}

test('ready ingesters own partitions, and each change has an epoch', async () => {
  const { control, clock, owners } = keep();
  control.set([{ instance: 'a', state: 'starting' }]);
  await clock.advance(1_000);
  expect(control.placement()).toBeUndefined();
  control.set(ingesters('b', 'a'));
  await clock.advance(1_000);
  expect([control.placement()?.epoch, owners()]).toEqual([1, ['a', 'b']]);
  await clock.advance(5_000);
  expect(control.placement()?.epoch).toBe(1);
  control.set(ingesters('b', 'a', 'c'));
  await clock.advance(1_000);
  expect([control.placement()?.epoch, owners()]).toEqual([2, ['a', 'b', 'c']]);
});

test('a newcomer at an emptied NATS makes no first placement while others know one', async () => {
  const { control, clock, owners } = keep();
  const replica = { settledEpoch: 7 } as ReplicaRecord;
  control.set([{ instance: 'a', replica }, ...ingesters('new')]);
  await clock.advance(10_000);
  expect(control.placement()).toBeUndefined();
  // They are gone, and with them all who knew.
  control.set(ingesters('a', 'new'));
  await clock.advance(1_000);
  expect([control.placement()?.epoch, owners()]).toEqual([1, ['a', 'new']]);
});

test('few that are new wait for others that may know a placement; as many as it has replicas do not (simulation, seed 418)', async () => {
  const few = keep({ foundingDelayMs: 5_000 });
  few.control.set(ingesters('new'));
  await few.clock.advance(4_000);
  expect(few.control.placement()).toBeUndefined();
  // It counts from when NATS is there again.
  few.control.isReachable = false;
  await few.clock.advance(10_000);
  few.control.isReachable = true;
  await few.clock.advance(4_000);
  expect(few.control.placement()).toBeUndefined();
  await few.clock.advance(2_000);
  expect([few.control.placement()?.epoch, few.owners()]).toEqual([1, ['new']]);
  const enough = keep({ foundingDelayMs: 5_000 });
  enough.control.set(ingesters('a', 'b', 'c'));
  await enough.clock.advance(1_000);
  expect(enough.owners()).toEqual(['a', 'b', 'c']);
});

test('a restart moves nothing; who stays away loses its partitions and counts as a former owner for a while', async () => {
  const { control, clock, owners, former } = keep();
  control.set(ingesters('a', 'b', 'c', 'd'));
  await clock.advance(1_000);
  control.set(ingesters('a', 'b', 'c'));
  await clock.advance(ABSENCE_MS - 5_000);
  control.set([...ingesters('a', 'b', 'c'), { instance: 'd', state: 'starting' }]);
  await clock.advance(10_000);
  expect([control.placement()?.epoch, owners()]).toEqual([1, ['a', 'b', 'c', 'd']]);
  control.set(ingesters('a', 'b', 'c'));
  await clock.advance(ABSENCE_MS + 2_000);
  expect([owners(), former()]).toEqual([['a', 'b', 'c'], [['a', 'b', 'c', 'd']]]);
  await clock.advance(FORMER_MS, 1_000);
  expect([owners(), former()]).toEqual([['a', 'b', 'c'], []]);
});

test('an absence counts from the first of looks that were not interrupted: who came back unseen is not given up', async () => {
  const { control, clock, owners } = keep();
  control.set(ingesters('a', 'b', 'c', 'd'));
  await clock.advance(1_000);
  control.set(ingesters('a', 'b', 'c'));
  await clock.advance(ABSENCE_MS / 2);
  control.isReachable = false;
  await clock.advance(ABSENCE_MS);
  control.isReachable = true;
  await clock.advance(ABSENCE_MS / 2);
  expect(owners()).toEqual(['a', 'b', 'c', 'd']);
  await clock.advance(ABSENCE_MS / 2 + 2_000);
  expect(owners()).toEqual(['a', 'b', 'c']);
});

test('a store that was ever ready stays known', async () => {
  const { control, clock, stores } = keep();
  control.set([...ingesters('a'), { service: 'store', instance: 's' }]);
  await clock.advance(1_000);
  control.set([...ingesters('a'), { service: 'store', instance: 't' }]);
  await clock.advance(ABSENCE_MS * 2, 1_000);
  expect(stores()).toEqual(['s', 't']);
});

test('slots of blocks stand with the stores: a newcomer gets its part, and a record of an earlier version gets slots once', async () => {
  const { control, clock } = keep();
  const names = ['s', 't', 'u', 'v'];
  const members = (...stores: string[]) => [
    ...ingesters('a'),
    ...stores.map((instance) => ({ service: 'store' as const, instance })),
  ];
  const slotsOf = (name: string) =>
    control.placement()!.stores.find(({ instance }) => instance === name)!.slots!;
  control.set(members(...names.slice(0, 3)));
  await clock.advance(1_000);
  const before = names.slice(0, 3).map(slotsOf);
  control.set(members(...names));
  await clock.advance(1_000);
  const epoch = control.placement()!.epoch;
  expect(slotsOf('v')).toHaveLength(64);
  // Who was there gave some away and got none.
  for (const [i, slots] of before.entries()) {
    expect(slots).toEqual(expect.arrayContaining([...slotsOf(names[i]!)]));
    expect(slotsOf(names[i]!)).toHaveLength(64);
  }
  await clock.advance(5_000);
  expect(control.placement()?.epoch).toBe(epoch);
  const stores = control.placement()!.stores.map(({ instance, zone }) => ({ instance, zone }));
  await control.replacePlacement({ ...control.placement()!, epoch: epoch + 1, stores });
  await clock.advance(5_000);
  expect(control.placement()?.epoch).toBe(epoch + 2);
  expect(slotsOf('v').length).toBe(64);
});

test('nothing is changed without the lease, or out of reach of the control plane', async () => {
  const { control, clock } = keep();
  control.isLeaseTaken = true;
  await clock.advance(1_000);
  control.set(ingesters('a'));
  await clock.advance(2_000);
  expect(control.placement()).toBeUndefined();
  control.isLeaseTaken = false;
  control.isReachable = false;
  await clock.advance(2_000);
  expect(control.placement()).toBeUndefined();
  control.isReachable = true;
  await clock.advance(2_000);
  expect(control.placement()?.epoch).toBe(1);
});

const replica = (settledEpoch: number, changes: Partial<ReplicaRecord> = {}): ReplicaRecord => ({
  ...{ settledEpoch, partitions: 8, complete: 8, recovering: false, leaving: false, lackingWrites: 0 },
  ...{ fetchedSamples: 0, progress: 1, remainingSeconds: 0 },
  ...changes,
});

test('former owners go when every owner has everything, and writers that know only them are refused then', async () => {
  const { control, clock, owners, former } = keep();
  control.set(ingesters('a', 'b', 'c'));
  await clock.advance(1_000);
  const names = ['a', 'b', 'c', 'd'];
  control.set(ingesters(...names));
  await clock.advance(1_000);
  expect([control.placement()?.epoch, former()]).toEqual([2, [['a', 'b', 'c']]]);
  control.set(names.map((instance) => ({ instance, replica: replica(instance === 'd' ? 1 : 2) })));
  await clock.advance(2_000);
  expect(former()).toHaveLength(1);
  control.set(names.map((instance) => ({ instance, replica: replica(2, { recovering: instance === 'a' }) })));
  await clock.advance(2_000);
  expect(former()).toHaveLength(1);
  control.set(names.map((instance) => ({ instance, replica: replica(2) })));
  await clock.advance(2_000);
  expect([control.placement()?.epoch, owners(), former(), control.placement()?.fence]).toEqual([
    3,
    names,
    [],
    2,
  ]);
});

test('who leaves owns nothing any more and is a former owner, unless too few would be left', async () => {
  const { control, clock, owners, former } = keep();
  control.set(ingesters('a', 'b', 'c', 'd'));
  await clock.advance(1_000);
  const leaving = (...names: string[]) =>
    control.set(
      ['a', 'b', 'c', 'd'].map((instance) => ({
        instance,
        replica: replica(0, { leaving: names.includes(instance) }),
      })),
    );
  leaving('d');
  await clock.advance(1_000);
  expect([owners(), former()]).toEqual([['a', 'b', 'c'], [['a', 'b', 'c', 'd']]]);
  leaving('b', 'c', 'd');
  await clock.advance(1_000);
  expect(owners()).toHaveLength(2);
  leaving();
  await clock.advance(1_000);
  expect(owners()).toEqual(['a', 'b', 'c', 'd']);
});

test('owners stand in the record; few partitions move; a cluster of an earlier version keeps its hash', async () => {
  const { control, clock } = keep();
  control.set(ingesters('a', 'b', 'c'));
  await clock.advance(1_000);
  const before = control.placement()!;
  expect(before.owners).toHaveLength(8);
  control.set([...ingesters('a', 'b', 'c'), { instance: 'd', weight: 2 }]);
  await clock.advance(1_000);
  const after = control.placement()!;
  const moved = after.owners!.flat().filter((index) => after.ingesters[index]!.instance === 'd').length;
  // Two fifths of 24 copies, but no more than one of each partition.
  expect(moved).toBe(8);
  expect(after.former[0]!.owners).toEqual(before.owners);
  const { owners: _, ...old } = after;
  await control.replacePlacement({ ...old, epoch: after.epoch + 1 });
  control.set(ingesters('a', 'b', 'c', 'd', 'e'));
  await clock.advance(1_000);
  expect(control.placement()!.ingesters).toHaveLength(5);
  expect(control.placement()!.owners).toBeUndefined();
});

test('a record never outgrows what NATS takes: changes wait until earlier ones are through', async () => {
  const { control, clock, owners } = keep();
  // Long names instead of many: a record of hundreds of ingesters takes seconds to work out.
  const names = Array.from({ length: 16 }, (_, i) => String(i).padStart(10_000, '0'));
  for (let count = 4; count <= names.length; count++) {
    control.set(ingesters(...names.slice(0, count)));
    await clock.advance(1_000);
  }
  expect(JSON.stringify(control.placement()).length).toBeLessThan(1 << 20);
  const reached = owners()!.length;
  expect(reached).toBeGreaterThan(5);
  expect(reached).toBeLessThan(names.length);
  await clock.advance(FORMER_MS + 60_000, 10_000);
  expect(owners()).toEqual(names);
});

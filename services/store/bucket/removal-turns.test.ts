// One store removes at a time: a turn begins late enough for the one before to be over, and ends with its lease.
import { expect, test } from 'vitest';
import { FakeControlPlane, ManualClock } from '../../../test/support/fake-control-plane.ts';
import type { Lease } from '../../lib/transport/control-plane.ts';
import { LeasedTurns } from './removal-turns.ts';

function newTurns(): { turns: LeasedTurns; control: FakeControlPlane; clock: ManualClock } {
  const control = new FakeControlPlane();
  const clock = new ManualClock();
  return { turns: new LeasedTurns({ control, clock }), control, clock };
}

test('a turn begins a lease’s time after it was taken: the holder before may believe in its own for so long', async () => {
  const { turns, clock } = newTurns();
  expect(await turns.take()).toBeUndefined();
  await clock.advance(4_900);
  expect(await turns.take()).toBeUndefined();
  await clock.advance(100);
  const right = await turns.take();
  expect(right?.leftMs()).toBe(5_000);
  await turns.giveBack();
  expect(await turns.take()).toBeUndefined();
});

test('it is over with the lease, and another one begins anew', async () => {
  const { turns, control, clock } = newTurns();
  await turns.take();
  await clock.advance(5_000);
  const right = await turns.take();
  expect(right).toBeDefined();
  control.isLeaseTaken = true;
  expect(right!.leftMs()).toBe(0);
  expect(await turns.take()).toBeUndefined();
  control.isLeaseTaken = false;
  expect(await turns.take()).toBeUndefined();
  await clock.advance(5_000);
  expect(await turns.take()).not.toBe(right);
  expect((await turns.take())?.leftMs()).toBe(5_000);
});

test('what asking for the lease took counts: the one before may have been renewed while it was asked for', async () => {
  const { clock } = newTurns();
  const lease: Lease = {
    ...{ name: 'x', token: 1, isHeld: () => true, heldForMs: () => 4_000 },
    ...{ raise: () => Promise.resolve(false), release: () => Promise.resolve() },
  };
  const tryAcquire = async (): Promise<Lease> => {
    await clock.advance(1_000);
    return lease;
  };
  const turns = new LeasedTurns({ control: { tryAcquire }, clock });
  expect(await turns.take()).toBeUndefined();
  await clock.advance(4_900);
  expect(await turns.take()).toBeUndefined();
  await clock.advance(100);
  expect((await turns.take())?.leftMs()).toBe(4_000);
});

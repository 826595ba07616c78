// One store removes at a time: a turn begins late enough for the one before to be over, and ends with its lease.
import { expect, test } from 'vitest';
import { FakeControlPlane, ManualClock } from '../../../test/support/fake-control-plane.ts';
import type { Lease } from '../../lib/transport/control-plane.ts';
import { LeasedTurn } from './removal-turn.ts';

function newTurn(): { turn: LeasedTurn; control: FakeControlPlane; clock: ManualClock } {
  const control = new FakeControlPlane();
  const clock = new ManualClock();
  return { turn: new LeasedTurn({ control, clock }), control, clock };
}

test('a turn begins a lease’s time after it was taken: the holder before may believe in its own for so long', async () => {
  const { turn, clock } = newTurn();
  expect(turn.leftMs()).toBe(0);
  expect(await turn.take()).toBe(false);
  await clock.advance(4_900);
  expect(await turn.take()).toBe(false);
  expect(turn.leftMs()).toBe(0);
  await clock.advance(100);
  expect(await turn.take()).toBe(true);
  expect(turn.leftMs()).toBe(5_000);
  await turn.giveBack();
  expect(turn.leftMs()).toBe(0);
  expect(await turn.take()).toBe(false);
});

test('it is over with the lease, and begins anew with another one', async () => {
  const { turn, control, clock } = newTurn();
  await turn.take();
  await clock.advance(5_000);
  expect(await turn.take()).toBe(true);
  control.isLeaseTaken = true;
  expect(turn.leftMs()).toBe(0);
  expect(await turn.take()).toBe(false);
  control.isLeaseTaken = false;
  expect(await turn.take()).toBe(false);
  await clock.advance(5_000);
  expect(await turn.take()).toBe(true);
});

test('what asking for the lease took counts: the lease before may have been renewed while it was asked for', async () => {
  const { clock } = newTurn();
  const lease: Lease = {
    ...{ name: 'x', token: 1, isHeld: () => true, heldForMs: () => 4_000 },
    ...{ raise: () => Promise.resolve(false), release: () => Promise.resolve() },
  };
  const tryAcquire = async (): Promise<Lease> => {
    await clock.advance(1_000);
    return lease;
  };
  const turn = new LeasedTurn({ control: { tryAcquire }, clock });
  expect(await turn.take()).toBe(false);
  await clock.advance(4_900);
  expect(turn.leftMs()).toBe(0);
  await clock.advance(100);
  expect(turn.leftMs()).toBe(4_000);
});

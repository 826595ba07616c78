import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { FakeControlPlane, ManualClock } from '../../test/support/fake-control-plane.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import type { Lease } from '../lib/transport/control-plane.ts';
import { createWorkShares } from '../lib/transport/members/work-shares.ts';
import type { FenceOutcome } from './fence-quorum.ts';
import { RuleLeases, ruleLeaseOf } from './rule-leases.ts';

/** As ingesters have it (ingester/replication/fence-watch.ts): services do not import one another. */
const FENCE_VALID_MS = 4_000;
const GROUP = 'f;g';
const NAME = ruleLeaseOf(GROUP);
const member = (instance: string, fences = true) => ({
  ...{ service: 'alert-evaluator' as const, instance, state: 'ready' as const },
  ...(fences ? { fences } : {}),
});

/** NATS and ingesters as one evaluator, `a`, finds them. */
class World extends FakeControlPlane {
  readonly clock = new ManualClock();
  /** Of the lease that was taken last. */
  heldForMs = 5_000;
  token = 0;
  /** Greatest token that the ingesters know. */
  newest = 0;
  areIngestersAway = false;
  announced: number[] = [];
  /** What the holder before said when it gave the lease back. */
  quietAfterMs: number | undefined;
  /** Tokens that were given back, with their milliseconds. */
  ended: [number, number][] = [];
  released = 0;
  changes: string[] = [];
  leasesOfA!: RuleLeases;

  override tryAcquire(name: string): Promise<Lease | undefined> {
    if (this.isLeaseTaken || !this.isReachable) return Promise.resolve(undefined);
    let token = ++this.token;
    this.leases.set(name, { holder: 'member.alert-evaluator.a', token, isOwn: true });
    return Promise.resolve({
      name,
      get token() {
        return token;
      },
      isHeld: () => this.heldForMs > 0,
      heldForMs: () => this.heldForMs,
      raise: (above) => {
        if (this.isLeaseTaken) return Promise.resolve(false);
        token = above + 10;
        this.token = token;
        return Promise.resolve(true);
      },
      release: () => {
        this.released++;
        return Promise.resolve();
      },
    });
  }

  /** Another evaluator has it now. */
  take(): void {
    this.isLeaseTaken = true;
    this.heldForMs = 0;
    this.newest = this.token + 5;
    this.leases.set(NAME, { holder: 'member.alert-evaluator.b', token: this.newest, isOwn: false });
  }

  tell(token: number): Promise<FenceOutcome> {
    this.announced.push(token);
    if (this.areIngestersAway) return Promise.resolve({ kind: 'unreachable', reason: 'away' });
    if (token < this.newest) return Promise.resolve({ kind: 'superseded', newest: this.newest });
    const earlier = this.newest;
    this.newest = token;
    return Promise.resolve({ kind: 'confirmed', earlier, quietAfterMs: this.quietAfterMs });
  }
}

async function start(
  others: readonly ReturnType<typeof member>[] = [],
  prepare: (world: World) => void = () => undefined,
): Promise<World> {
  const world = new World();
  prepare(world);
  world.set([member('a'), ...others]);
  const shares = createWorkShares(
    { service: 'alert-evaluator', instance: 'a', settleMs: 0 },
    { control: world, clock: world.clock },
  );
  const leases: RuleLeases = new RuleLeases({
    ...{ control: world, shares, clock: world.clock, logger: createSilentLogger(), registry: new Registry() },
    announce: (_, token) => world.tell(token),
    tellEnd: async (_, token, quietAfterMs) => {
      world.ended.push([token, quietAfterMs]);
    },
    onChange: async () => {
      world.changes.push(leases.owns(GROUP) ? 'gained' : 'lost');
    },
  });
  world.leasesOfA = leases;
  leases.use([GROUP]);
  leases.start();
  onTestFinished(async () => {
    const stopped = leases.stop();
    await world.clock.advance(2_000);
    await stopped;
  });
  await world.clock.advance(1_000);
  return world;
}

test('groups run once a quorum knows the token, and nobody is notified before an earlier holder has fallen silent', async () => {
  const world = await start();
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  expect(world.announced).toEqual([1]);
  const fence = world.leasesOfA.fenceOf(GROUP)!;
  expect([fence.name, fence.token, fence.validForMs()]).toEqual([NAME, 1, 0]);
  await world.clock.advance(3_000);
  expect(fence.validForMs()).toBe(5_000);
});

test('without a quorum no group begins, and a holder goes on but may notify nobody', async () => {
  const world = await start([], (before) => {
    before.areIngestersAway = true;
  });
  expect(world.leasesOfA.owns(GROUP)).toBe(false);
  world.areIngestersAway = false;
  await world.clock.advance(5_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  world.areIngestersAway = true;
  world.isReachable = false;
  world.heldForMs = 0;
  await world.clock.advance(5_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  const fence = world.leasesOfA.fenceOf(GROUP)!;
  await fence.confirm();
  expect(fence.validForMs()).toBe(0);
});

test('whoever lost the lease while it was stopped may do nothing any more, and ends', async () => {
  const world = await start();
  await world.clock.advance(4_000);
  const fence = world.leasesOfA.fenceOf(GROUP)!;
  world.take();
  // What it does first when it wakes up, before its loop has looked.
  expect(fence.validForMs()).toBe(0);
  await fence.confirm();
  expect(fence.validForMs()).toBe(0);
  await world.clock.advance(1_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(false);
  expect(world.leasesOfA.othersOwn(GROUP)).toBe(true);
  expect(world.changes).toEqual(['gained', 'lost']);
  // It is not its to give back.
  expect(world.released).toBe(0);
});

test('with NATS away its holder goes on, and asks a quorum before it notifies', async () => {
  const world = await start();
  await world.clock.advance(4_000);
  world.isReachable = false;
  world.heldForMs = 0;
  await world.clock.advance(600_000, 10_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  const fence = world.leasesOfA.fenceOf(GROUP)!;
  expect(fence.validForMs()).toBe(0);
  await fence.confirm();
  expect(fence.validForMs()).toBeGreaterThan(0);
  await world.clock.advance(2_000);
  expect(fence.validForMs()).toBe(0);
  // Somebody who does reach NATS took it.
  world.newest = 100;
  await fence.confirm();
  expect(fence.validForMs()).toBe(0);
  await world.clock.advance(1_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(false);
});

test('NATS was emptied: the new holder learns what the ingesters remember, and raises its token above it', async () => {
  const world = await start([], (before) => {
    before.newest = 1_000;
  });
  await world.clock.advance(2_000);
  expect(world.newest).toBe(1_010);
  // Whoever had it before may be at work at an ingester that our quorum did not reach.
  expect(world.leasesOfA.owns(GROUP)).toBe(false);
  await world.clock.advance(5_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  expect(world.leasesOfA.fenceOf(GROUP)!.token).toBe(1_010);
});

test('groups of an earlier holder begin when ingesters that the quorum does not reach have stopped taking its samples', async () => {
  const world = await start([], (before) => {
    [before.newest, before.token] = [6, 6];
  });
  expect(world.announced).toEqual([7]);
  await world.clock.advance(FENCE_VALID_MS - 1_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(false);
  await world.clock.advance(2_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  expect([world.announced, world.changes]).toEqual([[7], ['gained']]);
});

test('groups that an earlier holder gave back begin at once, and notify', async () => {
  const world = await start([], (before) => {
    [before.newest, before.token, before.quietAfterMs] = [6, 6, 0];
  });
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  expect(world.leasesOfA.fenceOf(GROUP)!.validForMs()).toBe(5_000);
});

test('whoever gives a lease back says so: at once, or for as long as something may be on its way', async () => {
  const early = await start([], (before) => {
    [before.newest, before.token] = [6, 6];
  });
  early.leasesOfA.use([]);
  await early.clock.advance(500);
  // It waits for the holder before it, and so must the next.
  expect(early.ended).toEqual([[7, expect.toSatisfy((ms) => ms > 3_000 && ms < 5_000)]]);

  const settled = await start();
  await settled.clock.advance(10_000);
  settled.leasesOfA.use([]);
  await settled.clock.advance(500);
  expect(settled.ended).toEqual([[1, 0]]);

  const doubted = await start();
  await doubted.clock.advance(10_000);
  doubted.leasesOfA.fenceOf(GROUP)!.doubted();
  doubted.leasesOfA.use([]);
  await doubted.clock.advance(500);
  expect(doubted.ended).toEqual([[1, expect.toSatisfy((ms) => ms > 4_000 && ms <= 5_000)]]);
});

test('a lease that another had for a while is taken again: the groups end, and begin later', async () => {
  const world = await start();
  await world.clock.advance(4_000);
  world.isReachable = false;
  world.heldForMs = 0;
  await world.clock.advance(20_000, 1_000);
  // The other one took it with token 9, worked, and is gone.
  [world.newest, world.token] = [9, 9];
  world.isReachable = true;
  await world.clock.advance(600);
  world.heldForMs = 5_000;
  await world.clock.advance(1_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(false);
  await world.clock.advance(5_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  expect(world.changes).toEqual(['gained', 'lost', 'gained']);
});

test('a lease that was lost in an outage of NATS is taken again, without an end of the groups', async () => {
  const world = await start();
  await world.clock.advance(4_000);
  world.isReachable = false;
  world.heldForMs = 0;
  await world.clock.advance(20_000, 1_000);
  world.isReachable = true;
  const again = world.clock.advance(500);
  world.heldForMs = 5_000;
  world.isLeaseTaken = false;
  await again;
  await world.clock.advance(1_000);
  expect(world.leasesOfA.owns(GROUP)).toBe(true);
  expect(world.changes).toEqual(['gained']);
});

test('groups that are gone, and a stop, give leases back', async () => {
  const world = await start();
  world.leasesOfA.use([]);
  await world.clock.advance(1_000);
  expect([world.released, world.leasesOfA.owns(GROUP)]).toEqual([1, false]);
});

test('beside an evaluator of an earlier version groups are shared out one by one, without leases', async () => {
  const world = await start([member('b', false)]);
  expect(world.announced).toEqual([]);
  expect(world.leasesOfA.fenceOf(GROUP)).toBeUndefined();
  const keys = Array.from({ length: 20 }, (_, i) => `f;${i}`);
  const own = keys.filter(world.leasesOfA.owns);
  expect(own.length).toBeGreaterThan(0);
  expect(keys.filter(world.leasesOfA.othersOwn)).toEqual(keys.filter((key) => !own.includes(key)));
});

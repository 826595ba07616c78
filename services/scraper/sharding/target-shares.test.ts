// Scrapers that share out targets among themselves, on a clock of the test's, calls and lease in memory.
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { ManualClock } from '../../../test/support/fake-control-plane.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { Lease } from '../../lib/transport/control-plane.ts';
import { BUCKETS, bucketOf, costOf } from './share-record.ts';
import { TargetShares } from './target-shares.ts';

const TARGETS = Array.from({ length: 200 }, (_, i) => `target ${i}`);

/** Some scrapers that reach each other. */
class Fleet {
  readonly clock = new ManualClock();
  readonly nodes = new Map<string, TargetShares>();
  readonly unreachable = new Set<string>();
  readonly samples = new Map(TARGETS.map((target) => [target, 500]));
  #live: string[] = [];
  readonly #followers: (() => void)[] = [];
  #holder: string | undefined;
  #token = 0;

  /** Names of those that know nothing of records, as earlier versions do not. */
  readonly old = new Set<string>();

  add(instance: string): void {
    const shares = new TargetShares({
      instance,
      live: () => this.#live,
      onMembers: (listener) => this.#followers.push(listener),
      others: () =>
        this.#live
          .filter((each) => each !== instance)
          .map((each) => ({
            instance: each,
            balance: (request) => {
              if (this.old.has(each) || this.unreachable.has(each))
                return Promise.reject(new Error('unimplemented'));
              return this.nodes.get(each)!.balance(request);
            },
          })),
      tryAcquire: () => Promise.resolve(this.#lend(instance)),
      clock: this.clock,
      logger: createSilentLogger(),
      registry: new Registry(),
    });
    this.nodes.set(instance, shares);
    shares.start(() => this.#costsOf(shares));
  }

  setLive(...instances: string[]): void {
    this.#live = instances.toSorted();
    if (this.#holder !== undefined && !instances.includes(this.#holder)) this.#holder = undefined;
    for (const follow of this.#followers) follow();
  }

  /** NATS lost who holds the lease, and counts from the beginning. */
  emptyNats(): void {
    this.#holder = undefined;
    this.#token = 0;
  }

  #lend(instance: string): Lease | undefined {
    if (this.#holder !== undefined || !this.#live.includes(instance)) return undefined;
    this.#holder = instance;
    let token = ++this.#token;
    const isHeld = (): boolean => this.#holder === instance && token === this.#token;
    return {
      name: 'target-shares',
      get token() {
        return token;
      },
      isHeld,
      heldForMs: () => (isHeld() ? 1_000 : 0),
      raise: (above) => {
        token = this.#token = above + 1;
        return Promise.resolve(true);
      },
      release: () => Promise.resolve(),
    };
  }

  #costsOf(shares: TargetShares): Float64Array {
    const costs = new Float64Array(BUCKETS);
    for (const [target, samples] of this.samples)
      if (shares.owns(target)) costs[bucketOf(target)]! += costOf(samples, 15_000);
    return costs;
  }

  /** The one owner of each target, as all that live see it. */
  owners(): Map<string, string> {
    return new Map(
      TARGETS.map((target) => {
        const owners = this.#live.filter((each) => this.nodes.get(each)!.owns(target));
        expect(owners, target).toHaveLength(1);
        return [target, owners[0]!];
      }),
    );
  }

  /** The busiest above the mean, by what targets really cost. */
  skew(): number {
    const loads = new Map(this.#live.map((each) => [each, 0]));
    for (const [target, owner] of this.owners())
      loads.set(owner, loads.get(owner)! + costOf(this.samples.get(target)!, 15_000));
    const all = [...loads.values()];
    return (Math.max(...all) * all.length) / all.reduce((a, b) => a + b, 0) - 1;
  }
}

async function fleetOf(...instances: string[]): Promise<Fleet> {
  const fleet = new Fleet();
  for (const instance of instances) fleet.add(instance);
  fleet.setLive(...instances);
  await fleet.clock.advance(20_000);
  return fleet;
}

function moved(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): number {
  return TARGETS.filter((target) => before.get(target) !== after.get(target)).length;
}

test('3, 5, 2 scrapers: each target has one, nobody has a tenth more than the mean, few targets move', async () => {
  const fleet = await fleetOf('a', 'b', 'c');
  expect(fleet.skew()).toBeLessThan(0.1);
  const three = fleet.owners();
  fleet.add('d');
  fleet.add('e');
  fleet.setLive('a', 'b', 'c', 'd', 'e');
  await fleet.clock.advance(20_000);
  expect(fleet.skew()).toBeLessThan(0.1);
  const five = fleet.owners();
  expect(moved(three, five)).toBeLessThanOrEqual(200 * (2 / 5) + 10);
  fleet.setLive('b', 'd');
  const fallback = fleet.owners();
  for (const [target, owner] of five)
    if (owner === 'b' || owner === 'd') expect(fallback.get(target)).toBe(owner);
  await fleet.clock.advance(20_000);
  expect(fleet.skew()).toBeLessThan(0.1);
});

test('targets move by what they cost, once that has lasted, and then stay', async () => {
  const fleet = await fleetOf('a', 'b');
  const before = fleet.owners();
  for (const [target, owner] of before) if (owner === 'a') fleet.samples.set(target, 2000);
  expect(fleet.skew()).toBeGreaterThan(0.3);
  await fleet.clock.advance(6_000);
  expect(moved(before, fleet.owners())).toBe(0);
  await fleet.clock.advance(20_000);
  const after = fleet.owners();
  expect(fleet.skew()).toBeLessThan(0.1);
  // Costs that waver by a few percent move nothing.
  for (let round = 0; round < 20; round++) {
    for (const [i, target] of TARGETS.entries())
      fleet.samples.set(target, fleet.samples.get(target)! + ((i + round) % 2 === 0 ? 20 : -20));
    await fleet.clock.advance(5_000);
  }
  expect(moved(after, fleet.owners())).toBe(0);
});

test('a change takes effect for all at one moment', async () => {
  const fleet = await fleetOf('a', 'b', 'c');
  fleet.add('d');
  await fleet.clock.advance(100);
  fleet.setLive('a', 'b', 'c', 'd');
  // At each step every target has one owner among those who go by the record; the joiner learns it before it is a member.
  for (let step = 0; step < 60; step++) {
    await fleet.clock.advance(250);
    fleet.owners();
  }
  expect([...fleet.owners().values()]).toContain('d');
});

test('a scraper of an earlier version: all go by the hash, as it does', async () => {
  const fleet = new Fleet();
  fleet.old.add('b');
  for (const instance of ['a', 'b', 'c']) fleet.add(instance);
  fleet.setLive('a', 'b', 'c');
  const before = fleet.owners();
  await fleet.clock.advance(30_000);
  expect(moved(before, fleet.owners())).toBe(0);
  fleet.old.clear();
  await fleet.clock.advance(30_000);
  expect(fleet.skew()).toBeLessThan(0.1);
});

test('another holder goes on from the record of the one before', async () => {
  const fleet = await fleetOf('a', 'b', 'c');
  const three = fleet.owners();
  fleet.setLive('b', 'c');
  await fleet.clock.advance(20_000);
  const two = fleet.owners();
  expect(moved(three, two)).toBeLessThanOrEqual(200 / 3 + 20);
  expect(fleet.skew()).toBeLessThan(0.1);
});

test('NATS was emptied and tokens begin anew: the next holder raises its own above the record that all have', async () => {
  const fleet = await fleetOf('a', 'b');
  // Holders before it, so that the record in force has a greater token.
  for (let i = 0; i < 5; i++) {
    fleet.setLive(i % 2 === 0 ? 'b' : 'a');
    await fleet.clock.advance(10_000);
    fleet.setLive('a', 'b');
    await fleet.clock.advance(10_000);
  }
  fleet.emptyNats();
  await fleet.clock.advance(10_000);
  fleet.add('c');
  fleet.setLive('a', 'b', 'c');
  await fleet.clock.advance(20_000);
  expect([...fleet.owners().values()].filter((owner) => owner === 'c').length).toBeGreaterThan(40);
  expect(fleet.skew()).toBeLessThan(0.1);
});

test('a record that cannot be is refused', async () => {
  const fleet = await fleetOf('a');
  const request = {
    term: 9,
    version: 9,
    fromMs: 0,
    instances: ['a'],
    owners: new Uint8Array(BUCKETS * 2).fill(1),
  };
  expect(() => fleet.nodes.get('a')!.balance(request)).toThrow(/names a scraper that it does not have/);
  expect(() => fleet.nodes.get('a')!.balance({ ...request, owners: new Uint8Array(3) })).toThrow(/3 bytes/);
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GROUP_SHARDS, GROUP_WINDOW_MS, GroupPlacement, groupOf, type StoreMember } from './block-groups.ts';

const storesOf = (count: number, zones = 0): StoreMember[] =>
  Array.from({ length: count }, (_, i) => ({
    instance: `store-${i}`,
    zone: zones === 0 ? '' : `zone-${i % zones}`,
  }));

/** Groups of one tenant over 15 days. */
const GROUPS = Array.from({ length: 8 * GROUP_SHARDS }, (_, i) =>
  groupOf({
    tenant: 'anonymous',
    minTimeMs: Math.floor(i / GROUP_SHARDS) * GROUP_WINDOW_MS + 7,
    partitions: [i % GROUP_SHARDS, (i % GROUP_SHARDS) + GROUP_SHARDS],
  }),
);

describe('the group of a block', () => {
  test.each<[readonly number[], string]>([
    [[3], 't/10/3'],
    [[3, 19, 35], 't/10/3'],
    [[3, 4], 't/10/mixed'],
    [[], 't/10/mixed'],
  ])('with partitions %j is %s', (partitions, group) => {
    expect(groupOf({ tenant: 't', minTimeMs: 10 * GROUP_WINDOW_MS, partitions })).toBe(group);
    expect(groupOf({ tenant: 't', minTimeMs: 11 * GROUP_WINDOW_MS - 1, partitions })).toBe(group);
  });

  test('times before 1970 have windows of their own', () => {
    expect(groupOf({ tenant: 't', minTimeMs: -1, partitions: [0] })).toBe('t/-1/0');
  });
});

describe('laws', () => {
  const cluster = fc.record({
    count: fc.integer({ min: 1, max: 9 }),
    zones: fc.integer({ min: 0, max: 4 }),
    copies: fc.integer({ min: 1, max: 4 }),
    group: fc.constantFrom(...GROUPS, 'other/3/mixed'),
  });

  test('as many distinct owners as there can be, in as many zones, whatever the order of the stores', () => {
    fc.assert(
      fc.property(cluster, ({ count, zones, copies, group }) => {
        const stores = storesOf(count, zones);
        const placement = new GroupPlacement(stores, copies);
        const owners = placement.ownersOf(group);
        expect(new Set(owners).size).toBe(Math.min(count, copies));
        expect(new GroupPlacement(stores.toReversed(), copies).ownersOf(group)).toEqual(owners);
        expect(placement.orderFor(group).toSorted()).toEqual(
          stores.map(({ instance }) => instance).toSorted(),
        );
        expect(placement.orderFor(group).slice(0, owners.length)).toEqual(owners);
        if (zones === 0) return;
        const zoneOf = new Map(stores.map(({ instance, zone }) => [instance, zone]));
        expect(new Set(owners.map((owner) => zoneOf.get(owner))).size).toBe(Math.min(zones, count, copies));
      }),
    );
  });

  test('more copies than zones: every group of every small cluster has all its copies', () => {
    for (const zones of [1, 2, 3]) {
      for (let count = zones; count <= 7; count++) {
        const placement = new GroupPlacement(storesOf(count, zones), 4);
        for (const group of GROUPS) {
          expect(new Set(placement.ownersOf(group)).size, `${group}, ${count} in ${zones}`).toBe(
            Math.min(count, 4),
          );
        }
      }
    }
  });

  test('a store that leaves owns nothing', () => {
    const stores = storesOf(4).map((store, i) => (i === 2 ? { ...store, leaving: true } : store));
    const placement = new GroupPlacement(stores, 2);
    for (const group of GROUPS) {
      expect(placement.ownersOf(group)).toHaveLength(2);
      expect(placement.orderFor(group)).not.toContain('store-2');
    }
    // The others own what they would without it.
    const without = new GroupPlacement(
      stores.filter(({ instance }) => instance !== 'store-2'),
      2,
    );
    expect(GROUPS.map((group) => placement.ownersOf(group))).toEqual(
      GROUPS.map((group) => without.ownersOf(group)),
    );
  });
});

/** The same for ten tenants. */
const MANY_GROUPS = Array.from({ length: 10 }, (_, tenant) =>
  GROUPS.map((group) => group.replace('anonymous', `tenant-${tenant}`)),
).flat();

/** Groups that each store owns. */
function loadOf(placement: GroupPlacement): Map<string, number> {
  const load = new Map<string, number>();
  for (const group of MANY_GROUPS) {
    for (const owner of placement.ownersOf(group)) load.set(owner, (load.get(owner) ?? 0) + 1);
  }
  return load;
}

describe('over 15 days of ten tenants', () => {
  test.each([2, 3, 4, 5, 8])('no store of %i has more than a tenth above its part', (count) => {
    const load = loadOf(new GroupPlacement(storesOf(count), 2));
    const mean = (MANY_GROUPS.length * 2) / count;
    expect(Math.max(...load.values()) / mean).toBeLessThan(1.1);
  });

  // The optimum is what newcomers must get, or what those who leave had.
  test.each([
    [2, 4, 1],
    [4, 2, 1],
    [3, 4, 1.08],
    [4, 3, 1.08],
    [4, 5, 1.1],
  ])('from %i to %i stores at most %f times the optimum moves', (before, after, limit) => {
    const from = new GroupPlacement(storesOf(before), 2);
    const to = new GroupPlacement(storesOf(after), 2);
    let moved = 0;
    for (const group of MANY_GROUPS) {
      const had = new Set(from.ownersOf(group));
      moved += to.ownersOf(group).filter((owner) => !had.has(owner)).length;
    }
    const [grown, shrunk] = [loadOf(to), loadOf(from)];
    const newcomers = [...grown].filter(([store]) => !shrunk.has(store));
    const leavers = [...shrunk].filter(([store]) => !grown.has(store));
    const optimum = [...newcomers, ...leavers].reduce((sum, [, groups]) => sum + groups, 0);
    expect(moved / optimum).toBeLessThanOrEqual(limit);
  });

  test('a store of twice the weight has nearly twice the groups', () => {
    const stores = storesOf(5).map((store, i) => (i === 0 ? { ...store, weight: 2 } : store));
    const load = loadOf(new GroupPlacement(stores, 2));
    const others = stores.slice(1).map(({ instance }) => load.get(instance)!);
    const ratio = load.get('store-0')! / (others.reduce((sum, count) => sum + count) / others.length);
    expect(ratio).toBeGreaterThan(1.6);
    expect(ratio).toBeLessThan(2.2);
  });
});

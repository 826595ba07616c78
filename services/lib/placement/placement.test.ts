import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { computePlacement, type Member, partitionOf, quorumOf, rankMembers } from './placement.ts';

const membersOf = (count: number, zones = 0): Member[] =>
  Array.from({ length: count }, (_, i) => ({
    instance: `node-${i}`,
    zone: zones === 0 ? '' : `zone-${i % zones}`,
  }));

const place = (members: readonly Member[], replicationFactor = 3, partitionCount = 64) =>
  computePlacement(members, { epoch: 1, partitionCount, replicationFactor }).replicas;

test.each([
  [1, 1],
  [2, 2],
  [3, 2],
  [4, 3],
  [5, 3],
])('quorum of %i copies is %i: a majority', (replicationFactor, quorum) => {
  expect(quorumOf(replicationFactor)).toBe(quorum);
  expect(2 * quorum).toBeGreaterThan(replicationFactor);
});

const cluster = fc.record({
  count: fc.integer({ min: 1, max: 12 }),
  zones: fc.integer({ min: 0, max: 4 }),
  replicationFactor: fc.integer({ min: 1, max: 5 }),
});

describe('laws', () => {
  test('as many distinct owners as there can be, whatever the order of the members', () => {
    fc.assert(
      fc.property(cluster, ({ count, zones, replicationFactor }) => {
        const members = membersOf(count, zones);
        const replicas = place(members, replicationFactor);
        expect(replicas).toHaveLength(64);
        for (const owners of replicas) {
          expect(owners).toHaveLength(Math.min(count, replicationFactor));
          expect(new Set(owners).size).toBe(owners.length);
        }
        expect(place(members.toReversed(), replicationFactor)).toEqual(replicas);
      }),
    );
  });

  test('each zone once before any zone twice', () => {
    fc.assert(
      fc.property(cluster, ({ count, zones, replicationFactor }) => {
        fc.pre(zones > 0);
        const members = membersOf(count, zones);
        const zoneOf = new Map(members.map(({ instance, zone }) => [instance, zone]));
        const live = new Set(members.map(({ zone }) => zone)).size;
        for (const owners of place(members, replicationFactor)) {
          const used = new Set(owners.map((instance) => zoneOf.get(instance)));
          expect(used.size).toBe(Math.min(live, owners.length));
        }
      }),
    );
  });

  test('a member that joins takes partitions only for itself; one that leaves gives up only its own', () => {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 12 }), (count) => {
        const before = place(membersOf(count));
        const joined = `node-${count}`;
        place(membersOf(count + 1)).forEach((owners, partition) => {
          const kept = owners.filter((instance) => instance !== joined);
          // Whoever is left of the new owners was an owner before, in the same order.
          expect(before[partition]!.filter((instance) => kept.includes(instance))).toEqual(kept);
          if (!owners.includes(joined)) expect(owners).toEqual(before[partition]);
        });
      }),
    );
  });

  test('with zones too: partitions that a new member does not own keep their owners', () => {
    const before = place(membersOf(6, 3));
    place(membersOf(7, 3)).forEach((owners, partition) => {
      if (!owners.includes('node-6')) expect(owners).toEqual(before[partition]);
    });
  });
});

test('partitions spread evenly: of 64 × 3 copies on 6 members none has more than twice its share', () => {
  const copies = new Map<string, number>();
  for (const owners of place(membersOf(6))) {
    for (const instance of owners) copies.set(instance, (copies.get(instance) ?? 0) + 1);
  }
  expect(copies.size).toBe(6);
  for (const count of copies.values()) expect(count).toBeLessThanOrEqual(64);
});

test('ranks are a permutation that depends on the key', () => {
  const members = membersOf(8);
  const orders = new Set<string>();
  for (let i = 0; i < 100; i++) {
    const ranked = rankMembers(members, `key ${i}`).map(({ instance }) => instance);
    expect(ranked.toSorted()).toEqual(members.map(({ instance }) => instance).toSorted());
    orders.add(ranked.join());
  }
  expect(orders.size).toBeGreaterThan(90);
});

test('the partition of a series is within range and depends on both words', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer(), fc.integer({ min: 1, max: 4096 }), (labels, tenant, count) => {
      const partition = partitionOf(labels, tenant, count);
      expect(Number.isInteger(partition)).toBe(true);
      expect(partition).toBeGreaterThanOrEqual(0);
      expect(partition).toBeLessThan(count);
    }),
  );
  // Worked out by hand: 0x80000005 ^ 3 = 0x80000006 = 2147483654, unsigned; mod 64 = 6.
  expect(partitionOf(0x80000005 | 0, 3, 64)).toBe(6);
});

test('no partitions is a fault of ours', () => {
  expect(() => place(membersOf(1), 1, 0)).toThrow(/partitionCount 0 > 0/);
});

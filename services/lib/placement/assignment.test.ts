import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assignPartitions, type OwnerMember } from './assignment.ts';

const membersOf = (count: number, zones = 0): OwnerMember[] =>
  Array.from({ length: count }, (_, i) => ({
    instance: `node-${i}`,
    zone: zones === 0 ? '' : `zone-${i % zones}`,
  }));

const assign = (
  members: readonly OwnerMember[],
  previous: readonly (readonly string[])[] = [],
  partitionCount = 64,
  replicationFactor = 3,
) => assignPartitions(members, previous, { partitionCount, replicationFactor });

function loadsOf(
  owners: readonly (readonly string[])[],
  members: readonly OwnerMember[],
): Map<string, number> {
  const loads = new Map(members.map(({ instance }) => [instance, 0]));
  for (const instance of owners.flat()) loads.set(instance, loads.get(instance)! + 1);
  return loads;
}

/** Copies that are at another member than before. */
function movedBetween(before: readonly (readonly string[])[], after: readonly (readonly string[])[]): number {
  return after.reduce(
    (sum, owners, partition) =>
      sum + owners.filter((instance) => !before[partition]!.includes(instance)).length,
    0,
  );
}

const cluster = fc.record({
  count: fc.integer({ min: 1, max: 12 }),
  zones: fc.integer({ min: 0, max: 4 }),
  copies: fc.integer({ min: 1, max: 5 }),
  next: fc.array(fc.integer({ min: 1, max: 14 }), { maxLength: 4 }),
  gone: fc.integer({ min: 0, max: 11 }),
});

describe('laws, through any series of changes', () => {
  test('as many distinct owners in as many zones as there can be', () => {
    fc.assert(
      fc.property(cluster, ({ count, zones, copies, next, gone }) => {
        let owners: string[][] = [];
        for (const size of [count, ...next]) {
          const members = membersOf(size, zones).filter((_, i) => size === 1 || i !== gone % size);
          owners = assign(members, owners, 32, copies);
          const zoneOf = new Map(members.map(({ instance, zone }) => [instance, zone || instance]));
          const live = new Set(zoneOf.values()).size;
          for (const each of owners) {
            expect(each).toHaveLength(Math.min(members.length, copies));
            expect(new Set(each).size).toBe(each.length);
            expect(each.every((instance) => zoneOf.has(instance))).toBe(true);
            expect(new Set(each.map((instance) => zoneOf.get(instance))).size).toBe(
              Math.min(live, each.length),
            );
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  test('the same again when nothing changed', () => {
    fc.assert(
      fc.property(cluster, ({ count, zones, copies }) => {
        const members = membersOf(count, zones);
        const owners = assign(members, [], 32, copies);
        expect(assign(members.toReversed(), owners, 32, copies)).toEqual(owners);
      }),
    );
  });
});

/** 3 members to 12 and back to 3, one at a time. */
const SIZES = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3];

test.each([
  [64, 0],
  [256, 0],
  [1024, 0],
  [64, 3],
  [256, 3],
])(
  '%i partitions, %i zones: skew below a tenth, movement within a twentieth of the optimum',
  (partitions, zones) => {
    let owners: string[][] = [];
    let skew = 0;
    let moved = 0;
    let optimum = 0;
    let before = 0;
    for (const size of SIZES) {
      const members = membersOf(size, zones);
      const next = assign(members, owners, partitions);
      const loads = loadsOf(next, members);
      if (zones === 0 || size % zones === 0) {
        skew = Math.max(skew, Math.max(...loads.values()) / ((partitions * 3) / size) - 1);
      }
      if (owners.length > 0) {
        moved += movedBetween(owners, next);
        const gone = loadsOf(owners, membersOf(before, zones)).get(`node-${size}`) ?? 0;
        // At least what the newcomer has, or what the one that left had.
        optimum += size > before ? loads.get(`node-${size - 1}`)! : gone;
      }
      owners = next;
      before = size;
    }
    console.log(
      `placement: ${partitions} partitions, ${zones} zones, 3 to 12 to 3 members: skew ${(skew * 100).toFixed(1)} %, moved ${(moved / optimum).toFixed(3)} of the optimum`,
    );
    expect(skew).toBeLessThan(0.1);
    expect(moved / optimum).toBeLessThan(1.05);
  },
);

test('a member of twice the weight has twice the partitions', () => {
  const members = membersOf(6).map((member, i) => (i === 0 ? { ...member, weight: 2 } : member));
  const loads = [...loadsOf(assign(members, [], 256), members).values()];
  const share = (256 * 3) / 7;
  expect(loads[0]! / (2 * share)).toBeCloseTo(1, 1);
  for (const load of loads.slice(1)) expect(load / share).toBeCloseTo(1, 1);
});

test('no partitions, or a weight of nothing, is a fault of ours', () => {
  expect(() => assign(membersOf(1), [], 0)).toThrow(/partitionCount 0 > 0/);
  expect(() => assign([{ instance: 'a', zone: '', weight: 0 }])).toThrow(/weight 0 of a > 0/);
});

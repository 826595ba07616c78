import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fairShares, fewestMoves, loadsOf, movedBetween } from '../../../test/support/placement-bounds.ts';
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

/** Members that follow one another: by number, then the middle one goes for good. */
function walkOf(sizes: readonly number[], zones: number, weightOf: (index: number) => number) {
  const lists = sizes.map((size) =>
    membersOf(size, zones).map((member, index) => ({ ...member, weight: weightOf(index) })),
  );
  const last = lists.at(-1)!;
  return [...lists, last.toSpliced(Math.floor(last.length / 2), 1)];
}

const EQUAL = () => 1;
const MIXED = (index: number) => 1 + (index % 3) / 2;

test.each<[string, readonly number[], number, (index: number) => number]>([
  ['3 to 5 to 3', [3, 4, 5, 4, 3], 0, EQUAL],
  ['3 to 5 to 3 at once', [3, 5, 3], 0, EQUAL],
  ['3 to 5 to 3 in three zones', [3, 4, 5, 4, 3], 3, EQUAL],
  ['3 to 4', [3, 4], 0, EQUAL],
  ['5 to 6', [5, 6], 0, EQUAL],
  ['9 to 10', [9, 10], 0, EQUAL],
  ['9 to 10 in three zones', [9, 10], 3, EQUAL],
  ['5 to 6 in two zones', [5, 6], 2, EQUAL],
  ['5 to 6 by weight', [5, 6], 0, MIXED],
  ['9 to 12 by weight, in three zones', [9, 10, 11, 12], 3, MIXED],
])(
  '%s, then one less: every step within a twentieth of the fewest moves, nobody a tenth above its share',
  (_, sizes, zones, weightOf) => {
    let owners: string[][] = [];
    for (const members of walkOf(sizes, zones, weightOf)) {
      const next = assign(members, owners);
      const shares = fairShares(members, 3);
      for (const [instance, load] of loadsOf(next, members))
        expect(load / (shares.get(instance)! * 64), `${instance} of ${members.length}`).toBeLessThan(1.1);
      if (owners.length > 0) {
        expect(movedBetween(owners, next)).toBeLessThanOrEqual(fewestMoves(owners, next, members) * 1.05);
      }
      owners = next;
    }
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

import { describe, expect, test } from 'vitest';
import {
  chooseWitnesses,
  countsOn,
  coversQuorums,
  fencesOf,
  holdsQuorums,
  ownedBy,
  witnessesOf,
} from './owner-sets.ts';
import type { Placement } from './placement.ts';

const A = ['a', 'b', 'c'];
const B = ['b', 'c', 'd'];

const placement = (changes: Partial<Placement> = {}): Placement => ({
  epoch: 5,
  partitionCount: 2,
  replicas: [B, A],
  former: [[A, A]],
  formerEpochs: [3],
  ...changes,
});

test.each([
  [3, 2, 2],
  [2, 2, 1],
  [1, 2, 0],
  [5, 3, 3],
  [1, 1, 1],
])('of %i owners with a quorum of %i no quorum is without one of %i', (owners, quorum, witnesses) => {
  const names = Array.from({ length: owners }, (_, i) => `${i}`);
  expect(witnessesOf(names, quorum)).toBe(witnesses);
});

describe('each quorum of each set has one', () => {
  test.each<[string[], boolean]>([
    [['b', 'c'], true],
    [['c', 'd'], false],
    [['a', 'd'], false],
    [['a', 'c', 'd'], true],
    [[], false],
  ])('%j: %s', (accounted, covers) => {
    expect(coversQuorums([B, A], 2, (instance) => accounted.includes(instance))).toBe(covers);
  });
});

describe('a quorum of each set is among them', () => {
  test.each<[string[], string[][], boolean]>([
    [['b', 'c'], [B, A], true],
    [['c', 'd'], [B, A], false],
    [['a', 'c', 'd'], [B, A], true],
    [['b', 'c'], [B, A, ['x']], true],
    [['x'], [['x']], false],
  ])('%j of %j: %s', (told, sets, holds) => {
    expect(holdsQuorums(sets, 2, (instance) => told.includes(instance))).toBe(holds);
  });

  test('then no two of them can be without one in common, nor without one of the witnesses', () => {
    const owners = ['a', 'b', 'c', 'd', 'e'];
    const subsets = Array.from({ length: 32 }, (_, bits) => owners.filter((_, i) => bits & (1 << i)));
    for (const quorum of [2, 3]) {
      const sets = [owners.slice(0, 2 * quorum - 1)];
      const holds = (told: string[]) => holdsQuorums(sets, quorum, (one) => told.includes(one));
      const covers = (asked: string[]) => coversQuorums(sets, quorum, (one) => asked.includes(one));
      for (const told of subsets.filter(holds))
        for (const other of subsets.filter((one) => holds(one) || covers(one)))
          expect(other.some((one) => told.includes(one))).toBe(true);
    }
  });
});

test('few are asked: two others of the former owners are two of the new ones', () => {
  const self = { instance: 'd', counted: true };
  expect(chooseWitnesses(placement(), [0], 2, ['a', 'b', 'c'], self)).toEqual(new Set(['b', 'a']));
  expect(chooseWitnesses(placement({ former: [] }), [0], 2, ['c', 'b'], self)).toEqual(new Set(['c']));
  const lost = { instance: 'd', counted: false };
  expect(chooseWitnesses(placement({ former: [] }), [0], 2, ['c', 'b'], lost)).toEqual(new Set(['c', 'b']));
});

test('who is counted on: owners now and before, until they are let go', () => {
  expect(ownedBy(placement(), 'd')).toEqual([0]);
  expect([countsOn(placement(), 0, 'a'), countsOn(placement({ former: [] }), 0, 'a')]).toEqual([true, false]);
});

test('writes by a placement with other owners are refused, for the partitions that changed', () => {
  expect([...fencesOf(placement())]).toEqual([4, 0]);
  expect([...fencesOf(placement({ fence: 2 }))]).toEqual([4, 2]);
  // The newest owners that differ count: those of epoch 2 were replaced before.
  expect([
    ...fencesOf(
      placement({
        former: [
          [B, A],
          [A, A],
        ],
        formerEpochs: [4, 2],
      }),
    ),
  ]).toEqual([3, 0]);
});

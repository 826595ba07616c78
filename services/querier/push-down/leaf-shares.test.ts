import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ListedBlocks, packLeaves, shareOutLeaves } from './leaf-shares.ts';

const PARTITIONS = 20;
const idOf = (n: number): string => n.toString(16).padStart(32, '0');
const block = (
  partitions: readonly number[],
  leaves: readonly number[],
  deletes: readonly number[] = [],
) => ({
  partitions: [...partitions],
  leaves: packLeaves(leaves.map(idOf)),
  deletes: packLeaves(deletes.map(idOf)),
});
const stores = (...all: (readonly ReturnType<typeof block>[])[]): ListedBlocks[] =>
  all.map((blocks, i) => ({ instance: `store-${i}`, blocks }));

test('a partition goes to one that has all of it, whatever the blocks that it stands in', () => {
  const all = stores(
    [block([0, 1], [1, 2]), block([1], [3])],
    [block([0, 1], [1]), block([0, 1], [2])],
    [block([1], [3])],
  );
  const { shares, empty, refused } = shareOutLeaves(all, 3);
  expect(shares).toContainEqual({ instance: 'store-0', partitions: [1], leaves: [1, 2, 3].map(idOf) });
  const zero = shares.find(({ partitions }) => partitions.includes(0))!;
  expect([zero.leaves, empty, refused]).toEqual([[1, 2].map(idOf), [2], []]);
});

test('what no store has all of is refused, also where deletes are not the same', () => {
  // Two groups in time, of different owners.
  expect(shareOutLeaves(stores([block([0], [1])], [block([0], [2])]), 1).refused).toEqual([0]);
  expect(shareOutLeaves(stores([block([0], [1], [9])], [block([0], [1])]), 1).refused).toEqual([0]);
  expect(shareOutLeaves(stores([block([0], [1], [9])], [block([0], [1], [9])]), 1).refused).toEqual([]);
  // What is in a partition that is none would be lost.
  expect(shareOutLeaves(stores([block([0, 1], [1])]), 1).refused).toEqual([0]);
});

test('who is late is asked where no other has it', () => {
  const all = stores([block([0, 1], [1])], [block([0, 1], [1])], [block([2], [2])]);
  const { shares } = shareOutLeaves(all, 3, (instance) => instance !== 'store-0');
  expect(shares.map(({ instance, partitions }) => [instance, partitions])).toEqual([
    ['store-0', [0, 1]],
    ['store-2', [2]],
  ]);
});

/** Sealed blocks of some partitions, and stores that each hold some of them, merged in ways of their own. */
const cluster = fc
  .array(fc.uniqueArray(fc.nat(PARTITIONS - 1), { minLength: 1, maxLength: 6 }), { maxLength: 8 })
  .chain((leaves) =>
    fc.record({
      leaves: fc.constant(leaves),
      held: fc.array(fc.array(fc.option(fc.nat(3)), { minLength: leaves.length, maxLength: leaves.length }), {
        minLength: 1,
        maxLength: 4,
      }),
    }),
  );

test('each sealed block of each partition is read once, or its partition is refused', () => {
  fc.assert(
    fc.property(cluster, ({ leaves, held }) => {
      // Sealed blocks with the same number are one block on that store.
      const all = stores(
        ...held.map((numbers) =>
          [...Map.groupBy(numbers.keys(), (leaf) => numbers[leaf])].flatMap(([number, own]) =>
            number === null || number === undefined
              ? []
              : [block([...new Set(own.flatMap((leaf) => leaves[leaf]!))], own)],
          ),
        ),
      );
      const { shares, empty, refused } = shareOutLeaves(all, PARTITIONS);
      const places = [...shares.flatMap(({ partitions }) => partitions), ...empty, ...refused];
      expect(places.sort((a, b) => a - b)).toEqual(Array.from({ length: PARTITIONS }, (_, i) => i));
      for (const [leaf, partitions] of leaves.entries()) {
        const isSomewhere = held.some((numbers) => numbers[leaf] !== null);
        for (const partition of isSomewhere ? partitions : []) {
          expect(empty).not.toContain(partition);
          const readers = shares.filter((share) => share.partitions.includes(partition));
          expect(readers.length).toBe(refused.includes(partition) ? 0 : 1);
          for (const { instance, leaves: needed } of readers) {
            expect(needed).toContain(idOf(leaf));
            expect(held[Number(instance.slice(-1))]![leaf]).not.toBeNull();
          }
        }
      }
    }),
    { numRuns: 500 },
  );
});

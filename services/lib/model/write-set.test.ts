import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WriteSet } from './write-set.ts';

const A = '00000000000000aa';
const B = '00000000000000bb';

const operations = fc.array(
  fc.record({
    origin: fc.constantFrom(A, B),
    partition: fc.integer({ min: 0, max: 2 }),
    begin: fc.integer({ min: 0, max: 40 }),
    length: fc.integer({ min: 0, max: 12 }),
  }),
  { maxLength: 30 },
);

type Operations = readonly { origin: string; partition: number; begin: number; length: number }[];

/** The same set, one string a write. */
function namesOf(set: WriteSet): Set<string> {
  const names = new Set<string>();
  set.forEach((origin, partition, intervals) => {
    for (let i = 0; i < intervals.length; i += 2) {
      expect(intervals[i + 1]).toBeGreaterThan(intervals[i]!);
      if (i > 0) expect(intervals[i]).toBeGreaterThan(intervals[i - 1]!);
      for (let n = intervals[i]! + 1; n <= intervals[i + 1]!; n++) names.add(`${origin} ${partition} ${n}`);
    }
  });
  return names;
}

function build(list: Operations): { set: WriteSet; names: Set<string> } {
  const set = new WriteSet();
  const names = new Set<string>();
  for (const { origin, partition, begin, length } of list) {
    set.add(origin, partition, begin, begin + length);
    for (let n = begin + 1; n <= begin + length; n++) names.add(`${origin} ${partition} ${n}`);
  }
  return { set, names };
}

describe('against sets of single writes', () => {
  test('add, difference, intersection, union, a choice of partitions', () => {
    fc.assert(
      fc.property(operations, operations, (one, other) => {
        const a = build(one);
        const b = build(other);
        expect(namesOf(a.set)).toEqual(a.names);
        expect(namesOf(a.set.without(b.set))).toEqual(a.names.difference(b.names));
        expect(namesOf(a.set.within(b.set))).toEqual(a.names.intersection(b.names));
        expect(namesOf(a.set.only((p) => p !== 1))).toEqual(
          new Set([...a.names].filter((name) => name.split(' ')[1] !== '1')),
        );
        expect(a.set.without(b.set).isEmpty).toBe(a.names.isSubsetOf(b.names));
        a.set.addAll(b.set);
        expect(namesOf(a.set)).toEqual(a.names.union(b.names));
      }),
      { numRuns: 2000 },
    );
  });

  test('single writes', () => {
    fc.assert(
      fc.property(
        operations,
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 0, max: 5 }),
        (list, n, more) => {
          const { set, names } = build(list);
          expect(set.has(A, 1, n)).toBe(names.has(`${A} 1 ${n}`));
          const wanted = Array.from({ length: more + 1 }, (_, i) => n + i);
          expect(set.touches(A, n, n + more)).toBe(
            wanted.some((w) => [0, 1, 2].some((p) => names.has(`${A} ${p} ${w}`))),
          );
        },
      ),
    );
  });
});

test('writes in order are one interval; a hole stays until it is filled', () => {
  const set = new WriteSet();
  for (let n = 1; n <= 5; n++) set.add(A, 0, n - 1, n);
  expect(set.intervalsOf(A, 0)).toEqual([0, 5]);
  set.add(A, 0, 7, 9);
  expect(set.intervalsOf(A, 0)).toEqual([0, 5, 7, 9]);
  expect(set.newestOf(A, 0)).toBe(9);
  set.add(A, 0, 5, 7);
  expect(set.intervalsOf(A, 0)).toEqual([0, 9]);
});

test('trimming leaves the newest intervals', () => {
  const set = new WriteSet();
  for (let n = 0; n < 5; n++) set.add(A, 3, n * 10, n * 10 + 1);
  set.trim(A, 3, 2);
  expect(set.intervalsOf(A, 3)).toEqual([30, 31, 40, 41]);
});

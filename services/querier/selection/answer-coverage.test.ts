import { describe, expect, test } from 'vitest';
import { countCoverage, uniteCoverage } from './answer-coverage.ts';
import { findGaps, type SourceAnswer } from './coverage.ts';

const PLACEMENT = {
  epoch: 1,
  partitionCount: 3,
  replicas: [
    ['a', 'b', 'c'],
    ['a', 'b', 'c'],
    ['b', 'c', 'd'],
  ],
};
const RANGE = { minTimeMs: 100, maxTimeMs: 900 };
const STORES = { instances: ['s', 't', 'u'], replicationFactor: 2 };

type Held = readonly [partition: number, complete: boolean, fromMs: number];

function ingester(instance: string, held: readonly Held[], failure?: string): SourceAnswer {
  const partitions = held.map(([partition, complete, minTimeMs]) => ({
    ...{ partition, complete, minTimeMs, maxTimeMs: RANGE.maxTimeMs },
  }));
  return { kind: 'ingester', instance, coverage: { partitions }, failure };
}

const store = (instance: string, failure?: string): SourceAnswer => ({
  ...{ kind: 'store', instance, failure },
  coverage: failure === undefined ? { partitions: [] } : undefined,
});

function count(answers: readonly SourceAnswer[], range = RANGE) {
  const gaps = findGaps(answers, PLACEMENT, 3, STORES);
  return countCoverage(answers, {
    range,
    placement: PLACEMENT,
    replicationFactor: 3,
    storeSet: STORES,
    gaps,
  });
}

const A = ingester('a', [
  [0, true, 300],
  [1, false, 300],
]);
const B = ingester('b', [
  [0, false, 200],
  [1, false, 300],
  [2, false, 200],
]);
const C = ingester('c', [], 'no route');
const D = ingester('d', [[2, false, 250]]);
const ALL_STORES = [store('s'), store('t'), store('u')];

describe('of one select', () => {
  test('replicas that answered are counted, of each partition', () => {
    expect(count([A, B, C, D, ...ALL_STORES])).toEqual({
      complete: true,
      partitionCount: 3,
      ...RANGE,
      groups: [
        { partitions: [0], owners: 3, answered: 2, complete: 1, covered: true, fromMs: 200 },
        { partitions: [1], owners: 3, answered: 2, complete: 0, covered: true, fromMs: 300 },
        { partitions: [2], owners: 3, answered: 2, complete: 0, covered: true, fromMs: 200 },
      ],
      blockCopies: 2,
      blockCopiesRead: 2,
      missing: [],
    });
  });

  test('one replica covers what it holds completely, and nothing else', () => {
    const coverage = count([A, ingester('b', [], 'gone'), C, D, ...ALL_STORES]);
    expect(coverage.complete).toBe(false);
    expect(coverage.groups.map(({ partitions, covered }) => [partitions, covered])).toEqual([
      [[0], true],
      [[1], false],
      [[2], false],
    ]);
    expect(coverage.missing).toHaveLength(1);
  });

  test.each([
    [[store('s'), store('t'), store('u', 'gone')], 1, true],
    [[store('s'), store('t')], 1, true],
    [[store('s')], 0, false],
  ])('copies of blocks %#', (stores, blockCopiesRead, complete) => {
    expect(count([A, B, D, ...stores])).toMatchObject({ blockCopies: 2, blockCopiesRead, complete });
  });

  test('a node that lacks some of its times is not complete for the partition', () => {
    const partly = ingester('a', [
      [0, false, 300],
      [0, true, 500],
    ]);
    expect(count([partly, B, D, ...ALL_STORES]).groups[0]).toMatchObject({ answered: 2, complete: 0 });
  });

  test('without a placement there is nothing to count', () => {
    const question = {
      range: RANGE,
      placement: undefined,
      replicationFactor: 1,
      storeSet: undefined,
      gaps: [],
    };
    expect(countCoverage([A], question)).toMatchObject({ complete: true, partitionCount: 0, groups: [] });
  });
});

test('of several selects the worst of each partition counts', () => {
  const good = count([A, B, D, ...ALL_STORES]);
  const later = { minTimeMs: 50, maxTimeMs: 400 };
  const bad = count([A, ingester('b', [], 'gone'), D, store('s'), store('t')], later);
  expect(uniteCoverage([])).toBeUndefined();
  expect(uniteCoverage([good])).toBe(good);
  expect(uniteCoverage([good, bad, bad])).toEqual({
    complete: false,
    partitionCount: 3,
    minTimeMs: 50,
    maxTimeMs: 900,
    groups: [
      { partitions: [0], owners: 3, answered: 1, complete: 1, covered: true, fromMs: 300 },
      { partitions: [1], owners: 3, answered: 1, complete: 0, covered: false, fromMs: 300 },
      { partitions: [2], owners: 3, answered: 1, complete: 0, covered: false, fromMs: 250 },
    ],
    blockCopies: 2,
    blockCopiesRead: 1,
    missing: bad.missing,
  });
});

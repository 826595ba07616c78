import { describe, expect, test } from 'vitest';
import { countMissingStores, findGaps, hasGaps, missingStores, type SourceAnswer } from './coverage.ts';

const PLACEMENT = {
  epoch: 1,
  partitionCount: 2,
  replicas: [
    ['a', 'b', 'c'],
    ['b', 'c', 'd'],
  ],
};

const ingester = (instance: string, ...complete: number[]): SourceAnswer => ({
  kind: 'ingester',
  instance,
  coverage: {
    partitions: complete.map((partition) => ({ partition, minTimeMs: 0, maxTimeMs: 1, complete: true })),
  },
  failure: undefined,
});
const failed = (kind: 'ingester' | 'store', instance: string): SourceAnswer => ({
  kind,
  instance,
  coverage: undefined,
  failure: 'no route',
});

describe('three replicas', () => {
  test.each<[string, SourceAnswer[], string[]]>([
    ['all answer', [ingester('a'), ingester('b'), ingester('c'), ingester('d')], []],
    [
      'two of three hold every quorum',
      [ingester('b'), ingester('c'), failed('ingester', 'a'), failed('ingester', 'd')],
      [],
    ],
    [
      'a partition with one incomplete replica is open',
      [ingester('a'), ingester('d'), failed('ingester', 'b'), failed('ingester', 'c')],
      [
        'recent samples of 2 of 2 partitions are missing (0, 1): ingester b did not answer: no route; ingester c did not answer: no route',
      ],
    ],
    [
      'one complete replica is enough',
      [ingester('a', 0), ingester('d'), failed('ingester', 'b'), failed('ingester', 'c')],
      [
        'recent samples of 1 of 2 partitions are missing (1): ingester b did not answer: no route; ingester c did not answer: no route',
      ],
    ],
    [
      'owners that are gone',
      [ingester('a')],
      ['recent samples of 2 of 2 partitions are missing (0, 1): not members now: ingesters b, c, d'],
    ],
    ['a store', [ingester('b'), ingester('c'), failed('store', 's')], ['store s did not answer: no route']],
    ['nobody', [], ['no ingester is known']],
  ])('%s', (_, answers, gaps) => {
    expect(findGaps(answers, PLACEMENT, 3)).toEqual(gaps);
    expect(hasGaps(answers, PLACEMENT, 3)).toBe(gaps.length > 0);
  });
});

describe('a store that answers and lost something', () => {
  const partition = (number: number, complete: boolean) => ({
    partition: number,
    minTimeMs: 0,
    maxTimeMs: 1,
    complete,
  });
  const store = (coverage: SourceAnswer['coverage']): SourceAnswer => ({
    ...{ kind: 'store', instance: 's', failure: undefined },
    coverage,
  });
  test.each<[string, SourceAnswer['coverage'], string[]]>([
    ['has all', { partitions: [partition(0, true)] }, []],
    ['has nothing and lost nothing', { partitions: [] }, []],
    [
      'says what',
      { partitions: [partition(0, false)], missing: '1 block' },
      ['store s lacks samples: 1 block'],
    ],
    ['knows no partition', { partitions: [], missing: '1 block' }, ['store s lacks samples: 1 block']],
    [
      'names partitions only',
      { partitions: [partition(0, true), partition(1, false)] },
      ['store s lacks samples: of partitions 1 not all is there'],
    ],
  ])('%s', (_, coverage, gaps) => {
    expect(findGaps([ingester('b'), ingester('c'), store(coverage)], PLACEMENT, 3)).toEqual(gaps);
  });
});

test('without a placement every ingester counts', () => {
  expect(findGaps([ingester('a'), failed('ingester', 'b')], undefined, 3)).toEqual([
    'ingester b did not answer: no route',
  ]);
});

describe('stores', () => {
  const store = (instance: string): SourceAnswer => ({ ...ingester(instance), kind: 'store' });
  const ingesters = [ingester('b'), ingester('c')];
  const twoCopies = { instances: ['r', 's', 't'], replicationFactor: 2 };
  test.each<[string, SourceAnswer[], string[]]>([
    ['all answer', [store('r'), store('s'), store('t')], []],
    ['one of two copies is enough', [store('r'), failed('store', 's'), store('t')], []],
    ['one that is gone is like one that failed', [store('r'), store('t')], []],
    [
      'two missing stores may have been the only ones with a block',
      [failed('store', 'r'), store('t')],
      ['store r did not answer: no route', 'store s is not a member now'],
    ],
  ])('%s', (_, answers, gaps) => {
    expect(findGaps([...ingesters, ...answers], PLACEMENT, 3, twoCopies)).toEqual(gaps);
    expect(hasGaps([...ingesters, ...answers], PLACEMENT, 3, twoCopies)).toBe(gaps.length > 0);
    expect(countMissingStores(answers, twoCopies)).toBe(missingStores(answers, twoCopies).length);
  });
});

describe('former owners', () => {
  const moved = { epoch: 2, partitionCount: 1, replicas: [['b', 'c', 'd']], former: [[['a', 'b', 'c']]] };
  test.each<[string, SourceAnswer[], number]>([
    ['two of the old and two of the new owners', [ingester('b'), ingester('c')], 0],
    ['one of the old owners is not enough', [ingester('c'), ingester('d')], 1],
    ['with an old owner that is still there', [ingester('a'), ingester('c'), ingester('d')], 0],
  ])('%s', (_, answers, gaps) => {
    expect(findGaps(answers, moved, 3)).toHaveLength(gaps);
    expect(hasGaps(answers, moved, 3)).toBe(gaps > 0);
  });

  test('owners fewer than the quorum never acknowledged anything', () => {
    const grown = {
      epoch: 3,
      partitionCount: 1,
      replicas: [['a', 'b', 'c']],
      former: [[['a', 'b']], [['a']]],
    };
    expect(findGaps([ingester('b'), ingester('c')], grown, 3)).toEqual([]);
    expect(hasGaps([ingester('b'), ingester('c')], grown, 3)).toBe(false);
  });
});

test('many partitions are not all named', () => {
  const replicas = Array.from({ length: 64 }, () => ['a']);
  expect(findGaps([failed('ingester', 'a')], { epoch: 1, partitionCount: 64, replicas }, 1)).toEqual([
    'recent samples of 64 of 64 partitions are missing (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 54 more): ingester a did not answer: no route',
  ]);
});

import { describe, expect, test } from 'vitest';
import { findGaps, type SourceAnswer } from './coverage.ts';

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
      ['recent samples of 2 of 2 partitions are missing (0, 1): their owners are not members now'],
    ],
    ['a store', [ingester('b'), ingester('c'), failed('store', 's')], ['store s did not answer: no route']],
    ['nobody', [], ['no ingester is known']],
  ])('%s', (_, answers, gaps) => {
    expect(findGaps(answers, PLACEMENT, 3)).toEqual(gaps);
  });
});

test('without a placement every ingester counts', () => {
  expect(findGaps([ingester('a'), failed('ingester', 'b')], undefined, 3)).toEqual([
    'ingester b did not answer: no route',
  ]);
});

test('many partitions are not all named', () => {
  const replicas = Array.from({ length: 64 }, () => ['a']);
  expect(findGaps([failed('ingester', 'a')], { epoch: 1, partitionCount: 64, replicas }, 1)).toEqual([
    'recent samples of 64 of 64 partitions are missing (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 54 more): ingester a did not answer: no route',
  ]);
});

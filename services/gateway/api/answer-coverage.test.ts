import { describe, expect, test } from 'vitest';
import { Parameters } from '../http/parameters.ts';
import {
  coverageStats,
  printCoverage,
  readKeepReplicas,
  readNoCache,
  readPartialResponse,
} from './answer-coverage.ts';

const COVERAGE = {
  complete: false,
  partitionCount: 8,
  minTimeMs: 1_000,
  maxTimeMs: 61_500,
  groups: [
    { partitions: [0, 1, 2, 7], owners: 3, answered: 3, complete: 1, covered: true, fromMs: 30_000 },
    { partitions: [3, 4, 6], owners: 3, answered: 2, complete: 0, covered: true, fromMs: -50 },
    { partitions: [5], owners: 3, answered: 1, complete: 0, covered: false, fromMs: 61_500 },
  ],
  blockCopies: 2,
  blockCopiesRead: 1,
  missing: ['recent samples of partition 5'],
};

test('the header counts the worst', () => {
  expect(printCoverage(COVERAGE)).toBe(
    'partial; partitions=7/8; replicas=1/3; complete-replicas=0; block-copies=1/2; from=1; to=61.5',
  );
  expect(printCoverage(undefined)).toBe('complete');
  expect(printCoverage({ ...COVERAGE, complete: true, groups: [], blockCopiesRead: 2 })).toBe(
    'complete; block-copies=2/2; from=1; to=61.5',
  );
});

test('the statistics say it for each group of partitions', () => {
  expect(coverageStats(COVERAGE)).toEqual({
    complete: false,
    partitions: 8,
    from: 1,
    to: 61.5,
    ingesters: [
      { partitions: '0-2,7', from: 30, to: 61.5, owners: 3, answered: 3, complete: 1, covered: true },
      { partitions: '3-4,6', from: 1, to: 61.5, owners: 3, answered: 2, complete: 0, covered: true },
      { partitions: '5', from: 61.5, to: 61.5, owners: 3, answered: 1, complete: 0, covered: false },
    ],
    stores: { from: 1, to: 61.5, copies: 2, read: 1 },
    missing: ['recent samples of partition 5'],
  });
});

describe('partial_response', () => {
  const read = (value?: string) =>
    readPartialResponse(new Parameters(value === undefined ? [] : [['partial_response', value]]));
  test.each([
    [undefined, false],
    ['', false],
    ['true', true],
    ['1', true],
    ['T', true],
    ['false', false],
    ['0', false],
  ])('%s is %s', (text, expected) => {
    expect(read(text)).toBe(expected);
  });

  test('anything else is refused', () => {
    expect(() => read('yes')).toThrow(
      'invalid parameter "partial_response": cannot parse "yes" to a boolean: use true or false',
    );
  });
});

test('dedup=false shows each replica', () => {
  const read = (pairs: [string, string][]) => readKeepReplicas(new Parameters(pairs));
  expect([read([]), read([['dedup', 'true']]), read([['dedup', 'false']])]).toEqual([false, false, true]);
});

describe('nocache', () => {
  test.each([
    [undefined, undefined, false],
    ['1', undefined, true],
    ['0', 'no-store', false],
    [undefined, 'no-store', true],
    [undefined, 'no-cache, No-Store', true],
    [undefined, 'no-cache', false],
    [undefined, 'x-no-store-y', false],
  ])('%s with Cache-Control %s is %s', (value, header, expected) => {
    const parameters = new Parameters(value === undefined ? [] : [['nocache', value]]);
    expect(readNoCache(parameters, header)).toBe(expected);
  });
});

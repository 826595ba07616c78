import { describe, expect, test } from 'vitest';
import { ALL_FEATURES } from '../../lib/promql/features.ts';
import { parseExpr } from '../../lib/promql/parse/parser.ts';
import { obstacleOf } from './cacheable.ts';

const FEATURES = { ...ALL_FEATURES, delayedNameRemoval: false };
const look = (query: string) => obstacleOf(parseExpr(query, ALL_FEATURES), FEATURES);

test.each([
  'up',
  '{job="x"}',
  'sum by (job) ({job="x"})',
  'rate(up[5m] offset -1h)',
  'sum by (job) (rate(up[5m]))',
  'sum(rate(a[5m])) / sum(rate(b[5m]))',
  'histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))',
  'max(sum by (job) (up))',
  'sum(-up * 2 > 1)',
  'sum(a / b)',
  'sum(a * on (x) group_left () b)',
  'sum(a and on (x) max by (x) (b))',
  'a * on (x) group_left (y) b',
  'sum(max_over_time(rate(a[1m])[1h:]))',
  'topk(3, a)',
  'sum(sum(up))',
  'sum(count(up) + absent(up))',
  'rate(up[step() * 4])',
  'a or b',
])('%s is cut by time', (query) => {
  expect(look(query)).toBeUndefined();
});

describe.each([
  [
    'pinned',
    [
      'up @ end()',
      'up @ 1',
      'rate(up[5m] @ start())',
      'rate(up[range()])',
      'up offset range()',
      'sum_over_time(up[1h:] @ 5)',
      'up + range()',
      'up * (time() - start())',
      'up > end()',
    ],
  ],
  [
    'order',
    [
      'sum(sum by (job) (up))',
      'avg(count by (job) (up))',
      'topk(1, sum by (job) (up))',
      'sum(topk(3, up))',
      'sum(a / on (x) b)',
      'sum(a * on (x) group_left (y) b)',
      'sum(a or b)',
      'sum(max_over_time(sum by (job) (up)[1h:]))',
      'max(sum(sum by (job) (up)))',
      'stddev(count_values("v", up))',
      'sum(histogram_quantile(0.9, a_bucket))',
    ],
  ],
  [
    'labels',
    [
      'rate({job="x"}[5m])',
      '-{__name__=~"a|b"}',
      '{job="x"} * 2',
      '{job="x"} > bool 1',
      'sum(rate({__name__=~"a|b"}[5m]))',
      'label_replace(up, "a", "$1", "b", "(.*)")',
      'label_join(up, "a", "-", "b")',
      'info(up)',
    ],
  ],
  ['constant', ['vector(1)', 'time()', '1 + 1', 'vector(time())']],
] as const)('%s', (obstacle, queries) => {
  test.each(queries)('%s', (query) => {
    expect(look(query)).toBe(obstacle);
  });
});

test('with names that are dropped at the end nothing is cut', () => {
  expect(obstacleOf(parseExpr('up', ALL_FEATURES), ALL_FEATURES)).toBe('feature');
});

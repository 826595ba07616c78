import { describe, expect, test } from 'vitest';
import { ALL_FEATURES } from '../features.ts';
import { parseExpr } from '../parse/parser.ts';
import { printExpr } from '../parse/printer.ts';
import { propagateMatchers } from './propagate.ts';

function narrowed(query: string): string {
  return printExpr(propagateMatchers(parseExpr(query, ALL_FEATURES)));
}

describe('matchers go to the side that needs a partner', () => {
  test.each([
    [
      'x / on (job) sum by (job) (y{job="a",zone="b"})',
      'x{job="a"} / on (job) sum by (job) (y{job="a",zone="b"})',
    ],
    ['x / ignoring (i) max by (job) (y{job="a"})', 'x{job="a"} / ignoring (i) max by (job) (y{job="a"})'],
    [
      'x * on (i) group_left () sum by (i) (rate(y{i=~"1|2"}[5m]))',
      'x{i=~"1|2"} * on (i) group_left () sum by (i) (rate(y{i=~"1|2"}[5m]))',
    ],
    [
      'sum by (i) (x{i!="1"}) * on (i) group_right () y',
      'sum by (i) (x{i!="1"}) * on (i) group_right () y{i!="1"}',
    ],
    ['x{i="1"} and on (i) y{z="2"}', 'x{i="1"} and on (i) y{i="1",z="2"}'],
    ['x unless y{i="1"}', 'x unless y{i="1"}'],
    ['x{i="1"} unless y', 'x{i="1"} unless y{i="1"}'],
    ['x > on (job) sum by (job) (y{job="a",i="1"})', 'x{job="a"} > on (job) sum by (job) (y{i="1",job="a"})'],
    ['(x) - on (job) sum without (job) (y{job="a"})', '(x) - on (job) sum without (job) (y{job="a"})'],
    ['sum(x and y{i="1"})', 'sum(x{i="1"} and y{i="1"})'],
  ])('%s', (query, expected) => {
    expect(narrowed(query)).toBe(expected);
  });

  test.each([
    // Its own duplicates are errors.
    'x{job="a"} / y',
    'x / y{job="a"}',
    'x / on (job) topk by (job) (1, y{job="a"})',
    'x / on (job) sum by (job, i) (y{job="a"})',
    'x{job="a"} / on (job) group_left () y',
    // Missing partners are filled in.
    'x / fill (0) y{job="a"}',
    'x or y{job="a"}',
    // What a side computes may give rise to remarks.
    'rate(x[5m]) / y{job="a"}',
    // Other labels come out than went in.
    'x and on (job) label_replace(y{job="a"}, "job", "b", "", "")',
    'x and on (le) histogram_quantile(0.9, y{le="1"})',
    'x and on (job) (y{job="a"} + z)',
    'x / 2',
  ])('not in %s', (query) => {
    expect(narrowed(query)).toBe(query);
  });
});

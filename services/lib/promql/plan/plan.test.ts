import { expect, test } from 'vitest';
import { ALL_FEATURES, DEFAULT_FEATURES } from '../features.ts';
import { parseExpr } from '../parse/parser.ts';
import { type CutOptions, cut } from './plan.ts';
import { windowOf } from './window.ts';

const FEATURES = { ...ALL_FEATURES, delayedNameRemoval: false };

function partsOf(query: string, options: Partial<CutOptions> = {}): string[] | undefined {
  const plan = cut(parseExpr(query, ALL_FEATURES), { features: FEATURES, ...options });
  return plan?.parts.map(({ kind, root }) => `${kind} ${query.slice(root.pos.start, root.pos.end)}`);
}

test.each([
  ['x', ['series x']],
  ['sum by (a) (rate(x[5m]))', ['cells sum by (a) (rate(x[5m]))']],
  ['stddev(-x + 1)', ['cells stddev(-x + 1)']],
  ['topk(3, x)', ['candidates topk(3, x)']],
  ['topk(time() / 60, x)', ['candidates topk(time() / 60, x)']],
  ['topk(scalar(k), x)', ['series k', 'series x']],
  ['count_values("v", abs(x))', ['counts count_values("v", abs(x))']],
  ['limit_ratio(0.5, x)', ['series limit_ratio(0.5, x)']],
  ['sum(limit_ratio(0.5, x))', ['cells sum(limit_ratio(0.5, x))']],
  ['quantile(0.9, rate(x[5m]))', ['series rate(x[5m])']],
  ['sum(sum by (a) (x))', ['cells sum by (a) (x)']],
  ['rate(x[5m]) * 2 > bool 5', ['series rate(x[5m]) * 2 > bool 5']],
  ['x * scalar(y)', ['series x', 'series y']],
  ['sum(x) / sum(y)', ['cells sum(x)', 'cells sum(y)']],
  ['histogram_quantile(0.9, sum by (le) (rate(b[5m])))', ['cells sum by (le) (rate(b[5m]))']],
  ['max_over_time(sum(x)[1h:1m])', ['cells sum(x)']],
  ['max_over_time(abs(x)[1h:1m])', ['series max_over_time(abs(x)[1h:1m])']],
  ['sum(label_replace(x, "n", "$1", "o", "(.*)"))', ['cells sum(label_replace(x, "n", "$1", "o", "(.*)"))']],
  ['absent(sum(x))', ['cells sum(x)']],
  ['sort(x)', ['series x']],
  ['info(sum by (job) (x), {__name__="i"})', ['cells sum by (job) (x)']],
  // Names that may differ are dropped: what becomes equal has to be found by whoever sees all series.
  ['sum(rate({a="b"}[5m]))', ['series rate({a="b"}[5m])']],
  ['abs(rate({__name__=~"x|y"}[5m]))', ['series rate({__name__=~"x|y"}[5m])']],
  ['sum({a="b"})', ['cells sum({a="b"})']],
  [
    'sum(label_replace(x, "a", "$1", "a", "(.*):.*"))',
    ['series label_replace(x, "a", "$1", "a", "(.*):.*")'],
  ],
  ['count(label_join(x, "a", "-", "b", "a"))', ['series label_join(x, "a", "-", "b", "a")']],
  // Nothing is read, or nothing that each set of series could answer alone.
  ['vector(1)', undefined],
  ['sum(vector(1))', undefined],
  ['time()', undefined],
  ['absent_over_time(x[5m])', undefined],
  ['x[5m]', undefined],
  ['"text"', undefined],
] as const)('%s', (query, parts) => {
  expect(partsOf(query)).toEqual(parts);
});

test('names that are dropped at the end make nothing equal before', () => {
  const query = 'sum(rate({a="b"}[5m]))';
  expect(partsOf(query, { features: ALL_FEATURES })).toEqual([`cells ${query}`]);
});

test('rows per series are not sent where only reductions are wanted', () => {
  expect(partsOf('sum(x) / y', { parts: 'reducing' })).toEqual(['cells sum(x)']);
  expect(partsOf('rate(x[5m])', { parts: 'reducing' })).toBeUndefined();
  expect(partsOf('topk(scalar(sum(k)), x)', { parts: 'reducing' })).toEqual(['cells sum(k)']);
});

test('parts that drop names below their root look out for types and units', () => {
  const refuses = (query: string): boolean =>
    cut(parseExpr(query, DEFAULT_FEATURES), { features: DEFAULT_FEATURES })!.parts[0]!.refusesMetadata;
  expect(refuses('sum(rate(x[5m]))')).toBe(true);
  expect(refuses('abs(rate(x[5m]))')).toBe(true);
  expect(refuses('rate(x[5m])')).toBe(false);
  expect(refuses('sum(x)')).toBe(false);
});

const MINUTE = 60_000;

test.each([
  ['x', 'moving', 1 - 5 * MINUTE, 0],
  ['x offset 1m', 'moving', 1 - 6 * MINUTE, -MINUTE],
  ['x offset -1m', 'moving', 1 - 4 * MINUTE, MINUTE],
  ['sum(rate(x[2m]))', 'moving', 1 - 2 * MINUTE, 0],
  ['sum(rate(x[step() * 2]))', 'moving', 1 - MINUTE, 0],
  ['rate(x[2m] anchored)', 'moving', 1 - 7 * MINUTE, 0],
  ['rate(x[2m] smoothed)', 'moving', 1 - 7 * MINUTE, 5 * MINUTE],
  ['max_over_time(rate(x[2m])[10m:1m])', 'moving', 2 - 12 * MINUTE, 0],
  ['max_over_time(rate(x[2m] offset 1m)[10m:1m] offset 3m)', 'moving', 2 - 16 * MINUTE, -4 * MINUTE],
  ['sum(x @ 1000)', 'fixed', 1_000_000 + 1 - 5 * MINUTE, 1_000_000],
  ['rate(x[2m] @ end() offset 1m)', 'fixed', 7_200_000 + 1 - 3 * MINUTE, 7_200_000 - MINUTE],
  ['max_over_time(x[10m:1m] @ start())', 'fixed', 3_600_000 + 2 - 15 * MINUTE, 3_600_000],
  ['max_over_time((x @ 1000)[10m:1m])', 'fixed', 1_000_000 + 1 - 5 * MINUTE, 1_000_000],
] as const)('window of %s', (query, kind, earliestMs, latestMs) => {
  const plan = cut(parseExpr(query, ALL_FEATURES), { features: ALL_FEATURES })!;
  const request = { startMs: 3_600_000, endMs: 7_200_000, stepMs: 30_000 };
  expect(windowOf(plan.parts[0]!, { request, lookbackMs: 5 * MINUTE })).toEqual({
    kind,
    earliestMs,
    latestMs,
  });
});

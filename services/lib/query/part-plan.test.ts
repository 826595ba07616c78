import { describe, expect, test } from 'vitest';
import { ALL_FEATURES } from '../promql/features.ts';
import { namesOfFeatures, tryFeaturesOf } from './feature-list.ts';
import { parseForCluster, planForNodes, stepCount, stepsBefore, stepsBeyond } from './part-plan.ts';

const MINUTE = 60_000;
/** Steps at 0, 1, … 60 minutes, a day after 1970. */
const START = 86_400_000;
const RANGE = { query: '', startMs: START, endMs: START + 60 * MINUTE, stepMs: MINUTE };

function steps(query: string, horizonMs: number, request = RANGE) {
  const plan = planForNodes(parseForCluster(query, ALL_FEATURES, []), ALL_FEATURES);
  return plan?.parts.map((part) => stepsBeyond(part, { request, lookbackMs: 5 * MINUTE }, horizonMs));
}

/** In minutes from the start; a window's oldest sample is one millisecond after the range's end. */
const window = (from: number, earliest: number, latest: number) => ({
  ...{ from, minTimeMs: START + earliest * MINUTE + 1, maxTimeMs: START + latest * MINUTE },
});

describe('steps beyond the horizon', () => {
  test.each<[string, number, ReturnType<typeof steps>]>([
    ['sum(x)', -6, [window(0, -5, 60)]],
    // The window of the first step begins right behind the newest sample of a block, or with it.
    ['sum(x)', -5, [window(0, -5, 60)]],
    ['sum(x)', -5 + 1 / MINUTE, [window(1, -4, 60)]],
    ['sum(x)', 10, [window(15, 10, 60)]],
    ['sum by (a) (rate(x[10m]))', 10, [window(20, 10, 60)]],
    ['sum(x offset 20m)', 10, [window(35, 10, 40)]],
    ['sum(rate(x[1m] offset -5m))', 10, [window(6, 10, 65)]],
    ['sum(x)', 55, [window(60, 55, 60)]],
    ['sum(x)', 56, [undefined]],
    ['sum(x) / count(rate(y[30m]))', 40, [window(45, 40, 60), undefined]],
    ['topk(2, x)', 10, [window(15, 10, 60)]],
    // Pinned: for all steps or for none.
    ['sum(x @ end())', 54, [{ from: 0, minTimeMs: START + 55 * MINUTE + 1, maxTimeMs: START + 60 * MINUTE }]],
    ['sum(x @ end())', 56, [undefined]],
    ['sum(x @ 86700)', -6, [{ from: 0, minTimeMs: START + 1, maxTimeMs: START + 5 * MINUTE }]],
    // Subqueries have steps of their own.
    ['max_over_time(sum(x)[10m:1m])', -16, [window(0, -15, 60)]],
    ['max_over_time(sum(x)[10m:1m])', 0, [undefined]],
    ['max_over_time((sum(x) + sum(rate(y[20m])))[10m:1m])', -16, [window(0, -15, 60), undefined]],
    [
      'max_over_time((sum(x) + sum(rate(y[20m])))[10m:1m] offset 5m)',
      -40,
      [window(0, -20, 55), window(0, -35, 55)],
    ],
    ['sum(max_over_time(x[10m:1m]))', 0, [window(15, 0, 60)]],
    // Durations that depend on the first and the last step.
    ['sum(rate(x[range()]))', -61, [window(0, -60, 60)]],
    ['sum(rate(x[range()]))', -59, [undefined]],
  ])('%s at %d min', (query, horizon, expected) => {
    expect(steps(query, START + horizon * MINUTE)).toEqual(
      // Subqueries add the open end of their own range.
      expected?.map((each) => each && expect.toSatisfy((got: typeof each) => isNear(got, each))),
    );
  });

  test('an instant query is pushed down whole or not at all', () => {
    const instant = { query: '', startMs: START, endMs: START, stepMs: 0 };
    expect(steps('sum(x)', START - 5 * MINUTE, instant)).toEqual([window(0, -5, 0)]);
    expect(steps('sum(x)', START - 4 * MINUTE, instant)).toEqual([undefined]);
    expect(steps('sum(x)', Number.NEGATIVE_INFINITY, instant)).toEqual([window(0, -5, 0)]);
  });
});

/** The same steps, and a window that is no smaller and at most some milliseconds larger. */
function isNear(
  got: { from: number; minTimeMs: number; maxTimeMs: number },
  wanted: { from: number; minTimeMs: number; maxTimeMs: number },
): boolean {
  const wider = got.minTimeMs - wanted.minTimeMs;
  return got.from === wanted.from && wider >= 0 && wider <= 2 && got.maxTimeMs === wanted.maxTimeMs;
}

test('only what answers less than it reads is for nodes', () => {
  expect(steps('rate(x[5m])', 0)).toBeUndefined();
  expect(steps('x + y', 0)).toBeUndefined();
});

test('matchers on replica labels are not propagated', () => {
  const narrowed = (labels: readonly string[]) =>
    JSON.stringify(parseForCluster('x and on (r) y{r="a"}', ALL_FEATURES, labels)).split('"value":"a"')
      .length - 1;
  expect([narrowed([]), narrowed(['r'])]).toEqual([2, 1]);
});

test('features travel by name', () => {
  expect(tryFeaturesOf(namesOfFeatures(ALL_FEATURES))).toEqual(ALL_FEATURES);
  expect(tryFeaturesOf([])).toMatchObject({ durationExpressions: false, experimentalFunctions: false });
  expect(tryFeaturesOf(['durationExpressions', 'of tomorrow'])).toBeUndefined();
});

describe('steps before all is sealed', () => {
  const lastBefore = (query: string, minute: number, count = stepCount(RANGE), request = RANGE) =>
    planForNodes(parseForCluster(query, ALL_FEATURES, []), ALL_FEATURES)?.parts.map((part) => {
      const context = { request, lookbackMs: 5 * MINUTE };
      return stepsBefore(part, context, START + minute * MINUTE, count)?.to;
    });

  test.each<[string, number, readonly (number | undefined)[]]>([
    ['sum(x)', 61, [60]],
    ['sum(x)', 60, [59]],
    ['sum(x)', 60 + 1 / MINUTE, [60]],
    ['sum(x)', 10.5, [10]],
    // The sample at the step itself is in its window.
    ['sum(x)', 1, [0]],
    ['sum(x)', 0, [undefined]],
    ['sum by (a) (rate(x[10m]))', 10, [9]],
    ['sum(x offset 20m)', 10, [29]],
    ['sum(rate(x[1m] offset -5m))', 10, [4]],
    ['sum(x) / count(rate(y[5m] offset -30m))', 40, [39, 9]],
    ['sum(x @ end())', 60, [undefined]],
    ['sum(x @ end())', 61, [60]],
    ['sum(x @ start())', 1, [60]],
    ['max_over_time(sum(x)[10m:1m])', 61, [60]],
    ['max_over_time(sum(x)[10m:1m])', 30, [undefined]],
    ['sum(rate(x[range()]))', 61, [60]],
    ['sum(rate(x[range()]))', 30, [undefined]],
  ])('%s at %d min', (query, minute, expected) => {
    expect(lastBefore(query, minute)).toEqual(expected);
  });

  test('no more steps than were asked about, and those of a part that cannot be evaluated apart not at all', () => {
    expect(lastBefore('sum(x)', 61, 10)).toEqual([9]);
    expect(lastBefore('sum(x @ start())', 61, 10)).toEqual([undefined]);
    expect(lastBefore('max_over_time(sum(x)[10m:1m])', 61, 10)).toEqual([undefined]);
  });

  test('an instant query is pushed down whole or not at all', () => {
    const instant = { query: '', startMs: START, endMs: START, stepMs: 0 };
    expect(lastBefore('sum(x)', 1, 1, instant)).toEqual([0]);
    expect(lastBefore('sum(x)', 0, 1, instant)).toEqual([undefined]);
  });
});

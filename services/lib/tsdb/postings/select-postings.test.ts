// The planner against a walk over all series that asks every matcher about every label set.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { Labels } from '../../model/labels.ts';
import { compileMatcher, type Matcher, type MatchOperator } from '../../model/matcher.ts';
import { type PostingsSource, selectPostings, selectPostingsInSteps } from './select-postings.ts';

function sourceOf(series: readonly Labels[], lookups: string[] = []): PostingsSource {
  return {
    labelValues: (name) => {
      lookups.push(`scan ${name}`);
      return new Set(series.map((labels) => labels.get(name)).filter((value) => value !== ''));
    },
    postings: (name, value) => {
      lookups.push(`${name}=${value}`);
      const ids: number[] = [];
      series.forEach((labels, id) => {
        if (labels.get(name) === value) ids.push(id);
      });
      return Uint32Array.from(ids);
    },
    allPostings: () => Uint32Array.from(series, (_, id) => id),
  };
}

function dumbSelect(series: readonly Labels[], matchers: readonly Matcher[]): number[] {
  const ids: number[] = [];
  series.forEach((labels, id) => {
    if (matchers.every((matcher) => compileMatcher(matcher)(labels.get(matcher.name)))) ids.push(id);
  });
  return ids;
}

const name = fc.constantFrom('a', 'b', 'c', '__proto__');
const value = fc.constantFrom('', 'x', 'xy', 'y', 'xyz', 'é', '-');
const labels = fc.array(fc.tuple(name, value), { maxLength: 4 }).map((pairs) => Labels.from(pairs));
const operator = fc.constantFrom<MatchOperator>('=', '!=', '=~', '!~');
const pattern = fc.constantFrom(
  '',
  'x',
  'x|y',
  'x|',
  '.*',
  '.+',
  'x.*',
  '.*y',
  'x.+|y',
  '[xé]',
  '(xy)?',
  'a|nope',
);
const matcher = fc
  .tuple(name, operator, value, pattern)
  .map(([n, o, v, p]): Matcher => ({ name: n, operator: o, value: o.endsWith('~') ? p : v }));

test('the same ids as asking every series', () => {
  fc.assert(
    fc.property(
      fc.array(labels, { maxLength: 12 }),
      fc.array(matcher, { maxLength: 4 }),
      (series, matchers) => {
        expect(Array.from(selectPostings(sourceOf(series), matchers))).toEqual(dumbSelect(series, matchers));
      },
    ),
    { numRuns: 3000 },
  );
});

test('equality and literal alternations never scan values', () => {
  const lookups: string[] = [];
  const series = [Labels.from([['a', 'x']]), Labels.from([['a', 'y']])];
  const ids = selectPostings(sourceOf(series, lookups), [
    { name: 'a', operator: '=~', value: 'x|y|z' },
    { name: 'a', operator: '!=', value: 'z' },
    { name: 'a', operator: '!~', value: 'y|z' },
    { name: 'a', operator: '=~', value: '.*' },
  ]);
  expect(Array.from(ids)).toEqual([0]);
  expect(lookups.filter((lookup) => lookup.startsWith('scan'))).toEqual([]);
});

test('an empty intersection ends the work before any scan', () => {
  const lookups: string[] = [];
  const ids = selectPostings(sourceOf([Labels.from([['a', 'x']])], lookups), [
    { name: 'b', operator: '=~', value: '.+x' },
    { name: 'a', operator: '=', value: 'nope' },
  ]);
  expect(ids).toHaveLength(0);
  expect(lookups).toEqual(['a=nope']);
});

test('a scan of many values pauses', () => {
  const series = Array.from({ length: 2000 }, (_, i) => Labels.from([['a', `v${i}`]]));
  let pauses = 0;
  const steps = selectPostingsInSteps(sourceOf(series), [{ name: 'a', operator: '=~', value: 'v1[0-9]' }]);
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) {
      expect(Array.from(step.value)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
      break;
    }
    pauses++;
  }
  expect(pauses).toBe(3);
});

test('a malformed expression is the caller’s error', () => {
  const select = () => selectPostings(sourceOf([]), [{ name: 'a', operator: '=~', value: 'x(' }]);
  expect(select).toThrow(AppError);
  expect(select).toThrow(/x\(/);
});

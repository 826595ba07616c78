import { expect, test } from 'vitest';
import { AppError } from '../core/errors.ts';
import { DEFAULT_FEATURES } from '../promql/features.ts';
import { ParsedQueries } from './parsed-queries.ts';
import { parseForCluster } from './part-plan.ts';

test('a text is parsed once, for each set of features and replica labels', () => {
  const parsed = new ParsedQueries();
  const query = 'a and on (r) b{r="x"}';
  const first = parsed.parse(query, DEFAULT_FEATURES, []);
  expect(first).toEqual(parseForCluster(query, DEFAULT_FEATURES, []));
  expect(parsed.parse(query, { ...DEFAULT_FEATURES }, [])).toBe(first);
  const withReplicas = parsed.parse(query, DEFAULT_FEATURES, ['r']);
  expect(withReplicas).toEqual(parseForCluster(query, DEFAULT_FEATURES, ['r']));
  expect(withReplicas).not.toEqual(first);
  expect(parsed.parse(query, { ...DEFAULT_FEATURES, perStepStats: true }, [])).not.toBe(first);
});

test('an error is one each time, and depends on the features', () => {
  const parsed = new ParsedQueries();
  for (let i = 0; i < 2; i++) {
    expect(() => parsed.parse('sum(', DEFAULT_FEATURES, [])).toThrow(AppError);
    expect(() => parsed.parse('limitk(1, a)', DEFAULT_FEATURES, [])).toThrow(AppError);
    expect(() =>
      parsed.parse('limitk(1, a)', { ...DEFAULT_FEATURES, experimentalFunctions: true }, []),
    ).not.toThrow();
  }
});

test('texts that nobody asks go first, and long ones are not kept', () => {
  const parsed = new ParsedQueries();
  const parse = (query: string) => parsed.parse(query, DEFAULT_FEATURES, []);
  const asked = parse('asked');
  const forgotten = parse('forgotten');
  for (let i = 0; i < 300; i++) {
    parse(`x${i}{a="${'b'.repeat(1500)}"}`);
    expect(parse('asked')).toBe(asked);
  }
  expect(parse('forgotten')).not.toBe(forgotten);
  const long = `{a="${'b'.repeat(2000)}"}`;
  expect(parse(long)).not.toBe(parse(long));
});

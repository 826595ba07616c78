import fc from 'fast-check';
import { RE2JS } from 're2js';
import { expect, test } from 'vitest';
import { compileMatcher, compileRegex, REGEX_LENGTH_MAX } from './matcher.ts';

const PATTERNS = [
  '',
  'a',
  'a|b|',
  '(a|bc)',
  '(?:a|bc)',
  '.*',
  '.+',
  'a.*',
  'a.+',
  '.*a',
  '.+a',
  '.*a.*',
  '.+a.+',
  '.+a.*',
  '.*a.+',
  'a+b',
  'ab?c',
  'x{2}',
  '10\\.0\\.[1-5].*',
  '(?i)abc',
  'a|b.*',
  '[ab]+',
  '.',
  '..',
  '^a$',
  '.*.*',
  '.+.+',
];

test('the fast paths decide as the engine does', () => {
  const value = fc.string({
    unit: fc.constantFrom('a', 'b', 'c', 'x', '\n', '.', '1', '0', '😀'),
    maxLength: 6,
  });
  fc.assert(
    fc.property(fc.constantFrom(...PATTERNS), value, (pattern, candidate) => {
      const wanted = RE2JS.compile(pattern, RE2JS.DOTALL).matches(candidate);
      expect(compileRegex(pattern).matches(candidate), `${pattern} on ${JSON.stringify(candidate)}`).toBe(
        wanted,
      );
    }),
    { numRuns: 5000 },
  );
});

test('literal alternations are sets that can be looked up', () => {
  expect(compileRegex('a|b').literals).toEqual(['a', 'b']);
  expect(compileRegex('(?:GET|POST)').literals).toEqual(['GET', 'POST']);
  expect(compileRegex('a.c').literals).toBeUndefined();
});

test.each([
  ['foo.*', 'foo'],
  ['foo[12]bar', 'foo'],
  ['fooo?', 'foo'],
  ['foo|bar.*', ''],
])('prefix of %s', (pattern, prefix) => {
  expect(compileRegex(pattern).prefix).toBe(prefix);
});

test('malformed and oversized expressions are named', () => {
  expect(() => compileRegex('a(')).toThrow(/invalid regular expression "a\("/);
  expect(() => compileRegex('(?=a)')).toThrow(/invalid regular expression/);
  expect(() => compileRegex('[a]'.repeat(REGEX_LENGTH_MAX))).toThrow(/longer than the limit/);
});

test('an absent label is the empty value', () => {
  const of = (operator: '=' | '!=' | '=~' | '!~', value: string) =>
    compileMatcher({ name: 'l', operator, value })('');
  expect(of('=', '')).toBe(true);
  expect(of('!=', 'x')).toBe(true);
  expect(of('=~', 'x|')).toBe(true);
  expect(of('!~', '.+')).toBe(true);
  expect(of('=~', '.+')).toBe(false);
});

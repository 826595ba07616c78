import fc from 'fast-check';
import { RE2JS } from 're2js';
import { expect, test } from 'vitest';
import { compileMatcher, compileRegex, REGEX_LENGTH_MAX } from './matcher.ts';
import { REGEX_COST_MAX, regexCost } from './regex-program.ts';

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
  '.+.*.+',
  'a.*b',
  'a.+b.*c',
  'a.*a.*a',
  '(a|b).*',
  'a(b|c|)x',
  '(a|b)(c|x).+',
  '(a|.*b)c',
  '((a|b)|c)1',
  '(?:a.*|b.+)|c',
  'a|b.*|[cx]+',
  'a.*|b?|(c|x){2}',
  'a\\.b|10\\.0',
  '^a|b$',
  '^(a|b)$',
  'a$|^b.*$',
  '\\-\\/|a\\|b',
  '[a|b]|c',
  'a[]|b]',
  '[^]a]|.*b',
  '[[:alpha:]|]|0',
  '\\[a|b\\]',
  '(?i)A|b',
  'x|(?i)A|b',
  '\\Qa|b\\E',
  '(a)|()',
  '|',
  '.*|a',
  'a||b',
  'a.*?b|c',
  'a.*{2}|b',
  '.{0,2}|x{2}',
  '$',
  '^',
  'a$b|c',
  'a^b|c',
  'a\\Q\\E*',
  'ab\\Q\\E?c',
];

test('the fast paths decide as the engine does', () => {
  const value = fc.string({
    unit: fc.constantFrom('a', 'b', 'c', 'x', '\n', '.', '1', '0', '😀'),
    maxLength: 6,
  });
  fc.assert(
    fc.property(fc.constantFrom(...PATTERNS), value, (pattern, candidate) => {
      decidesAsEngine(pattern, candidate);
    }),
    { numRuns: 20_000 },
  );
});

/** What the engine says of a pattern: whether it compiles, and whether it matches. A pattern over the cost limit is refused
 * before the engine sees it, malformed or not. */
function decidesAsEngine(pattern: string, candidate: string): void {
  const where = `${pattern} on ${JSON.stringify(candidate)}`;
  let program: RE2JS;
  try {
    program = RE2JS.compile(pattern, RE2JS.DOTALL);
  } catch {
    expect(() => compileRegex(pattern), where).toThrow(/invalid regular expression|more than the limit/);
    return;
  }
  if (regexCost(pattern, RE2JS.DOTALL) > REGEX_COST_MAX) return;
  const { matches, literals, prefix } = compileRegex(pattern);
  const wanted = program.matches(candidate);
  expect(matches(candidate), where).toBe(wanted);
  if (literals !== undefined) expect(literals.includes(candidate), where).toBe(wanted);
  if (wanted) expect(candidate.startsWith(prefix), `${where}, prefix ${prefix}`).toBe(true);
}

test('any string of pieces is decided, or refused, as the engine does', () => {
  const pieces =
    'a b ab . .* .+ | ( (?: ) ^ $ \\. \\| \\\\ [ab] [^|] [a ] {2} {1,2} ? * + (?i) \\d \\x61 \\Q \\E - 😀';
  const pattern = fc
    .array(fc.constantFrom(...pieces.split(' ')), { maxLength: 9 })
    .map((parts) => parts.join(''));
  const value = fc.string({
    unit: fc.constantFrom('a', 'b', '.', '|', '\\', '\n', '-', '😀', '1'),
    maxLength: 5,
  });
  fc.assert(fc.property(pattern, value, decidesAsEngine), { numRuns: 30_000 });
});

test('groups and alternatives of literals and gaps never reach the engine, in any nesting', () => {
  const { pattern } = fc.letrec<{ pattern: string; sequence: string; atom: string }>((tie) => ({
    pattern: fc.array(tie('sequence'), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('|')),
    sequence: fc.array(tie('atom'), { maxLength: 3 }).map((parts) => parts.join('')),
    atom: fc.oneof(
      { maxDepth: 3 },
      fc.constantFrom('a', 'b', '.*', '.+', '\\.', 'ab'),
      tie('pattern').map((inner) => `(${inner})`),
    ),
  }));
  const value = fc.string({ unit: fc.constantFrom('a', 'b', '.', '😀'), maxLength: 6 });
  fc.assert(fc.property(pattern, value, decidesAsEngine), { numRuns: 10_000 });
});

test.each([
  ['pod-1|pod-2|pod-3', 'pod-2', ['pod-1', 'pod-2', 'pod-3']],
  ['10\\.0\\.0\\.1:9100|10\\.0\\.0\\.2:9100', '10.0.0.1:9100', ['10.0.0.1:9100', '10.0.0.2:9100']],
  ['^(GET|POST)$', 'GET', ['GET', 'POST']],
  ['a(b|c)d', 'acd', ['abd', 'acd']],
])('%s is a set to look up', (pattern, value, literals) => {
  expect(compileRegex(pattern).literals).toEqual(literals);
  expect(compileRegex(pattern).matches(value)).toBe(true);
});

test('thousands of alternatives are compiled and decided at once', () => {
  const pods = Array.from({ length: 2000 }, (_, i) => `deployment-with-a-name-${i}`);
  const literal = compileRegex(pods.join('|'));
  expect(literal.literals).toHaveLength(2000);
  const started = performance.now();
  const open = compileRegex(`(${pods.join('|')}).*`);
  expect(performance.now() - started).toBeLessThan(2000);
  expect(open.prefix).toBe('deployment-with-a-name-');
  expect(open.matches('deployment-with-a-name-1999-x')).toBe(true);
  expect(open.matches('deployment-with-another-name')).toBe(false);
});

test('literal alternations are sets that can be looked up', () => {
  expect(compileRegex('a|b').literals).toEqual(['a', 'b']);
  expect(compileRegex('(?:GET|POST)').literals).toEqual(['GET', 'POST']);
  expect(compileRegex('a.c').literals).toBeUndefined();
});

test.each([
  ['groups in groups', '('.repeat(20_000) + ')'.repeat(20_000)],
  ['gaps in a row', '.*a'.repeat(20_000)],
  ['groups that multiply', '(a|b)'.repeat(10_000)],
  ['a long prefix of many', `${'x'.repeat(20_000)}(${'|'.repeat(20_000)})`],
])('%s are refused at once, not worked out', (_, source) => {
  const started = performance.now();
  expect(() => compileRegex(source)).toThrow(/more than the limit of 8192/);
  expect(performance.now() - started).toBeLessThan(2000);
});

test.each([
  ['foo.*', 'foo'],
  ['foo[12]bar', 'foo'],
  ['fooo?', 'foo'],
  ['foo😀*', 'foo'],
  ['foo|bar.*', ''],
  ['(foo-a|foo-b).*', 'foo-'],
  ['foo.*|[ab]', ''],
])('prefix of %s', (pattern, prefix) => {
  expect(compileRegex(pattern).prefix).toBe(prefix);
});

test('malformed and oversized expressions are named', () => {
  expect(() => compileRegex('a(')).toThrow(/invalid regular expression "a\("/);
  expect(() => compileRegex('(?=a)')).toThrow(/invalid regular expression/);
  expect(() => compileRegex('[a]'.repeat(REGEX_LENGTH_MAX))).toThrow(/longer than the limit of 65536/);
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

import fc from 'fast-check';
import { RE2JS } from 're2js';
import { expect, test } from 'vitest';
import { compileProgram, REGEX_COST_MAX, regexCost } from './regex-program.ts';

test.each<[string, string]>([
  ['repetitions in a row', 'a{1000}'.repeat(2000)],
  ['repetitions with a range', 'a{0,1000}'.repeat(5)],
  ['repetitions without an end', '(?:ab){999,}'.repeat(5)],
  ['a repeated group', '(abc){1000}'],
  ['properties', '\\pL'.repeat(300)],
  ['properties in classes', '[\\pL\\pN]'.repeat(300)],
  ['folded properties', `(?i)${'\\pL'.repeat(50)}`],
  ['folded ranges', `(?si:${'[B-𞤀]'.repeat(5)})`],
  ['folded ranges by number', `(?i)${'[\\x{42}-\\x{1e942}]'.repeat(5)}`],
  ['a folded range in a class of many', `(?i)[${'B-𞤀'.repeat(50)}]`],
  ['many characters', 'x?'.repeat(8192)],
])('%s are refused before they are compiled', (_, source) => {
  const started = performance.now();
  expect(() => compileProgram(source)).toThrow(
    expect.objectContaining({
      code: 'bad_data',
      message: expect.stringMatching(
        new RegExp(`^regular expression "(.|\n)*more than the limit of ${REGEX_COST_MAX}`, 'u'),
      ),
    }),
  );
  expect(performance.now() - started).toBeLessThan(1000);
});

test.each([
  '(?i)prod-.*-[0-9]+',
  '[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}:[0-9]+',
  '(?:[a-z0-9]{8,10}-){4}[a-z0-9]{5}',
  Array.from({ length: 100 }, (_, i) => `pod-${i}-[a-z0-9]+-[a-z0-9]+`).join('|'),
])('%s is what people write', (source) => {
  expect(compileProgram(source).pattern()).toBe(source);
});

test('a malformed expression is named with the reason', () => {
  expect(() => compileProgram('a(')).toThrow(/invalid regular expression "a\(": .*missing/);
});

test('the estimate is not below the program', () => {
  const piece = fc.constantFrom(
    'a',
    'bc',
    '.',
    '.*',
    '[a-z]+',
    '\\d',
    '(a|b)',
    '(?:ab)?',
    '(x{3}){4}',
    'y{2,5}',
    '|',
    'z{7,}',
  );
  const source = fc.array(piece, { maxLength: 30 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(source, (text) => {
      // Three are in every program, also in that of nothing.
      expect(regexCost(text) + 3, text).toBeGreaterThanOrEqual(RE2JS.compile(text).programSize());
    }),
    { numRuns: 2000 },
  );
});

test('what was compiled lately is not compiled again', () => {
  const program = compileProgram('10\\.0\\.[1-5].*');
  expect(compileProgram('10\\.0\\.[1-5].*')).toBe(program);
  expect(compileProgram('10\\.0\\.[1-5].*', RE2JS.CASE_INSENSITIVE)).not.toBe(program);
  for (let i = 0; i < 100; i++) compileProgram(`[ab]${i}`);
  expect(compileProgram('10\\.0\\.[1-5].*')).toBe(program);
  // Those that nobody asked for since are forgotten.
  for (let i = 0; i < 128; i++) compileProgram(`[cd]${i}`);
  const anew = compileProgram('10\\.0\\.[1-5].*');
  expect(anew).not.toBe(program);
  expect([anew.matches('10.0.3.7'), anew.matches('10.0.6.7')]).toEqual([true, false]);
  const long = `[ab]${'x'.repeat(256)}`;
  expect(compileProgram(long)).not.toBe(compileProgram(long));
  expect(compileProgram('[ab]{300}')).not.toBe(compileProgram('[ab]{300}'));
});

import { describe, expect, test } from 'vitest';
import { Lexer } from './lexer.ts';

/** Tokens as `kind:text`, up to the end. */
function lex(query: string): string[] {
  const lexer = new Lexer(query);
  const tokens: string[] = [];
  for (;;) {
    const token = lexer.next();
    if (token.kind === 'end') return tokens;
    expect(query.slice(token.start, token.end)).toBe(token.text);
    tokens.push(`${token.kind}:${token.text}`);
  }
}

describe('tokens', () => {
  test.each([
    ['1 1.5 .5 5. 1e3 1E-3 0x1F 0X_1f 1_000.5', 'number'],
    ['Inf nan INF NaN', 'number'],
    ['5m 1h30m 100ms 1y2w 1.5h', 'duration'],
    ['"a" \'b\' `c` "\\"" "\\x41" "\\101" "\\u00e9"', 'string'],
    ['foo _a a1 fill fill_left', 'identifier'],
    [':a a:b', 'metric-identifier'],
    ['== != <= >= < > </ >/ + - * / % ^ @ and OR Unless atan2', 'operator'],
    ['sum AVG limitk count_values', 'aggregator'],
    ['by without on ignoring group_left offset bool anchored smoothed', 'keyword'],
    ['start end step range min_of max_of', 'word'],
  ])('%s', (query, kind) => {
    expect(lex(query)).toEqual(query.split(' ').map((text) => `${kind}:${text}`));
  });

  test('words inside braces are label names', () => {
    expect(lex('{by="a",sum!~`b`}')).toEqual([
      'sign:{',
      'identifier:by',
      'sign:=',
      'string:"a"',
      'sign:,',
      'identifier:sum',
      'operator:!~',
      'string:`b`',
      'sign:}',
    ]);
  });

  test('brackets take durations and the words of duration arithmetic', () => {
    expect(lex('[step()+5m:Max_Of(1,2s)]').map((token) => token.split(':').pop())).toEqual([
      '[',
      'step',
      '(',
      ')',
      '+',
      '5m',
      '',
      'Max_Of',
      '(',
      '1',
      ',',
      '2s',
      ')',
      ']',
    ]);
  });

  test('fill is a keyword only before a parenthesis', () => {
    expect(lex('fill (1) fill')).toEqual(['keyword:fill', 'sign:(', 'number:1', 'sign:)', 'identifier:fill']);
  });

  test('comments run to the end of the line', () => {
    expect(lex('a # b "c\n# d\r\n+ e')).toEqual(['identifier:a', 'operator:+', 'identifier:e']);
  });
});

describe('errors', () => {
  test.each([
    ['.', "1:1: parse error: unexpected character: '.'"],
    ['é', "1:1: parse error: unexpected character: 'é'"],
    ['2.5.', '1:1: parse error: bad number or duration syntax: "2.5."'],
    ['100..4', '1:1: parse error: bad number or duration syntax: "100.."'],
    ['0deadbeef', '1:1: parse error: bad number or duration syntax: "0de"'],
    ['1e', '1:1: parse error: bad number or duration syntax: "1e"'],
    ['a =~ b', "1:3: parse error: unexpected character after '=': '~'"],
    ['1 !~ 1', "1:3: parse error: unexpected character after '!': '~'"],
    ['(1))', "1:5: parse error: unexpected right parenthesis ')'"],
    ['((1)', '1:5: parse error: unclosed left parenthesis'],
    ['a[5m', '1:5: parse error: unclosed left bracket'],
    ['a[', '1:3: parse error: unexpected end of input in duration expression'],
    ['a]', "1:2: parse error: unexpected right bracket ']'"],
    ['a[5m[', "1:5: parse error: unexpected left bracket '['"],
    ['a[5mb', '1:3: parse error: bad number or duration syntax: "5mb"'],
    ['a[5m b', "1:6: parse error: unexpected character: 'b', expected ':'"],
    ['a[b]', "1:3: parse error: unexpected character in duration expression: 'b'"],
    ['a[:5m]', '1:4: parse error: unexpected colon before duration in duration expression'],
    ['a[5m::5m]', "1:6: parse error: unexpected colon ':'"],
    ['{', '1:2: parse error: unexpected end of input inside braces'],
    ['{a{', "1:3: parse error: unexpected left brace '{'"],
    ['{a!b', "1:3: parse error: unexpected character after '!' inside braces: 'b'"],
    ['{1', "1:2: parse error: unexpected character inside braces: '1'"],
    ['"a', '1:1: parse error: unterminated quoted string'],
    ['"a\nb"', '1:1: parse error: unterminated quoted string'],
    ['`a', '1:1: parse error: unterminated raw string'],
    ['"\\q"', "1:1: parse error: unknown escape sequence U+0071 'q'"],
    ['"\\\n"', '1:1: parse error: unknown escape sequence U+000A'],
    ['"\\x4g"', "1:1: parse error: illegal character U+0067 'g' in escape sequence"],
    ['"\\400"', '1:1: parse error: escape sequence is an invalid Unicode code point'],
    ['"\\ud800"', '1:1: parse error: escape sequence is an invalid Unicode code point'],
    ['"\\u00', '1:1: parse error: escape sequence not terminated'],
    ['a +\n  "é" + $', "2:10: parse error: unexpected character: '$'"],
  ])('%j', (query, message) => {
    expect(() => lex(query)).toThrow(expect.objectContaining({ code: 'bad_data', message }));
  });
});

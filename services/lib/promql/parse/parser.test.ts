import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import type { Expr } from '../ast.ts';
import { ALL_FEATURES, DEFAULT_FEATURES } from '../features.ts';
import { TREE_DEPTH_MAX } from './expression-type.ts';
import { FUNCTIONS } from './functions-table.ts';
import { parseExpr, parseMetricSelector, QUERY_LENGTH_MAX } from './parser.ts';
import { printExpr } from './printer.ts';

/** The tree with every operation in parentheses: shows what binds to what. */
function shape(expr: Expr): string {
  switch (expr.kind) {
    case 'binary':
      return `(${shape(expr.left)} ${expr.operator} ${shape(expr.right)})`;
    case 'unary':
      return `${expr.operator}{${shape(expr.expr)}}`;
    case 'paren':
      return shape(expr.expr);
    default:
      return printExpr(expr);
  }
}

const parse = (query: string) => parseExpr(query, ALL_FEATURES);

function errorOf(query: string, features = ALL_FEATURES): string {
  try {
    parseExpr(query, features);
  } catch (caught) {
    expect(caught).toBeInstanceOf(AppError);
    expect((caught as AppError).code).toBe('bad_data');
    return (caught as AppError).message;
  }
  return 'no error';
}

describe('numbers and strings', () => {
  test.each([
    ['1', 1],
    ['+Inf', Number.POSITIVE_INFINITY],
    ['-inf', Number.NEGATIVE_INFINITY],
    ['.5', 0.5],
    ['5.', 5],
    ['5e-3', 0.005],
    ['0xc', 12],
    ['0x7fffffffffffffff', 2 ** 63],
    ['0777777777777777777777', 2 ** 63],
    ['0777777777777777777777777', 777777777777777800000000],
    ['0X_c_F', 207],
    ['0755', 493],
    ['-0755', -493],
    ['089', 89],
    ['1_000_000', 1_000_000],
    ['5m', 300],
    ['-2h', -7200],
    ['54s321ms', 54.321],
    ['- - 3', 3],
  ])('%s', (query, value) => {
    expect(parse(query)).toMatchObject({ kind: 'number', value });
  });

  test('NaN', () => expect(parse('nan')).toMatchObject({ value: Number.NaN }));

  test.each([
    ['"a\\nb"', 'a\nb'],
    ["'it\\'s'", "it's"],
    ['`raw \\n\nline`', 'raw \\n\nline'],
    ['"\\x41\\102\\u00e9\\U0001F600"', 'AB\u00e9\u{1F600}'],
    ['"\\xc3\\xa9"', '\u00e9'],
    ['"\u00fcber \u{1F600}"', '\u00fcber \u{1F600}'],
  ])('%j', (query, value) => {
    expect(parse(query)).toMatchObject({ kind: 'string', value });
  });
});

describe('what binds to what', () => {
  test.each([
    ['1 + 2 * 3', '(1 + (2 * 3))'],
    ['1 - 2 - 3', '((1 - 2) - 3)'],
    ['2 ^ 3 ^ 2', '(2 ^ (3 ^ 2))'],
    ['2 * 3 % 2', '((2 * 3) % 2)'],
    ['-1 ^ 2', '-{(1 ^ 2)}'],
    ['-1 * 2', '(-1 * 2)'],
    ['-1 ^ -2', '-{(1 ^ -2)}'],
    ['2 ^ -1 * 3', '((2 ^ -1) * 3)'],
    ['-a ^ b * c', '(-{(a ^ b)} * c)'],
    ['a or b and c unless d', '(a or ((b and c) unless d))'],
    ['a == b + c > d', '((a == (b + c)) > d)'],
    ['a atan2 b * c', '((a atan2 b) * c)'],
    ['a + b offset 5m', '(a + b offset 5m)'],
    ['-a offset 5m', '-{a offset 5m}'],
    ['a ^ b[5m:1m]', undefined],
    ['foo offset 100 + 2', '(foo offset 1m40s + 2)'],
    ['foo offset -2 ^ 2', '(foo offset -2s ^ 2)'],
    ['foo offset step() * 0', '(foo offset step() * 0)'],
    ['foo offset -min_of(step(), 1s) ^ 0', '(foo offset -min_of(step(), 1s) ^ 0)'],
    ['foo offset -(min_of(step(), 1s)) + 8', '(foo offset -(min_of(step(), 1s)) + 8)'],
    ['foo offset (2 ^ 2)', 'foo offset (2 ^ 2)'],
    ['foo offset (-2 * 2)', 'foo offset (-2 * 2)'],
    ['a </ 3 + 1', '(a </ (3 + 1))'],
  ])('%s', (query, expected) => {
    if (expected === undefined)
      expect(errorOf(query)).toContain('must contain only scalar and instant vector');
    else expect(shape(parse(query))).toBe(expected);
  });
});

describe('selectors', () => {
  test('a name outside braces is the last matcher', () => {
    expect(parse('foo{a="b",c!~"d.*",}')).toMatchObject({
      kind: 'vector-selector',
      name: 'foo',
      matchers: [
        { name: 'a', operator: '=', value: 'b' },
        { name: 'c', operator: '!~', value: 'd.*' },
        { name: '__name__', operator: '=', value: 'foo' },
      ],
      pos: { start: 0, end: 20 },
    });
  });

  test('quoted names', () => {
    expect(parse('{"my.metric", "label.x"="y"}')).toMatchObject({
      name: '',
      matchers: [
        { name: '__name__', operator: '=', value: 'my.metric' },
        { name: 'label.x', operator: '=', value: 'y' },
      ],
    });
  });

  test.each(['sum', 'by', 'and', 'offset', 'start', 'range', 'min_of', 'fill', 'without', 'anchored', 'BY'])(
    '%s is a metric name too',
    (name) => expect(parse(name)).toMatchObject({ kind: 'vector-selector', name }),
  );

  test('offset and @ in any order, positions to their end', () => {
    const expected = { at: { kind: 'time', timeMs: -1500 }, offset: { durationMs: -300_000 } };
    expect(parse('foo @ -1.5 offset -5m')).toMatchObject({ ...expected, pos: { start: 0, end: 21 } });
    expect(parse('foo offset -5m @ -1.5')).toMatchObject({ ...expected, pos: { start: 0, end: 21 } });
    expect(parse('foo[5m] @ start()')).toMatchObject({
      kind: 'matrix-selector',
      vector: { at: { kind: 'start' } },
      pos: { end: 17 },
    });
    expect(parse('foo @ end()')).toMatchObject({ at: { kind: 'end' } });
  });

  test('subqueries', () => {
    expect(parse('rate(foo[5m])[1h:30s] offset 1d')).toMatchObject({
      kind: 'subquery',
      range: { durationMs: 3_600_000 },
      step: { durationMs: 30_000 },
      offset: { durationMs: 86_400_000 },
    });
    expect(parse('foo[1h:]')).toMatchObject({ kind: 'subquery', step: undefined });
  });

  test('anchored and smoothed', () => {
    expect(parse('rate(foo[5m] anchored)')).toMatchObject({ args: [{ vector: { extension: 'anchored' } }] });
    expect(parse('foo smoothed')).toMatchObject({ extension: 'smoothed' });
  });

  test('parseMetricSelector', () => {
    expect(parseMetricSelector('up{a=~"b|c"}')).toEqual([
      { name: 'a', operator: '=~', value: 'b|c' },
      { name: '__name__', operator: '=', value: 'up' },
    ]);
    expect(() => parseMetricSelector('up[5m]')).toThrow('1:3: parse error: unexpected "["');
    expect(() => parseMetricSelector('')).toThrow('unknown position: parse error: unexpected end of input');
  });
});

describe('aggregations and binary operators', () => {
  test.each(['sum by (a, by) (x)', 'sum(x) by (a, by)', 'SUM BY ("a", by,) (x)'])('%s', (query) => {
    expect(parse(query)).toMatchObject({ operator: 'sum', grouping: ['a', 'by'], without: false });
  });

  test('parameters', () => {
    expect(parse('topk without () (3, x)')).toMatchObject({
      operator: 'topk',
      param: { value: 3 },
      without: true,
    });
  });

  test('matching', () => {
    expect(parse('a == bool on (x) group_left (y) b')).toMatchObject({
      returnBool: true,
      matching: { cardinality: 'many-to-one', on: true, labels: ['x'], include: ['y'] },
    });
    expect(parse('a and ignoring (x) b')).toMatchObject({
      matching: { cardinality: 'many-to-many', on: false },
    });
    expect(parse('a + 1')).toMatchObject({ matching: undefined });
    expect(parse('a + fill_right(-1) fill_left(NaN) b')).toMatchObject({
      matching: { fillLeft: Number.NaN, fillRight: -1 },
    });
    expect(parse('fill + fill (2) fill')).toMatchObject({ matching: { fillLeft: 2, fillRight: 2 } });
  });
});

describe('a colon in brackets', () => {
  // Accepted by Prometheus 3.14, which asks for a number in any brackets before the colon.
  test.each([
    'a[step() + 1:1ms]',
    'a[1 + step():1ms]',
    'a[min_of(1s, range()):1m]',
    'a[5m:step()]',
    'rate(a[1m]) + rate(a[step():1m])',
  ])('%s', (query) => {
    expect(() => parse(query)).not.toThrow();
  });
});

// Messages as Prometheus 3.14 words them: its grammar's contexts, and its type checks.
describe('errors', () => {
  test.each([
    ['', 'unknown position: parse error: no expression found in input'],
    ['# comment\n', '1:1: parse error: no expression found in input'],
    // The next ones as Prometheus 3.14 itself answered them.
    ['fill(1)', '1:5: parse error: unexpected "("'],
    ['sum(fill(1))', '1:9: parse error: unexpected "(" in aggregation'],
    ['a / on () group_left, b', '1:21: parse error: unexpected "," in grouping opts, expected "("'],
    ['a[:]', '1:4: parse error: unexpected colon before duration in duration expression'],
    ['a[step():1ms]', '1:10: parse error: unexpected colon before duration in duration expression'],
    ['a[range():]', '1:11: parse error: unexpected colon before duration in duration expression'],
    [
      'a[min_of(step(), range()):1m]',
      '1:27: parse error: unexpected colon before duration in duration expression',
    ],
    [
      'a offset 5m + a[-step() : 1m]',
      '1:26: parse error: unexpected colon before duration in duration expression',
    ],
    [
      'a[1m] + b[:1m]',
      '1:11: parse error: unexpected ":" in subquery or range selector, expected number, duration, step(), or range()',
    ],
    ['a offset -1e300', '1:10: parse error: duration out of range'],
    ['a offset -(1e300)', '1:12: parse error: duration out of range'],
    ['.5.9', '1:1: parse error: error parsing number: strconv.ParseFloat: parsing ".5.9": invalid syntax'],
    ['0x.', '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "0x.": invalid syntax'],
    ['0x1ee', '1:1: parse error: bad number or duration syntax: "0x1ee"'],
    ['1.5.3', '1:1: parse error: bad number or duration syntax: "1.5."'],
    ['1e-320memory', '1:1: parse error: bad number or duration syntax: "1e-320me"'],
    ['1 + 0.51ms', '1:5: parse error: unknown unit "." in duration "0.51ms"'],
    ['1+', '1:3: parse error: unexpected end of input'],
    [
      '1 + 0x8000000000000000',
      '1:5: parse error: error parsing number: strconv.ParseFloat: parsing "0x8000000000000000": invalid syntax',
    ],
    ['1 + 0x', '1:5: parse error: error parsing number: strconv.ParseFloat: parsing "0x": invalid syntax'],
    ['(1_ # one', '1:2: parse error: error parsing number: strconv.ParseFloat: parsing "1_": invalid syntax'],
    ['(1e)', '1:2: parse error: error parsing number: strconv.ParseFloat: parsing "1e": invalid syntax'],
    [
      '1e999',
      '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e999": value out of range',
    ],
    ['foo 0x', '1:5: parse error: unexpected number "0x"'],
    ['*1', '1:1: parse error: unexpected <op:*>'],
    ['foo bar', '1:5: parse error: unexpected identifier "bar"'],
    ['foo a:b', '1:5: parse error: unexpected metric identifier "a:b"'],
    ['foo 5', '1:5: parse error: unexpected number "5"'],
    ['foo 5m', '1:5: parse error: unexpected duration "5m"'],
    ['foo "0123456789abc"', '1:5: parse error: unexpected string "\\"012345678"...'],
    ['foo by (a)', '1:5: parse error: unexpected <by>'],
    ['foo sum', '1:5: parse error: unexpected <aggr:sum>'],
    ['foo start', '1:5: parse error: unexpected "start"'],
    ['()', '1:2: parse error: unexpected ")"'],
    ['a + bool', '1:9: parse error: unexpected end of input'],
    ['a + group_left b', '1:5: parse error: unexpected <group_left>'],
    ['rate(foo bar)', '1:10: parse error: unexpected identifier "bar"'],
    ['sum(foo bar)', '1:9: parse error: unexpected identifier "bar" in aggregation'],
    ['sum by (a) foo', '1:12: parse error: unexpected identifier "foo" in aggregation'],
    ['sum foo by (a)', '1:5: parse error: unexpected identifier "foo"'],
    ['sum(foo) by a', '1:13: parse error: unexpected identifier "a" in grouping opts, expected "("'],
    ['sum by (5) (x)', '1:9: parse error: unexpected number "5" in grouping opts, expected label'],
    [
      'sum by (a b) (x)',
      '1:11: parse error: unexpected identifier "b" in grouping opts, expected "," or ")"',
    ],
    ['sum by (without) (x)', '1:9: parse error: unexpected <without> in grouping opts, expected label'],
    ['sum()', '1:1: parse error: no arguments for aggregate expression provided'],
    [
      'sum(1, a)',
      '1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2',
    ],
    [
      'topk(a)',
      '1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1',
    ],
    ['sum(a,)', '1:6: parse error: trailing commas not allowed in function call args'],
    ['foo{a}', '1:6: parse error: unexpected "}" in label matching, expected label matching operator'],
    ['foo{a=~=~"b"}', '1:8: parse error: unexpected <op:=~> in label matching, expected string'],
    ['foo{a=}', '1:7: parse error: unexpected "}" in label matching, expected string'],
    ['foo{a=b}', '1:7: parse error: unexpected identifier "b" in label matching, expected string'],
    ['foo{a="b" c}', '1:11: parse error: unexpected identifier "c" in label matching, expected "," or "}"'],
    ['foo{,}', '1:5: parse error: unexpected "," in label matching, expected identifier or "}"'],
    ['foo{"a" "b"}', '1:9: parse error: unexpected string "\\"b\\"" in label matching, expected "," or "}"'],
    [
      'foo[]',
      '1:5: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()',
    ],
    ['foo[5m 3]', '1:8: parse error: unexpected number "3" in subquery or range, expected ":" or "]"'],
    ['foo[5m:1m 3]', '1:11: parse error: unexpected number "3" in subquery selector, expected "]"'],
    ['foo[5m:)', "1:9: parse error: unexpected right parenthesis ')'"],
    ['foo[0m]', '1:5: parse error: duration must be greater than 0'],
    ['foo[5m:-1m]', '1:8: parse error: duration must be greater than 0'],
    ['foo[5m/0]', '1:7: parse error: division by zero'],
    ['foo[5m%0]', '1:7: parse error: modulo by zero'],
    ['foo[99999999999]', '1:5: parse error: duration out of range'],
    ['foo[1h1h]', '1:5: parse error: not a valid duration string: "1h1h"'],
    [
      'foo offset',
      '1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()',
    ],
    ['foo @ bar', '1:7: parse error: unexpected identifier "bar" in @, expected timestamp'],
    ['foo @ start', '1:12: parse error: unexpected end of input in @, expected timestamp'],
    ['foo @ inf', '1:1: parse error: timestamp out of bounds for @ modifier: +Inf'],
    ['foo @ 1 @ 2', '1:1: parse error: @ <timestamp> may not be set multiple times'],
    ['foo offset 1m offset 2m', '1:1: parse error: offset may not be set multiple times'],
    [
      '1 offset 1m',
      '1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery',
    ],
    [
      '(foo) @ 1',
      '1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery',
    ],
    ['(foo)[5m]', '1:6: parse error: ranges only allowed for vector selectors'],
    ['foo offset 1m[5m]', '1:14: parse error: no offset modifiers allowed before range'],
    ['foo @ 1[5m]', '1:8: parse error: no @ modifiers allowed before range'],
    ['foo anchored smoothed', '1:1: parse error: anchored and smoothed modifiers cannot be used together'],
    ['foo[5m:] anchored', '1:1: parse error: anchored modifier is not supported for subqueries'],
    ['sum(foo) smoothed', '1:1: parse error: smoothed modifier not implemented'],
    ['nope(1)', '1:1: parse error: unknown function with name "nope"'],
    ['constructor(1)', '1:1: parse error: unknown function with name "constructor"'],
    ['foo{a=~"("}', '1:5: parse error: error parsing regexp: missing closing ): `(`'],
    ['{}', '1:1: parse error: vector selector must contain at least one non-empty matcher'],
    [
      '{a=~".*",b!="c",d=""}',
      '1:1: parse error: vector selector must contain at least one non-empty matcher',
    ],
    ['foo{__name__="bar"}', '1:1: parse error: metric name must not be set twice: "foo" or "bar"'],
    [
      'rate(foo)',
      '1:6: parse error: expected type range vector in call to function "rate", got instant vector',
    ],
    [
      'vector(foo)',
      '1:8: parse error: expected type scalar in call to function "vector", got instant vector',
    ],
    ['rate()', '1:1: parse error: expected 1 argument(s) in call to "rate", got 0'],
    ['hour(a, b)', '1:1: parse error: expected at most 1 argument(s) in call to "hour", got 2'],
    ['label_join(a)', '1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 1'],
    ['info(a, b)', '1:9: parse error: expected label selectors only, got vector selector instead'],
    ['info(a, 1)', '1:1: parse error: expected type instant vector in call to function "info", got scalar'],
    ['info(a, (b))', '1:9: parse error: expected label selectors only'],
    ['info(0.9, sum(b))', '1:11: parse error: expected label selectors only'],
    [
      'sum(foo[5m])',
      '1:5: parse error: expected type instant vector in aggregation expression, got range vector',
    ],
    ['topk("a", b)', '1:6: parse error: expected type scalar in aggregation parameter, got string'],
    ['count_values(1, b)', '1:14: parse error: expected type string in aggregation parameter, got scalar'],
    [
      '-foo[5m]',
      '1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "range vector"',
    ],
    ['1[5m:]', '1:1: parse error: subquery is only allowed on instant vector, got scalar instead'],
    ['foo[5m][5m:]', '1:1: parse error: subquery is only allowed on instant vector, got matrix instead'],
    ['"a" + 1', '1:1: parse error: binary expression must contain only scalar and instant vector types'],
    ['1 + foo[5m]', '1:5: parse error: binary expression must contain only scalar and instant vector types'],
    ['1 and 1', '1:1: parse error: set operator "and" not allowed in binary scalar expression'],
    ['1 or a', '1:1: parse error: set operator "or" not allowed in binary scalar expression'],
    ['1 == 1', '1:3: parse error: comparisons between scalars must use BOOL modifier'],
    ['a + bool b', '1:3: parse error: bool modifier can only be used on comparison operators'],
    ['a + on (x) 1', '1:1: parse error: vector matching only allowed between instant vectors'],
    ['a + fill(1) 1', '1:1: parse error: filling in missing series only allowed between instant vectors'],
    ['a or fill(1) b', '1:1: parse error: filling in missing series not allowed for set operators'],
    ['a and on (x) group_left b', '1:1: parse error: no grouping allowed for "and" operation'],
    [
      'a + on (x) group_left (x) b',
      '1:3: parse error: label "x" must not occur in ON and GROUP clause at once',
    ],
    ['a +\n\n  on x', '3:6: parse error: unexpected identifier "x" in grouping opts, expected "("'],
    ['"äöü" + $', "1:12: parse error: unexpected character: '$'"],
  ])('%j', (query, message) => {
    expect(errorOf(query)).toContain(message);
    if (!query.includes('=~')) expect(errorOf(query)).toBe(message);
  });
});

describe('feature flags', () => {
  test.each([
    ['sort_by_label(a, "b")', '1:1: parse error: function "sort_by_label" is not enabled'],
    [
      'limitk(1, a)',
      '1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions',
    ],
    ['foo[5m] anchored', '1:1: parse error: anchored modifier is experimental and not enabled'],
    ['a + fill(1) b', '1:1: parse error: binop fill modifiers are experimental and not enabled'],
    ['foo[5m * 2]', 'no error'],
  ])('%s', (query, message) => expect(errorOf(query, DEFAULT_FEATURES)).toBe(message));

  test.each([
    ['foo[5m * 2]', '1:5: parse error: experimental duration expression is not enabled'],
    ['foo[step()]', '1:5: parse error: experimental duration expression is not enabled'],
    ['foo[5m]', 'no error'],
    ['foo offset -5m', 'no error'],
  ])('without duration expressions: %s', (query, message) => {
    expect(errorOf(query, { ...DEFAULT_FEATURES, durationExpressions: false })).toBe(message);
  });
});

test('every function can be called with the least and the most arguments', () => {
  const sample = { vector: 'a', matrix: 'a[5m]', scalar: '1', string: '"s"' };
  for (const { name, argTypes, variadic } of FUNCTIONS.values()) {
    const types = [...argTypes];
    const args = (count: number) =>
      Array.from({ length: count }, (_, i) => sample[types[Math.min(i, types.length - 1)]!]);
    const least = variadic === 0 ? types.length : types.length - 1;
    const most = variadic < 0 ? least + 5 : least + variadic;
    for (const count of [least, most]) {
      const given = args(count);
      if (name === 'info' && count > 1) given[1] = '{}';
      expect(errorOf(`${name}(${given.join(', ')})`), name).toBe('no error');
    }
    const tooMany = types.length === 0 ? ['1'] : args(most + 1);
    const wrong = variadic < 0 ? args(least - 1) : tooMany;
    expect(errorOf(`${name}(${wrong.join(', ')})`), name).toContain('argument(s) in call to');
  }
});

describe('bounds', () => {
  test.each([
    ['(', ')'],
    ['-(', ')'],
    ['abs(', ')'],
    ['1 ^ ', ''],
    ['sum(', ')'],
  ])('nesting of %s', (open, close) => {
    expect(errorOf(`${open.repeat(100_000)}1${close.repeat(100_000)}`)).toContain(
      'is nested deeper than the limit of 500 levels',
    );
    expect(errorOf(`${open.repeat(100_000)}`)).toContain('is nested deeper than the limit');
  });

  test('signs', () => expect(errorOf(`${'-'.repeat(100_000)}a`)).toContain('is nested deeper'));
  test('durations', () => expect(errorOf(`a[${'('.repeat(100_000)}`)).toContain('is nested deeper'));

  test('a long chain makes a deep tree', () => {
    expect(errorOf(`a${' + a'.repeat(TREE_DEPTH_MAX - 1)}`)).toBe('no error');
    expect(errorOf(`a${' + a'.repeat(100_000)}`)).toContain('deeper than the limit of 1500 operations');
  });

  test('a long query', () => {
    expect(errorOf(' '.repeat(QUERY_LENGTH_MAX + 1))).toContain(
      'query of 1048577 characters is longer than the limit of 1048576',
    );
  });
});

test('mutated queries parse or fail with a parse error', () => {
  const seeds = [
    'sum by (a) (rate(foo{b=~"c.*",d!="e"}[5m] offset 1h))',
    'histogram_quantile(0.9, sum without (x) (a[1h:5m])) > bool on (c) group_left (d) -1.5e3',
    'label_replace(up @ start(), "a", `b`, \'c\', "\\x41") or {"m.x", "l.y"="z"} unless 5m',
    'topk(3, foo[step() + max_of(5m, 1h / 2)] smoothed) and count_values("v", b) + fill(0) c',
  ];
  const pieces = [
    '(',
    ')',
    '[',
    ']',
    '{',
    '}',
    ',',
    ':',
    '"',
    '`',
    '\\',
    '@',
    '-',
    '^',
    'by',
    ' 5m',
    '#',
    '\n',
    'é',
    '\ud800',
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat(), fc.nat(6), fc.constantFrom(...pieces)), { minLength: 1, maxLength: 4 }),
      (seed, edits) => {
        let query = seed;
        for (const [at, removed, piece] of edits) {
          const cut = at % (query.length + 1);
          query = query.slice(0, cut) + piece + query.slice(cut + removed);
        }
        const message = errorOf(query);
        if (message !== 'no error') expect(message).toMatch(/^\d+:\d+: parse error: ./);
      },
    ),
    { numRuns: 4000 },
  );
});

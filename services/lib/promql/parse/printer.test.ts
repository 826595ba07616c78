import { describe, expect, test } from 'vitest';
import { ALL_FEATURES } from '../features.ts';
import { parseExpr } from './parser.ts';
import { formatExpr, printExpr } from './printer.ts';

const parse = (query: string) => parseExpr(query, ALL_FEATURES);

describe('printExpr', () => {
  test.each([
    ['sum(a)by(b,c)', 'sum by (b, c) (a)'],
    ['sum by () (a)', 'sum(a)'],
    ['sum without()(a)', 'sum without () (a)'],
    ['topk(5,a)', 'topk(5, a)'],
    ['count_values("value",a)', 'count_values("value", a)'],
    ['a-on(b)group_left(c)d', 'a - on (b) group_left (c) d'],
    ['a - ignoring(b) group_right d', 'a - ignoring (b) group_right () d'],
    ['a - ignoring() d', 'a - d'],
    ['a - on() d', 'a - on () d'],
    ['a > bool on(x) b', 'a > bool on (x) b'],
    ['a + fill(1) b', 'a + fill (1) b'],
    ['a + fill_right(1) fill_left(2) b', 'a + fill_left (2) fill_right (1) b'],
    ['a{x="y",b!="c"}[5m]offset 1h', 'a{b!="c",x="y"}[5m] offset 1h'],
    ['{__name__="a"}', '{__name__="a"}'],
    ['{"a.b", "c.d"="e\\"f"}', '{"c.d"="e\\"f",__name__="a.b"}'],
    // Bytes that are no UTF-8: of a broken character, alone, of a surrogate, and one that is whole.
    ['"\\xf1\\xe2\\x82 \\377\\xed\\xa0\\x80 \\xe2\\x82\\xac"', '"\\xf1\\xe2\\x82 \\xff\\xed\\xa0\\x80 €"'],
    ['a @ 10.0015 offset -1d', 'a @ 10.002 offset -1d'],
    ['a @ -0.5', 'a @ -0.500'],
    ['a[90m:10] @ end()', 'a[1h30m:10s] @ end()'],
    ['a[1h:]', 'a[1h:]'],
    ['a smoothed @ 1', 'a @ 1.000 smoothed'],
    ['a[5m] anchored offset 1m', 'a[5m] anchored offset 1m'],
    ['a[5m*2+step()]', 'a[5m * 2 + step()]'],
    ['a[(5m)]', 'a[5m]'],
    ['a[2 * (-1m + 5m - (2))]', 'a[2 * (-1m + 5m - 2)]'],
    ['a offset --1 + 2', 'a offset 1 + 2'],
    ['a + fill(123456789) b', 'a + fill (1.23456789e+08) b'],
    ['a[((-1)^2)*1h]', 'a[((-1) ^ 2) * 1h]'],
    ['a[min_of(step(),2)]', 'a[min_of(step(), 2)]'],
    ['a offset -(1h/2)', 'a offset -(1h / 2)'],
    ['-a', '-a'],
    ['+a^(2)', '+a ^ (2)'],
    ['1e21', '1000000000000000000000'],
    ['1.5e-7', '0.00000015'],
    ['-0x10', '-16'],
    ['Inf', '+Inf'],
    ['nan', 'NaN'],
    ['300s', '5m'],
    ['"a\\tb\\a\\\\\\"\u00e9"', '"a\\tb\\a\\\\\\"\u00e9"'],
    ['sum by ("x.y", z) (a)', 'sum by ("x.y", z) (a)'],
  ])('%s', (query, printed) => {
    expect(printExpr(parse(query))).toBe(printed);
  });
});

// Expected texts are worked out from upstream's rules: a node over 100 bytes puts its parts on lines of their own, one
// level deeper; operands of a binary operation are one level deeper than the operator.
describe('formatExpr', () => {
  const long = (letter: string) => letter.repeat(60);

  test('short expressions stay on one line', () => {
    expect(formatExpr(parse('sum(a) by (b)+1'))).toBe('sum by (b) (a) + 1');
  });

  test('binary operations', () => {
    expect(formatExpr(parse(`${long('a')} + on (x) ${long('b')}`))).toBe(
      `  ${long('a')}\n+ on (x)\n  ${long('b')}`,
    );
  });

  test('calls, aggregations and parentheses', () => {
    expect(formatExpr(parse(`topk by (g) (3, (rate(${long('a')}[5m]) - abs(${long('b')})))`))).toBe(
      [
        'topk by (g) (',
        '  3,',
        '  (',
        `      rate(${long('a')}[5m])`,
        '    -',
        `      abs(${long('b')})`,
        '  )',
        ')',
      ].join('\n'),
    );
    expect(formatExpr(parse(`label_replace(${long('a')}, "b", "c", "d", "${long('e')}")`))).toBe(
      ['label_replace(', `  ${long('a')},`, '  "b",', '  "c",', '  "d",', `  "${long('e')}"`, ')'].join('\n'),
    );
  });

  test('signs stand at the first line of their operand', () => {
    expect(formatExpr(parse(`-(${long('a')} + ${long('b')})`))).toBe(
      ['-(', `    ${long('a')}`, '  +', `    ${long('b')}`, ')'].join('\n'),
    );
  });

  test('a long selector cannot be broken', () => {
    const selector = `${long('a')}{x="${long('b')}"}`;
    expect(formatExpr(parse(`sum(${selector})`))).toBe(`sum(\n  ${selector}\n)`);
  });

  test('a subquery keeps its brackets behind its expression', () => {
    expect(formatExpr(parse(`max_over_time((${long('a')} + ${long('b')})[1h:5m])`))).toBe(
      ['max_over_time(', '  (', `      ${long('a')}`, '    +', `      ${long('b')}`, '  )[1h:5m]', ')'].join(
        '\n',
      ),
    );
  });

  test('a deep and long expression is formatted in reasonable time', () => {
    const query = `a${' + a'.repeat(1400)}`;
    expect(formatExpr(parse(query)).replaceAll(/\s+/g, '')).toBe(query.replaceAll(' ', ''));
  });
});

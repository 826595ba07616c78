// Expectations are what Prometheus 3.14 answers for each node.
import { expect, test } from 'vitest';
import { ALL_FEATURES } from '../features.ts';
import { astToJson } from './ast-json.ts';
import { parseExpr } from './parser.ts';

const parse = (text: string) => JSON.parse(JSON.stringify(astToJson(parseExpr(text, ALL_FEATURES))));

const selector = (name: string, more: object = {}) => ({
  type: 'vectorSelector',
  name,
  offset: 0,
  offsetExpr: null,
  matchers: [{ name: '__name__', value: name, type: '=' }],
  timestamp: null,
  startOrEnd: null,
  anchored: false,
  smoothed: false,
  ...more,
});

test.each([
  ['1', { type: 'numberLiteral', val: '1' }],
  ['-1e21', { type: 'numberLiteral', val: '-1000000000000000000000' }],
  ['-Inf', { type: 'numberLiteral', val: '-Inf' }],
  ["'a\"b'", { type: 'stringLiteral', val: 'a"b' }],
  ['"\\xf1 \\xe2\\x82"', { type: 'stringLiteral', val: '\ufffd \ufffd\ufffd' }],
  [
    'up{a="b"}',
    selector('up', {
      matchers: [
        { name: 'a', value: 'b', type: '=' },
        { name: '__name__', value: 'up', type: '=' },
      ],
    }),
  ],
  ['(up)', { type: 'parenExpr', expr: selector('up') }],
  ['up @ 1.5 offset -1m', selector('up', { timestamp: 1500, offset: -60_000 })],
  ['up @ start()', selector('up', { startOrEnd: 'start' })],
  ['up smoothed', selector('up', { smoothed: true })],
  [
    '{a!~"b",c!=""} == 1',
    {
      type: 'binaryExpr',
      op: '==',
      lhs: selector('', {
        matchers: [
          { name: 'a', value: 'b', type: '!~' },
          { name: 'c', value: '', type: '!=' },
        ],
      }),
      rhs: { type: 'numberLiteral', val: '1' },
      matching: null,
      bool: false,
    },
  ],
  [
    'rate(up[5m] @ end())',
    {
      type: 'call',
      func: { name: 'rate', argTypes: ['matrix'], variadic: 0, returnType: 'vector' },
      args: [selector('up', { type: 'matrixSelector', range: 300_000, rangeExpr: null, startOrEnd: 'end' })],
    },
  ],
  [
    'up[5m + (1 * step())] offset -step()',
    selector('up', {
      type: 'matrixSelector',
      range: 0,
      rangeExpr: {
        type: 'durationExpr',
        op: '+',
        lhs: { type: 'numberLiteral', val: '300', duration: true },
        rhs: {
          type: 'durationExpr',
          op: '*',
          lhs: { type: 'numberLiteral', val: '1', duration: false },
          rhs: { type: 'durationExpr', op: 'step', lhs: null, rhs: null, wrapped: false },
          wrapped: true,
        },
        wrapped: false,
      },
      offsetExpr: {
        type: 'durationExpr',
        op: '-',
        lhs: null,
        rhs: { type: 'durationExpr', op: 'step', lhs: null, rhs: null, wrapped: false },
        wrapped: false,
      },
    }),
  ],
  [
    'up[1h:] offset 1s',
    {
      type: 'subquery',
      expr: selector('up'),
      range: 3_600_000,
      rangeExpr: null,
      offset: 1000,
      offsetExpr: null,
      step: 0,
      stepExpr: null,
      timestamp: null,
      startOrEnd: null,
    },
  ],
  [
    'topk by (job) (5, up)',
    {
      type: 'aggregation',
      op: 'topk',
      expr: selector('up'),
      param: { type: 'numberLiteral', val: '5' },
      grouping: ['job'],
      without: false,
    },
  ],
  [
    'sum(up)',
    { type: 'aggregation', op: 'sum', expr: selector('up'), param: null, grouping: [], without: false },
  ],
  [
    'a > bool on (x) group_left (y) b',
    {
      type: 'binaryExpr',
      op: '>',
      lhs: selector('a'),
      rhs: selector('b'),
      matching: {
        card: 'many-to-one',
        labels: ['x'],
        on: true,
        include: ['y'],
        fillValues: { lhs: null, rhs: null },
      },
      bool: true,
    },
  ],
  [
    'a + fill_left (1) b',
    {
      type: 'binaryExpr',
      op: '+',
      lhs: selector('a'),
      rhs: selector('b'),
      matching: {
        card: 'one-to-one',
        labels: [],
        on: false,
        include: [],
        fillValues: { lhs: 1, rhs: null },
      },
      bool: false,
    },
  ],
])('%s', (text, expected) => {
  expect(parse(text)).toEqual(expected);
});

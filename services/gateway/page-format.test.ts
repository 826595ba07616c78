// The page's pure parts: what it prints, and what it keeps in its address.
import { describe, expect, test } from 'vitest';
import {
  parseDuration,
  printAge,
  printAxisTimes,
  printDuration,
  printHeartbeat,
  printLatency,
  printNumber,
} from './web/format.ts';
import { automaticStep, readState, writeState } from './web/state.ts';

test.each([
  ['1h', 3600],
  ['1h30m', 5400],
  ['90', 90],
  ['2w', 1_209_600],
  ['500ms', 0.5],
])('duration %s', (text, seconds) => {
  expect(parseDuration(text)).toBeCloseTo(seconds, 9);
});

test.each([
  [null, 'none'],
  [0, '0.0 s ago'],
  [4.26, '4.3 s ago'],
  [90, '1m30s ago'],
])('heartbeat %s', (seconds, text) => {
  expect(printHeartbeat(seconds)).toBe(text);
});

test.each(['', 'x', '0', '0s', '-1h', '1m1h', '1h '.repeat(2)])('%j is no duration', (text) => {
  expect(parseDuration(text)).toBeUndefined();
});

test.each([
  [3600, '1h'],
  [5400, '1h30m'],
  [604_800, '1w'],
  [0.5, '500ms'],
  [61, '1m1s'],
])('%d s prints as %s', (seconds, text) => {
  expect(printDuration(seconds)).toBe(text);
});

test.each([
  [0, '0'],
  [1, '1'],
  [1234, '1.234k'],
  [-2_500_000, '-2.5M'],
  [0.25, '0.25'],
  [0.1 + 0.2, '0.3'],
  [1.5e-7, '1.50e-7'],
  [1e21, '1.00e+21'],
  [Number.NaN, 'NaN'],
  [Number.NEGATIVE_INFINITY, '-Inf'],
])('number %d prints as %s', (value, text) => {
  expect(printNumber(value)).toBe(text);
});

test('latencies and ages', () => {
  expect([printLatency(0.0137), printLatency(2.345)]).toEqual(['13.7 ms', '2.35 s']);
  const now = Date.parse('2026-11-21T10:00:00Z');
  expect(printAge('2026-11-21T09:59:57.5Z', now)).toBe('2.5 s ago');
  expect(printAge('2026-11-21T07:30:00Z', now)).toBe('2h30m ago');
  expect(printAge('0001-01-01T00:00:00Z', now)).toBe('never');
});

test('axis labels name the day where it changes', () => {
  const midnight = new Date(2026, 10, 21).getTime() / 1000;
  const times = (step: number, count: number, from: number) =>
    Array.from({ length: count }, (_, i) => from + i * step);
  expect(printAxisTimes(times(600, 3, midnight + 36_000))).toEqual(['10:00', '10:10', '10:20']);
  expect(printAxisTimes(times(1800, 3, midnight - 1800))).toEqual(['23:30', '00:00\n11-21', '00:30']);
  expect(printAxisTimes(times(15, 2, midnight + 60))).toEqual(['00:01:00', '00:01:15']);
  expect(printAxisTimes(times(86_400, 2, midnight))).toEqual(['11-21', '11-22']);
});

describe('the address', () => {
  test('of a link in an alert', () => {
    expect(readState('?g0.expr=up+%3D%3D+0&g0.tab=1')).toEqual({
      expr: 'up == 0',
      tab: 'table',
      rangeSeconds: 3600,
      endSeconds: undefined,
      stepSeconds: undefined,
    });
  });

  test('holds the whole state', () => {
    const state = {
      expr: 'sum by (a) (x{b="&="})',
      tab: 'graph',
      rangeSeconds: 5400,
      endSeconds: 1_795_255_200,
      stepSeconds: 30,
    } as const;
    expect(readState(`?${writeState(state)}`)).toEqual(state);
  });
});

test('steps are those that people use, and not too many', () => {
  expect([60, 3600, 7200, 86_400, 30 * 86_400].map(automaticStep)).toEqual([1, 15, 30, 300, 21_600]);
});

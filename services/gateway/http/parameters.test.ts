// Expectations come from Prometheus' documentation of its parameters and the wording of its errors.
import { describe, expect, test } from 'vitest';
import {
  Parameters,
  parseDurationParameter,
  parseLimit,
  parseTime,
  parseTimeRange,
  TIME_MS_MAX,
  TIME_MS_MIN,
} from './parameters.ts';

describe('times', () => {
  test.each([
    ['0', 0],
    ['1435781451.781', 1_435_781_451_781],
    ['1435781451.7814', 1_435_781_451_781],
    ['1435781451.7816', 1_435_781_451_782],
    ['1.435781451781e9', 1_435_781_451_781],
    ['-1.5', -1500],
    ['-0.0006', -1],
    ['2015-07-01T20:10:51.781Z', 1_435_781_451_781],
    ['2015-07-01T22:10:51+02:00', 1_435_781_451_000],
    ['2015-07-01T20:10:51.123456789Z', 1_435_781_451_123],
    ['2016-02-29T00:00:00-00:30', 1_456_705_800_000],
    ['0001-01-01T00:00:00Z', -62_135_596_800_000],
    ['-292273086-05-16T16:47:06Z', TIME_MS_MIN],
    ['292277025-08-18T07:12:54.999999999Z', TIME_MS_MAX],
    ['1e300', TIME_MS_MAX],
  ])('%s is %d ms', (text, timeMs) => {
    expect(parseTime(text)).toBe(timeMs);
  });

  test.each([
    '',
    'yesterday',
    '2015-07-01',
    '2015-02-29T00:00:00Z',
    '2015-07-01T24:00:00Z',
    '2015-07-01T20:10:51',
    '2015-07-01t20:10:51Z',
    '1h',
    'NaN',
    'Inf',
  ])('%j is refused', (text) => {
    expect(() => parseTime(text)).toThrow(`cannot parse ${JSON.stringify(text)} to a valid timestamp`);
  });
});

describe('durations', () => {
  test.each([
    ['15', 15_000],
    ['0.5', 500],
    ['14.999', 14_999],
    ['0.0001', 0],
    ['-1', -1000],
    ['1h30m', 5_400_000],
    ['5ms', 5],
    ['0', 0],
  ])('%s is %d ms', (text, durationMs) => {
    expect(parseDurationParameter(text)).toBe(durationMs);
  });

  test.each([
    ['', 'cannot parse "" to a valid duration'],
    ['5x', 'cannot parse "5x" to a valid duration'],
    ['NaN', 'cannot parse "NaN" to a valid duration'],
    ['1e10', 'cannot parse "1e10" to a valid duration. It overflows int64'],
  ])('%j is refused', (text, message) => {
    expect(() => parseDurationParameter(text)).toThrow(message);
  });
});

test('limits', () => {
  const of = (limit: string) => parseLimit(new Parameters([['limit', limit]]));
  expect(parseLimit(new Parameters([]))).toBe(0);
  expect(of('7')).toBe(7);
  expect(of('99999999999')).toBe(0xffffffff);
  expect(() => of('-1')).toThrow('invalid parameter "limit": limit must be non-negative');
  expect(() => of('x')).toThrow('invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax');
  expect(() => of('99999999999999999999')).toThrow('value out of range');
});

test('the first value stands, an absent range is all of time', () => {
  const parameters = new Parameters([
    ['start', '1'],
    ['start', '2'],
  ]);
  expect(parameters.get('start')).toBe('1');
  expect(parameters.all('start')).toEqual(['1', '2']);
  expect(parseTimeRange(parameters)).toEqual({ minTimeMs: 1000, maxTimeMs: TIME_MS_MAX });
  expect(() => parseTimeRange(new Parameters([['end', 'x']]))).toThrow(
    'invalid parameter "end": invalid time value for \'end\': cannot parse "x" to a valid timestamp',
  );
});

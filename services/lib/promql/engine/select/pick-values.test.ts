// Regular samples are found without a look at their times: the same as with one.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { wordsOf } from '../../../model/sample-columns.ts';
import { ABSENT, StepColumn } from '../operand.ts';
import { pickRegular, pickValues } from './pick-values.ts';

const STEPS = 12;
const SAMPLES_MAX = 30;

/** What a column holds: undefined where nothing. */
function valuesOf({ kinds, values }: StepColumn): (number | undefined)[] {
  return Array.from(kinds, (kind, k) => (kind === ABSENT ? undefined : values[k]!));
}

const cases = fc.record({
  firstSampleMs: fc.integer({ min: -40, max: 260 }),
  gapMs: fc.constantFrom(5, 10, 20, 30),
  count: fc.integer({ min: 0, max: SAMPLES_MAX }),
  firstMs: fc.oneof(fc.integer({ min: -20, max: 200 }), fc.constant(10.5)),
  stepMs: fc.constantFrom(0, 10, 15, 20, 30, 60),
  lookbackMs: fc.constantFrom(1, 7, 10, 25, 100),
});

test('regular samples, whatever lies between them and the steps', () => {
  let regular = 0;
  fc.assert(
    fc.property(cases, ({ firstSampleMs, gapMs, count, firstMs, stepMs, lookbackMs }) => {
      const times = Float64Array.from({ length: SAMPLES_MAX }, (_, i) => firstSampleMs + i * gapMs);
      const values = Float64Array.from({ length: SAMPLES_MAX }, (_, i) => i + 1);
      const expected = new StepColumn(STEPS);
      const found = pickValues(times, values, wordsOf(values), count, firstMs, stepMs, lookbackMs, expected);
      const column = new StepColumn(STEPS);
      column.kinds.fill(7);
      const picked = pickRegular(times, values, count, gapMs, firstMs, stepMs, lookbackMs, column);
      if (picked < 0) return;
      regular++;
      expect(picked).toBe(found);
      expect([...column.kinds]).toEqual([...expected.kinds]);
      expect(valuesOf(column)).toEqual(valuesOf(expected));
    }),
    { numRuns: 5000 },
  );
  expect(regular).toBeGreaterThan(1000);
});

test('what is not regular, or not known to be, is left alone', () => {
  const times = Float64Array.of(0, 10, 20);
  const column = new StepColumn(STEPS);
  expect(pickRegular(times, times, 3, 0, 0, 10, 10, column)).toBe(-1);
  expect(pickRegular(times, times, 1, 10, 0, 10, 10, column)).toBe(-1);
  expect(pickRegular(times, times, 3, 10, 0, 15, 10, column)).toBe(-1);
  expect(pickRegular(times, times, 3, 10, 0.5, 10, 10, column)).toBe(-1);
});

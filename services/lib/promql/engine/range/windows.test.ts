// Windows and range kernels: the fast versions against dumb ones that look at every sample of every window.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ABSENT, StepColumn } from '../operand.ts';
import * as overTime from './kernels-over-time.ts';
import * as rates from './kernels-rate.ts';
import { findWindows, KeptWindows, type WindowPass } from './windows.ts';

const STEPS = 7;

function passOf(
  samples: readonly (readonly [number, number])[],
  rangeMs: number,
  stepMs: number,
): WindowPass {
  const pass: WindowPass = {
    timestampsMs: Float64Array.from(samples, ([timeMs]) => timeMs),
    values: Float64Array.from(samples, ([, value]) => value),
    startTimesMs: undefined,
    cells: undefined,
    count: samples.length,
    steps: STEPS,
    rangeMs,
    firstEndMs: 100,
    endStepMs: stepMs,
    firstEvalMs: 100,
    evalStepMs: stepMs,
    low: new Int32Array(STEPS),
    high: new Int32Array(STEPS),
    alike: undefined,
    extension: undefined,
    params: [],
    scratch: new Float64Array(1),
    indexes: new Int32Array(1),
  };
  findWindows(pass, 0, 0, { total: 0, largest: 0 });
  return pass;
}

/** The samples of window k, found by looking at all of them. */
function windowOf(pass: WindowPass, k: number): number[] {
  const endMs = pass.firstEndMs + k * pass.endStepMs;
  return [...pass.values].filter((_, i) => {
    const timeMs = pass.timestampsMs[i]!;
    return timeMs > endMs - pass.rangeMs && timeMs <= endMs;
  });
}

const value = fc.oneof(
  fc.integer({ min: -5, max: 5 }),
  fc.double({ noDefaultInfinity: true }),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0),
);

const series = fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), value), { maxLength: 40 }).map((gaps) => {
  let timeMs = 0;
  return gaps.map(([gap, sample]): readonly [number, number] => [(timeMs += gap), sample]);
});

function reduceMax(window: readonly number[], sign: number): number {
  let best = window[0]!;
  for (const sample of window) if (sample * sign > best * sign || Number.isNaN(best)) best = sample;
  return best;
}

function countIf(window: readonly number[], holds: (previous: number, next: number) => boolean): number {
  let count = 0;
  for (let i = 1; i < window.length; i++) if (holds(window[i - 1]!, window[i]!)) count++;
  return count;
}

const DUMB: readonly [string, (pass: WindowPass, out: StepColumn) => void, (window: number[]) => number][] = [
  ['count_over_time', overTime.countOverTime, (window) => window.length],
  ['min_over_time', overTime.minOverTime, (window) => reduceMax(window, -1)],
  ['max_over_time', overTime.maxOverTime, (window) => reduceMax(window, 1)],
  ['first_over_time', overTime.firstOverTime, (window) => window[0]!],
  ['last_over_time', overTime.lastOverTime, (window) => window.at(-1)!],
  ['resets', rates.resets, (window) => countIf(window, (a, b) => b < a)],
  [
    'changes',
    rates.changes,
    (window) => countIf(window, (a, b) => a !== b && !(Number.isNaN(a) && Number.isNaN(b))),
  ],
];

describe('sliding kernels agree with dumb ones', () => {
  test.each(DUMB)('%s', (_name, kernel, dumb) => {
    fc.assert(
      fc.property(
        series,
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 90 }),
        (samples, range, step) => {
          const pass = passOf(samples, range, step);
          const out = new StepColumn(STEPS);
          kernel(pass, out);
          for (let k = 0; k < STEPS; k++) {
            const window = windowOf(pass, k);
            if (window.length === 0) expect(out.kinds[k]).toBe(ABSENT);
            else expect(out.values[k]).toBe(dumb(window));
          }
        },
      ),
    );
  });

  test('prefix sums of integers have the bits of the sum', () => {
    const integers = fc.array(fc.integer({ min: -(2 ** 40), max: 2 ** 40 }), { maxLength: 30 });
    fc.assert(
      fc.property(integers, fc.integer({ min: 1, max: 200 }), (values, range) => {
        const pass = passOf(
          values.map((sample, i) => [i * 10, sample]),
          range,
          15,
        );
        const sums = new StepColumn(STEPS);
        const means = new StepColumn(STEPS);
        overTime.sumOverTime(pass, sums);
        overTime.avgOverTime(pass, means);
        for (let k = 0; k < STEPS; k++) {
          const window = windowOf(pass, k);
          if (window.length === 0) continue;
          const sum = window.reduce((a, b) => a + b, 0);
          expect(sums.values[k]! + 0).toBe(sum + 0);
          expect(means.values[k]! + 0).toBe(sum / window.length + 0);
        }
      }),
    );
  });
});

describe('windows', () => {
  test('leave out the sample at their start and take the one at their end', () => {
    const pass = passOf(
      [
        [40, 1],
        [70, 2],
        [100, 3],
      ],
      60,
      30,
    );
    expect([pass.low[0], pass.high[0]]).toEqual([1, 3]);
    expect([pass.low[1], pass.high[1]]).toEqual([2, 3]);
  });
});

describe('rate', () => {
  // Worked out by hand: samples at 10 s intervals, 10 more each, a reset to 0 in between, window (0 s, 60 s].
  test('adds what a reset hides and extrapolates to the bounds', () => {
    const samples: (readonly [number, number])[] = [
      [10_000, 10],
      [20_000, 20],
      [30_000, 5],
      [40_000, 15],
    ];
    const pass: WindowPass = { ...passOf(samples, 60_000, 1), firstEndMs: 60_000, endStepMs: 0 };
    findWindows(pass, 0, 0, { total: 0, largest: 0 });
    const out = new StepColumn(STEPS);
    rates.increase(pass, out);
    // 15 − 10 + 20 = 25 over 30 s. Before: 10 s, but the counter was at zero 12 s earlier, so 10 s. After: 20 s are
    // more than 1.1 intervals, so half an interval, 5 s.
    expect(out.values[0]).toBeCloseTo((25 * (30 + 10 + 5)) / 30, 12);
  });
});

/** Counters and gauges on a regular grid, with holes and resets, some of them near zero: where factors are shared. */
const regularSeries = fc
  .record({
    steps: fc.array(fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 30 })), {
      maxLength: 60,
    }),
    hasHoles: fc.boolean(),
  })
  .chain(({ steps, hasHoles }) =>
    fc.constantFrom(0, 1e-3, 7, 1e6).map((start) => {
      let current: number = start;
      const samples: (readonly [number, number])[] = [];
      for (const [i, [kind, growth]] of steps.entries()) {
        current = kind === 0 ? growth : current + growth / 8;
        if (kind !== 1 || !hasHoles) samples.push([10 + i * 10, current]);
      }
      return samples;
    }),
  );

test('a factor that windows share is that of each of them', () => {
  fc.assert(
    fc.property(
      regularSeries,
      fc.constantFrom(25, 40, 60),
      fc.constantFrom(10, 20),
      fc.boolean(),
      (samples, rangeMs, stepMs, areKept) => {
        const pass = passOf(samples, rangeMs, stepMs);
        if (areKept) new KeptWindows(0, 0, () => {}).find(pass, { total: 0, largest: 0 });
        for (const [kernel, isCounter, isRate] of [
          [rates.rate, true, true],
          [rates.increase, true, false],
          [rates.delta, false, false],
        ] as const) {
          const out = new StepColumn(STEPS);
          kernel(pass, out);
          for (let k = 0; k < STEPS; k++) {
            const [from, last] = [pass.low[k]!, pass.high[k]! - 1];
            if (last <= from) {
              expect(out.kinds[k]).toBe(ABSENT);
              continue;
            }
            let result = pass.values[last]! - pass.values[from]!;
            for (let i = from + 1; isCounter && i <= last; i++) {
              if (pass.values[i]! < pass.values[i - 1]!) result += pass.values[i - 1]!;
            }
            const endMs = pass.firstEndMs + k * stepMs;
            let factor = rates.extrapolationFactor(
              pass.timestampsMs[from]!,
              pass.timestampsMs[last]!,
              endMs - rangeMs,
              endMs,
              last - from + 1,
              isCounter ? pass.values[from]! : Number.NaN,
              result,
            );
            if (isRate) factor /= rangeMs / 1000;
            expect(out.values[k]).toBe(result * factor);
          }
        }
      },
    ),
    { numRuns: 2000 },
  );
});

describe('kept windows', () => {
  const gaps = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 12 });
  const irregular = fc.tuple(fc.integer({ min: -50, max: 400 }), gaps).map(([firstMs, each]) => {
    let timeMs = firstMs;
    return [firstMs, ...each.map((gap) => (timeMs += gap))];
  });
  const regular = fc
    .tuple(
      fc.integer({ min: -50, max: 400 }),
      fc.constantFrom(5, 10, 20, 40),
      fc.integer({ min: 1, max: 40 }),
    )
    .map(([firstMs, gapMs, count]) => Array.from({ length: count }, (_, i) => firstMs + i * gapMs));
  const column = fc.record({
    times: fc.oneof(regular, irregular),
    isGapKnown: fc.boolean(),
    isForgotten: fc.boolean(),
  });
  /** What neighbours are apart where all are equally far; else 0. */
  const gapOf = (times: readonly number[]) => {
    const found = new Set(times.slice(1).map((timeMs, i) => timeMs - times[i]!));
    return found.size === 1 ? [...found][0]! : 0;
  };

  test('are those of the column at hand, whatever came before', () => {
    fc.assert(
      fc.property(
        fc.array(column, { maxLength: 12 }),
        fc.constantFrom(0, 10, 30, 40),
        fc.constantFrom(1, 20, 75),
        fc.constantFrom(0, 15),
        (columns, stepMs, rangeMs, reachMs) => {
          let held = 0;
          const kept = new KeptWindows(reachMs, reachMs, (bytes) => {
            held += bytes;
          });
          const pass = passOf([], rangeMs, stepMs);
          const counts = { total: 0, largest: 0 };
          // Behind the samples stands whatever an earlier series left, as in a reader's columns.
          pass.timestampsMs = new Float64Array(64).fill(99);
          for (const { times, isGapKnown, isForgotten } of columns) {
            pass.timestampsMs.set(times);
            pass.count = times.length;
            kept.find(pass, counts, isGapKnown ? gapOf(times) : 0);
            const expected = passOf([], rangeMs, stepMs);
            expected.timestampsMs = pass.timestampsMs;
            expected.count = times.length;
            const expectedCounts = { total: 0, largest: 0 };
            findWindows(expected, reachMs, reachMs, expectedCounts);
            expect([...pass.low]).toEqual([...expected.low]);
            expect([...pass.high]).toEqual([...expected.high]);
            expect(counts).toEqual(expectedCounts);
            expectAlike(pass, reachMs);
            if (!isForgotten) continue;
            kept.forget();
            pass.low.fill(-1);
          }
          expect([0, pass.timestampsMs.length * 8]).toContain(held);
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('of regular samples lie alike where none is missing', () => {
    const pass = passOf([], 40, 20);
    pass.timestampsMs = Float64Array.from({ length: 10 }, (_, i) => 85 + 10 * i);
    pass.count = 10;
    new KeptWindows(0, 0, () => {}).find(pass, { total: 0, largest: 0 });
    // The first window begins at 60, before the first sample; the one that ends at 180 is the last one with four samples.
    expect([...pass.low]).toEqual([0, 0, 2, 4, 6, 8, 10]);
    expect([...pass.high]).toEqual([2, 4, 6, 8, 10, 10, 10]);
    expect(pass.alike).toEqual({ from: 1, to: 5, stride: 2 });
  });

  /** What windows that are said to lie alike have in common. */
  function expectAlike(pass: WindowPass, reachMs: number) {
    const { alike, low, high, timestampsMs } = pass;
    if (alike === undefined) return;
    const { from, to, stride } = alike;
    expect(from).toBeLessThan(to);
    expect(to).toBeLessThanOrEqual(pass.steps);
    for (let k = from + 1; k < to; k++) {
      expect(low[k]! - low[k - 1]!).toBe(stride);
      expect(high[k]! - high[k - 1]!).toBe(stride);
    }
    for (let k = from; k < to && high[k]! > low[k]!; k++) {
      const startMs = pass.firstEndMs + k * pass.endStepMs - pass.rangeMs - reachMs;
      const firstStartMs = pass.firstEndMs + from * pass.endStepMs - pass.rangeMs - reachMs;
      expect(timestampsMs[low[k]!]! - startMs).toBe(timestampsMs[low[from]!]! - firstStartMs);
    }
  }
});

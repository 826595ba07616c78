import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { sortAndDedupeSamples } from './merge-samples.ts';

type Sample = readonly [timeMs: number, high: number, low: number];

function columnsOf(samples: readonly Sample[]): SampleColumns {
  const columns = new SampleColumns(samples.length + 3);
  const words = wordsOf(columns.values);
  for (const [timeMs, high, low] of samples) {
    columns.timestampsMs[columns.count] = timeMs;
    words[2 * columns.count] = low;
    words[2 * columns.count + 1] = high;
    columns.count++;
  }
  return columns;
}

function samplesOf(columns: SampleColumns): Sample[] {
  const words = wordsOf(columns.values);
  return Array.from({ length: columns.count }, (_, i) => [
    columns.timestampsMs[i]!,
    words[2 * i + 1]!,
    words[2 * i]!,
  ]);
}

/** The dumb version: a map by time that keeps the greatest pattern. */
function model(samples: readonly Sample[]): Sample[] {
  const byTime = new Map<number, Sample>();
  for (const sample of samples) {
    const held = byTime.get(sample[0]);
    const pattern = (s: Sample) => BigInt(s[1]) * 2n ** 32n + BigInt(s[2]);
    if (held === undefined || pattern(sample) > pattern(held)) byTime.set(sample[0], sample);
  }
  return [...byTime.values()].sort((a, b) => a[0] - b[0]);
}

const sample = fc.tuple(
  fc.integer({ min: -20, max: 60 }),
  fc.constantFrom(0, 1, 0x7ff00000, 0x7ff80000, 0x80000000, 0xffffffff),
  fc.constantFrom(0, 2, 0x80000000, 0xffffffff),
);

test('gives what a map by time gives, whatever the order and the repetitions', () => {
  fc.assert(
    fc.property(fc.array(sample, { maxLength: 120 }), (samples) => {
      const columns = columnsOf(samples);
      sortAndDedupeSamples(columns);
      expect(samplesOf(columns)).toEqual(model(samples));
    }),
    { numRuns: 1000 },
  );
});

test('runs that repeat themselves, whole or nearly', () => {
  const times = fc
    .uniqueArray(fc.nat(60), { minLength: 1, maxLength: 30 })
    .map((all) => all.sort((a, b) => a - b));
  fc.assert(
    fc.property(
      times,
      fc.integer({ min: 2, max: 4 }),
      fc.nat(200),
      fc.boolean(),
      (run, copies, at, isChanged) => {
        const samples = Array.from({ length: copies }, () =>
          run.map((time): Sample => [time, time, 7]),
        ).flat();
        if (isChanged) samples[at % samples.length] = [samples[at % samples.length]![0], 0x7ff00000, 2];
        const columns = columnsOf(samples);
        sortAndDedupeSamples(columns);
        expect(samplesOf(columns)).toEqual(model(samples));
      },
    ),
  );
});

test('the greatest pattern wins a tie: the staleness marker over a number, a negative number over both', () => {
  const one: Sample = [7, 0x3ff00000, 0];
  const stale: Sample = [7, 0x7ff00000, 2];
  const negative: Sample = [7, 0xbff00000, 0];
  for (const order of [
    [one, stale, negative],
    [negative, one, stale],
    [stale, negative, one],
  ]) {
    const columns = columnsOf(order);
    sortAndDedupeSamples(columns);
    expect(samplesOf(columns)).toEqual([negative]);
  }
});

test('ascending columns stay where they are', () => {
  const columns = columnsOf([
    [1, 0, 0],
    [2, 0, 0],
  ]);
  const { timestampsMs, values } = columns;
  sortAndDedupeSamples(columns);
  expect(columns.timestampsMs).toBe(timestampsMs);
  expect(columns.values).toBe(values);
  expect(columns.count).toBe(2);
});

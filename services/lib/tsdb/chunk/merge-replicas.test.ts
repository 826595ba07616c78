import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FloatHistogram } from '../../model/float-histogram.ts';
import { isStaleAt, putStale, SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { mergeReplicas, REPLICA_REACH_MS } from './merge-replicas.ts';

type Sample = readonly [seconds: number, value: number | 'stale'];

function columnsOf(samples: readonly Sample[]): SampleColumns {
  const columns = new SampleColumns(Math.max(1, samples.length));
  const words = wordsOf(columns.values);
  for (const [i, [seconds, value]] of samples.entries()) {
    columns.timestampsMs[i] = Math.round(seconds * 1000);
    if (value === 'stale') putStale(words, i);
    else columns.values[i] = value;
  }
  columns.count = samples.length;
  return columns;
}

function samplesOf({ timestampsMs, values, count }: SampleColumns): Sample[] {
  const words = wordsOf(values);
  return Array.from({ length: count }, (_, i) => [
    timestampsMs[i]! / 1000,
    isStaleAt(words, i) ? 'stale' : values[i]!,
  ]);
}

function merge(...replicas: readonly (readonly Sample[])[]): Sample[] {
  const into = new SampleColumns(1);
  mergeReplicas(replicas.map(columnsOf), into);
  return samplesOf(into);
}

/** Samples every 15 s, [from, to] in seconds, with the time as value. */
const every15 = (from: number, to: number): Sample[] =>
  Array.from({ length: Math.floor((to - from) / 15) + 1 }, (_, i) => [from + 15 * i, from + 15 * i]);
const timesOf = (samples: readonly Sample[]): number[] => samples.map(([seconds]) => seconds);

describe('samples', () => {
  test('of one replica stay as they are', () => {
    expect(merge(every15(0, 60))).toEqual(every15(0, 60));
  });

  test('of the first replica are all there is where it missed nothing', () => {
    expect(merge(every15(0, 600), every15(7, 600))).toEqual(every15(0, 600));
  });

  test('of the second one fill a gap, at a distance from the first one’s', () => {
    const first = [...every15(0, 30), ...every15(120, 180)];
    expect(timesOf(merge(first, every15(7, 180)))).toEqual([
      0, 15, 30, 52, 67, 82, 97, 112, 120, 135, 150, 165, 180,
    ]);
  });

  test('of the second one go on when the first is gone, and come before it is there', () => {
    expect(timesOf(merge(every15(60, 105), every15(8, 180)))).toEqual([
      ...[8, 23, 38, 60, 75, 90, 105, 113, 128, 143, 158, 173],
    ]);
  });

  test('that may just be late are not filled in', () => {
    // The first one's next is due at 120; the second one's at 113 says nothing of it yet.
    expect(timesOf(merge(every15(0, 105), every15(8, 114)))).toEqual(timesOf(every15(0, 105)));
  });

  test('of a single missed scrape are replaced by one', () => {
    const first = every15(0, 150).filter(([seconds]) => seconds !== 75);
    expect(timesOf(merge(first, every15(8, 150)))).toEqual([0, 15, 30, 45, 60, 68, 90, 105, 120, 135, 150]);
  });

  test('of three replicas follow in order', () => {
    const first = every15(0, 60);
    const second = every15(5, 200);
    const third = every15(9, 400);
    const merged = timesOf(merge(first, second, third));
    expect(merged.slice(0, 5)).toEqual([0, 15, 30, 45, 60]);
    expect(merged.slice(5, 14)).toEqual([80, 95, 110, 125, 140, 155, 170, 185, 200]);
    expect(merged.slice(14)).toEqual(timesOf(every15(219, 400)));
  });

  test('of longer intervals are not taken for gaps', () => {
    const minutes: Sample[] = [0, 60, 120, 180].map((seconds) => [seconds, 1]);
    const others: Sample[] = [25, 85, 145].map((seconds) => [seconds, 1]);
    expect(merge(minutes, others)).toEqual(minutes);
  });
});

describe('clocks that differ', () => {
  test('a fall from one replica to the other that neither saw is no reset', () => {
    // The second one's clock is 12 s ahead: what it stamps 68 it read when the first read what it stamps 56.
    const count = (clock: number) => (samples: readonly Sample[]) =>
      samples.map(([seconds]): Sample => [seconds, 1000 + (seconds - clock)]);
    const first = count(0)([...every15(0, 60), ...every15(150, 300)]);
    const second = count(12)(every15(8, 300));
    const merged = merge(first, second);
    expect(merged.map(([, value]) => value)).toEqual(
      [...merged].map(([, value]) => value as number).sort((a, b) => a - b),
    );
    expect(merged.length).toBeGreaterThan(18);
  });

  test('a reset in a gap stays', () => {
    const first: Sample[] = [
      [0, 100],
      [15, 110],
      [105, 20],
      [120, 25],
    ];
    const second: Sample[] = [
      [8, 105],
      [23, 115],
      [38, 125],
      [53, 3],
      [68, 8],
      [83, 12],
      [98, 16],
      [113, 22],
    ];
    expect(merge(first, second).map(([, value]) => value)).toEqual([100, 110, 115, 125, 3, 8, 12, 20, 25]);
  });
});

describe('staleness markers', () => {
  test('end the series when no replica goes on', () => {
    const first: Sample[] = [...every15(0, 60), [75, 'stale']];
    const second: Sample[] = [...every15(8, 60), [68, 'stale']];
    expect(merge(first, second)).toEqual([...every15(0, 60), [75, 'stale']]);
  });

  test('of one replica do not end what the other goes on with', () => {
    const first: Sample[] = [...every15(0, 60), [75, 'stale'], ...every15(150, 180)];
    const merged = merge(first, every15(8, 180));
    expect(merged.filter(([, value]) => value === 'stale')).toEqual([]);
    expect(timesOf(merged)).toEqual([0, 15, 30, 45, 60, 68, 83, 98, 113, 128, 150, 165, 180]);
  });

  test('of the second one count when the first has been away', () => {
    const second: Sample[] = [...every15(8, 128), [143, 'stale']];
    expect(merge(every15(0, 60), second).at(-1)).toEqual([143, 'stale']);
  });

  test('at the same time are one', () => {
    const ended: Sample[] = [...every15(0, 60), [75, 'stale']];
    expect(merge(ended, ended)).toEqual(ended);
  });
});

test('histograms, start times and the bits of NaN come along', () => {
  const first = columnsOf(every15(0, 15));
  const second = columnsOf(every15(8, 80));
  const histogram = new FloatHistogram();
  first.histograms = [histogram, undefined];
  second.startTimesMs = Float64Array.from({ length: 5 }, (_, i) => i + 1);
  wordsOf(second.values).set([0x1234, 0x7ff80bad], 2 * 3);
  const into = new SampleColumns(1);
  mergeReplicas([first, second], into);
  expect(timesOf(samplesOf(into))).toEqual([0, 15, 23, 38, 53, 68]);
  expect(into.histograms?.[0]).toBe(histogram);
  expect([...into.startTimesMs!].slice(0, 6)).toEqual([0, 0, 2, 3, 4, 5]);
  expect([...wordsOf(into.values).subarray(8, 10)]).toEqual([0x1234, 0x7ff80bad]);
  mergeReplicas([columnsOf([])], into);
  expect([into.count, into.histograms, into.startTimesMs, into.cells]).toEqual([
    0,
    undefined,
    undefined,
    undefined,
  ]);
});

/** A counter, and replicas that scrape it with outages, late answers and clocks of their own. */
const worlds = fc
  .record({
    intervalS: fc.constantFrom(10, 15, 30, 60),
    scrapes: fc.integer({ min: 20, max: 60 }),
    /** Counts per second, and when the counter begins anew, as shares of the whole time. */
    rate: fc.double({ min: 0.1, max: 100, noNaN: true }),
    resets: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }),
    replicas: fc.array(
      fc.record({
        offset: fc.double({ min: 0, max: 0.999, noNaN: true }),
        clockS: fc.double({ min: -2, max: 2, noNaN: true }),
        latenciesS: fc.array(fc.double({ min: 0, max: 0.3, noNaN: true }), { minLength: 7, maxLength: 7 }),
        outages: fc.array(
          fc.record({
            from: fc.double({ min: 0, max: 1, noNaN: true }),
            scrapes: fc.integer({ min: 1, max: 20 }),
          }),
          { maxLength: 3 },
        ),
      }),
      { minLength: 2, maxLength: 3 },
    ),
  })
  .map(({ intervalS, scrapes, rate, resets, replicas }) => {
    const spanS = intervalS * scrapes;
    const resetsS = resets.map((share) => share * spanS).sort((a, b) => a - b);
    const countAt = (seconds: number): number => {
      const since = resetsS.findLast((at) => at <= seconds) ?? -100;
      return (seconds - since) * rate;
    };
    const scraped = replicas.map(({ offset, clockS, latenciesS, outages }) => {
      const samples: Sample[] = [];
      for (let i = 0; i < scrapes; i++) {
        const trueS = (i + offset) * intervalS;
        if (outages.some(({ from, scrapes: lost }) => i >= from * scrapes && i < from * scrapes + lost))
          continue;
        samples.push([trueS + clockS, countAt(trueS + latenciesS[i % latenciesS.length]!)]);
      }
      return samples.map(([seconds, value]): Sample => [Math.round(seconds * 1000) / 1000 + 0, value]);
    });
    return { intervalS, scrapes, spanS, rate, resetsS, scraped };
  });

const valuesOf = (samples: readonly Sample[]): number[] => samples.map(([, value]) => value as number);

/** What increase() adds up: differences, and after a fall all that has been counted anew. */
function increaseOf(values: readonly number[]): number {
  let sum = 0;
  for (let i = 1; i < values.length; i++) {
    sum += values[i]! >= values[i - 1]! ? values[i]! - values[i - 1]! : values[i]!;
  }
  return sum;
}

const resetsIn = (values: readonly number[]): number =>
  values.filter((value, i) => i > 0 && value < values[i - 1]!).length;

const RUNS = { numRuns: 400 };

describe('whatever the outages', () => {
  test('samples ascend, and each is some replica’s', () => {
    fc.assert(
      fc.property(worlds, ({ scraped }) => {
        const merged = merge(...scraped);
        const all = new Set(scraped.flat().map(([seconds, value]) => `${seconds} ${value}`));
        for (const [i, [seconds, value]] of merged.entries()) {
          expect(all.has(`${seconds} ${value}`)).toBe(true);
          if (i > 0) expect(seconds).toBeGreaterThan(merged[i - 1]![0]);
        }
        // All of the first replica's are among them.
        const kept = new Set(timesOf(merged));
        expect(scraped[0]!.every(([seconds]) => kept.has(seconds))).toBe(true);
      }),
      RUNS,
    );
  });

  test('no gap is longer than two scrapes where a replica scraped', () => {
    fc.assert(
      fc.property(worlds, ({ scraped, intervalS }) => {
        const merged = timesOf(merge(...scraped));
        for (const samples of scraped) {
          const own = timesOf(samples);
          for (let i = 3; i + 3 < own.length; i++) {
            // Four scrapes on each side without a miss.
            if (own[i + 3]! - own[i - 3]! > 6.5 * intervalS) continue;
            const at = own[i]!;
            const before = merged.findLast((each) => each <= at) ?? Number.NEGATIVE_INFINITY;
            const after = merged.find((each) => each >= at) ?? Number.POSITIVE_INFINITY;
            expect(after - before).toBeLessThanOrEqual(2 * intervalS + 5);
          }
        }
      }),
      RUNS,
    );
  });

  test('a counter falls only where it was reset, and grows by what was counted', () => {
    fc.assert(
      fc.property(worlds, ({ scraped, resetsS, rate }) => {
        const merged = merge(...scraped);
        if (merged.length < 2) return;
        const values = valuesOf(merged);
        const [first, last] = [merged[0]![0], merged.at(-1)![0]];
        // Clocks differ by up to 2 s, answers are up to 0.3 s late.
        const within = resetsS.filter((at) => at > first - 5 && at < last + 5).length;
        expect(resetsIn(values)).toBeLessThanOrEqual(within);
        expect(increaseOf(values)).toBeLessThanOrEqual((last - first + 5) * rate);
        // Between two samples without a reset nothing is lost, but for what clocks and answers differ by.
        let counted = 0;
        for (let i = 1; i < merged.length; i++) {
          const [from, to] = [merged[i - 1]![0], merged[i]![0]];
          if (!resetsS.some((at) => at > from - 5 && at < to + 5)) counted += (to - from) * rate;
        }
        expect(increaseOf(values)).toBeGreaterThanOrEqual(counted - (resetsS.length + 1) * 5 * rate);
      }),
      RUNS,
    );
  });

  test('a range read in pieces is the same', () => {
    fc.assert(
      fc.property(worlds, fc.double({ min: 0, max: 1, noNaN: true }), ({ scraped, spanS }, share) => {
        const cutS = share * spanS;
        const reachS = REPLICA_REACH_MS / 1000;
        const piece = (from: number, to: number): Sample[] =>
          merge(
            ...scraped.map((samples) =>
              samples.filter(([seconds]) => seconds >= from - reachS && seconds < to + reachS),
            ),
          ).filter(([seconds]) => seconds >= from && seconds < to);
        const whole = merge(...scraped);
        expect([...piece(-100, cutS), ...piece(cutS, spanS + 100)]).toEqual(whole);
      }),
      RUNS,
    );
  });
});

// What a head holds, packs and hands out again; replicas that got the same in any order (R8).
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  append,
  appendNumbers,
  bytesOf,
  contentOf,
  define,
  drain,
  NAMES,
  newHead,
  RANGE_MS,
  type Sample,
  SERIES,
  wordsOfNumber,
} from '../../../../test/support/head-rig.ts';
import { ByteWriter } from '../../core/bytes.ts';
import { systemClock } from '../../core/clock.ts';
import { decodeLabels, Labels } from '../../model/labels.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { Head } from './head.ts';
import { sealRange } from './head-seal.ts';
import { headStatistics } from './head-statistics.ts';

const pattern = fc.constantFrom<readonly [number, number]>(
  [0x7ff00000, 2],
  [0x7ff80000, 1],
  [0xfff80000, 0xdeadbeef],
  [0x80000000, 0],
  [0, 0],
  wordsOfNumber(1.5),
  wordsOfNumber(-7),
);
const event = fc.record({
  series: fc.nat(SERIES.length - 1),
  timeMs: fc.integer({ min: -2500, max: 4500 }),
  pattern,
});

/** The dumb version: a map by series and time, greatest pattern kept. */
function modelOf(events: readonly { series: number; timeMs: number; pattern: readonly [number, number] }[]) {
  const model = new Map<string, Map<number, Sample>>();
  for (const {
    series,
    timeMs,
    pattern: [high, low],
  } of events) {
    const samples = model.get(NAMES[series]!) ?? new Map<number, Sample>();
    model.set(NAMES[series]!, samples);
    const held = samples.get(timeMs);
    if (held === undefined || high > held[1] || (high === held[1] && low > held[2])) {
      samples.set(timeMs, [timeMs, high, low]);
    }
  }
  const content = new Map<string, Sample[]>();
  for (const [name, samples] of model)
    content.set(
      name,
      [...samples.values()].sort((a, b) => a[0] - b[0]),
    );
  return content;
}

const sorted = (content: Map<string, Sample[]>) =>
  [...content.entries()].sort(([a], [b]) => (a < b ? -1 : 1));

test('holds what a map holds, whatever the order, repetitions, freezes in between and chunk sizes', () => {
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 200 }),
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.tuple(fc.nat(200), fc.integer({ min: -3, max: 4 })), { maxLength: 6 }),
      (events, chunkSamples, freezes) => {
        const head = newHead(chunkSamples);
        const ids = SERIES.map((entries) => define(head, entries));
        let generation = 0;
        events.forEach(({ series, timeMs, pattern: [high, low] }, i) => {
          append(head, ids[series]!, [[timeMs, high, low]]);
          for (const [at, range] of freezes) if (at === i) head.freeze(range * RANGE_MS, ++generation);
        });
        expect(sorted(contentOf(head))).toEqual(sorted(modelOf(events)));
      },
    ),
    { numRuns: 300 },
  );
});

/** R8 asks for 10,000; fast-check's seed repeats them. */
const CONVERGENCE_SEEDS = Number(process.env.TIDEMARK_CONVERGENCE_SEEDS ?? 200);
const CONVERGENCE_SEED = Number(process.env.TIDEMARK_CONVERGENCE_SEED ?? Date.now() % 1_000_000);

test(`R8: three replicas converge, whatever is repeated, overtaken, dropped and caught up with: the same content, sealed to the same bytes (${CONVERGENCE_SEEDS} seeds from ${CONVERGENCE_SEED})`, {
  timeout: 60_000 + 100 * CONVERGENCE_SEEDS,
}, () => {
  fc.assert(
    fc.property(
      fc.array(event, { minLength: 1, maxLength: 120 }),
      fc.array(fc.nat(), { maxLength: 60 }),
      (events, order) => {
        const isDropped = (i: number): boolean => (order[i % Math.max(order.length, 1)] ?? 0) % 3 === 0;
        const caughtUp = [
          ...events.filter((_, i) => !isDropped(i)),
          ...events.filter((_, i) => isDropped(i)).reverse(),
        ];
        const lists = [events, shuffle([...events, ...events.slice(0, 40)], order), caughtUp];
        const sealed = lists.map((list) => {
          const head = newHead(5);
          const ids = SERIES.map((entries) => define(head, entries));
          for (const {
            series,
            timeMs,
            pattern: [high, low],
          } of list)
            append(head, ids[series]!, [[timeMs, high, low]]);
          const content = sorted(contentOf(head));
          const chunks: string[] = [];
          for (const start of head.closedRangeStarts(1e9)) head.freeze(start, start + 1e6);
          for (const range of head.frozenRanges()) {
            let labels = '';
            drain(
              sealRange(head, range, systemClock, {
                addSeries(bytes, s, e) {
                  labels = decodeLabels(bytes, s, e).toString();
                },
                addChunk(_encoding, minTimeMs, _maxTimeMs, count, bytes, s, e) {
                  chunks.push(
                    `${minTimeMs} ${labels} ${count} ${Buffer.from(bytes.subarray(s, e)).toString('hex')}`,
                  );
                },
              }),
            );
          }
          return { content, chunks: chunks.sort() };
        });
        expect(sealed[1]).toEqual(sealed[0]);
        expect(sealed[2]).toEqual(sealed[0]);
      },
    ),
    { numRuns: CONVERGENCE_SEEDS, seed: CONVERGENCE_SEED },
  );
});

function shuffle<T>(items: T[], order: readonly number[]): T[] {
  order.forEach((pick, i) => {
    const a = i % items.length;
    const b = pick % items.length;
    [items[a], items[b]] = [items[b]!, items[a]!];
  });
  return items;
}

test('a sample that repeats the last one is dropped beside its open chunk only', () => {
  const head = newHead();
  const id = define(head, { __name__: 'm' });
  append(head, id, [[500, ...wordsOfNumber(1)]]);
  append(head, id, [[500, ...wordsOfNumber(1)]]);
  expect(head.counters.duplicates).toBe(1);
  // A delete freezes the range, hides what is in it, and does not hide what is written then.
  const frozen = head.freeze(0, 1)!;
  append(head, id, [[500, ...wordsOfNumber(1)]]);
  expect(head.counters.duplicates).toBe(1);
  head.drop(frozen.generation);
  expect([...contentOf(head).values()]).toEqual([[[500, ...wordsOfNumber(1)]]]);
});

test('series that begin together are not full together', () => {
  const SERIES = 320;
  const head = newHead(120);
  const ids = Uint32Array.from({ length: SERIES }, (_, i) => define(head, { __name__: 'm', i: `${i}` }));
  const values = new Float64Array(SERIES);
  let most = 0;
  for (let timeMs = 0; timeMs < 300; timeMs++) {
    const before = head.chunkCount;
    head.appendSamples(ids, new Float64Array(SERIES).fill(timeMs), values.fill(timeMs), 0, SERIES, 1);
    if (timeMs > 0) most = Math.max(most, head.chunkCount - before);
  }
  // A 32nd of them fills up with each scrape, and of those that are full for the second time no more than that besides.
  expect(most).toBeLessThanOrEqual(SERIES / 16);
  const range = head.freeze(0, 1);
  const columns = new SampleColumns();
  for (const id of ids) {
    columns.count = 0;
    range!.readSeries(id, columns);
    expect(columns.count).toBe(300);
  }
});

test('many late samples are packed and stay', () => {
  const wide = new Head({ rangeMs: 2 ** 31, chunkSamplesTarget: 120, hashSeed: 1 });
  const late = define(wide, SERIES[0]!);
  const other = define(wide, SERIES[1]!);
  appendNumbers(wide, late, [[2_000_000, 0]]);
  appendNumbers(wide, other, [[2_000_000, 0]]);
  const count = 40_000;
  for (let i = 0; i < count; i++)
    appendNumbers(wide, i % 2 === 0 ? late : other, [[((i * 7919) % count) + 1, i]]);
  const content = contentOf(wide);
  expect(content.get(NAMES[0]!)!.length + content.get(NAMES[1]!)!.length).toBe(count + 2);
  expect(wide.counters.outOfOrder).toBe(count);
  expect(wide.bytesHeld).toBeLessThan(6e6);
});

test('chunks are cut at the target, at range borders and when values do not compress', () => {
  const head = newHead(120);
  const id = define(head, SERIES[0]!);
  for (let i = 0; i < 2000; i++)
    append(head, id, [[i, Math.imul(i, 0x9e3779b1) >>> 0, Math.imul(i, 0x85ebca6b) >>> 0]]);
  const stats = headStatistics(head, 10);
  // A sample of noise takes 8 bytes and some bits: about 28 fit the room of a long chunk, which may have as many again.
  expect(stats.chunks).toBeGreaterThanOrEqual(2000 / 64);
  expect(stats.chunks).toBeLessThanOrEqual(2000 / 32);
  expect(contentOf(head).get(NAMES[0]!)).toHaveLength(2000);
});

test('rooms that chunks of noise outgrow do not stay idle', () => {
  const head = new Head({ rangeMs: 7_200_000, chunkSamplesTarget: 120, hashSeed: 1 });
  const count = 10_000;
  const ids = Uint32Array.from({ length: count }, (_, i) => define(head, { __name__: `m${i}` }));
  const times = new Float64Array(count);
  const values = new Float64Array(count);
  for (let scrape = 0; scrape < 130; scrape++) {
    times.fill(scrape * 15_000);
    // Every other one is constant, so that rooms of noise lie between rooms that stay.
    for (let i = 1; i < count; i += 2)
      values[i] = Math.round(Math.imul(scrape + 1, 0x9e3779b1 + i) / 1e5) / 100;
    head.appendSamples(ids, times, values, 0, count, 1);
  }
  // 96 for a constant, 384 at most for noise, what those held before, and pages of 100 bytes per series. Doubling took 1,573.
  expect(head.slots.bytesHeld / count).toBeLessThan(700);
});

test('statistics are exact', () => {
  const head = newHead();
  expect(headStatistics(head, 10)).toMatchObject({ series: 0, chunks: 0, minTimeMs: 0, maxTimeMs: 0 });
  SERIES.forEach((entries, i) => {
    appendNumbers(head, define(head, entries), [[100 + i, 1]]);
  });
  appendNumbers(head, define(head, SERIES[0]!), [[-50, 1]]);
  expect(headStatistics(head, 2)).toEqual({
    series: 4,
    labelPairs: 5,
    chunks: 4,
    minTimeMs: -50,
    maxTimeMs: 103,
    seriesByMetric: [
      { name: 'up', value: 3 },
      { name: 'down', value: 1 },
    ],
    valuesByLabel: [
      { name: '__name__', value: 2 },
      { name: 'job', value: 2 },
    ],
    valueBytesByLabel: [
      { name: '__name__', value: 6 },
      { name: 'job', value: 2 },
    ],
    seriesByPair: [
      { name: '__name__=up', value: 3 },
      { name: 'job=b', value: 2 },
    ],
  });
});

test('label bytes that are not canonical are refused', () => {
  const head = newHead();
  const dst = new ByteWriter();
  for (const text of ['b', '1', 'a', '2']) dst.string(text);
  expect(() => head.define(dst.bytes, 0, dst.length, 0)).toThrow(/not canonical/);
  dst.reset();
  for (const text of ['a', '']) dst.string(text);
  expect(() => head.define(dst.bytes, 0, dst.length, 0)).toThrow(/not canonical/);
  expect(() => head.define(dst.bytes, 0, 1, 0)).toThrow(/truncated/);
  expect(head.seriesCount).toBe(0);
});

test('replay takes series under the ids of the log', () => {
  const head = newHead();
  const first = bytesOf(Labels.from([['a', '1']]));
  const second = bytesOf(Labels.from([['a', '2']]));
  expect(head.defineAs(9, first, 0, first.length, 2)).toBe(9);
  expect(head.defineAs(9, first, 0, first.length, 2)).toBe(9);
  expect(head.defineAs(9, second, 0, second.length, 2)).toBe(10);
  head.settleIds();
  const third = bytesOf(Labels.from([['a', '3']]));
  expect(head.define(third, 0, third.length, 0)).toBe(0);
  expect(head.partitionOf(9)).toBe(2);
});

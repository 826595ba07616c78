// Start times and exemplars against the golden bytes of docs/format/chunk-marks.md, round trips, mutations.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { EXEMPLARS_MAX, ExemplarList } from './exemplar-list.ts';
import { StartTimes } from './start-times.ts';

const hex = (text: string) => Uint8Array.from(text.split(/\s+/), (byte) => Number.parseInt(byte, 16));
const TIMES_GOLDEN = hex('02 d0 0f e8 07 78 cc 08');
const EXEMPLAR_GOLDEN = hex('01 d0 0f 0c 00 00 00 00 00 00 f0 3f 01 61 01 62');

function startTimes(...entries: readonly (readonly [number, number])[]): StartTimes {
  const list = new StartTimes();
  for (const [timeMs, startMs] of entries) list.add(timeMs, startMs);
  return list;
}

const entriesOf = ({ timestampsMs, startsMs }: StartTimes) => timestampsMs.map((at, i) => [at, startsMs[i]]);

const times = fc.integer({ min: -(2 ** 51), max: 2 ** 51 });

describe('start times', () => {
  test('golden bytes', () => {
    const out = new ByteWriter(16);
    startTimes([1000, 500], [1060, 1050]).encode(0, 2, out);
    expect(out.take()).toEqual(TIMES_GOLDEN);
    const back = new StartTimes();
    back.addChunk(TIMES_GOLDEN, 0, TIMES_GOLDEN.length);
    expect(entriesOf(back)).toEqual([
      [1000, 500],
      [1060, 1050],
    ]);
  });

  test('come back, whatever they are', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(times, times), { minLength: 1, maxLength: 20 }), (entries) => {
        const list = startTimes(...entries);
        list.settle();
        const out = new ByteWriter(16);
        list.encode(0, list.count, out);
        const back = new StartTimes();
        back.addChunk(out.bytes, 0, out.length);
        expect(entriesOf(back)).toEqual(entriesOf(list));
      }),
    );
  });

  test('settle: sorted, the latest start of a time, what repeats left out', () => {
    const list = startTimes([30, 5], [10, 5], [20, 5], [40, 7], [40, 9], [40, 8], [50, 0]);
    list.settle();
    expect(entriesOf(list)).toEqual([
      [10, 5],
      [40, 9],
      [50, 0],
    ]);
  });

  test.each([
    [
      'what holds at the first sample moves there',
      35,
      45,
      [
        [35, 2],
        [40, 3],
      ],
    ],
    [
      'what comes later than the first sample stays',
      5,
      25,
      [
        [10, 1],
        [20, 2],
      ],
    ],
    ['one that holds at both', 41, 100, [[41, 3]]],
    ['nothing before the first', 1, 9, []],
  ] as const)('clip: %s', (_, firstMs, lastMs, expected) => {
    const list = startTimes([10, 1], [20, 2], [40, 3]);
    list.clip(firstMs, lastMs);
    expect(entriesOf(list)).toEqual(expected);
  });

  test('lie over samples as a search for each sample says', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(50), fc.nat(50)), { minLength: 1, maxLength: 10 }),
        fc.uniqueArray(fc.nat(60), { maxLength: 20 }),
        (entries, sampleTimes) => {
          const list = startTimes(...entries);
          list.settle();
          const samples = new SampleColumns(32);
          for (const timeMs of sampleTimes.sort((a, b) => a - b))
            samples.timestampsMs[samples.count++] = timeMs;
          list.layOver(samples);
          const expected = sampleTimes.map((timeMs) => {
            const before = entries.filter(([at]) => at <= timeMs);
            const at = Math.max(...before.map(([time]) => time));
            return before.length === 0
              ? 0
              : Math.max(...before.filter(([time]) => time === at).map(([, start]) => start));
          });
          expect([...(samples.startTimesMs ?? [])]).toEqual(expected);
        },
      ),
    );
  });
});

describe('exemplars', () => {
  test('golden bytes', () => {
    const list = new ExemplarList();
    list.add(1000, EXEMPLAR_GOLDEN.slice(4));
    const out = new ByteWriter(16);
    list.encode(0, 1, out);
    expect(out.take()).toEqual(EXEMPLAR_GOLDEN);
    const back = new ExemplarList();
    back.addChunk(EXEMPLAR_GOLDEN, 0, EXEMPLAR_GOLDEN.length);
    expect(back.timestampsMs).toEqual([1000]);
    expect(back.contents).toEqual([EXEMPLAR_GOLDEN.slice(4)]);
  });

  test('settled: sorted by time and content, each once; the newest are kept', () => {
    const list = new ExemplarList();
    for (const [timeMs, byte] of [
      [5, 2],
      [5, 1],
      [3, 9],
      [5, 2],
    ] as const)
      list.add(timeMs, Uint8Array.of(byte));
    list.settle();
    expect(list.timestampsMs.map((at, i) => [at, list.contents[i]![0]])).toEqual([
      [3, 9],
      [5, 1],
      [5, 2],
    ]);
    for (let i = 0; i < EXEMPLARS_MAX; i++) list.add(100 + i, Uint8Array.of(1));
    list.settle();
    list.keepNewest();
    expect(list.count).toBe(EXEMPLARS_MAX);
    expect(list.timestampsMs[0]).toBe(100);
  });
});

test('mutated chunks are an AppError or entries in order', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(TIMES_GOLDEN, EXEMPLAR_GOLDEN),
      fc.array(fc.tuple(fc.nat(20), fc.nat(255)), { maxLength: 3 }),
      fc.nat(20),
      (golden, edits, length) => {
        const bytes = golden.slice(0, length);
        for (const [at, byte] of edits) if (at < bytes.length) bytes[at] = byte;
        for (const list of [new StartTimes(), new ExemplarList()]) {
          try {
            list.addChunk(bytes, 0, bytes.length);
          } catch (caught) {
            expect(caught).toBeInstanceOf(AppError);
            expect(list.count).toBe(0);
            continue;
          }
          expect(list.timestampsMs).toEqual([...list.timestampsMs].sort((a, b) => a - b));
        }
      },
    ),
    { numRuns: 3000 },
  );
});

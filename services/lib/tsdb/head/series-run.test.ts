// Runs against selections without them: the same series and samples, whatever happens to the head before they are read.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  append,
  appendNumbers,
  contentOf,
  contentOfRuns,
  define,
  NAMES,
  newHead,
  RANGE_MS,
  SERIES,
  wordsOfNumber,
} from '../../../../test/support/head-rig.ts';
import { ExtraColumns } from '../../model/extra-columns.ts';
import { DeletionMask } from '../tombstones/deletion.ts';
import type { Head } from './head.ts';
import { SeriesRunWriter } from './series-run-writer.ts';

/** Far behind all others. */
const LATER_MS = 90_000;

/** Closes open chunks, fills slots and pages anew, drops what is frozen. */
function shake(head: Head): void {
  for (let i = 0; i < 40; i++) {
    const id = define(head, { __name__: 'later', i: `${i}` });
    appendNumbers(
      head,
      id,
      Array.from({ length: 40 }, (_, s) => [LATER_MS + s, s * 17.3]),
    );
  }
  for (const [i, startMs] of head.closedRangeStarts(LATER_MS).entries()) head.freeze(startMs, 100 + i);
  for (const { generation } of head.frozenRanges()) head.drop(generation);
}

const writes = fc.array(
  fc.record({
    series: fc.nat(SERIES.length - 1),
    timeMs: fc.oneof({ weight: 5, arbitrary: fc.nat(400) }, fc.nat(3 * RANGE_MS)),
    value: fc.nat(3),
  }),
  { maxLength: 150 },
);

test('runs have what frames have, also when the head has moved on before they are read', () => {
  let inRuns = 0;
  fc.assert(
    fc.property(
      writes,
      fc.boolean(),
      fc.oneof(fc.constant(0), fc.nat(2 * RANGE_MS)),
      fc.nat(2 * RANGE_MS),
      fc.option(fc.nat(2)),
      (drawn, isSorted, fromMs, spanMs, frozen) => {
        const head = newHead(4);
        const ids = SERIES.map((entries) => define(head, entries));
        const ordered = isSorted ? drawn.toSorted((a, b) => a.timeMs - b.timeMs) : drawn;
        for (const { series, timeMs, value } of ordered)
          append(head, ids[series]!, [[timeMs, ...wordsOfNumber(value)]]);
        if (frozen !== null) head.freeze(frozen * RANGE_MS, 1);
        const selection = { minTimeMs: fromMs, maxTimeMs: fromMs + spanMs };
        const expected = contentOf(head, selection);
        const { content, seriesInRuns } = contentOfRuns(head, selection, undefined, () => shake(head));
        expect(content).toEqual(expected);
        inRuns += seriesInRuns;
      },
    ),
    { numRuns: 300 },
  );
  expect(inRuns).toBeGreaterThan(200);
});

test('many series in several runs, of a head that takes samples in between', () => {
  const head = newHead(4);
  const ids = Uint32Array.from({ length: 2500 }, (_, i) =>
    define(head, { __name__: 'm', i: `${i}`, text: 'x'.repeat(1 + (i % 90)) }),
  );
  const scrape = (s: number): void => {
    const times = new Float64Array(ids.length).fill(s * 20);
    const values = Float64Array.from(ids, (id) => Math.sin(id * s));
    head.appendSamples(ids, times, values, 0, ids.length, 1);
  };
  for (let s = 0; s < 9; s++) scrape(s);
  const before = contentOf(head);
  let looks = 0;
  const more = (): void => {
    if (looks++ === 0) for (let s = 9; s < 18; s++) scrape(s);
  };
  const { content, seriesInRuns } = contentOfRuns(head, {}, more, () => shake(head));
  expect(looks).toBeGreaterThan(0);
  expect(seriesInRuns).toBe(2500);
  for (const [name, samples] of before) {
    const found = content.get(name)!;
    expect(found.slice(0, 9)).toEqual(samples);
    expect([9, 18]).toContain(found.length);
  }
});

test('series with late samples, start times or deletes are no part of runs, and not lost', () => {
  const head = newHead(4);
  const [plain, late, started, deleted] = SERIES.map((entries) => define(head, entries));
  for (const id of [plain!, late!, started!, deleted!])
    appendNumbers(head, id, [
      [10, 1],
      [20, 2],
    ]);
  appendNumbers(head, late!, [[5, 5]]);
  const extras = new ExtraColumns();
  extras.addStartTime(started!, 10, 3);
  head.appendExtras(extras, 1);
  head.freeze(0, 1);
  const matchers = [{ name: '__name__', operator: '=', value: 'down' } as const];
  const mask = new DeletionMask([{ matchers, minTimeMs: 15, maxTimeMs: 30 }]);
  const masks = [{ mask, generationMax: 1 }];
  const { seriesInRuns, content } = contentOfRuns(head, { masks });
  expect(seriesInRuns).toBe(1);
  expect(SERIES.map((_, i) => content.get(NAMES[i]!)?.length)).toEqual([2, 3, 2, 1]);
});

test('a writer that is released holds nothing, and takes nothing more', () => {
  const head = newHead(2);
  const id = define(head, SERIES[0]!);
  appendNumbers(head, id, [
    [1, 1],
    [2, 2],
    [3, 3],
  ]);
  const range = [...head.ranges()][0]!;
  const writer = new SeriesRunWriter(0, 10, 0);
  expect(writer.numberOf(range)).toBe(0);
  writer.release();
  writer.release();
  head.freeze(0, 1);
  head.drop(1);
  expect(() => range.hold()).toThrow('nobody holds');
  const other = newHead(2);
  append(other, define(other, SERIES[0]!), [[1, ...wordsOfNumber(1)]]);
  expect(() => writer.numberOf([...other.ranges()][0]!)).toThrow('the query is over');
});

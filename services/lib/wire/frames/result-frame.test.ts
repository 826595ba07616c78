import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '../../core/errors.ts';
import { FloatHistogram } from '../../model/float-histogram.ts';
import { decodeLabels, Labels } from '../../model/labels.ts';
import { ResultFrameWriter, type RowExtras, readResultFrame, type SampleHistograms } from './result-frame.ts';

interface Row {
  readonly labels: Labels;
  readonly times: readonly number[];
  /** Words of the values: NaN payloads count. */
  readonly words: readonly number[];
  readonly histograms: SampleHistograms | undefined;
  readonly extras:
    | {
        readonly tag: number;
        readonly columns: readonly (readonly number[])[];
        readonly order: string | undefined;
      }
    | undefined;
}

function read(frame: Uint8Array): Row[] {
  const rows: Row[] = [];
  readResultFrame(frame, (bytes, start, end, timestampsMs, values, count, histograms, extras) => {
    rows.push({
      labels: decodeLabels(bytes, start, end),
      times: [...timestampsMs.subarray(0, count)],
      words: [...new Uint32Array(values.slice(0, count).buffer)],
      histograms,
      extras: extras && {
        tag: extras.tag,
        columns: extras.columns.map((column) => [...column]),
        order:
          extras.orderStart < 0
            ? undefined
            : decodeLabels(bytes, extras.orderStart, extras.orderEnd).toString(),
      },
    });
  });
  return rows;
}

const AB = Labels.from([['a', 'b']]);

test('a frame with even times is as its document says', () => {
  const writer = new ResultFrameWriter();
  writer.add(AB, Float64Array.of(1000, 1500), Float64Array.of(1, 2), 2);
  expect([...writer.finish()!]).toEqual([
    ...[2, 0, 0, 0, 1, 0, 0, 0],
    ...[4, 1, 0x61, 1, 0x62],
    ...[1, 2],
    ...[0, 0, 0, 0, 0, 0x40, 0x8f, 0x40],
    ...[0, 0, 0, 0, 0, 0x40, 0x7f, 0x40],
    ...[0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
    ...[0, 0, 0, 0, 0, 0, 0, 0x40],
  ]);
});

test('a frame with a histogram, columns and order labels is as its document says', () => {
  const histogram = new FloatHistogram();
  histogram.zeroThreshold = 2 ** -128;
  histogram.count = 3;
  histogram.sum = 2;
  const writer = new ResultFrameWriter();
  writer.add(Labels.empty, Float64Array.of(0, 0.5, 2), Float64Array.of(1, 0, 1), 3, [undefined, histogram], {
    tag: 7,
    columns: [Float64Array.of(2, 2, 2)],
    order: AB,
  });
  const one = [0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
  const two = [0, 0, 0, 0, 0, 0, 0, 0x40];
  const zero = [0, 0, 0, 0, 0, 0, 0, 0];
  expect([...writer.finish()!]).toEqual([
    ...[2, 0, 0, 0, 1, 0, 0, 0],
    0,
    14,
    3,
    ...[...zero, ...[0, 0, 0, 0, 0, 0, 0xe0, 0x3f], ...two],
    ...[...one, ...zero, ...one],
    // One histogram, one sample ahead of it, 13 bytes (histogram.md): no flags, schema 0, sum, count 3, zero count 0, no buckets.
    ...[1, 1, 13],
    ...[0, 0, ...two, 3, 0, 0],
    ...[7, 1, ...two, ...two, ...two],
    ...[4, 1, 0x61, 1, 0x62],
  ]);
});

test('frames of version 1 are read', () => {
  const frame = Uint8Array.from([
    ...[1, 0, 0, 0, 1, 0, 0, 0],
    ...[4, 1, 0x61, 1, 0x62],
    1,
    ...[0, 0, 0, 0, 0, 0x40, 0x8f, 0x40],
    ...[0, 0, 0, 0, 0, 0, 0, 0x40],
  ]);
  expect(read(frame)).toEqual([
    { labels: AB, times: [1000], words: [0, 0x40000000], histograms: undefined, extras: undefined },
  ]);
});

const bits = fc.oneof(
  fc.constantFrom(
    [0, 0],
    [0, 0x80000000],
    [0, 0x7ff00000],
    [2, 0x7ff00000],
    [2, 0x7ff80000],
    [1, 0xfff12345],
  ),
  fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff)),
);
const times = fc.oneof(
  fc.tuple(fc.integer(), fc.nat(100_000), fc.nat(20)).map(([first, step, count]) => {
    return Array.from({ length: count }, (_, i) => first + i * step);
  }),
  fc.uniqueArray(fc.maxSafeInteger(), { maxLength: 20 }).map((list) => list.sort((a, b) => a - b)),
);
const labels = fc
  .array(fc.tuple(fc.constantFrom('__name__', 'a', 'b', 'é'), fc.string({ minLength: 1 })), { maxLength: 4 })
  .map((pairs) => Labels.from(pairs));
const histogram = fc
  .record({
    hint: fc.constantFrom('unknown' as const, 'reset' as const, 'not_reset' as const, 'gauge' as const),
    schema: fc.integer({ min: -4, max: 8 }),
    count: fc.double(),
    sum: fc.double({ noNaN: true }),
    bounds: fc.option(fc.uniqueArray(fc.double({ noNaN: true, noDefaultInfinity: true }), { maxLength: 5 })),
    indexes: fc.uniqueArray(fc.nat(5), { maxLength: 4 }),
  })
  .map(({ hint, schema, count, sum, bounds, indexes }) => {
    const made = new FloatHistogram();
    made.hint = hint;
    made.schema = bounds === null ? schema : -53;
    made.count = count;
    made.sum = sum;
    const custom = [...new Set((bounds ?? []).map((bound) => bound + 0))].sort((a, b) => a - b);
    made.customBounds = custom;
    for (const index of indexes.sort((a, b) => a - b)) {
      if (bounds !== null && index > custom.length) continue;
      made.positive.indexes.push(index);
      made.positive.counts.push(count / 3);
    }
    return made;
  });
const row = times.chain((list) =>
  fc.record({
    labels,
    times: fc.constant(list),
    words: fc
      .array(bits, { minLength: list.length, maxLength: list.length })
      .map((pairs) => Uint32Array.from(pairs.flat())),
    histograms: fc.option(
      fc.array(fc.option(histogram, { nil: undefined }), {
        minLength: list.length,
        maxLength: list.length,
      }),
      { nil: undefined },
    ),
    extras: fc.option(
      fc.record({
        tag: fc.nat(255),
        columns: fc.array(
          fc
            .array(fc.double({ noNaN: true }), { minLength: list.length, maxLength: list.length })
            .map((column) => Float64Array.from(column)),
          { maxLength: 8 },
        ),
        order: fc.option(labels, { nil: undefined }),
      }),
      { nil: undefined },
    ),
  }),
);

interface MadeRow {
  readonly labels: Labels;
  readonly times: readonly number[];
  readonly words: Uint32Array<ArrayBuffer>;
  readonly histograms: SampleHistograms | undefined;
  readonly extras: RowExtras | undefined;
}

function write(rows: readonly MadeRow[]): Uint8Array {
  const writer = new ResultFrameWriter();
  for (const { labels: own, times: list, words, histograms, extras } of rows) {
    const values = new Float64Array(words.buffer);
    writer.add(own, Float64Array.from(list), values, list.length, histograms, extras);
  }
  return writer.finish()!;
}

test('what is written is read', () => {
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 6 }), (rows) => {
      const seen = read(write(rows));
      expect(seen.length).toBe(rows.length);
      rows.forEach((wanted, i) => {
        const got = seen[i]!;
        expect(got.labels.key).toBe(wanted.labels.key);
        expect(got.times).toEqual(wanted.times.map((time) => time + 0));
        expect(got.words).toEqual([...wanted.words]);
        const found = wanted.histograms?.some((one) => one !== undefined) ?? false;
        expect(got.histograms !== undefined).toBe(found);
        for (let k = 0; found && k < wanted.times.length; k++) {
          const one = wanted.histograms![k];
          expect(got.histograms![k]?.equals(one!) ?? false).toBe(one !== undefined);
          expect(got.histograms![k]?.hint).toBe(one?.hint);
        }
        expect(got.extras).toEqual(
          wanted.extras && {
            tag: wanted.extras.tag,
            columns: wanted.extras.columns.map((column) => [...column]),
            order: wanted.extras.order?.toString(),
          },
        );
      });
    }),
    { numRuns: 200 },
  );
});

test('mutated frames are read or refused, and hold no more than their bytes', () => {
  fc.assert(
    fc.property(
      fc.array(row, { minLength: 1, maxLength: 3 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      (rows, changes, cut) => {
        let frame = write(rows);
        for (const [at, byte] of changes) frame[at % frame.length] = byte;
        if (cut) frame = frame.subarray(0, changes[0]![0] % frame.length);
        let samples = 0;
        try {
          readResultFrame(frame, (_bytes, _start, _end, _times, _values, count) => {
            samples += count;
          });
        } catch (caught) {
          expect(caught).toBeInstanceOf(AppError);
          expect((caught as AppError).code).toBe('bad_data');
        }
        expect(samples * 8).toBeLessThanOrEqual(frame.length);
      },
    ),
    { numRuns: 300 },
  );
});

test('a claim of many samples allocates nothing', () => {
  // 2^40 samples of which none is there.
  const frame = Uint8Array.from([2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
  expect(() => read(frame)).toThrow('do not fit');
});

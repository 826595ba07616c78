// Histograms and start times of a union against lists in memory: overlapping answers of several nodes, floats in between.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bitsOf, describeHistogram, fromWords, histograms } from '../../../test/support/histograms.ts';
import { ByteWriter, compareBytes } from '../../lib/core/bytes.ts';
import { FloatHistogram } from '../../lib/model/float-histogram.ts';
import { type CountsKind, encodeHistogram, isStaleHistogram } from '../../lib/model/histogram-codec.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { SampleColumns } from '../../lib/model/sample-columns.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { SeriesChunker, SeriesSamples } from '../../lib/tsdb/chunk/series-samples.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { SeriesUnion } from './series-union.ts';
import { UnitedSeriesSet } from './united-series-set.ts';

const STALE = '7ff0000000000002';

/** What a node answers: the chunks of one series. */
function frameOf(series: SeriesSamples): Uint8Array {
  const labels = new ByteWriter();
  encodeLabels(Labels.from([['__name__', 'x']]), labels);
  const writer = new SeriesFrameWriter();
  writer.beginSeries(labels.bytes, 0, labels.length);
  series.settle();
  const chunks: (() => number)[] = [];
  new SeriesChunker(4).emit(series, (encoding, min, max, _count, bytes, start, end) => {
    const own = bytes.slice(start, end);
    chunks.push(() => {
      writer.chunk(encoding, min, max, own, 0, own.length);
      return min;
    });
  });
  for (const put of chunks) put();
  return writer.finish()[0]!;
}

async function unite(frames: readonly Uint8Array[], isShared: boolean): Promise<UnitedSeriesSet> {
  const union = new SeriesUnion({ seriesMax: 10, hashSeed: 1 }, { charge: () => undefined });
  for (const frame of frames) union.addFrame(frame, 'a test');
  await union.sort(new WorkPacer(undefined));
  return new UnitedSeriesSet(
    isShared
      ? SeriesUnion.ofShared(
          union.share((bytes) => new SharedArrayBuffer(bytes)),
          0,
          union.size,
        )
      : union,
    [],
  );
}

interface Entry {
  readonly timeMs: number;
  readonly value: number;
  readonly drawn: { readonly histogram: FloatHistogram; readonly kind: CountsKind } | undefined;
}

const entry = fc.record({
  timeMs: fc.nat(40),
  value: fc.nat(9),
  drawn: fc.option(histograms, { nil: undefined }),
});

function encoded({ histogram, kind }: NonNullable<Entry['drawn']>): Uint8Array {
  const out = new ByteWriter(64);
  encodeHistogram(histogram, kind, out);
  return out.take();
}

/** Of a time the histogram with the greatest bytes, else the greatest float. */
function expectedAt(entries: readonly Entry[]): unknown {
  const drawn = entries.flatMap((one) => (one.drawn === undefined ? [] : [one.drawn]));
  if (drawn.length === 0) return bitsOf(Math.max(...entries.map(({ value }) => value)));
  drawn.sort((a, b) => compareBytes(encoded(b), encoded(a)));
  const { histogram } = drawn[0]!;
  return isStaleHistogram(histogram) ? STALE : describeCounts(histogram);
}

/** What a histogram says, but for what reading adds: that there was no reset. */
function describeCounts(histogram: FloatHistogram): ReturnType<typeof describeHistogram> {
  return describeHistogram(histogram.hint === 'not_reset' ? histogram.withHint('unknown') : histogram);
}

test('that there was no reset is known of the first histogram of a range too', async () => {
  const series = new SeriesSamples();
  for (const [timeMs, count] of [
    [10, 5],
    [20, 7],
    [30, 2],
    [40, 2],
  ] as const) {
    const histogram = new FloatHistogram();
    histogram.count = count;
    histogram.zeroCount = count;
    series.histograms.add(timeMs, histogram, 'float');
  }
  const into = new SampleColumns();
  (await unite([frameOf(series)], false)).read(0, 20, 40, into);
  expect(into.histograms?.map((histogram) => histogram?.hint).slice(0, into.count)).toEqual([
    'not_reset',
    'unknown',
    'not_reset',
  ]);
});

test('floats and histograms of several nodes become one column by the fixed rules', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(entry, { minLength: 1, maxLength: 15 }), { minLength: 1, maxLength: 3 }),
      fc.nat(20),
      fc.boolean(),
      async (nodes, minTimeMs, isShared) => {
        const frames = nodes.map((entries) => {
          const series = new SeriesSamples();
          for (const { timeMs, value, drawn } of entries) {
            if (drawn !== undefined) series.histograms.add(timeMs, drawn.histogram, drawn.kind);
            else {
              series.floats.timestampsMs[series.floats.count] = timeMs;
              series.floats.values[series.floats.count++] = value;
            }
          }
          return frameOf(series);
        });
        const set = await unite(frames, isShared);
        const into = new SampleColumns();
        set.read(0, minTimeMs, 35, into);
        const all = nodes.flat().filter(({ timeMs }) => timeMs >= minTimeMs && timeMs <= 35);
        const times = [...new Set(all.map(({ timeMs }) => timeMs))].sort((a, b) => a - b);
        const found = Array.from({ length: into.count }, (_, i) => {
          const histogram = into.histograms?.[i];
          const value = histogram === undefined ? bitsOf(into.values[i]!) : describeCounts(histogram);
          return [into.timestampsMs[i], value];
        });
        const expected = times.map((timeMs) => [
          timeMs,
          expectedAt(all.filter((one) => one.timeMs === timeMs)),
        ]);
        expect(found).toEqual(expected);
      },
    ),
    { numRuns: 150 },
  );
});

test('start times lie over the samples that they hold for, floats in order included', async () => {
  for (const isShared of [false, true]) {
    const series = new SeriesSamples();
    for (let i = 0; i < 10; i++) series.floats.timestampsMs[series.floats.count++] = i * 10;
    for (const [timeMs, startMs] of [
      [20, 15],
      [50, 0],
      [70, 65],
    ] as const)
      series.startTimes.add(timeMs, startMs);
    const set = await unite([frameOf(series)], isShared);
    const into = new SampleColumns();
    set.read(0, 10, 80, into);
    expect([...into.timestampsMs.subarray(0, into.count)]).toEqual([10, 20, 30, 40, 50, 60, 70, 80]);
    expect([...into.startTimesMs!]).toEqual([0, 15, 15, 15, 0, 0, 65, 65]);
    set.read(0, 30, 40, into);
    expect([...into.startTimesMs!]).toEqual([15, 15]);
    expect(into.histograms).toBeUndefined();
  }
});

test('columns that held histograms are those of floats again with the next series', async () => {
  const floats = new SeriesSamples();
  floats.floats.timestampsMs[floats.floats.count++] = 5;
  const set = await unite([frameOf(floats)], false);
  const into = new SampleColumns();
  into.histograms = [];
  into.startTimesMs = new Float64Array(3);
  set.read(0, 0, 10, into);
  expect([into.count, into.histograms, into.startTimesMs]).toEqual([1, undefined, undefined]);
});

test('a sum that is the staleness marker is that marker', async () => {
  const series = new SeriesSamples();
  const [{ histogram, kind }] = fc.sample(histograms, { numRuns: 1, seed: 1 }) as [
    NonNullable<Entry['drawn']>,
  ];
  histogram.sum = fromWords(0x7ff80000, 2);
  series.histograms.add(7, histogram, kind);
  const into = new SampleColumns();
  (await unite([frameOf(series)], false)).read(0, 0, 10, into);
  expect([into.count, into.histograms, bitsOf(into.values[0]!)]).toEqual([1, undefined, STALE]);
});

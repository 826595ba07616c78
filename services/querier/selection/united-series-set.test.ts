import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../lib/model/chunk-sink.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { putStale, SampleColumns, wordsOf } from '../../lib/model/sample-columns.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { ChunkEncoder } from '../../lib/tsdb/chunk/chunk-encoder.ts';
import { encodeXorChunk } from '../../lib/tsdb/chunk/xor-encoder.ts';
import { SeriesFrameWriter } from '../../lib/wire/frames/series-frame.ts';
import { SeriesUnion } from './series-union.ts';
import { UnitedSeriesSet } from './united-series-set.ts';

const SAMPLES = 40;

function makeColumns(): SampleColumns {
  const columns = new SampleColumns(SAMPLES);
  columns.count = SAMPLES;
  for (let i = 0; i < SAMPLES; i++) {
    columns.timestampsMs[i] = i * 15_000;
    columns.values[i] = i * 3;
  }
  putStale(wordsOf(columns.values), SAMPLES - 1);
  return columns;
}

/** One series, samples [from, to), as a store (columns) or an ingester (XOR) answers. */
function frameOf(encoding: number, columns: SampleColumns, from: number, to: number): Uint8Array {
  const labels = new ByteWriter();
  encodeLabels(Labels.from([['__name__', 'up']]), labels);
  const chunk = new ByteWriter();
  const { timestampsMs, values } = columns;
  if (encoding === CHUNK_XOR) encodeXorChunk(timestampsMs, values, from, to, chunk);
  else expect(new ChunkEncoder(SAMPLES).encode(timestampsMs, values, from, to, chunk)).toBe(encoding);
  const writer = new SeriesFrameWriter();
  writer.beginSeries(labels.bytes, 0, labels.length);
  writer.chunk(encoding, timestampsMs[from]!, timestampsMs[to - 1]!, chunk.bytes, 0, chunk.length);
  return writer.finish()[0]!;
}

async function unite(frames: readonly Uint8Array[]): Promise<UnitedSeriesSet> {
  const union = new SeriesUnion({ seriesMax: 10, hashSeed: 1 }, { charge: () => undefined });
  for (const frame of frames) union.addFrame(frame, 'a test');
  await union.sort(new WorkPacer(undefined));
  return new UnitedSeriesSet(union, []);
}

test('a series of sealed column chunks and XOR chunks of the head reads as one, overlaps once', async () => {
  const columns = makeColumns();
  const set = await unite([
    frameOf(CHUNK_XOR, columns, 15, 40),
    frameOf(CHUNK_COLUMNS, columns, 0, 20),
    frameOf(CHUNK_XOR, columns, 0, 20),
    frameOf(CHUNK_COLUMNS, columns, 0, 20),
  ]);
  const into = new SampleColumns();
  expect(set.size).toBe(1);
  set.read(0, 0, 1e9, into);
  expect(into.count).toBe(SAMPLES);
  expect(into.timestampsMs.subarray(0, SAMPLES)).toEqual(columns.timestampsMs);
  expect(wordsOf(into.values).subarray(0, 2 * SAMPLES)).toEqual(wordsOf(columns.values));
  set.read(0, 30_000, 60_000, into);
  expect(Array.from(into.values.subarray(0, into.count))).toEqual([6, 9, 12]);
});

test('what two nodes have alike is known to be regular, and not whether a value is NaN', async () => {
  const columns = makeColumns();
  const into = new SampleColumns();
  const [first, second] = [frameOf(CHUNK_COLUMNS, columns, 0, 20), frameOf(CHUNK_XOR, columns, 20, 40)];
  const twice = await unite([
    first,
    second,
    frameOf(CHUNK_COLUMNS, columns, 0, 20),
    frameOf(CHUNK_XOR, columns, 0, 40),
  ]);
  twice.read(0, 0, 1e9, into);
  expect([into.count, into.gapMs, into.hasNaN]).toEqual([SAMPLES, 15_000, true]);
  const once = await unite([first, second]);
  once.read(0, 0, 100_000, into);
  expect([into.count, into.gapMs, into.hasNaN]).toEqual([7, 15_000, false]);
  // Another node has one more between them.
  columns.timestampsMs[5] = 80_000;
  const uneven = await unite([first, second, frameOf(CHUNK_XOR, columns, 0, 20)]);
  uneven.read(0, 0, 1e9, into);
  expect([into.count, into.gapMs]).toEqual([SAMPLES + 1, 0]);
});

/** Samples that a node holds, as times and the lower word of a value, cut into chunks of its own size. */
const answer = fc.record({
  samples: fc.uniqueArray(fc.tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 2 })), {
    selector: ([time]) => time,
    maxLength: 50,
  }),
  chunkSamples: fc.integer({ min: 1, max: 30 }),
});

test('any window of answers that overlap is their union, of different values the greater pattern', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(answer, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 60 }),
      fc.integer({ min: 0, max: 60 }),
      async (answers, a, b) => {
        const expected = new Map<number, number>();
        const frames: Uint8Array[] = [];
        for (const { samples, chunkSamples } of answers) {
          const sorted = samples.toSorted(([x], [y]) => x - y);
          const columns = new SampleColumns(Math.max(1, sorted.length));
          for (const [i, [time, low]] of sorted.entries()) {
            columns.timestampsMs[i] = time;
            // NaNs that differ in what no arithmetic keeps.
            putStale(wordsOf(columns.values), i);
            wordsOf(columns.values)[2 * i] = low;
            expected.set(time, Math.max(expected.get(time) ?? 0, low));
          }
          for (let from = 0; from < sorted.length; from += chunkSamples) {
            frames.push(frameOf(CHUNK_XOR, columns, from, Math.min(sorted.length, from + chunkSamples)));
          }
        }
        const [first, last] = a < b ? [a, b] : [b, a];
        const set = await unite(frames);
        const into = new SampleColumns();
        if (set.size > 0) set.read(0, first, last, into);
        const read = Array.from({ length: into.count }, (_, i) => [
          into.timestampsMs[i]!,
          wordsOf(into.values)[2 * i]!,
        ]);
        const inside = [...expected].filter(([time]) => time >= first && time <= last);
        expect(read).toEqual(inside.toSorted(([x], [y]) => x - y));
        const values = Array.from(into.values.subarray(0, into.count));
        if (!into.hasNaN) expect(values.some(Number.isNaN)).toBe(false);
        const gaps = values.slice(1).map((_, i) => into.timestampsMs[i + 1]! - into.timestampsMs[i]!);
        if (into.gapMs > 0) expect(gaps.every((gapMs) => gapMs === into.gapMs)).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});

test('a chunk of an encoding that nobody knows is a malformed answer', async () => {
  const writer = new SeriesFrameWriter();
  const labels = new ByteWriter();
  encodeLabels(Labels.from([['__name__', 'up']]), labels);
  writer.beginSeries(labels.bytes, 0, labels.length);
  writer.chunk(9, 0, 1, new Uint8Array(4), 0, 4);
  await expect(unite(writer.finish())).rejects.toThrow(
    /malformed answer from a test: unknown chunk encoding 9/,
  );
});

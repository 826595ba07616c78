import { expect, test } from 'vitest';
import { ByteWriter } from '../lib/core/bytes.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../lib/model/chunk-sink.ts';
import { encodeLabels, Labels } from '../lib/model/labels.ts';
import { putStale, SampleColumns, wordsOf } from '../lib/model/sample-columns.ts';
import { WorkPacer } from '../lib/tsdb/block/work-pacer.ts';
import { ChunkEncoder } from '../lib/tsdb/chunk/chunk-encoder.ts';
import { encodeXorChunk } from '../lib/tsdb/chunk/xor-encoder.ts';
import { SeriesFrameWriter } from '../lib/wire/series-frame.ts';
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

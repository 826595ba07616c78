import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { encodeLabels, Labels } from '../../model/labels.ts';
import { ResultFrameWriter, readResultFrame } from './result-frame.ts';
import { readSeriesFrame, SERIES_FRAME_BYTES_TARGET, SeriesFrameWriter } from './series-frame.ts';

const labelBytes = (name: string): Uint8Array => {
  const writer = new ByteWriter();
  encodeLabels(Labels.from([['a', name]]), writer);
  return writer.take();
};

function collect(frames: readonly Uint8Array[]): [string, [number, number, number, number[]][]][] {
  const seen: [string, [number, number, number, number[]][]][] = [];
  for (const frame of frames) {
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => seen.push([String(bytes.subarray(start, end)), []]),
      chunk: (encoding, min, max, bytes, start, end) =>
        seen.at(-1)![1].push([encoding, min, max, [...bytes.subarray(start, end)]]),
    });
  }
  return seen;
}

test('a series frame is as its document says', () => {
  const writer = new SeriesFrameWriter();
  const labels = labelBytes('b');
  writer.beginSeries(labels, 0, labels.length);
  writer.chunk(1, 0, 1000, Uint8Array.of(9, 8, 7), 1, 3);
  const frames = writer.finish();
  expect(frames.map((frame) => [...frame])).toEqual([
    [
      ...[1, 0, 0, 0, 1, 0, 0, 0],
      ...[4, 1, 0x61, 1, 0x62],
      ...[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x8f, 0x40, 2, 8, 7],
    ],
  ]);
  expect(collect(frames)).toEqual([[String(labels), [[1, 0, 1000, [8, 7]]]]]);
});

test('a series may have more chunks than one byte of their number can say', () => {
  for (const chunks of [0, 1, 127, 128, 129, 20_000]) {
    const writer = new SeriesFrameWriter();
    const labels = labelBytes('series');
    for (let s = 0; s < 2; s++) {
      writer.beginSeries(labels, 0, labels.length);
      for (let c = 0; c < chunks; c++) writer.chunk(1, c, c + 1, Uint8Array.of(s, c), 0, 2);
    }
    const seen: number[] = [];
    for (const frame of writer.finish()) {
      readSeriesFrame(frame, {
        beginSeries: () => seen.push(0),
        chunk: (_encoding, minTimeMs, _max, bytes, start) => {
          expect([bytes[start], bytes[start + 1]]).toEqual([seen.length - 1, minTimeMs % 256]);
          seen[seen.length - 1]!++;
        },
      });
    }
    expect(seen).toEqual([chunks, chunks]);
  }
});

test('large answers are cut into frames, series stay whole, labels alone work', () => {
  const writer = new SeriesFrameWriter();
  const chunk = new Uint8Array(100_000).fill(5);
  for (let i = 0; i < 30; i++) {
    const labels = labelBytes(`series ${i}`);
    writer.beginSeries(labels, 0, labels.length);
    if (i % 2 === 0) writer.chunk(1, i, i + 1, chunk, 0, chunk.length);
  }
  const frames = writer.finish();
  // Three chunks fill one; the last series, whose chunks are none, stands behind fifteen of them.
  expect(frames.length).toBe(6);
  expect(Math.max(...frames.map((frame) => frame.length))).toBeLessThan(SERIES_FRAME_BYTES_TARGET + 200_000);
  const seen = collect(frames);
  expect(seen.map(([, chunks]) => chunks.length)).toEqual(Array.from({ length: 30 }, (_, i) => (i + 1) % 2));
});

test('an empty answer has no frames', () => {
  expect(new SeriesFrameWriter().finish()).toEqual([]);
  expect(new ResultFrameWriter().finish()).toBeUndefined();
});

test('a result frame keeps labels, times and the bits of values', () => {
  const writer = new ResultFrameWriter();
  const values = new Float64Array(3);
  new Uint32Array(values.buffer).set([2, 0x7ff00000], 2);
  expect(writer.add(Labels.from([['a', 'b']]), Float64Array.of(1, 2, 3), values, 2)).toBeUndefined();
  writer.add(Labels.empty, Float64Array.of(5), Float64Array.of(-0), 1);
  const seen: unknown[] = [];
  readResultFrame(writer.finish()!, (bytes, start, end, times, columns, count) => {
    seen.push([
      [...bytes.subarray(start, end)],
      [...times.subarray(0, count)],
      [...new Uint32Array(columns.slice(0, count).buffer)],
    ]);
  });
  expect(seen).toEqual([
    [
      [1, 0x61, 1, 0x62],
      [1, 2],
      [0, 0, 2, 0x7ff00000],
    ],
    [[], [5], [0, 0x80000000]],
  ]);
});

test('truncated frames are refused at every length', () => {
  const series = new SeriesFrameWriter();
  const labels = labelBytes('b');
  series.beginSeries(labels, 0, labels.length);
  series.chunk(1, 0, 1, Uint8Array.of(1, 2, 3), 0, 3);
  const seriesFrame = series.finish()[0]!;
  const result = new ResultFrameWriter();
  result.add(Labels.empty, Float64Array.of(5), Float64Array.of(1), 1);
  const resultFrame = result.finish()!;
  for (let n = 0; n < seriesFrame.length; n++) {
    expect(() => collect([seriesFrame.subarray(0, n)])).toThrow(AppError);
  }
  for (let n = 0; n < resultFrame.length; n++) {
    expect(() => readResultFrame(resultFrame.subarray(0, n), () => {})).toThrow(AppError);
  }
});

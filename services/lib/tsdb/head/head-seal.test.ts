import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { systemClock } from '../../core/clock.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../model/chunk-sink.ts';
import { decodeLabels, encodeLabels, Labels } from '../../model/labels.ts';
import { putStale, SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { decodeChunk } from '../chunk/decode-chunk.ts';
import { Head } from './head.ts';
import { sealRange } from './head-seal.ts';

const RANGE_MS = 7_200_000;

/** Two hours of samples every 3.6 s: a bit more than two chunks of 960. */
const SAMPLES = 2000;
const STEP_MS = RANGE_MS / SAMPLES;

function makeColumns(makeValue: (i: number) => number): SampleColumns {
  const columns = new SampleColumns(SAMPLES);
  columns.count = SAMPLES;
  for (let i = 0; i < SAMPLES; i++) {
    columns.timestampsMs[i] = i * STEP_MS;
    columns.values[i] = makeValue(i);
  }
  putStale(wordsOf(columns.values), SAMPLES - 1);
  return columns;
}

const SERIES: Readonly<Record<string, SampleColumns>> = {
  counter: makeColumns((i) => i * 17 + ((i * i) % 5)),
  constant: makeColumns(() => 0.1),
  noise: makeColumns((i) => Math.sin(i * 1.7)),
};

test('a sealed range has the samples of the head, bit for bit, in chunks of 960', () => {
  const head = new Head({ rangeMs: RANGE_MS, chunkSamplesTarget: 120, hashSeed: 1 });
  for (const [name, { timestampsMs, values }] of Object.entries(SERIES)) {
    const labels = new ByteWriter();
    encodeLabels(Labels.from([['__name__', name]]), labels);
    const id = head.define(labels.bytes, 0, labels.length, 7);
    head.appendSamples(new Uint32Array(SAMPLES).fill(id), timestampsMs, values, 0, SAMPLES, 1);
  }
  const sealed = new Map<string, { columns: SampleColumns; counts: number[]; encodings: number[] }>();
  let series: { columns: SampleColumns; counts: number[]; encodings: number[] };
  const range = head.freeze(0, 1)!;
  const steps = sealRange(head, range, systemClock, {
    addSeries(bytes, start, end, partition) {
      expect(partition).toBe(7);
      series = { columns: new SampleColumns(), counts: [], encodings: [] };
      sealed.set(decodeLabels(bytes, start, end).get('__name__')!, series);
    },
    addChunk(encoding, minTimeMs, maxTimeMs, sampleCount, bytes, start, end) {
      const { columns, counts, encodings } = series;
      const before = columns.count;
      decodeChunk(encoding, bytes, start, end, columns);
      expect(columns.count - before).toBe(sampleCount);
      expect(columns.timestampsMs[before]).toBe(minTimeMs);
      expect(columns.timestampsMs[columns.count - 1]).toBe(maxTimeMs);
      counts.push(sampleCount);
      encodings.push(encoding);
    },
  });
  while (!steps.next().done);

  expect([...sealed.keys()].sort()).toEqual(Object.keys(SERIES).sort());
  for (const [name, { columns, counts }] of sealed) {
    const expected = SERIES[name]!;
    expect(counts).toEqual([960, 960, 80]);
    expect(columns.timestampsMs.subarray(0, columns.count)).toEqual(expected.timestampsMs);
    expect(wordsOf(columns.values).subarray(0, columns.count * 2)).toEqual(wordsOf(expected.values));
  }
  expect(sealed.get('counter')!.encodings).toEqual([CHUNK_COLUMNS, CHUNK_COLUMNS, CHUNK_COLUMNS]);
  expect(sealed.get('noise')!.encodings).toEqual([CHUNK_XOR, CHUNK_XOR, CHUNK_XOR]);
});

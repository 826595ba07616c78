// Mutated chunks of every encoding: an AppError that leaves the columns as they were, or samples in order. (Whether they are the
// samples that were written is for the checksums of log records and block pages to say: a chunk has none of its own.)
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { histograms } from '../../../../test/support/histograms.ts';
import { randomOf } from '../../../../test/support/random.ts';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { CHUNK_COLUMNS, CHUNK_XOR } from '../../model/chunk-sink.ts';
import { putStale, SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { ChunkEncoder } from './chunk-encoder.ts';
import { decodeChunk } from './decode-chunk.ts';
import { ExemplarList } from './exemplar-list.ts';
import { decodeHistogramChunk } from './histogram-chunk-decoder.ts';
import { HistogramChunkEncoder } from './histogram-chunk-encoder.ts';
import { HistogramSamples } from './histogram-samples.ts';
import { StartTimes } from './start-times.ts';
import { encodeXorChunk } from './xor-encoder.ts';

const LONG = { timeout: 300_000 };

/** Series of many kinds: counters with resets, gauges of decimals, noise, constants, staleness, uneven time. */
function columnsOf(seed: number): SampleColumns {
  const random = randomOf(seed);
  const count = 1 + Math.floor(random() * 130);
  const columns = new SampleColumns(count);
  const words = wordsOf(columns.values);
  let timeMs = seed % 3 === 0 ? -5e12 : 1_700_000_000_000;
  let counter = 0;
  for (let i = 0; i < count; i++) {
    timeMs += seed % 2 === 0 ? 15_000 : 1 + Math.floor(random() * 60_000);
    counter = random() < 0.02 ? 0 : counter + Math.floor(random() * 1000);
    const kinds = [counter, Math.round(random() * 1000) / 10, random() * 1e9, 1, -0, counter * 2 ** 40];
    columns.timestampsMs[i] = timeMs;
    columns.values[i] = kinds[seed % kinds.length]!;
    if (random() < 0.01) putStale(words, i);
  }
  columns.count = count;
  return columns;
}

const SERIES = Array.from({ length: 48 }, (_, seed) => columnsOf(seed));

function taken(write: (out: ByteWriter) => unknown): Uint8Array {
  const out = new ByteWriter(64);
  write(out);
  return out.take();
}

/** True for what a decoder may say of bytes that are no chunk; anything else is the fuzz's find. */
function isRefusal(caught: unknown): boolean {
  if (caught instanceof AppError && (caught.code === 'internal' || caught.code === 'bad_data')) return true;
  throw caught;
}

function readSamples(encoding: number, bytes: Uint8Array): boolean {
  const into = new SampleColumns(1);
  try {
    decodeChunk(encoding, bytes, 0, bytes.length, into);
  } catch (caught) {
    expect(into.count).toBe(0);
    return !isRefusal(caught);
  }
  for (let i = 1; i < into.count; i++) {
    if (!(into.timestampsMs[i]! > into.timestampsMs[i - 1]!))
      expect.fail(`sample ${i} is not after the one before`);
  }
  return true;
}

test('mutated XOR chunks', LONG, async () => {
  await fuzzBytes({
    name: 'XOR chunk',
    samples: SERIES.map(({ timestampsMs, values, count }) =>
      taken((out) => encodeXorChunk(timestampsMs, values, 0, count, out)),
    ),
    answeredShareMin: 0.1,
    read: (bytes) => readSamples(CHUNK_XOR, bytes),
  });
});

test('mutated column chunks', LONG, async () => {
  const encoder = new ChunkEncoder(200);
  const samples: Uint8Array[] = [];
  for (const { timestampsMs, values, count } of SERIES) {
    const out = new ByteWriter(64);
    if (encoder.encode(timestampsMs, values, 0, count, out) === CHUNK_COLUMNS) samples.push(out.take());
  }
  expect(samples.length).toBeGreaterThan(20);
  await fuzzBytes({
    name: 'column chunk',
    samples,
    answeredShareMin: 0.1,
    read: (bytes) => readSamples(CHUNK_COLUMNS, bytes),
  });
});

test('mutated histogram chunks', LONG, async () => {
  const samples = fc
    .sample(fc.array(histograms, { minLength: 1, maxLength: 8 }), { numRuns: 40, seed: 7 })
    .map((drawn) => {
      const list = new HistogramSamples();
      for (const [i, { histogram, kind }] of drawn.entries()) list.add(1000 * i, histogram, kind);
      return taken((out) => new HistogramChunkEncoder(960).encode(list, 0, out));
    });
  await fuzzBytes({
    name: 'histogram chunk',
    samples,
    answeredShareMin: 0.05,
    read: (bytes) => {
      const into = new HistogramSamples();
      try {
        decodeHistogramChunk(bytes, 0, bytes.length, into);
      } catch (caught) {
        expect(into.count).toBe(0);
        return !isRefusal(caught);
      }
      for (let i = 1; i < into.count; i++) {
        if (!(into.timestampsMs[i]! > into.timestampsMs[i - 1]!))
          expect.fail(`histogram ${i} is not after the one before`);
      }
      return true;
    },
  });
});

test('mutated chunks of start times', LONG, async () => {
  await fuzzBytes({
    name: 'start times',
    samples: SERIES.map(({ timestampsMs, count }, seed) =>
      taken((out) => {
        const list = new StartTimes();
        for (let i = 0; i < count; i += 1 + (seed % 5))
          list.add(timestampsMs[i]!, timestampsMs[i]! - 500 * i);
        list.settle();
        list.encode(0, list.timestampsMs.length, out);
      }),
    ),
    answeredShareMin: 0.05,
    read: (bytes) => {
      const into = new StartTimes();
      try {
        into.addChunk(bytes, 0, bytes.length);
      } catch (caught) {
        return !isRefusal(caught);
      }
      expect(into.timestampsMs.length).toBeGreaterThan(0);
      return true;
    },
  });
});

test('mutated chunks of exemplars', LONG, async () => {
  await fuzzBytes({
    name: 'exemplars',
    samples: SERIES.map(({ timestampsMs, count }, seed) =>
      taken((out) => {
        const list = new ExemplarList();
        for (let i = 0; i < Math.min(count, 20); i++) {
          list.add(
            timestampsMs[i]!,
            Uint8Array.from({ length: (seed * 7 + i) % 100 }, (_, at) => at),
          );
        }
        list.settle();
        list.encode(0, list.count, out);
      }),
    ),
    answeredShareMin: 0.05,
    read: (bytes) => {
      const into = new ExemplarList();
      try {
        into.addChunk(bytes, 0, bytes.length);
      } catch (caught) {
        return !isRefusal(caught);
      }
      return true;
    },
  });
});

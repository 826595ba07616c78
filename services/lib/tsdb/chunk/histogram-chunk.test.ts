// Histogram chunks against the golden bytes of docs/format/chunk-histograms.md, round trips, merges, mutations.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describeHistogram, histograms } from '../../../../test/support/histograms.ts';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { FloatHistogram } from '../../model/float-histogram.ts';
import type { CountsKind } from '../../model/histogram-codec.ts';
import { decodeHistogramChunk } from './histogram-chunk-decoder.ts';
import { HistogramChunkEncoder } from './histogram-chunk-encoder.ts';
import { HistogramSamples } from './histogram-samples.ts';

const MAX = 960;

function chunksOf(samples: HistogramSamples): Uint8Array<ArrayBuffer>[] {
  const encoder = new HistogramChunkEncoder(MAX);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const out = new ByteWriter(64);
  for (let from = 0; from < samples.count; ) {
    out.reset();
    from = encoder.encode(samples, from, out);
    chunks.push(out.take());
  }
  return chunks;
}

function decodeAll(chunks: readonly Uint8Array[]): HistogramSamples {
  const samples = new HistogramSamples();
  for (const chunk of chunks) decodeHistogramChunk(chunk, 0, chunk.length, samples);
  return samples;
}

function describeSamples({ timestampsMs, kinds, histograms: list }: HistogramSamples): unknown {
  return list.map((histogram, i) => [timestampsMs[i], kinds[i], describeHistogram(histogram)]);
}

const series = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 60_000 }), histograms, fc.boolean()), {
    minLength: 1,
    maxLength: 12,
  })
  .map((entries) => {
    const samples = new HistogramSamples();
    let timeMs = -1000;
    let previous: FloatHistogram | undefined;
    let kind: CountsKind = 'integer';
    for (const [gapMs, drawn, repeats] of entries) {
      timeMs += gapMs;
      // Mostly the same kind of buckets one after another, as in life.
      if (previous === undefined || !repeats) {
        previous = drawn.histogram;
        kind = drawn.kind;
      }
      samples.add(timeMs, previous, kind);
    }
    return samples;
  });

/** A latency histogram that counts `perStep` observations a step over `buckets` buckets. */
function latency(steps: number, buckets: number, seed: number): HistogramSamples {
  const samples = new HistogramSamples();
  const counts = Array.from({ length: buckets }, () => 0);
  let state = seed;
  let sum = 0;
  for (let i = 0; i < steps; i++) {
    for (let b = 0; b < buckets; b++) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      const added =
        (state >>> 16) % (1 + Math.round(40 * Math.exp(-(((b - buckets / 2) / (buckets / 6)) ** 2))));
      counts[b] = counts[b]! + added;
      sum += added * 2 ** ((b - 30) / 8) * 1.01;
    }
    const histogram = new FloatHistogram();
    histogram.schema = 3;
    histogram.zeroThreshold = 2 ** -128;
    histogram.sum = sum;
    histogram.count = counts.reduce((a, b) => a + b, 0);
    const seen = counts.flatMap((count, b) => (count > 0 ? [b] : []));
    histogram.positive = { indexes: seen.map((b) => b - 30), counts: seen.map((b) => counts[b]!) };
    samples.add(1_700_000_000_000 + i * 15_000, histogram, 'integer');
  }
  return samples;
}

describe('histogram chunks', () => {
  test('golden bytes', () => {
    const samples = new HistogramSamples();
    for (const [timeMs, counts] of [
      [1000, [2, 1]],
      [2000, [3, 1]],
    ] as const) {
      const histogram = new FloatHistogram();
      histogram.sum = 7;
      histogram.zeroCount = 1;
      histogram.count = 1 + counts[0] + counts[1];
      histogram.positive = { indexes: [4, 5], counts: [...counts] };
      samples.add(timeMs, histogram, 'integer');
    }
    const golden =
      '02' + // two samples
      '02 0c' + // sums: a column chunk of 12 bytes
      '02 e807 d00f 000000' + // 2 floats, step 1000, first 1000, no deviations
      '00 00000e' + // exponent 0; integers of no bits above 7
      '00' + // the sums are as they stand
      '00 00 0000000000000000' + // schema 0, zero threshold 0
      '02 08 01' + // positive: 2 buckets, from index 4
      '00' + // negative: none
      '01 04' + // one run of 2: integers, no hint, all buckets
      '00 000002' + // zero bucket: integers of no bits above 1
      '00 000104 40' + // bucket 4: integers of 1 bit above 2: 0, 1
      '00 000002' + // bucket 5: 1, 1
      '02 000000'; // count: what the buckets hold and nothing more
    const [chunk, ...others] = chunksOf(samples);
    expect(others).toEqual([]);
    expect(Buffer.from(chunk!).toString('hex')).toBe(golden.replaceAll(' ', ''));
    expect(describeSamples(decodeAll([chunk!]))).toEqual(describeSamples(samples));
  });

  test('keep every bit of adversarial histograms', () => {
    fc.assert(
      fc.property(series, (samples) => {
        expect(describeSamples(decodeAll(chunksOf(samples)))).toEqual(describeSamples(samples));
      }),
      { numRuns: 400 },
    );
  });

  test('sums of decimals come back bit for bit, in few bytes', () => {
    const steps = fc.array(fc.integer({ min: -50_000, max: 90_000 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(
        steps,
        fc.constantFrom(1e3, 1e6, 1e9, 7),
        fc.constantFrom(1, -1, 1e-9),
        (drawn, power, scale) => {
          const samples = new HistogramSamples();
          let sum = 0;
          for (const [i, step] of drawn.entries()) {
            const histogram = new FloatHistogram();
            sum += (step / power) * scale;
            histogram.sum = sum;
            samples.add(i * 1000, histogram, 'float');
          }
          expect(describeSamples(decodeAll(chunksOf(samples)))).toEqual(describeSamples(samples));
        },
      ),
      { numRuns: 200 },
    );
    const samples = latency(480, 1, 3);
    let sum = 0;
    for (const [i, histogram] of samples.histograms.entries())
      histogram.sum = sum += ((i * 7919) % 10_007) / 1e6;
    expect(chunksOf(samples)[0]!.length / samples.count).toBeLessThan(4);
  });

  test('a latency histogram of 40 buckets', () => {
    const samples = latency(480, 40, 1);
    const chunks = chunksOf(samples);
    // Counts of a few bits each, and sums of 17 digits: 4 bytes of a sample are the sum's.
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    expect(bytes / samples.count).toBeLessThan(24);
    expect(describeSamples(decodeAll(chunks))).toEqual(describeSamples(samples));
  });
});

describe('mutated bytes', () => {
  test('are an AppError or histograms', () => {
    const seeds = fc.sample(series, { numRuns: 30, seed: 3 }).flatMap(chunksOf);
    seeds.push(...chunksOf(latency(40, 12, 5)));
    fc.assert(
      fc.property(
        fc.constantFrom(...seeds),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(2000),
        (seed, edits, cut) => {
          const bytes = seed.slice(0, cut < 1500 ? seed.length : cut % (seed.length + 1));
          for (const [at, value] of edits) if (bytes.length > 0) bytes[at % bytes.length] = value;
          const samples = new HistogramSamples();
          try {
            decodeHistogramChunk(bytes, 0, bytes.length, samples);
          } catch (caught) {
            expect(caught).toBeInstanceOf(AppError);
            expect(samples.count).toBe(0);
            return;
          }
          expect(samples.count).toBeGreaterThan(0);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

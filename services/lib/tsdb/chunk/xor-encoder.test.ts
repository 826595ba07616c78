import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteWriter } from '../../core/bytes.ts';
import { AppError } from '../../core/errors.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { decodeXorChunk } from './xor-decoder.ts';
import { encodeXorChunk } from './xor-encoder.ts';

/** Bit patterns as [high, low]: arbitrary ones, and those that go wrong most easily. */
const pattern = fc.oneof(
  fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff)),
  fc.constantFrom<[number, number]>(
    [0x7ff00000, 2],
    [0x7ff80000, 1],
    [0xfff80000, 0xdeadbeef],
    [0x7ff00000, 0],
    [0xfff00000, 0],
    [0x80000000, 0],
    [0, 0],
    [0, 1],
    [0x3ff00000, 0],
  ),
  fc.integer({ min: -1000, max: 1000 }).map((value): [number, number] => {
    const words = wordsOf(new Float64Array([value / 8]));
    return [words[1]!, words[0]!];
  }),
);

const step = fc.oneof(
  fc.constant(15_000),
  fc.integer({ min: 1, max: 40_000 }),
  fc.constantFrom(1, 8192 + 15_000, 15_000 - 8191, 15_000 + 65_536, 15_000 + 524_288, 15_000 + 524_289),
  fc.integer({ min: 1, max: 2 ** 45 }),
);

const series = fc.record({
  startMs: fc.oneof(
    fc.integer({ min: -(2 ** 53) + 1, max: 2 ** 52 }),
    fc.constantFrom(0, -1, -64, 63, 64, 1_700_000_000_000),
  ),
  samples: fc.array(fc.tuple(step, pattern), { minLength: 0, maxLength: 200 }),
});

function columnsOf({
  startMs,
  samples,
}: typeof series extends fc.Arbitrary<infer T> ? T : never): SampleColumns {
  const columns = new SampleColumns(Math.max(1, samples.length));
  const words = wordsOf(columns.values);
  let timeMs = startMs;
  for (const [stepMs, [high, low]] of samples) {
    if (!Number.isSafeInteger(timeMs)) break;
    columns.timestampsMs[columns.count] = timeMs;
    words[2 * columns.count] = low;
    words[2 * columns.count + 1] = high;
    columns.count++;
    timeMs += stepMs;
  }
  return columns;
}

function bitsOf(columns: SampleColumns): { times: number[]; words: number[] } {
  return {
    times: Array.from(columns.timestampsMs.subarray(0, columns.count)),
    words: Array.from(wordsOf(columns.values).subarray(0, columns.count * 2)),
  };
}

test('writes the golden bytes of the format document', () => {
  const columns = new SampleColumns(5);
  columns.timestampsMs.set([1000, 1015, 1030, 1045, 1070]);
  columns.values.set([1, 1, 2, 2.5]);
  wordsOf(columns.values).set([2, 0x7ff00000], 8);
  const dst = new ByteWriter(1);
  dst.u8(0xee);
  encodeXorChunk(columns.timestampsMs, columns.values, 0, 5, dst);
  expect(Buffer.from(dst.take()).toString('hex')).toBe(
    'ee0005d00f3ff00000000000000f3097ffdb41c00562f7ff40000000000020',
  );
});

test('writes what Prometheus writes', () => {
  // `promtool tsdb create-blocks-from openmetrics` of the same samples, NaN as Go parses it.
  const values = new Float64Array([
    1,
    1,
    2,
    2.5,
    -0,
    0,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    1e308,
    5e-324,
    314_159 / 100_000,
    100,
    101,
    102,
  ]);
  wordsOf(values).set([1, 0x7ff80000], 10);
  const steps = [15000, 15000, 15001, 14999, 23192, 15000, 60000, 15000, 600000, 1, 1, 3000000, 1000];
  const times = new Float64Array(values.length);
  times[0] = 1_700_000_000_000;
  steps.forEach((stepMs, i) => {
    times[i + 1] = times[i]! + stepMs;
  });
  const dst = new ByteWriter();
  encodeXorChunk(times, values, 0, values.length, dst);
  expect(Buffer.from(dst.take()).toString('hex')).toBe(
    '000e80a0abfef9623ff000000000000098753097ffe0007683bffec07600384003800fff8000000000001de000800200000000000072bf228000000000000000d5038a004733ce17af2283c000000000023b4a27fe1ccf385ebc8a1ffffffffffff6d8419002487e7c06e19bd002810fcf80dc3377800000000016e35fc0000800000000001fffffffffffa47a51000060000000000000',
  );
});

test('every series comes back bit for bit', () => {
  fc.assert(
    fc.property(series, fc.nat(30), (given, slack) => {
      const columns = columnsOf(given);
      const dst = new ByteWriter(16);
      encodeXorChunk(columns.timestampsMs, columns.values, 0, columns.count, dst);
      const end = dst.length;
      for (let i = 0; i < slack; i++) dst.u8(0xff);
      const back = new SampleColumns(1);
      decodeXorChunk(dst.take(), 0, end, back);
      expect(bitsOf(back)).toEqual(bitsOf(columns));
    }),
    { numRuns: 500 },
  );
});

test('mutated bytes give an error or some samples, never a hang or another error', () => {
  fc.assert(
    fc.property(
      series,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (given, edits) => {
        const columns = columnsOf(given);
        const dst = new ByteWriter(16);
        encodeXorChunk(columns.timestampsMs, columns.values, 0, columns.count, dst);
        const bytes = dst.take();
        for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
        const back = new SampleColumns(1);
        try {
          decodeXorChunk(bytes, 0, bytes.length, back);
        } catch (caught) {
          expect(caught).toBeInstanceOf(AppError);
          expect(back.count).toBe(0);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test('time that does not go on is a fault of the caller', () => {
  const times = new Float64Array([5, 5]);
  expect(() => encodeXorChunk(times, new Float64Array(2), 0, 2, new ByteWriter())).toThrow(/not after/);
});

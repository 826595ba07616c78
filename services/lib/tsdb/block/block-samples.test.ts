// Samples through the whole way: encoded, in a block, out of it, decoded, with the same bits.
import path from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { buildBlock, type TestSeries, temporaryFolder } from '../../../../test/support/blocks.ts';
import { ByteWriter } from '../../core/bytes.ts';
import { Labels } from '../../model/labels.ts';
import { SampleColumns, wordsOf } from '../../model/sample-columns.ts';
import { ChunkEncoder } from '../chunk/chunk-encoder.ts';
import { decodeChunk } from '../chunk/decode-chunk.ts';
import { BlockReader } from './block-reader.ts';
import { PageCache } from './page-cache.ts';

/** Any 64 bits, often those that are easily lost. */
const valueBits = fc.oneof(
  fc.constantFrom<[number, number]>(
    [2, 0x7ff00000], // staleness marker
    [2, 0x7ff80000],
    [0, 0x7ff80000],
    [1, 0xfff00000],
    [0xffffffff, 0x7fffffff],
    [0, 0x7ff00000],
    [0, 0xfff00000],
    [0, 0x80000000],
    [0, 0],
    [1, 0],
  ),
  fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff)),
  fc.double().map((value): [number, number] => {
    const words = new Uint32Array(Float64Array.of(value).buffer);
    return [words[0]!, words[1]!];
  }),
);
const samples = fc.array(fc.tuple(valueBits, fc.integer({ min: 1, max: 100_000 })), {
  minLength: 1,
  maxLength: 50,
});

function toColumns(rows: readonly [[number, number], number][]): { times: Float64Array; words: Uint32Array } {
  const times = new Float64Array(rows.length);
  const words = new Uint32Array(rows.length * 2);
  let timeMs = 1_700_000_000_000;
  rows.forEach(([[low, high], stepMs], i) => {
    timeMs += stepMs;
    times[i] = timeMs;
    words[2 * i] = low;
    words[2 * i + 1] = high;
  });
  return { times, words };
}

test('every bit of every value comes back', async () => {
  const encoder = new ChunkEncoder(50);
  await fc.assert(
    fc.asyncProperty(fc.array(samples, { minLength: 1, maxLength: 6 }), async (all) => {
      await using folder = await temporaryFolder();
      const columns = all.map(toColumns);
      const series = columns.map(({ times, words }, i): TestSeries => {
        const chunk = new ByteWriter();
        const values = new Float64Array(words.buffer);
        const encoding = encoder.encode(times, values, 0, times.length, chunk);
        const bytes = chunk.take();
        const [minTimeMs, maxTimeMs] = [times[0]!, times[times.length - 1]!];
        return {
          labels: Labels.from([['series', String(i)]]),
          partition: 0,
          chunks: [{ encoding, minTimeMs, maxTimeMs, samples: times.length, bytes }],
        };
      });
      await buildBlock(path.join(folder.path, 'b'), series);
      const reader = await BlockReader.open(path.join(folder.path, 'b'), {
        cache: new PageCache({ bytesMax: 1 }),
      });
      let index = -1;
      await reader.select(
        { matchers: [], minTimeMs: 0, maxTimeMs: Number.MAX_SAFE_INTEGER },
        {
          beginSeries: () => {
            index++;
          },
          chunk: (encoding, _min, _max, bytes, start, end) => {
            const into = new SampleColumns();
            decodeChunk(encoding, bytes, start, end, into);
            const { times, words } = columns[index]!;
            expect(into.timestampsMs.subarray(0, into.count)).toEqual(times);
            expect(Array.from(wordsOf(into.values).subarray(0, 2 * into.count))).toEqual(Array.from(words));
          },
        },
      );
      expect(index).toBe(all.length - 1);
      await reader.close();
    }),
    { numRuns: 100 },
  );
});

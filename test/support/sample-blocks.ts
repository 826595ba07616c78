// Blocks of real samples for tests, and all that a block holds as plain text that can be compared: bits, not numbers.
import path from 'node:path';
import fc from 'fast-check';
import { onTestFinished } from 'vitest';
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { CHUNK_XOR } from '../../services/lib/model/chunk-sink.ts';
import { decodeLabels, Labels } from '../../services/lib/model/labels.ts';
import { SampleColumns, wordsOf } from '../../services/lib/model/sample-columns.ts';
import { BlockReader } from '../../services/lib/tsdb/block/block-reader.ts';
import type { BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';
import { PageCache } from '../../services/lib/tsdb/block/page-cache.ts';
import { ChunkEncoder } from '../../services/lib/tsdb/chunk/chunk-encoder.ts';
import { decodeChunk } from '../../services/lib/tsdb/chunk/decode-chunk.ts';
import { encodeXorChunk } from '../../services/lib/tsdb/chunk/xor-encoder.ts';
import { buildBlock, type TestChunk, type TestSeries, temporaryFolder } from './blocks.ts';

/** A sample: time in Unix ms, low and high word of the value. */
export type TestSample = readonly [timeMs: number, low: number, high: number];

/** Any 64 bits, often those that are easily lost. */
export const valueWords: fc.Arbitrary<[number, number]> = fc.oneof(
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
  fc.integer({ min: -1000, max: 1000 }).map((value): [number, number] => {
    const words = wordsOf(Float64Array.of(value / 8));
    return [words[0]!, words[1]!];
  }),
);

/** One chunk of samples that ascend strictly, XOR or as sealing would have it. */
export function chunkOf(samples: readonly TestSample[], isXor = false): TestChunk {
  const times = Float64Array.from(samples, ([timeMs]) => timeMs);
  const values = new Float64Array(samples.length);
  const words = wordsOf(values);
  samples.forEach(([, low, high], i) => {
    words[2 * i] = low;
    words[2 * i + 1] = high;
  });
  const bytes = new ByteWriter();
  const count = samples.length;
  let encoding: number = CHUNK_XOR;
  if (isXor) encodeXorChunk(times, values, 0, count, bytes);
  else encoding = new ChunkEncoder(count).encode(times, values, 0, count, bytes);
  return {
    encoding,
    minTimeMs: times[0]!,
    maxTimeMs: times[count - 1]!,
    samples: count,
    bytes: bytes.take(),
  };
}

/** Samples of a series cut into chunks of `chunkSamples`. */
export function seriesOf(labels: Labels, samples: readonly TestSample[], chunkSamples = 120): TestSeries {
  const chunks: TestChunk[] = [];
  for (let at = 0; at < samples.length; at += chunkSamples) {
    chunks.push(chunkOf(samples.slice(at, at + chunkSamples), (at / chunkSamples) % 2 === 1));
  }
  return { labels, partition: labels.toString().length % 7, chunks };
}

/** Builds a block in `root/name` and opens it. */
export async function openBuilt(
  root: string,
  name: string,
  series: Iterable<TestSeries>,
): Promise<BlockReader> {
  const dir = path.join(root, name);
  await buildBlock(dir, series);
  return openBlock(dir);
}

export function openBlock(dir: string): Promise<BlockReader> {
  return BlockReader.open(dir, { cache: new PageCache({ bytesMax: 1 << 20 }) });
}

/** What is the same value for a sample, as text. */
export function sampleText(low: number, high: number): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

/** Series → time → value bits, of the samples that a select of everything hands over. */
export async function contentOf(reader: BlockReader): Promise<Map<string, Map<number, string>>> {
  const content = new Map<string, Map<number, string>>();
  let current = new Map<number, string>();
  const columns = new SampleColumns();
  await reader.select(
    { matchers: [], minTimeMs: Number.MIN_SAFE_INTEGER, maxTimeMs: Number.MAX_SAFE_INTEGER },
    {
      beginSeries: (bytes, start, end) => {
        current = new Map();
        content.set(decodeLabels(bytes, start, end).toString(), current);
      },
      chunk: (encoding, _min, _max, bytes, start, end) => {
        columns.count = 0;
        decodeChunk(encoding, bytes, start, end, columns);
        const words = wordsOf(columns.values);
        for (let i = 0; i < columns.count; i++) {
          addSample(current, columns.timestampsMs[i]!, words[2 * i]!, words[2 * i + 1]!);
        }
      },
    },
  );
  return content;
}

/** The union's rule: of different values at one time the greatest bit pattern stays. */
export function addSample(into: Map<number, string>, timeMs: number, low: number, high: number): void {
  const text = sampleText(low, high);
  const known = into.get(timeMs);
  if (known === undefined || text > known) into.set(timeMs, text);
}

/** A block of a series `up` for each job, all of one partition; it goes with the test. */
export async function blockOfJobs(
  jobs: readonly string[],
  partition: number,
  chunkSamples: number,
  pointsOf: (job: string) => readonly TestSample[],
): Promise<BuiltBlock> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const series = jobs.map((job) => {
    const labels = Labels.from([
      ['__name__', 'up'],
      ['job', job],
      ['partition', `${partition}`],
    ]);
    return { ...seriesOf(labels, pointsOf(job), chunkSamples), partition };
  });
  return buildBlock(path.join(folder.path, 'built'), series);
}

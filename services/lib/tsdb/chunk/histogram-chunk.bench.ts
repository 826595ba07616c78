// Bytes per histogram sample and CPU of the histogram codecs: two hours at 15 s of latency histograms as clients make them, growth
// factor about 1.09 (schema 3), from an idle endpoint to a busy one. Run: node services/lib/tsdb/chunk/histogram-chunk.bench.ts
import { zstdCompressSync } from 'node:zlib';
import { ByteWriter } from '../../core/bytes.ts';
import { FloatHistogram } from '../../model/float-histogram.ts';
import { decodeHistogram, encodeHistogram } from '../../model/histogram-codec.ts';
import { decodeHistogramChunk } from './histogram-chunk-decoder.ts';
import { HistogramChunkEncoder } from './histogram-chunk-encoder.ts';
import { HistogramSamples } from './histogram-samples.ts';

const SAMPLES = 480;
const ROUNDS = 20;
const SCHEMA = 3;
let state = 1;

/** Uniform in [0, 1), the same in every run. */
function random(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return state / 2 ** 32;
}

/** Log-normal around 20 ms, as latencies are; whole microseconds, as clocks tell them. */
function latencySeconds(): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.round(0.02 * Math.exp(0.6 * normal) * 1e6) / 1e6;
}

/** Two hours of scrapes with `perScrape` observations between two of them. */
function series(perScrape: number): HistogramSamples {
  const samples = new HistogramSamples();
  const counts = new Map<number, number>();
  let sum = 0;
  let count = 0;
  for (let i = 0; i < SAMPLES; i++) {
    for (let o = 0; o < perScrape; o++) {
      const seconds = latencySeconds();
      const index = Math.ceil(Math.log2(seconds) * 2 ** SCHEMA);
      counts.set(index, (counts.get(index) ?? 0) + 1);
      sum += seconds;
      count++;
    }
    const histogram = new FloatHistogram();
    histogram.schema = SCHEMA;
    histogram.zeroThreshold = 2 ** -128;
    histogram.sum = sum;
    histogram.count = count;
    const indexes = [...counts.keys()].sort((a, b) => a - b);
    histogram.positive = { indexes, counts: indexes.map((index) => counts.get(index)!) };
    samples.add(1_700_000_000_000 + i * 15_000, histogram, 'integer');
  }
  return samples;
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Nanoseconds of CPU per histogram. */
function timed(work: () => void): number {
  work();
  const startedMs = cpuMs();
  for (let round = 0; round < ROUNDS; round++) work();
  return Math.round(((cpuMs() - startedMs) * 1e6) / (ROUNDS * SAMPLES));
}

for (const perScrape of [1, 10, 100, 1000]) {
  const samples = series(perScrape);
  const single = new ByteWriter(1024);
  const encoder = new HistogramChunkEncoder(960);
  const chunk = new ByteWriter(1024);
  const encodeOnes = timed(() => {
    single.reset();
    for (const histogram of samples.histograms) encodeHistogram(histogram, 'integer', single);
  });
  const encodeChunks = timed(() => {
    chunk.reset();
    for (let from = 0; from < samples.count; ) from = encoder.encode(samples, from, chunk);
  });
  const into = new HistogramSamples();
  const decodeChunks = timed(() => {
    into.clear();
    decodeHistogramChunk(chunk.bytes, 0, chunk.length, into);
  });
  const last = new ByteWriter(256);
  encodeHistogram(samples.histograms[SAMPLES - 1]!, 'integer', last);
  const decodeOnes = timed(() => {
    for (let i = 0; i < SAMPLES; i++) decodeHistogram(last.bytes, 0, last.length);
  });
  const bare = new HistogramSamples();
  for (const [i, { sum }] of samples.histograms.entries()) {
    const histogram = new FloatHistogram();
    histogram.sum = sum;
    bare.add(samples.timestampsMs[i]!, histogram, 'integer');
  }
  const sums = new ByteWriter(1024);
  encoder.encode(bare, 0, sums);
  const perSample = (bytes: number) => Number((bytes / SAMPLES).toFixed(2));
  console.log(
    JSON.stringify({
      observations_per_scrape: perScrape,
      buckets: samples.histograms[SAMPLES - 1]!.positive.indexes.length,
      single_bytes_per_sample: perSample(single.length),
      chunk_bytes_per_sample: perSample(chunk.length),
      of_that_sums: perSample(sums.length),
      zstd_bytes_per_sample: perSample(zstdCompressSync(chunk.bytes.subarray(0, chunk.length)).length),
      encode_single_ns: encodeOnes,
      decode_single_ns: decodeOnes,
      encode_chunk_ns: encodeChunks,
      decode_chunk_ns: decodeChunks,
    }),
  );
}

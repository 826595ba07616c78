// Select, and select with decoding, over one block of many series. Run: node services/lib/tsdb/block/block-select.bench.ts
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { bench, do_not_optimize, run } from 'mitata';
import { ByteWriter } from '../../core/bytes.ts';
import type { ChunkSink } from '../../model/chunk-sink.ts';
import { encodeLabels, Labels } from '../../model/labels.ts';
import type { Matcher } from '../../model/matcher.ts';
import { SampleColumns } from '../../model/sample-columns.ts';
import { ChunkEncoder } from '../chunk/chunk-encoder.ts';
import { decodeChunk } from '../chunk/decode-chunk.ts';
import { BlockReader } from './block-reader.ts';
import { BlockBuilder } from './block-writer.ts';
import { PageCache } from './page-cache.ts';

const SERIES = Number(process.env.BENCH_SERIES ?? 50_000);
const SAMPLES = 480;
const START_MS = 1_700_000_000_000;

/** Two hours of counters and gauges at 15 s: 100 metrics, each from the same instances. */
async function buildBlock(dir: string): Promise<void> {
  const builder = new BlockBuilder({ tenant: 'bench', dir });
  const columns = new SampleColumns(SAMPLES);
  const labels = new ByteWriter();
  const chunk = new ByteWriter();
  const encoder = new ChunkEncoder(SAMPLES);
  for (let i = 0; i < SERIES; i++) {
    for (let k = 0; k < SAMPLES; k++) {
      columns.timestampsMs[k] = START_MS + k * 15_000;
      columns.values[k] = i % 3 === 0 ? i : k * (i % 17) + ((k * i) % 5);
    }
    labels.reset();
    const instance = `10.0.${Math.floor(i / 100) >> 8}.${Math.floor(i / 100) & 255}:9100`;
    encodeLabels(
      Labels.from([
        ['__name__', `node_metric_${i % 100}_total`],
        ['cluster', 'bench'],
        ['instance', instance],
        ['job', 'node_exporter'],
      ]),
      labels,
    );
    chunk.reset();
    const encoding = encoder.encode(columns.timestampsMs, columns.values, 0, SAMPLES, chunk);
    builder.addSeries(labels.bytes, 0, labels.length, i % 64);
    builder.addChunk(
      encoding,
      START_MS,
      START_MS + (SAMPLES - 1) * 15_000,
      SAMPLES,
      chunk.bytes,
      0,
      chunk.length,
    );
  }
  await builder.finish();
}

const folder = await mkdtemp(path.join(tmpdir(), 'tidemark-bench-'));
await buildBlock(path.join(folder, 'b'));
const reader = await BlockReader.open(path.join(folder, 'b'), {
  cache: new PageCache({ bytesMax: 64 << 20 }),
});

class CountingSink implements ChunkSink {
  bytes = 0;
  beginSeries(): void {}
  chunk(_encoding: number, _min: number, _max: number, _bytes: Uint8Array, start: number, end: number): void {
    this.bytes += end - start;
  }
}

class DecodingSink implements ChunkSink {
  readonly columns = new SampleColumns(SAMPLES);
  samples = 0;
  beginSeries(): void {
    this.columns.count = 0;
  }
  chunk(encoding: number, _min: number, _max: number, bytes: Uint8Array, start: number, end: number): void {
    this.columns.count = 0;
    decodeChunk(encoding, bytes, start, end, this.columns);
    this.samples += this.columns.count;
  }
}

const range = { minTimeMs: START_MS, maxTimeMs: START_MS + 7_200_000 };
const selectors: Readonly<Record<string, Matcher[]>> = {
  'one series': [
    { name: '__name__', operator: '=', value: 'node_metric_7_total' },
    { name: 'instance', operator: '=', value: '10.0.0.7:9100' },
  ],
  'one metric': [{ name: '__name__', operator: '=', value: 'node_metric_7_total' }],
  'one instance': [{ name: 'instance', operator: '=', value: '10.0.0.7:9100' }],
  'a regex': [{ name: '__name__', operator: '=~', value: 'node_.*[05]_total' }],
  everything: [{ name: 'job', operator: '=', value: 'node_exporter' }],
};

for (const [name, matchers] of Object.entries(selectors)) {
  bench(`select ${name}`, async () => {
    const sink = new CountingSink();
    await reader.select({ ...range, matchers }, sink);
    return do_not_optimize(sink.bytes);
  });
  bench(`select and decode ${name}`, async () => {
    const sink = new DecodingSink();
    await reader.select({ ...range, matchers }, sink);
    return do_not_optimize(sink.samples);
  });
}

await run();
await reader.close();
await rm(folder, { recursive: true, force: true });

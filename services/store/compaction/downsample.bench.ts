// What aggregates take on disk and to make: a file of ../shared/bench/gen.mjs as one block, as compaction makes it of two days, then
// its aggregates of five minutes and of an hour.
// usage: node services/store/compaction/downsample.bench.ts FILE
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { systemClock } from '../../lib/core/clock.ts';
import { systemDisk } from '../../lib/core/disk.ts';
import { compareLabelBytes } from '../../lib/model/label-bytes.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { BlockReader } from '../../lib/tsdb/block/block-reader.ts';
import { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import { SortedBlockWriter } from '../../lib/tsdb/block/sorted-block-writer.ts';
import { WorkPacer } from '../../lib/tsdb/block/work-pacer.ts';
import { SeriesChunker, SeriesSamples } from '../../lib/tsdb/chunk/series-samples.ts';
import { downsampleBlock } from '../../lib/tsdb/downsample/downsample-block.ts';
import {
  decompressSnappy,
  SNAPPY_SLACK_BYTES,
  snappyDecodedBytes,
} from '../../lib/wire/compression/snappy.ts';
import { RemoteWriteColumns } from '../../lib/wire/remote-write/remote-write-columns.ts';
import { RemoteWriteDecoder } from '../../lib/wire/remote-write/remote-write-decoder.ts';
import { bytesOf } from '../blocks/block-catalog.ts';

const BLOCK_CHUNK_SAMPLES = 960;

interface Series {
  readonly labels: Uint8Array;
  readonly samples: SeriesSamples;
}

function replay(file: string): Series[] {
  const series: Series[] = [];
  const resolver = {
    resolveBytes: (bytes: Uint8Array, start: number, end: number) =>
      series.push({ labels: bytes.slice(start, end), samples: new SeriesSamples() }),
  };
  const options = { cachedSeriesMax: 4_000_000, cachedMetricsMax: 1000, hashSeed: 1, metadataResendMs: 1e6 };
  const decoder = new RemoteWriteDecoder(options, { resolver });
  const columns = new RemoteWriteColumns();
  const bytes = readFileSync(file);
  for (let at = 0; at < bytes.length; ) {
    const body = bytes.subarray(at + 4, at + 4 + bytes.readUInt32LE(at));
    at += 4 + body.length;
    const decoded = new Uint8Array(snappyDecodedBytes(body) + SNAPPY_SLACK_BYTES);
    decoder.decode(1, decoded, decompressSnappy(body, decoded), columns, systemClock.nowMs());
    for (let i = 0; i < columns.count; i++) {
      const { floats } = series[columns.references[i]! - 1]!.samples;
      floats.reserve(floats.count + 1);
      floats.timestampsMs[floats.count] = columns.timestampsMs[i]!;
      floats.values.set(columns.values.subarray(i, i + 1), floats.count++);
    }
  }
  return series.sort((a, b) => compareLabelBytes(a.labels, 0, a.labels.length, b.labels, 0, b.labels.length));
}

async function writeBlock(series: readonly Series[], dir: string): Promise<void> {
  const minTimeMs = series.reduce(
    (least, { samples }) => Math.min(least, samples.timeBounds()!.minTimeMs),
    Infinity,
  );
  const options = { tenant: 'bench', level: 3, sources: ['0'.repeat(32)], hashSeed: 1, resolutionMs: 0 };
  const writer = await SortedBlockWriter.create({ ...options, dir, minTimeMs }, systemDisk);
  const chunker = new SeriesChunker(BLOCK_CHUNK_SAMPLES);
  for (const { labels, samples } of series) {
    samples.settle();
    writer.beginSeries(labels, 0, labels.length, 0);
    chunker.emit(samples, (encoding, first, last, sampleCount, bytes, start, end) => {
      writer.addChunk({ encoding, minTimeMs: first, maxTimeMs: last, sampleCount, bytes, start, end });
    });
    await writer.settle();
  }
  await writer.finish(new WorkPacer());
}

function print(name: string, meta: BlockMeta, samples: number, cells: number, cpuMicros: number): void {
  const bytes = bytesOf(meta);
  const perCell = cells > 0 ? `, ${(bytes / cells).toFixed(2)} per cell` : '';
  const cpu = cpuMicros > 0 ? `, ${((cpuMicros * 1000) / samples).toFixed(0)} ns CPU per sample` : '';
  console.log(`${name}: ${bytes} bytes, ${(bytes / samples).toFixed(4)} per sample${perCell}${cpu}`);
}

const folder = await mkdtemp(path.join(tmpdir(), 'tidemark-bench-'));
try {
  const source = path.join(folder, 'source');
  await mkdir(source);
  await writeBlock(replay(process.argv[2]!), source);
  const reader = await BlockReader.open(source, { cache: new PageCache({ bytesMax: 1 << 20 }) });
  const { sampleCount, minTimeMs, maxTimeMs, seriesCount } = reader.meta;
  print('samples', reader.meta, sampleCount, 0, 0);
  for (const resolutionMs of [300_000, 3_600_000]) {
    const dir = path.join(folder, String(resolutionMs));
    await mkdir(dir);
    const before = process.cpuUsage();
    const meta = await downsampleBlock(
      reader,
      { dir, resolutionMs, hashSeed: 1 },
      { disk: systemDisk, pacer: new WorkPacer() },
    );
    const { user, system } = process.cpuUsage(before);
    const cells = seriesCount * Math.ceil((maxTimeMs - minTimeMs) / resolutionMs);
    print(`aggregates of ${resolutionMs / 60_000} min`, meta!, sampleCount, cells, user + system);
  }
  await reader.close();
} finally {
  await rm(folder, { recursive: true });
}

// Bytes per sample of a sealed block, index included, CPU nanoseconds per sample to seal and to read it, and whether every
// bit came back. Replays a file of ../shared/bench/gen.mjs whose --start-ms is a multiple of two hours, so that it is one range.
// usage: node services/ingester/sealing/seal.bench.ts FILE [rounds]
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { ChunkSink } from '../../lib/model/chunk-sink.ts';
import { SampleColumns, wordsOf } from '../../lib/model/sample-columns.ts';
import { BlockReader } from '../../lib/tsdb/block/block-reader.ts';
import { BlockBuilder, type BuiltBlock } from '../../lib/tsdb/block/block-writer.ts';
import { PageCache } from '../../lib/tsdb/block/page-cache.ts';
import { decodeChunk } from '../../lib/tsdb/chunk/decode-chunk.ts';
import { Head } from '../../lib/tsdb/head/head.ts';
import { sealRange } from '../../lib/tsdb/head/head-seal.ts';
import type { RangeChunks } from '../../lib/tsdb/head/range-chunks.ts';
import {
  decompressSnappy,
  SNAPPY_SLACK_BYTES,
  snappyDecodedBytes,
} from '../../lib/wire/compression/snappy.ts';
import { RemoteWriteColumns } from '../../lib/wire/remote-write/remote-write-columns.ts';
import { RemoteWriteDecoder } from '../../lib/wire/remote-write/remote-write-decoder.ts';

const RANGE_MS = 7_200_000;

function replay(file: string, head: Head): void {
  const bytes = readFileSync(file);
  const resolver = {
    resolveBytes: (label: Uint8Array, start: number, end: number) => head.define(label, start, end, 0) + 1,
  };
  const options = { cachedSeriesMax: 4_000_000, cachedMetricsMax: 1000, hashSeed: 1, metadataResendMs: 1e6 };
  const decoder = new RemoteWriteDecoder(options, { resolver });
  const columns = new RemoteWriteColumns();
  let scratch = new Uint8Array(0);
  for (let at = 0; at < bytes.length; ) {
    const body = bytes.subarray(at + 4, at + 4 + bytes.readUInt32LE(at));
    at += 4 + body.length;
    const room = snappyDecodedBytes(body) + SNAPPY_SLACK_BYTES;
    if (scratch.length < room) scratch = new Uint8Array(room * 2);
    decoder.decode(1, scratch, decompressSnappy(body, scratch), columns, systemClock.nowMs());
    const ids = columns.references.subarray(0, columns.count).map((reference) => reference - 1);
    head.appendSamples(ids, columns.timestampsMs, columns.values, 0, columns.count, 1);
  }
}

/** Digest of each series' samples by its label bytes. */
type Digests = Map<string, string>;

function putDigest(digests: Digests, labels: string, { timestampsMs, values, count }: SampleColumns): void {
  const hash = createHash('sha1').update(new Uint8Array(timestampsMs.buffer, 0, count * 8));
  digests.set(labels, hash.update(wordsOf(values).subarray(0, count * 2)).digest('base64'));
}

function digestRange(head: Head, range: RangeChunks): Digests {
  const digests: Digests = new Map();
  const columns = new SampleColumns();
  const labels = new ByteWriter();
  for (const id of range.seriesIds()) {
    labels.reset();
    head.index.writeLabels(id, labels);
    range.readSeries(id, columns);
    putDigest(digests, Buffer.from(labels.bytes.subarray(0, labels.length)).toString('latin1'), columns);
  }
  return digests;
}

/** Decodes all; keeps digests when asked to. */
class ReadingSink implements ChunkSink {
  readonly digests: Digests | undefined;
  readonly #columns = new SampleColumns();
  #labels: string | undefined;
  samples = 0;

  constructor(digests?: Digests) {
    this.digests = digests;
  }

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    this.finish();
    this.#columns.count = 0;
    if (this.digests !== undefined) this.#labels = Buffer.from(bytes.subarray(start, end)).toString('latin1');
  }

  chunk(encoding: number, _min: number, _max: number, bytes: Uint8Array, start: number, end: number): void {
    const before = this.#columns.count;
    decodeChunk(encoding, bytes, start, end, this.#columns);
    this.samples += this.#columns.count - before;
  }

  finish(): void {
    if (this.digests !== undefined && this.#labels !== undefined) {
      putDigest(this.digests, this.#labels, this.#columns);
    }
  }
}

async function seal(head: Head, range: RangeChunks, dir: string): Promise<BuiltBlock> {
  const builder = new BlockBuilder({ tenant: 'bench', dir });
  for (const _ of sealRange(head, range, systemClock, builder)) {
    // Alone in the process: nobody waits for a turn.
  }
  return await builder.finish();
}

async function read(dir: string, sink: ReadingSink): Promise<void> {
  const reader = await BlockReader.open(dir, { cache: new PageCache({ bytesMax: 64 << 20 }) });
  await reader.select({ matchers: [], minTimeMs: 0, maxTimeMs: Number.MAX_SAFE_INTEGER }, sink);
  sink.finish();
  await reader.close();
}

/** CPU nanoseconds of this process: other load does not count. */
async function measureCpuNs<T>(work: () => Promise<T>): Promise<[T, number]> {
  const before = process.cpuUsage();
  const result = await work();
  const { user, system } = process.cpuUsage(before);
  return [result, (user + system) * 1000];
}

const [file, rounds = '6'] = process.argv.slice(2);
if (file === undefined) throw new AppError('bad_data', 'usage: seal.bench.ts FILE [rounds]');
const head = new Head({ rangeMs: RANGE_MS, chunkSamplesTarget: 120, hashSeed: 1 });
replay(file, head);
const [startMs] = head.closedRangeStarts(Number.MAX_SAFE_INTEGER);
const range = head.freeze(startMs!, 1)!;
const expected = digestRange(head, range);
const folder = await mkdtemp(path.join(tmpdir(), 'tidemark-bench-'));
for (let round = 0; round < Number(rounds); round++) {
  const dir = path.join(folder, String(round));
  const [{ meta }, sealNs] = await measureCpuNs(() => seal(head, range, dir));
  const sink = new ReadingSink();
  const [, readNs] = await measureCpuNs(() => read(dir, sink));
  const { sampleCount } = meta;
  const perSample = (amount: number, digits: number) => Number((amount / sampleCount).toFixed(digits));
  console.log(
    JSON.stringify({
      blockId: meta.blockId,
      series: meta.seriesCount,
      chunks: meta.chunkCount,
      samples: sampleCount,
      bytes_per_sample: perSample(meta.files.index.sizeBytes + meta.files.chunks.sizeBytes, 4),
      index_bytes_per_sample: perSample(meta.files.index.sizeBytes, 4),
      seal_cpu_ns_per_sample: perSample(sealNs, 1),
      read_cpu_ns_per_sample: perSample(readNs, 1),
    }),
  );
}
const digests: Digests = new Map();
await read(path.join(folder, '0'), new ReadingSink(digests));
const differing = [...expected].filter(([labels, digest]) => digests.get(labels) !== digest).length;
console.log(JSON.stringify({ series_read: digests.size, series_that_differ: differing }));
await rm(folder, { recursive: true });
if (differing > 0 || digests.size !== expected.size) process.exitCode = 1;

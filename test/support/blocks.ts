// Blocks for tests: built from label sets and raw chunks in a folder of their own.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import type { ChunkSink } from '../../services/lib/model/chunk-sink.ts';
import { decodeLabels, encodeLabels, type Labels } from '../../services/lib/model/labels.ts';
import { BlockBuilder, type BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';

export interface TestChunk {
  readonly encoding: number;
  readonly minTimeMs: number;
  readonly maxTimeMs: number;
  readonly samples: number;
  readonly bytes: Uint8Array;
}

export interface TestSeries {
  readonly labels: Labels;
  readonly partition: number;
  readonly chunks: readonly TestChunk[];
}

/** A folder that is removed when the scope ends: `await using folder = await temporaryFolder()`. */
export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tidemark-test-'));
  return {
    path: folder,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

export async function buildBlock(
  dir: string,
  series: Iterable<TestSeries>,
  tenant = 'anonymous',
): Promise<BuiltBlock> {
  const builder = new BlockBuilder({ tenant, dir });
  const labelBytes = new ByteWriter();
  for (const { labels, partition, chunks } of series) {
    labelBytes.reset();
    encodeLabels(labels, labelBytes);
    builder.addSeries(labelBytes.bytes, 0, labelBytes.length, partition);
    for (const { encoding, minTimeMs, maxTimeMs, samples, bytes } of chunks) {
      builder.addChunk(encoding, minTimeMs, maxTimeMs, samples, bytes, 0, bytes.length);
    }
  }
  return builder.finish();
}

/** A sink that keeps copies. */
export class CollectingSink implements ChunkSink {
  readonly series: { labels: Labels; chunks: Omit<TestChunk, 'samples'>[] }[] = [];

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    this.series.push({ labels: decodeLabels(bytes, start, end), chunks: [] });
  }

  chunk(
    encoding: number,
    minTimeMs: number,
    maxTimeMs: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.series.at(-1)!.chunks.push({ encoding, minTimeMs, maxTimeMs, bytes: bytes.slice(start, end) });
  }
}

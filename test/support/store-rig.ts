// A store on real folders for tests of what it does to its blocks: real time for its loops, a clock hand for ages.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { Registry } from 'prom-client';
import { type Clock, systemClock } from '../../services/lib/core/clock.ts';
import type { Disk } from '../../services/lib/core/disk.ts';
import { decodeLabels } from '../../services/lib/model/labels.ts';
import { SampleColumns, wordsOf } from '../../services/lib/model/sample-columns.ts';
import type { ObjectStore } from '../../services/lib/objstore/object-store.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Client } from '../../services/lib/transport/rpc.ts';
import { readBlockPieces } from '../../services/lib/tsdb/block/block-pieces.ts';
import type { BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';
import { decodeChunk } from '../../services/lib/tsdb/chunk/decode-chunk.ts';
import {
  type PutBlockRequest,
  StoreDefinition,
  type WireMatcher,
  type WireSelectRequest,
} from '../../services/lib/wire/contracts.ts';
import { readSeriesFrame } from '../../services/lib/wire/frames/series-frame.ts';
import type { StoreOptions } from '../../services/store/options.ts';
import { createStore, type Store } from '../../services/store/service.ts';
import { addSample } from './sample-blocks.ts';

/** Wall-clock time is what the test says; sleeping is real. */
export class HandClock implements Clock {
  wallMs: number;

  constructor(wallMs: number) {
    this.wallMs = wallMs;
  }

  nowMs = () => this.wallMs;
  monotonicMs = () => systemClock.monotonicMs();
  sleep = (ms: number, signal?: AbortSignal) => systemClock.sleep(ms, signal);
}

export interface StoreRig {
  readonly store: Store;
  readonly client: Client<typeof StoreDefinition>;
  readonly registry: Registry;
}

const signal = new AbortController().signal;

/** Loops turn quickly; merging is off unless the options name ranges. */
export async function startStoreRig(
  dataDir: string,
  clock: Clock,
  options: Partial<StoreOptions> = {},
  disk?: Disk,
  objects?: ObjectStore,
): Promise<StoreRig> {
  mkdirSync(path.join(dataDir, 'blocks-transit'), { recursive: true });
  const registry = new Registry();
  const store = createStore(
    {
      dataDir,
      retentionMs: 0,
      retentionBytes: 0,
      compactionRangesMs: [],
      compactionCheckMs: 10,
      compactionSettleMs: 0,
      compactionShare: 1,
      ...options,
    },
    { clock, logger: createSilentLogger(), registry, ...(disk === undefined ? {} : { disk }), objects },
  );
  await store.start();
  return { store, registry, client: createInProcessClient(StoreDefinition, store.handlers) };
}

async function* messagesOf(block: BuiltBlock): AsyncGenerator<PutBlockRequest> {
  const files = block.files.map(({ name, sizeBytes, crc32 }) => ({ name, sizeBytes, crc32 }));
  const { tenant, blockId } = block.meta;
  yield { part: { $case: 'header', value: { tenant, blockId, files } } };
  for await (const piece of readBlockPieces(block.files)) yield { part: { $case: 'piece', value: piece } };
}

export function putBuilt({ client }: StoreRig, block: BuiltBlock): Promise<{ existed: boolean }> {
  return client.putBlock(messagesOf(block), { signal });
}

/** Series → time → value bits of what the store answers. */
export async function storedContent(
  { client }: StoreRig,
  matchers: readonly WireMatcher[],
  change: Partial<WireSelectRequest> = {},
): Promise<Map<string, Map<number, string>>> {
  const content = new Map<string, Map<number, string>>();
  const columns = new SampleColumns();
  let current = new Map<number, string>();
  const request: WireSelectRequest = {
    tenant: 'anonymous',
    matchers: [...matchers],
    minTimeMs: -1e15,
    maxTimeMs: 1e15,
    labelsOnly: false,
    partitions: [],
    seriesMax: 0,
    ...change,
  };
  for await (const { frame } of client.select(request, { signal })) {
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => {
        const key = decodeLabels(bytes, start, end).toString();
        current = content.get(key) ?? new Map<number, string>();
        content.set(key, current);
      },
      chunk: (encoding, _min, _max, bytes, start, end) => {
        columns.count = 0;
        decodeChunk(encoding, bytes, start, end, columns);
        const words = wordsOf(columns.values);
        for (let i = 0; i < columns.count; i++)
          addSample(current, columns.timestampsMs[i]!, words[2 * i]!, words[2 * i + 1]!);
      },
    });
  }
  return content;
}

export async function listedBlocks({ client }: StoreRig) {
  return (await client.listBlocks({ tenant: '' }, { signal })).blocks;
}

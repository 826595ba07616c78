// A store for tests of the process as a whole, through its contract: in-process client, real folders, a clock that the test moves.
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect } from 'vitest';
import type { Clock } from '../../services/lib/core/clock.ts';
import type { Disk } from '../../services/lib/core/disk.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Client } from '../../services/lib/transport/rpc.ts';
import { readBlockPieces } from '../../services/lib/tsdb/block/block-pieces.ts';
import type { BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';
import {
  type Coverage,
  type LabelsRequest,
  MatchType,
  type PutBlockRequest,
  StoreDefinition,
  type WireSelectRequest,
} from '../../services/lib/wire/contracts.ts';
import { readSeriesFrame } from '../../services/lib/wire/frames/series-frame.ts';
import type { StoreOptions } from '../../services/store/options.ts';
import { createStore, type Store } from '../../services/store/service.ts';
import { buildBlock, CollectingSink, type TestSeries, temporaryFolder } from './blocks.ts';
import { eventually } from './eventually.ts';

export const HOUR_MS = 3_600_000;
/** Never aborted. */
export const signal = new AbortController().signal;

/** A clock whose sleepers wake when `advance` moves past them. */
class TestClock implements Clock {
  #nowMs = 100 * HOUR_MS;
  #sleepers: { readonly untilMs: number; readonly wake: () => void }[] = [];
  nowMs = () => this.#nowMs;
  monotonicMs = () => this.#nowMs;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    return new Promise((resolve, reject) => {
      this.#sleepers.push({ untilMs: this.#nowMs + ms, wake: resolve });
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
  }

  /** Calls that wait for time to pass. */
  get sleeping(): number {
    return this.#sleepers.length;
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    const due = this.#sleepers.filter(({ untilMs }) => untilMs <= this.#nowMs);
    this.#sleepers = this.#sleepers.filter(({ untilMs }) => untilMs > this.#nowMs);
    for (const { wake } of due) wake();
  }
}

interface Running {
  readonly store: Store;
  readonly client: Client<typeof StoreDefinition>;
  readonly registry: Registry;
}

/** Stores on one folder and one clock, new for each test of the file, and stopped with it. */
export function useStoreWorld() {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let clock = new TestClock();
  let running: Running[] = [];

  beforeEach(async () => {
    folder = await temporaryFolder();
    clock = new TestClock();
  });

  afterEach(async () => {
    for (const { store } of running) await store.stop();
    running = [];
    await folder[Symbol.asyncDispose]();
  });

  /** Lets time pass once retention and compaction are asleep, so that it sees the new time. */
  async function passTime(ms: number): Promise<void> {
    await eventually(() => clock.sleeping).toBe(2);
    clock.advance(ms);
  }
  const dataDir = (...parts: string[]) => path.join(folder.path, 'data', ...parts);

  async function startStore(options: Partial<StoreOptions> = {}, disk?: Disk): Promise<Running> {
    const registry = new Registry();
    const logger = createSilentLogger();
    const store = createStore(
      { dataDir: dataDir(), retentionMs: 0, retentionBytes: 0, scrubPeriodMs: 0, ...options },
      { clock, logger, registry, ...(disk === undefined ? {} : { disk }) },
    );
    await mkdir(dataDir(), { recursive: true });
    await store.start();
    const one = { store, registry, client: createInProcessClient(StoreDefinition, store.handlers) };
    running.push(one);
    return one;
  }

  /** A block of `count` series, one chunk each, from `startMs` on, two hours long. */
  function twoHours(startMs: number, count = 4, tenant = 'anonymous'): Promise<BuiltBlock> {
    const series = Array.from(
      { length: count },
      (_, i): TestSeries => ({
        labels: Labels.from([
          ['__name__', 'up'],
          ['instance', `host-${i}`],
        ]),
        partition: i % 3,
        chunks: [
          {
            encoding: 1,
            minTimeMs: startMs,
            maxTimeMs: startMs + 2 * HOUR_MS - 15_000,
            samples: 480,
            bytes: createHash('sha512').update(`${startMs} ${i}`).digest(),
          },
        ],
      }),
    );
    return buildBlock(path.join(folder.path, `built-${tenant}-${startMs}-${count}`), series, tenant);
  }

  return {
    startStore,
    passTime,
    dataDir,
    twoHours,
    get folder() {
      return folder.path;
    },
    get clock() {
      return clock;
    },
    /** What is stopped with the test. */
    get running() {
      return running;
    },
  };
}

/** What a sender of the block sends, each message changed as told. */
export async function* putMessages(block: BuiltBlock, change?: (message: PutBlockRequest) => void) {
  const files = block.files.map(({ name, sizeBytes, crc32 }) => ({ name, sizeBytes, crc32 }));
  const { tenant, blockId } = block.meta;
  const header: PutBlockRequest = { part: { $case: 'header', value: { tenant, blockId, files } } };
  change?.(header);
  yield header;
  for await (const piece of readBlockPieces(block.files)) {
    const message: PutBlockRequest = { part: { $case: 'piece', value: piece } };
    change?.(message);
    yield message;
  }
}

/** Resolves to whether the store had it. */
export const put = ({ client }: Running, block: BuiltBlock) =>
  client.putBlock(putMessages(block), { signal });

/** All series of `twoHours` at any time. */
export const everything: WireSelectRequest = {
  tenant: 'anonymous',
  matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: '__name__', value: 'up' }],
  minTimeMs: 0,
  maxTimeMs: 1000 * HOUR_MS,
  labelsOnly: false,
  partitions: [],
  seriesMax: 0,
};

/** What a store answers, and what it says of its completeness. */
export async function select({ client }: Running, change: Partial<WireSelectRequest> = {}) {
  const sink = new CollectingSink();
  let coverage: Coverage | undefined;
  for await (const message of client.select({ ...everything, ...change }, { signal })) {
    expect(coverage).toBeUndefined();
    readSeriesFrame(message.frame, sink);
    coverage = message.coverage;
  }
  return { series: sink.series, coverage };
}

/** Label names, or values of one, over all blocks. */
export const labels = ({ client }: Running, change: Partial<LabelsRequest>) => {
  const all = { tenant: 'anonymous', matchers: [], minTimeMs: 0, maxTimeMs: 99 * HOUR_MS };
  return client.labels({ ...all, labelName: '', limit: 0, ...change }, { signal });
};

/** Of all tenants. */
export const listIds = async ({ client }: Running) =>
  (await client.listBlocks({ tenant: '' }, { signal })).blocks.map((block) => block.blockId);

/** Of a message of `putMessages`. */
export const headerOf = (message: PutBlockRequest) =>
  message.part?.$case === 'header' ? message.part.value : undefined;
/** Of a message of `putMessages`. */
export const pieceOf = (message: PutBlockRequest) =>
  message.part?.$case === 'piece' ? message.part.value : undefined;

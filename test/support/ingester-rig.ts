// An ingester for tests of the process as a whole, through its contract: in-process client, real folders, a clock that the test moves, a store
// that keeps what it gets. A "crash" leaves the old one where it is and starts another on the same folder.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect } from 'vitest';
import type { IngesterOptions } from '../../services/ingester/options.ts';
import { createIngester, type Ingester } from '../../services/ingester/service.ts';
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import type { Clock } from '../../services/lib/core/clock.ts';
import type { Disk } from '../../services/lib/core/disk.ts';
import { AppError } from '../../services/lib/core/errors.ts';
import type { ChunkSink } from '../../services/lib/model/chunk-sink.ts';
import { decodeLabels, encodeLabels, Labels } from '../../services/lib/model/labels.ts';
import type { Matcher } from '../../services/lib/model/matcher.ts';
import { SampleColumns, wordsOf } from '../../services/lib/model/sample-columns.ts';
import { DEFAULT_TENANT } from '../../services/lib/model/tenant.ts';
import { computePlacement } from '../../services/lib/placement/placement.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import type { Cluster } from '../../services/lib/transport/cluster.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import type { Client, Handlers } from '../../services/lib/transport/rpc.ts';
import { BlockReader } from '../../services/lib/tsdb/block/block-reader.ts';
import { PageCache } from '../../services/lib/tsdb/block/page-cache.ts';
import { decodeChunk } from '../../services/lib/tsdb/chunk/decode-chunk.ts';
import { sortAndDedupeSamples } from '../../services/lib/tsdb/chunk/merge-samples.ts';
import { draftAppendBatch, putDefinition } from '../../services/lib/wire/append/append-batch.ts';
import {
  AppendOutcome,
  type AppendRequest,
  type AppendResponse,
  IngesterDefinition,
  type MetricMetadata,
  StoreDefinition,
} from '../../services/lib/wire/contracts.ts';
import { readSeriesFrame } from '../../services/lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../../services/lib/wire/matchers.ts';

export const HOUR_MS = 3_600_000;
/** What the rig's clock shows at first: the beginning of a range. */
export const START_MS = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR_MS));
/** Never aborted. */
export const { signal } = new AbortController();

/** Moves when it is told to. */
export class TestClock implements Clock {
  #wallMs = START_MS;
  #sleepers: { readonly untilMs: number; readonly wake: () => void }[] = [];
  nowMs = () => this.#wallMs;
  monotonicMs = () => this.#wallMs - START_MS + 1e6;

  /** Short sleeps are those of the log: they pass by themselves. */
  sleep(ms: number, aborted?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (ms < 1000) setTimeout(resolve, Math.min(ms, 5));
      else this.#sleepers.push({ untilMs: this.#wallMs + ms, wake: resolve });
      aborted?.addEventListener('abort', () => reject(aborted.reason as Error), { once: true });
    });
  }

  advance(ms: number): void {
    this.#wallMs += ms;
    const due = this.#sleepers.filter(({ untilMs }) => untilMs <= this.#wallMs);
    this.#sleepers = this.#sleepers.filter(({ untilMs }) => untilMs > this.#wallMs);
    for (const { wake } of due) wake();
  }
}

type Sample = readonly [timeMs: number, high: number, low: number];
/** Samples by the text of their series' labels, in the order of time. */
export type Content = Map<string, Sample[]>;

/** Puts what a sink gets into a map, merged by the querier's own rule. */
class ContentSink implements ChunkSink {
  readonly #columns = new Map<string, SampleColumns>();
  #current = new SampleColumns(4);

  beginSeries(bytes: Uint8Array, start: number, end: number): void {
    const name = decodeLabels(bytes, start, end).toString();
    this.#current = this.#columns.get(name) ?? new SampleColumns(4);
    this.#columns.set(name, this.#current);
  }

  chunk(encoding: number, _min: number, _max: number, bytes: Uint8Array, start: number, end: number): void {
    decodeChunk(encoding, bytes, start, end, this.#current);
  }

  content(): Content {
    const content: Content = new Map();
    for (const [name, columns] of [...this.#columns].sort(([a], [b]) => (a < b ? -1 : 1))) {
      sortAndDedupeSamples(columns);
      const words = wordsOf(columns.values);
      content.set(
        name,
        Array.from({ length: columns.count }, (_, i) => [
          columns.timestampsMs[i]!,
          words[2 * i + 1]!,
          words[2 * i]!,
        ]),
      );
    }
    return content;
  }
}

/** A store that keeps blocks as folders. */
export class TestStore {
  readonly folder: string;
  readonly blockIds = new Set<string>();
  refusals = 0;
  readonly handlers: Pick<Handlers<typeof StoreDefinition>, 'putBlock'>;

  constructor(folder: string) {
    this.folder = folder;
    this.handlers = {
      putBlock: async (messages) => {
        if (this.refusals > 0) {
          this.refusals--;
          throw new AppError('unavailable', 'the test store takes nothing now');
        }
        return { existed: await this.#put(messages) };
      },
    };
  }

  async #put(messages: Parameters<Handlers<typeof StoreDefinition>['putBlock']>[0]): Promise<boolean> {
    const files: Buffer[][] = [];
    let header:
      | { blockId: string; files: readonly { name: string; sizeBytes: number; crc32: number }[] }
      | undefined;
    for await (const { part } of messages) {
      if (part?.$case === 'header') {
        header = part.value;
        for (const _ of header.files) files.push([]);
      } else if (part?.$case === 'piece') files[part.value.file]!.push(Buffer.from(part.value.bytes));
    }
    const existed = this.blockIds.has(header!.blockId);
    const dir = path.join(this.folder, header!.blockId);
    await mkdir(dir, { recursive: true });
    for (const [i, { name, sizeBytes, crc32: crc }] of header!.files.entries()) {
      const bytes = Buffer.concat(files[i]!);
      expect([bytes.length, crc32(bytes)]).toEqual([sizeBytes, crc]);
      await writeFile(path.join(dir, name), bytes);
    }
    this.blockIds.add(header!.blockId);
    return existed;
  }

  async content(): Promise<Content> {
    const sink = new ContentSink();
    for (const blockId of this.blockIds) {
      const reader = await BlockReader.open(path.join(this.folder, blockId), {
        cache: new PageCache({ bytesMax: 1 << 20 }),
      });
      await reader.select({ matchers: [], minTimeMs: -1e15, maxTimeMs: 1e15 }, sink);
      await reader.close();
    }
    return sink.content();
  }
}

/** A running ingester, and a client of it. */
export interface Started {
  readonly ingester: Ingester;
  readonly client: Client<typeof IngesterDefinition>;
  readonly registry: Registry;
}

export interface IngesterRig {
  /** Of the test; the ingester's own is `data` in it. */
  readonly folder: string;
  readonly clock: TestClock;
  readonly store: TestStore;
  /** Of one process, four partitions; it is stopped with the test. */
  readonly start: (options?: Partial<IngesterOptions>, disk?: Disk) => Promise<Started>;
}

/** A rig that each test of the file finds new. */
export function useIngesterRig(): IngesterRig {
  let [folder, clock, store] = ['', new TestClock(), new TestStore('')];
  let running: Ingester[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'tidemark-ingester-'));
    clock = new TestClock();
    store = new TestStore(path.join(folder, 'store'));
    running = [];
  });
  afterEach(async () => {
    await Promise.all(running.map((ingester) => ingester.stop()));
    await rm(folder, { recursive: true, force: true });
  });
  return {
    get folder() {
      return folder;
    },
    get clock() {
      return clock;
    },
    get store() {
      return store;
    },
    start: (options = {}, disk) => startIngester({ folder, clock, store, running }, options, disk),
  };
}

async function startIngester(
  { folder, clock, store, running }: Omit<IngesterRig, 'start'> & { readonly running: Ingester[] },
  options: Partial<IngesterOptions>,
  disk: Disk | undefined,
): Promise<Started> {
  const registry = new Registry();
  const cluster: Cluster = {
    placement: () =>
      computePlacement([{ instance: 'a', zone: '' }], { epoch: 1, partitionCount: 4, replicationFactor: 1 }),
    replicationFactor: 1,
    ingesters: () => [],
    stores: () => [
      {
        instance: 's',
        client: createInProcessClient(StoreDefinition, store.handlers as Handlers<typeof StoreDefinition>),
      },
    ],
    queriers: () => [],
    scrapers: () => [],
    alertEvaluators: () => [],
  };
  const ingester = createIngester(
    {
      dataDir: path.join(folder, 'data'),
      partitionCount: 4,
      groupCommitMs: 0,
      diskFreeBytesMin: 0,
      ...options,
    },
    {
      cluster,
      clock,
      logger: createSilentLogger(),
      registry,
      onFatal: () => undefined,
      ...(disk && { disk }),
    },
  );
  running.push(ingester);
  expect(ingester.isReady()).toBe(false);
  await ingester.start();
  expect(ingester.isReady()).toBe(true);
  return { ingester, registry, client: createInProcessClient(IngesterDefinition, ingester.handlers) };
}

/** A writer as the distributor is one: references of its own, requests without waiting, answers by sequence. */
export class TestWriter {
  readonly #references = new Map<string, number>();
  readonly #queue: AppendRequest[] = [];
  readonly #answers = new Map<number, AppendResponse>();
  readonly #waiters = new Map<
    number,
    { resolve: (r: AppendResponse) => void; reject: (e: unknown) => void }
  >();
  #wake: (() => void) | undefined;
  #closed = false;
  #sequence = 0;
  readonly #writerId: string;
  readonly ended: Promise<void>;

  constructor(client: Client<typeof IngesterDefinition>, writerId = 'w1') {
    this.#writerId = writerId;
    this.ended = this.#run(client);
    this.ended.catch(() => undefined);
  }

  async #run(client: Client<typeof IngesterDefinition>): Promise<void> {
    try {
      for await (const answer of client.append(this.#requests(), { signal })) {
        this.#answers.set(answer.sequence, answer);
        this.#waiters.get(answer.sequence)?.resolve(answer);
      }
    } catch (caught) {
      for (const { reject } of this.#waiters.values()) reject(caught);
      throw caught;
    }
  }

  async *#requests(): AsyncGenerator<AppendRequest> {
    while (!this.#closed) {
      while (this.#queue.length > 0) yield this.#queue.shift()!;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  /** Sends samples of one partition; defines series at their first use. */
  send(
    samples: readonly (readonly [name: string, timeMs: number, value: number | readonly [number, number]])[],
    overrides: Partial<AppendRequest> = {},
    partition = 0,
    metadata: MetricMetadata[] = [],
  ): Promise<AppendResponse> {
    const definitions = new ByteWriter();
    let defined = 0;
    const references = samples.map(([name]) => {
      const known = this.#references.get(name);
      if (known !== undefined) return known;
      const reference = this.#references.size;
      this.#references.set(name, reference);
      const labels = new ByteWriter();
      encodeLabels(
        Labels.from([
          ['__name__', name],
          ['job', `j${name.length}`],
        ]),
        labels,
      );
      putDefinition(definitions, reference, partition, labels.bytes, 0, labels.length);
      defined++;
      return reference;
    });
    const draft = draftAppendBatch(
      samples.length > 0 ? [{ partition, samples: samples.length }] : [],
      samples.length,
      defined,
      definitions.bytes,
      definitions.length,
    );
    draft.references.set(references);
    const words = wordsOf(draft.values);
    samples.forEach(([, timeMs, value], i) => {
      draft.timestampsMs[i] = timeMs;
      if (typeof value === 'number') draft.values[i] = value;
      else {
        words[2 * i + 1] = value[0];
        words[2 * i] = value[1];
      }
    });
    const sequence = ++this.#sequence;
    const answer = new Promise<AppendResponse>((resolve, reject) =>
      this.#waiters.set(sequence, { resolve, reject }),
    );
    answer.catch(() => undefined);
    this.#queue.push({
      tenant: DEFAULT_TENANT,
      writerId: this.#writerId,
      sequence,
      epoch: 1,
      batch: draft.bytes,
      metadata,
      ...overrides,
    });
    this.#wake?.();
    return answer;
  }
}

/** Matches every series. */
export const ANY: Matcher = { name: '__name__', operator: '=~', value: '.+' };

/** All that an ingester answers, which says that it has all four partitions. */
export async function contentOf(
  client: Client<typeof IngesterDefinition>,
  matchers = [ANY],
  tenant = DEFAULT_TENANT,
): Promise<Content> {
  const sink = new ContentSink();
  let covered = 0;
  const request = {
    tenant,
    matchers: toWireMatchers(matchers),
    minTimeMs: -1e15,
    maxTimeMs: 1e15,
    labelsOnly: false,
    partitions: [],
    seriesMax: 0,
  };
  for await (const { frame, coverage } of client.select(request, { signal })) {
    expect(covered).toBe(0);
    if (frame.length > 0) readSeriesFrame(frame, sink);
    covered += coverage?.partitions.filter(({ complete }) => complete).length ?? 0;
  }
  expect(covered).toBe(4);
  return sink.content();
}

/** Both words of the staleness marker. */
export const STALE = [0x7ff00000, 2] as const;
/** Of a series of `TestWriter`, by its name. */
export const named = (name: string): string =>
  Labels.from([
    ['__name__', name],
    ['job', `j${name.length}`],
  ]).toString();
/** What a write is answered that is on disk. */
export const DURABLE = AppendOutcome.APPEND_OUTCOME_DURABLE;

/** Sum of a metric's values. */
export async function metric(registry: Registry, name: string): Promise<number> {
  const values = (await registry.getSingleMetric(name)!.get()).values;
  return values.reduce((sum, { value }) => sum + value, 0);
}

/** Waits for work that a moved clock has set off. */
export async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await what()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('waited too long');
}

// The ingester through its contract: in-process client, real folders, a clock that the test moves, stores that keep what
// they get. A "crash" leaves the old process where it is and starts another on the same folder.
import { cp, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ByteWriter } from '../lib/core/bytes.ts';
import type { Clock } from '../lib/core/clock.ts';
import { type Disk, systemDisk } from '../lib/core/disk.ts';
import { AppError } from '../lib/core/errors.ts';
import type { ChunkSink } from '../lib/model/chunk-sink.ts';
import { decodeLabels, encodeLabels, Labels } from '../lib/model/labels.ts';
import type { Matcher } from '../lib/model/matcher.ts';
import { SampleColumns, wordsOf } from '../lib/model/sample-columns.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import { computePlacement } from '../lib/placement/placement.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import type { Cluster } from '../lib/transport/cluster.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import type { Client, Handlers } from '../lib/transport/rpc.ts';
import { BlockReader } from '../lib/tsdb/block/block-reader.ts';
import { PageCache } from '../lib/tsdb/block/page-cache.ts';
import { decodeChunk } from '../lib/tsdb/chunk/decode-chunk.ts';
import { sortAndDedupeSamples } from '../lib/tsdb/chunk/merge-samples.ts';
import { draftAppendBatch, putDefinition } from '../lib/wire/append/append-batch.ts';
import {
  AppendOutcome,
  type AppendRequest,
  type AppendResponse,
  IngesterDefinition,
  type MetricMetadata,
  StoreDefinition,
} from '../lib/wire/contracts.ts';
import { readSeriesFrame } from '../lib/wire/frames/series-frame.ts';
import { toWireMatchers } from '../lib/wire/matchers.ts';
import type { IngesterOptions } from './options.ts';
import { createIngester, type Ingester } from './service.ts';

const HOUR_MS = 3_600_000;
const START_MS = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR_MS));
const { signal } = new AbortController();

class TestClock implements Clock {
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
type Content = Map<string, Sample[]>;

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
class TestStore {
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

let folder: string;
let clock: TestClock;
let store: TestStore;
let running: Ingester[];

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

interface Started {
  readonly ingester: Ingester;
  readonly client: Client<typeof IngesterDefinition>;
  readonly registry: Registry;
}

async function start(options: Partial<IngesterOptions> = {}, disk?: Disk): Promise<Started> {
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
class TestWriter {
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

const ANY: Matcher = { name: '__name__', operator: '=~', value: '.+' };

async function contentOf(
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

const STALE = [0x7ff00000, 2] as const;
const named = (name: string): string =>
  Labels.from([
    ['__name__', name],
    ['job', `j${name.length}`],
  ]).toString();
const DURABLE = AppendOutcome.APPEND_OUTCOME_DURABLE;

async function metric(registry: Registry, name: string): Promise<number> {
  const values = (await registry.getSingleMetric(name)!.get()).values;
  return values.reduce((sum, { value }) => sum + value, 0);
}

/** Waits for work that a moved clock has set off. */
async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await what()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('waited too long');
}

test('what was acknowledged is there after a crash, bit for bit, and writing goes on', async () => {
  const first = await start();
  const writer = new TestWriter(first.client);
  const answers = await Promise.all([
    writer.send([
      ['up', START_MS, 1],
      ['up', START_MS + 15_000, STALE],
      ['down', START_MS, -0],
    ]),
    writer.send(
      [
        ['up', START_MS + 5000, 0.1],
        ['up', START_MS + 15_000, STALE],
      ],
      {},
      0,
      [{ metric: 'up', type: 'gauge', help: 'Is it?', unit: '' }],
    ),
    writer.send([
      ['up', START_MS + 30_000, [0x7ff80000, 1]],
      ['down', START_MS - 9 * HOUR_MS, 7],
    ]),
    writer.send([]),
  ]);
  expect(answers.map(({ outcome }) => outcome)).toEqual([DURABLE, DURABLE, DURABLE, DURABLE]);
  const before = await contentOf(first.client);
  expect(before.get(named('up'))).toEqual([
    [START_MS, 0x3ff00000, 0],
    [START_MS + 5000, 0x3fb99999, 0x9999999a],
    [START_MS + 15_000, ...STALE],
    [START_MS + 30_000, 0x7ff80000, 1],
  ]);
  expect(before.get(named('down'))).toEqual([
    [START_MS - 9 * HOUR_MS, 0x401c0000, 0],
    [START_MS, 0x80000000, 0],
  ]);

  const second = await start();
  expect(await contentOf(second.client)).toEqual(before);
  expect(await second.client.metadata({ tenant: DEFAULT_TENANT, metric: '', limit: 0 }, { signal })).toEqual({
    metadata: [{ metric: 'up', type: 'gauge', help: 'Is it?', unit: '' }],
  });
  const again = new TestWriter(second.client, 'w2');
  await again.send([
    ['fresh', START_MS, 2],
    ['up', START_MS + 45_000, 3],
  ]);
  const third = await start();
  const content = await contentOf(third.client);
  expect(content.size).toBe(3);
  expect(content.get(named('up'))).toHaveLength(5);
});

test('a request out of sequence, of another writer or of an unknown reference ends the stream', async () => {
  const { client } = await start();
  const cases: [Partial<AppendRequest>, string][] = [
    [{ sequence: 1 }, 'sequence 1 after 1'],
    [{ sequence: 3 }, 'sequence 3 after 1'],
    [{ writerId: 'other' }, 'on the stream of writer'],
    [{ tenant: 'other' }, 'unknown on this stream for tenant other'],
  ];
  for (const [overrides, message] of cases) {
    const writer = new TestWriter(client);
    await writer.send([['up', START_MS, 1]]);
    await expect(writer.send([['up', START_MS + 1, 1]], overrides)).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining(message) as string,
    });
    await expect(writer.ended).rejects.toBeInstanceOf(AppError);
  }
  expect((await contentOf(client, [ANY], 'other')).size).toBe(0);
});

test('malformed batches and impossible times are refused', async () => {
  const { client } = await start();
  const broken = new TestWriter(client);
  await expect(broken.send([['up', START_MS, 1]], { batch: Buffer.alloc(9) })).rejects.toMatchObject({
    code: 'bad_data',
  });
  const fraction = new TestWriter(client);
  await expect(fraction.send([['up', START_MS + 0.5, 1]])).rejects.toMatchObject({ code: 'bad_data' });
  const far = new TestWriter(client);
  await expect(far.send([['up', 2 ** 52, 1]])).rejects.toMatchObject({ code: 'bad_data' });
  expect((await contentOf(client)).size).toBe(0);
});

test('partitions of others are not kept and named', async () => {
  const { client } = await start({ instance: 'b' });
  const writer = new TestWriter(client);
  const answer = await writer.send([['up', START_MS, 1]], {}, 2);
  expect(answer).toMatchObject({ outcome: AppendOutcome.APPEND_OUTCOME_PARTIAL, failedPartitions: [2] });
});

test('memory over the budget and shutting down answer unavailable', async () => {
  const tight = await start({ headBytesMax: 1 });
  await new TestWriter(tight.client).send([['up', START_MS, 1]]);
  const { client, ingester } = await start({ dataDir: path.join(folder, 'other') });
  const writer = new TestWriter(client);
  await writer.send([['up', START_MS, 1]]);
  await ingester.drain();
  expect(ingester.isReady()).toBe(false);
  expect(await writer.send([['up', START_MS + 1, 1]])).toMatchObject({
    outcome: AppendOutcome.APPEND_OUTCOME_UNAVAILABLE,
    message: expect.stringContaining('shutting down') as string,
  });
  const over = new TestWriter(tight.client);
  let refused: AppendResponse | undefined;
  for (let i = 0; i < 200 && refused === undefined; i++) {
    const answer = await over.send([[`m${i}`, START_MS, 1]]);
    if (answer.outcome !== DURABLE) refused = answer;
  }
  expect(refused?.message).toContain('over the budget of 1');
});

test('many requests in flight share commits', async () => {
  const { client, registry } = await start();
  const writers = [new TestWriter(client, 'a'), new TestWriter(client, 'b')];
  const answers = await Promise.all(
    Array.from({ length: 400 }, (_, i) => writers[i % 2]!.send([[`m${i % 7}`, START_MS + i * 1000, i]])),
  );
  expect(answers.every(({ outcome }) => outcome === DURABLE)).toBe(true);
  const exposition = await registry.getSingleMetricAsString('tidemark_ingester_log_commit_seconds');
  const commits = Number(/_count (\d+)/.exec(exposition)![1]);
  expect(commits).toBeGreaterThan(0);
  expect(commits).toBeLessThan(200);
  expect([...(await contentOf(client)).values()].reduce((sum, samples) => sum + samples.length, 0)).toBe(400);
});

test('label names and values, statistics, limits', async () => {
  const { client } = await start();
  const writer = new TestWriter(client);
  await writer.send(
    [
      ['up', START_MS, 1],
      ['down', START_MS, 1],
      ['down', START_MS + 1, 1],
    ],
    {},
    3,
  );
  const labels = (labelName: string, matchers: Matcher[] = []) =>
    client.labels(
      {
        tenant: DEFAULT_TENANT,
        matchers: toWireMatchers(matchers),
        minTimeMs: 0,
        maxTimeMs: 1e15,
        labelName,
        limit: 0,
      },
      { signal },
    );
  expect((await labels('')).values).toEqual(['__name__', 'job']);
  expect((await labels('job', [{ name: '__name__', operator: '=', value: 'up' }])).values).toEqual(['j2']);
  const statistics = await client.headStatistics({ tenant: DEFAULT_TENANT, limit: 1 }, { signal });
  expect(statistics).toMatchObject({
    series: 2,
    labelPairs: 4,
    chunks: 2,
    minTimeMs: START_MS,
    maxTimeMs: START_MS + 1,
    seriesCountByMetricName: [{ name: 'down', value: 1 }],
  });
  const limited = client.select(
    {
      tenant: DEFAULT_TENANT,
      matchers: toWireMatchers([ANY]),
      minTimeMs: 0,
      maxTimeMs: 1e15,
      labelsOnly: true,
      partitions: [],
      seriesMax: 1,
    },
    { signal },
  );
  await expect(limited[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'execution' });
});

const logFiles = async (): Promise<string[]> => (await readdir(path.join(folder, 'data', 'log'))).sort();

test('seal now: everything is on the store, stays readable, and is not sealed again after a crash', async () => {
  const first = await start();
  const writer = new TestWriter(first.client);
  const samples = Array.from({ length: 500 }, (_, i) => ['up', START_MS + i * 15_000, i] as const);
  await writer.send(samples);
  await writer.send([['down', START_MS, STALE]], {}, 2);
  const whole = await contentOf(first.client);
  const { blockIds } = await first.client.seal({ tenant: '' }, { signal });
  expect(blockIds).toHaveLength(2);
  expect(await store.content()).toEqual(whole);
  expect(await contentOf(first.client)).toEqual(whole);

  const second = await start();
  expect(await contentOf(second.client)).toEqual(new Map());
  expect((await second.client.seal({ tenant: '' }, { signal })).blockIds).toEqual([]);
  const again = new TestWriter(second.client, 'w2');
  await again.send([
    ['up', START_MS + 1, 5],
    ['new', START_MS, 1],
  ]);
  expect((await contentOf(second.client)).size).toBe(2);
});

test('closed ranges are sealed by themselves, leave after the grace, and the log follows', async () => {
  const { client, registry } = await start({ segmentBytesMax: 4096 });
  const writer = new TestWriter(client);
  for (let i = 0; i < 40; i++) {
    await writer.send(
      Array.from({ length: 50 }, (_, k) => [`m${k}`, START_MS + i * 15_000, Math.sin(i * k)] as const),
    );
  }
  const whole = await contentOf(client);
  const segments = (await logFiles()).filter((name) => name.endsWith('.log'));
  expect(segments.length).toBeGreaterThan(3);
  clock.advance(30_000);
  clock.advance(2 * HOUR_MS + 4 * 60_000);
  await writer.send([['m0', START_MS + 3 * HOUR_MS, 1]]);
  expect(store.blockIds.size).toBe(0);
  await until(() => {
    clock.advance(10_000);
    return store.blockIds.size === 1;
  });
  expect(await store.content()).toEqual(whole);
  expect((await contentOf(client)).size).toBe(50);
  await until(async () => (await logFiles()).includes('checkpoint'));
  await until(async () => (await logFiles()).filter((name) => name.endsWith('.log')).length === 1);

  clock.advance(100_000);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect((await contentOf(client)).size).toBe(50);
  await until(async () => {
    clock.advance(10_000);
    return (await contentOf(client)).size === 1;
  });

  // The range after this one is sealed too; by then 49 series have neither samples nor log, and leave.
  clock.advance(4 * HOUR_MS);
  await until(() => {
    clock.advance(10_000);
    return store.blockIds.size === 2;
  });
  await writer.send([['m0', START_MS + 7 * HOUR_MS, 1]]);
  for (let i = 0; i < 60; i++)
    await writer.send([
      [`m0`, START_MS + 7 * HOUR_MS + 1000 * (i + 1), Math.sin(i)],
      [`filler${'x'.repeat(90)}${i}`, START_MS + 7 * HOUR_MS, i],
    ]);
  await until(() => {
    clock.advance(30_000);
    return store.blockIds.size === 3;
  });
  await until(async () => (await metric(registry, 'tidemark_ingester_series_left_total')) >= 49);

  // The writer does not know, and goes on with its references.
  const answer = await writer.send([
    ['m7', START_MS + 9 * HOUR_MS, 42],
    ['m0', START_MS + 9 * HOUR_MS, 43],
  ]);
  expect(answer.outcome).toBe(DURABLE);
  const content = await contentOf(client, [{ name: '__name__', operator: '=', value: 'm7' }]);
  expect(content.get(named('m7'))).toEqual([[START_MS + 9 * HOUR_MS, 0x40450000, 0]]);
  const restarted = await start({ segmentBytesMax: 4096 });
  expect(await contentOf(restarted.client, [{ name: '__name__', operator: '=', value: 'm7' }])).toEqual(
    content,
  );
}, 60_000);

test('a store that refuses is asked again, and nothing is lost meanwhile', async () => {
  store.refusals = 2;
  const { client } = await start();
  const writer = new TestWriter(client);
  await writer.send([['up', START_MS, 1]]);
  await expect(client.seal({ tenant: '' }, { signal })).rejects.toMatchObject({ code: 'unavailable' });
  const whole = await contentOf(client);
  expect(whole.size).toBe(1);
  const restarted = await start();
  const replay = await restarted.registry.getSingleMetric('tidemark_ingester_replay_segment')!.get();
  expect(replay.values.map(({ labels, value }) => [labels.which, value])).toEqual([
    ['first', 1],
    ['last', 1],
    ['current', 1],
  ]);
  expect(await contentOf(restarted.client)).toEqual(whole);
  await until(() => {
    clock.advance(1000);
    return store.blockIds.size === 1;
  });
  expect(store.refusals).toBe(0);
  expect(await store.content()).toEqual(whole);
});

test('a stop writes what the next start would replay into an image, where it may', async () => {
  const replayed = async (imageAtStopMs: number): Promise<number[]> => {
    const { ingester, client, registry } = await start({ imageAtStopMs });
    const writer = new TestWriter(client);
    await writer.send([['up', START_MS, 1]]);
    await writer.send([['up', START_MS + 1, 2]]);
    const before = await contentOf(client);
    await ingester.stop();
    const restarted = await start({ imageAtStopMs });
    expect(await contentOf(restarted.client)).toEqual(before);
    return [
      await metric(registry, 'tidemark_ingester_head_images_total'),
      await metric(restarted.registry, 'tidemark_ingester_replay_pending_bytes'),
    ];
  };
  const [none, pending] = await replayed(0);
  expect([none, pending]).toEqual([0, expect.toSatisfy((bytes) => bytes > 100)]);
  const [written, left] = await replayed(5_000);
  expect([written, left]).toEqual([1, expect.toSatisfy((bytes) => bytes < 100)]);
});

test('a crash at any state of the folder: every prefix of commits gives the acknowledged content', async () => {
  // Copies of the data folder are what a crash at that moment leaves.
  const { client } = await start({ segmentBytesMax: 4096 });
  const writer = new TestWriter(client);
  const copies: { readonly dir: string; readonly content: Content }[] = [];
  for (let round = 0; round < 8; round++) {
    await writer.send(
      Array.from({ length: 40 }, (_, k) => [`m${k}`, START_MS + round * 15_000, k * round + 0.5] as const),
    );
    if (round === 3 || round === 6) await client.seal({ tenant: '' }, { signal });
    const dir = path.join(folder, `copy${round}`);
    await cp(path.join(folder, 'data'), dir, { recursive: true });
    copies.push({ dir, content: await contentOf(client) });
  }
  const sealed = await store.content();
  for (const { dir, content } of copies) {
    const { client: revived } = await start({ dataDir: dir, segmentBytesMax: 4096 });
    const held = await contentOf(revived);
    for (const [name, samples] of content) {
      const united = new Map(
        [...(sealed.get(name) ?? []), ...(held.get(name) ?? [])].map((sample) => [sample[0], sample]),
      );
      for (const sample of samples) expect(united.get(sample[0])).toEqual(sample);
    }
  }
});

test('a failing disk is fatal and acknowledges nothing', async () => {
  const failing: Disk = {
    ...systemDisk,
    async open(file, mode) {
      const opened = await systemDisk.open(file, mode);
      return {
        ...opened,
        sync: async () => {
          throw Object.assign(new Error('EIO: simulated'), { code: 'EIO' });
        },
      };
    },
  };
  const { client } = await start({}, failing);
  const writer = new TestWriter(client);
  const answer = await writer.send([['up', START_MS, 1]]);
  expect(answer.outcome).toBe(AppendOutcome.APPEND_OUTCOME_UNAVAILABLE);
  expect((await stat(path.join(folder, 'data', 'log'))).isDirectory()).toBe(true);
});

// The store through its contract: in-process client, real folders, a clock that the test moves.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildBlock, CollectingSink, type TestSeries, temporaryFolder } from '../../test/support/blocks.ts';
import type { Clock } from '../lib/core/clock.ts';
import { type Disk, systemDisk } from '../lib/core/disk.ts';
import { Labels } from '../lib/model/labels.ts';
import { createSilentLogger } from '../lib/runtime/logger.ts';
import { createInProcessClient } from '../lib/transport/in-process.ts';
import type { Client } from '../lib/transport/rpc.ts';
import { readBlockPieces } from '../lib/tsdb/block/block-pieces.ts';
import type { BuiltBlock } from '../lib/tsdb/block/block-writer.ts';
import {
  type Coverage,
  type LabelsRequest,
  MatchType,
  type PutBlockRequest,
  StoreDefinition,
  type WireSelectRequest,
} from '../lib/wire/contracts.ts';
import { readSeriesFrame } from '../lib/wire/frames/series-frame.ts';
import type { StoreOptions } from './options.ts';
import { createStore, type Store } from './service.ts';

const HOUR_MS = 3_600_000;

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

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let clock: TestClock;
let running: Running[] = [];
const signal = new AbortController().signal;

beforeEach(async () => {
  folder = await temporaryFolder();
  clock = new TestClock();
});

afterEach(async () => {
  for (const { store } of running) await store.stop();
  running = [];
  await folder[Symbol.asyncDispose]();
});

/** Waits for what happens in the background; generous, for busy machines. */
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 15_000, interval: 10 });

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

async function* putMessages(block: BuiltBlock, change?: (message: PutBlockRequest) => void) {
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

const put = ({ client }: Running, block: BuiltBlock) => client.putBlock(putMessages(block), { signal });

const everything: WireSelectRequest = {
  tenant: 'anonymous',
  matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: '__name__', value: 'up' }],
  minTimeMs: 0,
  maxTimeMs: 1000 * HOUR_MS,
  labelsOnly: false,
  partitions: [],
  seriesMax: 0,
};

async function select({ client }: Running, change: Partial<WireSelectRequest> = {}) {
  const sink = new CollectingSink();
  let coverage: Coverage | undefined;
  for await (const message of client.select({ ...everything, ...change }, { signal })) {
    expect(coverage).toBeUndefined();
    readSeriesFrame(message.frame, sink);
    coverage = message.coverage;
  }
  return { series: sink.series, coverage };
}

const labels = ({ client }: Running, change: Partial<LabelsRequest>) => {
  const all = { tenant: 'anonymous', matchers: [], minTimeMs: 0, maxTimeMs: 99 * HOUR_MS };
  return client.labels({ ...all, labelName: '', limit: 0, ...change }, { signal });
};

const listIds = async ({ client }: Running) =>
  (await client.listBlocks({ tenant: '' }, { signal })).blocks.map((block) => block.blockId);

test('a block that was put is listed, selected, and fetched byte for byte', async () => {
  const one = await startStore();
  const block = await twoHours(10 * HOUR_MS);
  expect(await put(one, block)).toEqual({ existed: false });
  expect(await put(one, block)).toEqual({ existed: true });
  const { blocks } = await one.client.listBlocks({ tenant: 'anonymous' }, { signal });
  expect(blocks).toEqual([
    {
      tenant: 'anonymous',
      blockId: block.meta.blockId,
      minTimeMs: 10 * HOUR_MS,
      maxTimeMs: 12 * HOUR_MS - 15_000,
      series: 4,
      samples: 1920,
      chunks: 4,
      sizeBytes: block.meta.files.index.sizeBytes + block.meta.files.chunks.sizeBytes,
      partitions: [0, 1, 2],
    },
  ]);
  const { series, coverage } = await select(one);
  expect(series.map(({ labels }) => labels.get('instance'))).toEqual([
    'host-0',
    'host-1',
    'host-2',
    'host-3',
  ]);
  expect(series[2]!.chunks[0]!.bytes).toEqual(
    Uint8Array.from(
      createHash('sha512')
        .update(`${10 * HOUR_MS} 2`)
        .digest(),
    ),
  );
  expect(coverage!.partitions).toEqual(
    [0, 1, 2].map((partition) => ({
      partition,
      minTimeMs: 10 * HOUR_MS,
      maxTimeMs: 12 * HOUR_MS - 15_000,
      complete: true,
    })),
  );
  const second = createStore(
    { dataDir: path.join(folder.path, 'second'), retentionMs: 0, retentionBytes: 0 },
    { clock, logger: createSilentLogger(), registry: new Registry() },
  );
  await mkdir(path.join(folder.path, 'second'));
  await second.start();
  const client = createInProcessClient(StoreDefinition, second.handlers);
  running.push({ store: second, client, registry: new Registry() });
  const { tenant, blockId } = block.meta;
  await client.putBlock(one.client.fetchBlock({ tenant, blockId }, { signal }), { signal });
  for (const { name, path: source } of block.files) {
    const copy = path.join(folder.path, 'second', 'blocks', tenant, blockId, name);
    expect((await readFile(copy)).equals(await readFile(source))).toBe(true);
  }
});

test('selects unite blocks, filter by partition and time, and keep tenants apart', async () => {
  const one = await startStore();
  for (const startHour of [10, 12, 14]) await put(one, await twoHours(startHour * HOUR_MS));
  await put(one, await twoHours(10 * HOUR_MS, 2, 'other'));
  expect((await select(one)).series).toHaveLength(12);
  expect((await select(one, { minTimeMs: 12 * HOUR_MS, maxTimeMs: 13 * HOUR_MS })).series).toHaveLength(4);
  const first = await select(one, { partitions: [0], maxTimeMs: 11 * HOUR_MS });
  expect(first.series.map(({ labels }) => labels.get('instance'))).toEqual(['host-0', 'host-3']);
  expect(first.coverage!.partitions.map(({ partition }) => partition)).toEqual([0]);
  const names = await select(one, { labelsOnly: true, maxTimeMs: 11 * HOUR_MS });
  expect(names.series.map(({ chunks }) => chunks)).toEqual([[], [], [], []]);
  expect((await select(one, { tenant: 'other' })).series).toHaveLength(2);
  const nobody = await select(one, { tenant: 'nobody' });
  expect(nobody).toEqual({ series: [], coverage: { partitions: [] } });
});

test('the series limit counts distinct series over blocks, and names itself', async () => {
  const one = await startStore({ seriesMax: 4 });
  for (const startHour of [10, 12]) await put(one, await twoHours(startHour * HOUR_MS));
  expect((await select(one)).series).toHaveLength(8);
  await expect(select(one, { seriesMax: 3 })).rejects.toMatchObject({
    code: 'execution',
    message: expect.stringMatching(/3 series/),
  });
  await put(one, await twoHours(14 * HOUR_MS, 5));
  await expect(select(one)).rejects.toMatchObject({
    code: 'execution',
    message: expect.stringMatching(/4 series/),
  });
  expect(await one.registry.getSingleMetricAsString('tidemark_store_series_limit_hits_total')).toMatch(
    / 2$/m,
  );
});

test('label names and values, with matchers and limits', async () => {
  const one = await startStore();
  await put(one, await twoHours(10 * HOUR_MS, 3));
  await put(one, await twoHours(12 * HOUR_MS, 5));
  const ask = async (labelName: string, change = {}) => {
    const { values, truncated } = await labels(one, { labelName, ...change });
    return { values, truncated };
  };
  expect(await ask('')).toEqual({ values: ['__name__', 'instance'], truncated: false });
  const hosts = ['host-0', 'host-1', 'host-2', 'host-3', 'host-4'];
  expect(await ask('instance')).toEqual({ values: hosts, truncated: false });
  expect(await ask('instance', { limit: 5 })).toEqual({ values: hosts, truncated: false });
  expect(await ask('instance', { limit: 4 })).toEqual({ values: hosts.slice(0, 4), truncated: true });
  expect((await ask('instance', { maxTimeMs: 11 * HOUR_MS })).values).toEqual(hosts.slice(0, 3));
  const matchers = [{ type: MatchType.MATCH_TYPE_REGEX, name: 'instance', value: 'host-[24]' }];
  expect((await ask('instance', { matchers })).values).toEqual(['host-2', 'host-4']);
});

const headerOf = (message: PutBlockRequest) =>
  message.part?.$case === 'header' ? message.part.value : undefined;
const pieceOf = (message: PutBlockRequest) =>
  message.part?.$case === 'piece' ? message.part.value : undefined;

test.each<[string, (message: PutBlockRequest) => void, RegExp]>([
  [
    'a flipped bit',
    (m) => {
      const p = pieceOf(m);
      if (p?.file === 2) p.bytes[9]! ^= 4;
    },
    /CRC/,
  ],
  [
    'a tenant that climbs',
    (m) => {
      const h = headerOf(m);
      if (h) h.tenant = '../../etc';
    },
    /tenant "\.\.\/\.\.\/etc"/,
  ],
  [
    'a tenant of dots',
    (m) => {
      const h = headerOf(m);
      if (h) h.tenant = '..';
    },
    /tenant "\.\."/,
  ],
  [
    'no tenant',
    (m) => {
      const h = headerOf(m);
      if (h) h.tenant = '';
    },
    /tenant/,
  ],
  [
    'a block id that climbs',
    (m) => {
      const h = headerOf(m);
      if (h) h.blockId = '../../../../../../../../tmp/evil0';
    },
    /block id/,
  ],
  [
    'a file name that climbs',
    (m) => {
      const h = headerOf(m);
      if (h) h.files[1]!.name = '../index';
    },
    /has the files/,
  ],
  [
    'a file twice',
    (m) => {
      const h = headerOf(m);
      if (h) h.files[1]!.name = 'chunks';
    },
    /has the files/,
  ],
  [
    'another tenant than the block’s',
    (m) => {
      const h = headerOf(m);
      if (h) h.tenant = 'mallory';
    },
    /meta\.json is of block/,
  ],
  [
    'another id than the block’s',
    (m) => {
      const h = headerOf(m);
      if (h) h.blockId = '0'.repeat(32);
    },
    /meta\.json is of block/,
  ],
  [
    'a petabyte',
    (m) => {
      const h = headerOf(m);
      if (h) h.files[2]!.sizeBytes = 2 ** 50;
    },
    /limit/,
  ],
  [
    'a huge meta.json',
    (m) => {
      const h = headerOf(m);
      if (h) h.files[0]!.sizeBytes = 2 ** 30;
    },
    /limit/,
  ],
  [
    'fewer bytes than announced',
    (m) => {
      const h = headerOf(m);
      if (h) h.files[2]!.sizeBytes += 1;
    },
    /stream ended/,
  ],
  [
    'more bytes than announced',
    (m) => {
      const h = headerOf(m);
      if (h) h.files[2]!.sizeBytes -= 1;
    },
    /a piece of/,
  ],
  [
    'files out of order',
    (m) => {
      const p = pieceOf(m);
      if (p) Object.assign(p, { file: 2 - p.file });
    },
    /a piece of/,
  ],
  [
    'a message without a part',
    (m) => {
      if (pieceOf(m)) Object.assign(m, { part: undefined });
    },
    /empty message/,
  ],
])('put refuses %s and leaves nothing', async (_, change, message) => {
  const one = await startStore();
  const block = await twoHours(10 * HOUR_MS);
  const refused = one.client.putBlock(putMessages(block, change), { signal });
  await expect(refused).rejects.toThrow(message);
  await expect(refused).rejects.toMatchObject({ code: expect.stringMatching(/bad_data|resource_exhausted/) });
  expect(await listIds(one)).toEqual([]);
  expect(await readdir(dataDir('blocks'))).toEqual([]);
  expect(await readdir(dataDir('blocks-transit'))).toEqual([]);
  expect(await put(one, block)).toEqual({ existed: false });
});

test('a put that breaks off, is cancelled, or meets a failing disk leaves nothing', async () => {
  let failing = '';
  const disk: Disk = {
    ...systemDisk,
    open: async (file, mode) => {
      const opened = await systemDisk.open(file, mode);
      const fail = () => Promise.reject(Object.assign(new Error(`EIO on ${failing}`), { code: 'EIO' }));
      const broken = file.includes('transit') && file.endsWith(failing) && failing !== '';
      return broken ? { ...opened, sync: fail } : opened;
    },
    space: async (where) =>
      failing === 'full' ? { freeBytes: 1e6, totalBytes: 1e9 } : systemDisk.space(where),
  };
  const one = await startStore({}, disk);
  const block = await twoHours(10 * HOUR_MS);
  async function* broken() {
    yield* [];
    for await (const message of putMessages(block)) {
      if (pieceOf(message)?.file === 1) throw new Error('the sender died');
      yield message;
    }
  }
  await expect(one.client.putBlock(broken(), { signal })).rejects.toThrow('the sender died');
  const controller = new AbortController();
  const cancelled = one.client.putBlock(
    putMessages(block, (message) => {
      if (pieceOf(message)?.file === 1) controller.abort(new Error('cancelled by the caller'));
    }),
    { signal: controller.signal },
  );
  await expect(cancelled).rejects.toThrow('cancelled by the caller');
  for (failing of ['index', 'chunks', 'meta.json']) await expect(put(one, block)).rejects.toThrow('EIO');
  failing = 'full';
  await expect(put(one, block)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/1000000 bytes free/),
  });
  failing = '';
  expect(await listIds(one)).toEqual([]);
  expect(await readdir(dataDir('blocks-transit'))).toEqual([]);
  expect(await put(one, block)).toEqual({ existed: false });
});

test('two puts of one block at once: both succeed, one stores', async () => {
  const one = await startStore();
  const block = await twoHours(10 * HOUR_MS);
  const answers = await Promise.all([put(one, block), put(one, block), put(one, block)]);
  expect(answers.filter(({ existed }) => !existed)).toHaveLength(1);
  expect((await select(one)).series).toHaveLength(4);
});

test('blocks are there after a restart; what a crash left half done is not', async () => {
  const first = await startStore();
  const block = await twoHours(10 * HOUR_MS);
  await put(first, block);
  await first.store.stop();
  await mkdir(dataDir('blocks-transit', 'half'), { recursive: true });
  await writeFile(dataDir('blocks-transit', 'half', 'chunks'), 'half a block');
  const second = await startStore();
  expect(await listIds(second)).toEqual([block.meta.blockId]);
  expect((await select(second)).series).toHaveLength(4);
  expect(await readdir(dataDir('blocks-transit'))).toEqual([]);
});

test('retention by time follows the clock', async () => {
  const one = await startStore({ retentionMs: 24 * HOUR_MS, retentionCheckMs: 60_000 });
  for (const startHour of [74, 90]) await put(one, await twoHours(startHour * HOUR_MS));
  // Now is hour 100: the first block ends 24 h 15 s before it.
  await passTime(60_000);
  await eventually(() => listIds(one)).toHaveLength(1);
  expect((await select(one)).series).toHaveLength(4);
  await passTime(15 * HOUR_MS);
  // Asleep again: it has looked, and left the second block.
  await eventually(() => clock.sleeping).toBe(2);
  expect(await listIds(one)).toHaveLength(1);
  await passTime(HOUR_MS);
  await eventually(() => listIds(one)).toEqual([]);
  await eventually(() => readdir(dataDir('blocks', 'anonymous'))).toEqual([]);
  await eventually(() => one.registry.getSingleMetricAsString('tidemark_store_blocks_deleted_total')).toMatch(
    /reason="time"} 2/,
  );
});

test('retention by size deletes the oldest until the rest fits', async () => {
  const blocks = [];
  for (const startHour of [90, 92, 94]) blocks.push(await twoHours(startHour * HOUR_MS, 50));
  const sizes = blocks.map(({ meta }) => meta.files.index.sizeBytes + meta.files.chunks.sizeBytes);
  const one = await startStore({ retentionBytes: sizes[1]! + sizes[2]! });
  for (const block of blocks) await put(one, block);
  await passTime(60_000);
  await eventually(() => listIds(one)).toEqual([blocks[1]!.meta.blockId, blocks[2]!.meta.blockId]);
});

test('a block that is being read outlives its retention until the read is done', async () => {
  const one = await startStore({ retentionMs: 24 * HOUR_MS });
  const block = await twoHours(80 * HOUR_MS, 20_000);
  await put(one, block);
  const sink = new CollectingSink();
  const dir = dataDir('blocks', 'anonymous', block.meta.blockId);
  let frames = 0;
  for await (const { frame } of one.client.select(everything, { signal })) {
    readSeriesFrame(frame, sink);
    if (frames++ > 0) continue;
    await passTime(1000 * HOUR_MS);
    await eventually(() => listIds(one)).toEqual([]);
    expect(existsSync(dir)).toBe(true);
  }
  expect(frames).toBeGreaterThan(1);
  expect(sink.series).toHaveLength(20_000);
  await eventually(() => existsSync(dir)).toBe(false);
});

async function flip(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[at < 0 ? bytes.length + at : at]! ^= 1;
  await writeFile(file, bytes);
}

test('a block found corrupt by a query is set aside; the query fails, later ones know what is missing', async () => {
  const one = await startStore();
  const [bad, good] = [await twoHours(10 * HOUR_MS), await twoHours(12 * HOUR_MS)];
  await put(one, bad);
  await put(one, good);
  await flip(dataDir('blocks', 'anonymous', bad.meta.blockId, 'chunks'), 40);
  await expect(select(one)).rejects.toMatchObject({
    code: 'internal',
    message: expect.stringMatching(/corrupt/),
  });
  expect(await listIds(one)).toEqual([good.meta.blockId]);
  expect((await readdir(dataDir('blocks-quarantine', 'anonymous', bad.meta.blockId))).sort()).toEqual([
    'chunks',
    'index',
    'meta.json',
  ]);
  const after = await select(one);
  expect(after.series).toHaveLength(4);
  expect(after.coverage!.partitions.map(({ complete }) => complete)).toEqual([false, false, false]);
  const lost = `1 corrupt block is in quarantine: ${bad.meta.blockId} (1970-01-01T10:00:00.000Z to 1970-01-01T11:59:45.000Z)`;
  expect(after.coverage!.missing).toBe(lost);
  expect((await labels(one, {})).coverage!.missing).toBe(lost);
  expect((await labels(one, { minTimeMs: 12 * HOUR_MS })).coverage!.missing).toBeUndefined();
  expect((await labels(one, { tenant: 'other' })).coverage!.missing).toBeUndefined();
  const later = await select(one, { minTimeMs: 12 * HOUR_MS });
  expect(later.coverage!.partitions.map(({ complete }) => complete)).toEqual([true, true, true]);
  expect(later.coverage!.missing).toBeUndefined();
  expect(await one.registry.getSingleMetricAsString('tidemark_store_quarantined_blocks')).toMatch(/ 1$/m);
  // A good copy makes it whole again.
  expect(await put(one, bad)).toEqual({ existed: false });
  const healed = await select(one);
  expect(healed.series).toHaveLength(8);
  expect(healed.coverage!.partitions.every(({ complete }) => complete)).toBe(true);
  expect(healed.coverage!.missing).toBeUndefined();
  expect(await readdir(dataDir('blocks-quarantine', 'anonymous'))).toEqual([]);
});

test.each<[string, (dir: string) => Promise<void>]>([
  ['meta.json', (dir) => flip(path.join(dir, 'meta.json'), 60)],
  ['the directory', (dir) => flip(path.join(dir, 'index'), -20)],
  ['the head of the chunks', (dir) => flip(path.join(dir, 'chunks'), 0)],
  ['a truncated index', async (dir) => writeFile(path.join(dir, 'index'), '')],
])('a block with damage in %s is set aside at start, and stays known as missing', async (_, damage) => {
  const first = await startStore();
  const [bad, good] = [await twoHours(10 * HOUR_MS), await twoHours(12 * HOUR_MS)];
  await put(first, bad);
  await put(first, good);
  await first.store.stop();
  await damage(dataDir('blocks', 'anonymous', bad.meta.blockId));
  for (let restarts = 0; restarts < 2; restarts++) {
    const next = await startStore();
    expect(await listIds(next)).toEqual([good.meta.blockId]);
    const { series, coverage } = await select(next);
    expect(series).toHaveLength(4);
    expect(coverage!.partitions.map(({ complete }) => complete)).toEqual([false, false, false]);
    await next.store.stop();
  }
});

test('a store whose only block lost its meta.json says so', async () => {
  const first = await startStore();
  const bad = await twoHours(10 * HOUR_MS);
  await put(first, bad);
  await first.store.stop();
  await flip(dataDir('blocks', 'anonymous', bad.meta.blockId, 'meta.json'), 60);
  const { coverage } = await select(await startStore());
  expect(coverage).toEqual({
    partitions: [],
    missing: `1 corrupt block is in quarantine: ${bad.meta.blockId} (range unknown)`,
  });
});

test('a block in quarantine goes with retention, and is not missed then', async () => {
  const one = await startStore({ retentionMs: 200 * HOUR_MS });
  const bad = await twoHours(10 * HOUR_MS);
  await put(one, bad);
  await flip(dataDir('blocks', 'anonymous', bad.meta.blockId, 'chunks'), 40);
  await expect(select(one)).rejects.toMatchObject({ code: 'internal' });
  expect((await select(one)).coverage!.missing).toMatch(/in quarantine/);
  await passTime(111 * HOUR_MS);
  await eventually(() => clock.sleeping).toBe(2);
  expect((await select(one)).coverage!.missing).toMatch(/in quarantine/);
  await passTime(HOUR_MS);
  await eventually(async () => (await select(one)).coverage!.missing).toBeUndefined();
  expect(await readdir(dataDir('blocks-quarantine', 'anonymous'))).toEqual([]);
  expect(await one.registry.getSingleMetricAsString('tidemark_store_blocks_deleted_total')).toMatch(
    /reason="time"\} 1$/m,
  );
});

test('folders that are no blocks are left alone', async () => {
  await mkdir(dataDir('blocks', 'anonymous', 'notes'), { recursive: true });
  await mkdir(dataDir('blocks', '.hidden', '0'.repeat(32)), { recursive: true });
  const one = await startStore();
  expect(await listIds(one)).toEqual([]);
  expect(existsSync(dataDir('blocks', 'anonymous', 'notes'))).toBe(true);
  expect(existsSync(dataDir('blocks', '.hidden', '0'.repeat(32)))).toBe(true);
});

test('more blocks than may stay open are all readable', async () => {
  const one = await startStore({ openBlocksMax: 1 });
  for (const startHour of [10, 12, 14, 16]) await put(one, await twoHours(startHour * HOUR_MS));
  for (let round = 0; round < 3; round++) expect((await select(one)).series).toHaveLength(16);
});

test('malformed requests are the caller’s errors', async () => {
  const one = await startStore();
  await put(one, await twoHours(10 * HOUR_MS));
  await expect(select(one, { matchers: [] })).rejects.toMatchObject({ code: 'bad_data' });
  await expect(select(one, { tenant: '' })).rejects.toMatchObject({ code: 'bad_data' });
  const malformed = [{ type: MatchType.MATCH_TYPE_REGEX, name: 'a', value: '(' }];
  await expect(select(one, { matchers: malformed })).rejects.toMatchObject({ code: 'bad_data' });
  const fetch = one.client.fetchBlock({ tenant: '..', blockId: 'x' }, { signal })[Symbol.asyncIterator]();
  await expect(fetch.next()).rejects.toMatchObject({ code: 'not_found' });
});

test('stop ends a put whose sender is stuck, and a select whose reader went silent', async () => {
  const one = await startStore();
  const block = await twoHours(10 * HOUR_MS);
  await put(one, await twoHours(12 * HOUR_MS, 40_000));
  const unstuck = Promise.withResolvers<void>();
  async function* stuck() {
    for await (const message of putMessages(block)) {
      yield message;
      if (pieceOf(message)) await unstuck.promise;
    }
  }
  const pending = one.client.putBlock(stuck(), { signal });
  const ended = expect(pending).rejects.toMatchObject({ code: 'unavailable' });
  const silent = one.client.select(everything, { signal })[Symbol.asyncIterator]();
  await silent.next();
  await eventually(() => readdir(dataDir('blocks-transit'))).toHaveLength(1);
  const stopped = one.store.stop();
  await ended;
  clock.advance(5000);
  await stopped;
  unstuck.resolve();
  const readOn = async () => {
    while (!(await silent.next()).done);
  };
  await expect(readOn()).rejects.toMatchObject({ code: 'unavailable' });
  expect(await readdir(dataDir('blocks-transit'))).toEqual([]);
});

test('puts at once share the room on the disk', async () => {
  const blocks = [await twoHours(10 * HOUR_MS), await twoHours(12 * HOUR_MS)];
  const bytes = blocks[0]!.files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const room = { freeBytes: 1000 + bytes * 1.5, totalBytes: 1e9 };
  const one = await startStore(
    { diskReserveBytes: 1000 },
    { ...systemDisk, space: () => Promise.resolve(room) },
  );
  const results = await Promise.allSettled(blocks.map((block) => put(one, block)));
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  for (const block of blocks) await put(one, block);
  expect(await listIds(one)).toHaveLength(2);
});

test('a drained store takes no calls, a stopped one ends what runs', async () => {
  const one = await startStore();
  await put(one, await twoHours(10 * HOUR_MS, 5000));
  const messages = one.client.select({ ...everything }, { signal })[Symbol.asyncIterator]();
  await messages.next();
  const drained = one.store.drain();
  expect(one.store.isReady()).toBe(false);
  await expect(select(one)).rejects.toMatchObject({ code: 'unavailable' });
  await messages.return?.();
  await drained;
  await one.store.stop();
  await one.store.stop();
});

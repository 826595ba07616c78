// The store through its contract: blocks arrive whole or not at all.
import { readdir } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import {
  everything,
  HOUR_MS,
  headerOf,
  listIds,
  pieceOf,
  put,
  putMessages,
  select,
  signal,
  useStoreWorld,
} from '../../test/support/store-world.ts';
import { type Disk, systemDisk } from '../lib/core/disk.ts';
import type { PutBlockRequest } from '../lib/wire/contracts.ts';

const world = useStoreWorld();
const { startStore, dataDir, twoHours } = world;

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
  world.clock.advance(5000);
  await stopped;
  unstuck.resolve();
  const readOn = async () => {
    while (!(await silent.next()).done);
  };
  await expect(readOn()).rejects.toMatchObject({ code: 'unavailable' });
  expect(await readdir(dataDir('blocks-transit'))).toEqual([]);
});

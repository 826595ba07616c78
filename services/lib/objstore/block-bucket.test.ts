// Blocks in a bucket over a real S3 API: the keys that docs/layout.md draws, whole or not there whatever breaks off, and nothing damaged taken for a
// block.
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { buildBlock, temporaryFolder } from '../../../test/support/blocks.ts';
import {
  hasS3Gateway,
  objectStoreOf,
  type S3Gateway,
  startS3Gateway,
} from '../../../test/support/s3-gateway.ts';
import { seriesOf, type TestSample } from '../../../test/support/sample-blocks.ts';
import { AppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import type { BuiltBlock } from '../tsdb/block/block-writer.ts';
import { BlockBucket, fileDigestsOf } from './block-bucket.ts';
import type { ObjectStore } from './object-store.ts';

const signal = new AbortController().signal;
const nothing = (): void => undefined;
const right = { leftMs: () => 30_000 };

async function builtBlock(): Promise<BuiltBlock & { readonly dir: string }> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const dir = path.join(folder.path, 'built');
  const points = Array.from(
    { length: 500 },
    (_, i): TestSample => [i * 1_000, Math.imul(i, 0x9e3779b1) >>> 0, 0x40000000 + i],
  );
  return { ...(await buildBlock(dir, [seriesOf(Labels.from([['__name__', 'up']]), points)])), dir };
}

const keysIn = ({ bucketFolder }: S3Gateway): string[] =>
  globSync('**/*', { cwd: bucketFolder, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(bucketFolder, path.join(entry.parentPath, entry.name)))
    .toSorted();

const tombstone = (blockId: string) => ({
  ...{ id: '7'.repeat(32), createdAtMs: 5, actor: 'test', blocks: [blockId, 'f'.repeat(32)] },
  ...{ matchers: [{ name: 'job', operator: '=' as const, value: 'a' }], minTimeMs: 1, maxTimeMs: 2 },
});

/** The store, failing at its n-th call; 0: never. `calls` counts. */
function failingAt(store: ObjectStore, at: number): { store: ObjectStore; calls: () => number } {
  let calls = 0;
  const step = (): void => {
    if (++calls === at) throw new AppError('unavailable', 'the network went away');
  };
  return {
    calls: () => calls,
    store: {
      name: store.name,
      put: async (key, bytes, own) => {
        step();
        await store.put(key, bytes, own);
      },
      putFile: async (key, file, onProgress, own) => {
        step();
        await store.putFile(key, file, onProgress, own);
      },
      digestOf: async (key, own) => {
        step();
        return store.digestOf(key, own);
      },
      statOf: async (key, own) => store.statOf(key, own),
      getRange: async (key, start, end, own) => store.getRange(key, start, end, own),
      get: async (key, bytesMax, own) => store.get(key, bytesMax, own),
      read: (key, start, size, own) => store.read(key, start, size, own),
      list: (prefix, own) => store.list(prefix, own),
      remove: async (key, held, own) => {
        step();
        await store.remove(key, held, own);
      },
    },
  };
}

describe.skipIf(!hasS3Gateway())('a block in a bucket', { timeout: 60_000 }, () => {
  test('lies there as the layout says, and comes back as it was, from any byte on', async () => {
    const gateway = await startS3Gateway();
    const block = await builtBlock();
    const { tenant, blockId } = block.meta;
    const bucket = new BlockBucket({ store: objectStoreOf(gateway) });
    const progress: number[] = [];
    await bucket.putBlock(
      block.meta,
      block.dir,
      [tombstone(blockId)],
      (done) => void progress.push(done),
      signal,
    );
    const { index, chunks } = block.meta.files;
    expect(progress).toEqual([index.sizeBytes, index.sizeBytes + chunks.sizeBytes]);
    const folder = `test/cluster/blocks/${tenant}/${blockId}`;
    expect(keysIn(gateway)).toEqual(
      ['chunks', 'deletes.json', 'index', 'meta.json'].map((name) => `${folder}/${name}`),
    );
    for (const name of ['index', 'chunks', 'meta.json']) {
      const there = readFileSync(path.join(gateway.bucketFolder, folder, name));
      expect(there.equals(readFileSync(path.join(block.dir, name))), name).toBe(true);
    }
    expect(await Array.fromAsync(bucket.list(signal))).toMatchObject([
      { tenant, blockId, deletesTag: expect.any(String) },
    ]);
    expect(await bucket.readMeta(block.meta, signal)).toMatchObject(block.meta);
    // Of the block alone, whatever else the delete concerns.
    expect(await bucket.readDeletes(block.meta, signal)).toEqual([
      { ...tombstone(blockId), blocks: [blockId] },
    ]);

    const files = fileDigestsOf(block.meta);
    const whole = Buffer.concat(files.map(({ name }) => readFileSync(path.join(block.dir, name))));
    for (const skip of [0, 1, files[0]!.sizeBytes, files[0]!.sizeBytes + 1, whole.length - 1, whole.length]) {
      const pieces = await Array.fromAsync(bucket.readFiles(block.meta, skip, signal));
      expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).equals(whole.subarray(skip)), `${skip}`).toBe(
        true,
      );
    }
    await bucket.putDeletes(block.meta, [], signal);
    expect(await bucket.readDeletes(block.meta, signal)).toEqual([]);
    await bucket.removeBlock(block.meta, right, signal);
    expect(keysIn(gateway)).toEqual([]);
  });

  test('is there whole or not at all, wherever bringing or removing it breaks off; the next try completes it', async () => {
    const gateway = await startS3Gateway();
    const store = objectStoreOf(gateway);
    const block = await builtBlock();
    const whole = new BlockBucket({ store });
    const listed = async () =>
      (await Array.fromAsync(whole.list(signal))).filter(({ metaTag }) => metaTag !== undefined).length;
    const isReadable = async () => {
      const found = Buffer.concat(
        (await Array.fromAsync(whole.readFiles(block.meta, 0, signal))).map(({ bytes }) => bytes),
      );
      return found.equals(
        Buffer.concat(fileDigestsOf(block.meta).map(({ name }) => readFileSync(path.join(block.dir, name)))),
      );
    };
    for (let at = 1, isOver = false; !isOver; at++) {
      const failing = failingAt(store, at);
      const bucket = new BlockBucket({ store: failing.store });
      await bucket
        .putBlock(block.meta, block.dir, [tombstone(block.meta.blockId)], nothing, signal)
        .catch(nothing);
      isOver = failing.calls() < at;
      expect(await listed(), `put, call ${at}`).toBe(isOver ? 1 : 0);
    }
    expect(await isReadable()).toBe(true);
    for (let at = 1, isOver = false; !isOver; at++) {
      const failing = failingAt(store, at);
      await new BlockBucket({ store: failing.store }).removeBlock(block.meta, right, signal).catch(nothing);
      isOver = failing.calls() < at;
      if ((await listed()) === 1) expect(await isReadable(), `removal, call ${at}`).toBe(true);
      else await whole.putBlock(block.meta, block.dir, [], nothing, signal);
      if (isOver) break;
    }
  });

  test('that broke off is removed, unless another store has brought it whole, or begun to, since it was listed', async () => {
    const gateway = await startS3Gateway();
    const store = objectStoreOf(gateway);
    const block = await builtBlock();
    const { tenant, blockId } = block.meta;
    const bucket = new BlockBucket({ store });
    await bucket.putBlock(block.meta, block.dir, [], nothing, signal);
    const later = Date.now() + 3_600_000;
    // Whole, whatever an earlier listing said.
    expect(await bucket.removeLeftover(block.meta, later, right, signal)).toBe(false);
    expect(await bucket.readMeta(block.meta, signal)).toMatchObject(block.meta);
    await store.remove(`blocks/${tenant}/${blockId}/meta.json`, right, signal);
    // On its way.
    expect(await bucket.removeLeftover(block.meta, Date.now() - 3_600_000, right, signal)).toBe(false);
    expect(keysIn(gateway)).toHaveLength(2);
    expect(await bucket.removeLeftover(block.meta, later, right, signal)).toBe(true);
    expect(keysIn(gateway)).toEqual([]);
    expect(await bucket.removeLeftover(block.meta, later, right, signal)).toBe(false);
  });

  test('is not there when what arrived is not what the block says', async () => {
    const gateway = await startS3Gateway();
    const block = await builtBlock();
    const bucket = new BlockBucket({ store: objectStoreOf(gateway) });
    const chunks = path.join(block.dir, 'chunks');
    const bytes = readFileSync(chunks);
    bytes[7]! ^= 1;
    writeFileSync(chunks, bytes);
    await expect(bucket.putBlock(block.meta, block.dir, [], nothing, signal)).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringMatching(/chunks has \d+ bytes with CRC .* after the upload/),
    });
    expect(await Array.fromAsync(bucket.list(signal))).toMatchObject([{ metaTag: undefined }]);
  });

  test('that is damaged there, or of another name, is none', async () => {
    const gateway = await startS3Gateway();
    const block = await builtBlock();
    const store = objectStoreOf(gateway);
    const bucket = new BlockBucket({ store });
    await bucket.putBlock(block.meta, block.dir, [], nothing, signal);
    const key = `blocks/${block.meta.tenant}/${block.meta.blockId}/meta.json`;
    const text = Buffer.from(await store.get(key, 1 << 20, signal)).toString();
    for (const damaged of [text.slice(1), text.replace('"level":1', '"level":2'), '', '{}']) {
      await store.put(key, Buffer.from(damaged), signal);
      await expect(bucket.readMeta(block.meta, signal)).rejects.toMatchObject({ code: 'bad_data' });
    }
    const other = { tenant: 'other', blockId: block.meta.blockId };
    await store.put(`blocks/other/${other.blockId}/meta.json`, Buffer.from(text), signal);
    await expect(bucket.readMeta(other, signal)).rejects.toThrow(/is of block .* of tenant anonymous/);
    // Names that are none are not even looked at.
    for (const strange of [
      'blocks/x/y/meta.json',
      `blocks/../${other.blockId}`,
      `blocks/t/${other.blockId}/a/b`,
    ])
      await store.put(strange, Buffer.from('x'), signal).catch(nothing);
    expect((await Array.fromAsync(bucket.list(signal))).map(({ tenant }) => tenant)).toEqual([
      'anonymous',
      'other',
    ]);
  });

  test('the first cluster that asks has the bucket; another is refused by name, whatever was written over', async () => {
    const gateway = await startS3Gateway();
    const bucket = new BlockBucket({ store: objectStoreOf(gateway) });
    await bucket.claim('one', signal);
    await bucket.claim('one', signal);
    await expect(bucket.claim('two', signal)).rejects.toMatchObject({ code: 'failed_precondition' });
    const key = keysIn(gateway).find((name) => name.endsWith('cluster.json'))!;
    const file = path.join(gateway.bucketFolder, key);
    expect(readFileSync(file, 'utf8')).toBe('{"version":1,"cluster":"one"}\n');
    // Both began at once, and the other one wrote last.
    writeFileSync(file, '{"version":1,"cluster":"two"}\n');
    await expect(bucket.claim('one', signal)).rejects.toThrow(
      'holds blocks of the cluster "two", this one is "one"',
    );
    for (const text of ['', '{}', 'nothing', '[1]', '{"cluster":7}']) {
      writeFileSync(file, text);
      await expect(bucket.claim('one', signal)).rejects.toMatchObject({ code: 'bad_data' });
    }
  });
});

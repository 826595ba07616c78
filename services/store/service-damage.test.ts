// The store through its contract: what a crash or damage left is set aside at a start or by a query, and named as missing.
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { eventually } from '../../test/support/eventually.ts';
import { HOUR_MS, labels, listIds, put, select, useStoreWorld } from '../../test/support/store-world.ts';

const world = useStoreWorld();
const { startStore, passTime, dataDir, twoHours } = world;

async function flip(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[at < 0 ? bytes.length + at : at]! ^= 1;
  await writeFile(file, bytes);
}

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
  await eventually(() => world.clock.sleeping).toBe(2);
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

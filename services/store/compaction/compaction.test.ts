// Compaction of a store: overlapping blocks become one, answers stay the same throughout, and a crash at any operation of
// the disk loses nothing and doubles nothing.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { buildBlock, temporaryFolder } from '../../../test/support/blocks.ts';
import { CrashDisk } from '../../../test/support/crash-disk.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { seriesOf, type TestSample } from '../../../test/support/sample-blocks.ts';
import {
  HandClock,
  listedBlocks,
  putBuilt,
  type StoreRig,
  startStoreRig,
  storedContent,
} from '../../../test/support/store-rig.ts';
import { Labels } from '../../lib/model/labels.ts';
import { MatchType } from '../../lib/wire/contracts.ts';

const HOUR_MS = 3_600_000;
const RANGES = { compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS] };
const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];

const labelsOf = (job: string) =>
  Labels.from([
    ['__name__', 'up'],
    ['job', job],
  ]);

function samplesFrom(fromMs: number, stepMs: number, count: number, value: number): TestSample[] {
  const words = new Uint32Array(Float64Array.of(value).buffer);
  return Array.from({ length: count }, (_, i): TestSample => [fromMs + i * stepMs, words[0]!, words[1]!]);
}

/** A folder with a store's data in it: five blocks of which three overlap, in two ranges of two hours. */
async function filledFolder(): Promise<{ root: string; dataDir: string; clock: HandClock }> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const dataDir = path.join(folder.path, 'data');
  const clock = new HandClock(100 * HOUR_MS);
  const rig = await startStoreRig(dataDir, clock);
  const plans: [number, number, readonly string[]][] = [
    [24, 1, ['a', 'b']],
    [24, 2, ['b', 'c']],
    [24.5, 3, ['a', 'c']],
    [26, 4, ['a', 'b', 'c']],
    [60, 5, ['z']],
  ];
  for (const [i, [hour, value, jobs]] of plans.entries()) {
    const series = jobs.map((job) =>
      seriesOf(labelsOf(job), samplesFrom(hour * HOUR_MS, 30_000, 100, value), 40),
    );
    await putBuilt(rig, await buildBlock(path.join(folder.path, `built-${i}`), series));
  }
  await rig.store.stop();
  return { root: folder.path, dataDir, clock };
}

async function stopped<T>(rig: StoreRig, read: (rig: StoreRig) => Promise<T>): Promise<T> {
  try {
    return await read(rig);
  } finally {
    await rig.store.stop();
  }
}

test('blocks of a range that is over become one, and answers stay what they were', async () => {
  const { dataDir, clock } = await filledFolder();
  const before = await stopped(await startStoreRig(dataDir, clock), (rig) => storedContent(rig, everything));
  const rig = await startStoreRig(dataDir, clock, RANGES);
  onTestFinished(() => rig.store.stop());
  await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
  expect(await storedContent(rig, everything)).toEqual(before);
  const [merged] = await listedBlocks(rig);
  expect(merged).toMatchObject({ minTimeMs: 24 * HOUR_MS, series: 3 });
  await eventually(() => readdirSync(path.join(dataDir, 'blocks', 'anonymous')).length).toBe(2);
  const text = await rig.registry.metrics();
  expect(text).toContain('tidemark_store_compactions_total{reason="merge",result="done"} 1');
  const meta = readFileSync(path.join(dataDir, 'blocks', 'anonymous', merged!.blockId, 'meta.json'), 'utf8');
  expect((JSON.parse(meta) as { block: { sources: string[]; level: number } }).block).toMatchObject({
    level: 2,
  });
});

test('a block that was merged is there already when it is put again', async () => {
  const { root, dataDir, clock } = await filledFolder();
  const rig = await startStoreRig(dataDir, clock, RANGES);
  onTestFinished(() => rig.store.stop());
  await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
  const series = ['a', 'b'].map((job) =>
    seriesOf(labelsOf(job), samplesFrom(24 * HOUR_MS, 30_000, 100, 1), 40),
  );
  const again = await buildBlock(path.join(root, 'again'), series);
  expect(await putBuilt(rig, again)).toEqual({ existed: true });
});

test('a block that came lately waits, so that others can come too', async () => {
  const { root, dataDir, clock } = await filledFolder();
  const rig = await startStoreRig(dataDir, clock, RANGES);
  onTestFinished(() => rig.store.stop());
  await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
  const late = [seriesOf(labelsOf('late'), samplesFrom(25 * HOUR_MS, 1000, 5, 9))];
  await putBuilt(rig, await buildBlock(path.join(root, 'late'), late));
  clock.wallMs += 1.4 * HOUR_MS;
  const runs = 'tidemark_store_compactions_total{reason="merge",result="done"}';
  expect(await rig.registry.metrics()).toContain(`${runs} 1`);
  expect(await listedBlocks(rig)).toHaveLength(3);
  clock.wallMs += 0.2 * HOUR_MS;
  await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
  expect((await storedContent(rig, everything)).get(labelsOf('late').toString())?.size).toBe(5);
});

test('a block that brought nothing new is known to be held, also after a restart', async () => {
  const { root, dataDir, clock } = await filledFolder();
  const rig = await startStoreRig(dataDir, clock, RANGES);
  await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
  const before = await listedBlocks(rig);
  const part = [seriesOf(labelsOf('b'), samplesFrom(24 * HOUR_MS, 30_000, 20, 2), 40)];
  const late = await buildBlock(path.join(root, 'part'), part);
  expect(await putBuilt(rig, late)).toEqual({ existed: false });
  clock.wallMs += 2 * HOUR_MS;
  await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
  expect((await listedBlocks(rig)).map(({ blockId }) => blockId)).toEqual(
    before.map(({ blockId }) => blockId),
  );
  expect(await putBuilt(rig, late)).toEqual({ existed: true });
  await rig.store.stop();
  const again = await startStoreRig(dataDir, clock, RANGES);
  onTestFinished(() => again.store.stop());
  expect(await putBuilt(again, late)).toEqual({ existed: true });
});

test('retention takes merged blocks by their newest sample, and by size', async () => {
  const { dataDir, clock } = await filledFolder();
  const rig = await startStoreRig(dataDir, clock, {
    ...RANGES,
    retentionMs: 75 * HOUR_MS,
    retentionCheckMs: 10,
  });
  onTestFinished(() => rig.store.stop());
  await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
  // The newest sample of the merged block is of hour 26 and fifty minutes.
  clock.wallMs = 101.8 * HOUR_MS;
  await eventually(() => rig.store.isReady()).toBe(true);
  expect(await listedBlocks(rig)).toHaveLength(2);
  clock.wallMs = 101.9 * HOUR_MS;
  await eventually(async () => (await listedBlocks(rig)).map(({ minTimeMs }) => minTimeMs)).toEqual([
    60 * HOUR_MS,
  ]);
  await rig.store.stop();
  const small = await startStoreRig(dataDir, clock, { retentionBytes: 1, retentionCheckMs: 10 });
  onTestFinished(() => small.store.stop());
  await eventually(() => listedBlocks(small)).toEqual([]);
});

test('a merged block that comes from elsewhere takes the place of what it holds', async () => {
  const { root, dataDir, clock } = await filledFolder();
  const other = path.join(root, 'other');
  cpSync(dataDir, other, { recursive: true });
  const merging = await startStoreRig(other, clock, RANGES);
  await eventually(async () => (await listedBlocks(merging)).length).toBe(2);
  await merging.store.stop();
  const merged = readdirSync(path.join(other, 'blocks', 'anonymous')).find(
    (blockId) => !existsSync(path.join(dataDir, 'blocks', 'anonymous', blockId)),
  )!;
  cpSync(path.join(other, 'blocks', 'anonymous', merged), path.join(dataDir, 'blocks', 'anonymous', merged), {
    recursive: true,
  });
  const rig = await startStoreRig(dataDir, clock);
  onTestFinished(() => rig.store.stop());
  expect((await listedBlocks(rig)).map(({ blockId }) => blockId)).toContain(merged);
  expect(await listedBlocks(rig)).toHaveLength(2);
});

test('a damaged source is set aside and not merged', async () => {
  const { dataDir, clock } = await filledFolder();
  const folder = path.join(dataDir, 'blocks', 'anonymous');
  const victim = readdirSync(folder).find((id) => {
    const text = readFileSync(path.join(folder, id, 'meta.json'), 'utf8');
    return text.includes(`"minTimeMs":${26 * HOUR_MS}`);
  })!;
  const file = path.join(folder, victim, 'chunks');
  const bytes = readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(file, bytes);
  const rig = await startStoreRig(dataDir, clock, RANGES);
  onTestFinished(() => rig.store.stop());
  await eventually(() => existsSync(path.join(dataDir, 'blocks-quarantine', 'anonymous', victim))).toBe(true);
  await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
  const content = await storedContent(rig, everything);
  expect([...content.get(labelsOf('b').toString())!.keys()].every((timeMs) => timeMs < 26 * HOUR_MS)).toBe(
    true,
  );
});

/** Starts a store that compacts on a disk that dies at an operation; true when it got through before. */
async function compactAndDie(dataDir: string, clock: HandClock, disk: CrashDisk): Promise<boolean> {
  const rig = await startStoreRig(dataDir, clock, RANGES, disk).catch(() => undefined);
  if (rig === undefined) return false;
  await eventually(async () => disk.isDead || (await listedBlocks(rig)).length === 2).toBe(true);
  await rig.store.stop();
  return !disk.isDead;
}

test.each(['killed', 'without power'])(
  'a store that is %s at any operation of the disk loses and doubles nothing',
  async (how) => {
    const { root, dataDir, clock } = await filledFolder();
    const before = await stopped(await startStoreRig(dataDir, clock), (rig) =>
      storedContent(rig, everything),
    );
    let isThrough = false;
    let points = 0;
    for (let diesAt = 1; !isThrough; diesAt++) {
      const own = path.join(root, `run-${diesAt}`);
      cpSync(dataDir, own, { recursive: true });
      mkdirSync(path.join(own, 'blocks-transit'), { recursive: true });
      const disk = new CrashDisk(path.join(root, `graves-${diesAt}`));
      disk.diesAt = diesAt;
      isThrough = await compactAndDie(own, clock, disk);
      if (how === 'without power') disk.cutPower();
      points++;
      const left = await startStoreRig(own, clock);
      expect(await stopped(left, (rig) => storedContent(rig, everything)), `died at ${diesAt}`).toEqual(
        before,
      );
      const rig = await startStoreRig(own, clock, RANGES);
      await eventually(async () => (await listedBlocks(rig)).length).toBe(2);
      expect(await stopped(rig, (one) => storedContent(one, everything)), `went on after ${diesAt}`).toEqual(
        before,
      );
      expect(readdirSync(path.join(own, 'blocks', 'anonymous'))).toHaveLength(2);
    }
    // Every file of the new block, its move, and its sources' end are among them.
    expect(points).toBeGreaterThan(20);
  },
  120_000,
);

test('a merged block that was not synced would be lost, and the test above would see it', async () => {
  const { root, dataDir, clock } = await filledFolder();
  const disk = new CrashDisk(path.join(root, 'graves'));
  disk.forgetsFileSyncs = true;
  expect(await compactAndDie(dataDir, clock, disk)).toBe(true);
  disk.cutPower();
  const rig = await startStoreRig(dataDir, clock);
  expect((await stopped(rig, (one) => storedContent(one, everything))).size).toBeLessThan(4);
});

// Deletes on a store: hidden at once, gone from the disk after compaction, taken back until then, and never seen again by an
// accident.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
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
import type { Disk } from '../../lib/core/disk.ts';
import { Labels } from '../../lib/model/labels.ts';
import { type DeleteSeriesRequest, MatchType } from '../../lib/wire/contracts.ts';
import type { StoreOptions } from '../options.ts';

const HOUR_MS = 3_600_000;
const BASE_MS = 24 * HOUR_MS;
const TENANT = 'anonymous';
const signal = new AbortController().signal;
const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];
const jobA = [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: 'a' }];

const labelsOf = (job: string) =>
  Labels.from([
    ['__name__', 'up'],
    ['job', job],
  ]);
const A = labelsOf('a').toString();

function samplesFrom(fromMs: number, count: number): TestSample[] {
  return Array.from({ length: count }, (_, i): TestSample => [fromMs + i * 30_000, i, 0x40000000]);
}

interface World {
  readonly root: string;
  readonly dataDir: string;
  readonly clock: HandClock;
  start(options?: Partial<StoreOptions>, disk?: Disk): Promise<StoreRig>;
  /** Builds a block of 100 samples for each job from `fromMs` on and puts it. */
  put(
    rig: StoreRig,
    fromMs: number,
    jobs: readonly string[],
    samplesPerChunk?: number,
  ): Promise<{ existed: boolean }>;
}

async function createWorld(): Promise<World> {
  const folder = await temporaryFolder();
  const rigs: StoreRig[] = [];
  onTestFinished(async () => {
    for (const { store } of rigs) await store.stop();
    await folder[Symbol.asyncDispose]();
  });
  const dataDir = path.join(folder.path, 'data');
  const clock = new HandClock(100 * HOUR_MS);
  let built = 0;
  return {
    root: folder.path,
    dataDir,
    clock,
    start: async (options, disk) => {
      const rig = await startStoreRig(dataDir, clock, options, disk);
      rigs.push(rig);
      return rig;
    },
    put: async (rig, fromMs, jobs, samplesPerChunk = 40) => {
      const series = jobs.map((job) => seriesOf(labelsOf(job), samplesFrom(fromMs, 100), samplesPerChunk));
      return putBuilt(rig, await buildBlock(path.join(folder.path, `built-${built++}`), series));
    },
  };
}

let deletes = 0;
const deleteRequest = (change: Partial<DeleteSeriesRequest> = {}): DeleteSeriesRequest => ({
  tenant: TENANT,
  deleteId: (++deletes).toString(16).padStart(32, '0'),
  matchers: jobA,
  minTimeMs: BASE_MS,
  maxTimeMs: BASE_MS + 50 * 30_000 - 1,
  createdAtMs: 100 * HOUR_MS,
  actor: 'somebody',
  ...change,
});

const all: Partial<DeleteSeriesRequest> = { minTimeMs: -8.64e15, maxTimeMs: 8.64e15 };
const counts = async (rig: StoreRig) =>
  Object.fromEntries(
    [...(await storedContent(rig, everything))].map(([series, samples]) => [series, samples.size]),
  );
const labelValues = async ({ client }: StoreRig, matchers = everything.slice(1)) => {
  const range = { tenant: TENANT, minTimeMs: 0, maxTimeMs: 99 * HOUR_MS };
  return (await client.labels({ ...range, matchers, labelName: 'job', limit: 0 }, { signal })).values;
};
const B = labelsOf('b').toString();

test('what a delete names is hidden at once, also after a restart, and nothing else', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  await world.put(rig, BASE_MS + 4 * HOUR_MS, ['a', 'b']);
  expect(await rig.client.deleteSeries(deleteRequest(), { signal })).toEqual({ concerned: 1 });
  expect(await counts(rig)).toEqual({ [A]: 150, [B]: 200 });
  const left = [...(await storedContent(rig, everything)).get(A)!.keys()].sort((a, b) => a - b);
  expect(left[0]).toBe(BASE_MS + 50 * 30_000);
  await rig.store.stop();
  const again = await world.start();
  expect(await counts(again)).toEqual({ [A]: 150, [B]: 200 });
  expect((await again.client.listDeletes({ tenant: TENANT }, { signal })).deletes).toMatchObject([
    { actor: 'somebody', concerned: 1, minTimeMs: BASE_MS },
  ]);
});

test('a series of which nothing is left is in no answer about series and labels', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  expect(await labelValues(rig)).toEqual(['a', 'b']);
  await rig.client.deleteSeries(deleteRequest(all), { signal });
  expect(await labelValues(rig)).toEqual(['b']);
  expect(await labelValues(rig, everything)).toEqual(['b']);
  const series = await storedContent(rig, everything, { labelsOnly: true });
  expect([...series.keys()]).toEqual([B]);
});

test('a delete that was taken back stays so: neither a late request nor a copy of the block brings it again', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  const request = deleteRequest(all);
  const undo = { tenant: TENANT, deleteId: request.deleteId, actor: 'somebody else' };
  await rig.client.deleteSeries(request, { signal });
  expect(await rig.client.undoDelete(undo, { signal })).toEqual({ undone: true });
  // The gateway that asked was stopped on its way through the nodes, and goes on.
  const late = rig.client.deleteSeries(request, { signal });
  await expect(late).rejects.toMatchObject({ code: 'failed_precondition', message: /was taken back/ });
  expect(await counts(rig)).toEqual({ [A]: 100, [B]: 100 });
  await rig.store.stop();
  const again = await world.start();
  await expect(again.client.deleteSeries(request, { signal })).rejects.toMatchObject({
    code: 'failed_precondition',
  });
  // The undo came to this node before the delete did.
  const early = deleteRequest(all);
  expect(await again.client.undoDelete({ ...undo, deleteId: early.deleteId }, { signal })).toEqual({
    undone: false,
  });
  await expect(again.client.deleteSeries(early, { signal })).rejects.toMatchObject({
    code: 'failed_precondition',
  });
  expect(await counts(again)).toEqual({ [A]: 100, [B]: 100 });
  await expect(again.client.undoDelete({ ...undo, deleteId: 'x' }, { signal })).rejects.toMatchObject({
    code: 'bad_data',
  });
  // A new one is another.
  await again.client.deleteSeries(deleteRequest(all), { signal });
  expect(await counts(again)).toEqual({ [B]: 100 });
});

test('what is written after a delete is visible; what was deleted does not come back with its block', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a']);
  await rig.client.deleteSeries(deleteRequest(all), { signal });
  expect(await counts(rig)).toEqual({});
  expect(await world.put(rig, BASE_MS, ['a'])).toEqual({ existed: true });
  expect(await counts(rig)).toEqual({});
  await world.put(rig, BASE_MS + 1000, ['a']);
  expect(await counts(rig)).toEqual({ [A]: 100 });
});

test('compaction takes deleted samples off the disk when their time is over; until then a delete can be undone', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  const first = deleteRequest();
  await rig.client.deleteSeries(first, { signal });
  const undo = { tenant: TENANT, deleteId: first.deleteId, actor: 'somebody else' };
  expect(await rig.client.undoDelete(undo, { signal })).toEqual({ undone: true });
  expect(await counts(rig)).toEqual({ [A]: 100, [B]: 100 });
  const second = deleteRequest();
  await rig.client.deleteSeries(second, { signal });
  const [before] = await listedBlocks(rig);
  world.clock.wallMs += 25 * HOUR_MS;
  await eventually(async () => (await listedBlocks(rig))[0]!.blockId).not.toBe(before!.blockId);
  expect((await listedBlocks(rig))[0]).toMatchObject({ samples: 150 });
  expect(await counts(rig)).toEqual({ [A]: 50, [B]: 100 });
  await eventually(
    async () => (await rig.client.listDeletes({ tenant: TENANT }, { signal })).deletes,
  ).toEqual([]);
  expect(await rig.client.undoDelete({ ...undo, deleteId: second.deleteId }, { signal })).toEqual({
    undone: false,
  });
  await eventually(() => readdirSync(path.join(world.dataDir, 'blocks', TENANT)).length).toBe(1);
  const lines = readFileSync(path.join(world.dataDir, 'tombstones', TENANT, 'audit.jsonl'), 'utf8');
  const actions = lines
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { action: string; actor: string });
  expect(actions.map(({ action }) => action)).toEqual(['delete', 'undo', 'delete', 'applied']);
  expect(actions[1]).toMatchObject({ actor: 'somebody else', match: '{job="a"}', minTimeMs: BASE_MS });
});

test('clean_tombstones does it now; a block of which nothing is left goes, and is not taken again', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a']);
  await world.put(rig, BASE_MS + 4 * HOUR_MS, ['b']);
  await rig.client.deleteSeries(deleteRequest(all), { signal });
  expect(await rig.client.cleanTombstones({ tenant: TENANT, actor: 'somebody' }, { signal })).toEqual({
    blocks: 1,
  });
  expect(await listedBlocks(rig)).toHaveLength(1);
  expect(await world.put(rig, BASE_MS, ['a'])).toEqual({ existed: true });
  await rig.store.stop();
  const again = await world.start();
  expect(await counts(again)).toEqual({ [B]: 100 });
  expect(await world.put(again, BASE_MS, ['a'])).toEqual({ existed: true });
});

test('a rewritten block that is just like another one gives way to it, and holds nothing up', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b'], 100);
  const [both] = await listedBlocks(rig);
  await rig.client.deleteSeries(deleteRequest(all), { signal });
  // As a replica seals it after the delete.
  await world.put(rig, BASE_MS, ['b'], 100);
  await world.put(rig, BASE_MS + 4 * HOUR_MS, ['a']);
  await rig.client.deleteSeries(deleteRequest(all), { signal });
  expect(await rig.client.cleanTombstones({ tenant: TENANT, actor: 'somebody' }, { signal })).toEqual({
    blocks: 2,
  });
  const left = await listedBlocks(rig);
  expect(left).toHaveLength(1);
  expect(left).not.toEqual([both]);
  expect(await counts(rig)).toEqual({ [B]: 100 });
  // What went is in it.
  expect(await world.put(rig, BASE_MS, ['a', 'b'], 100)).toEqual({ existed: true });
  await rig.store.stop();
  const again = await world.start();
  expect(await counts(again)).toEqual({ [B]: 100 });
  expect(await world.put(again, BASE_MS, ['a', 'b'], 100)).toEqual({ existed: true });
});

test('of a merged block of which nothing is left, what it was merged from is not taken again either', async () => {
  const world = await createWorld();
  const rig = await world.start({ compactionRangesMs: [2 * HOUR_MS, 12 * HOUR_MS] });
  await world.put(rig, BASE_MS, ['a']);
  await world.put(rig, BASE_MS + 4 * HOUR_MS, ['a']);
  world.clock.wallMs += 12 * HOUR_MS;
  await eventually(async () => (await listedBlocks(rig)).length).toBe(1);
  await rig.client.deleteSeries(deleteRequest(all), { signal });
  await rig.client.cleanTombstones({ tenant: TENANT, actor: 'somebody' }, { signal });
  expect(await listedBlocks(rig)).toEqual([]);
  for (const hours of [0, 4])
    expect(await world.put(rig, BASE_MS + hours * HOUR_MS, ['a'])).toEqual({ existed: true });
  expect(await counts(rig)).toEqual({});
});

test('a delete that matches nothing leaves no trace but the audit record', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['b']);
  expect(await rig.client.deleteSeries(deleteRequest(), { signal })).toEqual({ concerned: 0 });
  expect(existsSync(path.join(world.dataDir, 'tombstones', TENANT, 'tombstones.json'))).toBe(false);
});

test('a store does not start on a damaged table of deletes', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a']);
  await rig.client.deleteSeries(deleteRequest(), { signal });
  await rig.store.stop();
  const file = path.join(world.dataDir, 'tombstones', TENANT, 'tombstones.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace('"job"', '"jab"'));
  await expect(world.start()).rejects.toThrow(/tombstones\.json is damaged/);
});

test.each([
  [{ deleteId: 'x' }, /delete id "x"/],
  [{ matchers: [] }, /at least one matcher/],
  [{ matchers: [{ type: MatchType.MATCH_TYPE_REGEX, name: 'a', value: '(' }] }, /regular expression|missing/],
])('a malformed delete is refused: %j', async (change, message) => {
  const world = await createWorld();
  const rig = await world.start();
  await expect(rig.client.deleteSeries(deleteRequest(change), { signal })).rejects.toThrow(message);
});

test('a crash at any operation of delete and cleaning shows nothing that was deleted', async () => {
  let isThrough = false;
  let points = 0;
  for (let diesAt = 2; !isThrough; diesAt += 3) {
    const world = await createWorld();
    const seed = await world.start();
    await world.put(seed, BASE_MS, ['a', 'b']);
    await seed.store.stop();
    const disk = new CrashDisk(path.join(world.root, 'graves'));
    disk.diesAt = diesAt;
    const rig = await world.start({}, disk).catch(() => undefined);
    const isDeleted = await rig?.client.deleteSeries(deleteRequest(), { signal }).catch(() => undefined);
    if (isDeleted !== undefined) {
      await rig!.client.cleanTombstones({ tenant: TENANT, actor: 'x' }, { signal }).catch(() => undefined);
    }
    isThrough = !disk.isDead;
    points++;
    await rig?.store.stop();
    disk.cutPower();
    const again = await world.start();
    const found = await counts(again);
    expect(found[B], `died at ${diesAt}`).toBe(100);
    if (isDeleted !== undefined) expect(found[A], `died at ${diesAt}`).toBe(50);
    else expect([50, 100]).toContain(found[A]);
  }
  expect(points).toBeGreaterThan(10);
}, 60_000);

test('a snapshot has the blocks and hides what was deleted, and a store starts on it', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  await rig.client.deleteSeries(deleteRequest(), { signal });
  expect(await rig.client.snapshot({ name: '20260102T030405Z-00' }, { signal })).toEqual({ blocks: 1 });
  await expect(rig.client.snapshot({ name: '20260102T030405Z-00' }, { signal })).rejects.toThrow(
    /there already/,
  );
  await expect(rig.client.snapshot({ name: '../x' }, { signal })).rejects.toThrow(/is not 1 to 128/);
  await rig.client.deleteSeries(deleteRequest(all), { signal });
  await rig.client.cleanTombstones({ tenant: TENANT, actor: 'x' }, { signal });
  expect(await counts(rig)).toEqual({ [B]: 100 });
  const snapshot = path.join(world.dataDir, 'snapshots', '20260102T030405Z-00');
  const copy = await startStoreRig(snapshot, world.clock);
  onTestFinished(() => copy.store.stop());
  expect(await counts(copy)).toEqual({ [A]: 50, [B]: 100 });
  expect(readdirSync(path.join(world.dataDir, 'blocks-transit'))).toEqual([]);
});

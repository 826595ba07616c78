// Downsampling and retention rules of a store: which blocks are made, which answer, which go, and what a crash at any operation of the
// disk leaves. That aggregates answer what samples do is test/integration/downsampling-answers.test.ts.
import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { buildBlock, temporaryFolder } from '../../../test/support/blocks.ts';
import { CrashDisk } from '../../../test/support/crash-disk.ts';
import { eventually } from '../../../test/support/eventually.ts';
import { seriesOf, type TestSample } from '../../../test/support/sample-blocks.ts';
import {
  HandClock,
  putBuilt,
  type StoreRig,
  startStoreRig,
  storedContent,
} from '../../../test/support/store-rig.ts';
import type { Disk } from '../../lib/core/disk.ts';
import { decodeLabels, Labels } from '../../lib/model/labels.ts';
import { readSeriesMatchers } from '../../lib/rules/series-matchers.ts';
import type { StoragePolicy } from '../../lib/runtime/config/storage-policy.ts';
import { SeriesSamples } from '../../lib/tsdb/chunk/series-samples.ts';
import { MatchType } from '../../lib/wire/contracts.ts';
import { readSeriesFrame } from '../../lib/wire/frames/series-frame.ts';
import type { StoreOptions } from '../options.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const FIVE_MINUTES = 300_000;
const BASE_MS = 96 * HOUR_MS;
const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];
const signal = new AbortController().signal;

const level = (resolutionMs: number, afterMs: number, retentionMs: number) => ({
  resolutionMs,
  afterMs,
  retentionMs,
});
const POLICY: StoragePolicy = {
  downsampling: [level(FIVE_MINUTES, DAY_MS, 100 * DAY_MS), level(HOUR_MS, 2 * DAY_MS, 0)],
  retention: [],
};

const labelsOf = (job: string) =>
  Labels.from([
    ['__name__', 'up_total'],
    ['job', job],
  ]);

function samplesFrom(fromMs: number, count: number): TestSample[] {
  return Array.from({ length: count }, (_, i): TestSample => {
    const words = new Uint32Array(Float64Array.of(i).buffer);
    return [fromMs + i * 15_000, words[0]!, words[1]!];
  });
}

/** A store of two hours of two series, and what a test does with it. */
async function createWorld(options: Partial<StoreOptions> = {}) {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const dataDir = path.join(folder.path, 'data');
  const clock = new HandClock(BASE_MS + 3 * HOUR_MS);
  const rigs: StoreRig[] = [];
  onTestFinished(async () => {
    for (const { store } of rigs) await store.stop();
  });
  let built = 0;
  const world = {
    root: folder.path,
    dataDir,
    clock,
    start: async (more: Partial<StoreOptions> = {}, dir = dataDir, disk?: Disk) => {
      const all = {
        storagePolicy: POLICY,
        retentionCheckMs: 10,
        deleteDelayMs: HOUR_MS,
        ...options,
        ...more,
      };
      const rig = await startStoreRig(dir, clock, all, disk);
      rigs.push(rig);
      return rig;
    },
    put: async (rig: StoreRig, fromMs: number, jobs: readonly string[], count = 480) => {
      const series = jobs.map((job) => seriesOf(labelsOf(job), samplesFrom(fromMs, count), 240));
      await putBuilt(rig, await buildBlock(path.join(folder.path, `built-${built++}`), series));
    },
    blocks: () => readdirSync(path.join(dataDir, 'blocks', 'anonymous')).sort(),
  };
  return world;
}

/** By series: how many samples came, and the samples that each cell stands for. */
async function contentOf({ client }: StoreRig, alignMs: number) {
  const found = new Map<string, SeriesSamples>();
  let current = new SeriesSamples();
  const request = {
    tenant: 'anonymous',
    matchers: everything,
    minTimeMs: 0,
    maxTimeMs: 1e15,
    labelsOnly: false,
    partitions: [],
    seriesMax: 0,
    alignMs,
  };
  for await (const { frame } of client.select(request, { signal })) {
    readSeriesFrame(frame, {
      beginSeries: (bytes, start, end) => {
        const job = decodeLabels(bytes, start, end).get('job');
        current = found.get(job) ?? new SeriesSamples();
        found.set(job, current);
      },
      chunk: (encoding, _min, _max, bytes, start, end) => {
        const own = bytes.slice(start, end);
        current.addChunk(encoding, own, 0, own.length);
      },
    });
  }
  return Object.fromEntries(
    [...found].map(([job, { floats, cells }]) => [
      job,
      {
        samples: floats.count,
        cells: [...cells.counts.subarray(0, cells.count)],
        coarsest: cells.coarsestMs,
      },
    ]),
  );
}

/** Two hours of 15 s from a whole hour: the first sample is in the range before. */
const CELLS = [1, ...Array.from({ length: 23 }, () => 20), 19];
const AS_SAMPLES = { samples: 480, cells: [], coarsest: 0 };
const AS_CELLS = { samples: 0, cells: CELLS, coarsest: FIVE_MINUTES };

test('samples of the age that is configured get aggregates, which answer where they do', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  expect(await contentOf(rig, FIVE_MINUTES)).toEqual({ a: AS_SAMPLES, b: AS_SAMPLES });
  world.clock.wallMs = BASE_MS + 27 * HOUR_MS;
  await eventually(() => world.blocks().length).toBe(2);
  await eventually(() => contentOf(rig, FIVE_MINUTES)).toEqual({ a: AS_CELLS, b: AS_CELLS });
  expect(await contentOf(rig, 3 * FIVE_MINUTES)).toEqual({ a: AS_CELLS, b: AS_CELLS });
  for (const alignMs of [0, 60_000, FIVE_MINUTES + 60_000])
    expect(await contentOf(rig, alignMs), `aligned to ${alignMs}`).toEqual({ a: AS_SAMPLES, b: AS_SAMPLES });
  // An hour later there are coarser ones, for windows of whole hours.
  world.clock.wallMs = BASE_MS + 51 * HOUR_MS;
  await eventually(() => world.blocks().length).toBe(3);
  const hourly = { samples: 0, cells: [1, 240, 239], coarsest: HOUR_MS };
  await eventually(() => contentOf(rig, 6 * HOUR_MS)).toEqual({ a: hourly, b: hourly });
  expect(await contentOf(rig, FIVE_MINUTES)).toEqual({ a: AS_CELLS, b: AS_CELLS });
  const metrics = await rig.registry.metrics();
  expect(metrics).toContain('tidemark_store_downsamplings_total{resolution="300",result="done"} 1');
  expect(metrics).toMatch(/tidemark_store_downsampling_output_bytes_total\{resolution="3600"\} \d\d/);
});

test('every store makes the same block of the same samples', async () => {
  const one = await createWorld();
  const other = await createWorld();
  for (const world of [one, other]) {
    const rig = await world.start();
    await world.put(rig, BASE_MS, ['a', 'b']);
    world.clock.wallMs = BASE_MS + 27 * HOUR_MS;
    await eventually(() => world.blocks().length).toBe(2);
  }
  expect(one.blocks()).toEqual(other.blocks());
});

test('samples go first, not before their aggregates are made; then these answer whatever is asked', async () => {
  const retentionMs = 3 * HOUR_MS;
  const world = await createWorld({ retentionMs });
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  // Older than the samples' retention, younger than `after`: it is made all the same.
  world.clock.wallMs = BASE_MS + 6 * HOUR_MS;
  await eventually(() => contentOf(rig, 0)).toEqual({ a: AS_CELLS, b: AS_CELLS });
  await eventually(() => world.blocks().length).toBe(2);
  const range = { tenant: 'anonymous', minTimeMs: 0, maxTimeMs: 1e15, matchers: everything, limit: 0 };
  expect((await rig.client.labels({ ...range, labelName: 'job' }, { signal })).values).toEqual(['a', 'b']);
  await rig.store.stop();
  const again = await world.start();
  expect(await contentOf(again, 0)).toEqual({ a: AS_CELLS, b: AS_CELLS });
  world.clock.wallMs = BASE_MS + 103 * DAY_MS;
  const hourly = { samples: 0, cells: [1, 240, 239], coarsest: HOUR_MS };
  await eventually(() => contentOf(again, 0)).toEqual({ a: hourly, b: hourly });
  await eventually(() => world.blocks().length).toBe(1);
});

test('samples that come late are in every answer, and in the aggregates once blocks are merged', async () => {
  const ranges = { compactionRangesMs: [2 * HOUR_MS], compactionSettleMs: 40 * HOUR_MS };
  const world = await createWorld(ranges);
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a']);
  world.clock.wallMs = BASE_MS + 27 * HOUR_MS;
  await eventually(() => contentOf(rig, FIVE_MINUTES)).toEqual({ a: AS_CELLS });
  await world.put(rig, BASE_MS + 7000, ['a', 'late'], 100);
  expect(await contentOf(rig, FIVE_MINUTES)).toMatchObject({ a: { samples: 580 }, late: { samples: 100 } });
  world.clock.wallMs = BASE_MS + 68 * HOUR_MS;
  const both = [1, ...Array.from({ length: 5 }, () => 40), ...Array.from({ length: 18 }, () => 20), 19];
  await eventually(async () => (await contentOf(rig, FIVE_MINUTES)).a).toEqual({
    samples: 0,
    cells: both,
    coarsest: FIVE_MINUTES,
  });
  // Samples, and aggregates of two resolutions; what they were made of before is gone.
  await eventually(() => world.blocks().length).toBe(3);
});

const deletion = {
  tenant: 'anonymous',
  deleteId: '1'.padStart(32, '0'),
  matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: 'a' }],
  minTimeMs: BASE_MS + HOUR_MS,
  maxTimeMs: BASE_MS + HOUR_MS + 30_000,
  actor: 'somebody',
};

test('a delete is in no answer, and aggregates are made anew of what it leaves', async () => {
  const world = await createWorld();
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  world.clock.wallMs = BASE_MS + 27 * HOUR_MS;
  await eventually(() => contentOf(rig, FIVE_MINUTES)).toEqual({ a: AS_CELLS, b: AS_CELLS });
  await rig.client.deleteSeries({ ...deletion, createdAtMs: world.clock.wallMs }, { signal });
  const masked = { a: { ...AS_SAMPLES, samples: 477 }, b: AS_SAMPLES };
  expect(await contentOf(rig, FIVE_MINUTES)).toEqual(masked);
  // Until it is over it can be taken back.
  await rig.client.undoDelete({ tenant: 'anonymous', deleteId: deletion.deleteId, actor: 'x' }, { signal });
  expect(await contentOf(rig, FIVE_MINUTES)).toEqual({ a: AS_CELLS, b: AS_CELLS });
  // A delete of its own: one that was taken back hides nothing any more.
  const again = { ...deletion, deleteId: deletion.deleteId.replace(/.$/, '2') };
  await rig.client.deleteSeries({ ...again, createdAtMs: world.clock.wallMs }, { signal });
  world.clock.wallMs += 2 * HOUR_MS;
  const left = CELLS.with(12, 19).with(13, 18);
  await eventually(() => contentOf(rig, FIVE_MINUTES)).toEqual({
    a: { ...AS_CELLS, cells: left },
    b: AS_CELLS,
  });
  expect(await contentOf(rig, 0)).toEqual(masked);
});

test('where samples are gone, a delete takes every cell that it touches', async () => {
  const world = await createWorld({ retentionMs: 3 * HOUR_MS });
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b']);
  world.clock.wallMs = BASE_MS + 6 * HOUR_MS;
  await eventually(() => contentOf(rig, 0)).toEqual({ a: AS_CELLS, b: AS_CELLS });
  await eventually(() => world.blocks().length).toBe(2);
  await rig.client.deleteSeries({ ...deletion, createdAtMs: world.clock.wallMs }, { signal });
  const left = { a: { ...AS_CELLS, cells: CELLS.toSpliced(12, 2) }, b: AS_CELLS };
  expect(await contentOf(rig, 0)).toEqual(left);
  await rig.client.cleanTombstones({ tenant: 'anonymous', actor: 'x' }, { signal });
  expect(await contentOf(rig, 0)).toEqual(left);
  expect((await rig.client.listDeletes({ tenant: 'anonymous' }, { signal })).deletes).toEqual([]);
});

test.each(['killed', 'without power'])(
  'a store that is %s at any operation of the disk goes on and makes the same aggregates',
  async (how) => {
    const world = await createWorld();
    const first = await world.start({ storagePolicy: { downsampling: [], retention: [] } });
    await world.put(first, BASE_MS, ['a', 'b']);
    const before = await storedContent(first, everything);
    await first.store.stop();
    world.clock.wallMs = BASE_MS + 27 * HOUR_MS;
    let isThrough = false;
    let points = 0;
    for (let diesAt = 1; !isThrough; diesAt++) {
      const own = path.join(world.root, `run-${diesAt}`);
      cpSync(world.dataDir, own, { recursive: true });
      mkdirSync(path.join(own, 'blocks-transit'), { recursive: true });
      const disk = new CrashDisk(path.join(world.root, `graves-${diesAt}`));
      disk.diesAt = diesAt;
      const blocks = () => readdirSync(path.join(own, 'blocks', 'anonymous')).length;
      const dying = await world.start({}, own, disk).catch(() => undefined);
      if (dying !== undefined) {
        await eventually(() => disk.isDead || blocks() === 2).toBe(true);
        await dying.store.stop();
        isThrough = !disk.isDead;
      }
      if (how === 'without power') disk.cutPower();
      points++;
      const rig = await world.start({}, own);
      expect(await storedContent(rig, everything), `died at ${diesAt}`).toEqual(before);
      await eventually(() => contentOf(rig, FIVE_MINUTES)).toEqual({ a: AS_CELLS, b: AS_CELLS });
      await rig.store.stop();
    }
    expect(points).toBeGreaterThan(12);
  },
  120_000,
);

test('retention rules: the first that matches counts, for samples and aggregates, and what is over is gone from disk', async () => {
  const rule = (match: string, retentionMs: number) => ({
    match,
    matchers: readSeriesMatchers(match),
    retentionMs,
  });
  const world = await createWorld({
    retentionMs: 10 * DAY_MS,
    storagePolicy: {
      ...POLICY,
      retention: [
        rule('{job="kept"}', 0),
        rule('{job="a"}', 2 * DAY_MS),
        rule('{job=~"a|b|kept"}', 4 * DAY_MS),
      ],
    },
  });
  const rig = await world.start();
  await world.put(rig, BASE_MS, ['a', 'b', 'c', 'kept']);
  await world.put(rig, BASE_MS + HOUR_MS, ['a'], 10);
  world.clock.wallMs = BASE_MS + 45 * HOUR_MS;
  await eventually(async () => Object.keys(await contentOf(rig, FIVE_MINUTES))).toEqual([
    'a',
    'b',
    'c',
    'kept',
  ]);
  const jobs = async () => [
    Object.keys(await contentOf(rig, 0))
      .sort()
      .join(),
    Object.keys(await contentOf(rig, FIVE_MINUTES))
      .sort()
      .join(),
  ];
  world.clock.wallMs = BASE_MS + 51 * HOUR_MS;
  await eventually(jobs).toEqual(['b,c,kept', 'b,c,kept']);
  world.clock.wallMs = BASE_MS + 5 * DAY_MS;
  await eventually(jobs).toEqual(['c,kept', 'c,kept']);
  const metrics = await rig.registry.metrics();
  expect(metrics).toContain('tidemark_store_compactions_total{reason="retention",result="done"}');
  // The second block had no other series.
  expect(metrics).toMatch(/tidemark_store_blocks_deleted_total\{reason="rule"\} [1-9]/);
  expect(metrics).toMatch(/tidemark_store_retention_series_removed_total \d/);
  // A rule never makes samples outlive the retention of all.
  world.clock.wallMs = BASE_MS + 12 * DAY_MS;
  await eventually(async () => (await contentOf(rig, 0)).kept?.samples ?? 0).toBe(0);
});

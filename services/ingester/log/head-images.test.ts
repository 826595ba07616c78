// Head images against the log that they stand for: whatever is read back through an image is what replaying the whole log
// gives, sealed byte for byte; killed at any operation of the disk nothing is lost; a flipped bit is noticed, never believed.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CrashDisk } from '../../../test/support/crash-disk.ts';
import { pick, type Random, randomOf } from '../../../test/support/random.ts';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { systemClock } from '../../lib/core/clock.ts';
import { type Disk, systemDisk } from '../../lib/core/disk.ts';
import { ExtraColumns } from '../../lib/model/extra-columns.ts';
import { FloatHistogram } from '../../lib/model/float-histogram.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { wordsOf } from '../../lib/model/sample-columns.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import { Head } from '../../lib/tsdb/head/head.ts';
import { ImageSlices } from '../../lib/tsdb/head/head-image.ts';
import { sealRange } from '../../lib/tsdb/head/head-seal.ts';
import { openSegmentLog, type SegmentLog } from '../../lib/tsdb/log/segment-log.ts';
import { createIngesterMetrics } from '../ingest-metrics.ts';
import { withDefaults } from '../options.ts';
import { type Tenant, Tenants } from '../tenants.ts';
import { readCheckpoint } from './checkpoint.ts';
import { type LoadedImage, loadHeadImage } from './head-image-loader.ts';
import { encodeImageRange, encodeImageSlice } from './head-image-records.ts';
import { HeadImages } from './head-images.ts';
import {
  encodeCut,
  encodeExtras,
  encodeSamples,
  encodeSealed,
  putLogDefinition,
  RECORD_CUT,
  RECORD_EXTRAS,
  RECORD_SAMPLES,
  RECORD_SEALED,
  RecordColumns,
} from './log-records.ts';
import { Replayer } from './replay.ts';

const START_MS = 1_699_999_200_000;
const RANGE_MS = 7_200_000;
const STALE = new Float64Array(Uint32Array.of(2, 0x7ff00000).buffer);
const STALE_AND_MORE = Float64Array.from({ length: 30 }, (_, i) => i / 7);
STALE_AND_MORE.set(STALE);
const { signal } = new AbortController();

let folder: string;
const opened: World[] = [];
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tidemark-image-'));
});
afterEach(async () => {
  for (const { log } of opened.splice(0)) await log.close();
  rmSync(folder, { recursive: true, force: true });
});

const count = () => 0;

/** An ingester's log, heads and images, without what surrounds them. */
class World {
  readonly tenants: Tenants;
  readonly log: SegmentLog;
  readonly images: HeadImages;
  readonly loaded: LoadedImage | undefined;
  readonly replayer: Replayer;
  #sequence = 0;

  constructor(
    tenants: Tenants,
    log: SegmentLog,
    images: HeadImages,
    loaded: LoadedImage | undefined,
    replayer: Replayer,
  ) {
    this.tenants = tenants;
    this.log = log;
    this.images = images;
    this.loaded = loaded;
    this.replayer = replayer;
  }

  /** @param how  `log`: as if there were no image. */
  static async open(dir: string, how: 'image' | 'log' = 'image', disk: Disk = systemDisk): Promise<World> {
    const options = withDefaults({ dataDir: dir, chunkSamplesTarget: 20 });
    const tenants = new Tenants(options, 1);
    const replayer = new Replayer(tenants);
    const logFolder = path.join(dir, 'log');
    const deps = { disk, clock: systemClock };
    const imageDeps = { folder: path.join(dir, 'head'), logFolder, rangeMs: RANGE_MS, ...deps };
    const loaded = how === 'image' ? await loadHeadImage(tenants, replayer, imageDeps) : undefined;
    const visit = replayer.apply.bind(replayer);
    const report = { records: 0, bytes: 0, quarantined: 0, truncatedBytes: 0 };
    const onDamage = () => undefined;
    if (loaded === undefined) await readCheckpoint(logFolder, visit, report, { ...deps, onDamage });
    const log = await openSegmentLog(
      {
        folder: logFolder,
        segmentBytesMax: 1 << 15,
        groupCommitMs: 0,
        commitBytes: 1 << 20,
        bytesInFlightMax: 1 << 26,
        freeBytesMin: 0,
        segmentAbove: replayer.checkpointSegment,
        ...(loaded && { replayFrom: loaded.position }),
      },
      { ...deps, onDamage, onFatal: () => undefined },
      visit,
    );
    expect(log.replayed.quarantined).toBe(0);
    replayer.finish();
    const gauges = {
      ...{ series: count, chunks: count, headBytes: count, logBytes: count, logBytesInFlight: count },
      ...{
        imageBytes: count,
        replayBytes: count,
        startSeconds: count,
        streams: count,
        samples: count,
        duplicates: count,
      },
      ...{ outOfOrder: count, exemplars: count },
    };
    const metrics = createIngesterMetrics(new Registry(), gauges);
    const logger = createSilentLogger();
    const images = new HeadImages(
      { ...options, imageBytesPerSecond: 1e12, sliceSeriesMax: 7 },
      { ...imageDeps, log, tenants, logger, metrics },
      loaded,
    );
    const world = new World(tenants, log, images, loaded, replayer);
    opened.push(world);
    if (how === 'image') await images.sweep();
    return world;
  }

  /** Logs and applies samples of named series, as the ingester does. */
  writeSamples(
    name: string,
    series: readonly string[],
    timesMs: readonly number[],
    values: Float64Array,
  ): Promise<void> {
    const tenant = this.tenants.getOrMake(name);
    const columns = new RecordColumns();
    columns.resize(series.length);
    columns.count = series.length;
    const [definitions, defined] = this.#define(tenant, series, columns.ids);
    columns.timestampsMs.set(timesMs);
    columns.values.set(values);
    const payload = new ByteWriter();
    encodeSamples(payload, name, defined, definitions.bytes, definitions.length, columns);
    const { segment, durable } = this.#append(RECORD_SAMPLES, payload);
    const { ids, timestampsMs } = columns;
    tenant.head.appendSamples(ids, timestampsMs, columns.values, 0, series.length, segment);
    return durable;
  }

  writeExtras(name: string, series: readonly string[], extras: ExtraColumns): Promise<void> {
    const tenant = this.tenants.getOrMake(name);
    const ids = new Uint32Array(series.length);
    const [definitions, defined] = this.#define(tenant, series, ids);
    for (let i = 0; i < extras.count; i++) extras.references[i] = ids[extras.references[i]!]!;
    const payload = new ByteWriter();
    encodeExtras(payload, name, defined, definitions.bytes, definitions.length, extras);
    const { segment, durable } = this.#append(RECORD_EXTRAS, payload);
    tenant.head.appendExtras(extras, segment);
    return durable;
  }

  /** Freezes the oldest open range; `isSealed` says that blocks have it. */
  cut(name: string, isSealed: boolean): void {
    const tenant = this.tenants.getOrMake(name);
    const [startMs] = tenant.head.closedRangeStarts(Number.POSITIVE_INFINITY);
    if (startMs === undefined) return;
    const generation = tenant.generationNext++;
    const payload = new ByteWriter();
    encodeCut(payload, { tenant: name, startMs, generation });
    this.#append(RECORD_CUT, payload);
    const { endMs } = tenant.head.freeze(startMs, generation)!;
    if (!isSealed) return;
    payload.reset();
    encodeSealed(payload, { tenant: name, generation, endMs, blockId: 'b' });
    this.#append(RECORD_SEALED, payload);
    tenant.sealed.set(generation, 0);
  }

  #append(type: number, payload: ByteWriter): { readonly segment: number; readonly durable: Promise<void> } {
    return this.log.append(type, 1, ++this.#sequence, payload.bytes, 0, payload.length);
  }

  #define(tenant: Tenant, series: readonly string[], ids: Uint32Array): [ByteWriter, number] {
    const definitions = new ByteWriter();
    const labels = new ByteWriter();
    let defined = 0;
    for (const [i, metric] of series.entries()) {
      labels.reset();
      encodeLabels(
        Labels.from([
          ['__name__', metric],
          ['zone', `z${metric.length}`],
        ]),
        labels,
      );
      const id = tenant.head.define(labels.bytes, 0, labels.length, 3);
      ids[i] = id;
      if (tenant.head.isLogged(id)) continue;
      tenant.head.setLogged(id, true);
      putLogDefinition(definitions, id, 3, labels.bytes, 0, labels.length);
      defined++;
    }
    return [definitions, defined];
  }

  /** All that is not in blocks, as what sealing makes of it. Ends the heads. */
  sealed(): string[] {
    const lines: string[] = [];
    for (const tenant of this.tenants.all()) {
      const { head, name } = tenant;
      for (const startMs of head.closedRangeStarts(Number.POSITIVE_INFINITY))
        head.freeze(startMs, tenant.generationNext++);
      for (const range of head.frozenRanges()) {
        if (tenant.sealed.has(range.generation)) continue;
        let current = '';
        const steps = sealRange(head, range, systemClock, {
          addSeries(bytes, start, end, partition) {
            current = `${name} ${range.startMs} ${range.generation} ${Buffer.from(bytes.subarray(start, end)).toString()} ${partition}`;
          },
          addChunk(encoding, minMs, maxMs, samples, bytes, start, end) {
            const hex = Buffer.from(bytes.subarray(start, end)).toString('hex');
            lines.push(`${current} ${encoding} ${minMs} ${maxMs} ${samples} ${hex}`);
          },
        });
        while (!steps.next().done);
      }
    }
    return lines.sort();
  }

  get chunkCount(): number {
    return this.tenants
      .all()
      .reduce(
        (sum, { head, sealed }) =>
          sum +
          head.chunkCount -
          head
            .frozenRanges()
            .reduce((s, range) => s + (sealed.has(range.generation) ? range.chunkCount : 0), 0),
        0,
      );
  }
}

/**
 * Columns double when they are full. What an image brings back fills its columns to the last place, so that the next sample may double one
 * that has room in the head that was written: loose samples of a range (640 × 24 bytes were seen), of which there are 16,384 at most.
 */
const COLUMN_STEPS = 1 + 1 / 16;

const SERIES = Array.from({ length: 40 }, (_, i) => `m${'x'.repeat(i % 7)}${i}`);

/** Random writes: mostly in order, some late, some old, strange values; time goes on from call to call. */
class Workload {
  readonly #random: Random;
  #nowMs = START_MS;
  #fresh = 0;
  readonly #tenants: readonly string[];

  constructor(random: Random, tenants: readonly string[] = ['a', 'b']) {
    this.#random = random;
    this.#tenants = tenants;
  }

  step(world: World): Promise<void> {
    const random = this.#random;
    this.#nowMs += Math.floor(random() * 90_000);
    const tenant = pick(random, this.#tenants);
    if (random() < 0.25) return this.#extras(world, tenant);
    const series = SERIES.filter(() => random() < 0.7);
    if (random() < 0.1) series.push(`fresh${this.#fresh++}`);
    if (series.length === 0) return Promise.resolve();
    const times = series.map(() =>
      random() < 0.9 ? this.#nowMs : this.#nowMs - Math.floor(random() * 2 * RANGE_MS),
    );
    const values = Float64Array.from(series, () => pick(random, [1, 2.5, -0, 1e300, random()]));
    // Words, for a NaN's payload must not be touched.
    if (random() < 0.3) wordsOf(values).set(wordsOf(STALE), 0);
    return world.writeSamples(tenant, series, times, values);
  }

  #extras(world: World, tenant: string): Promise<void> {
    const random = this.#random;
    const series = SERIES.slice(0, 6).map((name) => `h${name}`);
    const extras = new ExtraColumns();
    const trace = new ByteWriter();
    encodeLabels(Labels.from([['trace_id', 'x']]), trace);
    for (const i of series.keys()) {
      const timeMs = this.#nowMs - (random() < 0.1 ? RANGE_MS : 0);
      const histogram = new FloatHistogram();
      histogram.count = 5;
      histogram.sum = random();
      histogram.zeroCount = 5;
      extras.addHistogram(i, timeMs, histogram, 'integer');
      if (random() < 0.3) extras.addStartTime(i, timeMs, timeMs - Math.floor(random() * 100_000));
      if (random() < 0.3) extras.addExemplar(i, timeMs, random(), trace.bytes, 0, trace.length);
    }
    return world.writeExtras(tenant, series, extras);
  }
}

/** Writes an image while the workload goes on. */
async function imageUnderLoad(world: World, workload: Workload): Promise<void> {
  let isOver = false;
  const image = world.images.write(signal).finally(() => {
    isOver = true;
  });
  image.catch(() => undefined);
  while (!isOver) {
    await workload.step(world);
    await nextTurn();
  }
  await image;
}

test.each([1, 2, 3, 4, 5, 6])('an image and the log behind it are the log, seed %i', async (seed) => {
  const random = randomOf(seed);
  const workload = new Workload(random);
  for (let life = 0; life < 4; life++) {
    const world = await World.open(folder);
    expect(world.loaded !== undefined).toBe(life > 0);
    for (let image = 0; image < 3; image++) {
      for (let i = 0; i < 60; i++) void workload.step(world);
      if (random() < 0.5) world.cut('a', random() < 0.5);
      await imageUnderLoad(world, workload);
    }
    for (let i = 0; i < 30; i++) void workload.step(world);
    await world.log.flush();
    const byImage = await World.open(folder);
    const byLog = await World.open(folder, 'log');
    expect(byImage.loaded).toBeDefined();
    expect(byImage.replayer.unknownSamples).toBe(0);
    expect(byImage.replayer.samples).toBeLessThan(byLog.replayer.samples);
    expect(byImage.chunkCount).toBe(world.chunkCount);
    for (const [i, { head, leftBeforeMs }] of world.tenants.all().entries()) {
      const back = byImage.tenants.all()[i]!;
      expect(back.head.seriesCount).toBe(head.seriesCount);
      expect(back.head.bytesHeld).toBeLessThanOrEqual(head.bytesHeld * COLUMN_STEPS);
      expect(back.leftBeforeMs).toBeGreaterThanOrEqual(leftBeforeMs);
    }
    const expected = byLog.sealed();
    expect(expected.length).toBeGreaterThan(100);
    expect(byImage.sealed()).toEqual(expected);
    expect(world.sealed()).toEqual(expected);
    await Promise.all([world, byImage, byLog].map(({ log }) => log.close()));
  }
});

test('a crash at any operation of the disk while images are written loses nothing', async () => {
  let operations = 0;
  for (let diesAt = 1; diesAt === 1 || diesAt <= operations; diesAt += 3) {
    const dir = path.join(folder, `at-${diesAt}`);
    const disk = new CrashDisk(path.join(folder, `graves-${diesAt}`));
    if (diesAt > 1) disk.diesAt = diesAt;
    const acknowledged = new Set<number>();
    await playUntilDeath(dir, disk, acknowledged);
    if (diesAt === 1) operations = disk.operations;
    else disk.cutPower();
    const world = await World.open(dir);
    const byLog = await World.open(dir, 'log');
    const held = new Set(byLog.sealed().flatMap((line) => timesOf(line)));
    for (const timeMs of acknowledged) expect(held.has(timeMs)).toBe(true);
    expect(world.sealed()).toEqual(byLog.sealed());
    await Promise.all([world.log.close(), byLog.log.close()]);
  }
  expect(operations).toBeGreaterThan(60);
}, 60_000);

/** Three images with writes before, while and after; every acknowledged time is noted. */
async function playUntilDeath(dir: string, disk: CrashDisk, acknowledged: Set<number>): Promise<void> {
  let timeMs = START_MS;
  const write = (world: World) => {
    const at = (timeMs += 1000);
    void world.writeSamples('a', ['only'], [at], Float64Array.of(at)).then(
      () => acknowledged.add(at),
      () => undefined,
    );
  };
  try {
    for (let life = 0; life < 2; life++) {
      const world = await World.open(dir, 'image', disk);
      for (let image = 0; image < 2; image++) {
        for (let i = 0; i < 30; i++) write(world);
        const written = world.images.write(signal);
        for (let i = 0; i < 5; i++) write(world);
        await written;
        await world.log.flush();
      }
      await world.log.close();
    }
  } catch (caught) {
    if (!disk.isDead) throw caught;
  }
}

/** First and last time of a sealed line's chunk, and those between them: one every second. */
function timesOf(line: string): number[] {
  const fields = line.split(' ');
  const [minMs, maxMs, samples] = fields.slice(-4, -1).map(Number) as [number, number, number];
  expect((maxMs - minMs) / 1000 + 1).toBe(samples);
  return Array.from({ length: samples }, (_, i) => minMs + i * 1000);
}

test('killed before, during and after an image, a start does what was said that it would, and has everything', async () => {
  const world = await World.open(folder);
  let kills = 0;
  let written = 0;
  const write = async (): Promise<void> => {
    const names = Array.from({ length: 30 }, (_, i) => `n${written}_${i % (written + 3)}`);
    const timesMs = names.map((_, i) => START_MS + ++written * 1000 + i);
    const series = [...new Set(names)];
    const values = STALE_AND_MORE.slice(0, series.length);
    await world.writeSamples('a', series, timesMs.slice(0, series.length), values);
  };
  /** The folder as a kill leaves it. */
  const kill = async (): Promise<void> => {
    const copy = path.join(folder, `..`, `${path.basename(folder)}-kill-${kills++}`);
    cpSync(folder, copy, { recursive: true });
    try {
      const said = world.images.startWork;
      const { replayer, images, tenants, loaded } = await World.open(copy);
      expect({ samples: replayer.samples, series: replayer.definitions }).toEqual({
        samples: said.samples,
        series: said.series,
      });
      expect(images.bytesOnDisk).toBe(said.imageBytes);
      expect(loaded === undefined).toBe(said.imageBytes === 0);
      const [there, then] = [tenants.get('a')!.head, world.tenants.get('a')!.head];
      expect(there.seriesCount).toBe(then.seriesCount);
      expect(await sealedOfCopy(copy)).toEqual(await sealedOfCopy(copy, 'log'));
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  };
  for (let i = 0; i < 10; i++) await write();
  await kill();
  for (let image = 0; image < 3; image++) {
    let isDone = false;
    const done = world.images.write(signal).finally(() => {
      isDone = true;
    });
    for (let i = 0; i < 4; i++) {
      await write();
      if (!isDone) await kill();
    }
    await done;
    await kill();
    for (let i = 0; i < 5; i++) await write();
    await kill();
  }
  expect(kills).toBeGreaterThan(7);
});

async function sealedOfCopy(copy: string, how: 'image' | 'log' = 'image'): Promise<string[]> {
  const again = `${copy}-${how}`;
  cpSync(copy, again, { recursive: true });
  try {
    return (await World.open(again, how)).sealed();
  } finally {
    rmSync(again, { recursive: true, force: true });
  }
}

test('a flipped bit or a missing piece anywhere is noticed by name; the log alone has everything', async () => {
  const random = randomOf(11);
  const workload = new Workload(random);
  const world = await World.open(folder);
  for (let image = 0; image < 2; image++) {
    for (let i = 0; i < 80; i++) void workload.step(world);
    await world.images.write(signal);
  }
  await world.log.close();
  const expected = world.sealed();
  const head = path.join(folder, 'head');
  const names = readdirSync(head);
  expect(names.length).toBe(3);
  for (let round = 0; round < 400; round++) {
    const name = path.join(head, pick(random, names));
    const whole = readFileSync(name);
    const bytes = Buffer.from(whole);
    const at = Math.floor(random() * bytes.length);
    bytes[at]! ^= 1 << Math.floor(random() * 8);
    // A head is written twice: one copy may be damaged.
    const isHead = at < 32;
    writeFileSync(name, round % 4 === 0 ? whole.subarray(0, at) : bytes);
    const opened = World.open(folder);
    if (isHead && round % 4 !== 0) await opened.then(({ log }) => log.close());
    else await expect(opened).rejects.toMatchObject({ code: 'bad_data' });
    writeFileSync(name, whole);
  }
  rmSync(path.join(head, names.find((name) => name.startsWith('chunks'))!));
  await expect(World.open(folder)).rejects.toMatchObject({ code: 'bad_data' });
  const byLog = await World.open(folder, 'log');
  expect(byLog.sealed()).toEqual(expected);
  await byLog.log.close();
});

test('an image of another range length, or without its segment of the log, is refused', async () => {
  const world = await World.open(folder);
  await world.writeSamples('a', ['m'], [START_MS], Float64Array.of(1));
  await world.images.write(signal);
  await world.log.close();
  const copy = path.join(folder, 'copy');
  cpSync(path.join(folder, 'head'), path.join(copy, 'head'), { recursive: true });
  const tenants = new Tenants(withDefaults({ dataDir: folder }), 1);
  const deps = {
    folder: path.join(copy, 'head'),
    logFolder: path.join(folder, 'log'),
    rangeMs: RANGE_MS,
    disk: systemDisk,
    clock: systemClock,
  };
  const load = (changes: Partial<typeof deps>) =>
    loadHeadImage(tenants, new Replayer(tenants), { ...deps, ...changes });
  await expect(load({ rangeMs: 1000 })).rejects.toThrow(/ranges of 7200000 ms, 1000 are configured/);
  tenants.clear();
  await expect(load({ logFolder: copy })).rejects.toThrow(/no segment/);
});

test('chunks are written once; files of ranges that left go', async () => {
  const world = await World.open(folder);
  const fill = async (fromMs: number): Promise<void> => {
    for (let i = 0; i < 50; i++)
      await world.writeSamples('a', ['m'], [fromMs + i * 1000], Float64Array.of(Math.random()));
  };
  const chunkFiles = (): string[] =>
    readdirSync(path.join(folder, 'head')).filter((name) => name.startsWith('chunks'));
  await fill(START_MS);
  await world.images.write(signal);
  expect(chunkFiles()).toEqual(['chunks-000000000001']);
  // Nothing was closed since: no further file.
  await world.images.write(signal);
  expect(chunkFiles()).toEqual(['chunks-000000000001']);
  await fill(START_MS + RANGE_MS);
  await world.images.write(signal);
  expect(chunkFiles()).toEqual(['chunks-000000000001', 'chunks-000000000002']);
  const { bytesOnDisk } = world.images;
  world.cut('a', true);
  world.cut('a', true);
  await world.images.write(signal);
  expect(chunkFiles()).toEqual([]);
  expect(world.images.bytesOnDisk).toBeLessThan(bytesOnDisk);
  await world.log.close();
});

test('golden bytes of the format document', () => {
  const range = new ByteWriter();
  encodeImageRange(range, {
    tenant: 't',
    key: 3,
    startMs: 7_200_000,
    firstSegment: 5,
    generation: 0,
    chunks: 2,
    histogramChunks: 0,
  });
  expect(Buffer.from(range.take()).toString('hex')).toBe('01740380f4ee0605000200');
  const head = new Head({ rangeMs: RANGE_MS, chunkSamplesTarget: 20, hashSeed: 1 });
  const labels = Buffer.from('01610162', 'hex');
  head.restoreSeries(1, labels, 2, 4, undefined, undefined);
  head.setLogged(1, true);
  const series = new ByteWriter();
  const to = new ImageSlices(head).encode(series, 0, [], 100);
  const slice = new ByteWriter();
  const position = { segment: 5, offset: 300 };
  encodeImageSlice(slice, { tenant: 't', position, from: 0, to }, series.bytes, series.length);
  expect(Buffer.from(slice.take()).toString('hex')).toBe('017405ac020002' + '0102010404' + '01610162');
});

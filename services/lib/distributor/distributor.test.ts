import fc from 'fast-check';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, test } from 'vitest';
import {
  clusterOf,
  createRecordingIngester,
  type RecordingIngester,
} from '../../../test/support/recording-ingester.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import { FencedWriteError, type WriteColumns } from './appender.ts';
import { createDistributor, type DistributorOptions } from './distributor.ts';

const NOW = 1_800_000_000_000;
const signal = (): AbortSignal => new AbortController().signal;

/** Real sleeping, wall clock fixed, monotonic time that tests can push. */
function createClock() {
  let skippedMs = 0;
  const clock: Clock = {
    nowMs: () => NOW + skippedMs,
    monotonicMs: () => systemClock.monotonicMs() + skippedMs,
    sleep: (ms, abort) => systemClock.sleep(ms, abort),
  };
  return Object.assign(clock, {
    skip(ms: number) {
      skippedMs += ms;
    },
  });
}

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function create(
  instances: readonly string[],
  replicationFactor: number,
  options: Partial<DistributorOptions> = {},
  partitionCount = 8,
) {
  const ingesters = instances.map((instance) => createRecordingIngester(instance));
  const cluster = clusterOf(ingesters, { replicationFactor, partitionCount });
  const clock = createClock();
  const registry = new Registry();
  let random = 1;
  const distributor = createDistributor(
    {
      ...{
        outOfOrderWindowMs: 3_600_000,
        writeTimeoutMs: 300,
        epochWaitMs: 0,
        backoffMinMs: 10,
        backoffMaxMs: 40,
      },
      ...options,
    },
    {
      cluster,
      clock,
      logger: createSilentLogger(),
      registry,
      randomUint32: () => (random = (Math.imul(random, 1664525) + 1013904223) >>> 0),
    },
  );
  stops.push(() => distributor.stop());
  const appender = distributor.appender('anonymous');
  const resolve = (name: string): number => appender.resolve(Labels.from([['__name__', name]]));
  return { ingesters, cluster, clock, registry, distributor, appender, resolve };
}

function createGate() {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** Columns from rows of reference, timestamp, value. */
function columnsOf(rows: readonly (readonly [number, number, number])[]): WriteColumns {
  return {
    count: rows.length,
    references: Uint32Array.from(rows, ([reference]) => reference),
    timestampsMs: Float64Array.from(rows, ([, timestamp]) => timestamp),
    values: Float64Array.from(rows, ([, , value]) => value),
  };
}

const keptBy = (ingester: RecordingIngester): string[] =>
  ingester.samples.map(({ series, timestampMs, value }) => `${series}@${timestampMs}=${value}`).toSorted();

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'ok',
    (error: AppError) => {
      expect(error).toBeInstanceOf(AppError);
      return error.code;
    },
  );
}

describe('one replica', () => {
  test.each([
    ['as columns', false, 1],
    ['packed, to another process', true, 2],
  ])(
    'every sample arrives once, in the section of its partition, with its bits: %s',
    async (_, isRemote, version) => {
      const { appender, ingesters } = create(['a'], 1, {}, 64);
      ingesters[0]!.isRemote = isRemote;
      const references = Array.from({ length: 500 }, (_, i) =>
        appender.resolve(
          Labels.from([
            ['__name__', 'm'],
            ['i', `${i}`],
          ]),
        ),
      );
      const columns = columnsOf(
        references.flatMap(
          (reference) =>
            [
              [reference, NOW, 1],
              [reference, NOW + 1, 2],
            ] as const,
        ),
      );
      const words = new Uint32Array(columns.values.buffer);
      for (let i = 0; i < columns.count; i++) {
        // The staleness marker, quiet and signalling NaNs with payloads, and ordinary numbers.
        words[2 * i] = i % 3 === 0 ? 2 : i;
        words[2 * i + 1] = i % 3 === 0 ? 0x7ff00000 : i % 3 === 1 ? 0xfff00000 : 0x40000000;
      }
      for (let round = 0; round < 30; round++) {
        const outcome = await appender.write(columns, [], signal());
        expect(outcome).toMatchObject({ written: 1000, rejected: 0, firstRejection: undefined });
      }
      expect(ingesters[0]!.samples).toHaveLength(30_000);
      expect(ingesters[0]!.definitions).toEqual([500]);
      const expected = new Map(
        Array.from({ length: columns.count }, (_, i) => [
          `m{i="${Math.floor(i / 2)}"}@${NOW + (i % 2)}`,
          `${words[2 * i + 1]} ${words[2 * i]}`,
        ]),
      );
      for (const { series, timestampMs, high, low } of ingesters[0]!.samples) {
        expect(`${high} ${low}`).toBe(expected.get(`${series}@${timestampMs}`));
      }
      expect(new Set(ingesters[0]!.samples.map(({ partition }) => partition)).size).toBeGreaterThan(50);
      expect(ingesters[0]!.requests.every(({ batch }) => batch[0] === version)).toBe(true);
    },
  );

  test('a packed scrape takes a few bytes a sample; what cannot be packed travels as columns', async () => {
    const { appender, ingesters, resolve } = create(['a'], 1);
    ingesters[0]!.isRemote = true;
    const references = Array.from({ length: 2000 }, (_, i) => resolve(`m${i}`));
    for (let scrape = 0; scrape < 2; scrape++) {
      const rows = references.map((reference, i) => [reference, NOW + (i % 100), (i % 7) * 1.25] as const);
      await appender.write(columnsOf(rows), [], signal());
    }
    expect(ingesters[0]!.requests[1]!.batch.length).toBeLessThan(2000 * 6);
    await appender.write(columnsOf([[references[0]!, NOW + 0.5, 3]]), [], signal());
    expect(ingesters[0]!.requests[2]!.batch[0]).toBe(1);
    expect(ingesters[0]!.samples.at(-1)).toMatchObject({ series: 'm0', timestampMs: NOW + 0.5, value: 3 });
  });

  test('packed writes that wait for room are packed again from their own samples', async () => {
    const { appender, ingesters, resolve } = create(['a', 'b'], 2, { windowRequestsMax: 1 });
    for (const ingester of ingesters) ingester.isRemote = true;
    const references = Array.from({ length: 40 }, (_, i) => resolve(`m${i}`));
    const writes = Array.from({ length: 20 }, (_, k) =>
      appender.write(columnsOf(references.map((one, i) => [one, NOW + k, i * 100 + k])), [], signal()),
    );
    await Promise.all(writes);
    const expected = references
      .flatMap((_, i) => writes.map((__, k) => `m${i}@${NOW + k}=${i * 100 + k}`))
      .toSorted();
    for (const ingester of ingesters) expect(keptBy(ingester)).toEqual(expected);
  });

  test('sequences count up and definitions travel once, with writes that overlap', async () => {
    const { appender, ingesters, resolve } = create(['a'], 1);
    const reference = resolve('m');
    await Promise.all(
      Array.from({ length: 50 }, (_, i) => appender.write(columnsOf([[reference, NOW, i]]), [], signal())),
    );
    expect(ingesters[0]!.requests.map(({ sequence }) => sequence)).toEqual(
      Array.from({ length: 50 }, (_, i) => i + 1),
    );
    expect(ingesters[0]!.definitions).toEqual([1]);
    expect(ingesters[0]!.requests.every(({ epoch, tenant }) => epoch === 1 && tenant === 'anonymous')).toBe(
      true,
    );
  });

  test('nothing to write: nothing is sent', async () => {
    const { appender, ingesters } = create(['a'], 1);
    expect(await appender.write(columnsOf([]), [], signal())).toMatchObject({ written: 0, rejected: 0 });
    expect(ingesters[0]!.requests).toHaveLength(0);
  });

  test('metadata alone', async () => {
    const { appender, ingesters } = create(['a'], 1);
    const metadata = [{ metric: 'm', type: 'gauge', help: 'h', unit: '' }];
    await appender.write(columnsOf([]), metadata, signal());
    expect(ingesters[0]!.metadata).toEqual(metadata);
    ingesters[0]!.behaviour = 'refuse';
    expect(await codeOf(appender.write(columnsOf([]), metadata, signal()))).toBe('unavailable');
  });

  test('samples under a lease name it, and one ingester that knows a later holder is enough to refuse them', async () => {
    const { appender, resolve, ingesters } = create(['a', 'b', 'c'], 3);
    const a = resolve('a');
    const write = (token: number) =>
      appender.write(columnsOf([[a, NOW, 1]]), [], signal(), { name: 'rules.1', token });
    await write(5);
    expect(ingesters[0]!.requests[0]).toMatchObject({ fence: 'rules.1', fenceToken: 5 });
    for (const ingester of ingesters.slice(0, 2)) ingester.gate = new Promise(() => {});
    ingesters[2]!.behaviour = 'fence';
    const refused = await write(6).catch((caught: unknown) => caught);
    expect(refused).toBeInstanceOf(FencedWriteError);
    expect((refused as Error).message).toBe('c: another one has the lease');
  });

  test('two tenants with the same labels are two series', async () => {
    const { distributor, appender, resolve, ingesters } = create(['a'], 1);
    const other = distributor.appender('other');
    const mine = resolve('m');
    const theirs = other.resolve(Labels.from([['__name__', 'm']]));
    expect(theirs).not.toBe(mine);
    await other.write(columnsOf([[theirs, NOW, 1]]), [], signal());
    expect(ingesters[0]!.requests[0]!.tenant).toBe('other');
    expect(await codeOf(appender.write(columnsOf([[theirs, NOW, 1]]), [], signal()))).toBe(
      'failed_precondition',
    );
  });
});

describe('admission', () => {
  test('timestamps: the window is inclusive at both ends, the first refusal is described', async () => {
    const { appender, resolve, ingesters, registry } = create(['a'], 1);
    const m = resolve('m');
    const outcome = await appender.write(
      columnsOf([
        [m, NOW - 3_600_000, 1],
        [m, NOW - 3_600_001, 2],
        [m, NOW + 600_000, 3],
        [m, NOW + 600_001, 4],
        [m, Number.NaN, 5],
      ]),
      [],
      signal(),
    );
    expect(outcome).toMatchObject({ written: 2, rejected: 3 });
    expect(outcome.firstRejection).toMatch(
      /timestamp 2027-01-15T06:59:59\.999Z is older than the out-of-order window of 1h \(now 2027-01-15T08:00:00\.000Z\): series m\{\}, value 2/,
    );
    expect(keptBy(ingesters[0]!)).toEqual([`m@${NOW - 3_600_000}=1`, `m@${NOW + 600_000}=3`]);
    const rejected = await registry.getSingleMetric('tidemark_distributor_samples_rejected_total')!.get();
    expect(Object.fromEntries(rejected.values.map(({ labels, value }) => [labels.reason, value]))).toEqual({
      too_old: 1,
      too_far_in_future: 2,
    });
  });

  test('series limit: known series go on, new ones are resource_exhausted', () => {
    const { resolve } = create(['a'], 1, { seriesPerTenantMax: 2 });
    const a = resolve('a');
    resolve('b');
    expect(() => resolve('c')).toThrow(
      /tenant anonymous has 2 series, the limit seriesPerTenantMax is 2; refused c\{\}; .*raise --ingest\.max-series/,
    );
    expect(resolve('a')).toBe(a);
  });

  test('label rules hold for all writers', () => {
    const { appender } = create(['a'], 1);
    expect(() => appender.resolve(Labels.from([['job', 'x']]))).toThrow(/there is no metric name/);
  });

  test('more samples than a batch holds', async () => {
    const { appender } = create(['a'], 1);
    const count = (1 << 20) + 1;
    const columns = {
      count,
      references: new Uint32Array(count),
      timestampsMs: new Float64Array(count),
      values: new Float64Array(count),
    };
    expect(await codeOf(appender.write(columns, [], signal()))).toBe('bad_data');
  });

  test('references nobody gave out', async () => {
    const { appender } = create(['a'], 1);
    expect(await codeOf(appender.write(columnsOf([[4_000_000_000, NOW, 1]]), [], signal()))).toBe(
      'failed_precondition',
    );
  });

  test('idle series are forgotten, those in use stay; a forgotten reference is refused and the labels get another', async () => {
    const { appender, resolve, clock, ingesters } = create(['a'], 1, { referenceIdleMs: 60_000 });
    const idle = resolve('idle');
    const busy = resolve('busy');
    await appender.write(
      columnsOf([
        [idle, NOW, 1],
        [busy, NOW, 1],
      ]),
      [],
      signal(),
    );
    for (let i = 0; i < 10; i++) {
      clock.skip(15_000);
      await appender.write(columnsOf([[busy, NOW, 1]]), [], signal());
    }
    expect(
      await codeOf(
        appender.write(
          columnsOf([
            [busy, NOW, 2],
            [idle, NOW, 2],
          ]),
          [],
          signal(),
        ),
      ),
    ).toBe('failed_precondition');
    const again = resolve('idle');
    expect(again).not.toBe(idle);
    expect(resolve('busy')).toBe(busy);
    await appender.write(columnsOf([[again, NOW, 3]]), [], signal());
    expect(keptBy(ingesters[0]!)).not.toContain(`busy@${NOW}=2`);
    expect(keptBy(ingesters[0]!)).toContain(`idle@${NOW}=3`);
  });

  test('before the first placement: unavailable', async () => {
    const { appender, cluster, resolve } = create(['a'], 1);
    const m = resolve('m');
    cluster.placed = undefined;
    expect(await codeOf(appender.write(columnsOf([[m, NOW, 1]]), [], signal()))).toBe('unavailable');
    expect(() => resolve('other')).toThrow(/placement of partitions is not known/);
  });
});

describe('three replicas', () => {
  const write = async (rig: ReturnType<typeof create>, value: number): Promise<string> => {
    const references = Array.from({ length: 40 }, (_, i) => rig.resolve(`m${i}`));
    return codeOf(
      rig.appender.write(columnsOf(references.map((reference) => [reference, NOW, value])), [], signal()),
    );
  };

  test('all get everything', async () => {
    const rig = create(['a', 'b', 'c'], 3);
    expect(await write(rig, 1)).toBe('ok');
    await expect.poll(() => rig.ingesters.map(({ samples }) => samples.length)).toEqual([40, 40, 40]);
    expect(keptBy(rig.ingesters[1]!)).toEqual(keptBy(rig.ingesters[0]!));
  });

  test.each(['die', 'refuse', 'hang'] as const)(
    'one that will %s: ok; two: unavailable',
    async (behaviour) => {
      const rig = create(['a', 'b', 'c'], 3);
      rig.ingesters[1]!.behaviour = behaviour;
      expect(await write(rig, 1)).toBe('ok');
      expect(rig.ingesters[0]!.samples).toHaveLength(40);
      rig.ingesters[2]!.behaviour = behaviour;
      expect(await write(rig, 2)).toBe('unavailable');
    },
  );

  test('one that left: ok; two: unavailable, and nothing is sent', async () => {
    const rig = create(['a', 'b', 'c'], 3);
    rig.cluster.live = rig.ingesters.slice(0, 2);
    expect(await write(rig, 1)).toBe('ok');
    rig.cluster.live = rig.ingesters.slice(0, 1);
    const before = rig.ingesters[0]!.requests.length;
    expect(await write(rig, 2)).toBe('unavailable');
    expect(rig.ingesters[0]!.requests).toHaveLength(before);
  });

  test('the quorum counts per section: one partition refused by two of three fails the write, by one does not', async () => {
    const rig = create(['a', 'b', 'c'], 3);
    await write(rig, 1);
    const partition = rig.ingesters[0]!.samples[0]!.partition;
    const other = rig.ingesters[0]!.samples.find((sample) => sample.partition !== partition)!.partition;
    for (const [ingester, failed] of [
      [0, partition],
      [1, other],
    ] as const) {
      rig.ingesters[ingester]!.behaviour = 'partial';
      rig.ingesters[ingester]!.failedPartitions = [failed];
    }
    expect(await write(rig, 2)).toBe('ok');
    rig.ingesters[1]!.failedPartitions = [other, partition];
    expect(await write(rig, 3)).toBe('unavailable');
  });

  test('owners changed, and the ingesters know before the writer: it waits for the placement and writes again', async () => {
    const rig = create(['a', 'b', 'c'], 3, { epochWaitMs: 10_000 });
    await write(rig, 1);
    for (const ingester of rig.ingesters) {
      ingester.behaviour = 'partial';
      ingester.failedPartitions = [0, 1, 2, 3, 4, 5, 6, 7];
    }
    const pending = write(rig, 2);
    await expect.poll(() => rig.ingesters[0]!.requests.length).toBe(2);
    for (const ingester of rig.ingesters) ingester.behaviour = 'keep';
    rig.cluster.placed = { ...rig.cluster.placed!, epoch: 2 };
    expect(await pending).toBe('ok');
    const numbers = rig.ingesters.map(({ requests }) =>
      requests.map(({ epoch, origin, write: number }) => [epoch, origin?.length, number]),
    );
    // The same number to all replicas, another one for what is sent again.
    for (const each of numbers)
      expect(each).toEqual([
        [1, 16, 1],
        [1, 16, 2],
        [2, 16, 3],
      ]);
  });

  test('one replica: writes have no numbers, there is nobody to compare with', async () => {
    const rig = create(['a'], 1);
    expect(await write(rig, 1)).toBe('ok');
    expect(rig.ingesters[0]!.requests[0]).not.toHaveProperty('origin');
  });

  test('five ingesters: each section goes to its owners and to nobody else', async () => {
    const rig = create(['a', 'b', 'c', 'd', 'e'], 3, {}, 16);
    expect(await write(rig, 1)).toBe('ok');
    await expect.poll(() => rig.ingesters.reduce((sum, { samples }) => sum + samples.length, 0)).toBe(120);
    for (const { instance, samples } of rig.ingesters) {
      for (const { partition } of samples)
        expect(rig.cluster.placed!.replicas[partition]).toContain(instance);
    }
  });
});

describe('streams', () => {
  test('after a failure: back-off, a new writer, definitions again', async () => {
    const { appender, resolve, ingesters, clock } = create(['a'], 1, {
      backoffMinMs: 10_000,
      backoffMaxMs: 10_000,
    });
    const a = resolve('a');
    const write = (): Promise<string> => codeOf(appender.write(columnsOf([[a, NOW, 1]]), [], signal()));
    expect(await write()).toBe('ok');
    ingesters[0]!.behaviour = 'die';
    expect(await write()).toBe('unavailable');
    ingesters[0]!.behaviour = 'keep';
    await expect(appender.write(columnsOf([[a, NOW, 1]]), [], signal())).rejects.toThrow(
      /a is down: told to die/,
    );
    expect(ingesters[0]!.writers).toHaveLength(1);
    clock.skip(10_001);
    expect(await write()).toBe('ok');
    expect(await write()).toBe('ok');
    expect(ingesters[0]!.definitions).toEqual([1, 1]);
    expect(new Set(ingesters[0]!.writers).size).toBe(2);
    expect(ingesters[0]!.requests.slice(-2).map(({ sequence }) => sequence)).toEqual([1, 2]);
  });

  test('all writes in flight fail with the stream', async () => {
    const { appender, resolve, ingesters } = create(['a'], 1, { writeTimeoutMs: 20_000 });
    const a = resolve('a');
    const gate = createGate();
    ingesters[0]!.gate = gate.opened;
    ingesters[0]!.behaviour = 'die';
    const writes = Array.from({ length: 5 }, (_, i) =>
      codeOf(appender.write(columnsOf([[a, NOW, i]]), [], signal())),
    );
    await expect.poll(() => ingesters[0]!.requests.length).toBe(1);
    gate.open();
    expect(await Promise.all(writes)).toEqual(Array<string>(5).fill('unavailable'));
    expect(ingesters[0]!.samples).toHaveLength(0);
  });

  test('an ingester that comes back as another process gets a new stream', async () => {
    const { appender, resolve, ingesters, cluster } = create(['a'], 1);
    const a = resolve('a');
    await appender.write(columnsOf([[a, NOW, 1]]), [], signal());
    const reborn = createRecordingIngester('a');
    cluster.live = [reborn];
    await appender.write(columnsOf([[a, NOW, 2]]), [], signal());
    expect(keptBy(ingesters[0]!)).toEqual([`a@${NOW}=1`]);
    expect(keptBy(reborn)).toEqual([`a@${NOW}=2`]);
    expect(reborn.definitions).toEqual([1]);
  });

  test('definitions of a refused request travel again', async () => {
    const { appender, resolve, ingesters } = create(['a'], 1);
    const a = resolve('a');
    const write = (): Promise<string> => codeOf(appender.write(columnsOf([[a, NOW, 1]]), [], signal()));
    ingesters[0]!.behaviour = 'refuse';
    expect(await write()).toBe('unavailable');
    ingesters[0]!.behaviour = 'keep';
    expect(await write()).toBe('ok');
    expect(ingesters[0]!.writers).toHaveLength(1);
    expect(keptBy(ingesters[0]!)).toEqual([`a@${NOW}=1`]);
  });
});

describe('windows', () => {
  const inFlight = async (registry: Registry): Promise<number> => {
    const metric = await registry.getSingleMetric('tidemark_distributor_in_flight_requests')!.get();
    return metric.values[0]!.value;
  };

  test.each([
    ['requests', { windowRequestsMax: 3 }, 3],
    // One sample takes 24 (header) + 8 (section) + 4 + 4 (reference, padding) + 8 + 8 bytes, the first 20 more for its definition.
    ['bytes', { windowBytesMax: 76 + 56 + 1 }, 2],
  ])('%s: the rest waits, in order, and goes when there is room', async (_name, options, expected) => {
    const { appender, resolve, ingesters, registry } = create(['a'], 1, {
      ...options,
      writeTimeoutMs: 20_000,
    });
    const a = resolve('a');
    const gate = createGate();
    ingesters[0]!.gate = gate.opened;
    const writes = Array.from({ length: 10 }, (_, i) =>
      appender.write(columnsOf([[a, NOW, i]]), [], signal()),
    );
    await expect.poll(() => ingesters[0]!.requests.length).toBe(1);
    expect(await inFlight(registry)).toBe(expected);
    gate.open();
    await Promise.all(writes);
    expect(ingesters[0]!.samples.map(({ value }) => value)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await inFlight(registry)).toBe(0);
  });

  test('a request larger than the window goes alone', async () => {
    const { appender, resolve, ingesters } = create(['a'], 1, { windowBytesMax: 10 });
    const a = resolve('a');
    await Promise.all([1, 2, 3].map((value) => appender.write(columnsOf([[a, NOW, value]]), [], signal())));
    expect(ingesters[0]!.samples.map(({ value }) => value)).toEqual([1, 2, 3]);
  });

  test('a replica with a full window does not hold up the quorum; it is skipped and counted', async () => {
    const { appender, resolve, ingesters, registry } = create(['a', 'b', 'c'], 3, {
      windowRequestsMax: 1,
      writeTimeoutMs: 20_000,
    });
    const a = resolve('a');
    const gate = createGate();
    ingesters[2]!.gate = gate.opened;
    for (let i = 0; i < 4; i++) await appender.write(columnsOf([[a, NOW, i]]), [], signal());
    expect(ingesters.map(({ samples }) => samples.length)).toEqual([4, 4, 0]);
    const skipped = await registry.getSingleMetric('tidemark_distributor_replicas_skipped_total')!.get();
    expect(skipped.values).toMatchObject([{ labels: { ingester: 'c' }, value: 3 }]);
    gate.open();
    await expect.poll(() => ingesters[2]!.samples.length).toBe(1);
    await appender.write(columnsOf([[a, NOW, 9]]), [], signal());
    await expect.poll(() => ingesters[2]!.samples.length).toBe(2);
  });

  test('writers that wait when the stream fails find out at once', async () => {
    const { appender, resolve, ingesters } = create(['a'], 1, {
      windowRequestsMax: 1,
      writeTimeoutMs: 20_000,
    });
    const a = resolve('a');
    const gate = createGate();
    ingesters[0]!.gate = gate.opened;
    ingesters[0]!.behaviour = 'die';
    const writes = [1, 2, 3].map((value) =>
      codeOf(appender.write(columnsOf([[a, NOW, value]]), [], signal())),
    );
    await expect.poll(() => ingesters[0]!.requests.length).toBe(1);
    const openedMs = systemClock.monotonicMs();
    gate.open();
    expect(await Promise.all(writes)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    expect(systemClock.monotonicMs() - openedMs).toBeLessThan(5000);
  });

  test('an ingester that never answers: writes time out, then its stream is ended and the window is free again', async () => {
    const { appender, resolve, ingesters, registry } = create(['a'], 1, {
      windowRequestsMax: 2,
      writeTimeoutMs: 100,
    });
    const a = resolve('a');
    ingesters[0]!.behaviour = 'hang';
    const writes = [1, 2, 3, 4].map((value) =>
      codeOf(appender.write(columnsOf([[a, NOW, value]]), [], signal())),
    );
    expect(await Promise.all(writes)).toEqual(Array<string>(4).fill('unavailable'));
    ingesters[0]!.behaviour = 'keep';
    await expect
      .poll(() => codeOf(appender.write(columnsOf([[a, NOW, 5]]), [], signal())), { timeout: 5000 })
      .toBe('ok');
    expect(await inFlight(registry)).toBe(0);
  });
});

describe('ends', () => {
  test('the caller aborts', async () => {
    const { appender, resolve, ingesters } = create(['a'], 1);
    const a = resolve('a');
    ingesters[0]!.behaviour = 'hang';
    const controller = new AbortController();
    const write = codeOf(appender.write(columnsOf([[a, NOW, 1]]), [], controller.signal));
    controller.abort(new AppError('canceled', 'enough'));
    expect(await write).toBe('canceled');
    expect(await codeOf(appender.write(columnsOf([[a, NOW, 1]]), [], controller.signal))).toBe('canceled');
  });

  test('stop lets what is in flight finish and refuses the rest', async () => {
    const { appender, resolve, ingesters, distributor } = create(['a'], 1, { writeTimeoutMs: 20_000 });
    const a = resolve('a');
    const gate = createGate();
    ingesters[0]!.gate = gate.opened;
    const write = codeOf(appender.write(columnsOf([[a, NOW, 1]]), [], signal()));
    const stopped = distributor.stop();
    await expect(appender.write(columnsOf([[a, NOW, 2]]), [], signal())).rejects.toThrow(/shutting down/);
    gate.open();
    expect(await write).toBe('ok');
    await stopped;
    await distributor.stop();
  });
});

test('random writes, failures and replicas: what was acknowledged is on a quorum, what is there was written', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          series: fc.array(fc.nat(30), { minLength: 1, maxLength: 20 }),
          behaviours: fc.array(fc.constantFrom('keep', 'keep', 'refuse', 'die', 'partial'), {
            minLength: 3,
            maxLength: 3,
          }),
          partition: fc.nat(7),
        }),
        { minLength: 1, maxLength: 15 },
      ),
      async (steps) => {
        const { appender, resolve, ingesters } = create(['a', 'b', 'c'], 3, {
          backoffMinMs: 0,
          backoffMaxMs: 0,
        });
        const written = new Set<string>();
        const acknowledged: string[] = [];
        let value = 0;
        for (const { series, behaviours, partition } of steps) {
          ingesters.forEach((ingester, i) => {
            ingester.behaviour = behaviours[i] as RecordingIngester['behaviour'];
            ingester.failedPartitions = [partition];
          });
          const rows = series.map((one) => [resolve(`m${one}`), NOW, ++value] as const);
          const texts = series.map((one, i) => `m${one}@${NOW}=${rows[i]![2]}`);
          for (const text of texts) written.add(text);
          if ((await codeOf(appender.write(columnsOf(rows), [], signal()))) === 'ok')
            acknowledged.push(...texts);
        }
        await systemClock.sleep(1);
        const kept = ingesters.map((ingester) => keptBy(ingester));
        for (const text of acknowledged) {
          expect(kept.filter((list) => list.includes(text)).length, text).toBeGreaterThanOrEqual(2);
        }
        for (const list of kept) {
          expect(new Set(list).size).toBe(list.length);
          for (const text of list) expect(written.has(text), text).toBe(true);
        }
      },
    ),
    { numRuns: 60 },
  );
});

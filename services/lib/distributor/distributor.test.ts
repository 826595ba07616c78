// What a distributor admits, where it sends it, and when a write is acknowledged.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeOf, columnsOf, create, keptBy, NOW, signal } from '../../../test/support/distributor-rig.ts';
import type { RecordingIngester } from '../../../test/support/recording-ingester.ts';
import { systemClock } from '../core/clock.ts';
import { Labels } from '../model/labels.ts';
import { FencedWriteError } from './appender.ts';

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

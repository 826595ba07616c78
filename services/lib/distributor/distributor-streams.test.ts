import type { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import {
  codeOf,
  columnsOf,
  create,
  createGate,
  keptBy,
  NOW,
  signal,
} from '../../../test/support/distributor-rig.ts';
import { createRecordingIngester } from '../../../test/support/recording-ingester.ts';
import { systemClock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';

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

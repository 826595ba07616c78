// Extras through the distributor: admission, split by partition, definitions, quorum by partition, forgotten references.
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { clusterOf, createRecordingIngester } from '../../../test/support/recording-ingester.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { ExtraColumns } from '../model/extra-columns.ts';
import { FloatHistogram } from '../model/float-histogram.ts';
import { decodeLabels, Labels } from '../model/labels.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import { decodeAppendExtras } from '../wire/append/append-extras.ts';
import { BatchScratch } from '../wire/append/batch-scratch.ts';
import { decodeBatch } from '../wire/append/packed-batch.ts';
import type { AppendRequest } from '../wire/contracts.ts';
import type { WriteColumns } from './appender.ts';
import { createDistributor } from './distributor.ts';

const NOW = 1_800_000_000_000;
const HOUR_MS = 3_600_000;
const signal = () => new AbortController().signal;

function create(instances: readonly string[] = ['a'], replicationFactor = 1) {
  const ingesters = instances.map((instance) => createRecordingIngester(instance));
  const clock: Clock = {
    nowMs: () => NOW,
    sleep: (ms, abort) => systemClock.sleep(ms, abort),
    monotonicMs: () => systemClock.monotonicMs(),
  };
  const distributor = createDistributor(
    { outOfOrderWindowMs: HOUR_MS, writeTimeoutMs: 2000, backoffMinMs: 10, backoffMaxMs: 40 },
    {
      cluster: clusterOf(ingesters, { replicationFactor, partitionCount: 8 }),
      clock,
      logger: createSilentLogger(),
      registry: new Registry(),
    },
  );
  onTestFinished(() => distributor.stop());
  const appender = distributor.appender('anonymous');
  return {
    ingesters,
    appender,
    resolve: (name: string) => appender.resolve(Labels.from([['__name__', name]])),
  };
}

function floats(
  rows: readonly (readonly [number, number])[],
  extras: ExtraColumns | undefined,
): WriteColumns {
  return {
    count: rows.length,
    references: Uint32Array.from(rows, ([reference]) => reference),
    timestampsMs: Float64Array.from(rows, ([, timeMs]) => timeMs),
    values: new Float64Array(rows.length),
    extras,
  };
}

function histogramOf(count: number): FloatHistogram {
  const histogram = new FloatHistogram();
  histogram.count = count;
  return histogram;
}

/** Series, kind and time of the extras of requests on one stream, each checked to be of its section's partition. */
function extrasOf(requests: readonly AppendRequest[]): string[] {
  const series = new Map<number, { readonly name: string; readonly partition: number }>();
  const found: string[] = [];
  for (const { batch, extras } of requests) {
    const define = (reference: number, partition: number, bytes: Uint8Array, start: number, end: number) => {
      expect(series.has(reference)).toBe(false);
      series.set(reference, { name: decodeLabels(bytes, start, end).get('__name__'), partition });
    };
    if (batch.length > 0) decodeBatch(batch, new BatchScratch()).forEachDefinition(define);
    if (extras === undefined) continue;
    const decoded = decodeAppendExtras(extras);
    decoded.forEachDefinition(define);
    for (const [index, { partition }] of decoded.sections.entries()) {
      const into = new ExtraColumns();
      decoded.readSection(index, into);
      for (let i = 0; i < into.count; i++) {
        const owner = series.get(into.references[i]!)!;
        expect(owner.partition).toBe(partition);
        found.push(`${owner.name} ${into.kinds[i]} ${into.timestampsMs[i]! - NOW}`);
      }
    }
  }
  return found.sort();
}

test('go with their partitions, share definitions with the floats, and are counted by kind', async () => {
  const { ingesters, appender, resolve } = create();
  const names = Array.from({ length: 30 }, (_, i) => `m${i}`);
  const references = names.map(resolve);
  const extras = new ExtraColumns();
  const expected: string[] = [];
  for (const [i, reference] of references.entries()) {
    extras.addHistogram(reference, NOW - i, histogramOf(i), 'integer');
    extras.addStartTime(reference, NOW - i, NOW - 5000);
    extras.addExemplar(reference, NOW + i, 1, new Uint8Array(0), 0, 0);
    expected.push(`m${i} 1 ${0 - i}`, `m${i} 2 ${0 - i}`, `m${i} 3 ${i}`);
  }
  const half = references.slice(0, 15).map((reference): [number, number] => [reference, NOW]);
  for (let round = 0; round < 2; round++) {
    expect(await appender.write(floats(half, extras), [], signal())).toEqual({
      written: 45,
      histogramsWritten: 30,
      rejected: 0,
      exemplarsWritten: 30,
      exemplarsRejected: 0,
      firstRejection: undefined,
    });
  }
  expect(extrasOf(ingesters[0]!.requests)).toEqual([...expected, ...expected].sort());
  // Without floats there is no batch at all.
  await appender.write(floats([], extras), [], signal());
  expect(ingesters[0]!.requests[2]!.batch.length).toBe(0);
});

test('outside the window: histograms are refused as samples are, exemplars counted apart, start times left out', async () => {
  const { ingesters, appender, resolve } = create();
  const reference = resolve('m');
  const extras = new ExtraColumns();
  for (const timeMs of [NOW - HOUR_MS - 1, NOW - HOUR_MS, NOW + HOUR_MS]) {
    extras.addHistogram(reference, timeMs, histogramOf(1), 'float');
    extras.addStartTime(reference, timeMs, 1);
    extras.addExemplar(reference, timeMs, 1, new Uint8Array(0), 0, 0);
  }
  extras.addExemplar(reference, NOW, 1, new Uint8Array(2000), 0, 2000);
  const outcome = await appender.write(floats([], extras), [], signal());
  expect(outcome).toMatchObject({
    written: 1,
    histogramsWritten: 1,
    rejected: 2,
    exemplarsWritten: 1,
    exemplarsRejected: 3,
  });
  expect(outcome.firstRejection).toMatch(
    /older than the out-of-order window of 1h.*series m\{\}, a native histogram/,
  );
  expect(extrasOf(ingesters[0]!.requests)).toEqual([1, 2, 3].map((kind) => `m ${kind} ${-HOUR_MS}`));
});

test('nothing is sent for a reference that is not known, or a kind that nobody knows', async () => {
  const { ingesters, appender, resolve } = create();
  const extras = new ExtraColumns();
  extras.addHistogram(resolve('m') + 1, NOW, histogramOf(1), 'float');
  await expect(appender.write(floats([], extras), [], signal())).rejects.toMatchObject({
    code: 'failed_precondition',
  });
  extras.reset();
  extras.addRaw(resolve('m'), NOW, 4, new Uint8Array(1), 0, 1);
  await expect(appender.write(floats([], extras), [], signal())).rejects.toMatchObject({ code: 'bad_data' });
  expect(ingesters[0]!.requests).toEqual([]);
});

test('a partition whose extras too few replicas keep fails the write; those of others do not', async () => {
  const { ingesters, appender, resolve } = create(['a', 'b', 'c'], 3);
  const extras = new ExtraColumns();
  extras.addHistogram(resolve('m'), NOW, histogramOf(1), 'float');
  expect((await appender.write(floats([], extras), [], signal())).written).toBe(1);
  for (const { requests } of ingesters) expect(extrasOf(requests)).toEqual(['m 1 0']);
  const { partition } = decodeAppendExtras(ingesters[0]!.requests[0]!.extras!).sections[0]!;
  for (const ingester of ingesters.slice(0, 2)) {
    ingester.behaviour = 'partial';
    ingester.failedPartitions = [partition];
  }
  await expect(appender.write(floats([], extras), [], signal())).rejects.toMatchObject({
    code: 'unavailable',
  });
  for (const ingester of ingesters.slice(0, 2)) ingester.failedPartitions = [(partition + 1) % 8];
  expect((await appender.write(floats([], extras), [], signal())).written).toBe(1);
});

import { Registry } from 'prom-client';
import { afterEach, expect, test } from 'vitest';
import { clusterOf, createRecordingIngester } from '../../../test/support/recording-ingester.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { EXTRA_EXEMPLAR, ExtraColumns } from '../model/extra-columns.ts';
import { Labels } from '../model/labels.ts';
import { createSilentLogger } from '../runtime/logger.ts';
import type { WriteColumns } from './appender.ts';
import { createDistributor } from './distributor.ts';
import { WITHHELD_MAX } from './series-admission.ts';

const NOW = 1_800_000_000_000;
const { signal } = new AbortController();
/** Long beside what a busy machine stands still for. */
const WRITE_TIMEOUT_MS = 4_000;

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function create(instances: readonly string[], replicationFactor: number, seriesMax: number) {
  const ingesters = instances.map((instance) => createRecordingIngester(instance));
  for (const ingester of ingesters) ingester.seriesMax = seriesMax;
  let skippedMs = 0;
  const clock: Clock = {
    nowMs: () => NOW,
    monotonicMs: () => systemClock.monotonicMs() + skippedMs,
    sleep: (ms, aborted) => systemClock.sleep(ms, aborted),
  };
  const registry = new Registry();
  const distributor = createDistributor(
    { outOfOrderWindowMs: 3_600_000, writeTimeoutMs: WRITE_TIMEOUT_MS, asksForSeries: true },
    { cluster: clusterOf(ingesters, { replicationFactor }), clock, logger: createSilentLogger(), registry },
  );
  stops.push(() => distributor.stop());
  const appender = distributor.appender('anonymous');
  const resolve = (name: string): number => appender.resolve(Labels.from([['__name__', name]]));
  const write = (...names: readonly string[]) => appender.write(columnsOf(names.map(resolve)), [], signal);
  const skip = (ms: number): void => void (skippedMs += ms);
  return { ingesters, registry, distributor, appender, resolve, write, skip };
}

function columnsOf(references: readonly number[]): WriteColumns {
  return {
    count: references.length,
    references: Uint32Array.from(references),
    timestampsMs: new Float64Array(references.length).fill(NOW),
    values: new Float64Array(references.length).fill(1),
  };
}

const writtenTo = ({ samples }: { readonly samples: readonly { readonly series: string }[] }): string[] =>
  samples.map(({ series }) => series).toSorted();

test('what has room is written, the rest is refused by name, and known series go on', async () => {
  const { ingesters, registry, write } = create(['a'], 1, 2);
  expect(await write('m1', 'm2')).toMatchObject({ written: 2, rejected: 0 });
  const outcome = await write('m1', 'm3', 'm2', 'm4');
  expect(outcome).toMatchObject({ written: 2, rejected: 2, overLimit: 2 });
  expect(outcome.firstRejection).toMatch(
    /^series m3\{\}: tenant anonymous has 2 series in memory of ingester a, whose share of the limit is 2; .*--ingest\.max-series/,
  );
  expect(writtenTo(ingesters[0]!)).toEqual(['m1', 'm1', 'm2', 'm2']);
  const counted = async (name: string) =>
    (await registry.getSingleMetric(`tidemark_distributor_${name}`)!.get()).values;
  expect(await counted('series_rejected_total')).toMatchObject([
    { labels: { reason: 'series_limit' }, value: 2 },
  ]);
  expect(await counted('samples_rejected_total')).toMatchObject([
    { labels: { reason: 'series_limit' }, value: 2 },
  ]);
});

test('a refused series is asked for again after a while, not with every write', async () => {
  const { ingesters, write, skip } = create(['a'], 1, 1);
  await write('m1');
  await write('m2');
  const asked = ingesters[0]!.questions.length;
  expect(await write('m2')).toMatchObject({ written: 0, rejected: 1 });
  expect(ingesters[0]!.questions).toHaveLength(asked);
  ingesters[0]!.seriesMax = 5;
  skip(11_000);
  expect(await write('m2')).toMatchObject({ written: 1, rejected: 0 });
  expect(ingesters[0]!.questions).toHaveLength(asked + 1);
});

test('with much room nobody asks for a minute; without a limit neither', async () => {
  for (const seriesMax of [0, 1000]) {
    const { ingesters, write, skip } = create(['a'], 1, seriesMax);
    await write('m0');
    for (let i = 1; i < 50; i++) expect(await write(`m${i}`)).toMatchObject({ written: 1 });
    expect(ingesters[0]!.questions).toEqual([1]);
    skip(61_000);
    await write('n');
    expect(ingesters[0]!.questions).toEqual([1, 1]);
  }
});

test.each([
  ['one of three refuses: the quorum has room', [9, 9, 1], { written: 2, rejected: 0 }],
  ['two of three refuse', [9, 1, 1], { written: 1, rejected: 1 }],
])('%s; who got the sample is the same for all', async (_, limits, expected) => {
  const { ingesters, write } = create(['a', 'b', 'c'], 3, 0);
  for (const [i, limit] of limits.entries()) ingesters[i]!.seriesMax = limit;
  await write('m1');
  expect(await write('m1', 'm2')).toMatchObject(expected);
  await write('m1');
  const [a, b, c] = ingesters.map(writtenTo);
  expect(a).toEqual(b);
  expect(b).toEqual(c);
});

test('one that does not answer is not waited for; with two of them nothing is known', async () => {
  const { ingesters, write } = create(['a', 'b', 'c'], 3, 0);
  ingesters[0]!.admission = 'hang';
  const startedMs = performance.now();
  expect(await write('m1')).toMatchObject({ written: 1 });
  expect(performance.now() - startedMs).toBeLessThan(WRITE_TIMEOUT_MS * 0.75);
  const other = create(['a', 'b', 'c'], 3, 0);
  for (const ingester of other.ingesters.slice(1)) ingester.admission = 'hang';
  await expect(other.write('m1')).rejects.toMatchObject({ code: 'unavailable' });
  for (const ingester of other.ingesters) ingester.admission = 'answer';
  expect(await other.write('m1')).toMatchObject({ written: 1 });
});

test('ingesters of a version that has no such call take everything', async () => {
  const { ingesters, write } = create(['a'], 1, 1);
  ingesters[0]!.admission = 'unknown';
  expect(await write('m1', 'm2', 'm3')).toMatchObject({ written: 3, rejected: 0 });
});

test('histograms and exemplars of a refused series are left out, its start times silently', async () => {
  const { appender, ingesters, write, resolve } = create(['a'], 1, 1);
  await write('m1');
  const extras = new ExtraColumns();
  extras.addStartTime(resolve('m2'), NOW, NOW - 1000);
  extras.addRaw(resolve('m2'), NOW, EXTRA_EXEMPLAR, Uint8Array.of(1, 2), 0, 2);
  const columns = { ...columnsOf([resolve('m1')]), extras };
  expect(await appender.write(columns, [], signal)).toMatchObject({
    ...{ written: 1, rejected: 0, exemplarsRejected: 1 },
  });
  expect(ingesters[0]!.requests.every((request) => request.extras === undefined)).toBe(true);
});

test('an attack is remembered up to a bound, and refused at once behind it', async () => {
  const { appender, distributor, registry, resolve, write } = create(['a'], 1, 1);
  await write('m1');
  const batch = 10_000;
  for (let first = 0; first < WITHHELD_MAX; first += batch) {
    const references = Array.from({ length: batch }, (_, i) => resolve(`x${first + i}`));
    expect(await appender.write(columnsOf(references), [], signal)).toMatchObject({ rejected: batch });
  }
  expect(() => resolve('y')).toThrow(/^series y\{\}: tenant anonymous has 1 series/);
  expect(await write('m1')).toMatchObject({ written: 1 });
  const gauge = await registry.getSingleMetric('tidemark_distributor_series')!.get();
  expect(gauge.values[0]!.value).toBe(WITHHELD_MAX + 1);
  // Other tenants have a room of their own.
  const other = distributor.appender('other');
  expect(other.resolve(Labels.from([['__name__', 'z']]))).toBeGreaterThan(0);
});

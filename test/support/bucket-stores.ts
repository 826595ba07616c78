// Stores with a bucket behind a real S3 API, for tests: one by itself or several, small blocks, and what lies in the bucket.
import { globSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { AppError } from '../../services/lib/core/errors.ts';
import type { ObjectStore } from '../../services/lib/objstore/object-store.ts';
import type { BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';
import { type Coverage, MatchType, type WireSelectRequest } from '../../services/lib/wire/contracts.ts';
import type { StoreOptions } from '../../services/store/options.ts';
import { temporaryFolder } from './blocks.ts';
import { everything, HOUR_MS, NOW_MS, startStores } from './replicated-stores.ts';
import { objectStoreOf, type S3Gateway } from './s3-gateway.ts';
import { blockOfJobs, type TestSample } from './sample-blocks.ts';
import type { StoreCluster } from './store-cluster.ts';
import { HandClock, type StoreRig, startStoreRig } from './store-rig.ts';

const signal = new AbortController().signal;
/** Looks often, and at nothing else. */
export const QUICK: Partial<StoreOptions> = {
  ...{ bucketListIntervalMs: 100, bucketDeleteGraceMs: 200, repairIntervalMs: 20, scrubPeriodMs: 0 },
};

/** Stores that keep two copies of each block on their disks, and one in the bucket. */
export function startBucketStores(
  gateway: S3Gateway,
  instances: readonly string[],
  options: Partial<StoreOptions> = {},
): Promise<StoreCluster> {
  return startStores(instances, { ...QUICK, ...options }, objectStoreOf(gateway));
}

/** A store that has no others. */
export async function startAlone(
  gateway: S3Gateway,
  options: Partial<StoreOptions> = {},
  clock = new HandClock(NOW_MS),
  objects = objectStoreOf(gateway),
) {
  const folder = await temporaryFolder();
  const dataDir = path.join(folder.path, 'data');
  const rig = await startStoreRig(dataDir, clock, { ...QUICK, ...options }, undefined, objects);
  onTestFinished(async () => {
    await rig.store.stop();
    await folder[Symbol.asyncDispose]();
  });
  return { ...rig, dataDir, clock };
}

/** A block of two series of one partition, `samples` of each, half a minute apart. */
export function blockOf(hour: number, partition = 0, samples = 100): Promise<BuiltBlock> {
  const words = new Uint32Array(Float64Array.of(hour * 100 + partition + 0.1).buffer);
  return blockOfJobs(['a', 'b'], partition, 40, () =>
    Array.from(
      { length: samples },
      (_, i): TestSample => [hour * HOUR_MS + i * 30_000, Math.imul(i + 1, 0x9e3779b1) >>> 0, words[1]!],
    ),
  );
}

/** Files in the bucket below the prefix. */
export const objectsIn = ({ bucketFolder }: S3Gateway): string[] =>
  globSync('**/*', { cwd: path.join(bucketFolder, 'test/cluster/blocks'), withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      path.relative(path.join(bucketFolder, 'test/cluster/blocks'), path.join(entry.parentPath, entry.name)),
    )
    .toSorted();

/** Ids of the blocks that are in the bucket. */
export const blocksIn = (gateway: S3Gateway): string[] =>
  objectsIn(gateway)
    .filter((name) => name.endsWith('/meta.json'))
    .map((name) => name.split('/')[1]!);

/** Of built blocks, in order. */
export const idsOf = (blocks: readonly BuiltBlock[]): string[] =>
  blocks.map(({ meta }) => meta.blockId).toSorted();

/** What a select over everything says that it covers. */
export async function coverageOf(
  { client }: StoreRig,
  change: Partial<WireSelectRequest> = {},
): Promise<Coverage> {
  let found: Coverage | undefined;
  for await (const { coverage } of client.select(
    {
      ...{ tenant: 'anonymous', matchers: everything, minTimeMs: -1e15, maxTimeMs: 1e15 },
      ...{ labelsOnly: false, partitions: [], seriesMax: 0, ...change },
    },
    { signal },
  ))
    found = coverage ?? found;
  return found!;
}

/** Sum over all labels. */
export async function metricOf({ registry }: StoreRig, name: string): Promise<number> {
  const { values } = await registry.getSingleMetric(name)!.get();
  return values.reduce((sum, { value }) => sum + value, 0);
}

/** Object storage of which only some calls are answered. */
export function limited(objects: ObjectStore, isAnswered: (method: string) => boolean): ObjectStore {
  return new Proxy(objects, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...call: unknown[]): unknown => {
        if (!isAnswered(String(key))) throw new AppError('unavailable', `no ${String(key)} now`);
        return Reflect.apply(value, target, call);
      };
    },
  });
}

/** Takes all samples of one job. */
export const deleteRequest = (job: string) => ({
  ...{
    tenant: 'anonymous',
    deleteId: job.charCodeAt(0).toString(16).padStart(32, '0'),
    actor: 'test',
    createdAtMs: NOW_MS,
  },
  matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: job }],
  ...{ minTimeMs: -1e15, maxTimeMs: 1e15, seriesMax: 0 },
});

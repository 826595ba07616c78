// Stores whose blocks leave the disk for a real bucket, and what is left of them where.
import { existsSync, globSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import type { Disk } from '../../services/lib/core/disk.ts';
import type { ObjectStore } from '../../services/lib/objstore/object-store.ts';
import type { BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';
import { type Coverage, MatchType, type WireMatcher } from '../../services/lib/wire/contracts.ts';
import type { StoreOptions } from '../../services/store/options.ts';
import { temporaryFolder } from './blocks.ts';
import { QUICK } from './bucket-stores.ts';
import type { S3Gateway } from './s3-gateway.ts';
import { blockOfJobs, type TestSample } from './sample-blocks.ts';
import { HandClock, type StoreRig, startStoreRig } from './store-rig.ts';

export const HOUR_MS = 3_600_000;
/** Of the stores' clocks at first. */
export const NOW_MS = 4000 * HOUR_MS;
/** Never aborted. */
export const signal = new AbortController().signal;
/** Matches every series. */
export const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];
/** Matches the series of one job. */
export const only = (job: string): WireMatcher[] => [
  { type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: job },
];
/** Whatever is older than an hour leaves, and next to nothing is kept. */
export const EVICTING: Partial<StoreOptions> = {
  ...QUICK,
  ...{ localAgeMs: HOUR_MS, cacheBytesMax: 0 },
};

/** A store, its folder and its clock. */
export interface Rig extends StoreRig {
  readonly dataDir: string;
  readonly clock: HandClock;
}

/** A store that evicts; it is stopped with the test. */
export async function startOn(
  dataDir: string,
  objects: ObjectStore | undefined,
  options: Partial<StoreOptions> = {},
  disk?: Disk,
): Promise<Rig> {
  const clock = new HandClock(NOW_MS);
  const rig = await startStoreRig(dataDir, clock, { ...EVICTING, ...options }, disk, objects);
  onTestFinished(() => rig.store.stop());
  return { ...rig, dataDir, clock };
}

/** For a store, until the test is over. */
export async function freshDir(): Promise<string> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  return path.join(folder.path, 'data');
}

/** A series of each in every block. */
export const jobs = ['a', 'b', 'c', 'd'];

/** Samples that do not compress: 12 bytes and more of each are in the block. */
export function blockOf(hour: number, samples = 100, partition = 0): Promise<BuiltBlock> {
  let state = hour * 64 + partition + 1;
  const next = (): number => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    return (state ^ (state >>> 12)) >>> 0;
  };
  return blockOfJobs(jobs, partition, 120, () =>
    Array.from(
      { length: samples },
      (_, i): TestSample => [hour * HOUR_MS + i * 100 + (next() % 90), next(), 0x40000000 + (next() >>> 8)],
    ),
  );
}

/** Ids of the blocks that a bucket has. */
export const blocksIn = ({ bucketFolder }: S3Gateway): string[] =>
  globSync('test/cluster/blocks/*/*/meta.json', { cwd: bucketFolder }).map((name) => name.split('/')[4]!);
/** File of an object of the bucket. */
export const objectOf = ({ bucketFolder }: S3Gateway, { meta }: BuiltBlock, name: string): string =>
  path.join(bucketFolder, 'test/cluster/blocks/anonymous', meta.blockId, name);
/** Of a block in a store. */
export const folderOf = ({ dataDir }: { readonly dataDir: string }, { meta }: BuiltBlock): string =>
  path.join(dataDir, 'blocks/anonymous', meta.blockId);
/** In that folder, sorted. */
export const filesOf = (rig: { readonly dataDir: string }, block: BuiltBlock): string[] =>
  existsSync(folderOf(rig, block)) ? readdirSync(folderOf(rig, block)).toSorted() : [];
/** Files of a block that has left. */
export const EVICTED = ['evicted.json', 'index', 'meta.json'];
/** Files of one that has not. */
export const WHOLE = ['chunks', 'index', 'meta.json'];

/** Bytes of the files of fetched segments. */
export const cachedBytes = ({ dataDir }: Rig): number =>
  globSync('blocks-cache/*/*/*', { cwd: dataDir }).reduce(
    (sum, name) => sum + (statSync(path.join(dataDir, name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );

/** Sum of a metric's values. */
export async function metricOf({ registry }: StoreRig, name: string): Promise<number> {
  const { values } = await registry.getSingleMetric(name)!.get();
  return values.reduce((sum, { value }) => sum + value, 0);
}

/** What a select says of its completeness. */
export async function coverageOf(
  { client }: StoreRig,
  range: { readonly minTimeMs?: number; readonly maxTimeMs?: number } = {},
  own: AbortSignal = signal,
): Promise<Coverage> {
  let found: Coverage | undefined;
  for await (const { coverage } of client.select(
    {
      ...{ tenant: 'anonymous', matchers: everything, minTimeMs: -1e15, maxTimeMs: 1e15, ...range },
      ...{ labelsOnly: false, partitions: [], seriesMax: 0 },
    },
    { signal: own },
  ))
    found = coverage ?? found;
  return found!;
}

/** A bucket whose ranged reads can be held up, counted and changed. */
export function meddled(
  store: ObjectStore,
  change: (
    key: string,
    start: number,
    end: number,
    own: AbortSignal,
    read: () => Promise<Uint8Array>,
  ) => Promise<Uint8Array>,
): ObjectStore {
  return new Proxy(store, {
    get: (target, name: keyof ObjectStore) => {
      if (name === 'getRange')
        return (key: string, start: number, end: number, own: AbortSignal) =>
          change(key, start, end, own, () => target.getRange(key, start, end, own));
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

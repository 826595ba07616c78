// Parts of queries over the blocks of one store: which sealed blocks it says to hold, and what it answers for.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { buildBlock, temporaryFolder } from '../../../test/support/blocks.ts';
import { seriesOf, type TestSample } from '../../../test/support/sample-blocks.ts';
import {
  HandClock,
  listedBlocks,
  putBuilt,
  type StoreRig,
  startStoreRig,
  storedContent,
} from '../../../test/support/store-rig.ts';
import { Labels } from '../../lib/model/labels.ts';
import { DEFAULT_FEATURES } from '../../lib/promql/features.ts';
import { namesOfFeatures } from '../../lib/query/feature-list.ts';
import { createInProcessClient } from '../../lib/transport/in-process.ts';
import {
  BlockHorizonDefinition,
  type EvaluatePartRequest,
  MatchType,
  type PartShare,
} from '../../lib/wire/contracts.ts';
import { decodePartialResult } from '../../lib/wire/frames/partial-result.ts';
import type { StoreOptions } from '../options.ts';
import { packIds, unpackIds } from './block-ids.ts';

const HOUR_MS = 3_600_000;
const BASE_MS = 24 * HOUR_MS;
const signal = new AbortController().signal;
const everything = [{ type: MatchType.MATCH_TYPE_REGEX, name: '__name__', value: '.+' }];
const WINDOW = { tenant: 'anonymous', minTimeMs: BASE_MS, maxTimeMs: BASE_MS + HOUR_MS };
const PART: EvaluatePartRequest = {
  ...{ tenant: 'anonymous', query: 'sum by (job) (count_over_time(up[1h]))', part: 0, partitions: [] },
  ...{ startMs: WINDOW.maxTimeMs, endMs: WINDOW.maxTimeMs, stepMs: 0, lookbackMs: 300_000 },
  ...{ subqueryIntervalMs: 60_000, features: namesOfFeatures(DEFAULT_FEATURES), replicaLabels: ['replica'] },
  ...{ samplesMax: 1e6, memoryMaxBytes: 1e8, seriesMax: 100 },
  ...{ minTimeMs: WINDOW.minTimeMs + 1, maxTimeMs: WINDOW.maxTimeMs },
};

interface TestBlock {
  /** Minutes from BASE_MS at which a sample is. */
  readonly minutes: readonly number[];
  /** The partition of a job's series is the length of its labels modulo 7. */
  readonly jobs: readonly string[];
  readonly more?: Readonly<Record<string, string>>;
}

async function storeOf(blocks: readonly TestBlock[], options: Partial<StoreOptions> = {}) {
  const folder = await temporaryFolder();
  const clock = new HandClock(100 * HOUR_MS);
  const rig = await startStoreRig(path.join(folder.path, 'data'), clock, options);
  onTestFinished(async () => {
    await rig.store.stop();
    await folder[Symbol.asyncDispose]();
  });
  const ids: string[] = [];
  const partitions = new Set<number>();
  for (const [i, { minutes, jobs, more = {} }] of blocks.entries()) {
    const samples = minutes.map((minute): TestSample => [BASE_MS + minute * 60_000, minute, 0x40000000]);
    const series = jobs.map((job) => {
      const one = seriesOf(Labels.from(Object.entries({ __name__: 'up', job, ...more })), samples, 7);
      partitions.add(one.partition);
      return one;
    });
    const block = await buildBlock(path.join(folder.path, `built-${i}`), series);
    ids.push(block.meta.blockId);
    await putBuilt(rig, block);
  }
  // So long after the last block that nobody waits for more of its range.
  clock.wallMs += 10 * HOUR_MS;
  const client = createInProcessClient(BlockHorizonDefinition, rig.store.horizonHandlers);
  return {
    rig,
    client,
    ids,
    partitions: [...partitions],
    blocksDir: path.join(folder.path, 'data', 'blocks'),
  };
}

type TestStore = Awaited<ReturnType<typeof storeOf>>;

interface Evaluated {
  readonly counts?: Readonly<Record<string, number>>;
  readonly partitions?: readonly number[];
  readonly refusal?: string | undefined;
}

/** Counts by job, or the refusal; asks again while threads start. */
async function evaluate({ client }: TestStore, shares: readonly PartShare[]): Promise<Evaluated> {
  for (;;) {
    const frames: Uint8Array[] = [];
    let last: { partitions: readonly number[]; refusal?: string | undefined } = { partitions: [] };
    for await (const message of client.evaluateShares({ part: PART, shares: [...shares] }, { signal })) {
      if (message.frame.length > 0) frames.push(message.frame);
      last = message;
    }
    if (last.refusal === 'the threads for parts are starting') {
      await sleep(20);
      continue;
    }
    const { partitions, refusal } = last;
    if (partitions.length === 0) return { refusal };
    const rows = decodePartialResult(frames).rows.map(({ labels, values }) => [labels.get('job'), values[0]]);
    return { counts: Object.fromEntries(rows), partitions, ...(refusal === undefined ? {} : { refusal }) };
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
const sorted = (ids: Iterable<string>) => [...ids].sort();
const heldBy = async ({ client }: TestStore) => {
  const { blocks, ...rest } = await client.heldLeaves(WINDOW, { signal });
  return { leaves: sorted(blocks.flatMap(({ leaves }) => unpackIds(leaves))), blocks, ...rest };
};

const OVERLAPPING: readonly TestBlock[] = [
  { minutes: upTo(40), jobs: ['a', 'bb'] },
  // Some of the same samples, some others, and a series more; chunks begin elsewhere.
  { minutes: upTo(50).slice(25), jobs: ['bb', 'ccc'] },
  { minutes: [200, 201], jobs: ['a'] },
];

test('overlapping blocks are united, merged or not; each sealed block of the window is named', async () => {
  const store = await storeOf(OVERLAPPING);
  const [first, second] = store.ids as [string, string];
  const held = await heldBy(store);
  expect(held).toMatchObject({ leaves: sorted([first, second]), hasAggregates: false });
  expect(held.missing).toBeUndefined();
  const share = { partitions: store.partitions, leaves: packIds([first, second]) };
  const expected = { counts: { a: 40, bb: 50, ccc: 25 }, partitions: store.partitions };
  expect(await evaluate(store, [share])).toEqual(expected);

  const merging = await storeOf(OVERLAPPING, { compactionRangesMs: [48 * HOUR_MS] });
  await expect.poll(async () => (await listedBlocks(merging.rig)).length, { timeout: 20_000 }).toBe(1);
  expect((await heldBy(merging)).leaves).toEqual(sorted(store.ids));
  // What others have not merged is compared all the same.
  expect(await evaluate(merging, [share])).toEqual(expected);
});

test('a share of which a sealed block is not here is refused, others are answered for', async () => {
  const store = await storeOf(OVERLAPPING);
  const [first, second] = store.ids as [string, string];
  const [one, ...others] = store.partitions as [number, ...number[]];
  const elsewhere = packIds([first, 'f'.repeat(32)]);
  const here = packIds([first, second]);
  const refusal = 'some sealed block is not here any more';
  expect(await evaluate(store, [{ partitions: store.partitions, leaves: elsewhere }])).toEqual({ refusal });
  const some = await evaluate(store, [
    { partitions: others, leaves: here },
    { partitions: [one], leaves: elsewhere },
  ]);
  expect(some).toMatchObject({ partitions: others, refusal });
  expect(Object.keys(some.counts!).length).toBeLessThan(3);
});

test('what deletes hide is not seen, and the deletes are named', async () => {
  const store = await storeOf(OVERLAPPING);
  const deleteId = 'd'.repeat(32);
  const concerned = await store.rig.client.deleteSeries(
    {
      ...{ tenant: 'anonymous', deleteId, createdAtMs: 0, actor: 'somebody' },
      matchers: [{ type: MatchType.MATCH_TYPE_EQUAL, name: 'job', value: 'a' }],
      ...{ minTimeMs: BASE_MS, maxTimeMs: BASE_MS + 10 * 60_000 },
    },
    { signal },
  );
  expect(concerned).toEqual({ concerned: 1 });
  const { blocks } = await heldBy(store);
  expect(sorted(blocks.map(({ deletes }) => unpackIds(deletes).join()))).toEqual(['', deleteId]);
  const share = { partitions: store.partitions, leaves: packIds(store.ids.slice(0, 2)) };
  expect((await evaluate(store, [share])).counts).toEqual({ a: 30, bb: 50, ccc: 25 });
});

test('series of replicas are refused: the pair may be on another store', async () => {
  const store = await storeOf([{ minutes: upTo(9), jobs: ['a'], more: { replica: 'r' } }]);
  const share = { partitions: store.partitions, leaves: packIds(store.ids) };
  expect(await evaluate(store, [share])).toEqual({ refusal: 'series have replica labels (replica)' });
});

test('a block that is set aside is named as missing, and its share refused', async () => {
  const store = await storeOf(OVERLAPPING);
  const [first, second] = store.ids as [string, string];
  const chunks = path.join(store.blocksDir, 'anonymous', first, 'chunks');
  const bytes = readFileSync(chunks);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(chunks, bytes);
  await expect(storedContent(store.rig as StoreRig, everything)).rejects.toMatchObject({ code: 'internal' });
  const held = await heldBy(store);
  expect(held).toMatchObject({ leaves: [second], missing: expect.stringContaining(first) });
  const share = { partitions: store.partitions, leaves: packIds([first, second]) };
  expect(await evaluate(store, [share])).toEqual({ refusal: 'some sealed block is not here any more' });
});

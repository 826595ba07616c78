// A real store below a real querier, joined by in-process channels: a block that turns out corrupt is named by every later
// answer over its range, and by none beside it.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ByteWriter } from '../../services/lib/core/bytes.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createInProcessClient } from '../../services/lib/transport/in-process.ts';
import { readBlockPieces } from '../../services/lib/tsdb/block/block-pieces.ts';
import type { BuiltBlock } from '../../services/lib/tsdb/block/block-writer.ts';
import { encodeXorChunk } from '../../services/lib/tsdb/chunk/xor-encoder.ts';
import {
  MatchType,
  type PutBlockRequest,
  QuerierDefinition,
  StoreDefinition,
} from '../../services/lib/wire/contracts.ts';
import { emptySeriesFrame } from '../../services/lib/wire/frames/series-frame.ts';
import { createQuerier } from '../../services/querier/service.ts';
import { createStore, type Store } from '../../services/store/service.ts';
import { buildBlock, temporaryFolder } from '../support/blocks.ts';
import { createFakeCluster } from '../support/fake-cluster.ts';

const HOUR_MS = 3_600_000;
const TENANT = 'anonymous';
const context = { signal: new AbortController().signal };

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let store: Store;

beforeEach(async () => {
  folder = await temporaryFolder();
  store = createStore(
    { dataDir: path.join(folder.path, 'data'), retentionMs: 0, retentionBytes: 0 },
    { clock: systemClock, logger: createSilentLogger(), registry: new Registry() },
  );
  await store.start();
});

afterEach(async () => {
  await store.stop();
  await folder[Symbol.asyncDispose]();
});

/** A block with one series, `up` = 1 every minute of two hours. */
function buildUp(startMs: number): Promise<BuiltBlock> {
  const timestampsMs = Float64Array.from({ length: 120 }, (_, i) => startMs + i * 60_000);
  const chunk = new ByteWriter();
  encodeXorChunk(timestampsMs, new Float64Array(120).fill(1), 0, 120, chunk);
  const chunks = [
    {
      encoding: 1,
      minTimeMs: startMs,
      maxTimeMs: timestampsMs.at(-1)!,
      samples: 120,
      bytes: chunk.bytes.slice(0, chunk.length),
    },
  ];
  const labels = Labels.from([['__name__', 'up']]);
  return buildBlock(path.join(folder.path, `built-${startMs}`), [{ labels, partition: 0, chunks }], TENANT);
}

async function* putMessages({ meta, files }: BuiltBlock): AsyncGenerator<PutBlockRequest> {
  const { tenant, blockId } = meta;
  yield { part: { $case: 'header', value: { tenant, blockId, files: [...files] } } };
  for await (const piece of readBlockPieces(files)) yield { part: { $case: 'piece', value: piece } };
}

function joinQuerier() {
  const stores = [
    { instance: 'store-0', client: createInProcessClient(StoreDefinition, store.handlers) },
  ] as const;
  const ingesters = createFakeCluster({ ingesters: [{ instance: 'ingester-0', series: [] }] });
  const querier = createQuerier(
    {},
    {
      cluster: { ...ingesters, stores: () => stores },
      clock: systemClock,
      logger: createSilentLogger(),
      registry: new Registry(),
    },
  );
  return createInProcessClient(QuerierDefinition, querier.handlers);
}

test('a query, a series and a label lookup over a lost block say so, others do not', async () => {
  const puts = createInProcessClient(StoreDefinition, store.handlers);
  const [bad, good] = [await buildUp(10 * HOUR_MS), await buildUp(12 * HOUR_MS)];
  for (const block of [bad, good]) await puts.putBlock(putMessages(block), context);
  const client = joinQuerier();

  const instant = async (timeMs: number, allowPartial = false) => {
    const request = { tenant: TENANT, query: 'up', startMs: timeMs, endMs: timeMs, stepMs: 0, timeoutMs: 0 };
    const warnings: string[] = [];
    for await (const { part } of client.query(
      { ...request, lookbackMs: 0, limit: 0, allowPartial },
      context,
    )) {
      if (part?.$case === 'trailer') warnings.push(...part.value.warnings);
    }
    return warnings;
  };
  const lookup = { tenant: TENANT, limit: 0 };
  const labels = (minTimeMs: number, maxTimeMs: number, labelName: string) =>
    client.labels({ ...lookup, sets: [], minTimeMs, maxTimeMs, labelName }, context);
  const series = async (minTimeMs: number, maxTimeMs: number) => {
    const matchers = [{ type: MatchType.MATCH_TYPE_EQUAL, name: '__name__', value: 'up' }];
    const request = { ...lookup, sets: [{ matchers }], minTimeMs, maxTimeMs };
    let frames = 0;
    // The first one may carry nothing but what the answer rests on.
    const empty = emptySeriesFrame().length;
    for await (const { frame } of client.series(request, context)) frames += frame.length > empty ? 1 : 0;
    return frames;
  };
  // Nothing is kept of the other block's chunks: the query that finds the damage is the first one to read them.
  expect(await instant(13 * HOUR_MS)).toEqual([]);

  const chunks = path.join(folder.path, 'data', 'blocks', TENANT, bad.meta.blockId, 'chunks');
  const bytes = await readFile(chunks);
  bytes[40]! ^= 1;
  await writeFile(chunks, bytes);
  await expect(instant(11 * HOUR_MS)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/store store-0 did not answer: .*corrupt/),
  });

  const gap = `store store-0 lacks samples: 1 corrupt block is in quarantine: ${bad.meta.blockId} (1970-01-01T10:00:00.000Z to 1970-01-01T11:59:00.000Z)`;
  const incomplete = { code: 'unavailable', message: expect.stringContaining(gap) };
  await expect(instant(11 * HOUR_MS)).rejects.toMatchObject(incomplete);
  expect(await instant(11 * HOUR_MS, true)).toEqual([gap]);
  await expect(labels(10 * HOUR_MS, 11 * HOUR_MS, '')).rejects.toMatchObject(incomplete);
  await expect(labels(10 * HOUR_MS, 11 * HOUR_MS, '__name__')).rejects.toMatchObject(incomplete);
  await expect(series(10 * HOUR_MS, 11 * HOUR_MS)).rejects.toMatchObject(incomplete);

  expect(await instant(13 * HOUR_MS)).toEqual([]);
  expect((await labels(12 * HOUR_MS, 13 * HOUR_MS, '__name__')).values).toEqual(['up']);
  expect(await series(12 * HOUR_MS, 13 * HOUR_MS)).toBe(1);

  // A good copy of the block closes the gap.
  await puts.putBlock(putMessages(bad), context);
  expect(await instant(11 * HOUR_MS)).toEqual([]);
});

import { expect, test } from 'vitest';
import { temporaryFolder } from '../../../test/support/blocks.ts';
import { chunkOf } from '../../../test/support/sample-blocks.ts';
import { ByteWriter } from '../../lib/core/bytes.ts';
import { encodeLabels, Labels } from '../../lib/model/labels.ts';
import { GROUP_SHARDS, shardOf } from '../../lib/placement/block-groups.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { SealedBlocks } from './sealed-blocks.ts';

const signal = new AbortController().signal;

/** Series of given partitions, in the order in which a head gives them. */
async function seal(partitions: readonly number[], shards: number): Promise<BlockMeta[]> {
  await using folder = await temporaryFolder();
  const blocks = new SealedBlocks({ tenant: 't', dir: `${folder.path}/seal`, shards });
  const labels = new ByteWriter();
  for (const partition of partitions) {
    labels.reset();
    const pairs: [string, string][] = [
      ['__name__', 'up'],
      ['partition', String(partition)],
    ];
    encodeLabels(Labels.from(pairs), labels);
    blocks.addSeries(labels.bytes, 0, labels.length, partition);
    const { encoding, minTimeMs, maxTimeMs, samples, bytes } = chunkOf([
      [7_200_000, partition, 0x40000000],
      [7_215_000, partition, 0x40000000],
    ]);
    blocks.addChunk(encoding, minTimeMs, maxTimeMs, samples, bytes, 0, bytes.length);
  }
  const metas: BlockMeta[] = [];
  for await (const { meta } of blocks.finish(signal)) metas.push(meta);
  await blocks.discard();
  return metas;
}

test('a block for each share that has series, each of one group', async () => {
  const metas = await seal([1, 17, 2, 33, 3], GROUP_SHARDS);
  expect(metas.map(({ partitions }) => partitions)).toEqual([[1, 17, 33], [2], [3]]);
  expect(metas.map(({ partitions }) => shardOf(partitions))).toEqual([1, 2, 3]);
  expect(metas.reduce((sum, { sampleCount }) => sum + sampleCount, 0)).toBe(10);
});

test('replicas of different partitions make equal blocks of what they share', async () => {
  const [first, second] = [await seal([1, 17, 2], GROUP_SHARDS), await seal([5, 17, 1], GROUP_SHARDS)];
  expect(first[0]!.blockId).toBe(second[0]!.blockId);
});

test('one share is one block; nothing is none', async () => {
  expect((await seal([1, 2, 3], 1)).map(({ partitions }) => partitions)).toEqual([[1, 2, 3]]);
  expect(await seal([], GROUP_SHARDS)).toEqual([]);
});

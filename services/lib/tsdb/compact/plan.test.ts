// Which blocks are merged when, by hand-made examples, and that it comes to an end.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { BlockMeta } from '../block/block-meta.ts';
import { type CandidateBlock, planCompaction } from './plan.ts';
import { replacedBlocks } from './replaced.ts';

const HOUR_MS = 3_600_000;
const policy = { rangesMs: [2 * HOUR_MS, 12 * HOUR_MS], settleMs: HOUR_MS / 2, bytesMax: 1000 };

function meta(id: string, fromHour: number, toHour: number, change: Partial<BlockMeta> = {}): BlockMeta {
  const files = { index: { sizeBytes: 1, crc32: 0 }, chunks: { sizeBytes: 1, crc32: 0 } };
  return {
    tenant: 't',
    blockId: id.padStart(32, '0'),
    minTimeMs: fromHour * HOUR_MS,
    maxTimeMs: toHour * HOUR_MS - 1,
    seriesCount: 1,
    chunkCount: 1,
    sampleCount: 1,
    partitions: [0],
    level: 1,
    sources: [],
    files,
    ...change,
  };
}

const block = (own: BlockMeta, change: Partial<CandidateBlock> = {}): CandidateBlock => ({
  meta: own,
  bytes: 10,
  arrivedMs: Number.NEGATIVE_INFINITY,
  deletes: 'none',
  ...change,
});
const idsOf = (blocks: readonly CandidateBlock[], hour: number) =>
  planCompaction(blocks, hour * HOUR_MS, policy)?.blocks.map(({ blockId }) => blockId.replace(/^0+/, ''));

test.each([
  ['one block of a range stays as it is', [block(meta('a', 0, 2))], 100, undefined],
  [
    'two of a range are merged once it is settled',
    [block(meta('a', 0, 2)), block(meta('b', 1, 2))],
    2.6,
    ['a', 'b'],
  ],
  ['not before', [block(meta('a', 0, 2)), block(meta('b', 1, 2))], 2.4, undefined],
  [
    'neighbours of two hours wait for twelve',
    [block(meta('a', 0, 2)), block(meta('b', 2, 4))],
    13.4,
    undefined,
  ],
  ['and are merged then', [block(meta('a', 0, 2)), block(meta('b', 2, 4))], 13.6, ['a', 'b']],
  [
    'a late block is waited for',
    [block(meta('a', 0, 2)), block(meta('b', 1, 2), { arrivedMs: 99 * HOUR_MS })],
    99.4,
    undefined,
  ],
  [
    'what would become too large stays',
    [block(meta('a', 0, 2), { bytes: 900 }), block(meta('b', 1, 2), { bytes: 101 })],
    100,
    undefined,
  ],
  [
    'what may still be undone stays',
    [block(meta('a', 0, 2), { deletes: 'young' }), block(meta('b', 1, 2))],
    100,
    undefined,
  ],
  [
    'what is due comes first',
    [block(meta('a', 0, 2)), block(meta('b', 1, 2)), block(meta('c', 50, 52), { deletes: 'due' })],
    100,
    ['c'],
  ],
  [
    'a block across ranges belongs to none of them',
    [block(meta('a', 1, 3)), block(meta('b', 1, 2))],
    2.6,
    undefined,
  ],
])('%s', (_, blocks, hour, expected) => {
  expect(idsOf(blocks, hour)).toEqual(expected);
});

test('merging comes to an end, with one block for each range that is over', () => {
  const spans = fc.array(fc.tuple(fc.nat(30), fc.constantFrom(1, 2)), { maxLength: 40 });
  fc.assert(
    fc.property(spans, (all) => {
      let next = 0;
      let live = all.map(([hour, length]) =>
        block(meta(`${next++}`, hour - (hour % length), hour - (hour % length) + length)),
      );
      for (let round = 0; ; round++) {
        expect(round).toBeLessThan(100);
        const found = planCompaction(live, 1000 * HOUR_MS, policy);
        if (found === undefined) break;
        const gone = new Set(found.blocks);
        const minTimeMs = Math.min(...found.blocks.map((own) => own.minTimeMs));
        const maxTimeMs = Math.max(...found.blocks.map((own) => own.maxTimeMs));
        live = live.filter((own) => !gone.has(own.meta));
        live.push(block({ ...meta(`${next++}`, 0, 1), minTimeMs, maxTimeMs }));
      }
      const windows = live.map(({ meta: own }) => Math.floor(own.minTimeMs / (12 * HOUR_MS)));
      expect(new Set(windows).size).toBe(live.length);
    }),
  );
});

test('a block all of whose sealed blocks are in a higher one is replaced', () => {
  const [a, b, c] = [meta('a', 0, 2), meta('b', 0, 2), meta('c', 2, 4)];
  const ab = meta('d', 0, 2, { level: 2, sources: [a!.blockId, b!.blockId] });
  const abc = meta('e', 0, 4, { level: 3, sources: [a!.blockId, b!.blockId, c!.blockId] });
  expect(replacedBlocks([a!, b!, c!, ab])).toEqual(new Set([a!.blockId, b!.blockId]));
  expect(replacedBlocks([c!, ab, abc])).toEqual(new Set([c!.blockId, ab.blockId]));
  expect(replacedBlocks([a!, c!])).toEqual(new Set());
  expect(replacedBlocks([ab, meta('f', 2, 6, { level: 2, sources: [b!.blockId, c!.blockId] })])).toEqual(
    new Set(),
  );
});

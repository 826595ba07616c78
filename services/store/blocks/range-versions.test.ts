import { expect, test } from 'vitest';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { Tombstone } from '../../lib/tsdb/tombstones/tombstone-file.ts';
import { type RangeVersionsDeps, rangeVersions } from './range-versions.ts';

const NO_FILE = { sizeBytes: 0, crc32: 0 };

function block(id: string, minTimeMs: number, maxTimeMs: number, resolutionMs?: number): BlockMeta {
  return {
    tenant: 't',
    blockId: id.repeat(32).slice(0, 32),
    ...{ minTimeMs, maxTimeMs, seriesCount: 1, chunkCount: 1, sampleCount: 1, partitions: [0], level: 1 },
    ...{ sources: [], files: { index: NO_FILE, chunks: NO_FILE } },
    ...(resolutionMs === undefined ? {} : { resolutionMs }),
  };
}

function tombstone(id: string, ...blocks: BlockMeta[]): Tombstone {
  const of = blocks.map(({ blockId }) => blockId);
  return {
    id: id.repeat(32),
    createdAtMs: 0,
    actor: '',
    matchers: [],
    minTimeMs: 0,
    maxTimeMs: 0,
    blocks: of,
  };
}

function ask(
  blocks: readonly BlockMeta[],
  ranges: readonly (readonly [number, number])[],
  tombstones: readonly Tombstone[] = [],
  more: Partial<RangeVersionsDeps> = {},
) {
  return rangeVersions(
    {
      tenant: 't',
      minTimesMs: ranges.map(([from]) => from),
      maxTimesMs: ranges.map(([, to]) => to),
    },
    {
      catalog: { list: () => [...blocks], quarantinedOf: () => [] },
      tombstones: { list: () => tombstones },
      ...{ lacking: () => ({ awaited: [], unknown: undefined }), epoch: () => 7 },
      ...more,
    },
  );
}

const A = block('0a1b2c3d', 0, 99);
const B = block('f0e1d2c3', 100, 199);
const C = block('12345678', 150, 250);

test('a version is that of the blocks of the range, whatever their order', () => {
  const ranges = [
    [0, 99],
    [100, 120],
    [90, 160],
    [300, 400],
  ] as const;
  const { versions, origin, epoch } = ask([A, B, C], ranges);
  expect([origin, epoch]).toEqual(['', 7]);
  expect(ask([C, A, B], ranges).versions).toEqual(versions);
  expect(new Set(versions).size).toBe(4);
  expect(versions[3]).toBe(0);
  // A block beyond the range is none of its business, one in it is.
  expect(ask([A, B], ranges).versions).toEqual([versions[0], versions[1], expect.any(Number), 0]);
  expect(ask([A, B], ranges).versions[2]).not.toBe(versions[2]);
  for (const version of versions) expect(Number.isSafeInteger(version) && version >= 0).toBe(true);
});

test('a delete changes the version of the ranges that its blocks are in, and its end changes it back', () => {
  const ranges = [
    [0, 99],
    [100, 120],
  ] as const;
  const before = ask([A, B], ranges).versions;
  const deleted = ask([A, B], ranges, [tombstone('a', A)]).versions;
  expect(deleted[0]).not.toBe(before[0]);
  expect(deleted[1]).toBe(before[1]);
  expect(ask([A, B], ranges, []).versions).toEqual(before);
});

test('which of two deletes concerns which of two blocks makes a difference', () => {
  const whole = [[0, 300]] as const;
  const one = ask([B, C], whole, [tombstone('a', B), tombstone('b', C)]).versions;
  const other = ask([B, C], whole, [tombstone('b', B), tombstone('a', C)]).versions;
  expect(one).not.toEqual(other);
});

test('a block that was rewritten without deleted samples is another one', () => {
  const cleaned = { ...A, blockId: B.blockId };
  expect(ask([cleaned], [[0, 99]]).versions).not.toEqual(ask([A], [[0, 99]]).versions);
});

test('where aggregates may stand for samples, all blocks of their time count', () => {
  const aggregates = block('99887766', 0, 1000, 10);
  const range = [[5, 20]] as const;
  expect(ask([A, aggregates], range).versions).not.toEqual(ask([A, B, aggregates], range).versions);
  // Windows are widened by a cell.
  expect(ask([aggregates], [[1005, 1100]]).versions).not.toEqual([0]);
  expect(ask([aggregates], [[1011, 1100]]).versions).toEqual([0]);
});

test('a store that lost something says so', () => {
  const quarantinedOf = () => [{ tenant: 't', blockId: A.blockId, meta: A }];
  const catalog = { list: () => [B], quarantinedOf };
  expect(ask([], [[0, 50]], [], { catalog }).missing).toContain('quarantine');
  expect(ask([], [[100, 120]], [], { catalog }).missing).toBeUndefined();
});

test('ranges without ends, and too many of them, are refused', () => {
  const deps = {
    catalog: { list: () => [], quarantinedOf: () => [] },
    tombstones: { list: () => [] },
    ...{ lacking: () => ({ awaited: [], unknown: undefined }), epoch: () => 0 },
  };
  expect(() => rangeVersions({ tenant: 't', minTimesMs: [1], maxTimesMs: [] }, deps)).toThrow(
    /1 ranges with 0/,
  );
  const many = Array.from({ length: 1001 }, () => 0);
  expect(() => rangeVersions({ tenant: 't', minTimesMs: many, maxTimesMs: many }, deps)).toThrow(
    /1000 at most/,
  );
});

// Who keeps what in the bucket, and what may go from it: the decision alone.
import { expect, test } from 'vitest';
import { GroupPlacement, groupOf } from '../../lib/placement/block-groups.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { leafKeysOf } from '../replication/inventory-block.ts';
import { type BucketPlan, type BucketPlanInput, planBucket } from './bucket-plan.ts';

const STORES = ['a', 'b', 'c'];
const digest = { sizeBytes: 1, crc32: 1 };
const idOf = (name: string): string => name.charCodeAt(0).toString(16).repeat(16);

/** A block by a letter; capitals are merged from the small letters given. */
function block(name: string, sources: string = '', change: Partial<BlockMeta> = {}): BlockMeta {
  return {
    ...{
      tenant: 't',
      blockId: idOf(name),
      minTimeMs: 0,
      maxTimeMs: 1_000,
      seriesCount: 1,
      chunkCount: 1,
      sampleCount: 1,
    },
    ...{ partitions: [3], level: sources === '' ? 1 : 2, sources: sources.split('').map(idOf).sort() },
    files: { index: digest, chunks: digest },
    ...change,
  };
}

const placement = new GroupPlacement(
  STORES.map((instance) => ({ instance, zone: '' })),
  2,
);
/** Owners of the blocks' group, the one that keeps the bucket first. */
const [first, second] = placement.ownersOf(groupOf(block('x'))) as [string, string];

function plan(
  own: readonly BlockMeta[],
  inBucket: readonly BlockMeta[],
  change: Partial<BucketPlanInput> = {},
): BucketPlan {
  const held = new Set(own.flatMap(leafKeysOf));
  return planBucket({
    ...{ instance: first, own, inBucket, placement, live: new Set(STORES), erased: new Set() },
    isEvicted: () => false,
    isDamagedThere: () => false,
    holds: (leaf) => held.has(leaf),
    isSettled: (leaf) => held.has(leaf),
    isExpired: () => false,
    isHeldByAnother: () => false,
    ...change,
  });
}

const NOTHING: BucketPlan = { uploads: [], outdated: [], shared: [], expired: [], superseded: [] };

test('the first live owner of a group brings its blocks there, newest first, and nobody else does', () => {
  const [old, young] = [block('x'), block('y', '', { maxTimeMs: 2_000 })];
  expect(plan([old, young], []).uploads).toEqual([young, old]);
  for (const instance of STORES.filter((each) => each !== first))
    expect(plan([old, young], [], { instance })).toEqual(NOTHING);
  const live = new Set(STORES.filter((each) => each !== first));
  expect(plan([old], [], { instance: second, live }).uploads).toEqual([old]);
  expect(plan([old], [], { isExpired: () => true })).toEqual(NOTHING);
});

test('sources go once what was merged from them is here and there, and no sooner', () => {
  const [x, y, z] = [block('x'), block('y'), block('z')];
  const merged = block('M', 'xy');
  expect(plan([merged], [x, y, z])).toEqual({ ...NOTHING, uploads: [merged] });
  expect(plan([merged], [x, y, z, merged])).toEqual({ ...NOTHING, shared: [merged], superseded: [x, y] });
  // There, but damaged.
  const isDamagedThere = ({ blockId }: BlockMeta) => blockId === merged.blockId;
  expect(plan([merged], [x, y, merged], { isDamagedThere })).toMatchObject({
    ...{ superseded: [], uploads: [merged] },
  });
  // Merged by another store, and not here: it may be all that there is.
  expect(plan([], [x, y, merged])).toEqual(NOTHING);
  expect(plan([x], [x, y, merged]).superseded).toEqual([]);
});

test('what was deleted or expired whole goes; what is only missing here stays', () => {
  const x = block('x');
  expect(plan([], [x])).toEqual(NOTHING);
  expect(plan([], [x], { erased: new Set([`t/${x.blockId}`]) }).superseded).toEqual([x]);
  expect(plan([], [x], { isSettled: () => true }).superseded).toEqual([x]);
  // Another store has it yet, its chunks maybe there only.
  const isHeldByAnother = ({ blockId }: BlockMeta) => blockId === x.blockId;
  expect(plan([], [x], { isHeldByAnother, erased: new Set([`t/${x.blockId}`]) }).superseded).toEqual([]);
  const merged = block('M', 'x');
  expect(plan([merged], [x, merged], { isHeldByAnother }).superseded).toEqual([]);
  expect(plan([merged], [x, merged]).superseded).toEqual([x]);
  expect(plan([], [x], { isExpired: () => true })).toEqual({ ...NOTHING, expired: [x] });
});

test('samples and their aggregates do not take the place of each other', () => {
  const samples = block('x');
  const aggregates = block('A', 'x', { resolutionMs: 300_000 });
  expect(plan([aggregates], [samples, aggregates]).superseded).toEqual([]);
  expect(plan([samples], [samples, aggregates]).superseded).toEqual([]);
});

test('a block that stands for more sealed blocks than there is told there, and never for fewer', () => {
  const [narrow, wide] = [block('M', 'xy'), block('M', 'xyz')];
  expect(plan([wide], [narrow]).outdated).toEqual([wide]);
  expect(plan([narrow], [wide]).outdated).toEqual([]);
  expect(plan([narrow], [narrow]).outdated).toEqual([]);
});

import { expect, test } from 'vitest';
import { ManualClock } from '../../../test/support/fake-control-plane.ts';
import type { BlockBucket } from '../../lib/objstore/block-bucket.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import { BucketContents } from '../bucket/bucket-contents.ts';
import { LaterDeletes } from '../deletes/later-deletes.ts';
import { Evictor, type EvictorDeps } from './evictor.ts';

const metaOf = (blockId: string, level: number, sources: readonly string[]): BlockMeta =>
  ({
    ...{ formatVersion: 1, tenant: 't', blockId, level, sources, partitions: [0] },
    ...{ minTimeMs: 0, maxTimeMs: 1, seriesCount: 1, chunkCount: 1, sampleCount: 1 },
    ...{ files: { index: { sizeBytes: 1, crc32: 1 }, chunks: { sizeBytes: 1, crc32: 1 } } },
  }) as Partial<BlockMeta> as BlockMeta;

test('what this store changes in the bucket between two listings is seen at once, also one for one', () => {
  const contents = new BucketContents({
    bucket: {} as BlockBucket,
    logger: createSilentLogger(),
    later: new LaterDeletes(),
  });
  const evicted = metaOf('a', 1, ['a']);
  const deps: Partial<EvictorDeps> = {
    contents,
    catalog: {
      residents: () => [{ meta: evicted, isEvicted: true, usedAtMs: 0 }],
      has: () => false,
    } as unknown as EvictorDeps['catalog'],
    clock: new ManualClock(),
    logger: createSilentLogger(),
  };
  const evictor = new Evictor({ localAgeMs: 1, cacheBytesMax: 1, intervalMs: 1 }, deps as EvictorDeps);
  contents.add(evicted);
  contents.add(metaOf('other', 1, ['other']));
  expect(evictor.replacements()).toEqual([]);
  const merged = metaOf('merged', 2, ['a', 'other']);
  // As many blocks as before, and no listing in between.
  contents.add(merged);
  contents.remove({ tenant: 't', blockId: 'other' });
  expect(evictor.replacements()).toEqual([merged]);
  contents.remove({ tenant: 't', blockId: 'merged' });
  contents.add(metaOf('other', 1, ['other']));
  expect(evictor.replacements()).toEqual([]);
});

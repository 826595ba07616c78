import { expect, test } from 'vitest';
import { HandClock } from '../../../test/support/store-rig.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { BlockBucket } from '../../lib/objstore/block-bucket.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { BlockCatalog } from '../blocks/block-catalog.ts';
import type { BucketContents } from './bucket-contents.ts';
import type { BucketMetrics } from './bucket-metrics.ts';
import type { BucketPlan } from './bucket-plan.ts';
import { BucketRemover } from './bucket-remover.ts';

/** What is asked of none of these before the bucket is listed. */
const unreached = <T>(): T => ({}) as T;

test('a store that cannot list the bucket in its turn gives the turn to others', async () => {
  let isTaken = false;
  const remover = new BucketRemover(
    { deleteGraceMs: 0 },
    {
      bucket: unreached<BlockBucket>(),
      contents: unreached<BucketContents>(),
      catalog: unreached<BlockCatalog>(),
      metrics: unreached<BucketMetrics>(),
      clock: new HandClock(0),
      logger: createSilentLogger(),
      turns: {
        take: async () => {
          isTaken = true;
          return { leftMs: () => 10_000 };
        },
        giveBack: async () => {
          isTaken = false;
        },
      },
      planAnew: async () => {
        expect(isTaken).toBe(true);
        throw new AppError('unavailable', 'the bucket is away');
      },
    },
  );
  const doomed = { tenant: 't', blockId: 'a'.repeat(64) };
  const plan = {
    uploads: [],
    outdated: [],
    shared: [],
    expired: [],
    superseded: [doomed],
  } as unknown as BucketPlan;
  await expect(remover.runOnce(plan, false, new AbortController().signal)).rejects.toThrow('away');
  expect(isTaken).toBe(false);
});

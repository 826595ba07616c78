// Joins what a store has to do with a bucket: what is in it, keeping it, and copying from it as from another store.
import type { Registry } from 'prom-client';
import { BlockBucket, type BlockKey } from '../../lib/objstore/block-bucket.ts';
import type { ObjectStore } from '../../lib/objstore/object-store.ts';
import type { BlockMeta } from '../../lib/tsdb/block/block-meta.ts';
import type { LaterDeletes } from '../deletes/later-deletes.ts';
import type { StorePeer } from '../replication/peer-inventories.ts';
import { BucketContents } from './bucket-contents.ts';
import { BucketKeeper, type BucketKeeperDeps, type BucketKeeperOptions } from './bucket-keeper.ts';
import { createBucketMetrics } from './bucket-metrics.ts';
import { createBucketPeer } from './bucket-peer.ts';

export interface BucketKeeping {
  readonly bucket: BlockBucket;
  readonly contents: BucketContents;
  readonly keeper: BucketKeeper;
  /** To copy from. */
  readonly peer: StorePeer;
  /** Blocks of a tenant in the bucket. */
  list(tenant: string): BlockMeta[];
  /** The block as it is in the bucket; none when it is not. */
  find(key: BlockKey): BlockMeta[];
}

export function createBucketKeeping(
  options: BucketKeeperOptions,
  deps: Omit<BucketKeeperDeps, 'bucket' | 'contents' | 'metrics'> & {
    readonly objects: ObjectStore;
    readonly registry: Registry;
    readonly later: LaterDeletes;
  },
): BucketKeeping {
  const bucket = new BlockBucket({ store: deps.objects });
  const contents = new BucketContents({ bucket, logger: deps.logger, later: deps.later });
  const metrics = createBucketMetrics(deps.registry, {
    blocks: () => contents.size,
    pendingBlocks: () => keeper.state.pendingBlocks,
    pendingBytes: () => keeper.state.pendingBytes,
  });
  const keeper = new BucketKeeper(options, { ...deps, bucket, contents, metrics });
  return {
    bucket,
    contents,
    keeper,
    peer: createBucketPeer({ bucket, contents, obstacle: () => keeper.obstacleToReading() }),
    list: (tenant) => contents.list().filter((meta) => meta.tenant === tenant),
    find: (key) => {
      const meta = contents.find(key);
      return meta === undefined ? [] : [meta];
    },
  };
}

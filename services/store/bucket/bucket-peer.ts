// The bucket as a store from which blocks can be copied: it answers as one, owns nothing, and promises nothing.
import { AppError } from '../../lib/core/errors.ts';
import { type BlockBucket, fileDigestsOf } from '../../lib/objstore/block-bucket.ts';
import type { PullBlockRequest, PutBlockRequest } from '../../lib/wire/contracts.ts';
import { toPendingDeletes } from '../deletes/delete-series.ts';
import type { StorePeer } from '../replication/peer-inventories.ts';
import type { BucketContents } from './bucket-contents.ts';

export interface BucketPeerDeps {
  readonly bucket: BlockBucket;
  readonly contents: BucketContents;
  /** Why the bucket is not to be believed now; undefined when it is. */
  readonly obstacle: () => string | undefined;
}

export function createBucketPeer({ bucket, contents, obstacle }: BucketPeerDeps): StorePeer {
  async function* pull(
    { tenant, blockId, skipBytes }: PullBlockRequest,
    signal: AbortSignal,
  ): AsyncGenerator<PutBlockRequest> {
    const meta = contents.find({ tenant, blockId });
    if (meta === undefined)
      throw new AppError('not_found', `no block ${blockId} of tenant ${tenant} in ${bucket.name}`);
    yield { part: { $case: 'header', value: { tenant, blockId, files: fileDigestsOf(meta) } } };
    for await (const { file, bytes } of bucket.readFiles(meta, skipBytes, signal))
      yield { part: { $case: 'piece', value: { file, bytes } } };
  }
  return {
    // A bucket's name has slashes, which no instance has.
    instance: bucket.name,
    client: {
      async *inventory(request) {
        const why = obstacle();
        if (why !== undefined) throw new AppError('unavailable', why);
        yield* contents.inventory.answer(request);
      },
      pullBlock: (request, { signal }) => pull(request, signal),
      blockDeletes: async ({ tenant, blockId }, { signal }) => ({
        deletes: toPendingDeletes(await bucket.readDeletes({ tenant, blockId }, signal)),
      }),
      async *doneDeletes() {
        yield* [];
      },
      confirmBlocks: () => Promise.resolve({ holdsAll: false }),
      replicationStatus: () => Promise.reject(new AppError('bad_data', 'a bucket has no status')),
    },
  };
}

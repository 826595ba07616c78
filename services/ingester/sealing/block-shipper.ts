// Sends a finished block to the stores and comes back when enough of them have verified it.
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { GroupPlacement, groupOf } from '../../lib/placement/block-groups.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { Cluster, Peer } from '../../lib/transport/cluster.ts';
import type { Client } from '../../lib/transport/rpc.ts';
import { readBlockPieces } from '../../lib/tsdb/block/block-pieces.ts';
import type { BuiltBlock } from '../../lib/tsdb/block/block-writer.ts';
import type { PutBlockRequest, StoreDefinition } from '../../lib/wire/contracts.ts';

type StorePeer = Peer<Client<typeof StoreDefinition>>;

export interface Shipping {
  /** Stores that are to have it. */
  readonly replicas: number;
  /** Placement by which it is sealed: stores that know of a newer one refuse it. Absent where there is none. */
  readonly epoch?: number | undefined;
}

/**
 * Puts the block on `replicas` stores, in different zones where it can; others take the place of those that fail.
 *
 * @throws AppError `unavailable` when fewer stores than that have it; its cause is `failed_precondition` where a store knows of a newer
 *         placement. Sending it again is harmless.
 */
export async function shipBlock(
  block: BuiltBlock,
  { replicas, epoch }: Shipping,
  cluster: Cluster,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const { blockId } = block.meta;
  const peers = new Map(cluster.stores().map((peer): [string, StorePeer] => [peer.instance, peer]));
  // Where the stores themselves would move it; those that are not there are passed over.
  const known = cluster.storeSet?.()?.members;
  const live = Array.from(peers.values(), ({ instance, zone = '' }) => ({ instance, zone }));
  const stores = known === undefined || known.length === 0 ? live : known;
  const ordered = new GroupPlacement(stores, replicas)
    .orderFor(groupOf(block.meta))
    .filter((instance) => peers.has(instance));
  let copies = 0;
  const failures: string[] = [];
  let outdated: AppError | undefined;
  for (const instance of ordered) {
    if (copies >= replicas) break;
    try {
      await peers.get(instance)!.client.putBlock(messagesOf(block, epoch), { signal });
      copies++;
    } catch (caught) {
      const error = toAppError(caught);
      failures.push(`${instance}: ${error.message}`);
      if (error.code === 'failed_precondition') outdated = error;
      logger.warn({ store: instance, blockId, err: error }, 'store did not take a block');
    }
  }
  if (copies >= replicas) return;
  throw new AppError(
    'unavailable',
    `block ${blockId} is on ${copies} of ${replicas} stores (${failures.join('; ') || `${ordered.length} stores are known`}); it is tried again`,
    { cause: outdated },
  );
}

/** Whether it is what shipBlock throws where a store knows of a newer placement. */
export function isOutdated(caught: unknown): boolean {
  const { cause } = toAppError(caught);
  return cause instanceof AppError && cause.code === 'failed_precondition';
}

/** The block as PutBlock takes it. */
async function* messagesOf(
  { meta, files }: BuiltBlock,
  epoch: number | undefined,
): AsyncGenerator<PutBlockRequest> {
  const header = {
    tenant: meta.tenant,
    blockId: meta.blockId,
    files: files.map(({ name, sizeBytes, crc32 }) => ({ name, sizeBytes, crc32 })),
    ...(epoch === undefined ? {} : { epoch }),
  };
  yield { part: { $case: 'header', value: header } };
  for await (const { file, bytes } of readBlockPieces(files)) {
    yield {
      part: {
        $case: 'piece',
        value: { file, bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) },
      },
    };
  }
}

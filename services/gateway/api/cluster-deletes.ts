// Deletes and their undoing on every ingester and store of a cluster: what the admin API asks for, without HTTP.
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import type { DeleteSeriesRequest, UndoDeleteRequest } from '../../lib/wire/contracts.ts';

/**
 * Hides what matches, everywhere.
 *
 * Twice on each kind of node. Those that were asked first may have got samples once more from others that did not know of the delete yet;
 * from when all have done it nobody gives any of them away, and the second time hides what came in between.
 *
 * @throws AppError `unavailable` when a node is missing, with nothing done; a node's own error when some may have done it. It can be sent again.
 */
export async function deleteEverywhere(
  cluster: Cluster,
  request: DeleteSeriesRequest,
  context: CallContext,
): Promise<void> {
  requireAllNodes(cluster);
  // Ingesters first: what they seal before they answer is on a store by then, and what they seal later lacks the samples.
  const [ingesters, stores] = [cluster.ingesters(), cluster.stores()];
  const instances = [...ingesters, ...stores].map(({ instance }) => instance);
  const asked = { instances, epoch: cluster.placement()?.epoch ?? 0 };
  await hideTwice('ingester', ingesters, { ...request, asked }, context);
  await hideTwice('store', stores, { ...request, asked }, context);
  const missed = missingOf(cluster, [...ingesters, ...stores]);
  if (cluster.isCurrent?.() === false)
    throw new AppError(
      'unavailable',
      'the control plane is out of reach since the delete began, and nodes may have joined unseen; send the delete again',
    );
  if (missed.length === 0) return;
  throw new AppError(
    'unavailable',
    `${missed.join(', ')} joined meanwhile and may have got what the others have deleted since; send the delete again`,
  );
}

interface DeletingPeer {
  readonly instance: string;
  readonly client: { deleteSeries(request: DeleteSeriesRequest, context: CallContext): Promise<unknown> };
}

async function hideTwice(
  kind: string,
  peers: readonly DeletingPeer[],
  request: DeleteSeriesRequest,
  context: CallContext,
): Promise<void> {
  await onEach(kind, peers, ({ client }) => client.deleteSeries(request, context));
  // One alone gets nothing from others.
  if (peers.length > 1) await onEach(kind, peers, ({ client }) => client.deleteSeries(request, context));
}

/** Shows again what still can be. @returns nodes on which it hid something. @throws AppError as deleteEverywhere does. */
export async function undoEverywhere(
  cluster: Cluster,
  request: UndoDeleteRequest,
  context: CallContext,
): Promise<number> {
  requireAllNodes(cluster);
  const heads = await onEach('ingester', cluster.ingesters(), ({ client }) =>
    client.undoDelete(request, context),
  );
  const blocks = await onEach('store', cluster.stores(), ({ client }) => client.undoDelete(request, context));
  return [...heads, ...blocks].filter((answer) => answer.undone).length;
}

/** A delete that misses a node would let its samples be seen again when it comes back, or from one that joined unseen. */
export function requireAllNodes(cluster: Cluster): void {
  if (cluster.isCurrent?.() === false)
    throw new AppError(
      'unavailable',
      'the control plane is out of reach here, and nodes may have joined of which nothing is known; nothing was done, try again later',
    );
  const missing = missingOf(cluster, [...cluster.stores(), ...cluster.ingesters()]);
  if (missing.length === 0 && cluster.stores().length > 0 && cluster.ingesters().length > 0) return;
  throw new AppError(
    'unavailable',
    `every ingester and store has to take part: ${missing.join(', ') || 'none is known'} is missing; ` +
      'nothing was done, try again when all are back',
  );
}

/** Those that own anything, or may still have samples of what they owned, and are not among the nodes. */
function missingOf(cluster: Cluster, nodes: readonly { readonly instance: string }[]): string[] {
  const placement = cluster.placement();
  const owners = [placement?.replicas ?? [], ...(placement?.former ?? [])].flat(2);
  const there = new Set(nodes.map(({ instance }) => instance));
  return [...new Set([...(cluster.storeSet?.()?.instances ?? []), ...owners])].filter(
    (instance) => !there.has(instance),
  );
}

export async function onEach<P extends { readonly instance: string }, T>(
  kind: string,
  peers: readonly P[],
  call: (peer: P) => Promise<T>,
): Promise<T[]> {
  return Promise.all(
    peers.map(async (peer) => {
      try {
        return await call(peer);
      } catch (caught) {
        const error = toAppError(caught);
        throw new AppError(
          error.code,
          `${kind} ${peer.instance}: ${error.message} (other nodes may have done it; it can be sent again)`,
          { cause: caught },
        );
      }
    }),
  );
}

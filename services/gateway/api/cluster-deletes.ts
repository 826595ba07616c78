// Deletes and their undoing on every ingester and store of a cluster: what the admin API asks for, without HTTP.
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { CallContext } from '../../lib/transport/rpc.ts';
import type { DeleteSeriesRequest, UndoDeleteRequest } from '../../lib/wire/contracts.ts';

/**
 * Hides what matches, everywhere.
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
  await onEach('ingester', cluster.ingesters(), ({ client }) => client.deleteSeries(request, context));
  await onEach('store', cluster.stores(), ({ client }) => client.deleteSeries(request, context));
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

/** A delete that misses a node would let its samples be seen again when it comes back. */
export function requireAllNodes(cluster: Cluster): void {
  const members = new Set([...cluster.stores(), ...cluster.ingesters()].map(({ instance }) => instance));
  const wanted = [
    ...(cluster.storeSet?.()?.instances ?? []),
    ...new Set((cluster.placement()?.replicas ?? []).flat()),
  ];
  const missing = wanted.filter((instance) => !members.has(instance));
  if (missing.length === 0 && cluster.stores().length > 0 && cluster.ingesters().length > 0) return;
  throw new AppError(
    'unavailable',
    `every ingester and store has to take part: ${missing.join(', ') || 'none is known'} is missing; ` +
      'nothing was done, try again when all are back',
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

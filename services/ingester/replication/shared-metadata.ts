// Metadata of metrics between replicas. It belongs to no numbered write: who is new as an owner, or was away, asks the others for what
// they have of its partitions.
import { partitionOfMetric } from '../../lib/placement/placement.ts';
import type { FetchMetadataResponse } from '../../lib/wire/contracts.ts';
import type { Tenants } from '../tenants.ts';
import type { Writes } from '../writes/writes.ts';
import type { ReplicaPeer } from './replication-options.ts';

const ENTRIES_PER_MESSAGE = 256;

/** What is known here of the metrics of some partitions, tenant by tenant. */
export function* metadataOf(
  tenants: Tenants,
  partitions: ReadonlySet<number>,
  partitionCount: number,
): Generator<FetchMetadataResponse> {
  for (const { name, metadata } of tenants.all()) {
    const entries = metadata
      .list('', 0)
      .filter(({ metric }) => partitions.has(partitionOfMetric(metric, partitionCount)));
    for (let at = 0; at < entries.length; at += ENTRIES_PER_MESSAGE)
      yield { tenant: name, metadata: entries.slice(at, at + ENTRIES_PER_MESSAGE) };
  }
}

/**
 * Takes what another replica knows of the metrics of some partitions and this one does not; resolves when it is durable. What both
 * know stays as it is here: the newer one is not known, and senders repeat it.
 *
 * @param writer  Number for the log.
 * @throws AppError as the call; what came before is kept.
 */
export async function fetchMetadata(
  { client }: ReplicaPeer,
  partitions: readonly number[],
  writes: Writes,
  writer: number,
  signal: AbortSignal,
): Promise<void> {
  for await (const { tenant, metadata } of client.fetchMetadata({ partitions: [...partitions] }, { signal }))
    await writes.addMetadata(tenant, metadata, writer);
}

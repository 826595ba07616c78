// Who joins a cluster and who leaves it in order while everything else happens to it: an operator's work, by the same calls. What has left is thrown
// away with its disk: nobody may need it.
import { setStoreLeaving } from '../../../services/lib/transport/members/store-membership.ts';
import {
  IngesterReplicationDefinition,
  StoreReplicationDefinition,
} from '../../../services/lib/wire/contracts.ts';
import { onGateway } from './client.ts';
import type { SimCluster, SimNode } from './sim-cluster.ts';

const ASK_PAUSE_MS = 1_000;
const ASK_TIMEOUT_MS = 5_000;
/** A new member settles before another one goes. */
const LEAVE_AFTER_MS_MAX = 15_000;

export type MemberRole = 'ingester' | 'store';

/** What an operator does: a new member comes, and in some runs old ones go. */
export interface MemberChange {
  readonly role: MemberRole;
  readonly atMs: number;
  /** How many go, one after the other. */
  readonly leaves: number;
}

/**
 * Does it. Resolves when the cluster has let go of who left.
 *
 * @param log  Gets a line for each step.
 */
export async function changeMembers(
  cluster: SimCluster,
  { role, atMs, leaves }: MemberChange,
  counts: Map<string, number>,
  log: (line: string) => void,
): Promise<void> {
  const { world } = cluster;
  const note = (what: string, { host }: SimNode): void => {
    counts.set(what, (counts.get(what) ?? 0) + 1);
    log(`${what}: ${host.name}`);
  };
  await world.sleep(atMs);
  const joins = cluster.add(role);
  cluster.start(joins);
  note(`${role} joins`, joins);
  const isReleased = role === 'ingester' ? isIngesterReleased : isStoreReleased;
  for (let gone = 0; gone < leaves; gone++) {
    await world.sleep(world.random() * LEAVE_AFTER_MS_MAX);
    // At times the one that has only just come.
    const members = cluster.of(role);
    const goes = members[world.between(0, members.length - 1)]!;
    note(`${role} leaves`, goes);
    while (!(await isReleased(cluster, goes))) await world.sleep(ASK_PAUSE_MS);
    log(`${goes.host.name} is released`);
    cluster.remove(goes);
  }
}

async function isIngesterReleased({ network }: SimCluster, { address }: SimNode): Promise<boolean> {
  const { client } = network.connect(IngesterReplicationDefinition, {
    address,
    unaryTimeoutMs: ASK_TIMEOUT_MS,
  });
  const { signal } = new AbortController();
  try {
    return (await client.leave({ leave: true, onlyAsk: false }, { signal })).released;
  } catch {
    // Not there just now.
    return false;
  }
}

/** As the gateway answers `drain`. */
async function isStoreReleased(cluster: SimCluster, { address, host }: SimNode): Promise<boolean> {
  const isLeaving = await onGateway(cluster, async ({ view }) => {
    await setStoreLeaving(host.name, true, view!.control);
    return view!.control
      .placement()
      ?.stores.some(({ instance, leaving }) => instance === host.name && leaving === true);
  });
  if (isLeaving !== true) return false;
  const { client } = cluster.network.connect(StoreReplicationDefinition, {
    address,
    unaryTimeoutMs: ASK_TIMEOUT_MS,
  });
  try {
    return (await client.replicationStatus({}, { signal: new AbortController().signal })).heldBlocks === 0;
  } catch {
    return false;
  }
}

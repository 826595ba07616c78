// Asks all ingesters and stores which version of some ranges of time they have, in one round trip. Only what all of them answer proves
// anything: README.md, "The proof".
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Cluster, VersionedPeer } from '../../lib/transport/cluster.ts';
import type { VersionsRequest, VersionsResponse } from '../../lib/wire/contracts.ts';
import { nameOf } from '../selection/fan-out.ts';
import type { NodeLatencies } from '../selection/hedge.ts';

/** The version of one range on all nodes. */
export interface PieceVersion {
  /** The nodes and their origins, with the placement's epoch: versions of others cannot be compared. */
  readonly nodes: string;
  /** By node: ingesters, then stores. */
  readonly numbers: Float64Array;
  /** Of these, how many are ingesters'. */
  readonly ingesters: number;
}

/** What is different, for the metric; undefined when the versions are the same. */
export type VersionChange = 'nodes' | 'write' | 'blocks';

export function changeBetween(kept: PieceVersion, now: PieceVersion): VersionChange | undefined {
  if (kept.nodes !== now.nodes) return 'nodes';
  for (let i = 0; i < kept.numbers.length; i++) {
    if (kept.numbers[i] !== now.numbers[i]) return i < kept.ingesters ? 'write' : 'blocks';
  }
  return undefined;
}

export interface SourceVersionsDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly latencies: NodeLatencies;
}

/** Ranges of one question, and the nodes' limit. */
export const RANGES_MAX = 1000;

/**
 * The versions of some ranges, in their order; undefined when a node that may hold samples does not answer in time or lacks something.
 *
 * @param signal  Ends the wait, with undefined.
 */
export async function askVersions(
  deps: SourceVersionsDeps,
  request: VersionsRequest,
  signal: AbortSignal,
): Promise<PieceVersion[] | undefined> {
  const peers = versionedPeers(deps.cluster);
  if (peers === undefined) return undefined;
  const over = new AbortController();
  const end = () => over.abort(signal.reason);
  signal.addEventListener('abort', end, { once: true });
  const answers: (VersionsResponse | undefined)[] = peers.map(() => undefined);
  const calls = Promise.all(
    peers.map(async ({ client }, i) => {
      // Each call has its own copy: in this process messages pass by reference.
      answers[i] = await client.versions({ ...request }, { signal: over.signal });
    }),
  );
  // What comes of calls that nobody waits for any more.
  calls.catch(() => undefined);
  const patienceMs = Math.max(...peers.map((peer) => deps.latencies.patienceMs(nameOf(peer))));
  const late = deps.clock.sleep(patienceMs, over.signal).then(() => {
    for (const [i, peer] of peers.entries()) {
      if (answers[i] === undefined) deps.latencies.late(nameOf(peer));
    }
  });
  late.catch(() => undefined);
  try {
    await Promise.race([calls, late]);
    return combine(peers, answers, deps.cluster, request.minTimesMs.length);
  } catch {
    return undefined;
  } finally {
    signal.removeEventListener('abort', end);
    over.abort(new AppError('canceled', 'versions are known'));
  }
}

/** All nodes that may hold samples, ingesters first; undefined when one of them cannot be asked. */
function versionedPeers(cluster: Cluster): VersionedPeer[] | undefined {
  const placement = cluster.placement();
  const peers = cluster.rangeVersions?.() ?? [];
  const storeSet = cluster.storeSet?.();
  if (placement === undefined || (cluster.storeSet !== undefined && storeSet === undefined)) return undefined;
  const known = new Set(peers.map(nameOf));
  const isKnown = (kind: VersionedPeer['kind']) => (instance: string) =>
    known.has(nameOf({ kind, instance }));
  const owners = new Set([placement.replicas, ...(placement.former ?? [])].flat(2));
  for (const { instance } of cluster.ingesters()) owners.add(instance);
  const stores = new Set(storeSet?.instances);
  for (const { instance } of cluster.stores()) stores.add(instance);
  if (![...owners].every(isKnown('ingester')) || ![...stores].every(isKnown('store'))) return undefined;
  return peers.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
}

function combine(
  peers: readonly VersionedPeer[],
  answers: readonly (VersionsResponse | undefined)[],
  cluster: Cluster,
  ranges: number,
): PieceVersion[] | undefined {
  let epoch = cluster.placement()?.epoch ?? 0;
  let names = '';
  for (const [i, answer] of answers.entries()) {
    if (answer === undefined || answer.missing !== undefined || answer.versions.length !== ranges)
      return undefined;
    epoch = Math.max(epoch, answer.epoch);
    names += `${nameOf(peers[i]!)} ${answer.origin}\n`;
  }
  const nodes = `${epoch}\n${names}`;
  const ingesters = peers.filter(({ kind }) => kind === 'ingester').length;
  return Array.from({ length: ranges }, (_, range) => ({
    nodes,
    numbers: Float64Array.from(answers, (answer) => answer!.versions[range]!),
    ingesters,
  }));
}

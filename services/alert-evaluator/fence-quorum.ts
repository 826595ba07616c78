// Says at the ingesters who holds a lease, and learns whether somebody took it later. What counts is a quorum of the owners of every partition,
// and of its former ones while a hand-over is under way, which distributors that know no newer placement still write to: of two holders'
// quorums each two have an ingester in common, so from then on no write of an earlier holder is acknowledged anywhere.
import type { Clock } from '../lib/core/clock.ts';
import { toAppError } from '../lib/core/errors.ts';
import { holdsQuorums, ownerSetsOf } from '../lib/placement/owner-sets.ts';
import { quorumOf } from '../lib/placement/placement.ts';
import type { Cluster } from '../lib/transport/cluster.ts';

/** Longest wait for an ingester. */
const ANSWER_TIMEOUT_MS = 2_000;
/** Longest wait for an ingester that is told of an end: who is not told makes the next holder wait, no more. */
const TELL_TIMEOUT_MS = 500;
/** What an ingester of an earlier version answers: it checks nothing, and nothing can be asked of it. */
const UNKNOWN_CALL = /not implement|unimplemented/i;

export type FenceOutcome =
  /**
   * No later holder was known to a quorum when it answered. `earlier`: the greatest token that any of it knew before, 0 when none;
   * undefined when one of them cannot say. `quietAfterMs`: its holder gave the lease back, and so many milliseconds from now nothing of it is on
   * its way; undefined when nobody says so.
   */
  | {
      readonly kind: 'confirmed';
      readonly earlier: number | undefined;
      readonly quietAfterMs: number | undefined;
    }
  /** A later holder is known, with this token. */
  | { readonly kind: 'superseded'; readonly newest: number }
  /** Too few ingesters answered. */
  | { readonly kind: 'unreachable'; readonly reason: string };

interface FenceDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
}

/** Resolves with the first that is sure; never throws. Ingesters that are late are told all the same. */
export async function announceFence(name: string, token: number, deps: FenceDeps): Promise<FenceOutcome> {
  const { cluster, clock } = deps;
  const placement = cluster.placement();
  if (placement === undefined) return { kind: 'unreachable', reason: 'no placement is known' };
  const quorum = quorumOf(cluster.replicationFactor);
  const confirmed = new Set<string>();
  const isEnough = (): boolean =>
    placement.replicas.every((_, partition) =>
      holdsQuorums(ownerSetsOf(placement, partition), quorum, (owner) => confirmed.has(owner)),
    );
  const timeout = new AbortController();
  const { signal } = timeout;
  let reason = 'no ingester is known';
  let earlier: number | undefined = 0;
  const ends: { readonly token: number; readonly quietAfterMs: number }[] = [];
  /** What one says is so, whether others were told or not. */
  const quietAfterMs = (): number | undefined => {
    const said = ends.filter(({ token: ended }) => earlier !== undefined && ended >= earlier);
    return said.length === 0 ? undefined : Math.min(...said.map(({ quietAfterMs: restMs }) => restMs));
  };
  const outcome = new Promise<FenceOutcome>((resolve) => {
    const asked = cluster.ingesters().map(async ({ instance, client }) => {
      try {
        const answer = await client.fence({ name, token }, { signal });
        if (answer.newest > token) resolve({ kind: 'superseded', newest: answer.newest });
        else confirmed.add(instance);
        earlier = maxOf(earlier, answer.earlier);
        const { ended, endedQuietAfterMs } = answer;
        if (ended !== undefined && endedQuietAfterMs !== undefined)
          ends.push({ token: ended, quietAfterMs: endedQuietAfterMs });
      } catch (caught) {
        const { message } = toAppError(caught);
        if (UNKNOWN_CALL.test(message)) {
          confirmed.add(instance);
          earlier = undefined;
        } else reason = `${instance}: ${message}`;
      }
      if (isEnough()) resolve({ kind: 'confirmed', earlier, quietAfterMs: quietAfterMs() });
    });
    void Promise.all(asked).then(() => resolve({ kind: 'unreachable', reason }));
  });
  clock.sleep(ANSWER_TIMEOUT_MS, signal).then(
    () => timeout.abort(),
    () => undefined,
  );
  return await outcome;
}

/**
 * Says at the ingesters that a holder gives its lease back and that `quietAfterMs` from now nothing of it is on its way. Never throws.
 */
export async function endFence(
  name: string,
  token: number,
  quietAfterMs: number,
  { cluster, clock }: FenceDeps,
): Promise<void> {
  const timeout = new AbortController();
  const { signal } = timeout;
  const told = cluster.ingesters().map(async ({ client }) => {
    await client.fence({ name, token, quietAfterMs }, { signal }).catch(() => undefined);
  });
  const limit = clock.sleep(TELL_TIMEOUT_MS, signal).catch(() => undefined);
  await Promise.race([Promise.all(told), limit]);
  timeout.abort();
}

/** Undefined: not known. */
function maxOf(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : Math.max(a, b);
}

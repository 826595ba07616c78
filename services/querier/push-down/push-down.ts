// Has parts of queries evaluated by the ingesters that hold the samples. The rule that makes it right is
// services/lib/wire/docs/part-evaluation.md; what is refused here, for whatever reason, is read by chunks.
import type { Placement } from '../../lib/placement/placement.ts';
import type { Cluster, Peer } from '../../lib/transport/cluster.ts';
import type { Client } from '../../lib/transport/rpc.ts';
import type { EvaluatePartRequest, PartEvaluationDefinition } from '../../lib/wire/contracts.ts';
import { askEnough } from './ask-enough.ts';
import {
  evaluateParts,
  type PartAnswers,
  type PartCall,
  type PushDownDeps,
  type PushedPart,
} from './part-calls.ts';
import { StorePushDown } from './store-push-down.ts';

/** For so long what stores said of their newest samples holds: far less than ingesters keep what they have shipped. */
const HORIZON_TTL_MS = 1_000;
const TENANTS_MAX = 10_000;

/** Up to when blocks have samples, and how sure that is. */
export interface Horizon {
  /** Unix ms; -Infinity without any block. */
  readonly newestMs: number;
  readonly blockCopies: number;
  readonly blockCopiesRead: number;
}

type PartPeer = Peer<Client<typeof PartEvaluationDefinition>>;

export class PushDown {
  /** The same by stores, for what is in blocks. */
  readonly stores: StorePushDown;
  readonly #deps: PushDownDeps;
  readonly #horizons = new Map<
    string,
    { readonly askedMs: number; readonly horizon: Promise<Horizon | undefined> }
  >();

  constructor(deps: PushDownDeps) {
    this.#deps = deps;
    this.stores = new StorePushDown(deps);
  }

  /** Whether there are other processes to push anything to, and all of them are known: a select finds out whether that is so. */
  get isPossible(): boolean {
    const { cluster } = this.#deps;
    if (cluster.isCurrent?.() === false) return false;
    return (cluster.partEvaluators?.().length ?? 0) > 0 && cluster.placement() !== undefined;
  }

  /** Undefined where it cannot be told: then nothing may be pushed down. */
  horizonOf(tenant: string): Promise<Horizon | undefined> {
    const nowMs = this.#deps.clock.monotonicMs();
    const known = this.#horizons.get(tenant);
    if (known !== undefined && nowMs - known.askedMs < HORIZON_TTL_MS) return known.horizon;
    if (this.#horizons.size >= TENANTS_MAX) this.#horizons.clear();
    const horizon = this.#askStores(tenant);
    this.#horizons.set(tenant, { askedMs: nowMs, horizon });
    return horizon;
  }

  async #askStores(tenant: string): Promise<Horizon | undefined> {
    const { cluster, clock } = this.#deps;
    const set = cluster.storeSet?.();
    const peers = cluster.blockHorizons?.() ?? [];
    const blockCopies = set?.replicationFactor ?? 1;
    const ask = async ({ instance, client }: (typeof peers)[number], signal: AbortSignal) => {
      try {
        return { instance, ...(await client.newestSample({ tenant }, { signal })) };
      } catch {
        return { instance, unknown: true, newestMs: undefined };
      }
    };
    const missingOf = (
      answers: readonly ({ readonly instance: string; readonly unknown: boolean } | undefined)[],
    ) => {
      const known = new Set(
        answers.filter((answer) => answer?.unknown === false).map((answer) => answer!.instance),
      );
      const expected = new Set([...(set?.instances ?? []), ...peers.map(({ instance }) => instance)]);
      return [...expected].filter((instance) => !known.has(instance)).length;
    };
    const answers = await askEnough(peers, ask, (each) => missingOf(each) < blockCopies, clock);
    if (answers === undefined) return undefined;
    const missing = missingOf(answers);
    const newestMs = Math.max(...answers.map((answer) => answer?.newestMs ?? Number.NEGATIVE_INFINITY));
    return { newestMs, blockCopies, blockCopiesRead: blockCopies - missing };
  }

  /**
   * Has a part evaluated over all partitions.
   *
   * @param request  Without partitions.
   * @throws AppError the signal's reason. Everything else is a refusal.
   */
  async evaluate(
    request: Omit<EvaluatePartRequest, 'partitions'>,
    horizon: Horizon,
    signal: AbortSignal,
  ): Promise<PushedPart> {
    const { cluster } = this.#deps;
    const placement = cluster.placement();
    const shares = placement === undefined ? new Map<PartPeer, number[]>() : this.#shareOut(placement);
    const calls = [...shares].map(
      ([{ instance, client }, partitions]): PartCall => ({
        ...{ kind: 'ingester', instance, partitions },
        start: (its) => client.evaluatePart({ ...request, partitions }, { signal: its }),
      }),
    );
    return this.#conclude(await evaluateParts(calls, this.#deps, signal), request, horizon);
  }

  /** One owner for each partition: the best that is there and not known to be late. */
  #shareOut(placement: Placement): Map<PartPeer, number[]> {
    const { cluster, latencies } = this.#deps;
    const peers = new Map((cluster.partEvaluators?.() ?? []).map((peer) => [peer.instance, peer]));
    const shares = new Map<PartPeer, number[]>();
    for (const [partition, owners] of placement.replicas.entries()) {
      const candidates = owners.filter(
        (owner) => peers.has(owner) && isWhole(owner, partition, placement, cluster),
      );
      const owner = candidates.find((each) => !latencies.isLate(`ingester ${each}`)) ?? candidates[0];
      if (owner === undefined) continue;
      const peer = peers.get(owner)!;
      const share = shares.get(peer);
      if (share === undefined) shares.set(peer, [partition]);
      else share.push(partition);
    }
    return shares;
  }

  #conclude(
    { results, done }: PartAnswers,
    { minTimeMs, maxTimeMs }: Pick<EvaluatePartRequest, 'minTimeMs' | 'maxTimeMs'>,
    horizon: Horizon,
  ): PushedPart {
    const { cluster } = this.#deps;
    const placement = cluster.placement();
    const partitionCount = placement?.partitionCount ?? 0;
    const all = Array.from({ length: partitionCount }, (_, partition) => partition);
    this.#deps.onPushed(done.size);
    const group = {
      partitions: all.filter((partition) => done.has(partition)),
      ...{ owners: cluster.replicationFactor, answered: 1, complete: 1, covered: true, fromMs: minTimeMs },
    };
    return {
      results,
      refused: all.filter((partition) => !done.has(partition)),
      coverage: {
        ...{ complete: true, partitionCount, minTimeMs, maxTimeMs, missing: [] },
        groups: group.partitions.length > 0 ? [group] : [],
        blockCopies: horizon.blockCopies,
        blockCopiesRead: horizon.blockCopiesRead,
      },
    };
  }
}

/**
 * Whether an owner can have all of a partition. With several copies it proves that itself; with one it has what was written since it
 * became the owner, and must always have been.
 */
function isWhole(owner: string, partition: number, placement: Placement, cluster: Cluster): boolean {
  if (cluster.replicationFactor > 1) return true;
  return (placement.former ?? []).every((replicas) => replicas[partition]!.includes(owner));
}

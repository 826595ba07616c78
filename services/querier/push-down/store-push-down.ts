// Has parts of queries evaluated by the stores that hold the blocks: of steps whose windows no ingester has anything of that is in no block.
// The rule is services/lib/wire/docs/part-evaluation.md; what is refused here, for whatever reason, is read by chunks.
import { throwIfAborted } from '../../lib/core/errors.ts';
import type { StoreSet } from '../../lib/transport/cluster.ts';
import type { AnswerCoverage, EvaluatePartRequest, HeldLeavesResponse } from '../../lib/wire/contracts.ts';
import { countCoverage } from '../selection/answer-coverage.ts';
import { findGaps, missingStores, type SourceAnswer } from '../selection/coverage.ts';
import { askEnough } from './ask-enough.ts';
import { packLeaves, shareOutLeaves } from './leaf-shares.ts';
import { evaluateParts, type PartCall, type PushDownDeps, type PushedPart } from './part-calls.ts';

/** Up to when all that was acknowledged before a query is in blocks, and who said so. */
export interface Sealed {
  /** Unix ms, exclusive; Infinity: all of it. */
  readonly beforeMs: number;
  readonly answers: readonly SourceAnswer[];
}

type IngesterAnswer = SourceAnswer & { readonly oldestMs: number };
type StoreAnswer = SourceAnswer & { readonly listed: HeldLeavesResponse | undefined };

export class StorePushDown {
  readonly #deps: PushDownDeps;

  constructor(deps: PushDownDeps) {
    this.#deps = deps;
  }

  /**
   * Asks the ingesters, anew for each query: what was acknowledged before it has to be in the answer.
   *
   * @returns Undefined where it cannot be told: then nothing may be pushed to stores.
   */
  async sealedBefore(tenant: string): Promise<Sealed | undefined> {
    const { cluster, clock } = this.#deps;
    const peers = cluster.partEvaluators?.() ?? [];
    const ask = async (
      { instance, client }: (typeof peers)[number],
      signal: AbortSignal,
    ): Promise<IngesterAnswer> => {
      const about = { kind: 'ingester' as const, instance, coverage: { partitions: [] } };
      try {
        const { oldestMs = Number.POSITIVE_INFINITY } = await client.unsealed({ tenant }, { signal });
        return { ...about, failure: undefined, oldestMs };
      } catch {
        return {
          ...about,
          failure: 'it did not say what it has not sealed',
          oldestMs: Number.POSITIVE_INFINITY,
        };
      }
    };
    const isEnough = (answers: readonly (IngesterAnswer | undefined)[]): boolean => {
      const placement = cluster.placement();
      if (placement === undefined) return false;
      return findGaps(known(answers), placement, cluster.replicationFactor).length === 0;
    };
    const answers = await askEnough(peers, ask, isEnough, clock);
    if (answers === undefined) return undefined;
    const there = known(answers);
    return { beforeMs: Math.min(...there.map(({ oldestMs }) => oldestMs)), answers: there };
  }

  /**
   * Has a part evaluated over all partitions.
   *
   * @param request  Without partitions; its window is before `sealed`.
   * @throws AppError the signal's reason. Everything else is a refusal.
   */
  async evaluate(
    request: Omit<EvaluatePartRequest, 'partitions'>,
    sealed: Sealed,
    signal: AbortSignal,
  ): Promise<PushedPart> {
    const { cluster, latencies, onPushedToStores } = this.#deps;
    const partitionCount = cluster.placement()?.partitionCount ?? 0;
    const all = Array.from({ length: partitionCount }, (_, partition) => partition);
    const nothing: PushedPart = { results: [], refused: all, coverage: undefined };
    throwIfAborted(signal);
    const storeSet = cluster.storeSet?.();
    const stores = await this.#askStores(request, storeSet);
    throwIfAborted(signal);
    if (stores === undefined || stores.some(({ listed }) => listed?.hasAggregates === true)) return nothing;
    const listed = stores.flatMap(({ instance, failure, listed: answer }) =>
      failure === undefined && answer !== undefined && answer.missing === undefined
        ? [{ instance, blocks: answer.blocks }]
        : [],
    );
    const { shares, empty } = shareOutLeaves(listed, partitionCount, (instance) =>
      latencies.isLate(`store ${instance}`),
    );
    const peers = new Map((cluster.blockHorizons?.() ?? []).map((peer) => [peer.instance, peer]));
    const byStore = Map.groupBy(shares, ({ instance }) => instance);
    const calls = [...byStore].flatMap(([instance, own]): PartCall[] => {
      const peer = peers.get(instance);
      if (peer === undefined) return [];
      const message = {
        part: { ...request, partitions: [] },
        shares: own.map(({ partitions, leaves }) => ({
          partitions: [...partitions],
          leaves: packLeaves(leaves),
        })),
      };
      return [
        {
          ...{ kind: 'store', instance, partitions: own.flatMap(({ partitions }) => partitions) },
          start: (its) => peer.client.evaluateShares(message, { signal: its }),
        },
      ];
    });
    const { results, done } = await evaluateParts(calls, this.#deps, signal);
    onPushedToStores(done.size);
    const settled = new Set([...done, ...empty]);
    return {
      results,
      refused: all.filter((partition) => !settled.has(partition)),
      coverage: this.#coverageOf(request, sealed, stores, storeSet),
    };
  }

  /** What each store lists of the window; undefined when a block may be on none that answered. */
  async #askStores(
    { tenant, minTimeMs, maxTimeMs }: Omit<EvaluatePartRequest, 'partitions'>,
    storeSet: StoreSet | undefined,
  ): Promise<StoreAnswer[] | undefined> {
    const { cluster, clock } = this.#deps;
    const peers = cluster.blockHorizons?.() ?? [];
    if (storeSet === undefined) return undefined;
    const ask = async (
      { instance, client }: (typeof peers)[number],
      signal: AbortSignal,
    ): Promise<StoreAnswer> => {
      try {
        const listed = await client.heldLeaves({ tenant, minTimeMs, maxTimeMs }, { signal });
        const { missing } = listed;
        const coverage = missing === undefined ? { partitions: [] } : { partitions: [], missing };
        return { kind: 'store', instance, coverage, failure: undefined, listed };
      } catch {
        return unanswered(instance);
      }
    };
    const allOf = (answers: readonly (StoreAnswer | undefined)[]): StoreAnswer[] =>
      peers.map(({ instance }, i) => answers[i] ?? unanswered(instance));
    const isEnough = (answers: readonly (StoreAnswer | undefined)[]): boolean =>
      missingStores(allOf(answers), storeSet).length < storeSet.replicationFactor;
    const answers = await askEnough(peers, ask, isEnough, clock);
    return answers && allOf(answers);
  }

  #coverageOf(
    { minTimeMs, maxTimeMs }: Omit<EvaluatePartRequest, 'partitions'>,
    { answers }: Sealed,
    stores: readonly StoreAnswer[],
    storeSet: StoreSet | undefined,
  ): AnswerCoverage {
    const { cluster } = this.#deps;
    const placement = cluster.placement();
    const { replicationFactor } = cluster;
    const range = { minTimeMs, maxTimeMs };
    const sources = [...answers, ...stores];
    const counted = countCoverage(sources, { range, placement, replicationFactor, storeSet, gaps: [] });
    // Of this range they hold nothing that is not the stores' to account for.
    return { ...counted, groups: counted.groups.map((group) => ({ ...group, fromMs: maxTimeMs })) };
  }
}

function known<T>(answers: readonly (T | undefined)[]): T[] {
  return answers.filter((answer) => answer !== undefined);
}

function unanswered(instance: string): StoreAnswer {
  const failure = 'it did not list its blocks';
  return { kind: 'store', instance, coverage: undefined, failure, listed: undefined };
}

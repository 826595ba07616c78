// Has parts of queries evaluated by the ingesters that hold the samples. The rule that makes it right is
// services/lib/wire/docs/part-evaluation.md; what is refused here, for whatever reason, is read by chunks.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import type { Placement } from '../../lib/placement/placement.ts';
import type { Cluster, Peer } from '../../lib/transport/cluster.ts';
import type { Client } from '../../lib/transport/rpc.ts';
import type {
  AnswerCoverage,
  EvaluatePartRequest,
  PartEvaluationDefinition,
} from '../../lib/wire/contracts.ts';
import { untilAborted } from '../selection/fan-out.ts';
import { type NodeLatencies, PATIENCE_MAX_MS, settleEnough } from '../selection/hedge.ts';

/** For so long what stores said of their newest samples holds: far less than ingesters keep what they have shipped. */
const HORIZON_TTL_MS = 1_000;
/** The longest wait for what stores say, and for a late one when the others' answers suffice. */
const HORIZON_TIMEOUT_MS = 250;
const HORIZON_PATIENCE_MS = 25;
/** Who has begun has stopped at so many times what the others took, and not before so long. */
const SLOWEST_FACTOR = 3;
const STALL_MS = 5_000;
const TENANTS_MAX = 10_000;

export interface PushDownDeps {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly latencies: NodeLatencies;
  /** Told of every node that failed, refused partitions, or was done without. */
  readonly onRefused: (instance: string, partitions: number, reason: string) => void;
  /** Told how many partitions a part was evaluated of by ingesters. */
  readonly onPushed: (partitions: number) => void;
}

/** Up to when blocks have samples, and how sure that is. */
export interface Horizon {
  /** Unix ms; -Infinity without any block. */
  readonly newestMs: number;
  readonly blockCopies: number;
  readonly blockCopiesRead: number;
}

/** What the ingesters made of a part. */
export interface PushedPart {
  /** A partial result each. */
  readonly results: readonly (readonly Uint8Array[])[];
  /** Partitions that none of them is of. */
  readonly refused: readonly number[];
  readonly coverage: AnswerCoverage;
}

type PartPeer = Peer<Client<typeof PartEvaluationDefinition>>;

export class PushDown {
  readonly #deps: PushDownDeps;
  readonly #horizons = new Map<
    string,
    { readonly askedMs: number; readonly horizon: Promise<Horizon | undefined> }
  >();

  constructor(deps: PushDownDeps) {
    this.#deps = deps;
  }

  /** Whether there are other processes to push anything to. */
  get isPossible(): boolean {
    const { cluster } = this.#deps;
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
    const over = new AbortController();
    const ask = async ({ instance, client }: (typeof peers)[number]) => {
      try {
        return { instance, ...(await client.newestSample({ tenant }, { signal: over.signal })) };
      } catch {
        return { instance, unknown: true, newestMs: undefined };
      }
    };
    const isEnough = (
      answers: readonly ({ readonly instance: string; readonly unknown: boolean } | undefined)[],
    ) => {
      const known = new Set(
        answers.filter((answer) => answer?.unknown === false).map((answer) => answer!.instance),
      );
      const expected = new Set([...(set?.instances ?? []), ...peers.map(({ instance }) => instance)]);
      return [...expected].filter((instance) => !known.has(instance)).length;
    };
    const timeout = clock.sleep(HORIZON_TIMEOUT_MS, over.signal).then(
      () => undefined,
      () => undefined,
    );
    const settled = settleEnough(peers.map(ask), {
      clock,
      isEnough: (answers) => isEnough(answers) < blockCopies,
      patienceMs: () => HORIZON_PATIENCE_MS,
    });
    const answers = await Promise.race([settled, timeout]);
    over.abort(new AppError('canceled', 'the horizon is known'));
    if (answers === undefined) return undefined;
    const missing = isEnough(answers);
    if (missing >= blockCopies) return undefined;
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
    const { cluster, clock } = this.#deps;
    const placement = cluster.placement();
    const shares = placement === undefined ? new Map<PartPeer, number[]>() : this.#shareOut(placement);
    const over = new AbortController();
    const end = () => over.abort(signal.reason);
    signal.addEventListener('abort', end, { once: true });
    const startedMs = clock.monotonicMs();
    const entries = [...shares];
    let slowestMs = 0;
    const calls = entries.map(async ([peer, partitions]): Promise<PartAnswer> => {
      const answer = await this.#askOne(peer, { ...request, partitions }, over.signal);
      slowestMs = Math.max(slowestMs, clock.monotonicMs() - startedMs);
      return answer;
    });
    try {
      throwIfAborted(signal);
      const answers = await settleEnough(calls, {
        clock,
        // Who has begun is at work, or was: the others' answers show how long it takes.
        isEnough: (settled) => settled.some((answer) => answer !== undefined),
        patienceMs: () => Math.max(STALL_MS, SLOWEST_FACTOR * slowestMs),
      });
      return this.#conclude(entries, answers, request, horizon);
    } finally {
      signal.removeEventListener('abort', end);
      over.abort(new AppError('canceled', 'the part is evaluated'));
    }
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

  async #askOne(peer: PartPeer, request: EvaluatePartRequest, over: AbortSignal): Promise<PartAnswer> {
    const { clock, latencies, onRefused } = this.#deps;
    const { instance } = peer;
    const call = new AbortController();
    const end = () => call.abort(over.reason);
    over.addEventListener('abort', end, { once: true });
    const begun = new AbortController();
    let isLate = false;
    clock.sleep(PATIENCE_MAX_MS, begun.signal).then(
      () => {
        isLate = true;
        call.abort(new AppError('canceled', `it did not begin within ${PATIENCE_MAX_MS} ms`));
      },
      () => undefined,
    );
    try {
      const answer = await untilAborted(readAnswer(peer, request, call.signal, begun), call.signal);
      const left = request.partitions.length - answer.partitions.length;
      if (left > 0) onRefused(instance, left, answer.refusal ?? 'it does not say why');
      return answer;
    } catch (caught) {
      throwIfAborted(over);
      // Also an error of the query itself: reading chunks, the querier comes to it in the order of evaluation, and in its own words.
      const error = toAppError(caught);
      if (isLate) latencies.late(`ingester ${instance}`);
      onRefused(instance, request.partitions.length, error.message);
      return { frames: [], partitions: [], refusal: error.message };
    } finally {
      begun.abort();
      over.removeEventListener('abort', end);
    }
  }

  #conclude(
    entries: readonly (readonly [PartPeer, readonly number[]])[],
    answers: readonly (PartAnswer | undefined)[],
    { minTimeMs, maxTimeMs }: Pick<EvaluatePartRequest, 'minTimeMs' | 'maxTimeMs'>,
    horizon: Horizon,
  ): PushedPart {
    const { cluster, latencies } = this.#deps;
    const placement = cluster.placement();
    const done = new Set<number>();
    const results: (readonly Uint8Array[])[] = [];
    for (const [i, [{ instance }, partitions]] of entries.entries()) {
      const answer = answers[i];
      if (answer === undefined) {
        latencies.late(`ingester ${instance}`);
        this.#deps.onRefused(instance, partitions.length, 'it is late');
      } else if (answer.partitions.length > 0) {
        results.push(answer.frames);
        for (const partition of answer.partitions) done.add(partition);
      }
    }
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

interface PartAnswer {
  readonly frames: readonly Uint8Array[];
  readonly partitions: readonly number[];
  readonly refusal: string | undefined;
}

/** @param begun  Aborted with the first message. */
async function readAnswer(
  { client }: PartPeer,
  request: EvaluatePartRequest,
  signal: AbortSignal,
  begun: AbortController,
): Promise<PartAnswer> {
  const frames: Uint8Array[] = [];
  let partitions: readonly number[] = [];
  let refusal: string | undefined;
  for await (const message of client.evaluatePart(request, { signal })) {
    begun.abort();
    if (message.frame.length > 0) frames.push(message.frame);
    partitions = message.partitions;
    refusal = message.refusal ?? refusal;
  }
  const asked = new Set(request.partitions);
  return { frames, partitions: partitions.filter((partition) => asked.has(partition)), refusal };
}

/**
 * Whether an owner can have all of a partition. With several copies it proves that itself; with one it has what was written since it
 * became the owner, and must always have been.
 */
function isWhole(owner: string, partition: number, placement: Placement, cluster: Cluster): boolean {
  if (cluster.replicationFactor > 1) return true;
  return (placement.former ?? []).every((replicas) => replicas[partition]!.includes(owner));
}

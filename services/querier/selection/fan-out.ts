// Asks all ingesters and stores at once, and says whether together they gave a complete answer. A node that is late is done
// without when the others' answers are complete (hedge.ts).
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { CallContext, Client } from '../../lib/transport/rpc.ts';
import type { AnswerCoverage, Coverage, IngesterDefinition } from '../../lib/wire/contracts.ts';
import { type AskedRange, countCoverage } from './answer-coverage.ts';
import { findGaps, hasGaps, type SourceAnswer } from './coverage.ts';
import { type NodeLatencies, settleEnough } from './hedge.ts';

/** A node that answers for series: what ingesters and stores have in common. */
export interface Source {
  readonly kind: SourceAnswer['kind'];
  readonly instance: string;
  readonly client: Pick<Client<typeof IngesterDefinition>, 'select' | 'labels'>;
}

export interface FanOutOptions {
  readonly cluster: Cluster;
  readonly signal: AbortSignal;
  /** A gap is a warning, not an error. */
  readonly isPartialAllowed: boolean;
  /** What is asked for: part of the proof, and of the error when something is missing. */
  readonly range: AskedRange;
  /** Told of every node that did not answer. */
  readonly onFailure: (source: Source, error: AppError) => void;
  /** Absent: every node is waited for. */
  readonly hedge?: Hedge;
  /** Says why the nodes that are known may not be all, undefined when they are. Never rejects. Absent: they always are. */
  readonly newerPlacement?: () => Promise<string | undefined>;
}

/** What decides that a node is late. */
export interface Hedge {
  readonly clock: Clock;
  readonly latencies: NodeLatencies;
  /** Told of every node that was done without. */
  readonly onLate: (source: Source) => void;
}

/** Errors that are the query's own: no other node would answer otherwise. */
const QUERY_ERRORS: ReadonlySet<AppError['code']> = new Set(['bad_data', 'execution', 'resource_exhausted']);

/** Every node that may hold samples. */
export function sourcesOf(cluster: Cluster): Source[] {
  return [
    ...cluster.ingesters().map(({ instance, client }): Source => ({ kind: 'ingester', instance, client })),
    ...cluster.stores().map(({ instance, client }): Source => ({ kind: 'store', instance, client })),
  ];
}

/** What the nodes answered, together. */
export interface FannedOut {
  /** What is missing, for people; empty when the answer is complete. */
  readonly gaps: string[];
  /** What the answer rests on. */
  coverage(): AnswerCoverage;
  /**
   * The same when nodes that did answer did not, after all: what they sent turned out to be of no use.
   *
   * @param failures  By the name of the node, as nameOf() makes it.
   * @throws AppError as fanOut, when something is missing then and that is not allowed.
   */
  without(failures: ReadonlyMap<string, AppError>): FannedOut;
}

/**
 * Calls `ask` for every ingester and store.
 *
 * @param ask  Answers what the node said it covers, where it says so. Its signal aborts when its answer is not needed any
 *             more: what comes after that must not be used.
 * @throws AppError the query's own errors as they come, `unavailable` when something is missing and that is not
 *         allowed, the signal's reason when it aborts. The other calls are cancelled then.
 */
export async function fanOut(
  options: FanOutOptions,
  ask: (source: Source, context: CallContext) => Promise<Coverage | undefined>,
): Promise<FannedOut> {
  throwIfAborted(options.signal);
  // One signal for all ends, made by hand: AbortSignal.any() costs more than all the rest of this.
  const over = new AbortController();
  const end = () => over.abort(options.signal.reason);
  options.signal.addEventListener('abort', end, { once: true });
  try {
    return await askAll(options, ask, over);
  } finally {
    options.signal.removeEventListener('abort', end);
  }
}

/** @param over  Ends all calls. */
async function askAll(
  options: FanOutOptions,
  ask: (source: Source, context: CallContext) => Promise<Coverage | undefined>,
  over: AbortController,
): Promise<FannedOut> {
  const { cluster, signal, isPartialAllowed, onFailure, hedge, range } = options;
  let isEnough = false;
  const context: CallContext = { signal: over.signal };
  const startedMs = hedge?.clock.monotonicMs() ?? 0;
  // As they are now, like those who are asked: a store that joins meanwhile holds nothing that nobody else does.
  const storeSet = cluster.storeSet?.();
  // Likewise: when the placement comes in the meantime, nobody had known whom to ask.
  const wasPlacementUnknown = isPlacementUnknown(cluster);
  const asking = options.newerPlacement?.();
  const isLastCopy = {
    ingester: cluster.replicationFactor === 1,
    store: (storeSet?.replicationFactor ?? 1) === 1,
  };

  const askOne = async (source: Source): Promise<SourceAnswer> => {
    const { kind, instance } = source;
    try {
      const coverage = await untilAborted(ask(source, context), context.signal);
      hedge?.latencies.answered(nameOf(source), hedge.clock.monotonicMs() - startedMs);
      return { kind, instance, coverage, failure: undefined };
    } catch (caught) {
      throwIfAborted(signal);
      const error = toAppError(caught);
      if (isEnough) return { kind, instance, coverage: undefined, failure: error.message };
      if (QUERY_ERRORS.has(error.code)) {
        over.abort(error);
        throw error;
      }
      throwIfAborted(over.signal);
      onFailure(source, error);
      const failure: SourceAnswer = { kind, instance, coverage: undefined, failure: error.message };
      if (!isPartialAllowed && isLastCopy[kind]) {
        const gap = `${kind} ${instance} did not answer: ${error.message}`;
        over.abort(incomplete([gap], range, error));
        throwIfAborted(over.signal);
      }
      return failure;
    }
  };

  const sources = sourcesOf(cluster);
  let newer: string | undefined;
  const gapsOf = (answers: readonly (SourceAnswer | undefined)[]): string[] => [
    ...(wasPlacementUnknown ? ['which ingesters own the partitions is not known yet'] : []),
    ...(newer === undefined ? [] : [newer]),
    ...findGaps(allOf(answers), cluster.placement(), cluster.replicationFactor, storeSet),
  ];
  const allOf = (answers: readonly (SourceAnswer | undefined)[]): SourceAnswer[] =>
    answers.map((answer, i) => answer ?? unanswered(sources[i]!));
  const calls = sources.map(askOne);
  const answers = await (hedge === undefined
    ? Promise.all(calls)
    : settleEnough(calls, {
        clock: hedge.clock,
        isEnough: (settled) =>
          !wasPlacementUnknown &&
          !hasGaps(allOf(settled), cluster.placement(), cluster.replicationFactor, storeSet),
        patienceMs: (open) => Math.max(...open.map((i) => hedge.latencies.patienceMs(nameOf(sources[i]!)))),
      })
  ).catch((caught: unknown) => {
    // The first cause wins.
    throwIfAborted(signal);
    throwIfAborted(over.signal);
    throw toAppError(caught);
  });
  newer = await asking;
  throwIfAborted(signal);
  isEnough = true;
  for (const [i, source] of sources.entries()) {
    if (answers[i] !== undefined) continue;
    hedge?.latencies.late(nameOf(source));
    hedge?.onLate(source);
    over.abort(new AppError('canceled', 'the other nodes answered for everything'));
  }
  const conclude = (known: readonly (SourceAnswer | undefined)[]): FannedOut => {
    const gaps = gapsOf(known);
    if (gaps.length > 0 && !isPartialAllowed) throw incomplete(gaps, range);
    const { replicationFactor } = cluster;
    const placement = cluster.placement();
    return {
      gaps,
      coverage: () => countCoverage(allOf(known), { range, gaps, placement, replicationFactor, storeSet }),
      without: (failures) =>
        conclude(
          sources.map((source, i) => {
            const failure = failures.get(nameOf(source));
            if (failure === undefined) return known[i];
            onFailure(source, failure);
            const { kind, instance } = source;
            return { kind, instance, coverage: undefined, failure: failure.message };
          }),
        ),
    };
  };
  return conclude(answers);
}

/** Members may be known before the placement is, and those of them that own something may not be all. */
function isPlacementUnknown(cluster: Cluster): boolean {
  return cluster.storeSet !== undefined && cluster.placement() === undefined;
}

/** A node's name in messages. */
export function nameOf({ kind, instance }: Pick<Source, 'kind' | 'instance'>): string {
  return `${kind} ${instance}`;
}

function unanswered({ kind, instance }: Source): SourceAnswer {
  return { kind, instance, coverage: undefined, failure: 'it has not answered yet' };
}

/** Settles as `call` does, or with the signal's reason: a node that hangs does not hold up the query's end. */
export function untilAborted<T>(call: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(toAppError(signal.reason));
    if (signal.aborted) giveUp();
    else signal.addEventListener('abort', giveUp, { once: true });
    const settled = () => signal.removeEventListener('abort', giveUp);
    call.then(
      (value) => {
        settled();
        resolve(value);
      },
      (caught: unknown) => {
        settled();
        reject(caught);
      },
    );
  });
}

function incomplete(gaps: readonly string[], range: AskedRange, cause?: AppError): AppError {
  return new AppError(
    'unavailable',
    `the answer would be incomplete${printRange(range)}: ${gaps.join('; ')}`,
    {
      cause,
    },
  );
}

/** Times of which there is no date stand for "all", more or less: nobody asked for them by name. */
const DATE_MS_MAX = 8.64e15;

function printRange({ minTimeMs, maxTimeMs }: AskedRange): string {
  const print = (word: string, timeMs: number) =>
    Math.abs(timeMs) < DATE_MS_MAX ? ` ${word} ${new Date(timeMs).toISOString()}` : '';
  return print('from', minTimeMs) + print('to', maxTimeMs);
}

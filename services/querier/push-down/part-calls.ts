// Calls to the nodes that evaluate a part, each for partitions of its own: who refuses, fails, does not begin or stops is done without.
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, throwIfAborted, toAppError } from '../../lib/core/errors.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { AnswerCoverage, EvaluatePartResponse } from '../../lib/wire/contracts.ts';
import { untilAborted } from '../selection/fan-out.ts';
import { type NodeLatencies, PATIENCE_MAX_MS, settleEnough } from '../selection/hedge.ts';

/** Who has begun has stopped at so many times what the others took, and not before so long. */
const SLOWEST_FACTOR = 3;
const STALL_MS = 5_000;

export interface PartCallDeps {
  readonly clock: Clock;
  readonly latencies: NodeLatencies;
  /** Told of every node that failed, refused partitions, or was done without. */
  readonly onRefused: (instance: string, partitions: number, reason: string) => void;
}

export interface PushDownDeps extends PartCallDeps {
  readonly cluster: Cluster;
  /** Told how many partitions a part was evaluated of by ingesters. */
  readonly onPushed: (partitions: number) => void;
  /** And by stores. */
  readonly onPushedToStores: (partitions: number) => void;
}

/** What the nodes made of a part. */
export interface PushedPart {
  /** A partial result each. */
  readonly results: readonly (readonly Uint8Array[])[];
  /** Partitions that none of them is of. */
  readonly refused: readonly number[];
  /** What the results rest on; undefined where there are none. */
  readonly coverage: AnswerCoverage | undefined;
}

/** What one node is asked for. */
export interface PartCall {
  readonly kind: 'ingester' | 'store';
  readonly instance: string;
  readonly partitions: readonly number[];
  readonly start: (signal: AbortSignal) => AsyncIterable<EvaluatePartResponse>;
}

/** What the calls came to. */
export interface PartAnswers {
  /** A partial result each. */
  readonly results: readonly (readonly Uint8Array[])[];
  /** Partitions that they are of. */
  readonly done: ReadonlySet<number>;
}

interface PartAnswer {
  readonly frames: readonly Uint8Array[];
  readonly partitions: readonly number[];
  readonly refusal: string | undefined;
}

/**
 * Makes all calls at once.
 *
 * @param calls  No partition twice.
 * @throws AppError the signal's reason. Everything else is a refusal.
 */
export async function evaluateParts(
  calls: readonly PartCall[],
  deps: PartCallDeps,
  signal: AbortSignal,
): Promise<PartAnswers> {
  const { clock } = deps;
  const over = new AbortController();
  const end = () => over.abort(signal.reason);
  signal.addEventListener('abort', end, { once: true });
  const startedMs = clock.monotonicMs();
  let slowestMs = 0;
  const answering = calls.map(async (call): Promise<PartAnswer> => {
    const answer = await askOne(call, deps, over.signal);
    slowestMs = Math.max(slowestMs, clock.monotonicMs() - startedMs);
    return answer;
  });
  try {
    throwIfAborted(signal);
    const answers = await settleEnough(answering, {
      clock,
      // Who has begun is at work, or was: the others' answers show how long it takes.
      isEnough: (settled) => settled.some((answer) => answer !== undefined),
      patienceMs: () => Math.max(STALL_MS, SLOWEST_FACTOR * slowestMs),
    });
    return collect(calls, answers, deps);
  } finally {
    signal.removeEventListener('abort', end);
    over.abort(new AppError('canceled', 'the part is evaluated'));
  }
}

function collect(
  calls: readonly PartCall[],
  answers: readonly (PartAnswer | undefined)[],
  { latencies, onRefused }: PartCallDeps,
): PartAnswers {
  const done = new Set<number>();
  const results: (readonly Uint8Array[])[] = [];
  for (const [i, { kind, instance, partitions }] of calls.entries()) {
    const answer = answers[i];
    if (answer === undefined) {
      latencies.late(`${kind} ${instance}`);
      onRefused(instance, partitions.length, 'it is late');
    } else if (answer.partitions.length > 0) {
      results.push(answer.frames);
      for (const partition of answer.partitions) done.add(partition);
    }
  }
  return { results, done };
}

async function askOne(
  call: PartCall,
  { clock, latencies, onRefused }: PartCallDeps,
  over: AbortSignal,
): Promise<PartAnswer> {
  const { kind, instance, partitions } = call;
  const calling = new AbortController();
  const end = () => calling.abort(over.reason);
  over.addEventListener('abort', end, { once: true });
  const begun = new AbortController();
  let isLate = false;
  clock.sleep(PATIENCE_MAX_MS, begun.signal).then(
    () => {
      isLate = true;
      calling.abort(new AppError('canceled', `it did not begin within ${PATIENCE_MAX_MS} ms`));
    },
    () => undefined,
  );
  try {
    const answer = await untilAborted(readAnswer(call, calling.signal, begun), calling.signal);
    const left = partitions.length - answer.partitions.length;
    if (left > 0) onRefused(instance, left, answer.refusal ?? 'it does not say why');
    return answer;
  } catch (caught) {
    throwIfAborted(over);
    // Also an error of the query itself: reading chunks, the querier comes to it in the order of evaluation, and in its own words.
    const error = toAppError(caught);
    if (isLate) latencies.late(`${kind} ${instance}`);
    onRefused(instance, partitions.length, error.message);
    return { frames: [], partitions: [], refusal: error.message };
  } finally {
    begun.abort();
    over.removeEventListener('abort', end);
  }
}

/** @param begun  Aborted with the first message. */
async function readAnswer(call: PartCall, signal: AbortSignal, begun: AbortController): Promise<PartAnswer> {
  const frames: Uint8Array[] = [];
  let partitions: readonly number[] = [];
  let refusal: string | undefined;
  for await (const message of call.start(signal)) {
    begun.abort();
    if (message.frame.length > 0) frames.push(message.frame);
    partitions = message.partitions;
    refusal = message.refusal ?? refusal;
  }
  const asked = new Set(call.partitions);
  return { frames, partitions: partitions.filter((partition) => asked.has(partition)), refusal };
}

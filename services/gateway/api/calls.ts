// Calls from the gateway to the other services: which querier, and how long to wait.
import { type Clock, startTimer } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { Cluster } from '../../lib/transport/cluster.ts';
import type { CallContext, Client } from '../../lib/transport/rpc.ts';
import type { QuerierDefinition } from '../../lib/wire/contracts.ts';

/** Calls that list or describe, rather than evaluate, are over within this time or not at all. */
export const LIST_TIMEOUT_MS = 30_000;

export type QuerierClient = Client<typeof QuerierDefinition>;

/** Takes turns among the live queriers. */
export class QuerierChoice {
  readonly #cluster: Cluster;
  #turn = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** @throws AppError `unavailable` when no querier is live. */
  next(): QuerierClient {
    const peers = this.#cluster.queriers();
    if (peers.length === 0) {
      throw new AppError('unavailable', 'no querier is reachable: wait until one has joined the cluster');
    }
    this.#turn = (this.#turn + 1) % peers.length;
    return peers[this.#turn]!.client;
  }
}

/**
 * Runs a call that ends with the client's leaving or the deadline, whichever comes first.
 *
 * @param signal     The exchange's.
 * @param onTimeout  Makes the error of the deadline.
 */
export async function withDeadline<T>(
  clock: Clock,
  timeoutMs: number,
  signal: AbortSignal,
  onTimeout: () => AppError,
  run: (context: CallContext) => Promise<T>,
): Promise<T> {
  // One signal for both ends, made by hand: AbortSignal.any() costs more than all the rest of this.
  const over = new AbortController();
  const leave = () => over.abort(signal.reason);
  if (signal.aborted) leave();
  else signal.addEventListener('abort', leave, { once: true });
  const stopTimer = startTimer(clock, timeoutMs, () => over.abort(onTimeout()));
  try {
    return await run({ signal: over.signal });
  } finally {
    stopTimer();
    signal.removeEventListener('abort', leave);
  }
}

/** As withDeadline, for calls that list. */
export function listing<T>(
  clock: Clock,
  signal: AbortSignal,
  run: (context: CallContext) => Promise<T>,
): Promise<T> {
  const onTimeout = () => new AppError('timeout', `no answer within ${LIST_TIMEOUT_MS / 1000} s`);
  return withDeadline(clock, LIST_TIMEOUT_MS, signal, onTimeout, run);
}

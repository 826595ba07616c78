// The end of a query: its caller leaves, its time is up, or the service stops. One signal for all, whose reason says in
// Prometheus' words where the query was.
import { type Clock, startTimer } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';

/** Where a query is, as Prometheus' messages name it. */
export type QueryPhase = 'query queue' | 'expression evaluation' | 'query preparation';

export class Deadline {
  readonly #controller = new AbortController();
  readonly #stopTimer: () => void;
  readonly #callers: readonly AbortSignal[];
  readonly #onAbort: (event: Event) => void;
  phase: QueryPhase = 'query queue';

  /** @param callers  Signals whose abort ends the query; their reasons are AppErrors. */
  constructor(timeoutMs: number, clock: Clock, callers: readonly AbortSignal[]) {
    this.#callers = callers;
    this.#onAbort = (event) => this.#end((event.target as AbortSignal).reason);
    for (const caller of callers) {
      if (caller.aborted) this.#end(caller.reason);
      else caller.addEventListener('abort', this.#onAbort, { once: true });
    }
    this.#stopTimer = startTimer(clock, timeoutMs, () => this.#end(new AppError('timeout', '')));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Stops the clock. The signal stays as it is. */
  close(): void {
    this.#stopTimer();
    for (const caller of this.#callers) caller.removeEventListener('abort', this.#onAbort);
  }

  #end(reason: unknown): void {
    if (this.#controller.signal.aborted) return;
    const { code } = toAppError(reason);
    const isTimeout = code === 'timeout';
    this.#controller.abort(
      new AppError(
        isTimeout ? 'timeout' : code === 'unavailable' ? 'unavailable' : 'canceled',
        `query ${isTimeout ? 'timed out' : 'was canceled'} in ${this.phase}`,
        { cause: reason },
      ),
    );
  }
}

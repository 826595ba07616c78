// The way to one ingester: opens a session when there is something to send, waits longer after each failure, and bounds what
// is in flight. Writers that find the window full wait in order of arrival.
import type { Clock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import {
  type IngesterClient,
  IngesterSession,
  type OnAnswer,
  type OnFailure,
  type Shipment,
} from './ingester-session.ts';
import type { SampleSorter } from './sample-sorter.ts';
import type { SeriesTable } from './series-table.ts';

export interface IngesterStreamOptions {
  /** Most requests that are not answered. */
  readonly windowRequestsMax: number;
  /** Most bytes of batches that are not answered; one request may pass it when nothing else is in flight. */
  readonly windowBytesMax: number;
  /** Wait after the first failure; doubles with each further one. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** A request that is not answered for this long ends the session. */
  readonly answerTimeoutMs: number;
  /** Whether the ingester is another process, so that packing what travels pays. */
  readonly packs: boolean;
}

export interface IngesterStreamDeps {
  readonly clock: Clock;
  readonly table: SeriesTable;
  /** Uniform in [0, 1): jitter. */
  readonly random: () => number;
  readonly newWriterId: () => string;
  /** A session failed: for the log and the metric. */
  readonly onSessionFailure: (error: AppError, retryInMs: number) => void;
}

interface Waiter {
  readonly bytes: number;
  readonly proceed: () => void;
}

/** More definitions than this many times the live series, plus a million, and a session is replaced by a fresh one. */
const STALE_DEFINITIONS_FACTOR = 2;
const STALE_DEFINITIONS_MIN = 1 << 20;

/** Sessions to one ingester, one after the other. */
export class IngesterStream {
  readonly instance: string;
  readonly client: IngesterClient;
  readonly #options: IngesterStreamOptions;
  readonly #deps: IngesterStreamDeps;
  #session: IngesterSession | undefined;
  /** Replaced sessions whose last requests are still in flight. */
  readonly #retiring = new Set<IngesterSession>();
  #failures = 0;
  #downUntilMs = 0;
  #lastFailure = '';
  #closed = false;
  #requestsInFlight = 0;
  #bytesInFlight = 0;
  readonly #waiters: Waiter[] = [];

  constructor(
    instance: string,
    client: IngesterClient,
    options: IngesterStreamOptions,
    deps: IngesterStreamDeps,
  ) {
    this.instance = instance;
    this.client = client;
    this.#options = options;
    this.#deps = deps;
  }

  get requestsInFlight(): number {
    return this.#requestsInFlight;
  }

  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  /** Why nothing can be sent now; undefined when something can. */
  unavailableReason(): string | undefined {
    if (this.#closed) return `${this.instance} left`;
    if (this.#session !== undefined) return undefined;
    if (this.#deps.clock.monotonicMs() >= this.#downUntilMs) return undefined;
    return `${this.instance} is down: ${this.#lastFailure}`;
  }

  /** Whether a request of about `bytes` may be sent at once. */
  hasRoom(bytes: number): boolean {
    if (this.#waiters.length > 0) return false;
    return this.#fits(bytes);
  }

  /**
   * Calls `proceed` once when there is room or the ingester is down, in order of asking.
   *
   * @returns A function that gives up waiting; true when `proceed` was still to come.
   */
  whenRoom(bytes: number, proceed: () => void): () => boolean {
    const waiter = { bytes, proceed };
    this.#waiters.push(waiter);
    return () => {
      const at = this.#waiters.indexOf(waiter);
      if (at >= 0) this.#waiters.splice(at, 1);
      return at >= 0;
    };
  }

  /**
   * Sends a shipment, whatever the window says: the caller has asked `hasRoom` or was called back.
   *
   * Exactly one of the callbacks is called, once, never before this returns.
   */
  send(shipment: Shipment, sorter: SampleSorter, onAnswer: OnAnswer, onFailure: OnFailure): number {
    const session = this.#openSession();
    let bytes = 0;
    const release = (): void => {
      this.#requestsInFlight--;
      this.#bytesInFlight -= bytes;
    };
    bytes = session.send(
      shipment,
      sorter,
      this.#deps.clock.monotonicMs(),
      (failed, reason) => {
        release();
        onAnswer(failed, reason);
        this.#wake();
      },
      (reason, isFenced) => {
        release();
        onFailure(`${this.instance}: ${reason}`, isFenced);
        this.#wake();
      },
    );
    this.#requestsInFlight++;
    this.#bytesInFlight += bytes;
    return bytes;
  }

  /** Ends sessions that have not answered for too long. Call now and then. */
  check(): void {
    const nowMs = this.#deps.clock.monotonicMs();
    const sessions = this.#session === undefined ? this.#retiring : [this.#session, ...this.#retiring];
    for (const session of sessions) {
      const oldest = session.oldestSentAtMs;
      if (oldest !== undefined && nowMs - oldest > this.#options.answerTimeoutMs) {
        session.fail(new AppError('timeout', `no answer for ${this.#options.answerTimeoutMs} ms`));
      }
    }
  }

  /** Sends nothing more and lets what is in flight be answered. */
  retire(): void {
    this.#closed = true;
    this.#session?.retire();
  }

  /** Ends everything now. */
  close(reason: string): void {
    this.#closed = true;
    const error = new AppError('unavailable', reason);
    for (const session of [this.#session, ...this.#retiring]) session?.fail(error);
    this.#wakeAll();
  }

  #fits(bytes: number): boolean {
    if (this.#requestsInFlight === 0) return true;
    return (
      this.#requestsInFlight < this.#options.windowRequestsMax &&
      this.#bytesInFlight + bytes <= this.#options.windowBytesMax
    );
  }

  #openSession(): IngesterSession {
    const current = this.#session;
    const stale = STALE_DEFINITIONS_FACTOR * this.#deps.table.live + STALE_DEFINITIONS_MIN;
    if (current !== undefined && current.definitions <= stale) return current;
    if (current !== undefined) {
      this.#retiring.add(current);
      current.retire();
    }
    const { newWriterId, table } = this.#deps;
    const session = new IngesterSession(newWriterId(), table, this.client, this.#options.packs, {
      onAlive: () => {
        this.#failures = 0;
      },
      onEnd: (ended, error) => this.#onEnd(ended, error),
    });
    this.#session = session;
    return session;
  }

  #onEnd(session: IngesterSession, error: AppError | undefined): void {
    this.#retiring.delete(session);
    if (this.#session !== session) return;
    this.#session = undefined;
    if (this.#closed) return;
    const { backoffMinMs, backoffMaxMs } = this.#options;
    const ceilingMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#failures, 20));
    const waitMs = Math.round(ceilingMs * (0.5 + this.#deps.random() / 2));
    this.#failures++;
    this.#downUntilMs = this.#deps.clock.monotonicMs() + waitMs;
    const cause = error ?? new AppError('unavailable', 'the ingester ended the stream');
    this.#lastFailure = cause.message;
    this.#deps.onSessionFailure(cause, waitMs);
    this.#wakeAll();
  }

  #wake(): void {
    while (this.#waiters.length > 0 && this.#fits(this.#waiters[0]!.bytes)) this.#waiters.shift()!.proceed();
  }

  /** Lets every waiter find out for itself that the ingester is down. */
  #wakeAll(): void {
    for (const waiter of this.#waiters.splice(0)) waiter.proceed();
  }
}

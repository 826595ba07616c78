// One append stream: requests come in order and are applied at once; their answers go out when they are durable, in any
// order. Reading stops while too many wait.
import { crc32 } from 'node:zlib';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import { failpoint } from '../../lib/core/failpoint.ts';
import { AppendOutcome, type AppendRequest, type AppendResponse } from '../../lib/wire/contracts.ts';
import type { IngesterMetrics } from '../ingest-metrics.ts';
import { FencedError } from './fences.ts';
import { WriterTable } from './writer-table.ts';
import type { Applied } from './writes.ts';

export interface AppendStreamOptions {
  /** Requests that are not answered yet, at most. */
  readonly requestsMax: number;
}

export interface AppendStreamDeps {
  /** Undefined when requests may be applied now; else resolves when they may, or cannot be for long. Never rejects. */
  readonly ready?: () => Promise<void> | undefined;
  readonly apply: (request: AppendRequest, table: WriterTable, writer: number) => Applied;
  readonly metrics: IngesterMetrics;
  readonly signal: AbortSignal;
}

export class AppendStream {
  readonly table = new WriterTable();
  readonly #options: AppendStreamOptions;
  readonly #deps: AppendStreamDeps;
  readonly #answers: AppendResponse[] = [];
  #waiting = 0;
  #sequence = 0;
  #writerId: string | undefined;
  #writer = 0;
  #ended = false;
  #failure: AppError | undefined;
  /** Wakes whoever waits for a change of the fields above. */
  #notify: (() => void) | undefined;
  #onRoom: (() => void) | undefined;

  constructor(options: AppendStreamOptions, deps: AppendStreamDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Serves the stream. Leaving the loop over it stops reading; what was applied stays applied. */
  async *serve(requests: AsyncIterable<AppendRequest>): AsyncGenerator<AppendResponse> {
    const { signal } = this.#deps;
    const iterator = requests[Symbol.asyncIterator]();
    const onAbort = () => this.#fail(toAppError(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    void this.#read(iterator);
    try {
      for (;;) {
        while (this.#answers.length > 0) {
          failpoint('append-ack-before');
          yield this.#answers.shift()!;
          failpoint('append-ack-after');
          this.#onRoom?.();
        }
        if (this.#failure !== undefined) throw this.#failure;
        if (this.#ended && this.#waiting === 0) return;
        await new Promise<void>((resolve) => {
          this.#notify = resolve;
        });
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#ended = true;
      this.#onRoom?.();
      // Not awaited: the iterator may be waiting for a request that never comes.
      void Promise.resolve(iterator.return?.()).catch(() => undefined);
    }
  }

  async #read(iterator: AsyncIterator<AppendRequest>): Promise<void> {
    try {
      while (!this.#ended) {
        const next = await iterator.next();
        if (next.done || this.#ended) break;
        const ready = this.#deps.ready?.();
        if (ready !== undefined) {
          await ready;
          if (this.#ended) break;
        }
        this.#take(next.value);
        while (this.#waiting + this.#answers.length >= this.#options.requestsMax && !this.#ended) {
          await new Promise<void>((resolve) => {
            this.#onRoom = resolve;
          });
        }
      }
    } catch (caught) {
      this.#fail(toAppError(caught));
    }
    this.#ended = true;
    this.#wake();
  }

  #take(request: AppendRequest): void {
    this.#checkPosition(request);
    let applied: Applied;
    try {
      applied = this.#deps.apply(request, this.table, this.#writer);
    } catch (caught) {
      const error = toAppError(caught);
      if (error instanceof FencedError) {
        this.#answer(request, AppendOutcome.APPEND_OUTCOME_FENCED, [], error.message);
        return;
      }
      if (error.code !== 'unavailable') {
        this.#deps.metrics.requests.inc({ outcome: 'refused' });
        throw error;
      }
      this.#answer(request, AppendOutcome.APPEND_OUTCOME_UNAVAILABLE, [], error.message);
      return;
    }
    this.#waiting++;
    const { failedPartitions } = applied;
    applied.durable.then(
      () => {
        this.#waiting--;
        if (failedPartitions.length === 0)
          this.#answer(request, AppendOutcome.APPEND_OUTCOME_DURABLE, [], '');
        else {
          const message = `this ingester does not own partitions ${failedPartitions.slice(0, 10).join(', ')} now`;
          this.#answer(request, AppendOutcome.APPEND_OUTCOME_PARTIAL, failedPartitions, message);
        }
      },
      (caught: unknown) => {
        this.#waiting--;
        this.#answer(request, AppendOutcome.APPEND_OUTCOME_UNAVAILABLE, [], toAppError(caught).message);
      },
    );
  }

  #checkPosition({ writerId, sequence }: AppendRequest): void {
    if (this.#writerId === undefined) {
      this.#writerId = writerId;
      this.#writer = crc32(writerId);
    }
    if (writerId !== this.#writerId) {
      throw new AppError(
        'failed_precondition',
        `writer ${writerId} on the stream of writer ${this.#writerId}`,
      );
    }
    if (sequence !== this.#sequence + 1) {
      throw new AppError(
        'failed_precondition',
        `sequence ${sequence} after ${this.#sequence} on the stream of writer ${writerId}; open a new stream`,
      );
    }
    this.#sequence = sequence;
  }

  #answer(request: AppendRequest, outcome: AppendOutcome, failedPartitions: number[], message: string): void {
    this.#deps.metrics.requests.inc({ outcome: OUTCOME_NAMES[outcome] ?? 'unknown' });
    this.#answers.push({ sequence: request.sequence, outcome, failedPartitions, message });
    this.#wake();
  }

  #fail(error: AppError): void {
    this.#failure ??= error;
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    this.#notify?.();
    this.#onRoom?.();
  }
}

const OUTCOME_NAMES: Readonly<Record<number, string>> = {
  [AppendOutcome.APPEND_OUTCOME_DURABLE]: 'durable',
  [AppendOutcome.APPEND_OUTCOME_UNAVAILABLE]: 'unavailable',
  [AppendOutcome.APPEND_OUTCOME_PARTIAL]: 'partial',
  [AppendOutcome.APPEND_OUTCOME_FENCED]: 'fenced',
};

// The queries of a querier, from their arrival to their end: for people to look at, and to end one of them.
import { randomInt } from 'node:crypto';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import type { ActiveQuery, QueryRequest } from '../../lib/wire/contracts.ts';
import { QueryBlock } from './query-block.ts';

/** An entry of the list. */
export interface ListedQuery {
  readonly id: string;
  /** What its threads write into. */
  readonly block: QueryBlock;
  /** Aborts when somebody kills the query. */
  readonly killed: AbortSignal;
}

interface Entry extends ListedQuery {
  readonly request: QueryRequest;
  readonly arrivedMs: number;
  readonly startedMonotonicMs: number;
  readonly controller: AbortController;
}

export class ActiveQueries {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  /** Ids count up from a place that other queriers, and this one after a restart, hardly share. */
  readonly #firstId = randomInt(2 ** 32);
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Lists a query until remove(). */
  add(request: QueryRequest): ListedQuery {
    const digits = (value: number) => (value >>> 0).toString(16).padStart(8, '0');
    const id = digits(this.#firstId) + digits(++this.#count);
    const controller = new AbortController();
    const entry: Entry = {
      id,
      block: new QueryBlock(),
      killed: controller.signal,
      request,
      arrivedMs: this.#clock.nowMs(),
      startedMonotonicMs: this.#clock.monotonicMs(),
      controller,
    };
    this.#entries.set(id, entry);
    return entry;
  }

  remove({ id }: ListedQuery): void {
    this.#entries.delete(id);
  }

  /** Longest running first. @param tenant  Empty: all of them. */
  list(tenant: string): ActiveQuery[] {
    const nowMs = this.#clock.monotonicMs();
    // In order of arrival already.
    return [...this.#entries.values()]
      .filter(({ request }) => tenant === '' || request.tenant === tenant)
      .map(({ id, block, request, arrivedMs, startedMonotonicMs }) => ({
        id,
        tenant: request.tenant,
        query: request.query,
        startMs: request.startMs,
        endMs: request.endMs,
        stepMs: request.stepMs,
        arrivedMs,
        durationMs: nowMs - startedMonotonicMs,
        phase: block.phase,
        series: block.series,
        samples: block.samples,
        memoryBytes: block.heldBytes,
      }));
  }

  /** @returns false when there is no such query. */
  kill(id: string): boolean {
    const entry = this.#entries.get(id);
    entry?.controller.abort(new AppError('canceled', 'the query was killed'));
    return entry !== undefined;
  }
}

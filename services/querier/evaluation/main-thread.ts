// Which queries the main thread evaluates itself: small ones, one at a time. It also ingests and answers, so whatever comes while it
// is at one goes to the worker threads. While others are under way it takes less: what keeps this thread busy, all of them wait for.
// Which queries turned out to be large is remembered: planning them takes a millisecond of this thread, and they are asked again and again.

/** Queries that are remembered to be large. */
const LARGE_MAX = 512;
/** So many times one is taken for large before it is looked at again: series come and go. */
const LARGE_TIMES = 100;
/** Milliseconds of evaluation at most while other queries are under way. */
const CROWDED_MS_MAX = 2;

/** What is evaluated here now. */
export interface MainThreadLimits {
  readonly msMax: number;
  /** Out of the memory of a head, too, of which only the mean is known before it is read. */
  readonly takesRuns: boolean;
}

interface LargeQuery {
  /** How many times it is still taken for large. */
  times: number;
  /** Also when it is the only one. */
  readonly isAlways: boolean;
}

export class MainThread {
  /** Milliseconds of evaluation that make a query too large; 0: none is evaluated here. */
  readonly msMax: number;
  #isTaken = false;
  /** By the query, oldest first. */
  readonly #large = new Map<string, LargeQuery>();

  constructor(msMax: number) {
    this.msMax = msMax;
  }

  /** @param isAlone  No other query is under way. */
  limits(isAlone: boolean): MainThreadLimits {
    return { msMax: isAlone ? this.msMax : Math.min(this.msMax, CROWDED_MS_MAX), takesRuns: isAlone };
  }

  /** Whether a query is too large, as far as that is known without a look at what it reads. */
  isKnownLarge(query: string, isAlone: boolean): boolean {
    if (this.msMax <= 0) return true;
    const found = this.#large.get(query);
    if (found === undefined || (isAlone && !found.isAlways)) return false;
    if (found.times > 1) found.times--;
    else this.#large.delete(query);
    return true;
  }

  /** A query turned out to be too large. @param isAlways  Also for when it is the only one. */
  noteLarge(query: string, isAlways: boolean): void {
    this.#large.delete(query);
    if (this.#large.size >= LARGE_MAX) this.#large.delete(this.#large.keys().next().value!);
    this.#large.set(query, { times: LARGE_TIMES, isAlways });
  }

  /** Takes the turn; undefined while another query has it. Whoever got it calls the answer, once or more. */
  tryEnter(): (() => void) | undefined {
    if (this.#isTaken) return undefined;
    this.#isTaken = true;
    let isMine = true;
    return () => {
      if (isMine) this.#isTaken = false;
      isMine = false;
    };
  }
}

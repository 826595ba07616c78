// Which queries the main thread evaluates itself: small ones, one at a time. It also ingests and answers, so whatever comes while it
// is at one goes to the worker threads. Which queries turned out to be large is remembered: planning them takes a millisecond of this
// thread, and they are asked again and again.

/** Queries that are remembered to be large. */
const LARGE_MAX = 512;
/** So many times one is taken for large before it is looked at again: series come and go. */
const LARGE_TIMES = 100;

export class MainThread {
  /** Milliseconds of evaluation that make a query too large; 0: none is evaluated here. */
  readonly msMax: number;
  #isTaken = false;
  /** By the query: how many times it is still taken for large. Oldest first. */
  readonly #large = new Map<string, number>();

  constructor(msMax: number) {
    this.msMax = msMax;
  }

  /** Whether a query is too large, as far as that is known without a look at what it reads. */
  isKnownLarge(query: string): boolean {
    if (this.msMax <= 0) return true;
    const times = this.#large.get(query);
    if (times === undefined) return false;
    if (times > 1) this.#large.set(query, times - 1);
    else this.#large.delete(query);
    return true;
  }

  /** A query turned out to be too large. */
  noteLarge(query: string): void {
    this.#large.delete(query);
    if (this.#large.size >= LARGE_MAX) this.#large.delete(this.#large.keys().next().value!);
    this.#large.set(query, LARGE_TIMES);
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

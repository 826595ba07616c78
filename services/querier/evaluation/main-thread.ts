// Which queries the main thread evaluates itself: small ones, one at a time. It also ingests and answers, so whatever comes while it
// is at one goes to the worker threads.

export class MainThread {
  /** Samples and steps of series that make a query too large; 0: none is evaluated here. */
  readonly samplesMax: number;
  #isTaken = false;

  constructor(samplesMax: number) {
    this.samplesMax = samplesMax;
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

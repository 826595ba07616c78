// Lets pieces of work that must not mix wait for each other, in the order in which they were asked for.

export class OneAtATime {
  #tail: Promise<unknown> = Promise.resolve();

  /**
   * Does the work when all that was asked for before is over, however it ended. Work must not ask the same object for more and wait
   * for it: it would wait for itself.
   *
   * @returns What the work resolves or rejects with.
   */
  run<T>(work: () => T | Promise<T>): Promise<T> {
    const next = this.#tail.catch(() => undefined).then(work);
    this.#tail = next;
    return next;
  }

  /** Resolves when all that was asked for so far is over. */
  async idle(): Promise<void> {
    await this.#tail.catch(() => undefined);
  }
}

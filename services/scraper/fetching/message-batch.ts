// Messages for another thread that go out together: each has a time by which it must be on its way, and takes all before it along.

export class MessageBatch<T> {
  readonly #post: (messages: readonly T[]) => void;
  #waiting: T[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** When the timer fires, by performance.now(). */
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(post: (messages: readonly T[]) => void) {
    this.#post = post;
  }

  /** @param patienceMs  How long the message may wait; under a millisecond: not at all. */
  add(message: T, patienceMs: number): void {
    this.#waiting.push(message);
    if (patienceMs < 1) {
      this.flush();
      return;
    }
    const dueMs = performance.now() + patienceMs;
    if (dueMs >= this.#dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => this.flush(), patienceMs);
    this.#timer.unref();
  }

  flush(): void {
    const messages = this.clear();
    if (messages.length > 0) this.#post(messages);
  }

  /** Takes back what waits. */
  clear(): readonly T[] {
    clearTimeout(this.#timer);
    this.#dueMs = Number.POSITIVE_INFINITY;
    const messages = this.#waiting;
    this.#waiting = [];
    return messages;
  }
}

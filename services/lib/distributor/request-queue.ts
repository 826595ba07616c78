// The sending half of a stream: messages are pushed in, one reader takes them out as an async iterable. It never holds more
// than the window of ingester-stream.ts lets in.

/** Messages taken before the array is cut. */
const TAKEN_MAX = 32;

/** An unbounded FIFO for one reader; bounding is its owner's duty. */
export class RequestQueue<T> implements AsyncIterable<T> {
  #messages: T[] = [];
  #head = 0;
  #closed = false;
  #waiting: ((result: IteratorResult<T>) => void) | undefined;

  /** Hands a message to the reader. Ignored after `close`. */
  push(message: T): void {
    if (this.#closed) return;
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      waiting({ done: false, value: message });
      return;
    }
    this.#messages.push(message);
  }

  /** The reader gets what is queued, then the end. */
  close(): void {
    this.#closed = true;
    this.#waiting?.({ done: true, value: undefined });
    this.#waiting = undefined;
  }

  /** The reader gets the end at once. */
  discard(): void {
    this.#messages = [];
    this.#head = 0;
    this.close();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return {
      next: () => this.#next(),
      return: () => {
        this.discard();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #next(): Promise<IteratorResult<T>> {
    if (this.#head < this.#messages.length) {
      const value = this.#messages[this.#head++]!;
      // What is taken must not stay referenced while the queue never runs empty.
      if (this.#head >= TAKEN_MAX || this.#head === this.#messages.length) {
        this.#messages = this.#messages.slice(this.#head);
        this.#head = 0;
      }
      return Promise.resolve({ done: false, value });
    }
    if (this.#closed) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }
}

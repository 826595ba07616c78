// A bounded bridge from events to an async iterator: the producer pushes, the consumer awaits, and the producer is told
// when to pause and when to go on.
import { assert } from '../core/assert.ts';

/** Messages that may wait before the producer is asked to pause. */
const HIGH_WATER = 16;

export interface FlowControl {
  readonly pause: () => void;
  readonly resume: () => void;
}

/** One producer, one consumer. The consumer iterates once; leaving the loop calls `onLeave`. */
export class MessageQueue<T> implements AsyncIterable<T> {
  readonly #waiting: T[] = [];
  readonly #flow: FlowControl;
  readonly #onLeave: () => void;
  #paused = false;
  #ended = false;
  #failure: unknown;
  #wake: (() => void) | undefined;

  constructor(flow: FlowControl, onLeave: () => void) {
    this.#flow = flow;
    this.#onLeave = onLeave;
  }

  push(message: T): void {
    if (this.#ended) return;
    this.#waiting.push(message);
    if (!this.#paused && this.#waiting.length >= HIGH_WATER) {
      this.#paused = true;
      this.#flow.pause();
    }
    this.#wake?.();
  }

  /** No more messages; what waits is still delivered, then `failure` is thrown if there is one. */
  end(failure?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = failure;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      for (;;) {
        while (this.#waiting.length > 0) {
          const message = this.#waiting.shift();
          assert(message !== undefined, 'a message waits');
          if (this.#paused && this.#waiting.length < HIGH_WATER / 2) {
            this.#paused = false;
            this.#flow.resume();
          }
          yield message;
        }
        if (this.#ended) {
          if (this.#failure !== undefined) throw this.#failure;
          return;
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    } finally {
      this.#onLeave();
    }
  }
}

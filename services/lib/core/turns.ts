// Long work on a thread that others need, too: it goes on in slices, with a turn of the event loop between them.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from './clock.ts';

/** Work between two turns of the event loop. */
const SLICE_MS = 2;

/** Says when a slice is over. One per piece of work; the first slice begins when it is made. */
export class Turns {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #sliceEndsMs: number;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
    this.#sliceEndsMs = clock.monotonicMs() + SLICE_MS;
  }

  /** Gives the event loop a turn if the slice is over; cheap enough to be asked every millisecond. */
  async pause(): Promise<void> {
    if (this.#clock.monotonicMs() < this.#sliceEndsMs) return;
    await nextTurn();
    this.#sliceEndsMs = this.#clock.monotonicMs() + SLICE_MS;
  }
}

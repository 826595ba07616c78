// Looks every second whether a head image is due, and writes it: beside sealing, which may take minutes, and during which the log
// grows as always. Only what would make an image wrong waits for it: cutting, marking, dropping, deleting (sealing/sealer.ts).
import type { Clock } from '../../lib/core/clock.ts';
import { AppError, toAppError } from '../../lib/core/errors.ts';
import type { OneAtATime } from '../../lib/core/one-at-a-time.ts';
import type { Logger } from '../../lib/runtime/logger.ts';
import type { HeadImages } from './head-images.ts';

export interface ImageLoopDeps {
  readonly images: HeadImages;
  /** What changes ranges or lets series go waits for its turn here, and so do images. */
  readonly still: OneAtATime;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Between attempts while images cannot be written. */
const BACKOFF_MAX_MS = 60_000;

export class ImageLoop {
  readonly #intervalMs: number;
  readonly #deps: ImageLoopDeps;
  readonly #abort = new AbortController();
  #running: Promise<void> | undefined;

  /** @param intervalMs  Between two looks. */
  constructor(intervalMs: number, deps: ImageLoopDeps) {
    this.#intervalMs = intervalMs;
    this.#deps = deps;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends an image that is being written; the one before stays. Safe to call twice. */
  async stop(): Promise<void> {
    this.#abort.abort(new AppError('unavailable', 'the ingester is shutting down'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { images, still, clock, logger } = this.#deps;
    const { signal } = this.#abort;
    let waitMs = this.#intervalMs;
    while (!signal.aborted) {
      try {
        await clock.sleep(waitMs, signal);
        if (images.look(this.#intervalMs)) await still.run(() => images.write(signal));
        waitMs = this.#intervalMs;
      } catch (caught) {
        if (signal.aborted) return;
        waitMs = Math.min(waitMs * 2, BACKOFF_MAX_MS);
        logger.warn(
          { err: toAppError(caught), retryInMs: waitMs },
          'no head image could be written; it is tried again',
        );
      }
    }
  }
}

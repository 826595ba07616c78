// What keeps something as it should be: looks again and again, at once where more is to be done, and says a failure once.
import type { Clock } from '../../lib/core/clock.ts';
import { type AppError, toAppError } from '../../lib/core/errors.ts';

export interface Upkeep {
  /** One look, and what it calls for; true when more is to be done at once. */
  readonly look: (signal: AbortSignal) => Promise<boolean>;
  /** Rest after a look that left nothing to do, or failed, milliseconds. */
  readonly restMs: () => number;
  /** @param isNews  It failed otherwise than the last time. */
  readonly onFailure: (error: AppError, isNews: boolean) => void;
}

/** Runs until the signal aborts; a look that fails is repeated. */
export async function lookForever(upkeep: Upkeep, clock: Clock, signal: AbortSignal): Promise<void> {
  let lastFailure = '';
  while (!signal.aborted) {
    let isBusy = false;
    try {
      isBusy = await upkeep.look(signal);
      lastFailure = '';
    } catch (caught) {
      if (signal.aborted) return;
      const error = toAppError(caught);
      upkeep.onFailure(error, error.message !== lastFailure);
      lastFailure = error.message;
    }
    if (!isBusy) await clock.sleep(upkeep.restMs(), signal).catch(() => undefined);
  }
}

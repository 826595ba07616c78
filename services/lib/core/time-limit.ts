// A limit of time for a call, by a clock that a simulated world can drive.
import { type Clock, startTimer } from './clock.ts';
import { AppError } from './errors.ts';

/**
 * Runs what has to be over in time. What does not heed its signal is waited for all the same.
 *
 * @param limit   Milliseconds, and what is said when they are over: `no <what> within <ms> ms`.
 * @param signal  Ends it as well, with its own reason.
 * @throws What `run` throws; when its signal ended it by time, usually AppError `timeout`.
 */
export async function withinTime<T>(
  clock: Clock,
  limit: { readonly ms: number; readonly what: string },
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const { ms, what } = limit;
  const stop = startTimer(clock, ms, () => over.abort(new AppError('timeout', `no ${what} within ${ms} ms`)));
  try {
    return await run(AbortSignal.any([signal, over.signal]));
  } finally {
    stop();
  }
}

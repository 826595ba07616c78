// Time as an argument. Engines and services never ask Date themselves, so that a simulated world can drive them.

/** Source of time. */
export interface Clock {
  /** Wall clock, Unix milliseconds. May jump. */
  nowMs(): number;
  /** Milliseconds since some fixed point; never goes back. For durations, deadlines and liveness. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** See startTimer(), which does it by `sleep` where a clock has none of its own. */
  startTimer?(ms: number, onTime: () => void): () => void;
}

/** Ends a sleep that nobody waits for; a reason of its own would cost a stack trace. */
const NOT_NEEDED = Symbol('no timer is needed any more');

/**
 * Calls `onTime` after `ms`, unless what this answers is called before, once or more: for deadlines, of which nearly none is reached. To
 * abort a sleep costs ten times as much.
 */
export function startTimer(clock: Clock, ms: number, onTime: () => void): () => void {
  if (clock.startTimer !== undefined) return clock.startTimer(ms, onTime);
  const over = new AbortController();
  clock.sleep(ms, over.signal).then(onTime, () => undefined);
  return () => over.abort(NOT_NEEDED);
}

/** The machine's own clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
  startTimer: (ms, onTime) => {
    const timer = setTimeout(onTime, ms);
    return () => clearTimeout(timer);
  },
};

// An abort signal with a time limit that leaves nothing behind: signals of AbortSignal.timeout fire, and make an error with a stack, long
// after what they guarded is done, and those of AbortSignal.any stay known to their sources until they are collected.

export interface Deadline {
  /** Aborts with the outer signal, or when the time is over. */
  readonly signal: AbortSignal;
  /** True when the time was over before `end`. */
  isOver(): boolean;
  /** Call when what it guards is done. */
  end(): void;
}

export function startDeadline(outer: AbortSignal, timeoutMs: number): Deadline {
  const controller = new AbortController();
  let over = false;
  const stop = (): void => controller.abort(outer.reason);
  const timer = setTimeout(() => {
    over = true;
    controller.abort();
  }, timeoutMs);
  if (outer.aborted) stop();
  else outer.addEventListener('abort', stop, { once: true });
  return {
    signal: controller.signal,
    isOver: () => over,
    end: () => {
      clearTimeout(timer);
      outer.removeEventListener('abort', stop);
    },
  };
}

// Reads a request's body under two bounds: the size of one body, and the bytes that all requests hold together.
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../../lib/core/clock.ts';
import { AppError } from '../../lib/core/errors.ts';
import { ResidentMemory, WRITE_MEMORY_SHARE } from '../../lib/runtime/memory-limit.ts';

const RESERVATIONS_PER_LOOK = 32;

/** Bytes that requests hold, all together. */
export class MemoryBudget {
  readonly #bytesMax: number;
  readonly #resident = new ResidentMemory(WRITE_MEMORY_SHARE, RESERVATIONS_PER_LOOK);
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#bytes;
  }

  /** @throws AppError `unavailable` when there is no room now. */
  reserve(bytes: number): void {
    this.#resident.check();
    if (this.#bytes + bytes > this.#bytesMax) {
      throw new AppError(
        'unavailable',
        `requests in flight hold ${this.#bytes} bytes, the limit requestMemoryBytesMax is ${this.#bytesMax}; send it again later`,
      );
    }
    this.#bytes += bytes;
  }

  release(bytes: number): void {
    this.#bytes -= bytes;
  }
}

/** What one request holds of the budget; given back in one go. */
export class BudgetShare {
  readonly #budget: MemoryBudget;
  #bytes = 0;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  reserve(bytes: number): void {
    this.#budget.reserve(bytes);
    this.#bytes += bytes;
  }

  releaseAll(): void {
    this.#budget.release(this.#bytes);
    this.#bytes = 0;
  }
}

/** What a sender can do about 413. */
export const SEND_FEWER = 'send fewer samples per request (max_samples_per_send)';

/** The request is larger than one may be: to be answered with 413. */
export class BodyTooLargeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BodyTooLargeError';
  }
}

/** The clock is looked at this often at least while bodies arrive, so that a process without any does not wait for it. */
const DEADLINE_CHECK_MS_MAX = 1000;

interface Deadline {
  readonly atMs: number;
  readonly onLate: () => void;
}

/** Takes who is to be told that reading is to end; returns what takes that back. */
export type WatchEnd = (end: (reason: unknown) => void) => () => void;

/** Ends with a signal. */
export function watchSignal(signal: AbortSignal): WatchEnd {
  return (end) => {
    const onAbort = (): void => end(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    return () => signal.removeEventListener('abort', onAbort);
  };
}

/** One timer for all bodies that arrive: a timer, two signals and their listeners for each cost more than its samples' checks. */
export class BodyDeadlines {
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  /** In order of their time, which is that of their coming. */
  readonly #open = new Set<Deadline>();
  #running = false;

  constructor(timeoutMs: number, clock: Clock) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  /** Calls `onLate` after the timeout, unless the returned function is called before. */
  begin(onLate: () => void): () => void {
    const deadline = { atMs: this.#clock.monotonicMs() + this.#timeoutMs, onLate };
    this.#open.add(deadline);
    if (!this.#running) void this.#run();
    return () => {
      this.#open.delete(deadline);
    };
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#open.size > 0) {
      const nowMs = this.#clock.monotonicMs();
      let restMs = DEADLINE_CHECK_MS_MAX;
      for (const deadline of this.#open) {
        if (deadline.atMs > nowMs) {
          restMs = Math.min(restMs, deadline.atMs - nowMs);
          break;
        }
        this.#open.delete(deadline);
        deadline.onLate();
      }
      await this.#clock.sleep(restMs);
    }
    this.#running = false;
  }
}

/**
 * Reads the body as it arrives; nothing is allocated on the word of Content-Length.
 *
 * @returns The chunks, in order.
 * @throws BodyTooLargeError, at Content-Length already; AppError `unavailable` when the budget is used up, `canceled` when the
 *         client leaves, and the reason with which `watchEnd` ends it.
 */
export function readBody(
  req: IncomingMessage,
  bytesMax: number,
  share: BudgetShare,
  watchEnd: WatchEnd,
): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const declared = Number(req.headers['content-length'] ?? 0);
    if (declared > bytesMax) {
      reject(tooLarge(`has ${declared} bytes`, bytesMax));
      return;
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    let unwatch: (() => void) | undefined;
    let isOver = false;
    const finish = (settle: () => void): void => {
      isOver = true;
      req.off('data', onData);
      req.off('end', onEnd);
      req.off('close', onClose);
      req.off('error', onClose);
      unwatch?.();
      settle();
    };
    const fail = (error: unknown): void => finish(() => reject(error as Error));
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        fail(tooLarge(`has at least ${bytes} bytes`, bytesMax));
        return;
      }
      try {
        share.reserve(chunk.length);
        chunks.push(chunk);
      } catch (caught) {
        fail(caught);
      }
    };
    const onEnd = (): void => finish(() => resolve(chunks));
    const onClose = (): void =>
      fail(new AppError('canceled', 'the client left before its request was complete'));
    req.on('data', onData);
    req.on('end', onEnd);
    req.on('close', onClose);
    req.on('error', onClose);
    const stopWatching = watchEnd(fail);
    // Not where it has ended already.
    if (isOver) stopWatching();
    else unwatch = stopWatching;
  });
}

function tooLarge(what: string, bytesMax: number): BodyTooLargeError {
  return new BodyTooLargeError(
    `the request body ${what}, the limit bodyBytesMax is ${bytesMax}; ${SEND_FEWER}`,
  );
}

// Evaluation of parts on a node, as its main thread sees it: how many at a time, with how much memory, in which threads.
import { AppError, throwIfAborted, toAppError } from '../core/errors.ts';
import type { Logger } from '../runtime/logger.ts';
import { WorkerPool } from '../runtime/worker-pool.ts';
import { movable, packError } from '../runtime/worker-tasks.ts';
import type { FromPart, PartOrder, ToPart } from './part-messages.ts';

/** A thread that goes on for so long after nobody waits for it is ended itself. */
const CANCEL_GRACE_MS = 2_000;
/** Evaluation takes about as much again as the frames that it reads. */
const HELD_FACTOR = 2;
/** The engine's code and its garbage take this. */
const THREAD_HEAP_BYTES = 256 * 2 ** 20;

export interface PartEvaluatorOptions {
  /** Threads; they start when they are needed. */
  readonly threads: number;
  /** Parts at one time; one more is refused: the querier then reads chunks. */
  readonly concurrencyMax: number;
  /** Bytes that all of them may hold. */
  readonly memoryBytesMax: number;
}

/** A part's result. */
export type EvaluatedPart =
  | { readonly kind: 'partial'; readonly frames: readonly Uint8Array<ArrayBuffer>[] }
  | { readonly kind: 'refused'; readonly reason: string };

export class PartEvaluator {
  readonly #options: PartEvaluatorOptions;
  readonly #threads: WorkerPool;
  #running = 0;
  /** What the parts under way hold. */
  #heldBytes = 0;
  #started: Promise<void> | undefined;
  #isReady = false;

  constructor(options: PartEvaluatorOptions, logger: Logger) {
    this.#options = options;
    this.#threads = new WorkerPool(
      {
        name: 'part',
        module: new URL('./part-worker.ts', import.meta.url),
        threads: options.threads,
        heapBytesMax: Math.max(THREAD_HEAP_BYTES, options.memoryBytesMax),
      },
      logger,
    );
  }

  /** Parts under way. */
  get running(): number {
    return this.#running;
  }

  /** Starts the first thread; the others follow when there is work for them at one time. */
  start(): Promise<void> {
    this.#started ??= this.#threads.start().then(() => {
      this.#isReady = true;
    });
    return this.#started;
  }

  /**
   * Evaluates a part over the series of `runs`.
   *
   * @param order   Its memory limit is lowered to this node's.
   * @param runs    Frames of all series of the part's selector, each run in label order; taken one after the other, as they come. Those
   *                that follow when one is too much are not begun.
   * @throws AppError the query's own errors, `unavailable`, whatever `runs` throw, or the signal's reason.
   */
  async evaluate(
    order: Omit<PartOrder, 'runs'>,
    runs: Iterable<AsyncIterable<Uint8Array>>,
    signal: AbortSignal,
  ): Promise<EvaluatedPart> {
    const { concurrencyMax, memoryBytesMax } = this.#options;
    if (!this.#isReady) {
      // A query does not wait for it. Whether that fails, the next one finds out.
      this.start().catch(() => {
        this.#started = undefined;
      });
      return { kind: 'refused', reason: 'the threads for parts are starting' };
    }
    if (this.#running >= concurrencyMax) {
      return { kind: 'refused', reason: `${concurrencyMax} parts are being evaluated here` };
    }
    this.#running++;
    const held = { bytes: 0 };
    try {
      const taken: (readonly Uint8Array[])[] = [];
      for (const frames of runs) {
        const run = await this.#takeAll(frames, held);
        if (run === undefined) {
          return { kind: 'refused', reason: `parts under way hold more than ${memoryBytesMax} bytes here` };
        }
        taken.push(run);
      }
      const bytesMax = Math.min(order.memoryBytesMax, memoryBytesMax);
      return await this.#run({ ...order, memoryBytesMax: bytesMax, runs: taken }, signal);
    } finally {
      this.#running--;
      this.#heldBytes -= held.bytes;
    }
  }

  stop(): Promise<void> {
    return this.#threads.stop();
  }

  /** Undefined when there is no room for them. @param held  What was taken of the room. */
  async #takeAll(
    frames: AsyncIterable<Uint8Array>,
    held: { bytes: number },
  ): Promise<Uint8Array[] | undefined> {
    const taken: Uint8Array[] = [];
    for await (const frame of frames) {
      const bytes = frame.length * HELD_FACTOR;
      held.bytes += bytes;
      this.#heldBytes += bytes;
      if (this.#heldBytes > this.#options.memoryBytesMax) return undefined;
      taken.push(frame);
    }
    return taken;
  }

  async #run(order: PartOrder, signal: AbortSignal): Promise<EvaluatedPart> {
    throwIfAborted(signal);
    const moved = order.runs.map((frames) => frames.map(movable));
    let answer: FromPart | undefined;
    const task = this.#threads.open<PartOrder, ToPart, FromPart>(
      { ...order, runs: moved.map((frames) => frames.map(({ bytes }) => bytes)) },
      (message) => {
        answer = message;
      },
      moved.flat().flatMap(({ transfer }) => [...transfer]),
    );
    const cancel = () => {
      task.post({ kind: 'cancel', error: packError(toAppError(signal.reason)) });
      void task.endWithin(CANCEL_GRACE_MS);
    };
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const failure = await task.ended;
      throwIfAborted(signal);
      if (failure !== undefined) throw failure;
      if (answer === undefined) throw new AppError('internal', 'the thread of a part answered nothing');
      return answer;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }
}

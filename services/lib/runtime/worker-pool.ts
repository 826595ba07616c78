// Worker threads that serve tasks (worker-tasks.ts): any number of tasks per thread, a new task goes to the thread with the
// fewest. A thread that dies fails its tasks and no others, is counted, and another one takes its place.

import type { Transferable } from 'node:worker_threads';
import { Worker } from 'node:worker_threads';
import { AppError } from '../core/errors.ts';
import type { Logger } from './logger.ts';
import { type FromThread, type ToThread, unpackError } from './worker-tasks.ts';

const MIB = 2 ** 20;

export interface WorkerPoolOptions {
  /** For logs and errors: `query`. */
  readonly name: string;
  /** The threads' module; it calls serveTasks(). */
  readonly module: URL;
  readonly threads: number;
  /**
   * Bytes of JavaScript heap per thread, array buffers excluded; a thread that needs more dies, and the process with it when
   * it needs 16 MiB more at once: whoever can see it coming ends the task before. Default: Node's.
   */
  readonly heapBytesMax?: number;
}

/** A task as the main thread sees it. */
export interface WorkerTask<In> {
  /** A message to the thread; dropped when the task is over. */
  post(message: In, transfer?: readonly Transferable[]): void;
  /** Settles when the thread is done with the task or dead: undefined, or what went wrong. */
  readonly ended: Promise<AppError | undefined>;
  /** Waits for the end. A thread that does not come to it within `ms` is replaced, and its other tasks fail. */
  endWithin(ms: number): Promise<void>;
}

interface OpenTask {
  readonly onMessage: (message: unknown) => void;
  readonly end: (error: AppError | undefined) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly tasks: Map<number, OpenTask>;
  readonly ready: Promise<void>;
  isReady: boolean;
  failure: AppError | undefined;
}

export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #logger: Logger;
  /** A place per thread; undefined until the thread is needed. */
  readonly #threads: (Thread | undefined)[];
  #taskCount = 0;
  #restarts = 0;
  #isStopped = false;

  constructor(options: WorkerPoolOptions, logger: Logger) {
    this.#options = options;
    this.#logger = logger;
    this.#threads = Array.from({ length: Math.max(1, options.threads) });
  }

  /** Threads that the pool has when all of them run. */
  get size(): number {
    return this.#threads.length;
  }

  /** Threads with at least one task. */
  get busy(): number {
    return this.#threads.filter((thread) => thread !== undefined && thread.tasks.size > 0).length;
  }

  /** Threads that are ready and have no task. */
  get idle(): number {
    return this.#threads.filter((thread) => thread?.isReady === true && thread.tasks.size === 0).length;
  }

  /** Tasks beyond the first of their thread: they take turns with it. */
  get queued(): number {
    return this.#threads.reduce((sum, thread) => sum + Math.max(0, (thread?.tasks.size ?? 0) - 1), 0);
  }

  /** Tasks opened since the beginning. */
  get opened(): number {
    return this.#taskCount;
  }

  /** Threads that died and were replaced. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Starts a thread and waits until it can take tasks. The others follow when there are tasks at one time for them. */
  async start(): Promise<void> {
    await this.#threadAt(0).ready;
  }

  /** Starts another thread if there is one to start: somebody could use it. */
  grow(): void {
    const place = this.#threads.indexOf(undefined);
    if (place >= 0 && !this.#isStopped) this.#threadAt(place);
  }

  /** Ends all threads; tasks that are open fail. Safe to call twice. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const thread of this.#threads) await thread?.worker.terminate();
  }

  /**
   * Opens a task on the thread with the fewest.
   *
   * @param first      Its first message.
   * @param onMessage  Called with what the thread says until the task ends.
   * @throws AppError `unavailable` when the pool is stopped.
   */
  open<First, In, Out>(
    first: First,
    onMessage: (message: Out) => void,
    transfer: readonly Transferable[] = [],
  ): WorkerTask<In> {
    if (this.#isStopped) throw new AppError('unavailable', `the ${this.#options.name} threads are stopped`);
    const thread = this.#leastBusy();
    const id = ++this.#taskCount;
    const ended = Promise.withResolvers<AppError | undefined>();
    const { worker, tasks } = thread;
    tasks.set(id, {
      onMessage: onMessage as (message: unknown) => void,
      end: (error) => {
        tasks.delete(id);
        if (tasks.size === 0) worker.unref();
        ended.resolve(error);
      },
    });
    worker.ref();
    const send = (message: unknown, isFirst: boolean, moved: readonly Transferable[]) => {
      if (tasks.has(id)) worker.postMessage({ task: id, isFirst, message } satisfies ToThread, moved);
    };
    send(first, true, transfer);
    return {
      post: (message, moved = []) => send(message, false, moved),
      ended: ended.promise,
      endWithin: (ms) => this.#endWithin(thread, ended.promise, ms),
    };
  }

  /** An idle thread if there is one, else one that is not started yet, else the one with the fewest tasks. */
  #leastBusy(): Thread {
    let best = 0;
    let fewest = Number.POSITIVE_INFINITY;
    for (const [place, thread] of this.#threads.entries()) {
      const tasks = thread?.tasks.size ?? 0.5;
      if (tasks >= fewest) continue;
      fewest = tasks;
      best = place;
    }
    return this.#threadAt(best);
  }

  async #endWithin(thread: Thread, ended: Promise<unknown>, ms: number): Promise<void> {
    const timer = setTimeout(() => {
      const { name } = this.#options;
      thread.failure = new AppError('internal', `a ${name} thread did not react for ${ms} ms and was ended`);
      void thread.worker.terminate();
    }, ms);
    await ended;
    clearTimeout(timer);
  }

  #threadAt(place: number): Thread {
    return (this.#threads[place] ??= this.#spawn(place));
  }

  #spawn(place: number): Thread {
    const { name, module, heapBytesMax } = this.#options;
    const worker = new Worker(module, {
      name: `${name}-${place}`,
      ...(heapBytesMax === undefined
        ? {}
        : { resourceLimits: { maxOldGenerationSizeMb: Math.ceil(heapBytesMax / MIB) } }),
    });
    const ready = Promise.withResolvers<void>();
    // Who starts the pool hears of it; a task on a thread that never gets ready fails by itself.
    ready.promise.catch(() => undefined);
    const thread: Thread = {
      worker,
      tasks: new Map(),
      ready: ready.promise,
      isReady: false,
      failure: undefined,
    };
    worker.unref();
    worker.on('message', (message: FromThread) => {
      if (message.kind === 'ready') {
        thread.isReady = true;
        ready.resolve();
      } else if (message.kind === 'message') {
        thread.tasks.get(message.task)?.onMessage(message.message);
      } else {
        const task = thread.tasks.get(message.task);
        if (message.message !== undefined) task?.onMessage(message.message);
        task?.end(message.error && unpackError(message.error));
      }
    });
    worker.on('error', (cause) => {
      thread.failure ??= describe(cause, name, heapBytesMax);
    });
    worker.on('exit', (code) => {
      const failure = thread.failure ?? new AppError('internal', `a ${name} thread ended with code ${code}`);
      ready.reject(failure);
      this.#onExit(place, thread, failure);
    });
    return thread;
  }

  #onExit(place: number, thread: Thread, failure: AppError): void {
    this.#threads[place] = undefined;
    for (const { end } of [...thread.tasks.values()]) end(failure);
    if (this.#isStopped) return;
    this.#restarts++;
    this.#logger.error({ err: failure, pool: this.#options.name, thread: place }, 'worker thread died');
    // One that never got ready would not do so now either: then the next task tries, and fails.
    if (thread.isReady) this.#threadAt(place);
  }
}

function describe(cause: unknown, name: string, heapBytesMax: number | undefined): AppError {
  const error = cause instanceof Error ? cause : new Error(String(cause));
  if ((error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY') {
    const limit = heapBytesMax === undefined ? '' : ` of ${heapBytesMax} bytes`;
    return new AppError('execution', `a ${name} thread ran out of its heap${limit} and was replaced`, {
      cause,
    });
  }
  return new AppError('internal', `a ${name} thread died: ${error.message}`, { cause });
}
